"""What nobody saw happen, as touches: changes in an upper layer, and tries that the walls refused without a trace."""

from __future__ import annotations

import os
from builtins import str  # noqa: A004 - captured: tests mock builtins
from typing import TYPE_CHECKING, Final, NamedTuple

from pytest_session_guard._controls.audit.attribution import NOBODY, Culprit
from pytest_session_guard._core.records import Outcome, Span, Touch
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Policy, Rule, Zone
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._run.commands import UNKNOWN, Suspects

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
APPEARED_REASON: Final = (
    "was made by a child process, native code or a program outside this run, and is really there: "
    "nothing can be put over a protected place that does not exist"
)
REFUSED_REASON: Final = "was aimed at by a child process or native code; the real one is untouched"


@dataclass(frozen=True, slots=True)
class Blame:
    """Whom a touch is charged to.

    :param counts: whether it is a violation.
    :param suspects: the programs that the test started, one of which may have done it.
    :param still_at_work: who was at work after the end of pytest, in words.
    """

    span: Span
    counts: bool = True
    suspects: Suspects = UNKNOWN
    still_at_work: str = ""


def contained(change: Change, rule: Rule, blame: Blame) -> Touch:
    """A change that landed in an upper layer, or where none could be put."""
    reason = APPEARED_REASON if change.real else CONTAINED_REASONS[change.kind]
    if blame.still_at_work:
        reason += f"; at work after the end of pytest: {blame.still_at_work}"
    unknown = Doer(0, blame.suspects.words, blame.suspects.culprit)
    outcome: Outcome = "allowed" if change.real else "contained"
    return _charged(change.kind, change.path, outcome, reason, unknown, rule, blame)


def refused(attempt: Try, rule: Rule, blame: Blame) -> Touch:
    """A try that no layer shows."""
    is_own = os.path.isdir(f"/proc/self/task/{attempt.pid}")
    doer = Doer(attempt.pid) if is_own else Doer(attempt.pid, attempt.command, blame.suspects.culprit)
    return _charged(attempt.operation, attempt.path, "refused", REFUSED_REASON, doer, rule, blame)


class Doer(NamedTuple):
    """A process and its command, or those that may have been it, and the line that started it; empty where that is not known."""

    pid: int
    command: str = ""
    culprit: Culprit = NOBODY


def _charged(operation: str, path: str, outcome: Outcome, reason: str, doer: Doer, rule: Rule, blame: Blame) -> Touch:
    return Touch(
        time=Raw.time_ns() / 1e9,
        operation=operation,
        path=path,
        zone=rule.zone.value,
        outcome=outcome,
        violation=blame.counts,
        layer="overlay",
        nodeid=blame.span.nodeid,
        phase=blame.span.phase,
        pid=doer.pid,
        process=doer.command,
        file=doer.culprit.file,
        line=doer.culprit.line,
        function=doer.culprit.function,
        reason=reason,
        rule=str(rule),
    )


def rule_of(attempt: Try, policy: Policy) -> Rule | None:
    """The guarded rule that a try offends against; a rename also where a guarded place lies below."""
    rule = policy.rule_for(attempt.path)
    if rule.zone is Zone.PROTECTED or (attempt.refused and rule.zone is Zone.SHARED):
        return rule
    return policy.holds_guarded(attempt.path) if attempt.operation == "rename" else None


def is_refused(attempt: Try) -> bool:
    """Whether nothing came of a try that no layer shows.

    A program that may not link or rename a file out, and copies it instead, has only read it.
    """
    return attempt.refused or (os.path.lexists(attempt.path) and not (attempt.other and os.path.lexists(attempt.other)))
