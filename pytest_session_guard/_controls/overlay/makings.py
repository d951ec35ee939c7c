"""What programs without a hook bring about in shared places, as their calls were heard.

The hook writes down what Python is about to make, and the object once it is there. The keeper does the same for all others:
it notes the name before the call goes on, and looks at the object a moment later. It is theirs only when it was born then,
and nothing else came to the name meanwhile, by the kernel's own word (inotify).
"""

from __future__ import annotations

import os
import stat
from dataclasses import astuple
from typing import Any, Final, Literal

from ..._core.records import Identity, grain_ns
from ..._core.values import dataclass
from ..._host.arrivals import Arrivals
from ..._host.fsops import stamp_clock_ns
from ..._host.identity import Sight, look

# Between being heard and the system call's end lie microseconds; a descheduled process may need longer.
_WINDOW_NS: Final = 2_000_000_000
# What a ring is told to do other threads of the kernel do while its own goes on.
_DELAY_NS: Final = 20_000_000
_TAKEN_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class Making:
    """One thing that was brought about.

    :param kind: ``made``, an object that is new; ``moved``, a name within shared places; ``named``, a further name of an object,
        whosever that is.
    :param path: where it was made, moved to, or named.
    :param source: where it was before.
    :param identity: of what was made or named.
    :param thread: whose call was heard.
    """

    kind: Literal["made", "moved", "named"]
    path: str
    source: str = ""
    identity: Identity | None = None
    directory: bool = False
    thread: int = 0

    def to_message(self) -> tuple[object, ...]:
        """The making in a message."""
        return astuple(self)

    def is_heard_here(self) -> bool:
        """Whether a thread of this very process was heard."""
        return os.path.isdir(f"/proc/self/task/{self.thread}")

    @classmethod
    def parse(cls, fields: list[Any]) -> Making:
        """Read what `to_message` wrote."""
        kind, path, source, identity, directory, thread = fields
        return cls(kind, path, source, None if identity is None else Identity(*identity), directory, thread)


def _look(path: str) -> Sight | None:
    try:
        return look(path)
    except OSError:
        return None


class Makings:
    """The keeper's memory of what was brought about, for each stack of the run, until its processes ask."""

    def __init__(self) -> None:
        self._arrivals = Arrivals(lambda path: True)
        self._expected: dict[str, tuple[int, str, int, bool]] = {}
        self._came: dict[str, int] = {}
        self._found: dict[str, list[Making]] = {}

    def expect(self, path: str, label: str, thread: int, by_ring: bool = False) -> None:
        """A thread of a stack is about to make something at a path where nothing is, or to have a ring make it."""
        self.settle(thread)
        self._came.pop(path, None)
        self._arrivals.expect(path)
        self._expected[path] = (stamp_clock_ns(), label, thread, by_ring)

    def note(self, making: Making, label: str) -> None:
        """Something that was there is about to be named or moved."""
        self.settle(making.thread)  # it may have been made just now, under the name that it is about to lose
        self._found.setdefault(label, []).append(making)

    def settle(self, heard: int = 0) -> None:
        """Look at what was about to be made.

        :param heard: a thread that is heard again, so that its call before is over: where nothing is by now, it failed.
        """
        if not self._expected:
            return
        # Looked at first: what has taken its place by then is told of in any case.
        seen = {path: _look(path) for path in self._expected}
        for path, moved in self._arrivals.take():
            if path in self._expected:
                self._came[path] = self._came.get(path, 0) + (2 if moved else 1)
        for path, sight in seen.items():
            if sight is not None:
                self._settle_one(path, sight)
            elif self._is_over(path, heard) or self._is_late(path):
                self._forget(path)  # it came to nothing

    def _is_over(self, path: str, heard: int) -> bool:
        told_ns, _, thread, by_ring = self._expected[path]
        return thread == heard and not (by_ring and stamp_clock_ns() <= told_ns + _DELAY_NS)

    def _is_late(self, path: str) -> bool:
        return stamp_clock_ns() > self._expected[path][0] + _WINDOW_NS

    def _settle_one(self, path: str, seen: Sight) -> None:
        if path not in self._came and not self._is_late(path):
            return  # the kernel has not told of it, as it must
        heard_ns, label, thread, _ = self._expected[path]
        born_ns = seen.ctime_ns if seen.identity.birth_ns is None else seen.identity.birth_ns
        # Told exactly once: what replaced it, or was moved there, is somebody else's.
        is_told = self._came.get(path) == 1 and not self._arrivals.is_elsewhere(path)
        if is_told and heard_ns - grain_ns(born_ns) <= born_ns <= heard_ns + _WINDOW_NS:
            made = Making("made", path, "", seen.identity, stat.S_ISDIR(seen.mode), thread)
            self._found.setdefault(label, []).append(made)
        self._forget(path)

    def _forget(self, path: str) -> None:
        self._expected.pop(path, None)
        self._came.pop(path, None)
        self._arrivals.forget(path)

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
        return any(label in ("", owner) for _, owner, *_ in self._expected.values())

    def close(self) -> None:
        """Watch no more."""
        self._arrivals.end()
