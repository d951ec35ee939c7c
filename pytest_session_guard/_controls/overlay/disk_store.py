"""Upper layers on the disk, where memory keeps no user xattrs (before Linux 6.6): made, removed, and found after a crash."""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

_PREFIX: Final = "upper-"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Store:
    """A directory of upper layers, which shows by a lock for how long the process lives that made it.

    :param scratch: where it is made; a directory that can be written to.
    :raises OSError: it cannot be made.
    """

    def __init__(self, scratch: str) -> None:
        self.path = os.path.join(scratch, f"{_PREFIX}{os.getpid()}-{os.urandom(4).hex()}")
        os.mkdir(self.path, 0o700)
        self.descriptor = os.open(self.path, _DIRECTORY)
        with suppress(OSError):  # where there are no locks, a sweep finds none to wait for
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Remove it from the disk.

        :raises OSError: something in it cannot be removed.
        """
        try:
            _remove_at(self.path)
        finally:
            os.close(self.descriptor)


def remove_all(stores: Iterable[Store | None]) -> None:
    """Remove what lies on the disk; layers in memory go by themselves.

    :raises OSError: something cannot be removed.
    """
    for store in stores:
        if store is not None:
            store.remove()


def sweep_leftovers(scratch: str) -> tuple[str, ...]:
    """Remove what a keeper that was killed left on the disk; upper layers in memory leave nothing.

    Proof: the entries are directories of this user, named as `Store` names them, that no living process has locked, in a
    scratch directory of the run's own, whose owner the caller knows to be dead.

    :returns: what went.
    :raises OSError: something could not be removed.
    """
    scratch_fd = os.open(scratch, _DIRECTORY)
    try:
        names = [name for name in os.listdir(scratch_fd) if name.startswith(_PREFIX)]
        ours = [name for name in names if _is_left(name, scratch_fd)]
        for name in ours:
            _remove(name, scratch_fd)
    finally:
        os.close(scratch_fd)
    return tuple(os.path.join(scratch, name) for name in ours)


def _is_left(name: str, directory_fd: int) -> bool:
    if os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_uid != os.geteuid():
        return False
    store_fd = os.open(name, _DIRECTORY, dir_fd=directory_fd)
    try:
        fcntl.flock(store_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False  # its keeper lives for something that the run left running
    finally:
        os.close(store_fd)
    return True


def _remove_at(path: str) -> None:
    scratch_fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove(os.path.basename(path), scratch_fd)
    finally:
        os.close(scratch_fd)


def _remove(name: str, directory_fd: int) -> None:
    """Remove one store: everything in it is a copy. No symlink is followed, and no mount is entered by it.

    However deep a test has nested its directories, two are open at a time: what lies in one is moved up before that goes.
    """
    os.chmod(name, 0o700, dir_fd=directory_fd)
    top_fd = os.open(name, _DIRECTORY, dir_fd=directory_fd)
    numbers = itertools.count()
    mark = os.urandom(4).hex()
    try:
        while entries := _entries(top_fd):
            for entry, is_directory in entries:
                if is_directory:
                    _lift(entry, top_fd, (f"{mark}-{number}" for number in numbers))
                else:
                    os.unlink(entry, dir_fd=top_fd)
    finally:
        os.close(top_fd)
    os.rmdir(name, dir_fd=directory_fd)


def _lift(name: str, top_fd: int, free_names: Iterable[str]) -> None:
    """Empty and remove a directory of the top one; what is a directory in it goes up there."""
    # An overlay leaves its work directory with mode 000, and so may a test that changes modes.
    os.chmod(name, 0o700, dir_fd=top_fd)
    inner_fd = os.open(name, _DIRECTORY, dir_fd=top_fd)
    try:
        for (entry, is_directory), free in zip(_entries(inner_fd), free_names, strict=False):
            if is_directory:
                # To move a directory is to write its "..".
                os.chmod(entry, 0o700, dir_fd=inner_fd)
                os.rename(entry, free, src_dir_fd=inner_fd, dst_dir_fd=top_fd)
            else:
                os.unlink(entry, dir_fd=inner_fd)
    finally:
        os.close(inner_fd)
    os.rmdir(name, dir_fd=top_fd)


def _entries(directory_fd: int) -> list[tuple[str, bool]]:
    with os.scandir(directory_fd) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
