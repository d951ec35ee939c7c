"""What programs without a hook bring about in shared places, as artifacts of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_session_guard._core.zones import Zone

if TYPE_CHECKING:
    from pytest_session_guard._controls.overlay import Making
    from pytest_session_guard._run.guard import GuardRun


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
    for making in makings:
        if not run.ownership.is_settled:
            run.ownership.settle()  # else what left a name before takes the new object along
        _take_one(run, making)


def _take_one(run: GuardRun, making: Making) -> None:
    own = run.ownership
    if making.kind == "moved":
        if making.source in own.paths:
            own.moved(making.source, making.path)
    elif making.identity is not None and own.paths.get(making.path) != making.identity and _is_own(run, making):
        own.claim(making.path, making.identity, making.directory)


def _is_own(run: GuardRun, making: Making) -> bool:
    """As for Python: new, one of the run's own, or younger than the run and from a place in which nothing is recorded."""
    identity = making.identity
    if identity is None or making.kind == "made":
        return identity is not None
    if run.ownership.is_own(identity):
        return True
    is_young = identity.birth_ns is not None and identity.birth_ns >= run.directory.started_ns
    return is_young and run.policy.rule_for(making.source).zone is Zone.FREE
