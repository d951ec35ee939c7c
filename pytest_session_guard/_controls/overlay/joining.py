"""Which namespaces a thread stands in, and how it leaves them and joins others, each with the root directory of its users."""

from __future__ import annotations

import os
from typing import Final

from ..._host import namespaces

# Of the thread, not of the process: a worker on another host may run in another one than the first.
OWN_NAMESPACES: Final = "/proc/thread-self/ns/{}"


def open_own_namespace(name: str) -> int:
    """A descriptor of a namespace of this thread."""
    return os.open(OWN_NAMESPACES.format(name), os.O_RDONLY | os.O_CLOEXEC)


def open_root() -> int:
    """A descriptor of this process's root directory."""
    return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def enter_mounts(namespace_fd: int, root_fd: int) -> None:
    """Join a mount namespace, and take the directory that is its users' root as root.

    :raises OSError: the kernel refused the namespace, and nothing is entered; or the root, which leaves this process
        on the namespace's own.
    """
    namespaces.join(namespace_fd, namespaces.MOUNTS)
    wanted, now = os.fstat(root_fd), os.stat("/")
    if (wanted.st_dev, wanted.st_ino) != (now.st_dev, now.st_ino):
        os.fchdir(root_fd)
        os.chroot(".")


def leave() -> bool:
    """Leave the mount namespace, and the user namespace as well where the right is missing otherwise.

    :returns: whether a user namespace was made.
    :raises OSError: neither is allowed.
    """
    uid, gid = os.geteuid(), os.getegid()
    if namespaces.has_capability(namespaces.CAP_SYS_ADMIN):
        namespaces.unshare(namespaces.MOUNTS)
        return False
    # A process that took its user without starting a program anew may not write its own /proc files.
    namespaces.make_dumpable()
    namespaces.unshare(namespaces.USERS | namespaces.MOUNTS)
    namespaces.map_own_ids(uid, gid)
    return True
