"""The contract accepts a good store, and each of its checks finds the fault that it is there for."""

from __future__ import annotations

from pathlib import Path

import pytest
from faulty_stores import FAULTS
from reference_store import ReferenceStore

from pytest_session_guard.contracts import ABILITIES, CHECKS, Check, ContractBrokenError

BY_NAME = {check.name: check for check in CHECKS}


@pytest.mark.parametrize("check", [pytest.param(check, id=check.name) for check in CHECKS])
def test_good_store_keeps_the_rule(check: Check, tmp_path: Path) -> None:
    store = ReferenceStore(tmp_path)

    assert check.missing(store) == {}
    check(store)


@pytest.mark.parametrize(
    ("store", "name"), [pytest.param(store, name, id=f"{store.__name__}-{name}") for store, name in FAULTS]
)
def test_faulty_store_breaks_the_rule(
    store: type[ReferenceStore], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_session_guard.contracts._indexing.HANG_S", 0.3)

    with pytest.raises(ContractBrokenError) as broken:
        BY_NAME[name](store(tmp_path))

    assert str(broken.value).splitlines()[1:] == [f"  rule: {BY_NAME[name].rule}", "  [store-contract]"]


def test_every_check_has_a_faulty_store() -> None:
    assert {name for _, name in FAULTS} == BY_NAME.keys()


def test_every_ability_is_needed_by_a_check() -> None:
    assert {ability for check in CHECKS for ability in check.needs} == ABILITIES.keys()


def test_checks_cover_the_eight_groups_in_order() -> None:
    groups = [check.group for check in CHECKS]
    assert groups == sorted(groups)
    assert set(groups) == set(range(1, 9))
