"""Changing names relative to an open directory, so that nobody can swap a component of the path meanwhile.

A path is walked from the root, one component at a time, and no symlink is followed. What is done afterwards goes by
descriptor: a parent that is renamed or replaced by a symlink after the walk does not lead anywhere else.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import Identity
from pytest_session_guard._host.fsops import OwnPath, Raw, keep_clear_of_low_numbers
from pytest_session_guard._host.identity import HAS_PROC_FD, O_PATH, Sight, is_file_at, look

# O_PATH needs no permission to read the directory, only to pass through it.
_STEP: Final = O_PATH | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
HAS_DIR_FD: Final = {os.open, os.stat, os.unlink, os.mkdir, os.rmdir, os.rename, os.link} <= os.supports_dir_fd
RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2


class OpenDirectory:
    """A directory held open. Names given to its methods are single components.

    Where the platform has no calls relative to a descriptor, the path stands in, with the same methods and less safety.

    :param path: absolute and without ``.`` and ``..``.
    :raises NotADirectoryError: a component is a symlink or no directory.
    :raises OSError: it cannot be entered.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd: int | None = _walk(path) if HAS_DIR_FD else None
        if self.fd is None and os.path.realpath(path) != path:
            raise NotADirectoryError(errno.ENOTDIR, "a component is a symlink or no directory", path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory."""
        if self.fd is not None:
            Raw.close(self.fd)
            self.fd = None

    def name(self, name: str) -> OwnPath:
        """The path argument that goes with ``dir_fd=self.fd``."""
        return OwnPath(name if self.fd is not None else f"{self.path}/{name}")

    def through(self, name: str) -> str:
        """A path that leads through the held descriptor, for calls that take no ``dir_fd``."""
        return f"/proc/self/fd/{self.fd}/{name}" if self.fd is not None and HAS_PROC_FD else f"{self.path}/{name}"

    def look(self, name: str) -> Sight:
        """What has that name, not what it points to.

        :raises OSError: nothing has.
        """
        return look(name if self.fd is not None else f"{self.path}/{name}", self.fd)

    def holds_file(self, name: str, identity: Identity) -> bool:
        """Whether that very object has that name and is no directory.

        :raises OSError: nothing has.
        """
        return is_file_at(name if self.fd is not None else f"{self.path}/{name}", identity, self.fd)

    def names(self) -> frozenset[str]:
        """What is in the directory.

        :raises OSError: it cannot be listed.
        """
        if self.fd is None:
            return frozenset(Raw.listdir(self.path))
        fd = Raw.open(OwnPath("."), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return frozenset(Raw.listdir(fd))  # type: ignore[arg-type]  # typeshed's overload for descriptors is not kept
        finally:
            Raw.close(fd)

    def enter(self, name: str) -> OpenDirectory:
        """The directory of that name in this one.

        :raises NotADirectoryError: it is a symlink or no directory.
        """
        inner = OpenDirectory.__new__(OpenDirectory)
        inner.path = f"{self.path.rstrip('/')}/{name}"
        inner.fd = None if self.fd is None else _step_into(self.name(name), self.fd)
        return inner

    def unlink(self, name: str) -> None:
        """Remove a file's name."""
        Raw.unlink(self.name(name), dir_fd=self.fd)

    def mkdir(self, name: str, mode: int) -> None:
        """Make a directory.

        :raises FileExistsError: the name is taken.
        """
        Raw.mkdir(self.name(name), mode, dir_fd=self.fd)

    def rmdir(self, name: str) -> None:
        """Remove an empty directory."""
        Raw.rmdir(self.name(name), dir_fd=self.fd)

    def rename(self, name: str, target: OpenDirectory, target_name: str) -> None:
        """Move a name to another directory, over whatever has the name there."""
        Raw.rename(self.name(name), target.name(target_name), src_dir_fd=self.fd, dst_dir_fd=target.fd)

    def move_if_free(self, name: str, target: OpenDirectory, target_name: str) -> None:
        """Move a name to another directory unless something has the name there.

        :raises FileExistsError: something has; nothing was moved.
        """
        try:
            Raw.link(
                self.name(name),
                target.name(target_name),
                src_dir_fd=self.fd,
                dst_dir_fd=target.fd,
                follow_symlinks=False,
            )
        except FileExistsError:
            raise
        except OSError:
            # Directories, file systems without hard links, and files of others under fs.protected_hardlinks.
            rename_flagged(self, name, target, target_name, RENAME_NOREPLACE)
        else:
            self.unlink(name)

    def exchange(self, name: str, other_name: str) -> None:
        """Let two names in this directory change places at once.

        :raises OSError: the file system cannot; nothing was done.
        """
        rename_flagged(self, name, self, other_name, RENAME_EXCHANGE)


class Root:
    """The root directory of this process, to come back to after a test has moved it by chroot."""

    def __init__(self) -> None:
        self.fd = keep_clear_of_low_numbers(Raw.open(OwnPath("/"), _STEP))
        found = Raw.fstat(self.fd)
        self._object = found.st_dev, found.st_ino

    @classmethod
    def if_movable(cls) -> Self | None:
        """For a process of root's; others cannot move theirs."""
        return cls() if Raw.geteuid is not None and Raw.geteuid() == 0 and HAS_DIR_FD else None

    @contextmanager
    def regained(self) -> Iterator[None]:
        """Inside, the root directory is the first one; afterwards the one that the test has chosen.

        :raises LedgerError: as `come_back`.
        """
        if not self.has_moved():
            yield
            return
        chosen = Raw.open(OwnPath("/"), _STEP)
        try:
            self.come_back()
            try:
                yield
            finally:
                _move_root(chosen)
        finally:
            Raw.close(chosen)

    def come_back(self) -> None:
        """Have the first root directory again; the working directory stays.

        :raises LedgerError: the right to move it was given up meanwhile, and no path of the run's leads anywhere.
        """
        if not self.has_moved():
            return
        try:
            _move_root(self.fd)
        except OSError as problem:
            raise LedgerError("/", f"a test moved the root directory for good: {problem.strerror}") from problem

    def has_moved(self) -> bool:
        """Whether the root directory is another one now."""
        now = Raw.stat("/")
        return (now.st_dev, now.st_ino) != self._object


def _move_root(fd: int) -> None:
    here = Raw.open(OwnPath("."), _STEP)
    try:
        Raw.fchdir(fd)
        Raw.chroot(OwnPath("."))
        Raw.fchdir(here)
    finally:
        Raw.close(here)


def _walk(path: str) -> int:
    fd = Raw.open(OwnPath("/"), _STEP)
    for part in path.split("/"):
        if not part:
            continue
        try:
            inner = _step_into(OwnPath(part), fd)
        except OSError as problem:
            problem.filename = path
            raise
        finally:
            Raw.close(fd)
        fd = inner
    return fd


def _step_into(name: OwnPath, fd: int) -> int:
    try:
        return Raw.open(name, _STEP, dir_fd=fd)
    except OSError as problem:
        if problem.errno == errno.ELOOP:  # what Linux calls ENOTDIR, where a directory was asked for
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name) from problem
        raise


# Where Python has no function: the C library's, and its words for the flags.
_RENAMES: Final = (
    ("renameat2", {RENAME_NOREPLACE: 1, RENAME_EXCHANGE: 2}),
    ("renameatx_np", {RENAME_NOREPLACE: 4, RENAME_EXCHANGE: 2}),  # macOS
)


def rename_flagged(source: OpenDirectory, name: str, target: OpenDirectory, target_name: str, flags: int) -> None:
    """renameat2: Python has no function for a rename that fails when the new name is taken, nor for an exchange.

    :raises FileExistsError: the new name is taken (``RENAME_NOREPLACE``).
    :raises OSError: the kernel or the file system does not know the flag.
    """
    # Imported here: ctypes costs two milliseconds that a run which never needs this need not pay.
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    found = next(((getattr(library, call), words) for call, words in _RENAMES if hasattr(library, call)), None)
    if found is None or source.fd is None or target.fd is None:
        raise OSError(errno.ENOSYS, "no renameat2 here", f"{target.path}/{target_name}")
    function, words = found
    if function(source.fd, os.fsencode(name), target.fd, os.fsencode(target_name), words[flags]) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"{target.path}/{target_name}")


def is_directory(seen: Sight) -> bool:
    """Whether what was seen is a directory."""
    return stat.S_ISDIR(seen.mode)
