"""What a run left running: who it is and which test started it, and a wait for it that has an end."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from pytest_session_guard._core.records import Span
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._host.processes import (
    POLL_S,
    TEST_VARIABLE,
    ancestors,
    children,
    command_of,
    descendants,
    environment_of,
    has_ended,
    mount_namespace,
    open_files,
    parent_of,
    process_ids,
    program_of,
    test_in,
    waits_at_one_of,
)

WAIT_S: Final = 5.0
"""Seconds to wait, once pytest is done, for what it left running: by the launcher, and by a run without one."""
STILL_RUNNING: Final = "still running when the wait was over: {}; it is held, and what it does is not reported any more"
SHOWN: Final = 3

_sleep: Final = time.sleep  # captured: tests replace them
_monotonic: Final = time.monotonic


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process that the run started and that outlives it.

    :param nodeid: the test that started it, or ``""`` where that is not known.
    :param is_inner: its environment names a test of another pytest, which one of this run's tests started.
    """

    pid: int
    command: str
    nodeid: str = ""
    is_inner: bool = False

    def to_json(self) -> dict[str, Any]:
        """The process as a record of a journal."""
        return {"kind": "leftover", "pid": self.pid, "command": self.command, "nodeid": self.nodeid}

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Leftover:
        """The twin of `to_json`."""
        return cls(int(record["pid"]), str(record["command"]), str(record["nodeid"]))

    def __str__(self) -> str:
        """The process for people."""
        return f"{self.pid} {self.command}" + (f" (started by {self.nodeid})" if self.nodeid else "")


@dataclass
class Leftovers:
    """The processes of a run, this one left out.

    Found by their mount namespace, which is the run's own where there is an overlay, however they were started; else as
    this process's children, and by the run's id in the environment that they were given. Being told of all orphans
    (``PR_SET_CHILD_SUBREAPER``) would be cheaper, and a test would notice: an orphan that ends would stay as a zombie.

    :param namespaces: the mount namespaces of the run, where it has such.
    :param forked: the tests that made a bare fork of this process; such a child has no environment of its own to ask.
    :param environment_of_fork: as of `Walls`.
    :param is_test: whether a test is one of this run; those of a pytest that a test has started are not.
    :param near: only this process's children and all below them count, and those that are ``known`` besides; that takes no look
        at other processes.
    """

    run_id: str
    namespaces: Collection[str] = ()
    forked: Collection[str] = ()
    environment_of_fork: Callable[[int, Sequence[str]], list[bytes]] = lambda pid, marks: []
    is_test: Callable[[str], bool] = bool
    near: bool = False
    known: Collection[int] = ()
    met: dict[int, Leftover] = field(default_factory=dict)

    def wait(self, limit_s: float) -> list[Leftover]:
        """Wait until nothing of the run is at work any more; whoever interrupts this ends the wait.

        A process that merely waits at a pipe which this one holds (a resource tracker, a fork server) ends with it and is
        not waited for.

        :returns: who is at work even so.
        """
        deadline = _monotonic() + limit_s
        try:
            while (left := self.look()) and _monotonic() < deadline:
                _sleep(POLL_S)
        except KeyboardInterrupt:
            left = self.look()
        return left

    def look(self) -> list[Leftover]:
        """Who is at work at this moment."""
        pids = list(self._pids())
        if not pids:
            return []
        pipes = {target for target in open_files("self", stat.S_IWUSR) if target.startswith("pipe:")}
        left = [pid for pid in pids if not waits_at_one_of(pid, pipes)]
        for pid in left:
            known = self.met.get(pid)
            if known is None or not known.nodeid:
                self.met[pid] = self._look_at(pid)
        at_work = [self.met[pid] for pid in left]
        # One that ended between being listed and being asked says nothing, which is no word against what the others say.
        self.met = {pid: one for pid, one in self.met.items() if one.command or one.nodeid}
        return at_work

    def _pids(self) -> Iterator[int]:
        if self.near:
            yield from (pid for pid in {*descendants(), *self.known} if not has_ended(pid))
            return
        if self.namespaces:
            # What started this process goes by the same layers where a session came before this one; it was left by nobody.
            above = ancestors()
            yield from (pid for pid in process_ids() if mount_namespace(pid) in self.namespaces and pid not in above)
            return
        own, mark = frozenset(children()), self.run_id.encode()
        for pid in process_ids():
            # One without a command line has ended, and waits to be asked for its status.
            if (pid in own and command_of(pid)) or any(mark in word for word in environment_of(pid)):
                yield pid

    def _look_at(self, pid: int) -> Leftover:
        command, words = command_of(pid), environment_of(pid)
        forker = self.forker_of(pid)
        if forker is not None:
            return Leftover(pid, command, forker)
        if is_fork(pid, words):
            return Leftover(pid, command, next(iter(self.forked)) if len(self.forked) == 1 else "")
        # A program that is just being started has no environment yet; its parent's test started it all the same.
        parent = self.met.get(parent_of(pid))
        named = test_in(words)
        if self.is_test(named):
            return Leftover(pid, command, named)
        return Leftover(pid, command, parent.nodeid if parent is not None else "", is_inner=named != "")

    def forker_of(self, pid: int) -> str | None:
        """The test that ran when a process was forked off this one, past Python too, or ``""`` for none.

        :returns: ``None`` where that cannot be known: it is no fork, may not be looked at, or its environment was emptied.
        """
        if program_of(pid) != program_of():
            return None
        words = self.environment_of_fork(pid, (TEST_VARIABLE.decode(), self.run_id))
        mark = self.run_id.encode()
        if not any(mark in word for word in words):
            return None
        # Pytest itself may have been started by somebody's test.
        return test_in(set(words).difference(environment_of("self")))

    @property
    def starter(self) -> Span:
        """The one test that started all that was met, after its end; else no test."""
        names = {one.nodeid for one in self.met.values()}
        return Span(names.pop() if len(names) == 1 else "", "late")


def is_fork(pid: int, words: Sequence[bytes] | None = None) -> bool:
    """Whether a process is this one's fork, for which no program was started.

    Whatever a test starts as a program is told which test it is, unless somebody clears its environment.

    :param words: its environment, where that is known.
    """
    given = environment_of(pid) if words is None else words
    return any(given) and given == environment_of("self") and program_of(pid) == program_of()


def told(leftovers: Iterable[Leftover]) -> str:
    """Some processes in one clause, the first few by name."""
    words = [str(one) for one in leftovers]
    more = [f"and {len(words) - SHOWN} more"] if len(words) > SHOWN else []
    return ", ".join([*words[:SHOWN], *more])
