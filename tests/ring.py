"""A ring (io_uring) of one's own, in whatever layout; standard library only, so that a project's suite can import it too."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

HERE = 0xFFFFFF9C  # AT_FDCWD
POLLED, LONG_RESULTS, LONG_ENTRIES = 1 << 1, 1 << 11, 1 << 10
OWN_MEMORY, REGISTERED_ALONE, NO_ARRAY = 1 << 14, 1 << 15, 1 << 16
_SETUP, _ENTER, _REGISTER = 425, 426, 427
_GET_EVENTS, _WAKE_UP, _BY_INDEX = 1, 2, 1 << 4
_NEED_WAKEUP = 1
_KEPT: list[object] = []  # what the kernel is told the address of


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result: int = libc.syscall(
        ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    )
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _address(text: str | bytes) -> int:
    buffer = ctypes.create_string_buffer(os.fsencode(text))
    _KEPT.append(buffer)
    return ctypes.addressof(buffer)


def entry(
    opcode: int,
    fd: int = HERE,
    *,
    second: str | bytes | int = 0,
    address: str | bytes | int = 0,
    length: int = 0,
    further: int = 0,
    third: str | bytes | int = 0,
    flags: int = 0,
) -> bytes:
    """One thing to do; text is kept in memory, and its address told."""
    off, addr, addr3 = (one if isinstance(one, int) else _address(one) for one in (second, address, third))
    fields = (opcode, flags, 0, fd & 0xFFFFFFFF, off, addr, length, further, 7, 0, 0, 0, addr3, 0)
    return struct.pack("=BBHIQQIIQHHIQQ", *fields)


def link(source: str, target: str, at: int = HERE) -> bytes:
    return entry(39, address=source, length=at, second=target)


def rename(source: str, target: str, at: int = HERE) -> bytes:
    return entry(35, address=source, length=at, second=target)


def unlink(path: str) -> bytes:
    return entry(36, address=path)


def mkdir(path: str) -> bytes:
    return entry(37, address=path, length=0o700)


def symlink(target: str, path: str) -> bytes:
    return entry(38, address=target, second=path)


def open_to(flags: int, path: str) -> bytes:
    return entry(18, address=path, further=flags, length=0o600)


def open2_to(flags: int, path: str) -> bytes:
    return entry(28, address=path, second=struct.pack("=3Q", flags, 0o600 if flags & os.O_CREAT else 0, 0), length=24)


def setxattr(path: str, name: str = "user.mood", value: bytes = b"bad") -> bytes:
    return entry(42, address=name, second=value, length=len(value), third=path)


def fsetxattr(fd: int, name: str = "user.mood", value: bytes = b"bad", flags: int = 0) -> bytes:
    return entry(41, fd, address=name, second=value, length=len(value), flags=flags)


def nothing() -> bytes:
    return entry(0)


class Ring:
    """A ring of four entries.

    :param flags: of its setup.
    :ivar own_memory: where its entries lie, if that is memory of this process's own.
    """

    def __init__(self, flags: int = 0) -> None:
        parameters = bytearray(120)
        struct.pack_into("=I", parameters, 8, flags)
        self._own: list[mmap.mmap] = []
        if flags & OWN_MEMORY:
            self._own = [mmap.mmap(-1, mmap.PAGESIZE) for _ in range(2)]
            for place, memory in zip((72, 112), self._own, strict=True):
                struct.pack_into("=Q", parameters, place, ctypes.addressof(ctypes.c_char.from_buffer(memory)))
        self.own_memory = list(struct.unpack_from("=Q", parameters, 72)) if self._own else []
        told = (ctypes.c_char * 120).from_buffer(parameters)
        self.fd = _call(_SETUP, 4, told)
        self._index: int | None = self.fd if flags & REGISTERED_ALONE else None
        entries, results = struct.unpack_from("=2I", parameters)
        _, self._tail, _, _, self._flags, _, self._array = struct.unpack_from("=7I", parameters, 40)
        self._result_head, _, _, _, _, self._results = struct.unpack_from("=6I", parameters, 80)
        self._size, self._mask, self._result_mask = (128 if flags & LONG_ENTRIES else 64), entries - 1, results - 1
        self._result_size = 32 if flags & LONG_RESULTS else 16
        self._kind, self._count = flags, 0
        length = self._results + results * self._result_size
        if self._own:
            self._entries, self._queue = self._own
        else:
            if not flags & NO_ARRAY:
                length = self._array + 4 * entries
            self._queue = mmap.mmap(self.fd, length, offset=0)
            self._entries = mmap.mmap(self.fd, entries * self._size, offset=0x10000000)

    def put(self, *told: bytes) -> None:
        """Write entries down, and tell nobody."""
        for one in told:
            index = self._count & self._mask
            if not self._kind & NO_ARRAY:
                # Backwards, so that an entry's place is not its turn.
                index = self._mask - index
                struct.pack_into("=I", self._queue, self._array + 4 * (self._count & self._mask), index)
            self._entries[index * self._size : index * self._size + 64] = one
            self._count += 1
            struct.pack_into("=I", self._queue, self._tail, self._count)

    def tell(self, *told: bytes) -> list[int]:
        """Have things done, at most four of them, and wait for it.

        :returns: what came of them, in the order in which that became known; a negative one is an error.
        :raises OSError: none was taken.
        """
        self.put(*told)
        if self._kind & POLLED:
            while not self._done(len(told)):
                if struct.unpack_from("=I", self._queue, self._flags)[0] & _NEED_WAKEUP:
                    _call(_ENTER, self.fd, 0, 0, _WAKE_UP, None, 0)
            return self._taken(len(told))
        flags = _GET_EVENTS | (0 if self._index is None else _BY_INDEX)
        _call(_ENTER, self.fd if self._index is None else self._index, len(told), len(told), flags, None, 0)
        return self._taken(len(told))

    def _done(self, count: int) -> bool:
        head, tail = struct.unpack_from("=2I", self._queue, self._result_head)
        return bool(tail - head >= count)

    def _taken(self, count: int) -> list[int]:
        (head,) = struct.unpack_from("=I", self._queue, self._result_head)
        places = (self._results + ((head + n) & self._result_mask) * self._result_size + 8 for n in range(count))
        found = [struct.unpack_from("=i", self._queue, place)[0] for place in places]
        struct.pack_into("=I", self._queue, self._result_head, head + count)
        return found

    def register_itself(self) -> None:
        """Be known to the kernel by an index from now on, instead of the descriptor."""
        wanted = ctypes.create_string_buffer(struct.pack("=IIQ", 0xFFFFFFFF, 0, self.fd))
        _call(_REGISTER, self.fd, 20, wanted, 1)
        (self._index,) = struct.unpack_from("=I", wanted)

    def register_file(self, fd: int) -> None:
        """Let entries name a file by the index 0."""
        _call(_REGISTER, self.fd, 2, (ctypes.c_int * 1)(fd), 1)

    def close(self) -> None:
        """Close the descriptor alone."""
        os.close(self.fd)


def gives(flags: int) -> bool:
    """Whether the kernel gives such a ring."""
    try:
        Ring(flags).close()
    except OSError:
        return False
    return True
