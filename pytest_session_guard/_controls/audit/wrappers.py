"""Thin wrappers beside the hook, for calls that raise no event, whose event hides what matters, or that our walls would break."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from pytest_session_guard._controls.audit.locate import DirFdHint
from pytest_session_guard._controls.audit.removals import Walls, finishing_mkdir, finishing_rmdir, finishing_unlink
from pytest_session_guard._controls.audit.renames import finishing_renames
from pytest_session_guard._core.events import LINK_FOLLOWS

Audit = Callable[..., None]
FEATURE_SETS: Final = ("supports_dir_fd", "supports_fd", "supports_follow_symlinks", "supports_effective_ids")
LINK_ITSELF: Final = ("chmod", "chown", "utime", "setxattr", "removexattr", "chflags")
ALWAYS_LINK_ITSELF: Final = ("lchown", "lchmod", "lchflags")
# Those that wait to be heard where the walls stand, or where a place is shared.
HEARD: Final = (
    "rename", "replace", "rmdir", "unlink", "remove", "mkdir", "mknod", "mkfifo", "link", "symlink", "truncate",
    "chown", "lchown", "fchown", "setxattr",
)  # fmt: skip


def wrap_calls_without_events(audit: Audit, hint: DirFdHint) -> None:
    """Put the wrappers in place, for the life of the process.

    - `os.open`: its event hides ``dir_fd`` (cpython#116429);
    - `os.chmod` and its like: theirs hide ``follow_symlinks``;
    - `os.mkfifo`, `os.mknod`: no event at all; so threads, before CPython 3.12.

    A wrapper stands in ``os.supports_dir_fd`` and its like where the original did, so feature tests keep their answers.

    :param audit: raises an event as CPython would have (`sys.audit`), so the hook judges it like all others.
    """
    _replace("open", _wrap_open(os.open, hint))
    for name in LINK_ITSELF:
        if hasattr(os, name):
            _replace(name, _wrap_following(getattr(os, name), hint))
    if LINK_FOLLOWS:
        _replace("link", _wrap_following(os.link, hint))
    for name in ALWAYS_LINK_ITSELF:
        if hasattr(os, name):
            _replace(name, _wrap_unfollowing(getattr(os, name), hint))
    for name in ("mkfifo", "mknod"):
        if hasattr(os, name):
            _replace(name, _wrap_node(getattr(os, name), audit))
    if sys.version_info < (3, 12):
        _wrap_threads(audit)


def wrap_moves(walls: Walls) -> None:
    """Let renames and removals past the mounts that the walls are made of, and no signal end a call, for the life of the process.

    :param walls: as of `finishing_renames`; asked each time, since a later session has walls of its own.
    """
    for name in HEARD:
        if hasattr(os, name):
            _replace(name, _insisting(getattr(os, name)))
    for name in ("rename", "replace"):
        _replace(name, finishing_renames(getattr(os, name), walls))
    _replace("rmdir", finishing_rmdir(os.rmdir, walls))
    for name in ("unlink", "remove"):
        _replace(name, finishing_unlink(getattr(os, name), walls))
    _replace("mkdir", finishing_mkdir(os.mkdir))


def _replace(name: str, wrapper: Callable[..., Any]) -> None:
    original = getattr(os, name)
    # Pickled by this name, for a pool or a process that is spawned; `posix` has the original.
    wrapper.__module__, wrapper.__name__, wrapper.__qualname__ = "os", name, name
    setattr(os, name, wrapper)
    for feature in FEATURE_SETS:
        features: set[Callable[..., Any]] = getattr(os, feature, set())
        if original in features:
            features.add(wrapper)


def _insisting(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make a call again that a signal has ended.

    Without the guard none ends it. Where it waits to be heard one can: the kernel makes no call again for a handler of
    Python's, and Python itself does so (PEP 475) only with those that wait by nature.
    """

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        while True:
            try:
                return original(*args, **kwargs)
            except InterruptedError:
                continue

    return call


def _wrap_open(original: Callable[..., int], hint: DirFdHint) -> Callable[..., int]:
    @wraps(original)
    def open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:  # noqa: A001 - its name
        before = hint.value
        hint.value = -1 if dir_fd is None else dir_fd
        try:
            return original(path, flags, mode, dir_fd=dir_fd)
        finally:
            hint.value = before

    return open


def _wrap_following(original: Callable[..., None], hint: DirFdHint) -> Callable[..., None]:
    @wraps(original)
    def change(*args: Any, follow_symlinks: bool = True, **kwargs: Any) -> None:
        if follow_symlinks:
            return original(*args, **kwargs)
        hint.link_itself = True
        try:
            return original(*args, follow_symlinks=False, **kwargs)
        finally:
            hint.link_itself = False

    return change


def _wrap_unfollowing(original: Callable[..., None], hint: DirFdHint) -> Callable[..., None]:
    @wraps(original)
    def change(*args: Any, **kwargs: Any) -> None:
        hint.link_itself = True
        try:
            original(*args, **kwargs)
        finally:
            hint.link_itself = False

    return change


def _wrap_node(original: Callable[..., None], audit: Audit) -> Callable[..., None]:
    name = f"os.{original.__name__}"

    @wraps(original)
    def make_node(path: Any, *args: Any, dir_fd: int | None = None, **kwargs: Any) -> None:
        audit(name, path, 0, -1 if dir_fd is None else dir_fd)
        original(path, *args, dir_fd=dir_fd, **kwargs)

    return make_node


def _wrap_threads(audit: Audit) -> None:
    original = threading._start_new_thread  # type: ignore[attr-defined]

    @wraps(original)
    def start_new_thread(function: Callable[..., Any], *args: Any) -> int:
        audit("_thread.start_new_thread", function, *args)
        return int(original(function, *args))

    threading._start_new_thread = start_new_thread  # type: ignore[attr-defined]
