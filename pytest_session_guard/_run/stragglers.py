"""Programs that outlive the test that started them: what they do is that test's, also while another one runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pytest_session_guard._core.records import Span
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.processes import ancestors, mount_namespace, process_ids, run_time_ns
from pytest_session_guard._run.commands import UNKNOWN, Suspects
from pytest_session_guard._run.leftovers import Leftover, Leftovers, is_fork, told

# So much older than a phase may be what is known of them at its beginning: to ask takes some fifty microseconds each.
STALE_AFTER_S: Final = 0.05
_monotonic: Final = time.monotonic  # captured: tests replace it


class Stragglers:
    """Who of this process's children was at work when the test that started it was over.

    What has let go of its parent, as daemons do, is found by the layers that it stands in; only those that are new among all
    processes are asked.

    :param run_id: the run's.
    :param namespace: gives the mount namespace of this process's layers, ``""`` where it has none.
    """

    def __init__(self, run_id: str, namespace: Callable[[], str]) -> None:
        self._leftovers = Leftovers(run_id, near=True)
        self._namespace = namespace
        self._listed: frozenset[int] = frozenset()
        # How long each has run up to the beginning of this phase, or a moment before.
        self._ran: dict[int, int] = {}
        # Whom no test started, as far as is known.
        self._nobodys: frozenset[int] = frozenset()
        self._asked = 0.0

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._ran)

    def look(self, programs: tuple[str, str] | None, forked: str | None) -> None:
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
            starter = one.nodeid or self._starter(one.pid, forked or "" if is_orphan else nodeid, is_orphan)
            at_work.append(Leftover(one.pid, one.command or words, starter))
        self._leftovers.met = {one.pid: one for one in at_work if one.nodeid}
        self._nobodys = frozenset(one.pid for one in at_work if not one.nodeid)
        self._ran = dict.fromkeys(self._leftovers.met, -1)
        self._ask()

    def _starter(self, pid: int, ended: str, is_orphan: bool) -> str:
        """The test to charge for one that does not tell its own: it has only just been started, or is a bare fork."""
        return "" if pid in self._nobodys or (is_orphan and not is_fork(pid)) else ended

    def _orphans(self) -> frozenset[int]:
        """Who stands in these layers and is new, or was known before."""
        namespace = self._namespace()
        if not namespace:
            return frozenset()
        before, self._listed = self._listed, frozenset(process_ids())
        new = {pid for pid in self._listed - before if mount_namespace(pid) == namespace}
        return frozenset(new | self._leftovers.met.keys()) - ancestors() - {Raw.getpid()}

    def begin_phase(self) -> None:
        """Whatever they did up to now has been told, and who has ended is none any more."""
        if _monotonic() - self._asked > STALE_AFTER_S:
            self._ask()

    def _ask(self) -> None:
        self._asked = _monotonic()
        times = ((pid, run_time_ns(pid)) for pid in self._ran)
        self._ran = {pid: time_ns for pid, time_ns in times if time_ns is not None}

    def suspects(self, running: Span) -> tuple[Span, Suspects]:
        """The test to charge, and who may have done it, in words; nobody where none of them has moved in this phase.

        :param running: the test and phase that runs.
        """
        moved = [
            self._leftovers.met[pid] for pid, ran_ns in self._ran.items() if ran_ns == -1 or run_time_ns(pid) != ran_ns
        ]
        names = {one.nodeid for one in moved}
        if not moved:
            return running, UNKNOWN
        charged = running if len(names) != 1 or running.nodeid in names else Span(names.pop(), "late")
        return charged, Suspects(told(moved))
