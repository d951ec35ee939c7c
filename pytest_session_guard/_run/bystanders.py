"""Processes that are not of the run and have a file open for writing: the live application whose file it is."""

from __future__ import annotations

import stat
from collections.abc import Collection

from pytest_session_guard._host.processes import command_of, environment_of, open_files, process_ids


def writers_outside(paths: Collection[str], run_id: str, ours: Collection[int] = ()) -> dict[str, str]:
    """Which of some files another program than the run holds open for writing, each with that program.

    A program that replaces its files by rename holds none of them open, and one of another user cannot be looked at:
    what is missing here says nothing.

    :param ours: processes that count as the run's, whatever they were told.
    """
    wanted = frozenset(paths)
    found: dict[str, str] = {}
    for pid in process_ids() if wanted else ():
        held = wanted.intersection(open_files(pid, stat.S_IWUSR))
        if held and pid not in ours and not _is_of_run(pid, run_id):
            found.update((path, f"{pid} {command_of(pid)}") for path in held)
    return found


def _is_of_run(pid: int, run_id: str) -> bool:
    """Whether a process was told of the run when it was started; one that cannot be asked counts as the run's."""
    words = environment_of(pid)
    return not words or any(run_id.encode() in word for word in words)
