"""Deleting the records of old runs, by name: what this package did not put into a run's directory stays, and the run with it."""

from __future__ import annotations

import re
from typing import Final

from pytest_session_guard._host.directories import OpenDirectory, is_directory

# Everything that this package writes into a run's directory, and into the directories in it.
OWN_FILES: Final = re.compile(
    r"run\.json|lock|closed\.json|journal-[\w.-]+\.jsonl|policy-\w+\.json|[\w.-]+\.tmp|report\.json|ended"
)
OWN_DIRECTORIES: Final = ("preimages", "aside", "quarantine", "canary", "overlay")
STORES: Final = ("preimages", "aside")
LAST: Final = "lock run.json closed.json"


def remove_run_directory(path: str) -> bool:
    """Delete a run's directory and the pre-images in it.

    The caller holds the run's lock. Goes by names, one level deep, relative to open directories; where something else is
    in there, or something in quarantine, everything stays.

    :returns: whether the directory is gone.
    """
    parent_path, _, run_name = path.rpartition("/")
    with OpenDirectory(parent_path) as runs:
        with runs.enter(run_name) as run:
            names = run.names()
            if not all(_is_own(run, name) for name in names):
                return False
            # What says that the run is closed goes last, so that a killed deletion is taken up again.
            for name in sorted(names, key=LAST.find):
                _remove_entry(run, name)
        runs.rmdir(run_name)
    return True


def _is_own(run: OpenDirectory, name: str) -> bool:
    if not is_directory(run.look(name)):
        return OWN_FILES.fullmatch(name) is not None
    if name not in OWN_DIRECTORIES:
        return False
    with run.enter(name) as inner:
        entries = inner.names()
        # A quarantine that holds something is the only place where that still is.
        return not entries or (name in STORES and not any(is_directory(inner.look(entry)) for entry in entries))


def _remove_entry(run: OpenDirectory, name: str) -> None:
    if not is_directory(run.look(name)):
        run.unlink(name)
        return
    with run.enter(name) as inner:
        for entry in inner.names():
            inner.unlink(entry)
    run.rmdir(name)
