"""Removals at the end of a run: those that a process of it began and did not live to finish, and what is left."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pytest_session_guard._controls.cleanup import Cleanup, Removed
from pytest_session_guard._controls.ledger import is_closed, note_closed
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.removal import BESIDE
from pytest_session_guard._core.runs import quarantined_paths
from pytest_session_guard._core.zones import Zone

if TYPE_CHECKING:
    from pytest_session_guard._run.guard import GuardRun
    from pytest_session_guard._run.session import SessionRun

RETURNED: Final = "another object, put back: a process of this run died while it had it in quarantine"


def clear_shared(run: GuardRun, cleanup: Cleanup) -> Removed:
    """Remove the run's artifacts from shared places; without its ledger nothing is removed, and each is named."""
    try:
        run.ownership.ask_others()
        run.insist_on_whole_journals()
        finished = finish_removals(run, run.begun_removals)
        cleared = cleanup.clear_shared()
        return Removed((*finished.removed, *cleared.removed), (*finished.kept, *cleared.kept))
    except LedgerError as problem:
        run.complain(problem)
        shared = [path for path in run.ownership.paths if run.policy.rule_for(path).zone is Zone.SHARED]
        there = sorted(path for path in shared if os.path.lexists(path))
        return Removed(kept=tuple((path, f"the ledger cannot be used ({problem.reason})") for path in there))


def close(run: SessionRun) -> None:
    """Write down that a run is over, once nothing is left that it made after its report, or without ever giving one.

    ``--looponfail`` has no session that ends, and exit handlers come after each.

    :raises LedgerError: it cannot be written down.
    """
    if run.is_fork:
        return  # its parent goes on
    kept = dict(run.report.kept)
    run.ownership.settle()
    late = any(path not in kept and run.policy.rule_for(path).zone is Zone.SHARED for path in run.ownership.paths)
    if late or not run.is_told:
        kept |= dict(clear_shared(run, run.cleanup).kept)
    if late or not is_closed(run.directory.path):
        note_closed(run.directory.path, kept.items())


def finish_removals(run: GuardRun, begun: Iterable[Mapping[str, Any]]) -> Removed:
    """Empty the quarantine after workers and children that died: what is the run's own goes, the rest goes back.

    One that lives on finds the same done already.

    :param begun: what other processes of the run wrote down before they moved anything.
    :raises LedgerError: what went cannot be written down.
    """
    homes = quarantined_paths(begun)
    if not homes:
        return Removed()
    # Imported here: hardly ever does a process die while it removes something.
    from pytest_session_guard._controls.recovery import apply_quarantine, plan_quarantine

    plan = plan_quarantine(f"{run.directory.path}/quarantine", homes, run.ownership.is_own)
    # What has no home in those records was left there, and named, by this process.
    done = apply_quarantine(replace(plan, uncertain=()))
    removed = tuple(homes[path.rpartition("/")[2].removeprefix(BESIDE)] for path, _ in done.removals)
    if removed:
        run.journal.append({"kind": "removed", "paths": list(removed)})
        for path in removed:
            run.ownership.forget(path)
    returned = tuple((home, RETURNED) for _, home in done.returns)
    return Removed(removed, (*returned, *done.uncertain))
