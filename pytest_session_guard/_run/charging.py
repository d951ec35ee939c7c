"""Reading the walls: what nobody saw happen becomes a touch of the test that runs."""

from __future__ import annotations

import os
from builtins import len  # noqa: A004 - captured: tests mock builtins
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_session_guard._core.records import Span
from pytest_session_guard._core.zones import Zone, counts, is_within
from pytest_session_guard._run.charges import Blame, contained, is_refused, refused, rule_of
from pytest_session_guard._run.commands import UNKNOWN, Suspects

if TYPE_CHECKING:
    from pytest_session_guard._controls.overlay import Change, Try
    from pytest_session_guard._run.guard import GuardRun


class Charging:
    """What lands in the upper layers of one process, and what was tried there, against what its run knows already.

    :ivar still_at_work: who was at work after the end of pytest, in words.
    :ivar told_by_children: what forked children read from the same layers before us, and charged themselves.
    """

    def __init__(self, run: GuardRun) -> None:
        self._run = run
        self._touches_before = 0
        self._late: tuple[Span, Suspects] | None = None
        self.still_at_work = ""
        self.told_by_children: set[str] = set()

    def read_walls(self) -> None:
        """Charge what is new in the layers, and the tries that they do not show, to the test that runs."""
        run = self._run
        try:
            changes, tries = run.walls.changes(), run.walls.tries()
        except Exception as problem:  # an error of the guard's own is a violation, never the suite's crash
            run.failed("overlay", ("upper layers",), problem)
            return
        if not changes and not tries:
            return
        self._late = None
        recent = run.touches[self._touches_before :]
        told = ("contained", "preserved")
        seen = {touch.path for touch in recent if touch.outcome in told and touch.layer == "hook"}
        seen |= self.told_by_children
        self.told_by_children.clear()
        known = len(run.touches)
        self.charge(change for change in changes if change.path not in seen)
        self._charge_tries(tries, {touch.path for touch in (*recent, *run.touches[known:])})
        self._touches_before = len(run.touches)  # what is tried again after this is tried again

    def charge(self, changes: Iterable[Change]) -> None:
        """Charge changes in an upper layer to the test that runs."""
        run = self._run
        for change in changes:
            rule = run.policy.rule_for(change.path)
            # The guard's own canary is no touch.
            own = is_within(change.path, run.directory.path)
            if rule.zone is Zone.PROTECTED and not own and counts(change.kind, change.path):
                run.touched(contained(change, rule, self._blame()))

    def _charge_tries(self, tries: Iterable[Try], known: set[str]) -> None:
        run = self._run
        for attempt in tries:
            rule = rule_of(attempt, run.policy)
            if rule is not None and attempt.path not in known and is_refused(attempt):
                known.add(attempt.path)
                run.touched(refused(attempt, rule, self._blame(attempt)))

    def _of_earlier_tests(self, running: Span) -> tuple[Span, Suspects]:
        """Whom to charge for what no program of the running test has done: a thread's, or what an earlier test left at work."""
        found = self._run.commands.of_others(running.nodeid)
        if found is None:
            return self._run.stragglers.suspects(running)
        starter, suspects = found
        return Span(starter, "late") if starter else running, suspects

    def _blame(self, attempt: Try | None = None) -> Blame:
        """Whom to charge, and whom to name.

        :param attempt: the try, of which it is known who made it.
        """
        run = self._run
        span, suspects = run.span, run.commands.of(run.span.nodeid)
        starter = run.stragglers.starter_of(attempt.pid, attempt.test) if attempt is not None else ""
        if starter not in ("", span.nodeid):
            return Blame(Span(starter, "late"), still_at_work=self.still_at_work)
        is_own = attempt is not None and os.path.isdir(f"/proc/self/task/{attempt.pid}")
        if suspects == UNKNOWN and not (is_own or run.is_expecting or self.still_at_work):
            # The test that runs has started no program; an earlier one may have. All that one look finds is asked about once.
            span, suspects = self._late = self._late or self._of_earlier_tests(span)
        return Blame(span, not run.is_expecting, suspects, self.still_at_work)
