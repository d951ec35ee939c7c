"""Which object stands at a path: real directories by the kernel's word, identities with birth times."""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

from pytest_session_guard._core.records import Identity

AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EMPTY_PATH: Final = 0x1000
STATX_BTIME: Final = 0x800
MAX_LINKS: Final = 40  # the kernel's own limit (path_resolution(7))


class _Primitives:
    """Captured before any test code runs; class attributes, so fake file systems do not reach them."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    lstat = staticmethod(os.lstat)
    stat = staticmethod(os.stat)
    fstat = staticmethod(os.fstat)
    readlink = staticmethod(os.readlink)
    fsdecode = staticmethod(os.fsdecode)
    getcwd = staticmethod(os.getcwd)


HAS_PROC_FD: Final = sys.platform == "linux" and os.path.isdir("/proc/self/fd")
O_PATH: Final = getattr(os, "O_PATH", 0)


def real_path_of_fd(fd: int) -> str | None:
    """The path of an open descriptor as the kernel knows it, or ``None`` for pipes, sockets and deleted files."""
    if not HAS_PROC_FD:
        return _real_path_of_fd_without_proc(fd)
    try:
        target = _Primitives.readlink(b"/proc/self/fd/%d" % fd)
    except OSError:
        return None
    return _Primitives.fsdecode(target) if target.startswith(b"/") else None


def _real_path_of_fd_without_proc(fd: int) -> str | None:
    try:
        import fcntl

        raw: bytes = fcntl.fcntl(fd, 50, bytes(1024))  # F_GETPATH of macOS
    except (ImportError, OSError, ValueError):
        return None
    return _Primitives.fsdecode(raw.rstrip(b"\0"))


def real_directory(path: str | bytes, dir_fd: int | None = None) -> str | None:
    """The real path of an existing directory, every symlink on the way resolved by the kernel itself.

    :returns: ``None`` when there is no such directory or it cannot be entered: whatever is tried below it fails too.
    """
    return _real(path, dir_fd, os.O_DIRECTORY)


def real_target(path: str | bytes, dir_fd: int | None = None) -> str | None:
    """The real path of what an existing path leads to, symlinks followed to the end, or ``None``."""
    return _real(path, dir_fd, 0)


def _real(path: str | bytes, dir_fd: int | None, flags: int) -> str | None:
    if not (HAS_PROC_FD and O_PATH):
        return _resolve_by_hand(path, dir_fd)
    try:
        fd = _Primitives.open(path, O_PATH | flags | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as problem:
        if problem.errno in (errno.EMFILE, errno.ENFILE):
            return _resolve_by_hand(path, dir_fd)
        return None
    try:
        return real_path_of_fd(fd)
    finally:
        _Primitives.close(fd)


def _resolve_by_hand(path: str | bytes, dir_fd: int | None) -> str | None:
    """The kernel's order (symlink first, then ``..``) walked here: where descriptors ran out or there is no ``/proc``."""
    text = _Primitives.fsdecode(path)
    if not text.startswith("/"):
        base = _Primitives.getcwd() if dir_fd is None else real_path_of_fd(dir_fd)
        if base is None:
            return None
        text = f"{base}/{text}"
    pending, here, links = text.split("/")[::-1], "", 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = here.rpartition("/")[0]
            continue
        step = f"{here}/{part}"
        try:
            found = _Primitives.lstat(step)
        except OSError:
            return None
        if not stat.S_ISLNK(found.st_mode):
            here = step
            continue
        links += 1
        if links > MAX_LINKS:
            return None
        target = _Primitives.readlink(step)
        here = "" if target.startswith("/") else here
        pending.extend(target.split("/")[::-1])
    return here or "/"


def resolve_missing(path: str) -> str:
    """The real path that an absolute path has or would have: existing parents resolved, missing components kept."""
    tail: list[str] = []
    head = path
    while True:
        found = real_target(head)
        if found is not None:
            return "/".join([found.rstrip("/"), *tail[::-1]]) or "/"
        if head == "/":
            return path
        link = _dangling_target(head)
        if link is not None:
            head = link
            continue
        head, _, name = head.rstrip("/").rpartition("/")
        head = head or "/"
        tail.append(name)


def _dangling_target(path: str) -> str | None:
    try:
        target = _Primitives.readlink(path)
    except OSError:
        return None
    joined = target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"
    return None if joined == path else joined


def identity_of(path: str | bytes | int, dir_fd: int | None = None) -> Identity:
    """What stands at a path (the symlink itself, if it is one) or behind a descriptor.

    :raises OSError: nothing stands there.
    """
    found = (
        _Primitives.fstat(path)
        if isinstance(path, int)
        else _Primitives.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    )
    return Identity(found.st_dev, found.st_ino, birth_ns(path, found, dir_fd))


def birth_ns(path: str | bytes | int, found: os.stat_result, dir_fd: int | None = None) -> int | None:
    """The creation time in nanoseconds, or ``None`` where the file system or the platform keeps none."""
    seconds = getattr(found, "st_birthtime", None)  # macOS and Windows have it in the stat result
    if seconds is not None:
        return int(getattr(found, "st_birthtime_ns", seconds * 1_000_000_000))
    call = _statx()
    return None if call is None else _read_statx(call, path, dir_fd)


_Statx = Callable[[int, bytes, int, int, Any], int]
_statx_cache: list[tuple[_Statx, Any] | None] = []


def _statx() -> tuple[_Statx, Any] | None:
    """The C library's statx and a constructor of its buffer; ctypes is imported at the first use only (4 ms)."""
    if not _statx_cache:
        try:
            import ctypes

            function = ctypes.CDLL(None, use_errno=True).statx
            _statx_cache.append((function, ctypes.create_string_buffer))
        except (ImportError, OSError, AttributeError):
            _statx_cache.append(None)
    return _statx_cache[0]


def _read_statx(call: tuple[_Statx, Any], path: str | bytes | int, dir_fd: int | None) -> int | None:
    function, make_buffer = call
    buffer = make_buffer(256)
    if isinstance(path, int):
        start, name, flags = path, b"", AT_EMPTY_PATH
    else:
        start, name, flags = AT_FDCWD if dir_fd is None else dir_fd, os.fsencode(path), AT_SYMLINK_NOFOLLOW
    if function(start, name, flags, STATX_BTIME, buffer) != 0:
        return None
    # struct statx: stx_mask at 0, stx_btime (s64 seconds, u32 nanoseconds) at 80; see statx(2).
    (mask,) = struct.unpack_from("=I", buffer, 0)
    if not mask & STATX_BTIME:
        return None
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, 80)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
