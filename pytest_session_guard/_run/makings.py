"""What programs without a hook bring about in shared places, as artifacts of the run.

The keeper hears of Python's own calls too, and tells of all of them some time afterwards, when much of it is gone or has
another name by then. So what it tells is followed to its end first, and counts only where the disk bears it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pytest_session_guard._core.zones import Zone, is_within
from pytest_session_guard._host.identity import identity_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_session_guard._controls.overlay import Making
    from pytest_session_guard._core.records import Identity
    from pytest_session_guard._run.guard import GuardRun

T = TypeVar("T")


def take_in(run: GuardRun, *, of_all: bool = False) -> None:
    """Write down what shells, native code and the like made since the last look.

    :param of_all: workers' too, which may have died before they asked.
    :raises LedgerError: it cannot be written down.
    """
    try:
        makings = run.walls.makings(of_all=of_all)
    except OSError as problem:
        run.failed("overlay", ("what came to be in shared places",), problem)
        return
    if not makings:
        return
    own = run.ownership
    if not own.is_settled:
        own.settle()  # what Python made and moved is known better
    fresh, moved = _followed(run, makings)
    for path, origin in moved.items():
        known = own.paths.get(origin)
        if path != origin and known is not None and _stands(path, known):
            own.moved(origin, path)
            own.settle()
    # A name may be gone of which another one was made.
    made = {making.identity for making in makings if making.kind == "made"}
    for path, making in fresh.items():
        identity = making.identity
        if identity is None or own.paths.get(path) == identity or not _stands(path, identity):
            continue
        if identity in made or _is_own(run, making, identity):
            own.claim(path, identity, making.directory)
        elif making.kind == "lent":
            own.lend(identity, path)


def _followed(run: GuardRun, makings: Sequence[Making]) -> tuple[dict[str, Making], dict[str, str]]:
    """What was told, at the names to which it has come: what is new, and what was known by which name before."""
    fresh: dict[str, Making] = {}
    moved: dict[str, str] = {}
    for making in makings:
        if making.kind != "moved":
            fresh[making.path] = making
            continue
        if making.source in run.ownership.paths:
            moved.setdefault(making.source, making.source)
        _rename(fresh, making.source, making.path)
        _rename(moved, making.source, making.path)
    return fresh, moved


def _rename(known: dict[str, T], source: str, target: str) -> None:
    """Give everything at or below one name the other; what had that name before has lost it."""
    taken = {path: known.pop(path) for path in list(known) if is_within(path, source)}
    known.update({target + path[len(source) :]: value for path, value in taken.items()})


def _stands(path: str, identity: Identity) -> bool:
    try:
        return identity_of(path) == identity
    except OSError:
        return False


def _is_own(run: GuardRun, making: Making, identity: Identity) -> bool:
    """As for Python: one of the run's own, or younger than the run and from a place in which nothing is recorded."""
    if run.ownership.is_own(identity):
        return True
    if making.kind == "lent":
        return False
    is_young = identity.birth_ns is not None and identity.birth_ns >= run.directory.started_ns
    return is_young and run.policy.rule_for(making.source).zone is Zone.FREE
