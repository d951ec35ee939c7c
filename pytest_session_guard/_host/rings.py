"""What another process has told a ring (io_uring) to do, read before the kernel takes it.

The kernel lists it in ``/proc/PID/fdinfo``, whatever layout the ring was asked to have; it tries the ring's lock for that and
waits for nobody. The list lacks some words of an entry, and until Linux 6.19 all entries of a ring without an index array;
but it says where they lie in the memory that a ring shares with whoever has its descriptor.

Facts: io_uring_setup(2), io_uring_enter(2), proc_pid_fdinfo(5); the list is there since Linux 5.16.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from .._core.values import dataclass
from . import memory, processes
from .syscalls import syscall

# Of a setup's parameters.
SETUP_POLLED: Final = 1 << 1
SETUP_LONG: Final = 1 << 10
SETUP_IN_OWN_MEMORY: Final = 1 << 14
SETUP_REGISTERED_ALONE: Final = 1 << 15
SETUP_WITHOUT_ARRAY: Final = 1 << 16
# Of what tells it to begin.
ENTER_BY_INDEX: Final = 1 << 4

# Flags, and the address of memory of one's own.
_PARAMETERS: Final = struct.Struct("=8xI60xQ")
_ENTRY: Final = struct.Struct("=BB2xIQQII16xQ8x")
_ENTRIES_AT: Final = 0x10000000
_FIXED_FILE: Final = 1
_LINK_OF_RING: Final = "anon_inode:[io_uring]"

_QUEUE: Final = re.compile(rb"^SqMask:\t0x([0-9a-f]+)\nSqHead:\t(\d+)\nSqTail:\t(\d+)$", re.MULTILINE)
_LISTED: Final = re.compile(rb"^ *(\d+): opcode:(\w+),(.*)$", re.MULTILINE)
_IS_LONG: Final = b" e0:"
_FILES: Final = re.compile(rb"^UserFiles:\t\d+\n((?: *\d+: .*\n)*)", re.MULTILINE)

_PIDFD_GETFD: Final = 438
_PIDFD_THREAD: Final = os.O_EXCL
_LOOKS: Final = 10
_PAUSE_S: Final = 0.0001


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to do, in the shape of the system call that would do the same.

    :param path: of a file that the ring knows by an index of its own, or ``""``.
    """

    name: str
    arguments: tuple[int, ...]
    path: str = ""


# By opcode: what the kernel lists it as (until 5.19 the number itself), the system call, and where that one's arguments are
# among an entry's words.
_AT, _SECOND, _ADDRESS, _LENGTH, _FURTHER, _THIRD = range(6)
_CALLS: Final[dict[int, tuple[bytes, str, tuple[int, ...]]]] = {
    18: (b"OPENAT", "openat", (_AT, _ADDRESS, _FURTHER)),
    28: (b"OPENAT2", "openat2", (_AT, _ADDRESS, _SECOND)),
    35: (b"RENAMEAT", "renameat2", (_AT, _ADDRESS, _LENGTH, _SECOND, _FURTHER)),
    36: (b"UNLINKAT", "unlinkat", (_AT, _ADDRESS, _FURTHER)),
    37: (b"MKDIRAT", "mkdirat", (_AT, _ADDRESS)),
    38: (b"SYMLINKAT", "symlinkat", (_ADDRESS, _AT, _SECOND)),
    39: (b"LINKAT", "linkat", (_AT, _ADDRESS, _LENGTH, _SECOND, _FURTHER)),
    41: (b"FSETXATTR", "fsetxattr", (_AT, _ADDRESS)),
    42: (b"SETXATTR", "setxattr", (_THIRD, _ADDRESS)),
}
_NAMES: Final = {word: name for number, (listed, name, _) in _CALLS.items() for word in (listed, b"%d" % number)}


def setup_of(thread: int, address: int) -> tuple[int, int]:
    """What a thread asks for with a ring.

    :param address: of its parameters.
    :returns: flags, and where the entries are to lie where that is memory of its own.
    :raises OSError: its memory cannot be read.
    """
    flags, own_memory = _PARAMETERS.unpack(memory.memory_of(thread, address, _PARAMETERS.size))
    return flags, own_memory if flags & SETUP_IN_OWN_MEMORY else 0


def rings_of(thread: int) -> list[int]:
    """The descriptors of all rings that a thread has open.

    :raises OSError: it is gone, or may not be looked at.
    """
    place = f"/proc/{thread}/fd"
    return [int(name) for name in os.listdir(place) if _link(f"{place}/{name}") == _LINK_OF_RING]


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""  # closed meanwhile


def entries(
    thread: int, descriptor: int, count: int, own_memory: Sequence[int] = (), without: Collection[str] = ()
) -> list[Entry]:
    """What a ring is told to do next, of that which changes names or attributes or opens something.

    :param count: how many things the ring is told to do now.
    :param own_memory: where the entries may lie if the ring keeps them in memory of the program's own.
    :param without: system calls that are of no interest.
    :returns: without files that a ring knows by an index where the kernel does not say their paths; nothing for what is no ring.
    :raises OSError: the ring may not be looked at, or the kernel does not list it.
    """
    try:
        if os.readlink(f"/proc/{thread}/fd/{descriptor}") != _LINK_OF_RING:
            return []
    except FileNotFoundError:
        return []
    listed, (mask, head, tail) = _list(thread, descriptor)
    pending = min(count, tail - head & 0xFFFFFFFF, mask + 1)
    lines = list(_LISTED.finditer(listed))
    if lines:
        names = ((int(line[1]), _NAMES.get(line[2])) for line in lines[:pending])
        places = [place for place, name in names if name is not None and name not in without]
        size = _ENTRY.size * (2 if _IS_LONG in lines[0][3] else 1)
    else:
        places, size = [(head + turn) & mask for turn in range(pending)], _ENTRY.size
    if not places:
        return []
    found = []
    for content in _memories(thread, descriptor, (max(places) + 1) * size, own_memory):
        found += [_entry(content[place * size :], listed) for place in places]
    return [entry for entry in found if entry is not None and entry.name not in without]


def _list(thread: int, descriptor: int) -> tuple[bytes, tuple[int, int, int]]:
    """The kernel's list, which is empty while somebody has the ring's lock, mostly for microseconds; mask, head and tail."""
    for _ in range(_LOOKS):
        with open(f"/proc/{thread}/fdinfo/{descriptor}", "rb") as file:
            listed = file.read()
        queue = _QUEUE.search(listed)
        if queue is not None:
            return listed, (int(queue[1], 16), int(queue[2]), int(queue[3]))
        time.sleep(_PAUSE_S)
    raise OSError(f"the kernel does not list the ring {descriptor} of {thread}")


def _memories(thread: int, descriptor: int, length: int, own_memory: Sequence[int]) -> Iterator[bytes]:
    """The beginning of a ring's entries; of all that they may be where that cannot be told."""
    try:
        yield _shared(thread, descriptor, length)
    except (OSError, ValueError):
        if not own_memory:
            raise
        for address in own_memory:
            yield memory.memory_of(thread, address, length)


def _shared(thread: int, descriptor: int, length: int) -> bytes:
    process_fd = _open_process(thread)
    try:
        ring_fd = syscall(_PIDFD_GETFD, process_fd, descriptor, 0)
    finally:
        os.close(process_fd)
    try:
        with mmap.mmap(ring_fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=_ENTRIES_AT) as shared:
            return shared[:]
    finally:
        os.close(ring_fd)


def _open_process(thread: int) -> int:
    try:
        return os.pidfd_open(thread, _PIDFD_THREAD)
    except OSError:
        # Before Linux 6.9 only the first thread of a process can be opened; mostly all have the same descriptors.
        return os.pidfd_open(processes.process_of(thread))


def _entry(content: bytes, listed: bytes) -> Entry | None:
    opcode, flags, *words = _ENTRY.unpack_from(content)
    if opcode not in _CALLS:
        return None
    _, name, places = _CALLS[opcode]
    path = _file_at(listed, words[_AT]) if flags & _FIXED_FILE else ""
    if flags & _FIXED_FILE and not path:
        return None
    return Entry(name, tuple(words[place] for place in places), path)


def _file_at(listed: bytes, index: int) -> str:
    """The path of a file that the ring knows by an index, or ``""``."""
    files = _FILES.search(listed)
    found = files and re.search(rb"^ *%d: (/.*)$" % index, files[1], re.MULTILINE)
    if not found:
        return ""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), found[1]))
