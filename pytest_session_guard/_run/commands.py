"""The programs that a test starts: what an upper layer shows has no author, and one of them is it."""

from __future__ import annotations

from builtins import len, type  # noqa: A004 - captured: tests mock builtins
from collections.abc import Iterable, Iterator
from pathlib import PosixPath, PurePath, WindowsPath
from typing import Any, Final

MOST: Final = 8
_CHARACTERS: Final = 300
_ANY_OF: Final = "one of: "
# The library's own types, whose code is known; those that a project derives from them are not asked.
_PATHS: Final = (PosixPath, WindowsPath)
_fspath: Final = PurePath.__fspath__


class Commands:
    """The command lines of the programs that the current test started, newest last."""

    def __init__(self) -> None:
        self._nodeid = ""
        self._lines: list[str] = []

    def note(self, nodeid: str, event: str, arguments: tuple[Any, ...]) -> None:
        """A program is about to be started; runs no code of the arguments.

        :param event: ``os.system``, or one whose second argument has the program's own arguments.
        """
        if nodeid != self._nodeid:
            self._nodeid, self._lines = nodeid, []
        words = arguments[:1] if event == "os.system" else _words(arguments[1])
        line = " ".join(_shown(words))[:_CHARACTERS]
        if line and line not in self._lines:
            del self._lines[: len(self._lines) - MOST + 1]
            self._lines.append(line)

    def of(self, nodeid: str) -> str:
        """The command line, or those of which one it was; ``""`` where the test started none that was seen."""
        if nodeid != self._nodeid or not self._lines:
            return ""
        return self._lines[0] if len(self._lines) == 1 else _ANY_OF + "; ".join(self._lines)


def _words(given: object) -> Iterable[object]:
    return given if type(given) in (list, tuple) else (given,)  # type: ignore[return-value]  # just those two types


def _shown(words: Iterable[object]) -> Iterator[str]:
    for word in words:
        if type(word) is bytes:
            yield word.decode("utf-8", "surrogateescape")
        elif type(word) is str:
            yield word
        elif type(word) in _PATHS:
            yield _fspath(word)  # type: ignore[arg-type]  # just those types
        else:
            yield f"<{type(word).__name__}>"
