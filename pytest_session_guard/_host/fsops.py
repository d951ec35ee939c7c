"""The only place that writes to disk, through primitives captured at import.

Tests replace `os` functions, and fake file systems replace the `os` module in every module that holds one. The
primitives here are class attributes, bound before any test code runs, which neither reaches.

Our own writes raise audit events as everybody's do. They name paths as `OwnPath` and descriptors as `OwnDescriptor`,
types that the hook knows and lets through, so no busy flag is needed (a signal handler that runs while such a flag is up
would be let through too).
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from builtins import getattr, memoryview  # noqa: A004 - captured: tests mock builtins
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

CACHEDIR_TAG: Final = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n"
    b"# This directory holds the ledger of pytest-session-guard.\n"
    b"# About cache directory tags: https://bford.info/cachedir/spec.html\n"
)
STATE_README: Final = b"""The ledger of pytest-session-guard: what its runs created and touched, and copies of what they changed.

Keep it out of version control (it ignores itself). `session-guard runs` lists what is here, `session-guard restore RUN`
brings back what a run changed, `session-guard clean` finishes what a killed run left. Deleting this directory while no
run is alive loses the copies, and nothing else.
"""


class OwnPath(str):
    """A path that this package itself is about to change; the hook lets it through."""

    __slots__ = ()


class OwnDescriptor(int):
    """The same by an open descriptor."""

    __slots__ = ()


class Raw:
    """Captured primitives. Call them as ``Raw.lstat(path)``; they are builtins, so nothing binds."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    read = staticmethod(os.read)
    lseek = staticmethod(os.lseek)
    write = staticmethod(os.write)
    stat = staticmethod(os.stat)
    lstat = staticmethod(os.lstat)
    fstat = staticmethod(os.fstat)
    readlink = staticmethod(os.readlink)
    scandir: Callable[[str], Iterator[os.DirEntry[str]]] = staticmethod(os.scandir)  # type: ignore[assignment]
    listdir = staticmethod(os.listdir)
    mkdir = staticmethod(os.mkdir)
    unlink = staticmethod(os.unlink)
    rmdir = staticmethod(os.rmdir)
    rename = staticmethod(os.rename)
    link = staticmethod(os.link)
    symlink = staticmethod(os.symlink)
    chmod = staticmethod(os.chmod)
    chown: Any = getattr(os, "chown", None)  # Windows has no owners to keep: never called there
    utime = staticmethod(os.utime)
    fsync = staticmethod(os.fsync)
    getpid = staticmethod(os.getpid)
    geteuid: Callable[[], int] | None = getattr(os, "geteuid", None)  # Windows has no users of this kind
    getcwd = staticmethod(os.getcwd)
    fchdir: Callable[[int], None] = staticmethod(getattr(os, "fchdir", os.chdir))
    chroot: Any = getattr(os, "chroot", None)  # Windows has one root for each drive: never called there
    time_ns = staticmethod(time.time_ns)
    exit_now = staticmethod(os._exit)


# CLOCK_REALTIME_COARSE: the clock by which Linux stamps files. It ticks every few milliseconds, and time_ns() runs ahead.
_STAMP_CLOCK: Final = 5 if sys.platform == "linux" else None
_clock_gettime_ns: Final = getattr(time, "clock_gettime_ns", None)


def stamp_clock_ns() -> int:
    """Now, by the clock that stamps new files: nothing that is made from here on bears an earlier time.

    Holds for file systems of this machine; `clock_ns` asks any file system.
    """
    if _STAMP_CLOCK is None or _clock_gettime_ns is None:
        return Raw.time_ns()
    now: int = _clock_gettime_ns(_STAMP_CLOCK)
    return now


def write_all(fd: int, content: bytes) -> None:
    """Write all of ``content``; one system call unless the kernel takes less.

    :raises OSError: what the kernel said; part of the content may be written.
    """
    view = memoryview(content)
    while view:
        view = view[Raw.write(fd, view) :]


def read_file(path: str, start: int = 0) -> bytes:
    """The content of a regular file from byte ``start`` on; never opens a pipe or a device, never follows a symlink.

    :raises OSError: it cannot be read, or is no regular file.
    """
    fd = Raw.open(OwnPath(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    try:
        if not stat.S_ISREG(Raw.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        Raw.lseek(fd, start, os.SEEK_SET)
        pieces = []
        while piece := Raw.read(fd, 1 << 20):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        Raw.close(fd)


def lstat_or_none(path: str) -> os.stat_result | None:
    """What stands at a path, a symlink as itself; ``None`` where nothing does, or it cannot be looked at."""
    try:
        return Raw.lstat(path)
    except OSError:
        return None


def create_file(path: str, content: bytes = b"", mode: int = 0o600) -> None:
    """A new file with this content; never an existing one.

    :raises FileExistsError: something stands there.
    :raises OSError: it cannot be written; what was begun is removed.
    """
    fd = _open_new(path, os.O_WRONLY, mode)
    try:
        write_all(fd, content)
    except OSError:
        Raw.unlink(OwnPath(path))
        raise
    finally:
        Raw.close(fd)


def replace_file(path: str, content: bytes, mode: int = 0o600, durable: bool = False) -> None:
    """``content`` at ``path``, all or nothing: written beside it and renamed over it.

    :param durable: sync before the rename, so that a power cut leaves the old or the new content.
    :raises OSError: it cannot be written; ``path`` is as it was.
    """
    beside = f"{path}.{Raw.getpid()}.{Raw.time_ns():x}.tmp"
    fd = _open_new(beside, os.O_WRONLY, mode)
    try:
        try:
            write_all(fd, content)
            if durable:
                Raw.fsync(fd)
        finally:
            Raw.close(fd)
        Raw.rename(OwnPath(beside), OwnPath(path))
    except OSError:
        Raw.unlink(OwnPath(beside))
        raise


def overwrite_file(path: str, content: bytes) -> None:
    """``content`` in the file that stands at ``path``, which stays the same object.

    For a file that alone may be written: nothing can be made beside it, or renamed over it.

    :raises OSError: there is none, or it cannot be written; it may be half written then.
    """
    fd = Raw.open(OwnPath(path), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
    try:
        write_all(fd, content)
    finally:
        Raw.close(fd)


def is_stream(path: str) -> bool:
    """Whether a device or a pipe stands at a path, or a name of an open descriptor (``/dev/stdout``): never to be replaced."""
    if os.path.realpath(os.path.dirname(path)).startswith("/proc/"):
        return True
    found = lstat_or_none(path)
    if found is None or stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
        return False
    return not stat.S_ISLNK(found.st_mode) or os.readlink(OwnPath(path)).startswith("/proc/")


def write_to_stream(path: str, content: bytes) -> None:
    """``content`` into what `is_stream`, after whatever else was written there.

    :raises OSError: it cannot be written, or nobody reads the pipe.
    """
    fd = Raw.open(OwnPath(path), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        os.set_blocking(fd, True)
        write_all(fd, content)
    finally:
        Raw.close(fd)


def open_for_append(path: str) -> int:
    """A descriptor that appends to a new private file; ours for as long as the process lives.

    :raises FileExistsError: something stands there; a journal is never shared and never continued.
    """
    return _open_new(path, os.O_WRONLY | os.O_APPEND, 0o600)


def _open_new(path: str, flags: int, mode: int) -> int:
    # O_EXCL follows no symlink either.
    fd = Raw.open(OwnPath(path), flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    insist_on_owner(path, Raw.fstat(fd), mode)
    return fd


def insist_on_owner(path: str, made: os.stat_result, mode: int) -> None:
    """A test may run under a umask that takes even the owner's rights away; ours stay. Others' are as the umask says."""
    if (made.st_mode ^ mode) & stat.S_IRWXU:
        Raw.chmod(OwnPath(path), mode)


def make_directory(path: str, mode: int = 0o700) -> None:
    """A directory at ``path`` with missing parents; fine when there is one already.

    :raises OSError: it cannot be made, or something else stands there.
    """
    try:
        Raw.mkdir(OwnPath(path), mode)
        insist_on_owner(path, Raw.lstat(path), mode)
    except FileExistsError:
        if not stat.S_ISDIR(Raw.stat(OwnPath(path)).st_mode):
            raise
    except FileNotFoundError:
        make_directory(path.rpartition("/")[0] or "/", mode)
        make_directory(path, mode)


def make_state_directory(path: str) -> None:
    """The labelled directory of all runs, made aside and renamed, so that nobody sees it without its labels.

    :raises OSError: it cannot be made; or what stands there is a symlink, no directory, or somebody else's.
    """
    try:
        found = Raw.lstat(path)
    except FileNotFoundError:
        _make_labelled(path)
        found = Raw.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "is no directory of ours (a symlink or a file stands there)", path)
    if Raw.geteuid is not None and found.st_uid not in (Raw.geteuid(), 0):
        raise PermissionError(errno.EPERM, f"belongs to another user (uid {found.st_uid})", path)


def _make_labelled(path: str) -> None:
    aside = f"{path}.{Raw.getpid()}.{Raw.time_ns():x}.tmp"
    make_directory(aside)
    make_directory(f"{aside}/runs")
    create_file(f"{aside}/.gitignore", b"# made by pytest-session-guard\n*\n", 0o644)
    create_file(f"{aside}/README.md", STATE_README, 0o644)
    create_file(f"{aside}/CACHEDIR.TAG", CACHEDIR_TAG, 0o644)
    try:
        Raw.rename(OwnPath(aside), OwnPath(path))
    except OSError as problem:
        for name in (".gitignore", "README.md", "CACHEDIR.TAG"):
            Raw.unlink(OwnPath(f"{aside}/{name}"))
        Raw.rmdir(OwnPath(f"{aside}/runs"))
        Raw.rmdir(OwnPath(aside))
        if problem.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def clock_ns(directory: str) -> int:
    """Now, by the clock of the file system that holds ``directory``, in nanoseconds: the time it would stamp a file with.

    :raises OSError: nothing can be created there.
    """
    tmpfile = getattr(os, "O_TMPFILE", None)
    if tmpfile is not None:
        try:
            fd = Raw.open(OwnPath(directory), tmpfile | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            if problem.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
                raise
        else:
            with closing(fd):
                return Raw.fstat(fd).st_mtime_ns
    path = OwnPath(f"{directory}/.session-guard-clock.{Raw.getpid()}.{Raw.time_ns():x}")
    fd = _open_new(path, os.O_WRONLY, 0o600)
    with closing(fd):
        Raw.unlink(path)
        return Raw.fstat(fd).st_mtime_ns


@contextmanager
def closing(fd: int) -> Iterator[int]:
    """Close a descriptor at the end of the block."""
    try:
        yield fd
    finally:
        Raw.close(fd)


def keep_clear_of_low_numbers(fd: int) -> int:
    """The same file under a high descriptor number: tests close and reopen low ones, and count them."""
    try:
        import fcntl

        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 500)
    except (ImportError, OSError, ValueError):
        return fd
    Raw.close(fd)
    return high
