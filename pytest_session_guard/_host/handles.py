"""File handles: what tells an object from a later one with the same inode number where no birth time is kept.

A handle is what a file server keeps instead of a path (name_to_handle_at(2)): for most file systems the inode number and a
generation that changes whenever the number is given out again. To ask for one needs no privilege; to open one would. Overlay
mounts give none unless they are exported, neither do ramfs, /proc and FAT mounts that lack what a server would need.
"""

from __future__ import annotations

import os
import struct
from builtins import int, isinstance, len  # noqa: A004 - captured: tests mock builtins
from collections.abc import Callable
from typing import Any, Final

AT_FDCWD: Final = -100
AT_EMPTY_PATH: Final = 0x1000
MAX_BYTES: Final = 128  # MAX_HANDLE_SZ
AT_HANDLE_FID: Final = 0x200  # Linux 6.5: also where nothing could be opened by the handle
_HEAD: Final = struct.Struct("=Ii")  # struct file_handle: the number of bytes, and the file system's type of handle

# Handles of the general kinds: inode number and generation, of 4 and 4 bytes, and of 8 and 4.
INO32_GEN: Final = (0x01, 8)
INO64_GEN: Final = (0x81, 12)
NO_GENERATION: Final = b"\0\0\0\0"

_Call = Callable[[int, bytes, Any, Any, int], int]
_cache: list[tuple[_Call, Any, Any]] = []
_fsencode: Final = os.fsencode


def file_handle(path: str | bytes | int, dir_fd: int | None = None) -> str | None:
    """The handle of what stands at a path (the symlink itself, if it is one) or behind a descriptor.

    :returns: its type and bytes in hexadecimal, or ``None`` where the file system gives none, or one without a generation.
    """
    if isinstance(path, int):
        return _with_generation(_ask(path, b"", AT_EMPTY_PATH))
    return _with_generation(_ask(AT_FDCWD if dir_fd is None else dir_fd, _fsencode(path), 0))


def _with_generation(found: tuple[int, bytes] | None) -> str | None:
    return None if found is None or lacks_generation(*found) else in_words(*found)


def reported_handle(path: str) -> str | None:
    """The handle by which the kernel names an object that it reports of (fanotify), while it is there.

    :returns: as `file_handle` gives it, also without a generation; ``None`` where there is none.
    """
    name = _fsencode(path)
    found = _ask(AT_FDCWD, name, 0) or _ask(AT_FDCWD, name, AT_HANDLE_FID)
    return None if found is None else in_words(*found)


def in_words(kind: int, content: bytes) -> str:
    """A handle as a word."""
    return f"{kind:x}-{content.hex()}"


def _ask(start: int, name: bytes, flags: int) -> tuple[int, bytes] | None:
    call = _name_to_handle_at()
    if call is None:
        return None
    function, make_buffer, make_int = call
    buffer, mount = make_buffer(), make_int()
    _HEAD.pack_into(buffer, 0, MAX_BYTES, 0)
    if function(start, name, buffer, mount, flags) != 0:
        return None
    size, kind = _HEAD.unpack_from(buffer, 0)
    return kind, bytes(buffer.raw[_HEAD.size : _HEAD.size + size])


def lacks_generation(kind: int, content: bytes) -> bool:
    """Whether a handle is the inode number in other words: a generation of zero is none at all."""
    return (kind, len(content)) in (INO32_GEN, INO64_GEN) and content.endswith(NO_GENERATION)


def _name_to_handle_at() -> tuple[_Call, Any, Any] | None:
    """The C library's function and constructors of what it fills; ctypes is imported at the first use only (4 ms)."""
    if not _cache:
        try:
            import ctypes

            function = ctypes.CDLL(None, use_errno=True).name_to_handle_at
            mount_id = ctypes.c_int * 1
            _cache.append((function, ctypes.c_char * (_HEAD.size + MAX_BYTES), mount_id))
        except (ImportError, OSError, AttributeError):
            return None  # for this time: a test may have taken something away that will be there again
    return _cache[0]
