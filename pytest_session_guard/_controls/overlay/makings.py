"""What programs without a hook bring about in shared places, as their calls were heard.

The keeper notes the name before the call goes on, holds the thread for a moment when the call is over, and looks at the
object. It is the run's when the call did not fail, would have failed on anything that was there, or is told by the kernel to
have made what it opened (fanotify), and nothing else came to the name meanwhile (inotify). Where that is not known the object
may be changed by the run, and stays.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import astuple, field
from typing import Any, Final, Literal

from ..._core.records import Identity, grain_ns
from ..._core.values import dataclass
from ..._host.arrivals import Arrivals
from ..._host.fsops import stamp_clock_ns
from ..._host.identity import Sight, look
from ..._host.makers import Openers

# Between being heard and the system call's end lie microseconds; a descheduled process may need longer.
_WINDOW_NS: Final = 2_000_000_000
# What a ring is told to do other threads of the kernel do while its own goes on.
_DELAY_NS: Final = 20_000_000
_TAKEN_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class Making:
    """One thing that was brought about.

    :param kind: ``made``, an object that is new; ``lent``, one that another program may have made at that moment; ``moved``, a
        name within shared places; ``named``, a further name of an object, whosever that is.
    :param path: where it was made, moved to, or named.
    :param source: where it was before.
    :param identity: of what was made, lent or named.
    """

    kind: Literal["made", "lent", "moved", "named"]
    path: str
    source: str = ""
    identity: Identity | None = None
    directory: bool = False

    def to_message(self) -> tuple[object, ...]:
        """The making in a message."""
        return astuple(self)

    @classmethod
    def parse(cls, fields: list[Any]) -> Making:
        """Read what `to_message` wrote."""
        kind, path, source, identity, directory = fields
        return cls(kind, path, source, None if identity is None else Identity(*identity), directory)


@dataclass(slots=True)
class Expected:
    """Something that a thread is about to make, where nothing is.

    :param label: of the stack that the thread stands in.
    :param fails_on_any: the call fails where anything is there by then.
    :param followed: the thread will be held at the end of the call.
    :param by_ring: it tells a ring to make it.
    """

    path: str
    label: str
    thread: int
    fails_on_any: bool
    followed: bool
    by_ring: bool = False
    heard_ns: int = field(default_factory=stamp_clock_ns)

    def is_just_made(self, seen: Sight) -> bool:
        """Whether an object was born while the call may have been made."""
        born_ns = seen.ctime_ns if seen.identity.birth_ns is None else seen.identity.birth_ns
        return self.heard_ns - grain_ns(born_ns) <= born_ns <= self.heard_ns + _WINDOW_NS

    def is_over(self, heard: int) -> bool:
        """Whether a call that is not followed has come to its end.

        :param heard: a thread that is heard again.
        """
        is_next = self.thread == heard and not (self.by_ring and stamp_clock_ns() <= self.heard_ns + _DELAY_NS)
        return is_next or self.is_late()

    def is_late(self) -> bool:
        """Whether the call would have come to its end by now."""
        return stamp_clock_ns() > self.heard_ns + _WINDOW_NS

    def is_lost(self) -> bool:
        """Whether its end will not be told after all: another thread of its program took the whole process over (`execve`)."""
        return self.followed and self.is_late() and not os.path.exists(f"/proc/{self.thread}")


def _look(path: str) -> Sight | None:
    try:
        return look(path)
    except OSError:
        return None


class Makings:
    """The keeper's memory of what was brought about, for each stack of the run, until its processes ask."""

    def __init__(self) -> None:
        self._arrivals = Arrivals(lambda path: True)
        self._openers = _openers()
        self._expected: dict[tuple[int, str], Expected] = {}
        self._came: dict[str, int] = {}
        self._found: dict[str, list[Making]] = {}
        self._known: set[Identity] = set()
        # Directories that came from elsewhere, with what nobody has heard being made.
        self._moved_in: set[Identity] = set()

    def is_known(self, path: str, identity: Identity) -> bool:
        """Whether the run made, or may have made, an object at a path; or may be about to."""
        self.settle()
        if self._is_expected(path) or identity in self._known:
            return True
        return bool(self._moved_in) and any(_identity_of(above) in self._moved_in for above in _all_above(path))

    def bring(self, making: Making, label: str, thread: int) -> None:
        """A thread is about to move or link something from elsewhere to a name."""
        self.note(making, label, thread)
        if making.identity is not None:
            self._known.add(making.identity)
            if making.directory:
                self._moved_in.add(making.identity)

    def expect(self, expected: Expected) -> None:
        """A thread is about to make something."""
        path = expected.path
        self.settle(expected.thread)
        if not self._is_expected(path):
            self._came.pop(path, None)
            self._arrivals.expect(path)
        if expected.followed and not expected.fails_on_any and self._openers is not None:
            with suppress(OSError):
                self._openers.watch(path.rpartition("/")[0] or "/")
        self._expected[expected.thread, path] = expected

    def note(self, making: Making, label: str, thread: int) -> None:
        """A thread is about to name or move something that was there."""
        self.settle(thread)  # it may have been made just now, under the name that it is about to lose
        self._found.setdefault(label, []).append(making)

    def finish(self, thread: int, answer: int | None) -> None:
        """A thread that is followed is held at the end of its call.

        :param answer: see `CallEnds.ended`.
        """
        expected = next((one for one in self._expected.values() if one.thread == thread and one.followed), None)
        if expected is None:
            return
        expected.followed = False
        seen = _look(expected.path)
        self._hear_of_arrivals([expected.path])
        if answer is not None:  # otherwise it may have been made, and nobody knows by whom
            if answer >= 0 and seen is not None and _has_one_name(expected.path):
                self._known.add(seen.identity)
                self._found_one(expected, seen, is_known=True)
            self._forget(expected)
        if self._openers is not None and not any(one.followed for one in self._expected.values()):
            with suppress(OSError):
                self._openers.forget()

    def settle(self, heard: int = 0) -> None:
        """Look at what was about to be made by threads that are not followed.

        :param heard: a thread that is heard again, so that its call before is over.
        """
        for expected in self._expected.values():
            expected.followed &= not expected.is_lost()
        unfollowed = [expected for expected in self._expected.values() if not expected.followed]
        if not unfollowed:
            return
        # Looked at first: what has taken its place by then is told of in any case.
        seen = [(expected, _look(expected.path)) for expected in unfollowed]
        self._hear_of_arrivals(expected.path for expected, sight in seen if sight is not None)
        for expected, sight in seen:
            is_over = expected.is_over(heard)
            if sight is not None and (is_over or expected.path in self._came):
                self._known.add(sight.identity)
                self._found_one(expected, sight, is_known=False)
                is_over = True
            if is_over:
                self._forget(expected)

    def _hear_of_arrivals(self, paths: Iterable[str]) -> None:
        self._arrivals.catch_up(paths)
        for path, moved in self._arrivals.take():
            if self._is_expected(path):
                self._came[path] = self._came.get(path, 0) + (2 if moved else 1)

    def _found_one(self, expected: Expected, seen: Sight, is_known: bool) -> None:
        """Something stands where a thread was about to make it.

        :param is_known: the call is over, it did not fail, and the thread has done nothing else since.
        """
        path = expected.path
        came = self._came.get(path, 0)
        # What replaced it, or was moved there, is somebody else's.
        if came > 1 or self._arrivals.is_elsewhere(path) or not expected.is_just_made(seen):
            return
        is_its = is_known and came == 1 and (expected.fails_on_any or self._is_made_by_opener(path))
        one = Making("made" if is_its else "lent", path, "", seen.identity, stat.S_ISDIR(seen.mode))
        self._found.setdefault(expected.label, []).append(one)

    def _is_made_by_opener(self, path: str) -> bool:
        return self._openers is not None and self._openers.is_made_by_opener(path)

    def _is_expected(self, path: str) -> bool:
        return any(expected.path == path for expected in self._expected.values())

    def _forget(self, expected: Expected) -> None:
        self._expected.pop((expected.thread, expected.path), None)
        if not self._is_expected(expected.path):
            self._came.pop(expected.path, None)
            self._arrivals.forget(expected.path)

    def take(self, label: str) -> list[Making]:
        """What was brought about from one stack, or from all (``""``), and nobody has taken yet, as much as goes into one message."""
        self.settle()
        for one in [label] if label else list(self._found):
            kept = self._found.pop(one, [])
            if kept[_TAKEN_AT_ONCE:]:
                self._found[one] = kept[_TAKEN_AT_ONCE:]
            if kept:
                return kept[:_TAKEN_AT_ONCE]
        return []

    def is_waiting(self, label: str) -> bool:
        """Whether a call of one stack, or of any (``""``), was heard that has not come to its end yet."""
        return any(label in ("", expected.label) for expected in self._expected.values())

    def close(self) -> None:
        """Watch no more."""
        self._arrivals.end()
        if self._openers is not None:
            self._openers.close()


def _has_one_name(path: str) -> bool:
    """Whether an object has no other name: what has one may have been made by somebody else, and linked."""
    try:
        found = os.lstat(path)
    except OSError:
        return False  # or none any more
    return found.st_nlink == 1 or stat.S_ISDIR(found.st_mode)


def _identity_of(path: str) -> Identity | None:
    seen = _look(path)
    return None if seen is None else seen.identity


def _all_above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _openers() -> Openers | None:
    try:
        return Openers()
    except OSError:
        return None
