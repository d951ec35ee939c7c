"""What a new run does before it begins: finish what killed runs left, and let go of the records of old ones.

Almost always there is nothing to finish, so what that takes is imported when there is; and of the runs that stay no more
is read than how much room they take.
"""

from __future__ import annotations

import os
from contextlib import suppress

from pytest_session_guard._controls.ledger import holding, read_run, room_bytes, run_paths
from pytest_session_guard._controls.retention import remove_run_directory
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.runs import ALIVE, KEEP_BYTES, KEEP_RUNS, LAYERS_DIRECTORY, PastRun, plan_retention
from pytest_session_guard._run.past import glance, unfinished_runs


def prunable_runs(state_directory: str, keep_runs: int = KEEP_RUNS, keep_bytes: int = KEEP_BYTES) -> list[PastRun]:
    """The runs whose records and pre-images `prune` would delete."""
    paths = run_paths(state_directory)
    beyond = max(len(paths) - keep_runs, 0)
    if sum(map(room_bytes, paths[beyond:])) <= keep_bytes:
        # Their number alone decides.
        paths, keep_runs = paths[:beyond], 0
    chosen = plan_retention(map(glance, paths), keep_runs, keep_bytes)
    return [run for run in (read_run(one.path) for one in chosen) if not run.obstacle]


def prune(state_directory: str, keep_runs: int = KEEP_RUNS, keep_bytes: int = KEEP_BYTES) -> list[str]:
    """Delete the records and pre-images of old runs: only what this package put there, only of runs that are closed.

    :returns: ids of the runs that are gone.
    """
    gone: list[str] = []
    for run in prunable_runs(state_directory, keep_runs, keep_bytes):
        with suppress(FileNotFoundError), holding(run.path) as over:  # somebody else prunes too
            if over and remove_run_directory(run.path):
                gone.append(run.run_id)
    return gone


def left_layers(state_directory: str) -> list[str]:
    """The directories of dead runs in which upper layers may still lie, on the disk: their keeper was killed too."""
    found = (path for path in run_paths(state_directory) if _entries(f"{path}/{LAYERS_DIRECTORY}"))
    return [path for path in found if not glance(path).obstacle]


def sweep_layers(state_directory: str) -> list[str]:
    """Remove the upper layers of dead runs.

    :returns: what went.
    :raises OSError: something could not be removed.
    """
    swept: list[str] = []
    for path in left_layers(state_directory):
        # Imported here: ctypes costs 4 ms, and layers are hardly ever left.
        from pytest_session_guard._controls.overlay import sweep_leftovers

        with suppress(FileNotFoundError):  # somebody else sweeps too
            swept += sweep_leftovers(f"{path}/{LAYERS_DIRECTORY}")
    return swept


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []  # a run that had none


def tidy(state_directory: str, *, within_walls: bool = False) -> list[str]:
    """Finish what killed runs left, and prune.

    Others may be at the same at the same moment; whatever stands in the way of tidying is told, and stops no run.

    :param within_walls: this process stands in the walls of an earlier session of its own, which lie over shared places or
        guard what is in them: a run that left something there is for another process to finish.
    :returns: what became of real files, and what was left alone, a clause each.
    """
    notes: list[str] = []
    try:
        for run in unfinished_runs(state_directory):
            notes += _finish(run, within_walls)
        sweep_layers(state_directory)
        prune(state_directory)
    except OSError as problem:
        notes.append(f"earlier runs could not be tidied up after: {problem.strerror or problem}")
    return notes


def _finish(run: PastRun, within_walls: bool) -> list[str]:
    from pytest_session_guard._run.recover import clean_run, shared_candidates
    from pytest_session_guard._run.reports import untold

    hidden = shared_candidates(run) if within_walls else []
    if hidden:
        return [
            f"run {run.run_id} had been killed and is left to the next process: "
            f"{hidden[0]!r} lies behind the walls of an earlier session of this one"
        ]
    try:
        cleaned = clean_run(run)
    except FileNotFoundError:
        if os.path.lexists(run.path):
            raise
        return []  # somebody else finished it, and deleted its record
    except LedgerError as problem:
        # Alive: somebody else, starting at this moment too, is at it.
        left = problem.reason != ALIVE
        return [f"run {run.run_id} had been killed and is left alone: {problem.reason}"] if left else []
    notes = []
    if cleaned.removed.removed or cleaned.kept:
        removed, kept = len(cleaned.removed.removed), len(cleaned.kept)
        notes.append(f"run {run.run_id} had been killed: {removed} of its files removed, {kept} kept")
    return [*notes, *untold(run)]
