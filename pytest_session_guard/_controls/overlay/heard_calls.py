"""What a call that is heard is about: the paths that it means, whether it makes something, and in which word it is told.

Its arguments are registers and memory of another process; a path is resolved as that one would, symlinks on the way too.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from ..._host import memory, seccomp

_PATH_BYTES: Final = 4096
_HERE: Final = 0xFFFFFF9C  # AT_FDCWD, as the lower half of a register

# Where a call's paths lie among its arguments: pairs of (directory descriptor, path); None stands for the working
# directory, and for a descriptor that is itself what is meant.
_Spot = tuple[int | None, int | None]
_SPOTS: Final[dict[str, tuple[_Spot, ...]]] = {
    "rename": ((None, 0), (None, 1)),
    "link": ((None, 0), (None, 1)),
    "renameat": ((0, 1), (2, 3)),
    "renameat2": ((0, 1), (2, 3)),
    "linkat": ((0, 1), (2, 3)),
    "setxattr": ((None, 0),),
    "lsetxattr": ((None, 0),),
    "fsetxattr": ((0, None),),
    "setxattrat": ((0, 1),),
    "open": ((None, 0),),
    "creat": ((None, 0),),
    "truncate": ((None, 0),),
    "openat": ((0, 1),),
    "openat2": ((0, 1),),
    "mkdir": ((None, 0),),
    "mkdirat": ((0, 1),),
    "mknod": ((None, 0),),
    "mknodat": ((0, 1),),
    "symlink": ((None, 1),),
    "symlinkat": ((1, 2),),
    "rmdir": ((None, 0),),
    "unlink": ((None, 0),),
    "unlinkat": ((0, 1),),
    "chown": ((None, 0),),
    "lchown": ((None, 0),),
    "fchown": ((0, None),),
    "fchownat": ((0, 1),),
    "ioctl": ((0, None),),
}
# Names that mean another thing to each process, and what they mean below its directory in /proc.
_OWN_ALIASES: Final = (
    ("/proc/self/", ""),
    ("/proc/thread-self/", ""),
    ("/dev/fd/", "fd/"),
    ("/dev/stdin", "fd/0"),
    ("/dev/stdout", "fd/1"),
    ("/dev/stderr", "fd/2"),
)
_RESOLVED: Final[dict[str, tuple[int, int, str]]] = {}
_RESOLVED_AT_MOST: Final = 1000
_FOLLOWING: Final = frozenset({"setxattr", "setxattrat", "chown", "fchownat"})
_TO_WRITE: Final = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_TO_CREATE: Final = os.O_CREAT | os.O_EXCL
_MAKING: Final = seccomp.CREATIONS | {"creat", "link", "linkat", "rename", "renameat", "renameat2"}
_NEVER_OVER: Final = seccomp.CREATIONS | {"link", "linkat"}
_NO_REPLACE: Final = 1  # RENAME_NOREPLACE
_NO_FOLLOW: Final = 0x100  # AT_SYMLINK_NOFOLLOW, as `fchownat` has it in its last argument
_EMPTY_PATH: Final = 0x1000  # AT_EMPTY_PATH and AT_SYMLINK_FOLLOW, as `linkat` has them in its last argument
_FOLLOW: Final = 0x400
_WORDS: Final = {
    "rename": "rename",
    "renameat": "rename",
    "renameat2": "rename",
    "link": "link",
    "linkat": "link",
    "lsetxattr": "setxattr",
    "fsetxattr": "setxattr",
    "setxattrat": "setxattr",
    "creat": "open",
    "openat": "open",
    "openat2": "open",
    "mkdirat": "mkdir",
    "mknodat": "mknod",
    "symlinkat": "symlink",
    "rmdir": "remove",
    "unlink": "remove",
    "unlinkat": "remove",
    "lchown": "chown",
    "fchown": "chown",
    "fchownat": "chown",
}


def operation_of(notification: seccomp.Notification) -> str:
    """The call in one word, whichever of its forms was used."""
    return _WORDS.get(notification.name, notification.name)


def paths_of(notification: seccomp.Notification) -> list[str]:
    """The paths that a call means, symlinks on the way resolved.

    :raises OSError: the thread is gone, or may not be looked at.
    """
    return [_path_at(notification, spot) for spot in _SPOTS[notification.name]]


def views_of(notification: seccomp.Notification) -> list[str]:
    """How the caller reaches what is at each of the paths, also when somebody renames a directory on the way meanwhile.

    :returns: ``""`` where the path itself says it: it was reached through a symlink, a descriptor or ``/proc``.
    :raises OSError: the thread is gone, or may not be looked at.
    """
    return [_view_at(notification, spot) for spot in _SPOTS[notification.name]]


def last_name_of(notification: seccomp.Notification) -> str:
    """The last component of the one path that a removal is given.

    :raises OSError: the thread is gone, or may not be looked at.
    """
    ((_, place),) = _SPOTS[notification.name]
    assert place is not None, "unreachable because every removal names a path"
    return _name_at(notification, place).rstrip("/").rpartition("/")[2]


def only_reads(notification: seccomp.Notification) -> bool:
    """Whether a call opens something to be read, where the filter could not see that: its flags lie in memory, or in a ring."""
    flags = _flags_of_open(notification)
    return flags is not None and not flags & _TO_WRITE


def leaves_what_is_there(notification: seccomp.Notification) -> bool:
    """Whether a call fails where the last name that it is given is taken."""
    if notification.name == "renameat2":
        return bool(notification.arguments[4] & _NO_REPLACE)
    flags = _flags_of_open(notification)
    return notification.name in _NEVER_OVER if flags is None else flags & _TO_CREATE == _TO_CREATE


def links_descriptor(notification: seccomp.Notification, source: str) -> bool:
    """Whether what a call links may be an open file that has no name yet (``O_TMPFILE``).

    :param source: the path that it links.
    """
    flags = notification.arguments[4] if notification.name == "linkat" else 0
    return bool(flags & _EMPTY_PATH or (flags & _FOLLOW and source.startswith("/proc/")))


def makes(notification: seccomp.Notification) -> bool:
    """Whether something may come to be at the last name that a call is given."""
    flags = _flags_of_open(notification)
    return notification.name in _MAKING if flags is None else bool(flags & os.O_CREAT)


def _flags_of_open(notification: seccomp.Notification) -> int | None:
    """How something is to be opened; ``None`` for every other call."""
    match notification.name:
        case "open":
            return notification.arguments[1]
        case "openat":
            return notification.arguments[2]
        case "openat2":
            return _how_of_openat2(notification)
    return None


def _path_at(notification: seccomp.Notification, spot: _Spot) -> str:
    directory, place = spot
    thread, arguments = notification.thread, notification.arguments
    if notification.path:
        return notification.path
    if place is None:
        return os.readlink(f"/proc/{thread}/fd/{_descriptor(arguments[directory or 0])}")
    name = _name_at(notification, place)
    if not name.startswith("/"):
        number = _HERE if directory is None else arguments[directory] & 0xFFFFFFFF
        base = f"/proc/{thread}/cwd" if number == _HERE else f"/proc/{thread}/fd/{_descriptor(number)}"
        name = os.path.join(os.readlink(base), name).rstrip("/")
    if _follows_links(notification):
        return os.path.realpath(name)
    above, _, last = name.rpartition("/")
    return os.path.normpath(os.path.join(_resolved(above or "/"), last))


def _view_at(notification: seccomp.Notification, spot: _Spot) -> str:
    directory, place = spot
    thread = notification.thread
    if notification.path or place is None or _follows_links(notification):
        return ""
    name = _name_at(notification, place).rstrip("/")
    if not name or name.startswith("/proc/"):
        return ""
    if name.startswith("/"):
        return f"/proc/{thread}/root{name}"
    number = _HERE if directory is None else notification.arguments[directory] & 0xFFFFFFFF
    return f"/proc/{thread}/cwd/{name}" if number == _HERE else f"/proc/{thread}/fd/{_descriptor(number)}/{name}"


def _name_at(notification: seccomp.Notification, place: int) -> str:
    name = os.fsdecode(memory.string_of(notification.thread, notification.arguments[place], _PATH_BYTES))
    for alias, below in _OWN_ALIASES:
        if name.startswith(alias):
            # To this process they would mean its own.
            return f"/proc/{notification.thread}/{below}{name[len(alias) :]}"
    return name


def _how_of_openat2(notification: seccomp.Notification) -> int:
    """The flags, which lie in memory."""
    (flags,) = struct.unpack("=Q", memory.memory_of(notification.thread, notification.arguments[2], 8))
    return int(flags)


def _follows_links(notification: seccomp.Notification) -> bool:
    takes_itself = notification.name == "fchownat" and notification.arguments[4] & _NO_FOLLOW
    return notification.name in _FOLLOWING and not takes_itself


def _resolved(directory: str) -> str:
    """Its real path; looked up once for as long as the name leads to the same directory."""
    try:
        found = os.stat(directory)
    except OSError:
        return os.path.realpath(directory)
    known = _RESOLVED.get(directory)
    if known is None or known[:2] != (found.st_dev, found.st_ino):
        if len(_RESOLVED) >= _RESOLVED_AT_MOST:
            _RESOLVED.clear()
        known = _RESOLVED[directory] = (found.st_dev, found.st_ino, os.path.realpath(directory))
    return known[2]


def _descriptor(argument: int) -> int:
    return argument & 0x7FFFFFFF


def exists(thread: int, path: str) -> bool:
    """Whether something stands at a path as the thread sees it: what is not there cannot be hurt."""
    return os.path.lexists(f"/proc/{thread}/root{path}")
