"""Removals of a guarded root itself, where a suite may have its way with it: in ``report`` mode, and of a `pristine` copy.

A layer is mounted on the root's own name, which the kernel therefore takes from nobody (EBUSY). What is in the root can go;
so an emptied root counts as gone: its removal succeeds, and so does making it again. It is still there to see, and empty.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from pytest_session_guard._host.fsops import OwnPath, Raw
from pytest_session_guard._host.identity import real_directory

Contains = Callable[[str], bool]
Walls = Callable[[], Contains | None]
_EMPTY: Final = os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
# Roots that are empty by now and that the suite takes for gone.
_gone: Final[set[str]] = set()


def finishing_rmdir(original: Callable[..., None], walls: Walls) -> Callable[..., None]:
    """Make of `os.rmdir` one that also removes a guarded root.

    :param walls: as of `finishing_renames`.
    """

    @wraps(original)
    def rmdir(path: Any, *, dir_fd: int | None = None) -> None:
        try:
            original(path, dir_fd=dir_fd)
        except OSError as problem:
            root = _busy_root(problem, path, dir_fd, walls)
            if root is None:
                raise
            if Raw.listdir(root):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path) from None
            _gone.add(root)

    return rmdir


def finishing_unlink(original: Callable[..., None], walls: Walls) -> Callable[..., None]:
    """Make of `os.unlink` or `os.remove` one that also removes a guarded root that is a file.

    :param walls: as of `finishing_renames`.
    """

    @wraps(original)
    def unlink(path: Any, *, dir_fd: int | None = None) -> None:
        try:
            original(path, dir_fd=dir_fd)
        except OSError as problem:
            root = _busy_root(problem, path, dir_fd, walls)
            if root is None or not stat.S_ISREG(Raw.lstat(root).st_mode):
                raise
            empty_root(root)

    return unlink


def finishing_mkdir(original: Callable[..., None]) -> Callable[..., None]:
    """Make of `os.mkdir` one that also makes a guarded root again that was removed."""

    @wraps(original)
    def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        try:
            original(path, mode, dir_fd=dir_fd)
        except FileExistsError:
            place = place_of(os.fsdecode(path)) if _gone and dir_fd is None else None
            if place is None or place[0] not in _gone:
                raise
            _gone.discard(place[0])
            if Raw.listdir(place[0]):
                raise  # something was put into it meanwhile, which cannot be where nothing is

    return mkdir


def _busy_root(problem: OSError, path: Any, dir_fd: int | None, walls: Walls) -> str | None:
    """The guarded root that could not be removed for being one."""
    contains = walls() if problem.errno == errno.EBUSY and dir_fd is None else None
    place = None if contains is None else place_of(os.fsdecode(path))
    return place[0] if contains is not None and place is not None and is_root(place[0], contains) else None


def is_root(path: str, contains: Contains) -> bool:
    """Whether a path is the place that a layer is mounted on."""
    return contains(path) and os.path.ismount(path)


def empty_root(root: str) -> None:
    """Take out all that is in a guarded root, which counts as gone from now on.

    :raises OSError: something in it cannot be removed.
    """
    if stat.S_ISDIR(Raw.lstat(root).st_mode):
        for name in Raw.listdir(root):
            remove_tree(f"{root}/{name}", OwnPath)
    else:
        Raw.close(Raw.open(OwnPath(root), _EMPTY))
    _gone.add(root)


def remove_tree(path: str, named: Callable[[str], str]) -> None:
    """Remove a path and all that is below it.

    :param named: makes the path argument of each step: `OwnPath` for steps that were judged as a whole.
    """
    if not stat.S_ISDIR(Raw.lstat(path).st_mode):
        Raw.unlink(named(path))
        return
    for name in Raw.listdir(path):
        remove_tree(f"{path}/{name}", named)
    Raw.rmdir(named(path))


def place_of(path: str) -> tuple[str, int] | None:
    """The real path of a name, the last part not followed, and the device that it lies on; ``None`` where there is no such place."""
    parent, _, name = path.rstrip("/").rpartition("/")
    real = real_directory(parent or ("/" if path.startswith("/") else "."))
    if real is None or name in ("", ".", ".."):
        return None
    return f"{real.rstrip('/')}/{name}", Raw.stat(real).st_dev
