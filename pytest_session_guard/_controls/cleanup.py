"""Removing what the run made: look, plan, apply.

`Cleanup.plan` looks and decides; `Cleanup.apply` carries a plan out and trusts nothing that was seen before: each file is
renamed into quarantine first, looked at there, where nobody else has a name for it, and unlinked only when it is the very
object of the plan. Any other object goes back to its name unless that is taken by then; in that case it stays in
quarantine and is listed. Directories go by `rmdir` alone.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pytest_session_guard._core.errors import LedgerError, NotCreatedByRunError
from pytest_session_guard._core.records import Identity, is_marker_of
from pytest_session_guard._core.removal import BESIDE, Fact, Kept, Removal, RemovalPlan, plan_removal
from pytest_session_guard._core.zones import Zone, compile_glob
from pytest_session_guard._host.directories import OpenDirectory, is_directory
from pytest_session_guard._host.fsops import Raw, make_directory
from pytest_session_guard._host.identity import look, real_directory, resolve_missing

REMOVABLE: Final = frozenset({Zone.FREE, Zone.WORKSPACE, Zone.SHARED})
CHUNK: Final = 256
# SQLite makes these beside a database from C, where no hook sees it, and takes them away with the last connection.
SIDE_FILES: Final = ("-wal", "-shm", "-journal")


class Artifacts(Protocol):
    """What the ledger knows of the run's creations."""

    paths: dict[str, Identity]

    def is_own(self, identity: Identity) -> bool | None:
        """Whether the run made this object; ``None`` when nothing tells it from a later one with its number."""

    def settle(self) -> None:
        """Look at what was about to be created."""


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
        self.run_id = run_id
        self.started_ns = started_ns
        self.artifacts = artifacts
        self.zone_of = zone_of
        # Resolved now: a symlink that somebody puts in its place later is not followed.
        self.quarantine = resolve_missing(quarantine)
        self.journal = journal
        self.forget = forget
        self.marker_of = marker_of
        self.is_private = is_private
        self.ended_ns = ended_ns
        # Two processes of one run may clean up at once: the names in quarantine must not meet.
        self._prefix = f"{Raw.getpid()}-{Raw.time_ns():x}-"
        self._count = itertools.count()

    # Looking

    def plan(self, paths: Iterable[str]) -> RemovalPlan:
        """What would go and what would stay, and why; nothing is changed.

        :param paths: resolved; what is not there is passed over.
        """
        self.artifacts.settle()
        return plan_removal(self._facts(paths, self.zone_of))

    def _facts(self, paths: Iterable[str], zone_of: Callable[[str], Zone]) -> Iterator[Fact]:
        for directory, names in _by_directory(paths).items():
            try:
                opened = OpenDirectory(directory)
            except (FileNotFoundError, NotADirectoryError, PermissionError) as problem:
                yield from self._unreachable(directory, names, problem)
                continue
            with opened:
                above = f"{directory.rstrip('/')}/"
                start_ns = self.started_ns(f"{above}{names[0]}")
                foreign = self._is_foreign(directory)
                for name in _with_side_files(opened, names):
                    fact = self._fact(opened, name, f"{above}{name}", zone_of, start_ns)
                    if fact is not None:
                        yield fact._replace(foreign_on_way=foreign) if foreign else fact

    def _is_foreign(self, directory: str) -> bool:
        """Whether root would clean up in somebody's house: a directory of a user who owns neither the place nor the run.

        What another user may change names in is no ground for root to act on. The place is all of one zone, and its owner
        is that of its topmost directory; what the run made itself may belong to anybody (a test that drops its rights).
        """
        if Raw.geteuid is None or Raw.geteuid() != 0:
            return False
        zone = self.zone_of(directory)
        foreign: set[int] = set()
        owner = 0
        while zone in REMOVABLE and self.zone_of(directory) is zone:
            try:
                owner = Raw.lstat(directory).st_uid
                if owner and self.artifacts.is_own(look(directory).identity) is not True:
                    foreign.add(owner)
            except OSError:
                return True  # it went, or hides: not known to be anybody's own
            if directory == "/":
                break
            directory = directory.rpartition("/")[0] or "/"
        return bool(foreign - {owner})

    def _unreachable(self, directory: str, names: list[str], problem: OSError) -> Iterator[Fact]:
        if isinstance(problem, FileNotFoundError):
            return
        for name in names:
            path = f"{directory.rstrip('/')}/{name}"
            yield Fact(path, self.artifacts.paths.get(path, Identity(0, 0)), symlink_on_way=True)

    def _fact(
        self, parent: OpenDirectory, name: str, path: str, zone_of: Callable[[str], Zone], start_ns: int
    ) -> Fact | None:
        try:
            seen = parent.look(name)
        except OSError:
            return None  # gone by itself
        same = self.artifacts.is_own(seen.identity)
        if same is False and self._is_side_file(parent, name):
            same = True
        directory = is_directory(seen)
        own = same is True  # nearly always, and there may be a hundred thousand: nothing more is asked about those
        private = not own and self.is_private(path)
        return Fact(
            path,
            seen.identity,
            directory=directory,
            entries=_entries(parent, name) if directory else frozenset(),
            recorded=own or private or same is None or path in self.artifacts.paths,
            tagged=not own and not private and is_marker_of(self.marker_of(path), self.run_id),
            same_object=True if private else same,
            mtime_ns=seen.mtime_ns,
            ctime_ns=seen.ctime_ns,
            start_ns=0 if private else start_ns,
            end_ns=self.ended_ns,
            zone_allows=private or zone_of(path) in REMOVABLE,
        )

    def _is_side_file(self, parent: OpenDirectory, name: str) -> bool:
        """Whether SQLite made a file for a database of the run's own: it belongs to that and is of no use without."""
        suffix = next((suffix for suffix in SIDE_FILES if name.endswith(suffix)), "")
        try:
            return bool(suffix) and self.artifacts.is_own(parent.look(name.removesuffix(suffix)).identity) is True
        except OSError:
            return False

    # Removing

    def remove(self, *paths: str) -> Removed:
        """Remove these paths and all that is below them, or nothing at all.

        Every object must have all five proofs. What is not there is passed over; a symlink goes, not what it leads to.

        :raises NotCreatedByRunError: a proof is missing; names each such path, and nothing was removed.
        """
        plan = self.plan(_with_contents(map(_resolved, paths)))
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
        return self.remove(*_matches(real.rstrip("/"), pattern))

    def plan_shared(self) -> RemovalPlan:
        """What `clear_shared` would do."""
        self.artifacts.settle()
        shared = [path for path in list(self.artifacts.paths) if self.zone_of(path) is Zone.SHARED]
        # A hundred thousand paths need not be asked about twice.
        return plan_removal(self._facts(shared, lambda path: Zone.SHARED))

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


def _with_side_files(directory: OpenDirectory, names: list[str]) -> list[str]:
    try:
        present = directory.names()
    except OSError:
        return names
    side = [name for name in present if name.endswith(SIDE_FILES)]
    if not side:
        return names
    wanted = set(names)
    return [*names, *(name for name in sorted(side) if name not in wanted and name.rpartition("-")[0] in wanted)]


def _by_directory(paths: Iterable[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for path in paths:
        directory, _, name = path.rpartition("/")
        grouped.setdefault(directory or "/", []).append(name)
    return grouped


def _entries(parent: OpenDirectory, name: str) -> frozenset[str] | None:
    try:
        with parent.enter(name) as inner:
            return inner.names()
    except OSError:
        return None


def _resolved(path: str) -> str:
    """An absolute path whose parent is real; the last component stays what it is."""
    full = path if path.startswith("/") else f"{Raw.getcwd()}/{path}"
    head, _, name = full.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        return real_directory(full) or full
    real = real_directory(head or "/")
    return full if real is None else f"{real.rstrip('/')}/{name}"


def _with_contents(paths: Iterable[str]) -> Iterator[str]:
    """The paths and all that lies below them, symlinks not followed."""
    seen: set[str] = set()
    pending = list(paths)[::-1]
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        yield path
        try:
            if is_directory(look(path)):
                pending.extend(f"{path}/{name}" for name in Raw.listdir(path))
        except OSError:
            continue  # gone, or not to be listed: the plan says so


def _matches(directory: str, pattern: str) -> list[str]:
    expression = compile_glob(pattern)
    if "/" not in pattern and "**" not in pattern:
        return [f"{directory}/{name}" for name in sorted(Raw.listdir(directory)) if expression.fullmatch(name)]
    start = len(directory) + 1
    return sorted(path for path in _with_contents([directory]) if expression.fullmatch(path[start:]))
