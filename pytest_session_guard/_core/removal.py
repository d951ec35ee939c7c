"""What may be removed, and why everything else stays: pure, so that a plan can be printed instead of carried out.

The run may remove an object only with all of five proofs: it is recorded as made by this run, it is the same object
still, it is not older than the run, it lies in a place of the run's, and (a directory) everything in it goes too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from pytest_session_guard._core.records import BIRTH_GOES_BACK, Identity
from pytest_session_guard._core.values import dataclass

NOT_RECORDED = "its creation by this run is not recorded"
NOT_TOLD = (
    "nothing here tells whether the run made it or another program did, so it is left to you; what a test says it has "
    "made (session_guard.artifact) goes with the run"
)
ANOTHER_OBJECT = "another object stands there now"
NOT_TELLABLE = "neither a birth time nor a file handle tells it from a later object with the same number"
OLDER_THAN_RUN = "its {what} time is before the start of the run"
NOT_ITS_PLACE = "it lies outside the places where the run may remove"
THROUGH_SYMLINK = "a symlink is on the way to it"
ANOTHER_USER = "a directory on the way to it belongs to another user"
CHANGED_LATER = "it was changed after the run had ended"
UNREADABLE = "what is in it cannot be listed"

# The guard's own, for a moment, beside what it works on.
OWN_NAMES: Final = ".session-guard-"
# What cannot be renamed into the run's directory is quarantined where it lies, under this and its name in quarantine.
BESIDE: Final = f"{OWN_NAMES}quarantine-"


class Fact(NamedTuple):
    """What was seen at a path that is to be removed.

    :param path: absolute and resolved.
    :param identity: of the object that stands there.
    :param entries: names in a directory; ``None`` when they cannot be listed.
    :param recorded: the ledger has the creation of an object at this path, or of this object at another path.
    :param tagged: the object carries this run's marker.
    :param lent: it is the object that came to this path when the run had announced it, and nobody tells who made it;
        ``None`` where there was none.
    :param same_object: it is the recorded object; ``None`` when nothing can tell.
    :param start_ns: the run's start by the clock of this file system.
    :param ctime_ns: the time of its last change of any kind, which cannot be set from outside.
    :param end_ns: the last sign of life of a run that is over; ``None`` while it lives.
    :param zone_allows: the zone is one in which the run may create.
    :param symlink_on_way: a component above it is a symlink now.
    :param foreign_on_way: the run is root's, and a directory above it belongs to a user whose place this is not.
    """

    path: str
    identity: Identity
    directory: bool = False
    entries: frozenset[str] | None = frozenset()
    recorded: bool = False
    tagged: bool = False
    lent: bool | None = None
    same_object: bool | None = None
    mtime_ns: int = 0
    ctime_ns: int = 0
    start_ns: int = 0
    end_ns: int | None = None
    zone_allows: bool = False
    symlink_on_way: bool = False
    foreign_on_way: bool = False


class Removal(NamedTuple):
    """One object that goes: the name, and the object that must be found under it."""

    path: str
    identity: Identity
    directory: bool = False


Kept = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RemovalPlan:
    """What goes, in order (files, then directories from the inside out), and what stays, each with its reason."""

    removals: tuple[Removal, ...] = ()
    kept: Kept = ()

    def lines(self) -> list[str]:
        """The plan for people, one line an object."""
        going = [f"remove {removal.path!r}{'/' if removal.directory else ''}" for removal in self.removals]
        return [*going, *(f"keep   {path!r}: {reason}" for path, reason in self.kept)]


def missing_proof(fact: Fact) -> str:
    """Which of the proofs about the object itself is missing, one clause; ``""`` when it has them all."""
    if fact.symlink_on_way:
        return THROUGH_SYMLINK
    if not fact.zone_allows:
        return NOT_ITS_PLACE
    if fact.foreign_on_way:
        return ANOTHER_USER
    if not (fact.recorded or fact.tagged):
        return {None: NOT_RECORDED, True: NOT_TOLD, False: ANOTHER_OBJECT}[fact.lent]
    if not fact.tagged and fact.same_object is not True:
        return NOT_TELLABLE if fact.same_object is None else ANOTHER_OBJECT
    return _missing_time_proof(fact)


def _missing_time_proof(fact: Fact) -> str:
    # Where a birth time goes back, that the object is the recorded one says that it was younger when it was recorded.
    is_moved = BIRTH_GOES_BACK and fact.recorded and fact.same_object is True
    if fact.identity.birth_ns is not None and fact.identity.birth_ns < fact.start_ns and not is_moved:
        return OLDER_THAN_RUN.format(what="birth")
    if fact.mtime_ns < fact.start_ns:
        return OLDER_THAN_RUN.format(what="modification")
    if fact.end_ns is not None and fact.ctime_ns > fact.end_ns and not fact.directory:
        # Somebody worked on it since: by now it may be the only copy of something.
        return CHANGED_LATER
    return ""


def plan_removal(facts: Iterable[Fact]) -> RemovalPlan:
    """The plan that removes what has all five proofs and nothing else.

    :param facts: one for each path; a directory's entries count as kept when they have no fact of their own.
    """
    going: dict[str, Removal] = {}
    kept: dict[str, str] = {}
    directories: list[Fact] = []
    for fact in facts:
        reason = missing_proof(fact)
        if reason:
            kept[fact.path] = reason
        elif fact.directory:
            directories.append(fact)
        else:
            going[fact.path] = Removal(fact.path, fact.identity)
    # A directory is deeper than all that holds it, so its own fate is known when its parent's is asked for.
    for fact in sorted(directories, key=_depth, reverse=True):
        reason = _missing_wholeness(fact, going, kept)
        if reason:
            kept[fact.path] = reason
        else:
            going[fact.path] = Removal(fact.path, fact.identity, directory=True)
    return RemovalPlan(tuple(going.values()), tuple(sorted(kept.items())))


def _depth(fact: Fact) -> int:
    return fact.path.count("/")


def _missing_wholeness(fact: Fact, going: dict[str, Removal], kept: dict[str, str]) -> str:
    if fact.entries is None:
        return UNREADABLE
    for name in sorted(fact.entries):
        path = f"{fact.path}/{name}"
        if path not in going:
            return f"it holds {name!r}, which stays: {kept.get(path, NOT_RECORDED)}"
    return ""
