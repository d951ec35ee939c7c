"""What Python on macOS lacks taken away from this interpreter, what it has added, and the names that tell the platform.

Loaded as `sitecustomize`, before anything of ours. Kept true to what Apple documents:

- no ``/proc``; the path of a descriptor by ``fcntl(F_GETPATH)``; no xattrs in `os`, none of Linux's own calls in `os` or
  in the C library (``renamex_np`` and its like are there instead);
- a birth time in every stat result, a float as everywhere in CPython but on Windows;
- a modification time before it takes the birth time along (utimes, since HFS+);
- names that differ in case alone are one name. Here a symlink to such a name beside it plays the other spelling: nothing
  tells it from a second name of the same directory or file, and the kernel's word for what it leads to is the true one;
- `unlink` of a directory is ``EPERM``; a symlink met by ``O_NOFOLLOW`` is ``ELOOP`` even with ``O_DIRECTORY``;
- `os.link` follows a symlink unless told otherwise (link(2)).

The stand-in itself needs Linux's ``/proc`` for the kernel's word; nothing else in this process gets to see it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import posix
import pwd
import select
import signal
import socket
import stat
import sys
import sysconfig
import tempfile
import time
from typing import Any, Self

sysconfig.get_config_vars()

# Linux's own, by CPython's documentation ("Availability").
MISSING = (
    "O_PATH", "O_TMPFILE", "O_NOATIME", "O_DIRECT", "O_RSYNC", "O_LARGEFILE",
    "copy_file_range", "eventfd", "eventfd_read", "eventfd_write", "fdatasync", "getrandom", "getresgid", "getresuid",
    "getxattr", "listxattr", "memfd_create", "pidfd_open", "pipe2", "posix_fadvise", "posix_fallocate", "removexattr",
    "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity",
    "sched_setparam", "sched_setscheduler", "sched_param", "setns", "setresgid", "setresuid", "setxattr", "splice",
    "unshare", "waitid", "waitid_result",
)  # fmt: skip
MISSING_KINDS = ("CLONE_", "EFD_", "GRND_", "MFD_", "POSIX_FADV_", "P_PID", "RWF_", "SPLICE_", "XATTR_")
MISSING_ELSEWHERE = {
    fcntl: ("F_OFD_", "F_ADD_SEALS", "F_GET_SEALS", "F_SEAL_", "F_NOTIFY", "F_SETLEASE", "F_GETLEASE", "F_SETPIPE_SZ", "DN_"),
    mmap: ("MAP_POPULATE", "MAP_DENYWRITE", "MAP_EXECUTABLE", "MADV_DONTFORK", "MADV_DOFORK"),
    select: ("epoll", "EPOLL"),
    signal: ("pidfd_send_signal", "SIGRTM", "SIGPOLL", "SIGPWR", "SIGSTKFLT", "sigtimedwait", "sigwaitinfo"),
    socket: ("AF_NETLINK", "AF_ALG", "AF_PACKET", "AF_VSOCK", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "SO_PEERCRED", "SCM_CREDENTIALS"),
    time: ("CLOCK_BOOTTIME", "CLOCK_TAI", "pthread_getcpuclockid"),
}  # fmt: skip
LINUX_FUNCTIONS = frozenset(
    (
        "statx", "name_to_handle_at", "open_by_handle_at", "renameat2", "unshare", "setns", "prctl", "capget", "capset",
        "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "memfd_create", "eventfd", "umount2", "pivot_root",
        "process_vm_readv", "pidfd_open", "copy_file_range", "splice", "signalfd", "timerfd_create", "mount",
    )
)  # fmt: skip
F_GETPATH = 50
MOVED_BIRTH = "user.stand_in_birth"
CLOCK_REALTIME_COARSE = 5

_open, _stat, _lstat, _fstat, _readlink, _unlink, _link = (
    os.open, os.stat, os.lstat, os.fstat, os.readlink, os.unlink, os.link,
)  # fmt: skip
_access, _fcntl, _listdir, _scandir = os.access, fcntl.fcntl, os.listdir, os.scandir
_utime, _getxattr, _setxattr = os.utime, os.getxattr, os.setxattr
_CDLL = ctypes.CDLL
_libc = ctypes.CDLL(None, use_errno=True)


def is_in_proc(path: object) -> bool:
    """Whether a path leads to what macOS has not."""
    text = os.fsdecode(path) if isinstance(path, (bytes, str)) else ""
    return text == "/proc" or text.startswith("/proc/")


def hidden(path: object) -> object:
    """The path, where macOS has something of the kind."""
    if is_in_proc(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return path


def spelled(path: Any, dir_fd: int | None = None) -> Any:
    """What a path names: where its last component is another spelling of a name beside it, that name."""
    hidden(path)
    if not isinstance(path, (str, bytes)):
        return path
    text = os.fsdecode(path)
    try:
        target = _readlink(text.rstrip("/"), dir_fd=dir_fd)
    except (OSError, ValueError):
        return path
    parent, slash, name = text.rstrip("/").rpartition("/")
    if name == target or name.lower() != target.lower():
        return path
    found = f"{parent}{slash}{target}"
    return os.fsencode(found) if isinstance(path, bytes) else found


class Stat:
    """A stat result with a birth time; `os.stat_result` itself cannot be derived from."""

    __slots__ = ("_found", "st_birthtime")

    def __init__(self, found: os.stat_result, born: float) -> None:
        self._found, self.st_birthtime = found, born

    def __getattr__(self, name: str) -> Any:
        if name == "_found":
            raise AttributeError(name)
        return getattr(self._found, name)

    def __getitem__(self, key: Any) -> Any:
        return self._found[key]

    def __iter__(self) -> Any:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other)  # type: ignore[call-overload]

    def __hash__(self) -> int:
        return hash(self._found)


def reached(path: Any, dir_fd: int | None) -> Any:
    """A path that needs no descriptor beside it."""
    if dir_fd is None or isinstance(path, int) or os.fsdecode(path).startswith("/"):
        return path
    return type(path)(f"/proc/self/fd/{dir_fd}/{os.fsdecode(path)}")


def born(path: Any, dir_fd: int | None, follows: bool) -> float:
    """A birth time, as statx has it, or as a modification time has moved it."""
    try:
        return float(_getxattr(reached(path, dir_fd), MOVED_BIRTH, follow_symlinks=isinstance(path, int) or follows))
    except OSError:
        pass  # it was not moved
    buffer = (ctypes.c_char * 256)()
    if isinstance(path, int):
        start, name, flags = path, b"", 0x1000
    else:
        start, name = -100 if dir_fd is None else dir_fd, os.fsencode(path)
        flags = 0 if follows else 0x100
    if _libc.statx(start, name, flags, 0x800, buffer) != 0:
        return 0.0
    seconds = int.from_bytes(buffer[80:88], sys.byteorder, signed=True)
    return seconds + int.from_bytes(buffer[88:92], sys.byteorder) / 1e9


def stat_of(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> Any:
    """`os.stat`."""
    path = spelled(path, dir_fd)
    found = _stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    return Stat(found, born(path, dir_fd, follow_symlinks))


def lstat_of(path: Any, *, dir_fd: int | None = None) -> Any:
    """`os.lstat`."""
    path = spelled(path, dir_fd)
    return Stat(_lstat(path, dir_fd=dir_fd), born(path, dir_fd, False))


def fstat_of(fd: int) -> Any:
    """`os.fstat`."""
    return Stat(_fstat(fd), born(int(fd), None, True))


def readlink(path: Any, *, dir_fd: int | None = None) -> Any:
    """`os.readlink`."""
    return _readlink(spelled(path, dir_fd), dir_fd=dir_fd)


def access(path: Any, mode: int, **names: Any) -> bool:
    """`os.access`."""
    return not is_in_proc(path) and _access(path, mode, **names)


def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """`os.open`."""
    if flags & os.O_NOFOLLOW:
        path = type(path)(spelled(path, dir_fd)) if isinstance(path, (str, bytes)) else path
    try:
        return _open(path, flags, mode, dir_fd=dir_fd)
    except NotADirectoryError as problem:
        both = os.O_NOFOLLOW | os.O_DIRECTORY
        if flags & both == both and stat.S_ISLNK(_lstat(path, dir_fd=dir_fd).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from problem
        raise


def unlink(path: Any, *, dir_fd: int | None = None) -> None:
    """`os.unlink` and `os.remove`."""
    try:
        _unlink(path, dir_fd=dir_fd)
    except IsADirectoryError as problem:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path) from problem


def link(
    src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None, follow_symlinks: bool = True
) -> None:
    """`os.link`: a symlink is followed as link(2) does there, by a name that the kernel has for it."""
    if follow_symlinks and src_dir_fd is None and dst_dir_fd is None and os.path.islink(src):
        sys.audit("os.link", src, dst, -1, -1)
        if _libc.linkat(-100, os.fsencode(src), -100, os.fsencode(dst), 0x400) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), src, None, dst)
        return
    _link(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)


def is_spelling(directory: Any, name: Any) -> bool:
    """Whether a name in a directory is but another spelling of one beside it."""
    if isinstance(directory, int):
        return bool(spelled(name, directory) != name)
    return bool(spelled(os.path.join(directory, name)) != os.path.join(directory, name))


def listdir(path: Any = ".") -> list[Any]:
    """`os.listdir`."""
    return [name for name in _listdir(path) if not is_spelling(path, name)]


class DirEntry:
    """`os.DirEntry`, whose stat results have a birth time too."""

    def __init__(self, entry: Any, directory: int | None) -> None:
        self._entry, self._directory = entry, directory
        self.name, self.path = entry.name, entry.path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._entry, name)

    def __fspath__(self) -> Any:
        return self.path

    def stat(self, *, follow_symlinks: bool = True) -> Any:
        """`os.DirEntry.stat`."""
        found = self._entry.stat(follow_symlinks=follow_symlinks)
        return Stat(found, born(self.path, self._directory, follow_symlinks))


class scandir:  # noqa: N801 - its name
    """`os.scandir`."""

    def __init__(self, path: Any = ".") -> None:
        self._entries = _scandir(path)
        self._path = path

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        directory = self._path if isinstance(self._path, int) else None
        return DirEntry(next(one for one in self._entries if not is_spelling(self._path, one.name)), directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._entries.close()

    def close(self) -> None:
        """End it."""
        self._entries.close()


def utime(
    path: Any, times: Any = None, *, ns: Any = None, dir_fd: int | None = None, follow_symlinks: bool = True
) -> None:
    """`os.utime`."""
    chosen = {} if ns is None else {"ns": ns}
    _utime(path, times, **chosen, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    if follow_symlinks and (times or ns):
        was, modified = born(path, dir_fd, True), ns[1] / 1e9 if ns else float(times[1])
        if modified < was:
            _setxattr(reached(path, dir_fd), MOVED_BIRTH, repr(modified).encode())


def fcntl_(fd: Any, command: int, argument: Any = 0) -> Any:
    """`fcntl.fcntl`."""
    if command != F_GETPATH:
        return _fcntl(fd, command, argument)
    number = fd if isinstance(fd, int) else fd.fileno()
    sys.audit("fcntl.fcntl", number, command, argument)
    path = _readlink(b"/proc/self/fd/%d" % number)
    if not path.startswith(b"/"):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return path.removesuffix(b" (deleted)").ljust(len(argument), b"\0")


def chflags(path: Any, flags: int, follow_symlinks: bool = True) -> None:
    """`os.chflags`: heard of, and without effect here."""
    sys.audit("os.chflags", path, flags)


def lchflags(path: Any, flags: int) -> None:
    """`os.lchflags`."""
    sys.audit("os.chflags", path, flags)


def lchmod(path: Any, mode: int) -> None:
    """`os.lchmod`."""
    sys.audit("os.chmod", path, mode, -1)


class CDLL(_CDLL):
    """A C library without what is Linux's own, and with Apple's renames."""

    def __getattr__(self, name: str) -> Any:
        if name in LINUX_FUNCTIONS:
            raise AttributeError(f"dlsym({name}): symbol not found")
        if name == "syscall":
            raise AssertionError("a system call by its number: on macOS that is another call")
        if name == "renameatx_np":
            return renameatx_np
        return super().__getattr__(name)


def renameatx_np(source: int, name: bytes, target: int, target_name: bytes, flags: int) -> int:
    """RENAME_SWAP is 2, RENAME_EXCL is 4."""
    return int(_libc.renameat2(source, name, target, target_name, {0: 0, 2: 2, 4: 1}[flags]))


def hide_proc(event: str, args: tuple[Any, ...]) -> None:
    """For those who open and list in C."""
    if event in ("open", "os.listdir", "os.scandir"):
        hidden(args[0])


def put(name: str, function: Any) -> None:
    """A function in `os` and `posix`, and in the sets that say what it takes."""
    original = getattr(os, name, None)
    function.__name__ = name
    for module in (os, posix):
        setattr(module, name, function)
    for feature in ("supports_dir_fd", "supports_fd", "supports_follow_symlinks", "supports_effective_ids"):
        functions = getattr(os, feature)
        if original in functions:
            functions.add(function)


def take_away() -> None:
    """What is not there."""
    for name in [*MISSING, *(name for name in dir(os) if name.startswith(MISSING_KINDS))]:
        for module in (os, posix):
            for feature in ("supports_dir_fd", "supports_fd", "supports_follow_symlinks"):
                getattr(os, feature).discard(getattr(module, name, None))
            if hasattr(module, name):
                delattr(module, name)
    for module, beginnings in MISSING_ELSEWHERE.items():
        for name in [name for name in dir(module) if name.startswith(beginnings)]:
            delattr(module, name)
    tempfile._O_TMPFILE_WORKS = False  # type: ignore[attr-defined]


def add() -> None:
    """What is there instead."""
    functions = (
        *(stat_of, lstat_of, fstat_of, readlink, access, open_, unlink, utime, link, listdir, scandir),
        *(chflags, lchflags, lchmod),
    )
    for function in functions:
        name = function.__name__.removesuffix("_of").removesuffix("_")
        put(name, function)
    os.remove = posix.remove = os.unlink
    os.supports_dir_fd.add(os.remove)
    os.DirEntry = posix.DirEntry = DirEntry  # type: ignore[misc,assignment,attr-defined]
    fcntl.fcntl = fcntl_
    ctypes.CDLL = CDLL  # type: ignore[misc]
    for name, value in {"O_SYMLINK": 0, "O_EVTONLY": 0, "O_SHLOCK": 0, "O_EXLOCK": 0}.items():
        setattr(os, name, value)


take_away()
add()
# The one home there is: without a kernel layer an inventory of it is taken, and this machine's is not to be read for that.
_record = pwd.struct_passwd(("me", "x", os.getuid(), os.getgid(), "", os.environ.get("HOME", "/"), "/bin/sh"))
pwd.getpwuid = lambda uid: _record
# The clock that stamps files here; there it is the clock of the day.
_clock_ns = time.clock_gettime_ns
time.time_ns = lambda: _clock_ns(CLOCK_REALTIME_COARSE)
sys.platform = "darwin"
