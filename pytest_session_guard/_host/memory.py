"""What lies in the memory of other processes."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from typing import Final

from pytest_session_guard._host import syscalls

_PAGE_BYTES: Final = 4096
_POINTER: Final = struct.Struct("@P")
# So much of an environment is read at most, should something else be taken for one.
_VARIABLES: Final = 10_000
_VARIABLE_BYTES: Final = 1 << 17


def memory_of(pid: int, address: int, length: int) -> bytes:
    """A stretch of another process's memory, or the beginning of it that is there.

    :raises OSError: it is gone, may not be looked at, or has nothing there (EFAULT).
    """
    buffer = ctypes.create_string_buffer(length)
    ours = struct.pack("@PN", ctypes.addressof(buffer), length)
    theirs = struct.pack("@PN", address, length)
    read = syscalls.call("process_vm_readv", pid, ours, 1, theirs, 1, 0)
    return buffer.raw[:read]


def string_of(pid: int, address: int, length: int) -> bytes:
    """A C string of another process, or the beginning of it, which may be a little longer than asked for.

    :raises OSError: as `memory_of` does.
    """
    end, pieces = address + length, []
    while address < end:
        # It may end just before a page that is not there.
        piece, zero, _ = memory_of(pid, address, _PAGE_BYTES - address % _PAGE_BYTES).partition(b"\0")
        pieces.append(piece)
        if zero:
            break
        address += len(piece)
    return b"".join(pieces)


def place_of_environment() -> int:
    """Where this process and its forks, however these were made, keep the pointer to their environment."""
    return ctypes.addressof(ctypes.c_void_p.in_dll(syscalls.libc(), "environ"))


def environment_at(pid: int, place: int) -> list[bytes]:
    """The environment that a process has by now: for a fork what it was forked with, and has changed since.

    In ``/proc/PID/environ`` is what its program was started with, which for a fork is its parent's.

    :param place: of the pointer to it.
    :returns: empty for one that keeps it elsewhere, has ended, or may not be looked at.
    """
    try:
        (array,) = _POINTER.unpack(memory_of(pid, place, _POINTER.size))
        return [string_of(pid, address, _VARIABLE_BYTES) for address in _pointers(pid, array)]
    except (OSError, struct.error):
        return []


def _pointers(pid: int, address: int) -> Iterator[int]:
    """The pointers of an array, up to the null at its end."""
    end = address + _VARIABLES * _POINTER.size
    while address < end:
        page = memory_of(pid, address, _PAGE_BYTES - address % _PAGE_BYTES)
        for (pointer,) in _POINTER.iter_unpack(page):
            if not pointer:
                return
            yield pointer
        address += len(page)
