"""The programs that a test starts, by which lines, and the forks it makes: what an upper layer shows has no author but one of them."""

from __future__ import annotations

from builtins import len, tuple, type  # noqa: A004 - captured: tests mock builtins
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PosixPath, PurePath, WindowsPath
from typing import Any, Final, NamedTuple

from pytest_session_guard._controls.audit.attribution import NOBODY, Culprit
from pytest_session_guard._core.records import Span
from pytest_session_guard._core.zones import is_within
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._report.text import relative

MOST: Final = 8
_CHARACTERS: Final = 300
ANY_OF: Final = "one of: "
# The library's own types, whose code is known; those that a project derives from them are not asked.
_PATHS: Final = (PosixPath, WindowsPath)
_fspath: Final = PurePath.__fspath__


class Suspects(NamedTuple):
    """What may have done it, in words, and the line that started it where that is but one, or one of the project's."""

    words: str = ""
    culprit: Culprit = NOBODY


UNKNOWN: Final = Suspects()


class Commands:
    """The command lines of the programs that were started since a test began, newest last, each with the line that started it.

    :param rootdir: files below it are shown relative to it.
    :ivar started: by the test that did it: the one that runs, or an earlier one by a thread of its own.
    """

    def __init__(self, rootdir: str) -> None:
        self._rootdir = rootdir
        self.started: dict[str, list[tuple[str, Culprit]]] = {}

    def note(self, nodeid: str, event: str, arguments: tuple[Any, ...], culprit: Culprit) -> None:
        """A program is about to be started; runs no code of the arguments.

        :param event: ``os.system``, or one whose second argument has the program's own arguments.
        """
        words = arguments[:1] if event == "os.system" else _words(arguments[1])
        line = " ".join(_shown(words))[:_CHARACTERS]
        # How the standard library was called makes no other line of it.
        program = (line, culprit._replace(via=""))
        if line:
            own = self.started.setdefault(nodeid, [])
            if program not in own:
                del own[: len(own) - MOST + 1]
                own.append(program)

    def end_of_others(self, nodeid: str) -> tuple[str, str] | None:
        """The test other than this one that started programs, and these in words; they are forgotten, so it is told once."""
        found = self.of_others(nodeid)
        if found is None:
            return None
        for other in self._others(nodeid):
            self.started.pop(other, None)
        return found[0], found[1].words

    def of(self, nodeid: str) -> Suspects:
        """The command line, or those of which one it was; none where the test started none that was seen."""
        return self._told(self.started.get(nodeid, ()))

    def of_others(self, nodeid: str) -> tuple[str, Suspects] | None:
        """The one test other than this one that started programs, ``""`` for several; and these."""
        others = self._others(nodeid)
        if not others:
            return None
        started = [program for other in others for program in self.started.get(other, ())]
        return others[0] if len(others) == 1 else "", self._told(started)

    def _others(self, nodeid: str) -> list[str]:
        # Threads add to it meanwhile; a tuple is made of it in one step.
        return [other for other in tuple(self.started) if other != nodeid]

    def _told(self, started: Sequence[tuple[str, Culprit]]) -> Suspects:
        if not started:
            return UNKNOWN
        lines = list(dict.fromkeys(line for line, _ in started))
        culprits = {culprit for _, culprit in started}
        if len(culprits) == 1:
            return Suspects(lines[0] if len(lines) == 1 else ANY_OF + "; ".join(lines), culprits.pop())
        # What runners and libraries start for themselves (`uname`) seldom writes: a line of the project goes before them.
        own = [culprit for culprit in culprits if is_within(culprit.file, self._rootdir)]
        words = ANY_OF + "; ".join(f"{line}{self._place(culprit)}" for line, culprit in started)
        return Suspects(words, own[0] if len(own) == 1 else NOBODY)

    def _place(self, culprit: Culprit) -> str:
        return f" ({relative(culprit.file, self._rootdir)}:{culprit.line})" if culprit.file else ""


class Forks:
    """The tests that made a bare fork, as far as they can be told apart: two are one too many.

    :param span: gives the test that runs.
    """

    def __init__(self, span: Callable[[], Span]) -> None:
        self._span = span
        self._pid = Raw.getpid()
        self.tests: list[str] = []
        # Who forked since this was last asked: tests, and what is none.
        self.lately: set[str] = set()

    def note(self) -> None:
        """This process is about to fork."""
        if Raw.getpid() != self._pid:
            return
        nodeid = self._span().nodeid
        self.lately.add(nodeid)
        if nodeid and len(self.tests) < 2 and nodeid not in self.tests:
            self.tests.append(nodeid)

    def end_of_another(self, nodeid: str) -> str | None:
        """Somebody other than this test forked, which is told once: the one test that did, or ``""`` where it is not known."""
        if not self.lately or self.lately <= {nodeid}:
            return None
        starter = self.lately.pop() if len(self.lately) == 1 else ""
        self.lately.clear()
        return starter


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
