"""A ledger that is not where its run had it: moved with its checkout, or copied with it; pure.

Records name paths as the run saw them. In a checkout that was moved or copied they lead to the old place, where nothing is
now, or the files of the original.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from pytest_session_guard._core.records import Identity
from pytest_session_guard._core.zones import is_within

COPIED: Final = "is a copy of the ledger that the run has in {!r}, and cannot tell whether the run lives"


class Birthplace(NamedTuple):
    """Where a run made its directory, and which directory that was.

    :param boot: the start of the machine in which that was so: device numbers may be others in the next.
    """

    path: str
    identity: Identity
    boot: str

    def to_json(self) -> dict[str, Any]:
        """The birthplace as a part of the run's header, which has the boot already."""
        return {"path": self.path, "identity": self.identity.to_json()}

    @classmethod
    def of_header(cls, header: Mapping[str, Any]) -> Birthplace | None:
        """Read what `to_json` wrote; ``None`` where an older version wrote the header, which says nothing of it."""
        match header.get("directory"):
            case {"path": str() as path, "identity": identity}:
                return cls(path, Identity.parse(identity), str(header.get("boot", "")))
        return None

    def is_of(self, found: Identity, boot: str) -> bool:
        """Whether a directory may be the one that the run made: yes, unless something tells them apart."""
        if self.boot != boot:
            found = found._replace(device=self.identity.device)
        if found.birth_ns is not None and self.identity.birth_ns is not None:
            # The inode number of a directory is not for life everywhere (overlays); the moment of its birth is.
            return (found.device, found.birth_ns) == (self.identity.device, self.identity.birth_ns)
        return self.identity.is_same_object(found) is not False


class Move(NamedTuple):
    """A checkout that is now elsewhere, with all that is in it."""

    source: str
    target: str

    @classmethod
    def between(cls, run_path: str, found_path: str, rootdir: str) -> Move | None:
        """How a checkout moved, by where its run's directory was and is; ``None`` where that does not lie in it."""
        inside = run_path.removeprefix(rootdir)
        if not rootdir or not is_within(run_path, rootdir) or not found_path.endswith(inside):
            return None
        return cls(rootdir, found_path.removesuffix(inside))

    def follow(self, path: Any) -> Any:  # what a ledger holds may be anything
        """Where a path leads now; what does not lie in the checkout is where it was."""
        if not isinstance(path, str) or not is_within(path, self.source):
            return path
        return self.target + path[len(self.source) :]

    def record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A journal's record, told of the new place."""
        told = dict(record)
        for key in ("path", "to"):
            if key in told:
                told[key] = self.follow(told[key])
        match record:
            case {"kind": "quarantine", "moves": [*moves]}:
                told["moves"] = [
                    [self.follow(move[0]), *move[1:]] if isinstance(move, list) and move else move for move in moves
                ]
        return told

    def records(self, records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """All of them."""
        return [self.record(record) for record in records]

    def header(self, header: Mapping[str, Any]) -> dict[str, Any]:
        """A run's header, told of the new place: it has the zones that decide what may be removed."""
        told = {**header, "rootdir": self.follow(header.get("rootdir"))}
        match header.get("zones"):
            case [*zones]:
                told["zones"] = [
                    {**zone, "path": self.follow(zone["path"])} if isinstance(zone, dict) and "path" in zone else zone
                    for zone in zones
                ]
        return told
