"""What stands at the paths of a removal, with all that its proofs need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from pytest_session_guard._core.records import Identity, is_marker_of
from pytest_session_guard._core.removal import Fact
from pytest_session_guard._core.zones import Zone
from pytest_session_guard._host.directories import OpenDirectory, is_directory
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.identity import look

from .side_files import SIDE_FILES, database_of, is_made_by_sqlite

REMOVABLE: Final = frozenset({Zone.FREE, Zone.WORKSPACE, Zone.SHARED})


class Artifacts(Protocol):
    """What the ledger knows of the run's creations."""

    paths: dict[str, Identity]
    lent: dict[str, Identity]

    def is_own(self, identity: Identity) -> bool | None:
        """Whether the run made this object; ``None`` when nothing tells it from a later one with its number."""

    def settle(self) -> None:
        """Look at what was about to be created."""


class Inspection:
    """Looks for a removal; the parameters are those of `Cleanup`."""

    def __init__(
        self,
        *,
        run_id: str,
        started_ns: Callable[[str], int],
        artifacts: Artifacts,
        zone_of: Callable[[str], Zone],
        marker_of: Callable[[str], object],
        is_private: Callable[[str], bool],
        ended_ns: int | None,
    ) -> None:
        self._run_id = run_id
        self._started_ns = started_ns
        self._artifacts = artifacts
        self._zone_of = zone_of
        self._marker_of = marker_of
        self._is_private = is_private
        self._ended_ns = ended_ns

    def facts(self, paths: Iterable[str], zone_of: Callable[[str], Zone] | None = None) -> Iterator[Fact]:
        """What is there, of these paths; nothing is changed.

        :param paths: resolved; what is not there is passed over.
        :param zone_of: where the zone of them all is known already.
        """
        zone_of = zone_of or self._zone_of
        for directory, names in _by_directory(paths).items():
            try:
                opened = OpenDirectory(directory)
            except (FileNotFoundError, NotADirectoryError, PermissionError) as problem:
                yield from self._unreachable(directory, names, problem)
                continue
            with opened:
                above = f"{directory.rstrip('/')}/"
                start_ns = self._started_ns(f"{above}{names[0]}")
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
        zone = self._zone_of(directory)
        foreign: set[int] = set()
        owner = 0
        while zone in REMOVABLE and self._zone_of(directory) is zone:
            try:
                owner = Raw.lstat(directory).st_uid
                if owner and self._artifacts.is_own(look(directory).identity) is not True:
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
            yield Fact(path, self._artifacts.paths.get(path, Identity(0, 0)), symlink_on_way=True)

    def _fact(
        self, parent: OpenDirectory, name: str, path: str, zone_of: Callable[[str], Zone], start_ns: int
    ) -> Fact | None:
        try:
            seen = parent.look(name)
        except OSError:
            return None  # gone by itself
        same = self._artifacts.is_own(seen.identity)
        if same is False and self._is_side_file(parent, name):
            same = True
        directory = is_directory(seen)
        own = same is True  # nearly always, and there may be a hundred thousand: nothing more is asked about those
        private = not own and self._is_private(path)
        return Fact(
            path,
            seen.identity,
            directory=directory,
            entries=_entries(parent, name) if directory else frozenset(),
            recorded=own or private or same is None or path in self._artifacts.paths,
            tagged=not own and not private and is_marker_of(self._marker_of(path), self._run_id),
            lent=None if own else self._is_lent(path, seen.identity),
            same_object=True if private else same,
            mtime_ns=seen.mtime_ns,
            ctime_ns=seen.ctime_ns,
            start_ns=0 if private else start_ns,
            end_ns=self._ended_ns,
            zone_allows=private or zone_of(path) in REMOVABLE,
        )

    def _is_lent(self, path: str, identity: Identity) -> bool | None:
        known = self._artifacts.lent.get(path)
        if known is not None:
            return identity.is_same_object(known) is not False
        # What SQLite made beside a database is as little told of.
        return True if database_of(path) in self._artifacts.lent else None

    def _is_side_file(self, parent: OpenDirectory, name: str) -> bool:
        """Whether SQLite made a file for a database of the run's own."""
        database = database_of(name)
        try:
            is_beside_own = bool(database) and self._artifacts.is_own(parent.look(database).identity) is True
        except OSError:
            return False
        return is_beside_own and is_made_by_sqlite(parent, name)


def _with_side_files(directory: OpenDirectory, names: list[str]) -> list[str]:
    try:
        present = directory.names()
    except OSError:
        return names
    side = [name for name in present if name.endswith(SIDE_FILES)]
    if not side:
        return names
    wanted = set(names)
    fresh = [name for name in sorted(side) if name not in wanted and database_of(name) in wanted]
    return [*names, *(name for name in fresh if is_made_by_sqlite(directory, name))]


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
