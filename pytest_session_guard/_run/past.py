"""Which runs are on record: all of them, one by its name, those that nobody has cleaned up after."""

from __future__ import annotations

from pytest_session_guard._controls.ledger import is_closed, read_run, run_paths
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.runs import DELETED, PastRun


def list_runs(state_directory: str) -> list[PastRun]:
    """All runs that the ledger holds, oldest first.

    :raises LedgerError: it cannot be listed.
    """
    return [run for run in map(read_run, run_paths(state_directory)) if run.foreign != DELETED]


def find_run(state_directory: str, name: str) -> PastRun:
    """The run of that id, or of an id that begins so; ``latest`` is the newest.

    :raises LedgerError: there is none, or more than one.
    """
    paths = run_paths(state_directory)
    if not paths:
        raise LedgerError(f"{state_directory}/runs", "holds no run yet")
    found = paths[-1:] if name == "latest" else [path for path in paths if path.rpartition("/")[2].startswith(name)]
    if len(found) != 1:
        count = "no run" if not found else f"{len(found)} runs"
        raise LedgerError(f"{state_directory}/runs", f"holds {count} whose id begins with {name!r}")
    return read_run(found[0])


def unfinished_runs(state_directory: str) -> list[PastRun]:
    """Runs that were killed and that nobody has cleaned up after.

    :raises LedgerError: the ledger cannot be listed.
    """
    open_runs = (glance(path) for path in run_paths(state_directory) if not is_closed(path))
    return [read_run(run.path) for run in open_runs if not (run.closed or run.alive or run.foreign or run.copied)]


def glance(path: str) -> PastRun:
    """A run without its records, which take their time."""
    return read_run(path, with_records=False)
