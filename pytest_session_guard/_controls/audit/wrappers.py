"""Thin wrappers beside the hook, for calls that raise no event or hide what matters."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from pytest_session_guard._controls.audit.locate import DirFdHint

def wrap_calls_without_events(audit: Callable[..., None], hint: DirFdHint) -> None:
    """Put the wrappers in place, for the life of the process.

    :param audit: raises an event as CPython would have (`sys.audit`), so the hook judges it like all others.

    `os.open` gets one because its event hides ``dir_fd`` (cpython#116429); `os.mkfifo` and `os.mknod` because they raise
    no event. A wrapper stands in `os.supports_dir_fd` where the original did, so feature tests keep their answers.
    """
    _replace("open", _wrap_open(os.open, hint))
    for name in ("mkfifo", "mknod"):
        if hasattr(os, name):
            _replace(name, _wrap_node(getattr(os, name), audit))


def _replace(name: str, wrapper: Callable[..., Any]) -> None:
    original = getattr(os, name)
    setattr(os, name, wrapper)
    if original in os.supports_dir_fd:
        os.supports_dir_fd.add(wrapper)


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


def _wrap_node(original: Callable[..., None], audit: Callable[..., None]) -> Callable[..., None]:
    name = f"os.{original.__name__}"

    @wraps(original)
    def make_node(path: Any, *args: Any, dir_fd: int | None = None, **kwargs: Any) -> None:
        audit(name, path, 0, -1 if dir_fd is None else dir_fd)
        original(path, *args, dir_fd=dir_fd, **kwargs)

    return make_node
