"""Copying a file whole: blocks shared where the file system can, holes kept, attributes and times on request."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pytest_session_guard._host.fsops import OwnPath, Raw, closing, insist_on_owner, write_all
from pytest_session_guard._host.identity import HAS_PROC_FD

PIECE: Final = 1 << 20
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class _Primitives:
    """Captured before any test code runs."""

    lseek = staticmethod(os.lseek)
    truncate = staticmethod(os.truncate)
    # One system call that shares blocks where it can (btrfs, XFS), copies in the kernel where it cannot, and raises no audit
    # event, unlike the ioctl.
    copy_range: Any = getattr(os, "copy_file_range", None)
    setxattr: Any = getattr(os, "setxattr", None)
    getxattr: Any = getattr(os, "getxattr", None)
    listxattr: Any = getattr(os, "listxattr", None)
    removexattr: Any = getattr(os, "removexattr", None)


def copy_content(source: str, target: str, mode: int = 0o600) -> tuple[os.stat_result, os.stat_result]:
    """The bytes of ``source`` in ``target``, on disk when the call returns; a target that is there is overwritten.

    :param target: a name of our own.
    :returns: what the source was before and after; where they differ, it was written to meanwhile.
    :raises OSError: not a regular file, unreadable, or no space.
    """
    with closing(Raw.open(OwnPath(source), _READ)) as source_fd:
        before = Raw.fstat(source_fd)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", source)
        with closing(Raw.open(OwnPath(target), _CREATE, mode)) as target_fd:
            insist_on_owner(target, Raw.fstat(target_fd), mode)
            for start, end in _extents(source_fd, before.st_size):
                _copy_extent(source_fd, target_fd, start, end)
            _Primitives.truncate(OwnPath(target), before.st_size)
            Raw.fsync(target_fd)
        return before, Raw.fstat(source_fd)


def overwrite_content(source: str, target: str, seen: os.stat_result) -> None:
    """The bytes of ``source`` in the object at ``target``, which keeps its identity and its other names.

    Not atomic: whoever calls keeps a copy of what the target held before.

    :param seen: the target when that copy was made.
    :raises OSError: it cannot be written, or is not as it was seen: somebody replaced it or wrote to it, and nothing was done.
    """
    flags = os.O_WRONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    with closing(Raw.open(OwnPath(source), _READ)) as source_fd, closing(Raw.open(OwnPath(target), flags)) as target_fd:
        if _state(Raw.fstat(target_fd)) != _state(seen):
            raise OSError(errno.ESTALE, "it is being changed by something else", target)
        size = Raw.fstat(source_fd).st_size
        # By the open file: the name may lead to another one by now.
        held = OwnPath(f"/proc/self/fd/{target_fd}" if HAS_PROC_FD else target)
        # Emptied first, so that holes are holes again.
        _Primitives.truncate(held, 0)
        for start, end in _extents(source_fd, size):
            _copy_extent(source_fd, target_fd, start, end)
        _Primitives.truncate(held, size)
        Raw.fsync(target_fd)


def _state(of: os.stat_result) -> tuple[int, ...]:
    return of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns


def same_content(one: str, other: str) -> bool:
    """Whether two regular files hold the same bytes; opens nothing else and follows no symlink.

    :raises OSError: one cannot be read.
    """
    with closing(Raw.open(OwnPath(one), _READ)) as first, closing(Raw.open(OwnPath(other), _READ)) as second:
        stats = Raw.fstat(first), Raw.fstat(second)
        if not all(stat.S_ISREG(found.st_mode) for found in stats) or stats[0].st_size != stats[1].st_size:
            return False
        size, compared = stats[0].st_size, 0
        # Where both have a hole there is nothing to compare: a disk image of a terabyte may hold a few megabytes.
        for start, end in sorted([*_extents(first, size), *_extents(second, size)]):
            if end > compared and not _same_bytes(first, second, max(start, compared), end):
                return False
            compared = max(compared, end)
        return True


def _same_bytes(first: int, second: int, start: int, end: int) -> bool:
    for fd in (first, second):
        _Primitives.lseek(fd, start, os.SEEK_SET)
    left = end - start
    while left > 0 and (piece := Raw.read(first, min(PIECE, left))):
        if piece != Raw.read(second, len(piece)):
            return False
        left -= len(piece)
    return True


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """The stretches of a file that hold data; the rest are holes."""
    seek_data, seek_hole = getattr(os, "SEEK_DATA", None), getattr(os, "SEEK_HOLE", None)
    if seek_data is None or seek_hole is None:
        yield 0, size
        return
    position = 0
    while position < size:
        try:
            start = _Primitives.lseek(fd, position, seek_data)
            position = _Primitives.lseek(fd, start, seek_hole)
        except OSError as problem:
            if problem.errno == errno.ENXIO:
                return  # only a hole is left
            yield position, size
            return
        yield start, position


def _copy_extent(source_fd: int, target_fd: int, start: int, end: int) -> None:
    position = start
    while position < end:
        done = _copy_in_kernel(source_fd, target_fd, position, end - position)
        if done == 0:
            _copy_by_hand(source_fd, target_fd, position, end)
            return
        position += done


def _copy_in_kernel(source_fd: int, target_fd: int, position: int, count: int) -> int:
    if _Primitives.copy_range is None:
        return 0
    try:
        return int(_Primitives.copy_range(source_fd, target_fd, count, position, position))
    except OSError as problem:
        if problem.errno in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF):
            return 0
        raise


def _copy_by_hand(source_fd: int, target_fd: int, start: int, end: int) -> None:
    _Primitives.lseek(source_fd, start, os.SEEK_SET)
    _Primitives.lseek(target_fd, start, os.SEEK_SET)
    left = end - start
    while left > 0 and (piece := Raw.read(source_fd, min(PIECE, left))):
        write_all(target_fd, piece)
        left -= len(piece)


def listed_xattrs(path: str) -> dict[str, bytes]:
    """The extended attributes of what stands at a path, ACLs among them; nothing where there are none to be had."""
    if _Primitives.listxattr is None:
        return {}
    try:
        names = _Primitives.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    values: dict[str, bytes] = {}
    for name in names:
        try:
            values[name] = _Primitives.getxattr(path, name, follow_symlinks=False)
        except OSError:
            continue  # listed, but not for us to read (trusted.*)
    return values


def put_metadata(
    path: str, *, mode: int, uid: int, gid: int, atime_ns: int, mtime_ns: int, xattrs: Mapping[str, bytes]
) -> list[str]:
    """Owner, mode, extended attributes and times for the object at ``path``, in the order in which none undoes another.

    :returns: what could not be put, one word each.
    """
    missed: list[str] = []
    found = Raw.lstat(path)
    link = stat.S_ISLNK(found.st_mode)
    if Raw.chown is not None and (found.st_uid, found.st_gid) != (uid, gid):
        _try(missed, "owner", Raw.chown, OwnPath(path), uid, gid, follow_symlinks=False)
    if not link:
        _try(missed, "mode", Raw.chmod, OwnPath(path), mode)
        _put_xattrs(path, xattrs, missed)
    _try(missed, "times", Raw.utime, OwnPath(path), ns=(atime_ns, mtime_ns), follow_symlinks=False)
    return missed


def _put_xattrs(path: str, xattrs: Mapping[str, bytes], missed: list[str]) -> None:
    present = listed_xattrs(path)
    for name in present.keys() - xattrs.keys():
        _try(missed, name, _Primitives.removexattr, OwnPath(path), name, follow_symlinks=False)
    for name, value in xattrs.items():
        if present.get(name) != value:
            _try(missed, name, _Primitives.setxattr, OwnPath(path), name, value, follow_symlinks=False)


def _try(missed: list[str], what: str, action: Callable[..., object], *arguments: Any, **names: Any) -> None:
    try:
        action(*arguments, **names)
    except OSError:
        missed.append(what)
