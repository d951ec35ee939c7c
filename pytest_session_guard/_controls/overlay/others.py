"""Telling what the run did to a copy from what somebody else did to the real one since the copy was made.

An installer removes and a person renames while tests run. Nobody has touched the copy for that; its times and its birth
tell. The overlay marks what it copied, and gives a copy the times of the real one.
"""

from __future__ import annotations

import os
from typing import Final

from ..._host.fsops import Raw
from ..._host.identity import birth_ns

ORIGIN: Final = "user.overlay.origin"


def times_of(status: os.stat_result) -> tuple[int, int]:
    """Access and modification."""
    return status.st_atime_ns, status.st_mtime_ns


def times_for(copy: os.stat_result, real: os.stat_result, since_ns: int) -> tuple[int, int]:
    """The times that a copy has if nobody but the overlay saw to it.

    A real object that was changed since has others by somebody else's doing; so has one that was read since, which
    shows in its access time alone.

    :param since_ns: when the copy was made, or later.
    """
    changed = is_after(since_ns, real.st_ctime_ns)
    read = changed or is_after(since_ns, real.st_atime_ns)
    return (copy if read else real).st_atime_ns, (copy if changed else real).st_mtime_ns


def is_after(since_ns: int, moment_ns: int) -> bool:
    """Whether something was after that; a moment that is yet to come says nothing: the clock was set back."""
    return since_ns < moment_ns <= Raw.time_ns()


def copied_ns(upper_fd: int, status: os.stat_result) -> int:
    """When a directory was copied, or where the file system does not say so, when its copy was last changed.

    The latter moves with everything that is copied into the directory, so somebody may have been there before it.
    """
    made_ns = birth_ns(upper_fd, status)
    return status.st_ctime_ns if made_ns is None else made_ns


def is_unwritten(upper_fd: int, status: os.stat_result) -> bool:
    """Whether nobody wrote to a copy: a write would have been after the copying, the copy's own time is the real file's."""
    made_ns = birth_ns(upper_fd, status)
    return made_ns is not None and status.st_mtime_ns < made_ns


def is_of_another(
    upper_fd: int,
    status: os.stat_result,
    real: os.stat_result | None,
    name: str,
    lower_dir: int | None,
    named_ns: int,
) -> bool:
    """Whether somebody removed or replaced the real file of a copy that nobody wrote to.

    :param real: what has the name in the real directory now.
    :param named_ns: when a name last came into the copy's directory: a renamed or a linked copy is the run's doing.
    """
    if real is not None and not is_after(status.st_ctime_ns, real.st_ctime_ns):
        return False
    if not is_unwritten(upper_fd, status):
        return False
    made_ns = birth_ns(upper_fd, status) or 0
    if real is None:
        return status.st_nlink == 1 and named_ns < made_ns
    return (birth_ns(name, real, lower_dir) or 0) > made_ns
