"""When the last process of a run went, written down for a run that nobody closed."""

from __future__ import annotations

import os
from contextlib import suppress

from ..._core.runs import CLOSED_FILE, ENDED_FILE, LOCK_FILE


def make_end_note(run_directory: str) -> None:
    """Make the file that `note_end` writes to: nothing new may appear in a directory that somebody is about to remove."""
    if not os.path.lexists(f"{run_directory}/{LOCK_FILE}"):
        return  # no run's
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with suppress(OSError):  # without it nobody sees the run go
        os.close(os.open(f"{run_directory}/{ENDED_FILE}", flags, 0o600))


def note_end(run_directory: str) -> None:
    """The last process that was connected has gone: where nobody closed its run, write down when that was."""
    if os.path.lexists(f"{run_directory}/{CLOSED_FILE}"):
        return
    with suppress(OSError):  # the run's directory is gone
        note_fd = os.open(f"{run_directory}/{ENDED_FILE}", os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        if not os.fstat(note_fd).st_size:  # noted already
            os.write(note_fd, b"ended\n")
        os.close(note_fd)
