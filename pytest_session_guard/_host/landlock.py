"""Landlock, by its three system calls: allow-lists of rights on the file system, for a thread and all it starts.

What it has no right for, it lets pass everywhere: changes of mode, owner, times, xattrs and file flags.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable
from typing import Final

from .syscalls import LANDLOCK_ADD_RULE, LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF, call, syscall

WRITE_FILE: Final = 1 << 1
REMOVE_DIRECTORY: Final = 1 << 4
REMOVE_FILE: Final = 1 << 5
MAKE_CHARACTER_DEVICE: Final = 1 << 6
MAKE_DIRECTORY: Final = 1 << 7
MAKE_FILE: Final = 1 << 8
MAKE_SOCKET: Final = 1 << 9
MAKE_FIFO: Final = 1 << 10
MAKE_BLOCK_DEVICE: Final = 1 << 11
MAKE_SYMLINK: Final = 1 << 12
REFER: Final = 1 << 13
TRUNCATE: Final = 1 << 14

# By the interface's version: what was the first to come with it.
_SINCE_1: Final = (
    WRITE_FILE
    | REMOVE_DIRECTORY
    | REMOVE_FILE
    | MAKE_CHARACTER_DEVICE
    | MAKE_DIRECTORY
    | MAKE_FILE
    | MAKE_SOCKET
    | MAKE_FIFO
    | MAKE_BLOCK_DEVICE
    | MAKE_SYMLINK
)
REFER_ABI: Final = 2
TRUNCATE_ABI: Final = 3
ALL_THREADS_ABI: Final = 8

_ASK_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_ALL_THREADS: Final = 1 << 3
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_GET_NO_NEW_PRIVS: Final = 39
_RIGHTS_ON_FILES: Final = WRITE_FILE | TRUNCATE


def abi() -> int:
    """The version of the interface that this kernel has.

    :raises OSError: ENOSYS: not built in; EOPNOTSUPP: switched off at boot; EPERM: a seccomp filter.
    """
    return syscall(LANDLOCK_CREATE_RULESET, None, 0, _ASK_VERSION)


def write_rights(version: int) -> int:
    """All rights to change content or names that a version knows."""
    rights = _SINCE_1
    if version >= REFER_ABI:
        rights |= REFER
    if version >= TRUNCATE_ABI:
        rights |= TRUNCATE
    return rights


def create_ruleset(handled: int) -> int:
    """A descriptor of a ruleset under which the rights of `handled` are refused unless a rule allows them.

    :raises OSError: EINVAL: the kernel does not know one of the rights.
    """
    attributes = struct.pack("=Q", handled)
    return syscall(LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)


def allow(ruleset_fd: int, path: str, rights: int) -> None:
    """Allow rights at and below `path`; for a file, those of them that a file can have.

    :raises OSError: `path` is gone, or not to be opened.
    """
    path_fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(path_fd).st_mode):
            rights &= _RIGHTS_ON_FILES
        syscall(LANDLOCK_ADD_RULE, ruleset_fd, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, path_fd), 0, subject=path)
    finally:
        os.close(path_fd)


def restrict(ruleset_fd: int, all_threads: bool) -> None:
    """Bind the calling thread, or all threads of the process (from `ALL_THREADS_ABI` on), to a ruleset for good.

    :raises OSError: E2BIG: sixteen rulesets bind it already; EPERM: neither CAP_SYS_ADMIN nor `forbid_new_privileges`.
    """
    syscall(LANDLOCK_RESTRICT_SELF, ruleset_fd, _ALL_THREADS if all_threads else 0)


def forbid_new_privileges() -> None:
    """From now on no program started from here gains rights by being set-uid; for good.

    :raises OSError: the kernel has no such thing.
    """
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def forbids_new_privileges() -> bool:
    """Whether the calling thread, or one that led to it, did that; ``False`` where the kernel has no such thing."""
    try:
        return bool(call("prctl", _PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))
    except OSError:
        return False


def confine(writable: Iterable[str], version: int, all_threads: bool) -> list[str]:
    """Refuse every change of content or names outside the `writable` paths.

    :returns: the writable paths that do not exist, for which no rule can be made.
    :raises OSError: the kernel refused; nothing is bound.
    """
    rights = write_rights(version)
    ruleset_fd = create_ruleset(rights)
    absent = []
    try:
        for path in writable:
            try:
                allow(ruleset_fd, path, rights)
            except FileNotFoundError:
                absent.append(path)
        restrict(ruleset_fd, all_threads)
    finally:
        os.close(ruleset_fd)
    return absent
