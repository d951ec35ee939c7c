"""Programs that outlive the test that started them: what they do is that test's, also while another one runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pytest_session_guard._core.records import Span
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.processes import (
    ancestors,
    asleep_s,
    mount_namespace,
    process_ids,
    run_time_ns,
)
from pytest_session_guard._run.commands import ANY_OF, UNKNOWN, Commands, Forks, Suspects
from pytest_session_guard._run.leftovers import Leftover, Leftovers, is_fork, told
from pytest_session_guard._run.walls import Walls

# So much older than a phase may be what is known of them at its beginning: to ask takes some fifty microseconds each.
STALE_AFTER_S: Final = 0.05
# So long before a phase began must have gone to sleep what cannot have moved in it: a container's quota may hold it up.
ASLEEP_BEFORE_S: Final = 0.1
_monotonic: Final = time.monotonic  # captured: tests replace it


class Stragglers:
    """Who of this process's children was at work when the test that started it was over.

    What has let go of its parent, as daemons do, is found by the layers that it stands in; only those that are new among all
    processes are asked.

    :param run_id: the run's.
    :param walls: gives those that this process stands behind.
    :ivar tests: those that this process has run.
    """

    def __init__(self, run_id: str, walls: Callable[[], Walls], commands: Commands, forks: Forks) -> None:
        self._walls, self._commands, self._forks = walls, commands, forks
        self.tests: set[str] = set()
        self._leftovers = Leftovers(
            run_id,
            environment_of_fork=lambda pid, marks: walls().environment_of_fork(pid, marks),
            is_test=self.tests.__contains__,
            near=True,
        )
        self._listed: frozenset[int] = frozenset()
        # How long each has run up to the beginning of this phase, or a moment before.
        self._ran: dict[int, int] = {}
        # Who of them was met in this phase.
        self._strays: set[int] = set()
        # Whom no test started, as far as is known.
        self._nobodys: frozenset[int] = frozenset()
        self._began = self._asked = 0.0

    def enter(self, nodeid: str) -> None:
        """A phase begins. Ten thousand empty tests come here: nothing is called for nothing."""
        self.tests.add(nodeid)
        if self._commands.started or self._forks.lately:
            ended, forked = self._commands.end_of_others(nodeid), self._forks.end_of_another(nodeid)
            if ended is not None or forked is not None:
                self._look(ended, forked)
        self._began = _monotonic()
        if self._ran and self._began - self._asked > STALE_AFTER_S:
            # Whatever they did up to now has been told, and who has ended is none any more.
            self._ask()

    def _look(self, programs: tuple[str, str] | None, forked: str | None) -> None:
        """A test is over that started programs, or forked.

        :param programs: the test that started programs, and these in words.
        :param forked: the one test that made forks since the last look; ``""`` where that is not known.
        """
        nodeid, words = programs or (forked or "", "")
        orphans = self._orphans()
        self._leftovers.known = orphans
        at_work = []
        for one in self._leftovers.look():
            is_orphan = one.pid in orphans
            # A daemon of a pytest that a test has started names a test of that one.
            own = nodeid if one.is_inner or not is_orphan else forked or ""
            starter = one.nodeid or self._starter(one.pid, own, is_orphan and not one.is_inner)
            at_work.append(Leftover(one.pid, one.command or words, starter))
        self._leftovers.met = {one.pid: one for one in at_work if one.nodeid}
        self._nobodys = frozenset(one.pid for one in at_work if not one.nodeid)
        self._ran = dict.fromkeys(self._leftovers.met, -1)
        self._ask()

    def _starter(self, pid: int, ended: str, is_orphan: bool) -> str:
        """The test to charge for one that does not tell its own: it has only just been started, or is a bare fork."""
        if pid in self._nobodys or (is_orphan and not is_fork(pid)):
            return ""
        return ended if self._leftovers.forker_of(pid) is None else ""

    def _orphans(self) -> frozenset[int]:
        """Who stands in these layers and is new, or was known before."""
        namespace = self._walls().namespace
        if not namespace:
            return frozenset()
        before, self._listed = self._listed, frozenset(process_ids())
        new = {pid for pid in self._listed - before if mount_namespace(pid) == namespace}
        return frozenset(new | self._leftovers.met.keys() | self._nobodys) - ancestors() - {Raw.getpid()}

    def _ask(self) -> None:
        self._asked = _monotonic()
        self._strays.clear()
        times = ((pid, run_time_ns(pid)) for pid in self._ran)
        self._ran = {pid: time_ns for pid, time_ns in times if time_ns is not None}

    def _meet(self) -> list[Leftover]:
        """Take in who was made past Python, so that no look was taken when its test was over.

        :returns: who of no test may have done it as well, where it is not known who has moved in this phase.
        """
        namespace = self._walls().namespace
        self._leftovers.known = self._orphans()
        at_work = {one.pid: one for one in self._leftovers.look()}
        self._leftovers.met = {pid: one for pid, one in self._leftovers.met.items() if pid in {*at_work, *self._ran}}
        self._nobodys = frozenset(pid for pid, one in at_work.items() if not one.nodeid)
        # What a worker's tests started has layers of its own.
        in_phase_s = _monotonic() - self._began + ASLEEP_BEFORE_S
        here = {pid for pid in at_work if mount_namespace(pid) == namespace and asleep_s(pid) < in_phase_s}
        self._strays |= here - self._nobodys - self._ran.keys()
        self._ran.update(dict.fromkeys(self._strays, -1))
        return [at_work[pid] for pid in here & self._nobodys] if self._strays else []

    def starter_of(self, pid: int, named: str) -> str:
        """The test that started a process, where that is one that left something at work; else ``""``.

        :param named: the test in the environment of its program, which may be one of a pytest that a test has started.
        """
        met = self._leftovers.met
        if pid in met:
            return met[pid].nodeid
        return named if any(one.nodeid == named for one in met.values()) else ""

    def suspects(self, running: Span) -> tuple[Span, Suspects]:
        """The test to charge, and who may have done it, in words; nobody where none of them has moved in this phase.

        :param running: the test and phase that runs.
        """
        others = self._meet()
        moved = [
            self._leftovers.met[pid] for pid, ran_ns in self._ran.items() if ran_ns == -1 or run_time_ns(pid) != ran_ns
        ]
        moved += others
        names = {one.nodeid for one in moved}
        if not moved:
            return running, UNKNOWN
        charged = running if len(names) != 1 or running.nodeid in names else Span(names.pop(), "late")
        return charged, Suspects(f"{ANY_OF if len(moved) > 1 else ''}{told(moved)}")
