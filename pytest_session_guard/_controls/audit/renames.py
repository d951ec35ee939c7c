"""Renames that only the walls stand in the way of: what the file system would have done in one step is done by hand.

Each writable place and each guarded root is a mount of its own, and the kernel renames nothing from one mount to another
(EXDEV), one file system or not. A suite that replaces a file of its checkout by one from the temp directory is innocent, and
one in report mode must run as it did. A native child still meets the EXDEV, as on a machine whose /tmp is another disk.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final

from pytest_session_guard._controls.audit.removals import Contains, Walls, empty_root, is_root, place_of, remove_tree
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import is_within
from pytest_session_guard._host.copying import listed_xattrs, put_metadata
from pytest_session_guard._host.fsops import OwnPath, Raw, closing, write_all
from pytest_session_guard._host.processes import open_files

PIECE: Final = 1 << 20
LONGEST_NAME: Final = 100
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
_REFILL: Final = os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
_numbers: Final = itertools.count()

Rename = Callable[..., None]


def finishing_renames(original: Rename, walls: Walls) -> Rename:
    """Make of `os.rename` or `os.replace` one that also gets past our own mounts.

    :param walls: whether a change at a path lands in a layer of ours; ``None`` where no walls stand: an EXDEV is the disk's own.
    """

    @wraps(original)
    def rename(src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        try:
            original(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        except OSError as problem:
            if problem.errno not in (errno.EXDEV, errno.EBUSY) or src_dir_fd is not None or dst_dir_fd is not None:
                raise
            contains = walls()
            move = None if contains is None else _Move.between(os.fsdecode(src), os.fsdecode(dst), contains)
            if move is None:
                raise
            if problem.errno == errno.EBUSY:
                if move.has_filled_target():
                    return
                if not move.is_of_root():
                    raise
            if not move.has_copied():
                raise
        else:
            return
        move.put_in_place(original)

    return rename


@dataclass(frozen=True, slots=True)
class _Move:
    """A rename by hand: a copy beside the target, then one rename, then the source goes.

    What lies in a layer of ours was judged, and written down, as the rename that it is; there each step is the guard's own.
    Elsewhere the hook judges and records each step as it would the program's.
    """

    source: str
    target: str
    beside: str
    is_source_contained: bool
    is_target_contained: bool

    @classmethod
    def between(cls, source: str, target: str, contains: Contains) -> _Move | None:
        """The move, or ``None`` where it is not our walls that are between the two, or it cannot be made by hand."""
        here, there = place_of(source), place_of(target)
        if here is None or there is None or _is_being_written(here[0]):
            return None
        path, device = here
        goal, goal_device = there
        is_source_contained, is_target_contained = contains(path), contains(goal)
        if device != goal_device and not (is_source_contained or is_target_contained):
            return None
        parent, _, name = goal.rpartition("/")
        beside = f"{parent}/.{name[:LONGEST_NAME]}.{Raw.getpid()}-{next(_numbers)}"
        return cls(path, goal, beside, is_source_contained, is_target_contained)

    def has_filled_target(self) -> bool:
        """Fill a guarded root itself, whose name no other object can take: a file, or a directory that is empty."""
        kinds = {stat.S_IFMT(Raw.lstat(path).st_mode) for path in (self.source, self.target) if os.path.lexists(path)}
        if len(kinds) != 1 or not (self.is_target_contained and os.path.ismount(self.target)):
            return False
        found = Raw.lstat(self.source)
        if kinds == {stat.S_IFREG}:
            self._copy_content(self.source, self.target, _REFILL)
        elif kinds == {stat.S_IFDIR} and not Raw.listdir(self.target):
            self._copy_entries(self.source, self.target)
        else:
            return False
        self._put_metadata(self.target, found, listed_xattrs(self.source))
        self._remove_source()
        return True

    def is_of_root(self) -> bool:
        """Whether what moves is a guarded root itself."""
        return is_root(self.source, lambda path: self.is_source_contained)

    def has_copied(self) -> bool:
        """Copy the source; where that cannot be, nothing is left of it and the answer is no."""
        try:
            self._copy(self.source, self.beside)
        except OSError:
            self._remove_copy()
            return False
        return True

    def put_in_place(self, rename: Rename) -> None:
        """Let the copy take the target's name, and the source go.

        :raises OSError: as a rename would: the target is a directory that is not empty, or no directory where the source is one.
        """
        try:
            rename(self._theirs(self.beside), self._theirs(self.target))
        except OSError as problem:
            self._remove_copy()
            raise OSError(problem.errno, problem.strerror, self.source, None, self.target) from None
        self._remove_source()

    def _theirs(self, path: str) -> str:
        return OwnPath(path) if self.is_target_contained else path

    def _remove_source(self) -> None:
        if self.is_of_root():
            empty_root(self.source)
        else:
            remove_tree(self.source, OwnPath if self.is_source_contained else str)

    def _remove_copy(self) -> None:
        if os.path.lexists(self.beside):
            remove_tree(self.beside, OwnPath if self.is_target_contained else str)

    def _copy(self, source: str, target: str) -> None:
        found = Raw.lstat(source)
        if stat.S_ISDIR(found.st_mode):
            Raw.mkdir(self._theirs(target), 0o700)
            self._copy_entries(source, target)
        elif stat.S_ISLNK(found.st_mode):
            Raw.symlink(Raw.readlink(source), self._theirs(target))
        elif stat.S_ISREG(found.st_mode):
            self._copy_content(source, target)
        else:
            raise OSError(errno.EXDEV, "no copy can be made of it", source)
        missed = self._put_metadata(target, found, listed_xattrs(source))
        if missed:
            raise OSError(errno.EXDEV, f"its copy would not be the same ({', '.join(missed)})", source)

    def _copy_entries(self, source: str, target: str) -> None:
        for name in Raw.listdir(source):
            self._copy(f"{source}/{name}", f"{target}/{name}")

    @staticmethod
    def _put_metadata(path: str, found: os.stat_result, xattrs: Mapping[str, bytes]) -> list[str]:
        return put_metadata(
            path,
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            atime_ns=found.st_atime_ns,
            mtime_ns=found.st_mtime_ns,
            xattrs=xattrs,
        )

    def _copy_content(self, source: str, target: str, flags: int = _CREATE) -> None:
        with (
            closing(Raw.open(OwnPath(source), _READ)) as reader,
            closing(Raw.open(self._theirs(target), flags, 0o600)) as writer,
        ):
            while piece := Raw.read(reader, PIECE):
                write_all(writer, piece)


def _is_being_written(path: str) -> bool:
    """Whether this process holds the file open for writing: what it writes later would miss the copy."""
    return any(is_within(target, path) for target in open_files("self", stat.S_IWUSR))
