"""Removals at the end of a run: those that a process of it began and did not live to finish, and what is left."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pytest_session_guard._controls.cleanup import Cleanup, Removed
from pytest_session_guard._controls.ledger import is_closed, note_closed
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.removal import BESIDE
from pytest_session_guard._core.runs import quarantined_paths
from pytest_session_guard._core.zones import Zone
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._run.own_errors import FINISHING

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
        return _kept(run, f"the ledger cannot be used ({problem.reason})")


def give_up(run: SessionRun, problem: Exception) -> Removed:
    """An error of the guard's own at the end of a run: nothing more is removed, the ledger stays for the next run, all is red."""
    run.has_given_up = True
    # Imported here: nobody needs it otherwise. Whoever reports the error has to say where it was.
    import traceback

    with suppress(OSError):
        Raw.write(run.stderr_fd, "".join(traceback.format_exception(problem)).encode(errors="backslashreplace"))
    run.failed(FINISHING, (run.directory.path,), problem)
    return _kept(
        run, f"the guard failed before it was removed; session-guard clean {run.directory.run_id} goes on with it"
    )


def _kept(run: GuardRun, reason: str) -> Removed:
    """All artifacts in shared places as staying there, for one reason."""
    known = {*run.ownership.paths, *run.ownership.lent}
    shared = [path for path in known if run.policy.rule_for(path).zone is Zone.SHARED]
    return Removed(kept=tuple((path, reason) for path in sorted(shared) if os.path.lexists(path)))


def close(run: SessionRun) -> None:
    """Write down that a run is over, once nothing is left that it made after its report, or without ever giving one.

    ``--looponfail`` has no session that ends, and exit handlers come after each.

    :raises LedgerError: it cannot be written down.
    """
    if run.is_fork or run.has_given_up:
        return  # its parent goes on, or the next run
    kept = dict(run.report.kept)
    run.ownership.settle()
    known = (*run.ownership.paths, *run.ownership.lent)
    late = any(path not in kept and run.policy.rule_for(path).zone is Zone.SHARED for path in known)
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
