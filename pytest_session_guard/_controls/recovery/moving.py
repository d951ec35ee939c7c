"""Names in directories that are held open: made on the way, looked at, moved, also to another file system."""

from __future__ import annotations

import errno
import stat
from contextlib import suppress

from pytest_session_guard._core.records import Identity
from pytest_session_guard._host.copying import copy_content
from pytest_session_guard._host.directories import OpenDirectory
from pytest_session_guard._host.fsops import Raw


def entered(directory: str) -> OpenDirectory:
    """A directory held open, made where it is missing; nothing is made behind a symlink.

    :raises NotADirectoryError: a component is a symlink or no directory.
    :raises OSError: it cannot be made or entered.
    """
    try:
        return OpenDirectory(directory)
    except FileNotFoundError:
        above, _, name = directory.rpartition("/")
        with entered(above or "/") as parent:
            with suppress(FileExistsError):
                parent.mkdir(name, 0o755)
            return parent.enter(name)


def obstacle_above(path: str) -> str:
    """Why nothing can be put at a path as things are above it, ``""`` where it can; missing directories are made."""
    directory = path.rpartition("/")[0]
    while directory:
        try:
            with OpenDirectory(directory):
                return ""
        except FileNotFoundError:
            directory = directory.rpartition("/")[0]
        except OSError as problem:
            return f"{directory!r} cannot be entered ({problem.strerror or problem})"
    return ""


def holds(parent: OpenDirectory, name: str, identity: Identity | None = None) -> bool:
    """Whether a name is taken, by that very object where one is told."""
    try:
        found = parent.look(name).identity
    except OSError:
        return False
    return identity is None or found == identity


def move(parent: OpenDirectory, name: str, target: OpenDirectory, target_name: str) -> None:
    """Move a name of our own to a free one of our own, also on another file system, where directories and the like stay.

    :raises OSError: it is where it was.
    """
    try:
        parent.rename(name, target, target_name)
        return
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise
    source, copy = parent.through(name), target.through(target_name)
    try:
        if stat.S_ISLNK(parent.look(name).mode):
            Raw.symlink(Raw.readlink(source), target.name(target_name), dir_fd=target.fd)
        else:
            copy_content(source, copy)
    except BaseException:
        # Interrupted or not: a half copy is of no use, and the whole one is where it was.
        with suppress(FileNotFoundError):
            target.unlink(target_name)
        raise
    parent.unlink(name)
