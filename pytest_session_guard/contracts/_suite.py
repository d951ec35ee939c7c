"""The test class to subclass."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pytest_session_guard.contracts._adapter import ABILITIES, StoreAdapter
from pytest_session_guard.contracts._checks import CHECKS, Check


class SessionStoreContract:
    """Subclass it in a class whose name starts with ``Test``, override the fixture ``store``, and the rules are tests.

    A check that needs an ability which the adapter does not have is skipped, and the skip names both. What the store
    is known to be able to do belongs in ``required``: a member that is renamed then fails, where it would be skipped.
    """

    required: ClassVar[Collection[str]] = ()
    """The abilities that the store must have; ``ABILITIES`` for all of them."""

    @pytest.fixture
    def store(self) -> StoreAdapter:
        """The adapter of the store under test, with a store that is empty; to be overridden."""
        pytest.fail(f"{type(self).__name__} must override the fixture 'store'", pytrace=False)

    @pytest.fixture(autouse=True)
    def _store_is_the_tests_own(self, store: StoreAdapter, session_guard: Any) -> None:
        # The checks delete and corrupt files: a store that is not the test's own must not get as far as the first one.
        private = Path(session_guard.path).resolve()
        places = [store.root, store.session_file("probe"), getattr(store, "index_file", None)]
        outside = [str(place) for place in places if place is not None and not _is_inside(place, private)]
        if outside:
            named = ", ".join(outside)
            pytest.fail(f"the store is outside the private directory of the test: {named}; redirect it", pytrace=False)
        store.root.mkdir(parents=True, exist_ok=True)

    @pytest.mark.parametrize("check", [pytest.param(check, id=f"{check.group}-{check.name}") for check in CHECKS])
    def test_store_keeps_the_rule(self, check: Check, store: StoreAdapter) -> None:
        """Hold the store to one rule."""
        lacking = check.missing(store)
        named = "; ".join(f"{ability!r} (the adapter has no {', '.join(has)})" for ability, has in lacking.items())
        if unknown := set(self.required) - ABILITIES.keys():
            there_are = ", ".join(ABILITIES)
            pytest.fail(f"required has unknown abilities: {sorted(unknown)}; there are {there_are}", pytrace=False)
        if lacking.keys() & set(self.required):
            pytest.fail(f"the store is required to have the ability {named}", pytrace=False)
        if lacking:
            # Abilities are optional; the skip names what the adapter would need for the check to run.
            pytest.skip(f"the store has not the ability {named}")
        check(store)


def _is_inside(place: Path, directory: Path) -> bool:
    return place.resolve().is_relative_to(directory)
