"""Past runs, as their directories tell: what they made, what they left, and how long their records are kept; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from pytest_session_guard._core.records import Identity, grain_ns, iter_kind
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Policy, Rule, Zone

KEEP_RUNS: Final = 10
KEEP_BYTES: Final = 2 * 1024**3
ALIVE: Final = "the run is alive"
DELETED: Final = "was deleted meanwhile"
# Where upper layers lie, or memory is mounted for them.
LAYERS_DIRECTORY: Final = "overlay"
LOCK_FILE: Final = "lock"
"""In a run's directory: held for as long as the run lives."""
CLOSED_FILE: Final = "closed.json"
"""In a run's directory: nothing is left to be done."""
ENDED_FILE: Final = "ended"
"""In a run's directory: written to when its last process had gone and nobody had closed it, by one that saw it go."""
LAST_BREATH_NS: Final = 2_000_000_000
"""So long after its last record a run may have gone on changing what it had made, where nobody saw it go."""


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run, read from its directory.

    :param last_sign_ns: when it last wrote to its ledger.
    :param seen_ending_ns: when somebody saw it go; 0 where nobody did.
    :param alive: it still holds its lock, or nobody can tell.
    :param closed: it ended by itself, or somebody finished what it had left.
    :param foreign: why its directory is not to be trusted or not this machine's; ``""`` where it is.
    :param copied: why nobody can tell whether it lives, though nobody holds the lock: its directory is a copy of the one that
        it made, and it had not ended then.
    :param damaged: lines that are no records, in the middle of journals; with any, nothing is removed on its word.
    :param kept: what somebody who finished what it had left kept all the same, and why.
    :param size_bytes: room that its directory takes.
    """

    run_id: str
    path: str
    started_ns: int = 0
    last_sign_ns: int = 0
    seen_ending_ns: int = 0
    alive: bool = False
    closed: bool = False
    foreign: str = ""
    copied: str = ""
    header: Mapping[str, Any] = field(default_factory=dict)
    records: Sequence[Mapping[str, Any]] = ()
    damaged: tuple[str, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()
    size_bytes: int = 0

    @property
    def state(self) -> str:
        """One word for people."""
        if self.foreign:
            return "foreign"
        if self.alive:
            return "alive"
        if self.copied:
            return "copied"
        return "ended" if self.closed else "killed"

    @property
    def over_ns(self) -> int:
        """After this it has changed nothing any more, as far as anybody can tell."""
        if self.seen_ending_ns:
            # On another file system than the ledger's a stamp of the same moment may be finer.
            return max(self.seen_ending_ns + grain_ns(self.seen_ending_ns), self.last_sign_ns)
        return self.last_sign_ns + LAST_BREATH_NS

    @property
    def obstacle(self) -> str:
        """Why nothing may be removed on this run's word, one clause; ``""`` where it may."""
        if self.foreign:
            return self.foreign
        if self.alive:
            return ALIVE
        if self.copied:
            return self.copied
        if self.damaged:
            return f"its ledger is damaged: {', '.join(self.damaged)}"
        return ""

    def count(self, kind: str) -> int:
        """How many records of a kind its ledger holds."""
        return sum(1 for _ in iter_kind(self.records, kind))

    def policy(self) -> Policy | None:
        """The zones that the run went by, or ``None`` when its header does not say."""
        zones = self.header.get("zones")
        if not isinstance(zones, list):
            return None
        try:
            return Policy(tuple(Rule(Zone(entry["zone"]), entry["path"]) for entry in zones))
        except (KeyError, TypeError, ValueError):
            return None


class RecordedArtifacts:
    """What a run made, from its records alone."""

    def __init__(self, records: Iterable[Mapping[str, Any]]) -> None:
        self.paths: dict[str, Identity] = {}
        self.lent: dict[str, Identity] = {}
        self.announced: set[str] = set()
        self._by_number: dict[tuple[int, int], set[Identity]] = {}
        for record in records:
            self._learn(record)

    def _learn(self, record: Mapping[str, Any]) -> None:
        match record:
            case {"kind": "intent", "path": str() as path}:
                self.announced.add(path)
            case {"kind": "created", "path": str() as path, "identity": identity}:
                found = self.paths[path] = Identity.parse(identity)
                self._by_number.setdefault((found.device, found.inode), set()).add(found)
            case {"kind": "lent", "path": str() as path, "identity": identity}:
                self.lent[path] = Identity.parse(identity)
            case {"kind": "moved", "path": str() as source, "to": str() as target}:
                self._move(source, target)

    def _move(self, source: str, target: str) -> None:
        # The old names stay as well: the rename was written down before it happened, and may not have.
        for known in (self.paths, self.lent):
            for path in [path for path in known if path == source or path.startswith(source + "/")]:
                known[target + path[len(source) :]] = known[path]

    @property
    def candidates(self) -> list[str]:
        """Every path at which something of the run's may stand."""
        return sorted({*self.paths, *self.lent, *self.announced})

    def is_own(self, identity: Identity) -> bool | None:
        """Whether the run made this very object; ``None`` when nothing tells it from a later one with its number."""
        return identity.is_among(self._by_number.get((identity.device, identity.inode), ()))

    def settle(self) -> None:
        """Nothing to do: what was not settled while the run lived stays unsettled."""


def quarantined_paths(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Names in quarantine → the paths that they came from."""
    homes: dict[str, str] = {}
    for record in iter_kind(records, "quarantine"):
        for move in record.get("moves", ()):
            match move:
                case [str() as path, str() as name]:
                    homes[name] = path
    return homes


def plan_retention(runs: Iterable[PastRun], keep_runs: int = KEEP_RUNS, keep_bytes: int = KEEP_BYTES) -> list[PastRun]:
    """The runs whose records go, oldest first: beyond the newest ``keep_runs``, or beyond ``keep_bytes`` in all.

    Runs that are alive, not finished, not ours or not readable stay whatever their number: something may depend on them.
    The newest run stays whatever its size.
    """
    going: list[PastRun] = []
    total = 0
    # Run ids begin with the time, and clocks jump: the count decides, the time only the order.
    for rank, run in enumerate(sorted(runs, key=lambda run: run.run_id, reverse=True)):
        total += run.size_bytes
        over = rank >= keep_runs or (rank > 0 and total > keep_bytes)
        if over and run.closed and not run.obstacle:
            going.append(run)
    return going[::-1]
