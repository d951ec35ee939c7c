"""Comparing one upper entry with the real one, through calls that tests cannot patch."""

from __future__ import annotations

import fcntl
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

from ..._host.fsops import OwnDescriptor, OwnPath
from . import git_index
from .construction import rights_of
from .others import ORIGIN, is_after, is_of_another, is_unwritten, times_for, times_of

ChangeKind = Literal["created", "removed", "replaced", "content", "metadata", "names", "undone"]

_OVERLAY_XATTR: Final = "user.overlay."
OPAQUE: Final = "user.overlay.opaque"
_FILE_FLAGS: Final = "user.overlay.protattr"
_CHUNK_BYTES: Final = 1 << 18
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FS_IOC_GETFLAGS: Final = 0x80086601
# append-only, immutable, no-dump, no-atime: what chattr sets and an overlay does not bring along by itself
_CHATTR_FLAGS: Final = 0x20 | 0x10 | 0x40 | 0x80
# stands for those that an overlay keeps in an attribute; no flag of any file system
_KEPT_FLAGS: Final = 1 << 32
# Before 6.13 a time stamp stands still for a tick: a change right after a look may show the same one.
_TICK_NS: Final = 20_000_000
_FINE_TIMES_SINCE: Final = (6, 13)


class System:
    """The calls that reading needs, held where a test that patches ``os`` does not reach them."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    stat = staticmethod(os.stat)
    fstat = staticmethod(os.fstat)
    fstatvfs = staticmethod(os.fstatvfs)
    # Their types depend on arguments in ways that a name for them loses.
    scandir: Any = staticmethod(os.scandir)
    ioctl: Any = staticmethod(fcntl.ioctl)
    pread = staticmethod(os.pread)
    chmod = staticmethod(os.chmod)
    readlink = staticmethod(os.readlink)
    listxattr = staticmethod(os.listxattr)
    getxattr = staticmethod(os.getxattr)
    uname = staticmethod(os.uname)


def has_fine_times() -> bool:
    """Whether this kernel gives two changes two time stamps, however close, when somebody looked in between."""
    release = System.uname().release.split(".")
    try:
        return (int(release[0]), int(release[1])) >= _FINE_TIMES_SINCE
    except (ValueError, IndexError):
        return False


def is_whiteout(status: os.stat_result) -> bool:
    """Whether an upper entry says that the real one of its name is removed."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def stamp_of(status: os.stat_result) -> tuple[int, ...]:
    """What tells that an object changed, whatever of it: an attribute, the content, a name of it."""
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def what_moved(earlier: tuple[object, ...], now: tuple[object, ...]) -> ChangeKind:
    """How an object changed between two looks, by its stamps."""
    # What was a directory, or removed, has no stamp to compare.
    if earlier[:1] != now[:1]:
        return "replaced"
    return "content" if earlier[1:3] != now[1:3] else "metadata"


def time_kind(status: os.stat_result, known: tuple[int, int]) -> ChangeKind:
    """Whether a directory's times were set, or moved because entries came and went."""
    by_entries = status.st_atime_ns == known[0] and abs(status.st_ctime_ns - status.st_mtime_ns) < _TICK_NS
    return "names" if by_entries else "metadata"


def status_below(directory_fd: int | None, name: str) -> os.stat_result | None:
    """What stands in a directory by that name, symlinks not followed; ``None`` for nothing."""
    if directory_fd is None:
        return None
    try:
        return System.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # A real directory that this user may not search counts as empty.
        return None


def try_opened(name: str, flags: int, directory_fd: int | None) -> int | None:
    """A descriptor of a real entry, or ``None`` where it cannot be opened."""
    try:
        return System.open(name, flags, dir_fd=directory_fd)
    except OSError:
        # Real data that this user cannot read: what can be compared is its status.
        return None


@contextmanager
def opened_up(directory_fd: int, status: os.stat_result) -> Iterator[None]:
    """Lets an upper directory be searched even where a test took away the right to."""
    mode = stat.S_IMODE(status.st_mode)
    if mode & stat.S_IRWXU == stat.S_IRWXU:
        yield
        return
    # The hook must let our own look pass: to it, this is a change of something in a place that no policy knows.
    directory = OwnDescriptor(directory_fd)
    System.chmod(directory, mode | stat.S_IRWXU)
    try:
        yield
    finally:
        System.chmod(directory, mode)


def opened(name: str, flags: int, directory_fd: int, status: os.stat_result) -> int:
    """Open an upper entry even where a test took away the right to; it is a copy, and its mode is put back."""
    try:
        # Our own look must not pass for a test's change of the access time.
        return System.open(name, flags | os.O_NOATIME, dir_fd=directory_fd)
    except PermissionError:
        own = OwnPath(name)
        System.chmod(own, 0o700, dir_fd=directory_fd)
        try:
            return System.open(name, flags | os.O_NOATIME, dir_fd=directory_fd)
        finally:
            System.chmod(own, stat.S_IMODE(status.st_mode), dir_fd=directory_fd)


def compared(
    name: str,
    upper_dir: int,
    lower_dir: int | None,
    status: os.stat_result,
    real: os.stat_result | None,
    named_ns: int,
) -> ChangeKind | None:
    """How an upper entry that is no directory differs from the real one.

    :param named_ns: when a name last came into the upper directory; copying sets that time back.
    """
    if stat.S_ISREG(status.st_mode):
        return _compared_file(name, upper_dir, lower_dir, status, real, named_ns)
    if real is None:
        return "created"
    if stat.S_IFMT(real.st_mode) != stat.S_IFMT(status.st_mode):
        return "replaced"
    if stat.S_ISLNK(status.st_mode):
        same = System.readlink(name, dir_fd=upper_dir) == System.readlink(name, dir_fd=lower_dir)
        return _unless_same_status(status, real) if same else "replaced"
    return _unless_same_status(status, real)


def _unless_same_status(status: os.stat_result, real: os.stat_result) -> ChangeKind | None:
    same = rights_of(status) == rights_of(real) and times_of(status) == times_for(status, real, status.st_ctime_ns)
    return None if same else "metadata"


def _compared_file(
    name: str,
    upper_dir: int,
    lower_dir: int | None,
    status: os.stat_result,
    real: os.stat_result | None,
    named_ns: int,
) -> ChangeKind | None:
    upper_fd = opened(name, _FILE, upper_dir, status)
    try:
        # Only a copy carries its origin; what was renamed or created over the real one does not.
        is_copy = has_xattr(upper_fd, ORIGIN)
        if is_copy and is_of_another(upper_fd, status, real, name, lower_dir, named_ns):
            return None
        if real is None:
            return "created"
        if not stat.S_ISREG(real.st_mode):
            return "replaced"
        kind = _compared_content(name, upper_fd, lower_dir, status, real, is_copy)
    finally:
        System.close(upper_fd)
    return kind if is_copy or kind is None else "replaced"


def _compared_content(
    name: str, upper_fd: int, lower_dir: int | None, status: os.stat_result, real: os.stat_result, is_copy: bool
) -> ChangeKind | None:
    lower_fd = try_opened(name, _FILE, lower_dir)
    try:
        changed = status.st_size != real.st_size or (lower_fd is not None and not _same_content(upper_fd, lower_fd))
        if changed and lower_fd is not None and _is_refreshed_index(upper_fd, lower_fd, status, real):
            return None
        is_older = is_copy and is_after(status.st_ctime_ns, real.st_ctime_ns)
        if changed and not (is_older and is_unwritten(upper_fd, status)):
            return "content"
        # What a run saved by a rename has times of its own, whatever somebody did to the real one since.
        known = times_for(status, real, status.st_ctime_ns) if is_copy else times_of(real)
        same = rights_of(status) == rights_of(real)
        if lower_fd is not None:
            same = same and xattrs(upper_fd) == xattrs(lower_fd) and not flags_of(upper_fd) & ~flags_of(lower_fd)
    finally:
        if lower_fd is not None:
            System.close(lower_fd)
    # Somebody may have set the real one's rights since; of a copy that was only opened the first look may be at the end.
    return None if (same or is_older) and times_of(status) == known else "metadata"


def _is_refreshed_index(upper_fd: int, lower_fd: int, status: os.stat_result, real: os.stat_result) -> bool:
    """Whether git looked at its working tree and wrote down what it saw, and nothing else."""
    if max(status.st_size, real.st_size) > git_index.MOST_BYTES or rights_of(status) != rights_of(real):
        return False
    if not git_index.is_index(System.pread(upper_fd, 4, 0)):
        return False
    ours, theirs = (System.pread(fd, git_index.MOST_BYTES, 0) for fd in (upper_fd, lower_fd))
    return git_index.says_the_same(ours, theirs)


def _same_content(upper_fd: int, lower_fd: int) -> bool:
    """Whether two files of one size hold the same bytes."""
    offset = 0
    while True:
        ours = System.pread(upper_fd, _CHUNK_BYTES, offset)
        if ours != System.pread(lower_fd, _CHUNK_BYTES, offset):
            return False
        if not ours:
            return True
        offset += len(ours)


def content_digest(name: str, directory_fd: int, status: os.stat_result) -> int:
    """A checksum of a file's content; 0 for anything else."""
    if not stat.S_ISREG(status.st_mode):
        return 0
    descriptor = opened(name, _FILE, directory_fd, status)
    digest, offset = 0, 0
    try:
        while chunk := System.pread(descriptor, _CHUNK_BYTES, offset):
            digest = zlib.crc32(chunk, digest)
            offset += len(chunk)
    finally:
        System.close(descriptor)
    return digest


def xattrs(descriptor: int) -> tuple[tuple[str, bytes], ...]:
    """The attributes that a user sets; not the overlay's own, and not labels, which the other file system may lack."""
    names = (name for name in System.listxattr(descriptor) if name.startswith(("user.", "system.", "security.cap")))
    return tuple(
        (name, System.getxattr(descriptor, name)) for name in sorted(names) if not name.startswith(_OVERLAY_XATTR)
    )


def has_xattr(descriptor: int, name: str) -> bool:
    """Whether an object has an attribute of that name."""
    return name in System.listxattr(descriptor)


def flags_of(descriptor: int) -> int:
    """The flags that ``chattr`` sets, as far as they are told; immutable ones an overlay keeps in an attribute."""
    try:
        answer = System.ioctl(descriptor, _FS_IOC_GETFLAGS, bytes(8))
    except OSError:
        # The file system has no such thing.
        answer = bytes(4)
    kept = _KEPT_FLAGS if has_xattr(descriptor, _FILE_FLAGS) else 0
    return kept | (int.from_bytes(answer[:4], "little") & _CHATTR_FLAGS)
