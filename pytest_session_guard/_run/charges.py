"""What nobody saw happen, as touches: changes in an upper layer, and tries that the walls refused without a trace."""

from __future__ import annotations

import os
from builtins import str  # noqa: A004 - captured: tests mock builtins
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_session_guard._core.records import Span, Touch
from pytest_session_guard._core.zones import Rule
from pytest_session_guard._host.fsops import Raw

if TYPE_CHECKING:
    from pytest_session_guard._controls.overlay import Change, Try

_BY = "by a child process or native code; the real one is untouched"
CONTAINED_REASONS: Final = {
    "created": f"was made {_BY.replace('the real one is untouched', 'nothing is there really')}",
    "removed": f"was deleted {_BY}",
    "replaced": f"was replaced {_BY}",
    "content": f"was changed {_BY}",
    "metadata": f"was given other metadata {_BY}",
}
REFUSED_REASON: Final = "was aimed at by a child process or native code; the real one is untouched"


@dataclass(frozen=True, slots=True)
class Blame:
    """Whom a touch is charged to.

    :param counts: whether it is a violation.
    :param commands: the programs that the test started, one of which may have done it.
    :param still_at_work: who was at work after the end of pytest, in words.
    """

    span: Span
    counts: bool = True
    commands: str = ""
    still_at_work: str = ""


def contained(change: Change, rule: Rule, blame: Blame) -> Touch:
    """A change that landed in an upper layer."""
    reason = CONTAINED_REASONS[change.kind]
    if blame.still_at_work:
        reason += f"; at work after the end of pytest: {blame.still_at_work}"
    return Touch(
        time=Raw.time_ns() / 1e9,
        operation=change.kind,
        path=change.path,
        zone=rule.zone.value,
        outcome="contained",
        violation=blame.counts,
        layer="overlay",
        nodeid=blame.span.nodeid,
        phase=blame.span.phase,
        pid=0,
        process=blame.commands,
        reason=reason,
        rule=str(rule),
    )


def refused(attempt: Try, rule: Rule, blame: Blame) -> Touch:
    """A try that no layer shows."""
    is_own = os.path.isdir(f"/proc/self/task/{attempt.pid}")
    return Touch(
        time=Raw.time_ns() / 1e9,
        operation=attempt.operation,
        path=attempt.path,
        zone=rule.zone.value,
        outcome="refused",
        violation=blame.counts,
        layer="overlay",
        nodeid=blame.span.nodeid,
        phase=blame.span.phase,
        pid=attempt.pid,
        process="" if is_own else attempt.command,
        reason=REFUSED_REASON,
        rule=str(rule),
    )


def is_refused(attempt: Try) -> bool:
    """Whether nothing came of a try that no layer shows.

    A program that may not link or rename a file out, and copies it instead, has only read it.
    """
    return os.path.lexists(attempt.path) and not (attempt.other and os.path.lexists(attempt.other))
