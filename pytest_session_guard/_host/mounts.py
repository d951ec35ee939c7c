"""Mounts of this process's namespace: make, clone, move, detach, freeze and list them.

All of it needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace. Kernel 5.12 is the oldest that has
all calls.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

from .syscalls import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    AT_SYMLINK_NOFOLLOW,
    MOUNT_SETATTR,
    MOVE_MOUNT,
    OPEN_TREE,
    call,
    syscall,
)

NOSUID: Final = 2
NODEV: Final = 4
NOEXEC: Final = 8
NOATIME: Final = 1024
_PRIVATE_RECURSIVE: Final = 0x4000 | 0x40000
_DETACH: Final = 2
_CLONE_TREE: Final = 1 | AT_RECURSIVE | os.O_CLOEXEC
_SOURCE_IS_DESCRIPTOR: Final = 4
_TARGET_IS_DESCRIPTOR: Final = 0x40
_ATTRIBUTE_READ_ONLY: Final = 1
_OCTAL_ESCAPES: Final = ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\"))


def mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    """Mount a file system of `kind` on `target`.

    :raises OSError: the kernel refused; ``filename`` is the target.
    """
    encode = os.fsencode
    call("mount", encode(source), encode(target), encode(kind), flags, encode(options), subject=target)


def make_private(path: str) -> None:
    """Cut a mount and all below it off from other namespaces: no mount event passes either way.

    :raises OSError: `path` is not the root of a mount, or the right is missing.
    """
    call("mount", None, os.fsencode(path), None, _PRIVATE_RECURSIVE, None, subject=path)


def clone_tree(path: str, directory_fd: int = AT_FDCWD, follow: bool = True) -> int:
    """A descriptor of a detached copy of the mounts at and below `path`; closing it drops the copy.

    The copy always takes the mounts below along: one without them is refused (EINVAL) in a user namespace, where
    they are locked together.

    :param path: empty means the object of `directory_fd` itself.
    :param follow: a symlink stands for what it leads to, else for itself.
    :raises OSError: the kernel refused.
    """
    flags = _CLONE_TREE | (0 if path else AT_EMPTY_PATH) | (0 if follow else AT_SYMLINK_NOFOLLOW)
    return syscall(OPEN_TREE, directory_fd, os.fsencode(path), flags, subject=path)


def attach_tree(tree_fd: int, target: str) -> None:
    """Mount a detached copy on `target`; a symlink there is not followed.

    :raises OSError: the kernel refused; ``filename`` is the target.
    """
    syscall(MOVE_MOUNT, tree_fd, b"", AT_FDCWD, os.fsencode(target), _SOURCE_IS_DESCRIPTOR, subject=target)


def freeze(path: str, directory_fd: int = AT_FDCWD) -> None:
    """Make the mount at `path` and all mounts below it read-only, in one step.

    :param path: empty means the mount of `directory_fd` itself.
    :raises OSError: `path` is not the root of a mount (EINVAL), a file is open for writing on one of the mounts
        (EBUSY), or the kernel is older than 5.12 (ENOSYS).
    """
    attributes = ctypes.create_string_buffer(
        b"".join(value.to_bytes(8, "little") for value in (_ATTRIBUTE_READ_ONLY, 0, 0, 0)), 32
    )
    flags = AT_RECURSIVE | (0 if path else AT_EMPTY_PATH)
    syscall(MOUNT_SETATTR, directory_fd, os.fsencode(path), flags, attributes, 32, subject=path)


def detach(path: str) -> None:
    """Take a mount and all below it out of the namespace; what has it open keeps it.

    :raises OSError: `path` is not the root of a mount, or the mount is locked.
    """
    call("umount2", os.fsencode(path), _DETACH, subject=path)


def mount_points() -> frozenset[str]:
    """Every path of this process's view that something is mounted on.

    :raises OSError: ``/proc`` is not there.
    """
    # Read as bytes: a mount point's name need not be text.
    with open("/proc/self/mountinfo", "rb") as table:
        lines = os.fsdecode(table.read()).splitlines()
    return frozenset(_unescaped(line.split(" ", 5)[4]) for line in lines)


def _unescaped(path: str) -> str:
    if "\\" in path:
        # The backslash itself comes last, or "\134040" would turn into a blank.
        for escape, character in _OCTAL_ESCAPES:
            path = path.replace(escape, character)
    return path
