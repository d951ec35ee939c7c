"""What lands in the run's sink, where targets point while no test runs."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import Final, Literal

from pytest_session_guard._core.values import dataclass
from pytest_session_guard._host.fsops import Raw

Change = Literal["created", "changed", "removed"]
Stamp = tuple[int, int, int]
DEAR_NS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class LateWrite:
    """Something that happened below the sink.

    :param path: absolute, in the sink.
    :param target: the line of ``session_guard_redirect`` that it belongs to, or ``""``.
    :param real: the path that it would have hit without the redirect, where that is known.
    """

    path: str
    change: Change
    target: str = ""
    real: str = ""


class Sink:
    """A view of the sink that says what is new since the last look.

    A look costs one ``lstat`` for each entry, and entries are few: whatever lies here is an exception. Where an
    application has filled it at import, looks are spaced out so that they take a fiftieth of the time at most.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.ended_ns = self.took_ns = 0
        self.known = self._entries()

    def _entries(self) -> dict[str, Stamp]:
        start = Raw.time_ns()
        found = dict(self._walk(self.directory))
        self.ended_ns = Raw.time_ns()
        self.took_ns = self.ended_ns - start
        return found

    def look(self, at_last: bool = True) -> list[tuple[str, Change]]:
        """What changed since the last look; a directory counts when it comes or goes, not when its listing changes.

        :param at_last: look, whatever it costs.
        """
        waited_ns = Raw.time_ns() - self.ended_ns
        if not at_last and self.took_ns > DEAR_NS and 0 <= waited_ns < self.took_ns * 50:
            return []
        now = self._entries()
        if now == self.known:
            return []
        before, self.known = self.known, now
        changes: list[tuple[str, Change]] = []
        for path in sorted({*before, *now}):
            if path not in before:
                changes.append((path, "created"))
            elif path not in now:
                changes.append((path, "removed"))
            elif before[path] != now[path]:
                changes.append((path, "changed"))
        return changes

    def _walk(self, directory: str) -> Iterator[tuple[str, Stamp]]:
        try:
            paths = [f"{directory}/{name}" for name in Raw.listdir(directory)]
        except (FileNotFoundError, NotADirectoryError):
            return  # it went meanwhile: the next look says so
        for path in paths:
            try:
                status = Raw.lstat(path)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(status.st_mode):
                yield path, (0, 0, status.st_ino)
                yield from self._walk(path)
            else:
                yield path, (status.st_mtime_ns, status.st_size, status.st_ino)
