"""The last look of a run at its own: what it left running, and what was done since its report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from pytest_session_guard._run.leftovers import WAIT_S, Leftover, told
from pytest_session_guard._run.makings import take_in

if TYPE_CHECKING:
    from pytest_session_guard._controls.overlay import Overlay
    from pytest_session_guard._run.session import SessionRun

INTERRUPTED: Final = 2


def look_once_more(run: SessionRun) -> Sequence[object]:
    """Wait for what the run left running, for as long as the launcher would; then take in what was done meanwhile.

    Nobody is waited for when the user has interrupted the run, when the launcher waits anyway, and in a worker, for whose
    children the controller waits.

    :returns: who is at work even so.
    :raises LedgerError: the ledger is gone.
    """
    if not run.is_controller or run.supervised:
        run.collect()
        return ()
    others = _layers_of_workers(run)
    leftovers = run.leftovers(layers.namespace for layers in others)
    leftovers.met |= {record["pid"]: Leftover.parse(record) for record in run.left_running}
    left = leftovers.wait(0 if run.exit_status == INTERRUPTED else WAIT_S)
    run.charging.still_at_work = told(leftovers.met.values())
    run.enter(leftovers.starter.nodeid, leftovers.starter.phase)
    run.collect()
    if others:
        take_in(run, of_all=True)
    _charge_late(run, others)
    if run.earlier is not None:
        run.earlier.compare(run, at_last=True)
    if leftovers.met:
        run.compare_inventory()
    return left


def _layers_of_workers(run: SessionRun) -> list[Overlay]:
    if not run.reader.labels():
        return []
    try:
        return run.walls.of_workers()
    except OSError as problem:
        run.failed("overlay", ("the workers' upper layers",), problem)
        return []


def _charge_late(run: SessionRun, others: Iterable[Overlay]) -> None:
    """Take in what lies in the upper layers of workers that have ended, and that they have not told."""
    known = {touch.path for touch in run.touches} | run.seen_by_others
    for layers in others:
        try:
            run.charging.charge([change for change in layers.changes() if change.path not in known])
        except OSError as problem:
            run.failed("overlay", (layers.label,), problem)
