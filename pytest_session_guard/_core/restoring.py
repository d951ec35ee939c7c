"""What a run changed, and how to bring it back: pure, from the ledger's records to a plan that can be printed.

A pre-image is what stood at a path before the run's first change to it. The plan puts it back where the run left it
changed, and leaves alone what somebody else has changed since.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, field, fields, replace
from typing import Any, Final, Literal

from pytest_session_guard._core.records import Identity, iter_kind
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import is_within

How = Literal["link", "copy", "symlink", "directory", "absent"]
Action = Literal["create", "replace", "metadata", "remove"]

# (device, inode, size, mtime_ns, ctime_ns) of an object; None is "nothing stands there".
State = tuple[int, int, int, int, int] | None

CHANGED_SINCE: Final = "it was changed after the run; the run's pre-image is older"
AS_IT_WAS: Final = "it is as it was before the run"
COPY_GONE: Final = "its pre-image is gone or damaged"
COPY_CHANGED: Final = "its pre-image was written to later, through another name of the file"
PARTED: Final = "came back as a file of its own: it had other names, and they lead to another one now"
BELONGS_TO: Final = "it belongs to {!r}, which is left alone: {}"
# What SQLite needs beside a database to read it; the shared index (-shm) is made anew.
SIDE_FILES: Final = ("-wal", "-journal")


def side_files(path: str) -> tuple[str, ...]:
    """Where SQLite keeps the log and the journal of a database."""
    return tuple(f"{path}{end}" for end in SIDE_FILES)


@dataclass(frozen=True, slots=True)
class Preimage:
    """What stood at a path before the run changed it.

    :param copy: its name in the run's store; ``""`` for directories and symlinks, whose record is all there is.
    :param how: ``link``: the object itself, under another name; ``copy``: its bytes; ``absent``: nothing stood there, and what
        the run left there would be taken for a part of a database that comes back.
    :param names: how many hard links it had, without the store's.
    :param xattrs: extended attributes, values in base64.
    :param target: where a symlink points.
    """

    path: str
    how: How
    identity: Identity
    copy: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    atime_ns: int = 0
    mtime_ns: int = 0
    names: int = 1
    time_ns: int = 0
    target: str = ""
    xattrs: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The pre-image as a journal record."""
        return {"kind": "preimage", **asdict(self), "identity": self.identity.to_json()}

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Preimage:
        """Read what `to_json` wrote; fields of newer versions are passed over.

        :raises ValueError: a field that this version needs is not there.
        """
        known = {name: value[name] for name in PREIMAGE_FIELDS if name in value}
        try:
            return cls(**{**known, "identity": Identity.parse(value.get("identity"))})
        except TypeError as problem:
            raise ValueError(f"not a pre-image: {problem}") from None


PREIMAGE_FIELDS: Final = tuple(entry.name for entry in fields(Preimage))


def state_of(found: os.stat_result | None) -> State:
    """What must be equal for an object to count as unchanged."""
    if found is None:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@dataclass(frozen=True, slots=True)
class Now:
    """What stands at a path at this moment.

    :param same: it is what the pre-image says: content, mode and times.
    :param copy_usable: the stored copy is there and whole.
    :param copy_intact: what is stored, another name of the file itself, is as it was then.
    :param directory: what stands there is one.
    :param blocked: why nothing can be put there as things are: something on the way is no directory; ``""`` where it can.
    """

    state: State
    same: bool = False
    copy_usable: bool = True
    copy_intact: bool = True
    directory: bool = False
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One object to bring back.

    :param action: ``create``: its name is free; ``replace``: what the run left goes aside; ``metadata``: mode, owner,
        times and attributes alone; ``remove``: what the run left goes aside, and nothing comes in its place.
    """

    action: Action
    preimage: Preimage


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What is brought back, parents first, and what is left alone and why."""

    steps: tuple[Step, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()

    def lines(self) -> list[str]:
        """The plan for people, one line an object."""
        words = {"create": "restore ", "replace": "put back", "metadata": "reset   ", "remove": "set aside"}
        back = [f"{words[step.action]} {step.preimage.path!r}" for step in self.steps]
        return [*back, *(f"leave    {path!r}: {reason}" for path, reason in self.kept)]


def preimages_of(records: Sequence[Mapping[str, Any]]) -> list[Preimage]:
    """The pre-images that count, one a path, parents first.

    Left out are objects that the run itself had made (another process of it kept them before it knew) and new names of
    objects that the run had renamed. Where a path has several, somebody else replaced it meanwhile: the last one counts.
    """
    made = {Identity.parse(record["identity"]) for record in iter_kind(records, "created") if "identity" in record}
    first: dict[Identity, Preimage] = {}
    copies: dict[Identity, str] = {}
    latest: dict[str, Preimage] = {}
    found = sorted(
        (Preimage.parse(record) for record in iter_kind(records, "preimage")), key=lambda image: image.time_ns
    )
    for image in found:
        if image.how == "absent":
            latest.setdefault(image.path, image)
            continue
        if image.identity in made:
            continue
        # Size, mode and times are those of the first record: later ones were taken when the object had changed already.
        original = first.setdefault(image.identity, image)
        if image.how == "copy":
            copies.setdefault(image.identity, image.copy)
        # One that had other names when the run came to it may have lost all but this one since.
        if original.path != image.path and max(original.names, image.names) < 2:
            continue
        before = latest.get(image.path)
        if before is None or (before.identity != image.identity and before.how != "absent"):
            latest[image.path] = replace(original, path=image.path, how=image.how, copy=image.copy, target=image.target)
    # What was linked first and written to afterwards, maybe under another name, was copied in between.
    for path, image in latest.items():
        if image.how == "link" and image.identity in copies:
            latest[path] = replace(image, how="copy", copy=copies[image.identity])
    return sorted(latest.values(), key=lambda image: (image.path.count("/"), image.path))


def changed_paths(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Paths of which a pre-image was kept, in order."""
    images = iter_kind(records, "preimage")
    return list(dict.fromkeys(str(record["path"]) for record in images if record.get("how") != "absent"))


def left_states(records: Iterable[Mapping[str, Any]]) -> dict[str, State]:
    """How the run left each path that it had changed; only runs that ended by themselves say so."""
    states: dict[str, State] = {}
    for record in records:
        match record:
            case {"kind": "left", "path": str() as path, "state": None}:
                states[path] = None
            case {"kind": "left", "path": str() as path, "state": [dev, ino, size, mtime, ctime]}:
                states[path] = (dev, ino, size, mtime, ctime)
    return states


def torn_paths(records: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Paths of files that a killed restore was writing to."""
    begun: dict[str, int] = {}
    done: dict[str, int] = {}
    for record in records:
        match record:
            case {"kind": "overwriting" | "overwritten" as kind, "path": str() as path, "time_ns": int() as time_ns}:
                # Each restore has a journal of its own, so only the times tell the order.
                times = begun if kind == "overwriting" else done
                times[path] = max(times.get(path, 0), time_ns)
    return frozenset(path for path, time_ns in begun.items() if time_ns > done.get(path, 0))


def plan_restore(
    preimages: Iterable[Preimage],
    look: Callable[[Preimage], Now],
    left: Mapping[str, State],
    over_ns: int,
    *,
    torn: Collection[str] = (),
    force: bool = False,
) -> RestorePlan:
    """The plan that brings pre-images back where nothing newer stands.

    :param look: says what stands at a pre-image's path.
    :param left: how the run left things, as far as it could say.
    :param over_ns: when the run was over (`PastRun.over_ns`); decides about paths that are not in ``left``.
    :param torn: `torn_paths`, which are brought back whatever they hold.
    :param force: put back even what was changed since; it goes aside like everything that is replaced.
    """
    steps: list[Step] = []
    kept: list[tuple[str, str]] = []
    seen = [(image, look(image)) for image in preimages]
    reasons: dict[str, str] = {}
    cleared: list[str] = []
    for image, now in seen:
        reason = _reason_to_leave(image, now, left, over_ns, force=force or image.path in torn)
        # What stands in the way of one that is brought back goes aside first.
        if reason == "" and now.blocked and not any(is_within(image.path, path) for path in cleared):
            reason = now.blocked
        if reason == "" and image.how == "directory" and _action(image, now) == "replace":
            cleared.append(image.path)
        reasons[image.path] = reason
    _hold_databases_together(reasons)
    for image, now in seen:
        reason = reasons[image.path]
        if image.how == "absent" and reason == AS_IT_WAS:
            continue  # nothing stood there, and nothing does
        if reason:
            kept.append((image.path, reason))
        else:
            steps.append(Step(_action(image, now), image))
    return RestorePlan(tuple(steps), tuple(kept))


def _hold_databases_together(reasons: dict[str, str]) -> None:
    """A database with the log of another moment is damaged: where one of them is left alone, all are."""
    for path in list(reasons):
        parts = [part for part in (path, *side_files(path)) if part in reasons]
        stays = next((part for part in parts if reasons[part] not in ("", AS_IT_WAS)), "")
        if len(parts) > 1 and stays:
            for part in parts:
                if part != stays and reasons[part] == "":
                    reasons[part] = BELONGS_TO.format(stays, reasons[stays])


def _action(image: Preimage, now: Now) -> Action:
    if image.how == "absent":
        return "remove"
    if now.state is None:
        return "create"
    return "metadata" if image.how == "directory" and now.directory else "replace"


def _reason_to_leave(image: Preimage, now: Now, left: Mapping[str, State], over_ns: int, *, force: bool) -> str:
    if now.same:
        return AS_IT_WAS
    if not now.copy_usable:
        return COPY_GONE
    if not now.copy_intact and not force:
        return COPY_CHANGED
    if now.state is None or force:
        return ""
    if image.path in left:
        return "" if left[image.path] == now.state else CHANGED_SINCE
    ctime_ns = now.state[4]
    return CHANGED_SINCE if ctime_ns > over_ns else ""
