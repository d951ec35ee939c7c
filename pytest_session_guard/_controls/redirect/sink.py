"""What lands in the run's sink, where targets point while no test runs."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pytest_session_guard._host.fsops import Raw

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class LateWrite:
    """Something that happened below the sink.

    :param path: absolute, in the sink.
    :param target: the line of ``session_guard_redirect`` that it belongs to, or ``""``.
    :param real: the path that it would have hit without the redirect, where that is known.
    """

    path: str
    change: Literal["created", "changed", "removed"]
    target: str = ""
    real: str = ""


class Sink:
    """A view of the sink that says what is new since the last look.

    A look costs one ``lstat`` for each entry, and entries are few: whatever lies here is an exception.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.known = dict(self._walk(directory))

    def look(self) -> list[tuple[str, Literal["created", "changed", "removed"]]]:
        """What changed since the last look; a directory counts when it comes or goes, not when its listing changes."""
        now = dict(self._walk(self.directory))
        if now == self.known:
            return []
        before, self.known = self.known, now
        created = [(path, "created") for path in now if path not in before]
        changed = [(path, "changed") for path, stamp in now.items() if path in before and before[path] != stamp]
        removed = [(path, "removed") for path in before if path not in now]
        return sorted([*created, *changed, *removed])  # type: ignore[arg-type]

    def _walk(self, directory: str) -> Iterator[tuple[str, Stamp]]:
        try:
            with Raw.scandir(directory) as entries:
                found = [(entry.path, entry.stat(follow_symlinks=False)) for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return  # it went between the listing and now: the next look says so
        for path, status in found:
            if stat.S_ISDIR(status.st_mode):
                yield path, (0, 0, status.st_ino)
                yield from self._walk(path)
            else:
                yield path, (status.st_mtime_ns, status.st_size, status.st_ino)
