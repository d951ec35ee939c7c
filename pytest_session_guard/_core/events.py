"""What an audit event means to do: a table from event names to intents.

Only data in, only data out. Arguments come as CPython hands them to an audit hook: paths may be ``str``, ``bytes``,
``os.PathLike`` or an open descriptor, ``dir_fd`` is -1 where none was given. The table and its argument orders are
those of https://docs.python.org/3/library/audit_events.html.

CPython raises nothing for ``os.mkfifo``, ``os.mknod``, writes through open descriptors, readline's history and SQLite's
ATTACH. Wrappers and kernel layers stand in for them.
"""

from __future__ import annotations

import os
from builtins import bool, bytes, dict, getattr, isinstance, memoryview, str, type  # noqa: A004 - captured: tests mock builtins
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Action

# O_TRUNC belongs here: O_RDONLY|O_TRUNC empties a file. O_TMPFILE does not: its bits hold O_DIRECTORY.
WRITE_FLAGS: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
TMPFILE: Final = getattr(os, "O_TMPFILE", 0)
NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
PATH_ONLY: Final = getattr(os, "O_PATH", 0)

# link(2) of the BSDs, macOS among them, follows a symlink; they alone have file flags of their own kind.
LINK_FOLLOWS: Final = hasattr(os, "lchflags")

# Requests that change a file through a descriptor opened for reading: FS_IOC_SETFLAGS (64 and 32 bit),
# FS_IOC_FSSETXATTR, FS_IOC_SETVERSION; FICLONE and FICLONERANGE write into the descriptor that they are called on.
CHANGING_IOCTLS: Final = frozenset({0x40086602, 0x40046602, 0x401C5820, 0x40087602, 0x40049409, 0x4020940D})
MAP_ACCESS_HARMLESS: Final = frozenset({1, 3})  # mmap.ACCESS_READ, mmap.ACCESS_COPY
# Path objects that convert without a subclass's code.
PLAIN_PATHS: Final = frozenset({type(Path()), type(PurePath())})


@dataclass(frozen=True, slots=True)
class Intent:
    """One object that an event is about to change.

    :param path: as handed over by the caller; an ``int`` is an open descriptor.
    :param dir_fd: the directory that a relative path starts from; -1 is the working directory, ``None`` is unknown.
    :param follows: whether a symlink as last component is followed.
    :param creates: a missing path is created (else a missing path fails by itself).
    :param replaces: what stands at the path is replaced by another object (rename over), not changed.
    :param directory: the new object is a directory.
    :param nameless: the new object has no name yet (``O_TMPFILE``); the path is its directory.
    :param needs_writable: the path is a descriptor, and nothing can change through one that is open for reading only.
    """

    action: Action
    path: Any
    dir_fd: int | None = -1
    follows: bool = True
    creates: bool = False
    replaces: bool = False
    directory: bool = False
    nameless: bool = False
    needs_writable: bool = False


Intents = tuple[Intent, ...]
NOTHING: Final[Intents] = ()


def open_intents(path: Any, mode: str | None, flags: int) -> Intents:
    """What the ``open`` event is about to do; nothing for reads.

    `os.open` hides its ``dir_fd`` (cpython#116429); it is told from the others by its missing mode.
    """
    changes = flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC)
    if not (changes or flags & os.O_CREAT) or flags & PATH_ONLY:
        # O_APPEND alone writes nothing, and with O_PATH the kernel passes over every flag that would.
        return NOTHING
    if TMPFILE and flags & TMPFILE == TMPFILE:
        # A nameless file in that directory; linkat can name it later.
        return (Intent(Action.CREATE, path, None if mode is None else -1, creates=True, nameless=True),)
    exclusive = flags & (os.O_CREAT | os.O_EXCL) == os.O_CREAT | os.O_EXCL
    return (
        Intent(
            # Opened for reading, what is there stays as it is, and only what is missing is made (lock files).
            Action.CHANGE if changes and not exclusive else Action.CREATE,
            path,
            None if mode is None else -1,
            follows=not (exclusive or flags & NOFOLLOW),
            creates=bool(flags & os.O_CREAT),
        ),
    )


def _remove(path: Any, dir_fd: int = -1) -> Intents:
    return (Intent(Action.DELETE, path, dir_fd, follows=False),)


def _rename(src: Any, dst: Any, src_dir_fd: int = -1, dst_dir_fd: int = -1) -> Intents:
    return (
        Intent(Action.DELETE, src, src_dir_fd, follows=False),
        Intent(Action.DELETE, dst, dst_dir_fd, follows=False, creates=True, replaces=True),
    )


def _mkdir(path: Any, _mode: int = 0, dir_fd: int = -1) -> Intents:
    return (Intent(Action.CREATE, path, dir_fd, follows=False, creates=True, directory=True),)


def _node(path: Any, _mode: int = 0, dir_fd: int = -1) -> Intents:
    return (Intent(Action.CREATE, path, dir_fd, follows=False, creates=True),)


def _chroot(_path: Any) -> Intents:
    # Afterwards every absolute path means another object than it says: the guard would be blind.
    return (Intent(Action.CHANGE, "/"),)


def _link(src: Any, dst: Any, src_dir_fd: int = -1, dst_dir_fd: int = -1) -> Intents:
    # The source changes too: its link count and ctime; and an alias of a protected file is a way round every path rule.
    # Without a dir_fd CPython calls link(2), which on Linux takes a symlink itself whatever follow_symlinks says (gh-81793).
    return (
        Intent(Action.CHANGE, src, src_dir_fd, follows=LINK_FOLLOWS or (src_dir_fd, dst_dir_fd) != (-1, -1)),
        Intent(Action.CREATE, dst, dst_dir_fd, follows=False, creates=True),
    )


def _symlink(_src: Any, dst: Any, dir_fd: int = -1) -> Intents:
    return (Intent(Action.CREATE, dst, dir_fd, follows=False, creates=True),)


def _change(path: Any, *_values: Any) -> Intents:
    return (Intent(Action.CHANGE, path),)


def _chmod(path: Any, _mode: int = 0, dir_fd: int = -1) -> Intents:
    return (Intent(Action.CHANGE, path, dir_fd),)


def _chown(path: Any, _uid: int = -1, _gid: int = -1, dir_fd: int = -1) -> Intents:
    return (Intent(Action.CHANGE, path, dir_fd),)


def _utime(path: Any, _times: Any = None, _ns: Any = None, dir_fd: int = -1) -> Intents:
    return (Intent(Action.CHANGE, path, dir_fd),)


def _sqlite(database: Any, *_rest: Any) -> Intents:
    path, options = sqlite_target(database)
    if path is None:
        return NOTHING
    if options.get(b"immutable", b"").lower() in {b"1", b"true", b"yes", b"on"}:
        # A database that is there is only read then; but one that is not is made all the same.
        return (Intent(Action.CREATE, path, creates=True),)
    return (Intent(Action.CHANGE, path, creates=options.get(b"mode") != b"rw"),)


def _mmap(fileno: int, _length: int = 0, access: int = 0, *_rest: Any) -> Intents:
    # The event hides the flags, so a private mapping looks like a shared one.
    harmless = fileno == -1 or access in MAP_ACCESS_HARMLESS
    return NOTHING if harmless else (Intent(Action.CHANGE, fileno, needs_writable=True),)


def _ioctl(fd: Any, request: int = 0, *_rest: Any) -> Intents:
    return (Intent(Action.CHANGE, fd),) if request & 0xFFFFFFFF in CHANGING_IOCTLS else NOTHING


def _bind(_socket: Any, address: Any = None) -> Intents:
    if isinstance(address, bytearray | memoryview):
        address = bytes(address)
    if not isinstance(address, (str, bytes)):
        return NOTHING
    # The kernel reads up to the first null; a name that begins with one (or is empty) is no file.
    name = address.partition("\0")[0] if isinstance(address, str) else address.partition(b"\0")[0]
    return (Intent(Action.CREATE, name, follows=False, creates=True),) if name else NOTHING


# `open` is not in the table: the hook tests its flags first, because most opens read.
EVENTS: Final[Mapping[str, Callable[..., Intents]]] = {
    "os.remove": _remove,
    "os.rmdir": _remove,
    "os.rename": _rename,
    "os.mkdir": _mkdir,
    "os.mkfifo": _node,  # raised by our own wrapper
    "os.mknod": _node,  # raised by our own wrapper
    "os.chroot": _chroot,  # raised by our own wrapper
    "os.truncate": _change,
    "os.link": _link,
    "os.symlink": _symlink,
    "os.chmod": _chmod,
    "os.chown": _chown,
    "os.utime": _utime,
    "os.setxattr": _change,
    "os.removexattr": _change,
    "os.chflags": _change,
    "sqlite3.connect": _sqlite,
    "mmap.__new__": _mmap,
    "fcntl.ioctl": _ioctl,
    "socket.bind": _bind,
}


def intents_of(event: str, args: tuple[Any, ...]) -> Intents:
    """What an audit event is about to change; nothing for events that only read.

    :raises TypeError: the event has arguments that this table does not know.
    """
    if event == "open":
        return open_intents(*args)
    parse = EVENTS.get(event)
    return NOTHING if parse is None else parse(*args)


def sqlite_path(database: Any) -> Any:
    """The file that a database argument names, or ``None`` when connecting to it cannot write (memory, read-only)."""
    return sqlite_target(database)[0]


def sqlite_target(database: Any) -> tuple[Any, Mapping[bytes, bytes]]:
    """`sqlite_path`, and the options of the URI.

    A name that starts with ``file:`` is read as the URI that it is when ``uri=True`` (percent escapes decoded); the event
    does not say which was meant, and a real file of such a name is rarer than a URI.
    """
    if type(database) in PLAIN_PATHS:
        database = str(database)
    raw = os.fsencode(database) if isinstance(database, (str, bytes)) else database
    if not isinstance(raw, bytes):
        return database, {}
    if raw in {b"", b":memory:"}:
        return None, {}
    if not raw.startswith(b"file:"):
        return database, {}
    rest, _, query = raw[5:].partition(b"#")[0].partition(b"?")
    options = dict(pair.partition(b"=")[::2] for pair in query.split(b"&") if pair)
    if rest.startswith(b"//"):
        rest = b"/" + rest[2:].partition(b"/")[2]
    # As SQLite has it, a null ends the name.
    path = unquote_to_bytes(rest).partition(b"\0")[0]
    harmless = options.get(b"mode") in {b"ro", b"memory"} or options.get(b"vfs") == b"memdb"
    return None if harmless or path in {b"", b":memory:"} else path, options
