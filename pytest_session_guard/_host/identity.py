"""Which object stands at a path: real directories by the kernel's word, identities that tell objects apart."""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from builtins import bool, bytes, enumerate, getattr, int, isinstance, len, range, str  # noqa: A004 - captured: tests mock builtins
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from pytest_session_guard._core.records import Identity
from pytest_session_guard._host.handles import AT_EMPTY_PATH, AT_FDCWD, file_handle

AT_SYMLINK_NOFOLLOW: Final = 0x100
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
    getcwd = staticmethod(os.getcwd)


_normpath: Final = os.path.normpath
_ENCODING: Final = sys.getfilesystemencoding()
_ERRORS: Final = sys.getfilesystemencodeerrors()


def encoded(path: str | bytes) -> bytes:
    """`os.fsencode` in C alone, by the method of `str` itself: a subclass may have another."""
    return str.encode(path, _ENCODING, _ERRORS) if isinstance(path, str) else path


def decoded(path: str | bytes) -> str:
    """`os.fsdecode` in C alone: the original looks builtins up at each call, and tests mock those."""
    return path.decode(_ENCODING, _ERRORS) if isinstance(path, bytes) else path


HAS_PROC_FD: Final = sys.platform == "linux" and os.path.isdir("/proc/self/fd")
O_PATH: Final = getattr(os, "O_PATH", 0)
# macOS: names are found whatever their case and normal form, so only the kernel knows how one is really spelled.
IS_SPELLING_FREE: Final = sys.platform == "darwin"
_F_GETPATH: Final = 50
_EVENTS_ONLY: Final = getattr(os, "O_EVTONLY", 0)


def _captured_fcntl() -> Any:
    """`fcntl.fcntl`, for where there is no ``/proc`` to ask."""
    if HAS_PROC_FD:
        return None
    import fcntl

    return fcntl


_fcntl: Final = _captured_fcntl()
_fcntl_call: Final = getattr(_fcntl, "fcntl", None)
_F_GETFL: Final[int] = getattr(_fcntl, "F_GETFL", 0)


def real_path_of_fd(fd: int) -> str | None:
    """The path of an open descriptor as the kernel knows it, or ``None`` for pipes, sockets and deleted files."""
    if not HAS_PROC_FD:
        return _real_path_of_fd_without_proc(fd)
    try:
        target = _Primitives.readlink(b"/proc/self/fd/%d" % fd)
    except OSError:
        return None
    return decoded(target) if target.startswith(b"/") else None


def _real_path_of_fd_without_proc(fd: int) -> str | None:
    if not IS_SPELLING_FREE or _fcntl_call is None:
        return None
    try:
        raw: bytes = _fcntl_call(fd, _F_GETPATH, bytes(1024))
    except (OSError, ValueError):
        return None
    return decoded(raw.rstrip(b"\0"))


def _spelled(path: str) -> str:
    """A real path in the spelling that the disk has; the caller's where the object may not be opened to ask."""
    try:
        found = _Primitives.lstat(path)
    except OSError:
        return path
    told = None
    # Of a file with several names the kernel may tell another one; to open what is neither file nor directory does something.
    if stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1):
        told = _told_path(path, os.O_NOFOLLOW)
    if told is not None:
        return told
    above, _, name = path.rpartition("/")
    return f"{_spelled(above)}/{name}" if above else path


def _told_path(path: str | bytes, flags: int, dir_fd: int | None = None) -> str | None:
    """What the kernel calls a file or directory, or ``None`` where it cannot be opened."""
    try:
        fd = _Primitives.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | _EVENTS_ONLY | flags, dir_fd=dir_fd)
    except OSError:
        return None
    try:
        return real_path_of_fd(fd)
    finally:
        _Primitives.close(fd)


def spelled_name(path: str, found: os.stat_result) -> str:
    """The path of an object in a directory whose real path is known, as the disk spells it.

    :param found: its `lstat`.
    """
    return path if stat.S_ISLNK(found.st_mode) or not IS_SPELLING_FREE else _spelled(path)


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
        told = _told_path(path, flags, dir_fd) if IS_SPELLING_FREE and flags & os.O_DIRECTORY else None
        return _resolve_by_hand(path, dir_fd, flags) if told is None else told
    try:
        fd = _Primitives.open(path, O_PATH | flags | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as problem:
        if problem.errno in (errno.EMFILE, errno.ENFILE):
            return _resolve_by_hand(path, dir_fd, flags)
        return None
    try:
        return real_path_of_fd(fd)
    finally:
        _Primitives.close(fd)


def _resolve_by_hand(path: str | bytes, dir_fd: int | None, flags: int = 0) -> str | None:
    """The kernel's answer where descriptors ran out or there is no ``/proc``."""
    text = decoded(path)
    if not text.startswith("/"):
        base = _Primitives.getcwd() if dir_fd is None else real_path_of_fd(dir_fd)
        if base is None or not text:
            return None
        text = f"{base}/{text}"
    walk = _walk(text)
    if walk.missing or (flags & os.O_DIRECTORY and not walk.is_directory):
        return None
    return walk.real


class _Walk(NamedTuple):
    """How far a path leads.

    :param real: the real path of its part that exists.
    :param missing: the components after that; empty when all of it exists.
    :param blocked: the first of those is not simply absent: a loop, or something that may not be looked at.
    """

    real: str
    missing: tuple[str, ...] = ()
    blocked: bool = False
    is_directory: bool = True


def _walk(path: str) -> _Walk:
    """Follow an absolute path in the kernel's order: a symlink first, then the ``..`` after it."""
    found = _walk_by_name(path)
    return found._replace(real=_spelled(found.real)) if IS_SPELLING_FREE else found


def _walk_by_name(path: str) -> _Walk:
    pending, here, links, is_directory = path.split("/")[::-1], "", 0, True
    while pending:
        part = pending.pop()
        if not is_directory:
            # Even "file/" and "file/.." ask for a directory.
            above, _, name = here.rpartition("/")
            return _Walk(above or "/", (name, part, *pending[::-1]), blocked=True)
        if part in ("", "."):
            continue
        if part == "..":
            here = here.rpartition("/")[0]
            continue
        step = f"{here}/{part}"
        try:
            found = _Primitives.lstat(step)
            target = _Primitives.readlink(step) if stat.S_ISLNK(found.st_mode) else None
        except OSError as problem:
            blocked = problem.errno != errno.ENOENT
            return _Walk(here or "/", (part, *pending[::-1]), blocked)
        if target is None:
            here, is_directory = step, stat.S_ISDIR(found.st_mode)
            continue
        links += 1
        if links > MAX_LINKS:
            return _Walk(here or "/", (part, *pending[::-1]), blocked=True)
        here = "" if target.startswith("/") else here
        pending.extend(target.split("/")[::-1])
    return _Walk(here or "/", is_directory=is_directory)


def resolve_missing(path: str) -> str:
    """The real path that an absolute path has or would have: what exists resolved, missing components kept.

    Never has a ``..``: after a missing component it takes that one back, as a directory made there would.
    """
    found = real_target(path)
    if found is not None:
        return found
    walk = _walk(path)
    by_name = _normpath(f"{walk.real}/{'/'.join(walk.missing)}")
    # What comes after that may be a symlink; the limit is for one that leads to itself in this way.
    for _ in range(MAX_LINKS):
        kept, further = _until_taken_back(walk.missing)
        if not further:
            return "/".join((walk.real.rstrip("/"), *kept)) or "/"
        walk = _walk("/".join((walk.real.rstrip("/"), *further)))
    return by_name


def _until_taken_back(missing: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Of missing components the names that stay, or what follows where all before it have been taken back."""
    kept: list[str] = []
    for index, part in enumerate(missing):
        if part not in ("", ".", ".."):
            kept.append(part)
        elif part == "..":
            del kept[-1:]
            if not kept:
                return (), missing[index + 1 :]
    return kept, ()


def creatable_target(path: str) -> str | None:
    """The real path at which a file appears when an absolute path whose last symlink dangles is opened for creation.

    :returns: ``None`` when opening fails by itself: no such directory, a loop of symlinks, no permission to look.
    """
    walk = _walk(path)
    if not walk.missing:
        return walk.real  # it appeared since
    if walk.blocked or len(walk.missing) > 1:
        return None
    return f"{walk.real.rstrip('/')}/{walk.missing[0]}"


def is_writable(fd: int) -> bool:
    """Whether a descriptor is open for writing; yes, where that cannot be known."""
    if not HAS_PROC_FD:
        return _is_writable_by_flags(fd)
    try:
        # The link's permission bits are the descriptor's access mode (proc_pid_fd(5)).
        return bool(_Primitives.lstat(b"/proc/self/fd/%d" % fd).st_mode & stat.S_IWUSR)
    except OSError:
        return True


def _is_writable_by_flags(fd: int) -> bool:
    if _fcntl_call is None:
        return True
    try:
        return bool(_fcntl_call(fd, _F_GETFL) & (os.O_WRONLY | os.O_RDWR))
    except (OSError, ValueError):
        return True


def identity_of(path: str | bytes | int, dir_fd: int | None = None) -> Identity:
    """What stands at a path (the symlink itself, if it is one) or behind a descriptor.

    :raises OSError: nothing stands there.
    """
    found = (
        _Primitives.fstat(path)
        if isinstance(path, int)
        else _Primitives.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    )
    return identity_from_stat(path, found, dir_fd)


def identity_from_stat(path: str | bytes | int, found: os.stat_result, dir_fd: int | None = None) -> Identity:
    """The identity of an object that was just looked at: its birth time, or where there is none its file handle."""
    born = birth_ns(path, found, dir_fd)
    handle = file_handle(path, dir_fd) if born is None else None
    return Identity(found.st_dev, found.st_ino, born, handle)


def birth_ns(path: str | bytes | int, found: os.stat_result, dir_fd: int | None = None) -> int | None:
    """The creation time in nanoseconds, or ``None`` where the file system or the platform keeps none."""
    seconds = getattr(found, "st_birthtime", None)  # macOS and Windows have it in the stat result
    if seconds is not None:
        # A float holds a quarter of a microsecond at best: rounded down to one, it is as a clock of microseconds gives it.
        return int(getattr(found, "st_birthtime_ns", int(seconds * 1_000_000) * 1_000))
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
            # An array type is a faster constructor than create_string_buffer, and this is called for every artifact.
            _statx_cache.append((function, ctypes.c_char * 256))
        except (ImportError, OSError, AttributeError):
            _statx_cache.append(None)
    return _statx_cache[0]


def _read_statx(call: tuple[_Statx, Any], path: str | bytes | int, dir_fd: int | None) -> int | None:
    function, make_buffer = call
    buffer = make_buffer()
    if isinstance(path, int):
        start, name, flags = path, b"", AT_EMPTY_PATH
    else:
        start, name, flags = AT_FDCWD if dir_fd is None else dir_fd, encoded(path), AT_SYMLINK_NOFOLLOW
    if function(start, name, flags, STATX_BTIME, buffer) != 0:
        return None
    # struct statx: stx_mask at 0, stx_btime (s64 seconds, u32 nanoseconds) at 80; see statx(2).
    (mask,) = struct.unpack_from("=I", buffer, 0)
    if not mask & STATX_BTIME:
        return None
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, 80)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


class Sight(NamedTuple):
    """What one look at an object tells, the symlink itself if it is one."""

    identity: Identity
    mode: int
    mtime_ns: int
    ctime_ns: int


# struct statx, see statx(2): mask, mode, inode; times of birth, change and modification; the device's numbers.
_STATX_FIELDS: Final = struct.Struct("=I24xH2xQ40xqI4xqI4xqI12xII")
_STATX_EVERYTHING: Final = 0xFFF


def look(path: str, dir_fd: int | None = None) -> Sight:
    """An object's identity, mode and times: one system call where there is statx and a birth time.

    :raises OSError: nothing stands there.
    """
    call = _statx()
    if call is None:
        found = _Primitives.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        return Sight(identity_from_stat(path, found, dir_fd), found.st_mode, found.st_mtime_ns, found.st_ctime_ns)
    mask, mode, inode, born, born_part, changed, changed_part, modified, modified_part, major, minor = _statx_fields(
        call, path, dir_fd
    )
    birth = born * 1_000_000_000 + born_part if mask & STATX_BTIME else None
    return Sight(
        Identity(os.makedev(major, minor), inode, birth, None if birth is not None else file_handle(path, dir_fd)),
        mode,
        modified * 1_000_000_000 + modified_part,
        changed * 1_000_000_000 + changed_part,
    )


def is_file_at(path: str, identity: Identity, dir_fd: int | None = None) -> bool:
    """Whether this very object stands there and is no directory: what `look` says, for less.

    :raises OSError: nothing stands there.
    """
    call = _statx()
    if call is None or identity.birth_ns is None:
        seen = look(path, dir_fd)
        return seen.identity == identity and not stat.S_ISDIR(seen.mode)
    mask, mode, inode, born, born_part, _, _, _, _, major, minor = _statx_fields(call, path, dir_fd)
    return (
        inode == identity.inode
        and bool(mask & STATX_BTIME)
        and born * 1_000_000_000 + born_part == identity.birth_ns
        and os.makedev(major, minor) == identity.device
        and not stat.S_ISDIR(mode)
    )


def _statx_fields(call: tuple[_Statx, Any], path: str, dir_fd: int | None) -> tuple[int, ...]:
    function, make_buffer = call
    buffer = make_buffer()
    start = AT_FDCWD if dir_fd is None else dir_fd
    if function(start, encoded(path), AT_SYMLINK_NOFOLLOW, _STATX_EVERYTHING, buffer) != 0:
        # Again, for the right exception.
        _Primitives.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return _STATX_FIELDS.unpack_from(buffer)
