"""How a system call of another thread ended: that thread is held for a moment right after it (ptrace).

Whoever listens to calls (`seccomp`) hears of them before they are made, and of their end nothing. A thread that waits to be
heard can be asked to stop as soon as its call is over: what the call answered is in its registers then. Nobody has to wait
for that meanwhile, and the thread goes on as soon as it is let go.

Facts: ptrace(2), ``PTRACE_SEIZE`` and "Stopped states"; signalfd(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Iterator
from typing import Final

from .syscalls import call

_SEIZE: Final = 0x4206
_INTERRUPT: Final = 0x4207
_READ_REGISTERS: Final = 0x4204
_DETACH: Final = 17
_GENERAL: Final = 1  # NT_PRSTATUS, elf(5)
_STOPPED_AS_ASKED: Final = 128  # PTRACE_EVENT_STOP
_OF_ALL_KINDS: Final = 0x40000000  # __WALL: other threads than a process's first one, too
_REGISTER_BYTES: Final = 1024
# How many bytes of general registers there are tells the architecture; where in them the answer is, and how wide.
_ANSWERS: Final = {
    27 * 8: struct.Struct("=80xq"),  # x86-64
    17 * 4: struct.Struct("=24xi"),  # its 32-bit programs
    34 * 8: struct.Struct("=q"),  # ARM64
    18 * 4: struct.Struct("=i"),  # its 32-bit programs
}
# In the kernel alone: a signal came, and the call is made again (include/linux/errno.h).
_MADE_AGAIN: Final = frozenset({-512, -513, -514, -516})
_SIGNALS_BYTES: Final = 128


class CallEnds:
    """The threads whose calls are followed to their end by this thread.

    :ivar fd: can be read from when one may have come to its end.
    :raises OSError: the kernel gives no descriptor.
    """

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        wanted = (1 << signal.SIGCHLD - 1).to_bytes(_SIGNALS_BYTES, "little")
        self.fd = call("signalfd", -1, wanted, os.O_NONBLOCK | os.O_CLOEXEC)

    def attach(self, thread: int) -> None:
        """Be told what becomes of a thread, which goes on meanwhile.

        :raises OSError: it may not be looked at, somebody else follows it, or it is gone.
        """
        call("ptrace", _SEIZE, thread, 0, 0)

    def hold(self, thread: int) -> None:
        """Have an attached thread stop at the end of the call in which it waits to be heard.

        It has to wait there in a way that no signal ends (`seccomp.waits_to_the_end`).

        :raises OSError: it is gone.
        """
        call("ptrace", _INTERRUPT, thread, 0, 0)

    def ended(self) -> Iterator[tuple[int, int | None]]:
        """The threads whose calls are over, each of which goes on when the next one is asked for.

        :returns: the thread, and what the call answered: an error is negative. ``None``: it was killed, the call will be
            made again, or this architecture is not known.
        """
        self._forget_signals()
        while True:
            try:
                thread, status = os.waitpid(-1, os.WNOHANG | _OF_ALL_KINDS)
            except ChildProcessError:
                return
            if thread == 0:
                return
            if not os.WIFSTOPPED(status):
                yield thread, None
                continue
            asked = status >> 16 == _STOPPED_AS_ASKED
            try:
                yield thread, _answer(thread) if asked else None
            finally:
                _let_go(thread, 0 if asked else os.WSTOPSIG(status))

    def _forget_signals(self) -> None:
        try:
            while os.read(self.fd, 1 << 12):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Follow nobody any more; those that are followed are let go when this thread ends."""
        os.close(self.fd)


def _answer(thread: int) -> int | None:
    content = ctypes.create_string_buffer(_REGISTER_BYTES)
    where = ctypes.create_string_buffer(struct.pack("@PN", ctypes.addressof(content), len(content)), 16)
    try:
        call("ptrace", _READ_REGISTERS, thread, _GENERAL, where)
    except OSError:
        return None  # killed meanwhile
    _, size = struct.unpack("@PN", where.raw)
    place = _ANSWERS.get(size)
    if place is None:
        return None
    (answer,) = place.unpack_from(content)
    return None if answer in _MADE_AGAIN else int(answer)


def _let_go(thread: int, number: int) -> None:
    try:
        call("ptrace", _DETACH, thread, 0, number)
    except OSError as problem:
        if problem.errno != errno.ESRCH:  # killed meanwhile
            raise
