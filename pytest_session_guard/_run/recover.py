"""Looking after past runs: what the ``session-guard`` commands do, and what a new run does for one that was killed.

Each command is a plan, which can be printed, and its application; both read the same files, so a crash is no other case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from pytest_session_guard._controls.cleanup import Cleanup, Removed
from pytest_session_guard._controls.ledger import Journal, holding, note_closed, read_run
from pytest_session_guard._controls.markers import read_marker
from pytest_session_guard._controls.recovery import (
    HardLinks,
    QuarantinePlan,
    Restored,
    Restorer,
    apply_quarantine,
    finish_restoring,
    plan_quarantine,
)
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import Identity, iter_kind
from pytest_session_guard._core.removal import NOT_RECORDED, RemovalPlan
from pytest_session_guard._core.restoring import (
    SIDE_FILES,
    Preimage,
    RestorePlan,
    left_states,
    plan_restore,
    preimages_of,
    side_files,
    torn_paths,
)
from pytest_session_guard._core.runs import ALIVE, PastRun, RecordedArtifacts, quarantined_paths
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Zone, is_within
from pytest_session_guard._host.identity import identity_of
from pytest_session_guard._run.past import unfinished_runs

UNCERTAIN: Final = "its creation was announced, but the run died before it saw which object it had made"
ZONES_UNKNOWN: Final = "the run died before it wrote down its zones"
REPLACED: Final = "another program replaced it after the run had changed it"

NOTHING_TO_REMOVE: Final = RemovalPlan()
NOTHING_REMOVED: Final = Removed()
EMPTY_QUARANTINE: Final = QuarantinePlan()


class LateJournal:
    """A journal in a past run's directory, made at the first record: looking leaves no trace."""

    def __init__(self, run_directory: str, label: str) -> None:
        self._run_directory = run_directory
        self._label = label
        self._journal: Journal | None = None

    def append(self, record: Mapping[str, Any]) -> None:
        """Put a record on disk.

        :raises LedgerError: it is not on disk.
        """
        if self._journal is None:
            self._journal = Journal(self._run_directory, self._label)
        self._journal.append(record)


# Restore


def plan_restore_run(run: PastRun, paths: Iterable[str] = (), *, force: bool = False) -> RestorePlan:
    """What `restore_run` would do; nothing is changed.

    :param paths: resolved; what lies at or below them is brought back. None means everything.
    :param force: put back even what was changed since the run.
    """
    chosen = tuple(paths)
    images = [
        image
        for image in preimages_of(run.records)
        if not chosen or any(is_within(image.path, one) for path in chosen for one in (path, *side_files(path)))
    ]
    if run.foreign or run.alive:
        return RestorePlan(kept=tuple((image.path, run.obstacle) for image in images))
    restorer = _restorer(run)
    left, torn = left_states(run.records), torn_paths(run.records)
    plan = plan_restore(images, restorer.look, left, run.over_ns, torn=torn, force=force)
    unknown = [path for path in chosen if not any(is_within(image.path, path) for image in images)]
    reason = "the run kept no pre-image of it: it did not change it, or did so where no hook saw it"
    return replace(plan, kept=(*plan.kept, *((path, reason) for path in unknown)))


def restore_run(run: PastRun, paths: Iterable[str] = (), *, force: bool = False) -> Restored:
    """Bring back what the run changed in the workspace; what the run left goes aside into the run's directory.

    :raises LedgerError: the run is alive, or what happens cannot be written down.
    """
    with holding(run.path) as over:
        if not over or run.foreign:
            raise LedgerError(run.path, run.foreign or ALIVE)
        _, stuck = finish_restoring(run.records, f"{run.path}/aside")
        done = _restorer(run).apply(plan_restore_run(run, paths, force=force))
        return replace(done, kept=(*done.kept, *stuck))


def _restorer(run: PastRun) -> Restorer:
    store = f"{run.path}/preimages"
    journal = LateJournal(run.path, "restore")
    return Restorer(store, f"{run.path}/aside", journal.append, HardLinks(store, run.records))


def undo_changes(run: PastRun, paths: Iterable[str]) -> Restored:
    """Bring back these paths while the run still lives: the end of a run in ``report`` mode.

    What another program put there meanwhile is left alone.

    :param run: the run, read after its last change.
    :param paths: what must be as before.
    """
    # A directory that was renamed took along what was in it.
    chosen = {one for path in paths for one in (path, *side_files(path))}
    images = [image for image in preimages_of(run.records) if any(is_within(image.path, one) for one in chosen)]
    foreign = set(_replaced_by_others(run, images))
    left = {one for path in foreign for one in (path, *side_files(path))}
    restorer = _restorer(run)
    ours = [image for image in images if image.path not in left]
    plan = plan_restore(ours, restorer.look, {}, run.over_ns, force=True)
    return restorer.apply(replace(plan, kept=(*plan.kept, *((path, REPLACED) for path in sorted(foreign)))))


def _replaced_by_others(run: PastRun, images: Iterable[Preimage]) -> Iterator[str]:
    """Paths where something stands that is neither the object that was there nor one that the run can have put there."""
    made = RecordedArtifacts(run.records)
    kept = {Identity.parse(record["identity"]) for record in iter_kind(run.records, "preimage")}
    # What the run renamed over a file may come from a free place, where nothing is recorded.
    touches = iter_kind(run.records, "touch")
    renamed = {touch.get("path") for touch in touches if "os.rename" in str(touch.get("operation"))}
    for image in images:
        if image.path in renamed or image.path.endswith(SIDE_FILES):
            continue  # SQLite makes its side files from C
        try:
            found = identity_of(image.path)
        except OSError:
            continue  # nothing stands there
        if found.is_among(kept) is False and made.is_own(found) is False:
            yield image.path


# Clean


@dataclass(frozen=True, slots=True)
class CleanPlan:
    """What becomes of what a killed run left.

    :param removal: its artifacts in ``shared`` places.
    :param quarantine: what a killed removal had begun with.
    """

    run: PastRun
    removal: RemovalPlan = NOTHING_TO_REMOVE
    quarantine: QuarantinePlan = EMPTY_QUARANTINE

    def lines(self) -> list[str]:
        """The plan for people."""
        return [*self.quarantine.lines(), *self.removal.lines()]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was done for a killed run."""

    run: PastRun
    removed: Removed = NOTHING_REMOVED
    quarantine: QuarantinePlan = EMPTY_QUARANTINE

    @property
    def kept(self) -> tuple[tuple[str, str], ...]:
        """What stayed, and why."""
        return (*self.removed.kept, *self.quarantine.uncertain)


def plan_clean(run: PastRun) -> CleanPlan:
    """What `clean_run` would do; nothing is changed."""
    artifacts = RecordedArtifacts(run.records)
    policy = run.policy()
    if run.obstacle or policy is None:
        reason = run.obstacle or ZONES_UNKNOWN
        return CleanPlan(run, RemovalPlan(kept=tuple((path, reason) for path in artifacts.candidates)))
    quarantine = plan_quarantine(f"{run.path}/quarantine", quarantined_paths(run.records), artifacts.is_own)
    plan = _cleanup(run, artifacts).plan(shared_candidates(run))
    kept = [
        (path, UNCERTAIN if reason == NOT_RECORDED and path in artifacts.announced else reason)
        for path, reason in plan.kept
    ]
    return CleanPlan(run, replace(plan, kept=tuple(kept)), quarantine)


def shared_candidates(run: PastRun) -> list[str]:
    """Every path in a ``shared`` place at which something of a run's may stand."""
    policy = run.policy()
    if policy is None:
        return []
    candidates = RecordedArtifacts(run.records).candidates
    return [path for path in candidates if policy.rule_for(path).zone is Zone.SHARED]


def clean_run(run: PastRun) -> Cleaned:
    """Finish what a killed run left: remove its proven artifacts from ``shared`` places, empty its quarantine.

    Every object must have all five proofs of a removal; everything else stays and is listed. Can be killed and repeated.

    :raises LedgerError: the run is alive, its ledger is damaged or not ours, or what happens cannot be written down.
    """
    with holding(run.path) as over:
        now = replace(read_run(run.path), alive=not over)
        if now.obstacle:
            raise LedgerError(run.path, now.obstacle)
        plan = plan_clean(now)
        quarantine = apply_quarantine(plan.quarantine)
        removed = _cleanup(now, RecordedArtifacts(now.records)).apply(plan.removal)
        _, stuck = finish_restoring(now.records, f"{now.path}/aside")
        quarantine = replace(quarantine, uncertain=(*quarantine.uncertain, *stuck))
        cleaned = Cleaned(now, removed, quarantine)
        note_closed(now.path, cleaned.kept)
    return cleaned


def _cleanup(run: PastRun, artifacts: RecordedArtifacts) -> Cleanup:
    policy = run.policy()
    return Cleanup(
        run_id=run.run_id,
        started_ns=lambda path: run.started_ns,
        artifacts=artifacts,
        zone_of=lambda path: Zone.PROTECTED if policy is None else policy.rule_for(path).zone,
        quarantine=f"{run.path}/quarantine",
        journal=LateJournal(run.path, "clean").append,
        marker_of=read_marker,
        ended_ns=run.over_ns,
    )


def clean_all(state_directory: str) -> list[Cleaned]:
    """Finish what all killed runs left; a run whose ledger is damaged is passed over, and named by what `plan_clean` says.

    :raises LedgerError: the ledger cannot be listed, or what happens cannot be written down.
    """
    return [clean_run(run) for run in unfinished_runs(state_directory) if not run.obstacle]
