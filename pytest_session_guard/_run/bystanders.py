"""Processes that are not of the run and have a file open for writing: the live application whose file it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator

from pytest_session_guard._host.processes import command_of


def writers_outside(paths: Collection[str], run_id: str) -> dict[str, str]:
    """Which of some files another program than the run holds open for writing, each with that program.

    A program that replaces its files by rename holds none of them open, and one of another user cannot be looked at:
    what is missing here says nothing.
    """
    wanted = frozenset(paths)
    found: dict[str, str] = {}
    for pid in _processes() if wanted else ():
        held = wanted.intersection(_written_by(pid))
        if held and not _is_of_run(pid, run_id):
            found.update((path, f"{pid} {command_of(pid)}") for path in held)
    return found


def _processes() -> Iterator[int]:
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if name.isdecimal() and int(name) != os.getpid():
            yield int(name)


def _written_by(pid: int) -> Iterator[str]:
    place = f"/proc/{pid}/fd"
    try:
        numbers = os.listdir(place)
    except OSError:
        return
    for number in numbers:
        try:
            # The link's permission bits are the descriptor's access mode (proc_pid_fd(5)).
            if os.lstat(f"{place}/{number}").st_mode & stat.S_IWUSR:
                yield os.readlink(f"{place}/{number}")
        except OSError:
            continue


def _is_of_run(pid: int, run_id: str) -> bool:
    """Whether a process was told of the run when it was started; one that cannot be asked counts as the run's."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return run_id.encode() in file.read()
    except OSError:
        return True
