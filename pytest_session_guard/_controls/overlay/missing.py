"""Protected roots that are not there, in a place that is writable: no layer can hold them, so they are watched."""

from __future__ import annotations

import stat
from collections.abc import Iterable

from .changes import Change
from .comparison import System


class MissingRoots:
    """What should not appear."""

    def __init__(self) -> None:
        self._paths: dict[str, None] = {}
        self._told: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._paths)

    def watch(self, paths: Iterable[str]) -> None:
        """Watch these from now on, but for those that have been told of.

        :param paths: real paths at which nothing stands.
        """
        self._paths = {path: None for path in paths if path not in self._told}

    def appeared(self) -> list[Change]:
        """Those that are there by now; each is told once."""
        found = []
        for path in tuple(self._paths):
            try:
                mode = System.stat(path, follow_symlinks=False).st_mode
            except OSError:
                continue
            del self._paths[path]
            self._told.add(path)
            found.append(Change(path, "created", stat.S_ISDIR(mode), real=True))
        return found
