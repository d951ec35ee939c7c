"""Processes below this one: adopting orphans, waiting for what is left, telling who is who."""

from __future__ import annotations

import os
import signal
import struct
import time
from typing import Final

PR_SET_CHILD_SUBREAPER: Final = 36
POLL_S: Final = 0.02
CHILDREN_LIMIT_S: Final = 1.0


def adopt_orphans() -> bool:
    """Become the parent of every descendant whose own parent ends; ``False`` where the kernel has no such thing."""
    # Imported here: ctypes costs milliseconds that only the launcher has to pay.
    from pytest_session_guard._host import syscalls

    try:
        syscalls.call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (OSError, AttributeError):
        return False
    return True


def children(pid: int | str = "self") -> list[int]:
    """The living children of a process, zombies included."""
    try:
        with open(f"/proc/{pid}/task/{os.getpid() if pid == 'self' else pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def memory_of(pid: int, address: int, length: int) -> bytes:
    """A stretch of another process's memory, or the beginning of it that is there.

    :raises OSError: it is gone, may not be looked at, or has nothing there (EFAULT).
    """
    import ctypes

    from pytest_session_guard._host import syscalls

    buffer = ctypes.create_string_buffer(length)
    ours = struct.pack("@PN", ctypes.addressof(buffer), length)
    theirs = struct.pack("@PN", address, length)
    read = syscalls.call("process_vm_readv", pid, ours, 1, theirs, 1, 0)
    return buffer.raw[:read]


def command_of(pid: int) -> str:
    """A process's command line on one line, or ``""`` when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode("utf-8", "backslashreplace")


def wait_for_children(limit_s: float, ignore: frozenset[int] = frozenset()) -> list[int]:
    """Wait until no child is left, orphans adopted meanwhile included.

    :param limit_s: seconds after which the rest is given up on.
    :param ignore: children that are nobody's leftovers.
    :returns: the survivors.
    """
    deadline = time.monotonic() + limit_s
    while True:
        _reap()
        left = [pid for pid in children() if pid not in ignore]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(POLL_S)


def _reap() -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def end_children() -> None:
    """End the children of a process that is about to go without its exit handlers: pools and servers of its plugins.

    Nobody would ever end them afterwards; where the process is started again, so are they.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in children():
            os.kill(pid, number)
        if not wait_for_children(CHILDREN_LIMIT_S):
            return
