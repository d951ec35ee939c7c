"""The lookout: whether a look at what others did is worth its time at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._run.walls import Walls

if TYPE_CHECKING:
    from pytest_session_guard._host.notices import Notices


class Lookout:
    """Watches the roots of the upper layers and the run's directory, so that nobody looks while nothing happens there.

    Without an overlay only the run's other processes have news, and they write them into its directory. What it cannot tell is
    answered with "look": in a forked child (which would take its parent's news away), from the first change in a layer on
    (what is changed again deeper down moves no root), and once it failed.
    Inotify is silent about the flags ``d`` and ``A`` that ``chattr`` gives to a protected root itself; those are heard as
    tries, and where nobody hears tries, seen at the next look.

    :param run_directory: where the other processes of the run write their journals.
    """

    def __init__(self, walls: Walls, run_directory: str) -> None:
        self._walls = walls
        self._run_directory = run_directory
        self._pid = Raw.getpid()
        self._notices: Notices | None = None
        self._untouched = False
        self._has_heard: Callable[[], bool] | None = None

    def begin(self, walls: Walls) -> None:
        """Watch what is there by now; again after the walls grew."""
        self.end()
        self._walls = walls
        roots: tuple[str, ...] = ()
        if walls.overlay is not None:
            self._has_heard = walls.overlay.has_news
            roots = walls.overlay.upper_roots
        # Imported here: it takes ctypes, which is for runs alone.
        from pytest_session_guard._host.notices import Notices

        try:
            self._notices = Notices()
            for path in (*roots, *self._ledger_places()):
                self._notices.watch(path)
        except OSError:
            self.end()  # no inotify here, or no more of it for this user: every phase has its look

    def _ledger_places(self) -> tuple[str, str, str]:
        """The run's directory, and those whose removal would take it along."""
        runs = self._run_directory.rpartition("/")[0]
        return self._run_directory, runs, runs.rpartition("/")[0]

    def is_quiet(self) -> bool:
        """Whether nothing happened since the last look."""
        return (
            self._untouched
            and self._notices is not None
            and not self._notices.has_news()
            and (self._has_heard is None or not self._has_heard())
            and Raw.getpid() == self._pid
        )

    def has_news(self) -> bool:
        """Whether anything happened since the last look, or nobody can tell."""
        return self._notices is None or self._notices.has_news()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Inside, everything is looked at; what happens from its beginning on is news again."""
        own = self._notices is not None and Raw.getpid() == self._pid
        if own:
            self.clear()
        yield
        self._untouched = own and (self._walls.overlay is None or self._walls.overlay.is_untouched())

    def clear(self) -> None:
        """Forget the news, just before a look."""
        if self._notices is not None and not self._notices.clear():
            self.end()

    def end(self) -> None:
        """Watch no more; from now on every phase has its look."""
        notices, self._notices, self._untouched = self._notices, None, False
        if notices is not None:
            notices.close()
