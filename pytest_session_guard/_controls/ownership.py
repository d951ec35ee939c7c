"""What the run created: the paths and objects that it may change and remove.

The hook is asked before a creation happens, so the new object's identity is not known yet. The intent goes to the journal
at once; the object is looked at a moment later (at the next touch, or at the end of the test) and counts as ours only when
its birth lies between the intent and a short while after, and nothing else came to its name meanwhile. Where others may be
at work, the kernel must have told that it was this process that made it. What cannot be settled so is not ours: where it may
be, the run may change it; it is kept, and named.
"""

from __future__ import annotations

import os
import stat
from builtins import len, list, set, str  # noqa: A004 - captured: tests mock builtins
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pytest_session_guard._core.records import Identity, grain_ns
from pytest_session_guard._host.arrivals import Arrivals
from pytest_session_guard._host.fsops import Raw, stamp_clock_ns
from pytest_session_guard._host.identity import identity_from_stat

# Between an audit event and the system call lie microseconds; a descheduled process may need longer.
SETTLE_WINDOW_NS: Final = 2_000_000_000


def is_just_made(moment_ns: int, intended_ns: int) -> bool:
    """Whether a time stamp lies between an intent and the end of the time that a slow thread is given."""
    return intended_ns - grain_ns(moment_ns) <= moment_ns <= intended_ns + SETTLE_WINDOW_NS


def _look(path: str) -> tuple[os.stat_result, Identity] | None:
    try:
        found = Raw.lstat(path)
        return found, identity_from_stat(path, found)
    except OSError:
        return None


class Ownership:
    """The artifacts of the run, as far as this process knows them.

    :param journal: writes a record, or raises `LedgerError`.
    :param others: new records of the run's other processes; asked only before something is refused.
    :param arrivals: tells what came to names that were about to be created.
    """

    def __init__(
        self,
        journal: Callable[[Mapping[str, Any]], None],
        others: Callable[[], Iterable[Mapping[str, Any]]],
        arrivals: Arrivals | None = None,
    ) -> None:
        self._journal = journal
        self._others = others
        self._arrivals = arrivals or Arrivals(lambda path: False)
        # How many objects had each name that is pending since it was announced; one that was moved there counts as a second.
        self._came: dict[str, int] = {}
        # When it was announced, whether as a directory, and whether nothing but the kernel's word makes it ours.
        self._pending: dict[str, tuple[int, bool, bool]] = {}
        # No locks: a child that is forked while another thread holds one could never take it again.
        self._leaving: deque[tuple[str, str]] = deque()
        # By device and inode number, because most objects that are asked about are strangers and this tells fast; several,
        # because numbers come again. Each identity with the count of paths at which it is known.
        self._by_number: dict[tuple[int, int], dict[Identity, int]] = {}
        self.paths: dict[str, Identity] = {}
        # What came to a name at the very moment when it was announced, made by another process (one of the run's, or a
        # stranger) or by nobody knows whom. It may be changed, as what is about to be made may; only who made it may claim it.
        self._lent: dict[tuple[int, int], Identity] = {}
        # Those of which nobody tells who made them, by the names that they have: they stay, and are named.
        self.lent: dict[str, Identity] = {}
        # Announced by other processes of the run, and never recorded: killed in between, or not theirs after all.
        self.uncertain: set[str] = set()

    def intend(self, path: str, directory: bool) -> None:
        """Write down that ``path`` is about to be created.

        :raises LedgerError: it could not be written down, so it must not be created.
        """
        # What was announced before is there by now: recorded at once, a kill leaves only the last one uncertain.
        self.settle()
        self._came.pop(path, None)
        needs_word = self._arrivals.expect(path)
        self._journal({"kind": "intent", "path": path, "directory": directory})
        self._pending[path] = (stamp_clock_ns(), directory, needs_word)

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits for `settle`."""
        return not (self._pending or self._leaving)

    def expect_nothing(self) -> None:
        """Leave what is announced to whoever announced it: a fork has none of its parent's threads, and is not told of arrivals."""
        self._pending.clear()
        self._came.clear()

    def settle(self) -> None:
        """Look at what was about to be created, and write down what came of it.

        :raises LedgerError: it could not be written down.
        """
        # An intent stays listed until its object is claimed, and for a while when there is none yet: another thread may
        # be between its audit event and its system call, or ask about its file while this one claims it.
        intents = list(self._pending.items())
        # Looked at first: what has taken its place by then is told of in any case.
        seen = {path: _look(path) for path, _ in intents}
        self._arrivals.catch_up([path for path in seen if seen[path] is not None])
        for path, moved in self._arrivals.take():
            if path in self._pending:
                self._came[path] = self._came.get(path, 0) + (2 if moved else 1)
        for path, intent in intents:
            if self._settle_one(path, seen[path], *intent) and self._pending.get(path) is intent:
                self._pending.pop(path, None)
                self._came.pop(path, None)
                self._arrivals.forget(path)
        self._settle_leaving()

    def _settle_one(
        self,
        path: str,
        seen: tuple[os.stat_result, Identity] | None,
        intended_ns: int,
        directory: bool,
        needs_word: bool,
    ) -> bool:
        """Claim the object if it is there and ours; the answer is whether that is settled."""
        if seen is None:
            return stamp_clock_ns() > intended_ns + SETTLE_WINDOW_NS  # an intent without an object is nothing
        found, identity = seen
        # With a second name it may be an object that somebody else made a moment before.
        only_name = found.st_nlink == 1 or stat.S_ISDIR(found.st_mode)
        if self.is_own(identity) is not True:
            if self._came.get(path, 0) > 1 or self._arrivals.is_elsewhere(path):
                return True  # somebody replaced it or its directory, or was faster
            # Without a birth time the change time is the best there is: it cannot be set from outside.
            made_ns = found.st_ctime_ns if identity.birth_ns is None else identity.birth_ns
            if not (only_name and is_just_made(made_ns, intended_ns)):
                return True
            if identity.birth_ns is None and not is_just_made(found.st_mtime_ns, intended_ns):
                # A rename sets the change time too: it may be an old object that somebody moved here at this moment. The
                # run may write to it, as what it was about to make; the proof for a removal is left out.
                identity = identity._replace(handle=None)
            if self._arrivals.is_by_another(path):
                self.lend(identity)
                return True
            if needs_word and not self._arrivals.is_by_us(path):
                self.lend(identity, path)
                return True
        self.claim(path, identity, stat.S_ISDIR(found.st_mode) or directory)
        return True

    def claim(self, path: str, identity: Identity, directory: bool = False) -> None:
        """Write down that the object at ``path`` is the run's.

        :raises LedgerError: it could not be written down.
        """
        self._journal({"kind": "created", "path": path, "identity": identity.to_json(), "directory": directory})
        self._remember(path, identity)

    def lend(self, identity: Identity, path: str = "") -> None:
        """Let an object be changed that came to be when it was announced, though nobody tells that the run made it.

        It is neither claimed nor removed, unless it is tagged.

        :param path: where it stands, to have it named at the end, and known to the run's other processes; left out where
            another process is known to have made it, whose affair that is.
        :raises LedgerError: it could not be written down.
        """
        if path:
            self._journal({"kind": "lent", "path": path, "identity": identity.to_json()})
            self.lent[path] = identity
        self._lent[identity.device, identity.inode] = identity

    def _remember(self, path: str, identity: Identity) -> None:
        self.lent.pop(path, None)
        if self.paths.get(path) == identity:
            return
        self.forget(path)
        self._count(identity)
        self.paths[path] = identity

    def moved(self, source: str, target: str) -> None:
        """Write down that one of our own, or one that is lent, is about to be renamed, with all that lies below it."""
        self._journal({"kind": "moved", "path": source, "to": target})
        self._leaving.append((source, target))

    def removed(self, path: str) -> None:
        """Write down that one of our own, or one that is lent, is about to be removed."""
        self._journal({"kind": "removed", "path": path})
        self._leaving.append((path, ""))

    def _settle_leaving(self) -> None:
        """Look whether what was about to leave its path did: a removal fails on a full directory, a rename on another disk."""
        while self._leaving:
            try:
                path, target = self._leaving.popleft()
            except IndexError:
                return  # another thread took the last one
            if self._stands(path, self._known_at(path)):
                continue
            if target:
                self._rename(path, target)
            else:
                self.forget(path)

    def _known_at(self, path: str) -> Identity | None:
        return self.paths.get(path) or self.lent.get(path)

    def _stands(self, path: str, known: Identity | None) -> bool:
        """Whether the object at ``path`` is the known one, as far as anybody can tell."""
        if known is None:
            return False
        try:
            found = Raw.lstat(path)
        except OSError:
            return False
        return identity_from_stat(path, found).is_same_object(known) is not False

    def _rename(self, source: str, target: str) -> None:
        # Two names may have been exchanged (`renameat2`): then what stood at the target stands at the source now, and is
        # ours as before.
        exchanged = self._stands(source, self._known_at(target))
        moves = [(path, target + path[len(source) :]) for path in self._inside(source)]
        if exchanged:
            moves += [(path, source + path[len(target) :]) for path in self._inside(target)]
        known = {path: identity for path, _ in moves if (identity := self.paths.get(path)) is not None}
        lent = {path: identity for path, _ in moves if (identity := self.lent.pop(path, None)) is not None}
        for identity in known.values():
            self._count(identity)  # at no moment unknown to another thread
        for path in known:
            self.forget(path)
        for path, now in moves:
            if path in known:
                self._remember(now, known[path])
            elif path in lent:
                self.forget(now)
                self.lent[now] = lent[path]
        for identity in known.values():
            self._discount(identity)

    def _inside(self, top: str) -> list[str]:
        names = {**self.paths, **self.lent} if self.lent else self.paths
        return [path for path in list(names) if path == top or path.startswith(top + "/")]

    def forget(self, path: str) -> None:
        """Forget a path without a record, and its object unless that is known at another path too (hard links)."""
        self.lent.pop(path, None)
        identity = self.paths.pop(path, None)
        if identity is not None:
            self._discount(identity)

    def _count(self, identity: Identity) -> None:
        known = self._by_number.setdefault((identity.device, identity.inode), {})
        known[identity] = known.get(identity, 0) + 1

    def _discount(self, identity: Identity) -> None:
        number = identity.device, identity.inode
        known = self._by_number.get(number, {})
        paths = known.get(identity, 1)
        if paths > 1:
            known[identity] = paths - 1
            return
        known.pop(identity, None)
        if not known:
            self._by_number.pop(number, None)

    def owns(self, path: str, found: os.stat_result, ask_others: bool = False) -> bool:
        """Whether the object at ``path`` is one that the run created.

        :param found: the object's `lstat`.
        :param ask_others: read the other processes' journals too when this one does not know it.
        """
        if self._pending or self._leaving:
            self.settle()
        if self._knows(path, found):
            return True
        if not ask_others:
            return False
        if self._may_change(path, found):
            return True
        self.learn(self._others())
        return self._knows(path, found) or self._may_change(path, found)

    def follows(self, path: str, found: os.stat_result) -> bool:
        """Whether a rename or a removal of the object at ``path`` is to be written down: it is the run's, or listed as lent."""
        if self.owns(path, found):
            return True
        known = self.lent.get(path)
        return known is not None and identity_from_stat(path, found).is_same_object(known) is not False

    def named(self, path: str, identity: Identity) -> None:
        """Write down that what is followed gets a further name (a hard link).

        :raises LedgerError: it could not be written down.
        """
        if self.is_own(identity) is False:
            self.lend(identity, path)
        else:
            self.claim(path, identity)

    def is_lent(self, identity: Identity) -> bool:
        """Whether it came to a name when that was announced here, and nobody tells that this process made it."""
        return self._lent.get((identity.device, identity.inode)) == identity

    def _may_change(self, path: str, found: os.stat_result) -> bool:
        """Whether it came to a name that was announced, perhaps by the run's doing."""
        lent = self._lent.get((found.st_dev, found.st_ino))
        return lent is not None and identity_from_stat(path, found).is_same_object(lent) is not False

    def ask_others(self) -> None:
        """Settle our own creations, and take in what the run's other processes wrote.

        :raises LedgerError: the ledger is gone.
        """
        self.settle()
        self.learn(self._others())

    def is_own(self, identity: Identity) -> bool | None:
        """Whether the run made this very object; ``None`` when nothing tells it from a later one with its number."""
        return identity.is_among(self._by_number.get((identity.device, identity.inode), ()))

    def _knows(self, path: str, found: os.stat_result) -> bool:
        known = self._by_number.get((found.st_dev, found.st_ino))
        return known is not None and identity_from_stat(path, found).is_among(known) is not False

    def learn(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take in what the run's other processes created, moved and removed."""
        for record in records:
            match record:
                case {"kind": "intent", "path": str() as path}:
                    self.uncertain.add(path)
                case {"kind": "created", "path": str() as path, "identity": identity}:
                    self.uncertain.discard(path)
                    if self._leaving:
                        self._settle_leaving()  # else what left the path before takes the new object along
                    self._remember(path, Identity.parse(identity))
                case {"kind": "lent", "path": str() as path, "identity": identity}:
                    self._learn_lent(path, Identity.parse(identity))
                case {"kind": "moved", "path": str() as source, "to": str() as target}:
                    self._leaving.append((source, target))
                case {"kind": "removed", "path": str() as path}:
                    self._leaving.append((path, ""))
                case {"kind": "removed", "paths": [*paths]}:
                    self._leaving += [(path, "") for path in paths]
        self._settle_leaving()

    def _learn_lent(self, path: str, identity: Identity) -> None:
        self.uncertain.discard(path)
        if self._leaving:
            self._settle_leaving()
        self._lent[identity.device, identity.inode] = identity
        if self.is_own(identity) is not True:
            self.lent[path] = identity
