"""Seccomp's user notification: a second process hears of chosen system calls before they happen, and lets them go on.

By itself it refuses nothing. It hears of the calls that a wall refuses without a trace, so they are few and rare ones: each
costs the caller a turn of the listening process. All others run through a filter of some thirty instructions. Where no wall
can stand, the listener may refuse a call instead.

Facts: seccomp(2), seccomp_unotify(2); a listener needs Linux 5.5, `CAP_SYS_ADMIN` in its user namespace, and no other
listener above it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Mapping
from typing import Final

from .._core.values import dataclass
from .syscalls import call, libc, syscall

# Statuses that would let a pipeline go on: everything passed, or pytest collected no test.
GREEN: Final = (0, 5)
FS_IOC_SETFLAGS: Final = 0x40086602
FS_IOC32_SETFLAGS: Final = 0x40046602
FS_IOC_FSSETXATTR: Final = 0x401C5820


@dataclass(frozen=True, slots=True)
class _Machine:
    """An architecture.

    :param word: what the kernel's audit calls it.
    :param seccomp: the number of that call.
    :param trap: the instruction that makes a system call.
    :param calls: the numbers of those that are heard. The same call for wider numbers has its name and ``32`` or ``64``.
    :param narrow: the 32-bit one whose calls the same kernel takes, also from a 64-bit program.
    """

    word: int
    seccomp: int
    trap: bytes
    calls: Mapping[str, int]
    narrow: _Machine | None = None


_SAME_EVERYWHERE: Final = {"io_uring_setup": 425, "io_uring_enter": 426, "openat2": 437, "setxattrat": 463}
# Without `exit`: nothing that pytest is made of has a function that makes it so.
_I386: Final = _Machine(
    0x40000003,
    354,
    b"\xcd\x80",
    {
        "open": 5,
        "creat": 8,
        "link": 9,
        "unlink": 10,
        "mknod": 14,
        "lchown": 16,
        "rename": 38,
        "mkdir": 39,
        "rmdir": 40,
        "ioctl": 54,
        "symlink": 83,
        "truncate": 92,
        "fchown": 95,
        "chown": 182,
        "truncate64": 193,
        "lchown32": 198,
        "fchown32": 207,
        "chown32": 212,
        "setxattr": 226,
        "lsetxattr": 227,
        "fsetxattr": 228,
        "exit_group": 252,
        "openat": 295,
        "mkdirat": 296,
        "mknodat": 297,
        "fchownat": 298,
        "unlinkat": 301,
        "renameat": 302,
        "linkat": 303,
        "symlinkat": 304,
        "renameat2": 353,
        **_SAME_EVERYWHERE,
    },
)
_MACHINES: Final = {
    "x86_64": _Machine(
        0xC000003E,
        317,
        b"\x0f\x05",
        {
            "open": 2,
            "ioctl": 16,
            "exit": 60,
            "truncate": 76,
            "creat": 85,
            "openat": 257,
            "mkdir": 83,
            "symlink": 88,
            "mknod": 133,
            "mkdirat": 258,
            "mknodat": 259,
            "symlinkat": 266,
            "rename": 82,
            "rmdir": 84,
            "link": 86,
            "unlink": 87,
            "chown": 92,
            "fchown": 93,
            "lchown": 94,
            "setxattr": 188,
            "exit_group": 231,
            "lsetxattr": 189,
            "fsetxattr": 190,
            "fchownat": 260,
            "unlinkat": 263,
            "renameat": 264,
            "linkat": 265,
            "renameat2": 316,
            **_SAME_EVERYWHERE,
        },
        _I386,
    ),
    "aarch64": _Machine(
        0xC00000B7,
        277,
        b"\x01\x00\x00\xd4",
        {
            "setxattr": 5,
            "lsetxattr": 6,
            "fsetxattr": 7,
            "ioctl": 29,
            "truncate": 45,
            "openat": 56,
            "mknodat": 33,
            "mkdirat": 34,
            "symlinkat": 36,
            "unlinkat": 35,
            "linkat": 37,
            "renameat": 38,
            "fchownat": 54,
            "fchown": 55,
            "exit": 93,
            "exit_group": 94,
            "renameat2": 276,
            **_SAME_EVERYWHERE,
        },
    ),
}
# Which calls are heard only with certain arguments: the argument's place, which of its bits count, and what they have to be.
# Of a status the kernel takes the lowest byte.
_CONDITIONS: Final = {
    "ioctl": (1, 0xFFFFFFFF, (FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS, FS_IOC_FSSETXATTR)),
    "exit_group": (0, 0xFF, GREEN),
}
# Which are heard only with one of certain bits in an argument: opened to be read, a file stays as it is; and a ring is told
# nothing by whoever only waits for what it was told.
_TO_WRITE: Final = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
ANY: Final = 0xFFFFFFFF
_BITS: Final = {"open": (1, _TO_WRITE), "openat": (2, _TO_WRITE), "io_uring_enter": (1, ANY)}

# Heard only where they are asked for: a suite writes and removes thousands of files, and each would wait for its turn.
REMOVALS: Final = frozenset({"rmdir", "unlink", "unlinkat"})
WRITES: Final = frozenset({"creat", "open", "openat", "openat2", "truncate"})
CREATIONS: Final = frozenset({"mkdir", "mkdirat", "mknod", "mknodat", "symlink", "symlinkat"})
ON_DEMAND: Final = REMOVALS | WRITES | CREATIONS

_SET_MODE_FILTER: Final = 1
_SPECULATION_ALLOWED: Final = 1 << 2
_NEW_LISTENER: Final = 1 << 3
_WAIT_KILLABLE: Final = 1 << 5
_ALLOW: Final = 0x7FFF0000
_NOTIFY: Final = 0x7FC00000
_LOAD, _AND, _JUMP, _JUMP_IF_EQUAL, _JUMP_IF_SET, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _INSTRUCTION_AT, _ARGUMENTS_AT = 0, 4, 8, 16

# A library lies at another address in each process, but always at the beginning of a page.
_PAGE: Final = 4096
_FUNCTION_AT_MOST: Final = 96
# elf(5), 64 bit: the magic number and class, then where the table of segments is, how long each line is, and how many there are.
_ELF_HEADER: Final = struct.Struct("=5s27xQ14xHH")
# A segment: type, flags, offset, address, physical address, length in the file and in memory.
_ELF_SEGMENT: Final = struct.Struct("=IIQQQQQ")
_LOADED: Final = 1
_READABLE: Final = 4

_RECEIVE: Final = 0xC0502100
_SEND: Final = 0xC0182101
_IS_VALID: Final = 0x40082102
_CONTINUE: Final = 1
_NOTIFICATION: Final = struct.Struct("=QIIiIQ6Q")
_ANSWER: Final = struct.Struct("=QqiI")


@dataclass(frozen=True, slots=True)
class Notification:
    """A thread that waits in a system call.

    :param thread: its id in the listener's process namespace.
    :param name: the call.
    :param by_ring: it tells a ring to do the same, which the kernel does some time after the thread has gone on.
    :param path: what is meant, where no argument leads to it.
    """

    token: int
    thread: int
    name: str
    arguments: tuple[int, ...]
    by_ring: bool = False
    path: str = ""


def listen(further: frozenset[str] = frozenset()) -> int:
    """Filter the calling thread and all that it starts from now on, for good.

    :param further: hear of these too, of `REMOVALS`, `WRITES` and `CREATIONS`.
    :returns: the listener. Once it is closed everywhere, the calls that it heard fail with ENOSYS, so whoever holds it
        holds it until it hangs up (POLLHUP): then no process is left that could make one.
    :raises OSError: EACCES without the right; EBUSY under another listener; ENOSYS, EINVAL where the kernel has none.
    """
    machine = _machine()
    if machine is None:
        raise OSError(errno.ENOSYS, f"not known for {os.uname().machine}")
    program = _program(machine, ON_DEMAND - further)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    flags = _NEW_LISTENER | _SPECULATION_ALLOWED
    try:
        return syscall(machine.seccomp, _SET_MODE_FILTER, flags | _WAIT_KILLABLE, header)
    except OSError as problem:
        if problem.errno != errno.EINVAL:
            raise
        # Before 5.19: a signal may interrupt a call that waits here, which then is made, and heard, again.
        return syscall(machine.seccomp, _SET_MODE_FILTER, flags, header)


def waits_to_the_end() -> bool:
    """Whether a call that was received waits for its answer whatever signal comes (Linux 5.19)."""
    machine = _machine()
    if machine is None:
        return False
    try:
        # Flags are looked at before the filter, which is none.
        syscall(machine.seccomp, _SET_MODE_FILTER, _NEW_LISTENER | _WAIT_KILLABLE, None)
    except OSError as problem:
        return problem.errno == errno.EFAULT
    return False


def receive(listener: int) -> Notification:
    """The next call; waits for one.

    :raises OSError: ENOENT: its thread was killed meanwhile.
    """
    buffer = ctypes.create_string_buffer(_NOTIFICATION.size)
    call("ioctl", listener, _RECEIVE, buffer)
    token, thread, _, number, word, _, *arguments = _NOTIFICATION.unpack(buffer.raw)
    return Notification(token, thread, _NAMES.get((word, number), str(number)), tuple(arguments))


def let_go_on(listener: int, notification: Notification) -> None:
    """Have the kernel make the call as if nobody had listened.

    :raises OSError: ENOENT: its thread was killed meanwhile.
    """
    call("ioctl", listener, _SEND, _ANSWER.pack(notification.token, 0, 0, _CONTINUE))


def refuse(listener: int, notification: Notification, number: int) -> None:
    """Have the call fail without being made.

    :param number: the error that the caller gets.
    :raises OSError: ENOENT: its thread was killed meanwhile.
    """
    call("ioctl", listener, _SEND, _ANSWER.pack(notification.token, 0, -number, 0))


def still_waits(listener: int, notification: Notification) -> bool:
    """Whether the thread still waits in that call: what was read of its memory and of ``/proc`` was its own."""
    try:
        call("ioctl", listener, _IS_VALID, struct.pack("=Q", notification.token))
    except OSError:
        return False
    return True


def _machine() -> _Machine | None:
    return _MACHINES.get(os.uname().machine)


def _program(machine: _Machine, unheard: frozenset[str]) -> bytes:
    """The filter: ``_NOTIFY`` for the calls that are heard, ``_ALLOW`` for everything else, unknown architectures too."""
    lines = [_line(_LOAD, _ARCHITECTURE_AT)]
    for known in (machine, machine.narrow):
        if known is not None:
            body = list(_when_made_on(known, unheard))
            lines += [_line(_JUMP_IF_EQUAL, known.word, 1, 0), _line(_JUMP, len(body)), *body]
    lines.append(_line(_RETURN, _ALLOW))
    return b"".join(lines)


def _when_made_on(machine: _Machine, unheard: frozenset[str]) -> Iterable[bytes]:
    yield _line(_LOAD, _NUMBER_AT)
    for name, number in machine.calls.items():
        call_name = _without_width(name)
        place = _end_in_page(machine) if call_name == "exit" else None
        if call_name in unheard or (call_name == "exit" and place is None):
            continue
        body = list(_when_called(call_name, place))
        yield from (_line(_JUMP_IF_EQUAL, number, 0, len(body)), *body)
    yield _line(_RETURN, _ALLOW)


def _when_called(name: str, place: int | None) -> Iterable[bytes]:
    allow, notify = _line(_RETURN, _ALLOW), _line(_RETURN, _NOTIFY)
    if name in _BITS:
        argument, bits = _BITS[name]
        yield from (_line(_LOAD, _ARGUMENTS_AT + 8 * argument), _line(_JUMP_IF_SET, bits, 1, 0), allow)
    elif name in _CONDITIONS:
        argument, bits, values = _CONDITIONS[name]
        # The lower half of the argument: the kernel takes these as 32 bits.
        yield from (_line(_LOAD, _ARGUMENTS_AT + 8 * argument), _line(_AND, bits))
        yield from (_line(_JUMP_IF_EQUAL, value, len(values) - index, 0) for index, value in enumerate(values))
        yield allow
    if place is not None:
        yield from (_line(_LOAD, _INSTRUCTION_AT), _line(_AND, _PAGE - 1), _line(_JUMP_IF_EQUAL, place, 1, 0), allow)
    yield notify


def _end_in_page(machine: _Machine) -> int | None:
    """Where in its page an ``exit`` is made that somebody asks the C library's ``syscall`` for, in whatever process.

    Threads that end as ever do it elsewhere: they must never wait, and an answer that it cannot be made would have them
    ask for it again for ever.

    :returns: what the instruction pointer shows; ``None`` where that does not tell them apart.
    """
    function = ctypes.cast(libc().syscall, ctypes.c_void_p).value or 0
    start, text = _mapping_of(function)
    offset = bytes(text[function - start :][:_FUNCTION_AT_MOST]).find(machine.trap)
    if offset < 0:
        return None
    first = (function + offset) % _PAGE
    columns = (text[first + index :: _PAGE] for index in range(len(machine.trap)))
    same = sum(bytes(found) == machine.trap for found in zip(*columns, strict=False))
    return (first + len(machine.trap)) % _PAGE if same == 1 else None


class _Place(ctypes.Structure):
    """``Dl_info``: what the linker knows of an address."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_size_t),
    )


def _mapping_of(address: int) -> tuple[int, memoryview]:
    """Where the code of a library begins that has this address in it, and the code; nothing if that cannot be told.

    By the library's own table, which is in memory: to read the kernel's list of mappings takes ten times as long.
    """
    place, find = _Place(), getattr(libc(), "dladdr", None)
    if find is None or not find(ctypes.c_void_p(address), ctypes.byref(place)) or not place.base:
        return 0, memoryview(b"")
    header = _ELF_HEADER.unpack(ctypes.string_at(place.base, _ELF_HEADER.size))
    if header[0] != b"\x7fELF\x02":
        return 0, memoryview(b"")
    _, table, size, count = header
    for index in range(count):
        kind, rights, _, start, _, _, length = _ELF_SEGMENT.unpack(
            ctypes.string_at(place.base + table + index * size, _ELF_SEGMENT.size)
        )
        start += place.base
        if kind == _LOADED and rights & _READABLE and start <= address < start + length:
            return start, memoryview((ctypes.c_ubyte * length).from_address(start)).cast("B")
    return 0, memoryview(b"")


def _without_width(name: str) -> str:
    return name.removesuffix("32").removesuffix("64")


def _line(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def _names(machine: _Machine | None) -> dict[tuple[int, int], str]:
    if machine is None:
        return {}
    return {
        **_names(machine.narrow),
        **{(machine.word, number): _without_width(name) for name, number in machine.calls.items()},
    }


_NAMES: Final = _names(_machine())
