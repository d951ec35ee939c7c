"""Carries a removal out and trusts nothing that was seen before: files go by way of the quarantine, directories by `rmdir`."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pytest_session_guard._core.errors import LedgerError, NotCreatedByRunError
from pytest_session_guard._core.records import Identity
from pytest_session_guard._core.removal import BESIDE, Kept, Removal, RemovalPlan, plan_removal
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Zone
from pytest_session_guard._host.directories import OpenDirectory
from pytest_session_guard._host.fsops import Raw, make_directory
from pytest_session_guard._host.identity import real_directory, resolve_missing

from .inspection import Artifacts, Inspection
from .selection import matches, resolved, with_contents

CHUNK: Final = 256


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal did."""

    removed: tuple[str, ...] = ()
    kept: Kept = ()


def _no_marker(_path: str) -> object:
    return None


def _nothing(_path: str) -> None:
    return None


class Cleanup:
    """Removes artifacts of one run.

    :param started_ns: the run's start stamp by the clock of the file system that holds a path.
    :param artifacts: the run's record of what it made.
    :param zone_of: the zone of a resolved path.
    :param quarantine: a directory of the run's own; what lies on another file system is quarantined where it lies.
    :param journal: writes a record, or raises `LedgerError`.
    :param forget: told of each path that went.
    :param marker_of: the marker that an object carries, asked only about what the ledger does not know.
    :param is_private: whether a path lies in a directory that the run made for itself and records nothing in (pytest's
        base temporary directory): what is in there counts as recorded.
    :param ended_ns: the last sign of life of a run that is over.
    """

    def __init__(
        self,
        *,
        run_id: str,
        started_ns: Callable[[str], int],
        artifacts: Artifacts,
        zone_of: Callable[[str], Zone],
        quarantine: str,
        journal: Callable[[Mapping[str, Any]], None],
        forget: Callable[[str], None] = _nothing,
        marker_of: Callable[[str], object] = _no_marker,
        is_private: Callable[[str], bool] = lambda path: False,
        ended_ns: int | None = None,
    ) -> None:
        self.inspection = Inspection(
            run_id=run_id,
            started_ns=started_ns,
            artifacts=artifacts,
            zone_of=zone_of,
            marker_of=marker_of,
            is_private=is_private,
            ended_ns=ended_ns,
        )
        self.artifacts = artifacts
        self.zone_of = zone_of
        # Resolved now: a symlink that somebody puts in its place later is not followed.
        self.quarantine = resolve_missing(quarantine)
        self.journal = journal
        self.forget = forget
        # Two processes of one run may clean up at once: the names in quarantine must not meet.
        self._prefix = f"{Raw.getpid()}-{Raw.time_ns():x}-"
        self._count = itertools.count()

    def plan(self, paths: Iterable[str]) -> RemovalPlan:
        """What would go and what would stay, and why; nothing is changed.

        :param paths: resolved; what is not there is passed over.
        """
        self.artifacts.settle()
        return plan_removal(self.inspection.facts(paths))

    def remove(self, *paths: str) -> Removed:
        """Remove these paths and all that is below them, or nothing at all.

        Every object must have all five proofs. What is not there is passed over; a symlink goes, not what it leads to.

        :raises NotCreatedByRunError: a proof is missing; names each such path, and nothing was removed.
        """
        plan = self.plan(with_contents(map(resolved, paths)))
        if plan.kept:
            raise NotCreatedByRunError(plan.kept)
        return self.apply(plan)

    def sweep(self, directory: str, pattern: str) -> Removed:
        """Remove everything in a directory that matches a pattern, or nothing at all.

        :param pattern: matched against names; with a slash in it, against paths relative to ``directory`` (``**``
            crosses directories).
        :returns: what went, what stayed (changed hands between looking and removing) and why.
        :raises NotCreatedByRunError: a match is not the run's; names each, and nothing was removed.
        """
        real = real_directory(directory)
        if real is None:
            return Removed()
        return self.remove(*matches(real.rstrip("/"), pattern))

    def plan_shared(self) -> RemovalPlan:
        """What `clear_shared` would do."""
        self.artifacts.settle()
        known = [*self.artifacts.paths, *self.artifacts.lent]
        shared = [path for path in dict.fromkeys(known) if self.zone_of(path) is Zone.SHARED]
        # A hundred thousand paths need not be asked about twice.
        return plan_removal(self.inspection.facts(shared, lambda path: Zone.SHARED))

    def clear_shared(self) -> Removed:
        """Remove every artifact in ``shared`` places that has all five proofs; the rest stays, each with its reason."""
        return self.apply(self.plan_shared())

    def apply(self, plan: RemovalPlan) -> Removed:
        """Carry out a plan, trusting nothing but the identities in it.

        A file goes through quarantine; what turns out to be another object is put back where it was, or stays in
        quarantine when its name is taken by then.

        :raises LedgerError: the removal cannot be written down first, so it was not begun.
        """
        removed: list[str] = []
        kept: list[tuple[str, str]] = list(plan.kept)
        files = [removal for removal in plan.removals if not removal.directory]
        if files:
            with self._open_quarantine() as quarantine:
                for start in range(0, len(files), CHUNK):
                    self._apply_chunk(files[start : start + CHUNK], quarantine, removed, kept)
        self._remove_directories([removal for removal in plan.removals if removal.directory], removed, kept)
        return Removed(tuple(removed), tuple(sorted(kept)))

    def _open_quarantine(self) -> OpenDirectory:
        try:
            make_directory(self.quarantine)
            return OpenDirectory(self.quarantine)
        except OSError as problem:
            raise LedgerError(self.quarantine, problem.strerror or str(problem)) from problem

    def _apply_chunk(
        self, chunk: list[Removal], quarantine: OpenDirectory, removed: list[str], kept: list[tuple[str, str]]
    ) -> None:
        names = [f"{self._prefix}{next(self._count)}" for _ in chunk]
        # One line for the whole chunk, before the first rename: after a kill it says where each name came from.
        moves = [[removal.path, name] for removal, name in zip(chunk, names, strict=True)]
        self.journal({"kind": "quarantine", "directory": self.quarantine, "moves": moves})
        went: list[str] = []
        parent: OpenDirectory | None = None
        try:
            for removal, quarantined in zip(chunk, names, strict=True):
                directory, _, name = removal.path.rpartition("/")
                try:
                    if parent is None or parent.path != (directory or "/"):
                        if parent is not None:
                            parent.close()
                        parent = None
                        parent = OpenDirectory(directory or "/")
                    problem = _remove_file(parent, name, quarantine, quarantined, removal.identity)
                except FileNotFoundError:
                    problem = "it went by itself"
                except OSError as error:
                    problem = f"it cannot be removed ({error.strerror or error})"
                if problem:
                    kept.append((removal.path, problem))
                else:
                    went.append(removal.path)
        finally:
            if parent is not None:
                parent.close()
            self._went(went)
            removed.extend(went)

    def _remove_directories(self, directories: list[Removal], removed: list[str], kept: list[tuple[str, str]]) -> None:
        went: list[str] = []
        for removal in directories:
            directory, _, name = removal.path.rpartition("/")
            try:
                with OpenDirectory(directory or "/") as parent:
                    if parent.look(name).identity != removal.identity:
                        kept.append((removal.path, "another directory stands there by now"))
                        continue
                    parent.rmdir(name)
                went.append(removal.path)
            except FileNotFoundError:
                kept.append((removal.path, "it went by itself"))
            except OSError as problem:
                kept.append((removal.path, _why_directory_stays(problem)))
        self._went(went)
        removed.extend(went)

    def _went(self, paths: list[str]) -> None:
        if paths:
            self.journal({"kind": "removed", "paths": paths})
            for path in paths:
                self.forget(path)


def _why_directory_stays(problem: OSError) -> str:
    if problem.errno in (errno.ENOTEMPTY, errno.EEXIST):
        return "something is in it that is not removed"
    return f"it cannot be removed ({problem.strerror or problem})"


def _remove_file(
    parent: OpenDirectory, name: str, quarantine: OpenDirectory, quarantined: str, identity: Identity
) -> str:
    """Remove one file through quarantine; ``""``, or why it stays."""
    where = quarantine
    try:
        parent.rename(name, where, quarantined)
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise
        # Another file system: quarantined beside itself, under a name that nobody else uses.
        where, quarantined = parent, f"{BESIDE}{quarantined}"
        parent.rename(name, where, quarantined)
    if where.holds_file(quarantined, identity):
        where.unlink(quarantined)
        return ""
    try:
        where.move_if_free(quarantined, parent, name)
    except OSError as problem:
        return f"another object stood there, now at {f'{where.path}/{quarantined}'!r} ({problem.strerror or problem})"
    return "another object stands there by now"
