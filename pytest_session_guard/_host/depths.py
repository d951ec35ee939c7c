"""Directories whose path is longer than the kernel says one: reached by a descriptor, or step by step."""

from __future__ import annotations

import errno
import os
from builtins import range  # noqa: A004 - captured: tests mock builtins
from typing import Final

from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.identity import HAS_PROC_FD, O_PATH, real_path_of_fd

_FLAGS: Final = O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_STEPS_AT_MOST: Final = 100_000


def place_above(path: str | bytes, dir_fd: int | None = None) -> str | None:
    """The real path of the nearest directory above one that lies too deep to have a path itself.

    :returns: ``None`` where there is no such directory, or it has a path or none at all.
    """
    if not (HAS_PROC_FD and O_PATH):
        return None
    try:
        fd = Raw.open(path, _FLAGS, dir_fd=dir_fd)
    except OSError:
        return None
    if not _is_too_deep(fd):
        Raw.close(fd)
        return None
    for _ in range(_STEPS_AT_MOST):
        try:
            above = Raw.open("..", _FLAGS, dir_fd=fd)
        except OSError:
            return None
        finally:
            Raw.close(fd)
        fd = above
        if not _is_too_deep(fd):
            break
    found = real_path_of_fd(fd)
    Raw.close(fd)
    return found


def _is_too_deep(fd: int) -> bool:
    try:
        Raw.readlink(f"/proc/self/fd/{fd}")
    except OSError as problem:
        return problem.errno == errno.ENAMETOOLONG
    return False
