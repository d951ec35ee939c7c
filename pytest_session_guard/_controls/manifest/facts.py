"""What one stat tells of a name, and what two of them tell of a change."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterable
from functools import partial
from itertools import starmap
from operator import attrgetter
from typing import Final, Literal

from pytest_session_guard._core.values import dataclass

Kind = Literal["created", "removed", "replaced", "content", "metadata", "names", "incomparable"]
# (mode, inode, links, uid, gid, size, mtime_ns, ctime_ns)
Facts = tuple[int, ...]
MODE, INODE, LINKS, UID, GID, SIZE, MTIME, CTIME = range(8)
# A digest, 0 for none, and the facts. No target of symlinks: it cannot change without a new inode and a new ctime.
RECORD: Final = struct.Struct("=QIQIIIQqq")

facts_of: Final[Callable[[os.stat_result], Facts]] = attrgetter(
    "st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ctime_ns"
)  # fmt: skip
_pack_without_digest: Final = partial(RECORD.pack, 0)


def pack_all(stats: Iterable[os.stat_result]) -> bytes:
    """Records without digests; all of it runs in C, because this is done for every file of a home."""
    return b"".join(starmap(_pack_without_digest, map(facts_of, stats)))


@dataclass(frozen=True, slots=True)
class Difference:
    """One path that is not as it was.

    :param kind: the words of the overlay's changes, and ``incomparable`` for a root of which no more can be said.
    :param detail: which facts differ, one clause.
    """

    path: str
    kind: Kind
    directory: bool = False
    detail: str = ""


def is_directory(facts: Facts) -> bool:
    """Whether facts are a directory's."""
    return stat.S_ISDIR(facts[MODE])


def is_same_object(was: Facts, now: Facts) -> bool:
    """Whether two looks at a name met one object.

    Some file systems number their files anew when they please; a new object has a change time of its own.
    """
    return stat.S_IFMT(was[MODE]) == stat.S_IFMT(now[MODE]) and (was[INODE] == now[INODE] or was[CTIME] == now[CTIME])


def difference(path: str, was: Facts, now: Facts) -> Difference | None:
    """What is different about one name that was there before; ``None`` when its times say that nothing is."""
    if was == now:
        return None
    directory = is_directory(now)
    if not is_same_object(was, now):
        other = "another object" if stat.S_IFMT(was[MODE]) == stat.S_IFMT(now[MODE]) else "another kind of object"
        return Difference(path, "replaced", directory, f"{other} stands there")
    if stat.S_ISLNK(now[MODE]) and (was[SIZE], was[MTIME]) != (now[SIZE], now[MTIME]):
        return Difference(path, "replaced", detail="another symlink stands there")  # one cannot be changed in place
    if not directory and was[SIZE] != now[SIZE]:
        return Difference(path, "content", detail=f"{was[SIZE]} bytes before, {now[SIZE]} now")
    if not directory and was[MTIME] != now[MTIME]:
        return Difference(path, "content", detail="another modification time")
    detail = metadata_detail(was, now)
    if detail:
        return Difference(path, "metadata", directory, detail)
    if was[CTIME] == now[CTIME]:
        return None
    if directory and was[MTIME] != now[MTIME]:
        return Difference(path, "names", True, "names came or went")
    return Difference(
        path, "metadata", directory, "another change time: attributes, or content with its times put back"
    )


def metadata_detail(was: Facts, now: Facts) -> str:
    """Which of mode, owner and links differ, one clause; a directory's links only count its subdirectories."""
    clauses = []
    if was[MODE] != now[MODE]:
        clauses.append(f"mode {stat.S_IMODE(was[MODE]):04o} before, {stat.S_IMODE(now[MODE]):04o} now")
    if (was[UID], was[GID]) != (now[UID], now[GID]):
        clauses.append(f"owner {was[UID]}:{was[GID]} before, {now[UID]}:{now[GID]} now")
    if was[LINKS] != now[LINKS] and not is_directory(now):
        clauses.append(f"{was[LINKS]} names before, {now[LINKS]} now")
    return "; ".join(clauses)
