"""The last word of a run without a launcher: its process may not end green while something stands untold.

The kernel tells the keeper of a green ``exit_group`` before the process ends: after destructors, after the exit handlers
of native libraries, and also where a native ``_exit`` or another program in its place would end the run early. Where
the session never came to its end, or an upper layer has what nobody told, the keeper says so on the process's standard
error and kills it: there is nothing left in it that could give another status.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Final

from ..._core.records import parse_journal
from ..._core.zones import counts, is_within
from .changes import Change, LayerReader
from .construction import Layer

_EARLY: Final = "pytest ended without finishing its session, so its word is not taken"
_BEFORE: Final = "was {} before that, by a child process or native code; the real one is untouched"
_LATE: Final = (
    "was {} after the last look of pytest, by a destructor, a native exit handler or a child; the real one is untouched"
)
_SHOWN: Final = 10
# So much goes into a pipe that can be written to at all, without waiting for its reader (PIPE_BUF).
_WRITTEN_AT_MOST: Final = 4096
_WAIT_MS: Final = 1000


class Door:
    """One process that is watched to its end.

    :param pid: the process, in the keeper's process namespace.
    :param stderr_fd: where the user reads; a copy of it is closed with the process, because a pipe that stayed open
        would keep its reader waiting.
    :param layers: gives the layers of all processes of the run at the moment.
    :param own: the run's own directory: what is done there is no touch.
    :ivar process_fd: readable once the process has ended.
    :raises OSError: the kernel gives no such descriptor (before 5.3).
    """

    def __init__(self, pid: int, stderr_fd: int, layers: Callable[[], Iterable[Layer]], own: str) -> None:
        self.process_fd = os.pidfd_open(pid)
        self.pid = pid
        self._stderr_fd = os.dup(stderr_fd)
        self._layers = layers
        self._own = own
        self._readers: list[LayerReader] | None = None
        self._has_spoken = False

    def shut(self, stderr_fd: int, own: str) -> None:
        """A session begins in the process, after another one."""
        os.dup2(stderr_fd, self._stderr_fd, inheritable=False)
        self._own = own
        self._readers = None

    def open(self) -> None:
        """The session is over, and everything up to now has been told.

        :raises OSError: a layer cannot be read.
        """
        readers = [LayerReader(layer) for layer in self._layers()]
        for reader in readers:
            reader.changes()
        self._readers = readers

    def attend(self, thread: int) -> None:
        """A thread is about to end its process, green."""
        if thread != self.pid and not os.path.exists(f"/proc/{self.pid}/task/{thread}"):
            return
        lines = self._verdict()
        if lines:
            try:
                self._say(lines)
            finally:
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """The process has ended, by whatever: what it could not tell is told."""
        try:
            lines = [] if self._has_spoken else self._verdict()
            if lines:
                self._say(lines)
        finally:
            os.close(self.process_fd)
            os.close(self._stderr_fd)

    def _verdict(self) -> list[str]:
        try:
            return list(self._untold())
        except Exception as problem:  # what cannot be judged must not end green
            return [f"the end of pytest could not be judged: {type(problem).__name__}: {problem}"]

    def _untold(self) -> Iterator[str]:
        readers, reason = self._readers, _LATE
        if readers is None:
            yield _EARLY
            yield from islice(self._written_down(), _SHOWN)
            reason = _BEFORE
        try:
            readers = readers or [LayerReader(layer) for layer in self._layers()]
            fresh = [change for reader in readers for change in reader.changes() if self._is_touch(change)]
        except OSError as problem:
            yield f"the upper layers cannot be read at the end ({problem.strerror}), so the run cannot be vouched for"
            return
        for change in fresh[:_SHOWN]:
            yield f"{change.path!r} " + reason.format(change.kind)
        if len(fresh) > _SHOWN:
            yield f"and {len(fresh) - _SHOWN} more"

    def _written_down(self) -> Iterator[str]:
        """The violations that the journals of the run have."""
        try:
            names = sorted(name for name in os.listdir(self._own) if name.startswith("journal-"))
            pages = [parse_journal(_content(f"{self._own}/{name}")) for name in names]
        except OSError as problem:
            yield f"the journals in {self._own!r} cannot be read ({problem.strerror})"
            return
        for record in chain.from_iterable(page.records for page in pages):
            if record.get("kind") == "touch" and record.get("violation"):
                path, outcome, operation = (str(record.get(name)) for name in ("path", "outcome", "operation"))
                yield f"{path!r} was {outcome} before that, by {operation} in {record.get('nodeid') or 'no test'}"

    def _is_touch(self, change: Change) -> bool:
        return counts(change.kind, change.path) and not is_within(change.path, self._own)

    def _say(self, lines: Iterable[str]) -> None:
        self._has_spoken = True
        text = "".join(f"session-guard: {line}\n" for line in lines).encode("utf-8", "backslashreplace")
        poll = select.poll()
        poll.register(self._stderr_fd, select.POLLOUT)
        if any(events & select.POLLOUT for _, events in poll.poll(_WAIT_MS)):
            # Nobody may be there to read it any more; the status says it alone then.
            with contextlib.suppress(OSError):
                os.write(self._stderr_fd, text[:_WRITTEN_AT_MOST])


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
