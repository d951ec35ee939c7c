"""A rule of the contract, what a broken one looks like, and the few moves that every check begins with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, final

from pytest_session_guard.contracts._adapter import ABILITIES, missing_members

TICK_S: Final = 0.01
"""How long the contract waits between two saves whose order it will ask for."""


@final
class ContractBrokenError(AssertionError):
    """A store did not keep a rule of the contract."""

    slug = "store-contract"

    def __init__(self, rule: str, seen: str) -> None:
        super().__init__(rule, seen)
        self.rule, self.seen = rule, seen

    def __str__(self) -> str:
        return f"store contract broken: {self.seen}\n  rule: {self.rule}\n  [{self.slug}]"


@final
@dataclass(frozen=True)
class Check:
    """One rule and the function that holds a store to it."""

    name: str
    group: int
    rule: str
    needs: tuple[str, ...]
    run: Callable[[Any, Check], None]

    def __call__(self, store: Any) -> None:
        """Hold ``store`` to the rule, in the directory it writes to.

        :raises ContractBrokenError: it does not keep it. What the store raises by itself comes through as it is.
        """
        self.run(store, self)

    def missing(self, store: object) -> dict[str, tuple[str, ...]]:
        """The abilities that the check needs and ``store`` has not → the members that its adapter lacks."""
        lacking = {ability: missing_members(store, ability) for ability in self.needs}
        return {ability: members for ability, members in lacking.items() if members}

    def expect(self, holds: object, seen: str) -> None:
        """Go on where ``holds``.

        :raises ContractBrokenError: it does not; ``seen`` is one clause.
        """
        if not holds:
            raise ContractBrokenError(self.rule, seen)

    def expect_unchanged(self, changes: Iterable[str], when: str) -> None:
        """Go on where there are no ``changes``.

        :raises ContractBrokenError: there are; each is named.
        """
        named = ", ".join(changes)
        self.expect(not named, f"{when}, {named}")

    def attempt(self, what: str, action: Callable[[], Any]) -> Any:
        """Do what the store has to be able to do, and return what it returns.

        :raises ContractBrokenError: it raised.
        """
        try:
            return action()
        except Exception as error:
            raise ContractBrokenError(self.rule, f"{what} raised {error!r}") from error


class Rules:
    """The checks of one group, in the order in which they are written down."""

    def __init__(self, group: int) -> None:
        self.group = group
        self.checks: list[Check] = []

    def add(self, rule: str, *needs: str) -> Callable[[Callable[[Any, Check], None]], Callable[[Any, Check], None]]:
        """Make a check of the decorated function, called after it."""
        unknown = [ability for ability in needs if ability not in ABILITIES]
        assert not unknown, f"a check needs abilities that there are not: {unknown}"

        def register(run: Callable[[Any, Check], None]) -> Callable[[Any, Check], None]:
            name = run.__name__.replace("_", "-")
            self.checks.append(Check(name, self.group, rule, needs, run))
            return run

        return register


def messages(count: int, first: int = 0) -> list[dict[str, Any]]:
    """``count`` messages that can be told apart."""
    return [{"role": "user", "content": f"message {number}"} for number in range(first, first + count)]


def saved(store: Any, count: int, title: str = "kept") -> Any:
    """A new session of ``count`` messages, saved a moment after whatever was saved before it."""
    session = store.make()
    store.put(session, "title", title)
    save_with(store, session, count)
    return session


def save_with(store: Any, session: Any, count: int) -> None:
    """Save a session with ``count`` messages in it."""
    store.put(session, "messages", messages(count))
    time.sleep(TICK_S)
    store.save(session)


def id_of(store: Any, session: Any) -> str:
    """The id of a session."""
    return str(store.get(session, "session_id"))


def count_on_disk(store: Any, session_id: str) -> int:
    """How many messages the file of a session has."""
    return len(store.get(store.load(session_id), "messages"))


def index_text(store: Any) -> str:
    """The index as it is on disk, empty where there is none."""
    return str(store.index_file.read_text("utf-8", "replace")) if store.index_file.is_file() else ""
