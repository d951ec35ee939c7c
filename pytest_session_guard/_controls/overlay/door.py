"""The last word of a run without a launcher: its process may not end green while something stands untold.

The kernel tells the keeper of a green ``exit_group`` before the process ends: after destructors, after the exit handlers
of native libraries, and also where a native ``_exit`` or another program in its place would end the run early. Where
the session never came to its end, or an upper layer has what nobody told, the keeper says so on the process's standard
error and kills it: there is nothing left in it that could give another status.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ..._core.zones import counts
from .changes import Change, LayerReader
from .construction import Layer

_EARLY: Final = "pytest ended without finishing its session, so its word is not taken"
_LATE: Final = (
    "was {} after the last look of pytest, by a destructor, a native exit handler or a child; the real one is untouched"
)
_SHOWN: Final = 20


class Door:
    """One process that is watched to its end.

    :param pid: the process, in the keeper's process namespace.
    :param stderr_fd: where the user reads; a copy of it is closed with the process, because a pipe that stayed open
        would keep its reader waiting.
    :param layers: gives the layers of all processes of the run at the moment.
    :ivar process_fd: readable once the process has ended.
    :raises OSError: the kernel gives no such descriptor (before 5.3).
    """

    def __init__(self, pid: int, stderr_fd: int, layers: Callable[[], Iterable[Layer]]) -> None:
        self.process_fd = os.pidfd_open(pid)
        self.pid = pid
        self._stderr_fd = os.dup(stderr_fd)
        self._layers = layers
        self._readers: list[LayerReader] | None = None

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
        lines = list(self._untold())
        if lines:
            try:
                os.write(self._stderr_fd, _encoded(lines))
            finally:
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """The process has ended."""
        os.close(self.process_fd)
        os.close(self._stderr_fd)

    def _untold(self) -> Iterator[str]:
        if self._readers is None:
            yield _EARLY
            return
        try:
            fresh = [change for reader in self._readers for change in reader.changes() if _is_touch(change)]
        except OSError as problem:
            yield f"the upper layers cannot be read at the end ({problem.strerror}), so the run cannot be vouched for"
            return
        for change in fresh[:_SHOWN]:
            yield f"{change.path!r} " + _LATE.format(change.kind)
        if len(fresh) > _SHOWN:
            yield f"and {len(fresh) - _SHOWN} more"


def _encoded(lines: Iterable[str]) -> bytes:
    return "".join(f"session-guard: {line}\n" for line in lines).encode("utf-8", "backslashreplace")


def _is_touch(change: Change) -> bool:
    return counts(change.kind, change.path)
