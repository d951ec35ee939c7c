"""Taking the inventory, and walking the same way again to compare."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pytest_session_guard._core.values import dataclass
from pytest_session_guard._host.fsops import lstat_or_none

from .facts import MODE, Difference, Facts, difference, facts_of, is_directory, is_same_object, pack_all
from .listing import Listing, digest, joined, list_directory, records_of
from .spool import Block, Spool, content_of

Skip = Callable[[str], bool]

BUDGET_ENTRIES: Final = 2_000_000
NAMED_UNCHECKED: Final = 20
LISTED_DIFFERENCES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Root:
    """A root as it was found.

    :param ancestors: identity (device, inode) of every directory above it, nearest first.
    :param facts: ``None`` when nothing stood there.
    :param stretch: where its blocks begin and end in the spool; the two are equal for what is no directory.
    """

    path: str
    ancestors: tuple[tuple[str, tuple[int, int] | None], ...]
    facts: Facts | None
    device: int
    stretch: tuple[int, int]


class Manifest:
    """The inventory of some roots, as `take` found them.

    :ivar entries: how many names were looked at.
    :ivar unchecked: how many places were not compared; any is reason enough not to call the outcome clean.
    :ivar unchecked_places: the first of them, each with its reason.
    :ivar unlisted: how many differences there were beyond those that `differences` listed.
    """

    def __init__(self, spool: Spool, skip: Skip, budget_entries: int) -> None:
        self.roots: list[Root] = []
        self.entries = 0
        self.unchecked = 0
        self.unchecked_places: list[tuple[str, str]] = []
        self.unlisted = 0
        self._spool = spool
        self._skip = skip
        self._budget = budget_entries
        self._paths: frozenset[str] = frozenset()

    @classmethod
    def take(
        cls, roots: Sequence[str], skip: Skip, *, directory: str = "", budget_entries: int = BUDGET_ENTRIES
    ) -> Manifest:
        """Look at everything below some roots.

        :param roots: real paths; what lies below another root is looked at once.
        :param skip: says of a path that it, and all below it, is of no interest.
        :param directory: where the inventory is kept, in a file without a name; the temp directory by default.
        :param budget_entries: how many names to look at; directories beyond that are counted as unchecked.
        :raises OSError: the inventory cannot be kept.
        """
        manifest = cls(Spool(directory), skip, budget_entries)
        manifest._paths = frozenset(roots)
        for path in sorted(manifest._paths):
            manifest.roots.append(manifest._take_root(path))
        manifest._spool.flush()
        return manifest

    def close(self) -> None:
        """Let go of the inventory; nothing can be compared any more."""
        self._spool.close()

    def _take_root(self, path: str) -> Root:
        found = lstat_or_none(path)
        start = self._spool.size_bytes
        if found is not None and stat.S_ISDIR(found.st_mode):
            self._take_tree(path, found.st_dev)
        return Root(
            path,
            _ancestors(path),
            None if found is None else facts_of(found),
            0 if found is None else found.st_dev,
            (start, self._spool.size_bytes),
        )

    def _take_tree(self, path: str, device: int) -> None:
        stack = [path]
        while stack:
            here = stack.pop()
            if self.entries >= self._budget:
                self.leave_out(here, f"the budget of {self._budget} names was used up")
                listing = None
            else:
                listing = self._list(here)
            names, stats = listing or ([], [])
            self.entries += len(names)
            self._spool.append(here, names, records_of(here, names, stats), was_listed=listing is not None)
            for below, state in _directories(here, names, stats):
                if below in self._paths or self._skip(below):
                    continue
                if state.st_dev == device:
                    stack.append(below)
                else:
                    self.leave_out(below, "is another file system")

    def _list(self, path: str) -> Listing | None:
        try:
            return list_directory(path)
        except OSError as problem:
            self.leave_out(path, f"cannot be listed ({problem.strerror})")
            return None

    def leave_out(self, path: str, reason: str) -> None:
        """Count a place as one that is not compared."""
        self.unchecked += 1
        if len(self.unchecked_places) < NAMED_UNCHECKED:
            self.unchecked_places.append((path, reason))

    # -- the second look ---------------------------------------------------------------------------------------------

    def differences(self) -> list[Difference]:
        """What is not as it was, root by root; at most `LISTED_DIFFERENCES`, the rest is counted in `unlisted`.

        :raises OSError: the inventory cannot be read back.
        """
        found: list[Difference] = []
        self.unlisted = 0
        for root in self.roots:
            for one in self._compare_root(root):
                if one.path != root.path and self._skip(one.path):
                    continue
                if len(found) < LISTED_DIFFERENCES:
                    found.append(one)
                else:
                    self.unlisted += 1
        return found

    def _compare_root(self, root: Root) -> Iterator[Difference]:
        now = lstat_or_none(root.path)
        moved = next((path for path, was in root.ancestors if _identity(path) != was), None)
        if root.facts is None:
            if now is not None:
                yield Difference(root.path, "created", stat.S_ISDIR(now.st_mode))
            return
        reason = ""
        if moved is not None:
            reason = f"{moved!r} on the way to it is not the directory that it was"
        elif now is None:
            reason = "it is gone"
        elif is_directory(root.facts) and not is_same_object(root.facts, facts_of(now)):
            reason = "something else stands there"
        if reason or now is None:
            yield Difference(root.path, "incomparable", is_directory(root.facts), reason)
            return
        own = difference(root.path, root.facts, facts_of(now))
        if own is not None:
            yield own
        if root.stretch[0] != root.stretch[1]:
            yield from self._compare_tree(root)

    def _compare_tree(self, root: Root) -> Iterator[Difference]:
        """Walk as the first look did, block by block."""
        blocks = _Blocks(self._spool.blocks(*root.stretch))
        stack = [root.path]
        while stack:
            here = stack.pop()
            block = blocks.of(here)
            listing = self._list(here) if block is not None and block.was_listed else None
            if block is None or listing is None:
                continue
            names, stats = listing
            same: frozenset[str] | None = None
            if block.content != content_of(names, pack_all(stats)):
                was = block.entries()
                now = dict(zip(names, map(facts_of, stats), strict=True))
                yield from _compare_directory(here, was, now)
                same = frozenset(name for name in was.keys() & now.keys() if is_same_object(was[name][1], now[name]))
            for below, state in _directories(here, names, stats):
                is_known = same is None or below.rpartition("/")[2] in same
                if is_known and state.st_dev == root.device and below not in self._paths and not self._skip(below):
                    stack.append(below)


class _Blocks:
    """Blocks in the order of a walk, from which some directories have gone and to which others have come."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        self._next = next(blocks, None)

    def of(self, path: str) -> Block | None:
        """The block of a directory; those before it in the walk, which were not asked for, are passed over."""
        place = path.split("/")
        while self._next is not None and self._next.path.split("/") < place:
            self._next = next(self._blocks, None)
        if self._next is None or self._next.path != path:
            return None
        return self._next


def _directories(here: str, names: Sequence[str], stats: Sequence[os.stat_result]) -> list[tuple[str, os.stat_result]]:
    """The directories in a directory, last first: a stack gives them back in order."""
    pairs = zip(names, stats, strict=True)
    return [(joined(here, name), state) for name, state in pairs if stat.S_ISDIR(state.st_mode)][::-1]


def _compare_directory(here: str, was: dict[str, tuple[int, Facts]], now: dict[str, Facts]) -> Iterator[Difference]:
    for name in sorted(was.keys() | now.keys()):
        path = joined(here, name)
        if name not in now:
            yield Difference(path, "removed", is_directory(was[name][1]))
        elif name not in was:
            yield Difference(path, "created", stat.S_ISDIR(now[name][MODE]))
        else:
            summed, facts = was[name]
            found = difference(path, facts, now[name])
            if found is None and summed and digest(path) != summed:
                found = Difference(path, "content", detail="other content, although no time moved")
            if found is not None:
                yield found


def _ancestors(path: str) -> tuple[tuple[str, tuple[int, int] | None], ...]:
    found = []
    while path not in ("", "/"):
        path = path.rpartition("/")[0] or "/"
        found.append((path, _identity(path)))
    return tuple(found)


def _identity(path: str) -> tuple[int, int] | None:
    found = lstat_or_none(path)
    return None if found is None else (found.st_dev, found.st_ino)
