"""What goes wrong in the guard itself, as a violation: never silent, and never in the suite's way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import Span, Touch
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._run.commands import Suspects

REPORT: Final = "report"
"""What goes wrong when a report is to be written where it was asked for."""
FINISHING: Final = "the end of the run"
"""What goes wrong while a run is finished."""
FIX_FINISHING: Final = "finish it by hand: session-guard clean {run}; and please report this error of the guard's own"
FIX_REPORT: Final = "name a place where this user may write (--session-guard-json, --session-guard-html)"


def own_error(event: str, args: tuple[Any, ...], problem: BaseException, span: Span, suspects: Suspects) -> Touch:
    """The touch that an error of the guard's own is written down as.

    :param event: what was to be judged, or done.
    :param args: its arguments; the first is the path.
    :param suspects: the programs that the test started: a ledger that is gone was deleted by somebody.
    """
    touch = Touch(
        time=Raw.time_ns() / 1e9,
        operation=event,
        path=args[0] if args and type(args[0]) is str else ascii(args[:1])[:300],
        zone="protected",
        outcome="refused",
        violation=True,
        layer="guard",
        nodeid=span.nodeid,
        phase=span.phase,
        pid=Raw.getpid(),
        reason=f"could not be judged: {type(problem).__name__}: {problem}",
    )
    if event == REPORT and isinstance(problem, OSError):
        return replace(touch, reason=f"could not be written: {problem.strerror}", fix=FIX_REPORT)
    if event == FINISHING:
        fix = FIX_FINISHING.format(run=touch.path.rpartition("/")[2])
        return replace(touch, reason=f"could not be finished: {type(problem).__name__}: {problem}", fix=fix)
    if not isinstance(problem, LedgerError):
        return touch
    culprit = suspects.culprit
    return replace(
        touch,
        path=problem.path,
        reason=f"belongs to the ledger, which cannot be used: {problem.reason}",
        pid=0 if suspects.words else touch.pid,
        process=suspects.words,
        file=culprit.file,
        line=culprit.line,
        function=culprit.function,
        fix=problem.fix,
    )
