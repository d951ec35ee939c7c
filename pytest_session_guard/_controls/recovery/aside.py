"""Where what a restore replaces goes, by a name beside it that was written down first: after a kill it says whose that is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pytest_session_guard._core.records import iter_kind
from pytest_session_guard._host.directories import OpenDirectory
from pytest_session_guard._host.fsops import Raw, lstat_or_none, make_directory

from .moving import move

BESIDE: Final = ".session-guard-restore-"


class Aside:
    """Takes what stands at a path away, whole, without ever losing it.

    :param directory: where it goes; made when needed.
    :param journal: writes a record, or raises `LedgerError`.
    """

    def __init__(self, directory: str, journal: Callable[[Mapping[str, Any]], None]) -> None:
        self._directory = directory
        self._journal = journal
        self._prefix = f"{Raw.getpid()}-{Raw.time_ns():x}-"
        self._count = itertools.count()

    def name_beside(self, path: str) -> str:
        """A name of our own in the directory of a path, written down.

        :raises LedgerError: it cannot be written down.
        """
        beside = f"{BESIDE}{self._prefix}{next(self._count)}"
        self._journal({"kind": "restoring", "path": path, "beside": beside})
        return beside

    def new_path(self) -> str:
        """A free path in the directory, which is made.

        :raises OSError: it cannot be made.
        """
        make_directory(self._directory)
        return f"{self._directory}/{self._prefix}{next(self._count)}"

    def take(self, path: str, parent: OpenDirectory, name: str) -> str:
        """Move what has a name that others know: nobody may put something there while it is copied to another disk.

        :returns: where it is now.
        :raises OSError: it has its name again, or the error says which one it has now.
        """
        beside = self.name_beside(path)
        parent.rename(name, parent, beside)
        try:
            return self.move(parent, beside)
        except OSError as problem:
            try:
                parent.move_if_free(beside, parent, name)
            except OSError:
                raise named(problem, parent, beside) from problem
            raise

    def move(self, parent: OpenDirectory, name: str) -> str:
        """Move what has a name of our own.

        :returns: where it is now.
        :raises OSError: it is where it was.
        """
        path = self.new_path()
        with OpenDirectory(self._directory) as target:
            move(parent, name, target, path.rpartition("/")[2])
        return path


def named(problem: OSError, parent: OpenDirectory, name: str) -> OSError:
    """An error that says which name has what stood there."""
    return OSError(problem.errno, f"{problem.strerror or problem}; what stood there is now {f'{parent.path}/{name}'!r}")


def finish_restoring(
    records: Sequence[Mapping[str, Any]], aside: str
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Take up what a killed restore left beside a path: it goes aside.

    :returns: pairs of (path, where what lay beside it is now), and of (where something lies still, why).
    """
    moved: list[tuple[str, str]] = []
    stuck: list[tuple[str, str]] = []
    for record in iter_kind(records, "restoring"):
        directory = str(record.get("path", "")).rpartition("/")[0] or "/"
        name = str(record.get("beside", ""))
        if not name.startswith(BESIDE) or "/" in name or lstat_or_none(f"{directory}/{name}") is None:
            continue
        try:
            make_directory(aside)
            with OpenDirectory(directory) as parent, OpenDirectory(aside) as target:
                move(parent, name, target, name.removeprefix(BESIDE))
        except OSError as problem:
            stuck.append((f"{directory}/{name}", f"cannot be moved aside ({problem.strerror or problem})"))
            continue
        moved.append((str(record["path"]), f"{aside}/{name.removeprefix(BESIDE)}"))
    return moved, stuck
