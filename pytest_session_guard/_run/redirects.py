"""The redirects of a run: made when there is something to redirect, told of each test, heard about late writers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from pytest_session_guard._core.errors import LateWriterWarning
from pytest_session_guard._core.settings import Line, Redirect, Settings, parse_redirect
from pytest_session_guard._run.places import Places

if TYPE_CHECKING:
    from pytest_session_guard._controls.redirect import Redirector

UNSEEN: Final = "a writer that outlived its test (a child process or native code)"


class RedirectDesk:
    """What pytest's hooks and the fixture ask of the redirects.

    :param make_sink: the directory of this process that targets point to between tests; made at the first call.
    :param private_directory: the current test's private directory.
    :param writer_of: who was seen writing to a path in the sink, or ``""``.
    """

    def __init__(
        self,
        settings: Settings,
        places: Places,
        make_sink: Callable[[], str],
        private_directory: Callable[[], str],
        writer_of: Callable[[str], str] = lambda path: "",
    ) -> None:
        self.settings = settings
        self.writer_of = writer_of
        self.places = places
        self.make_sink = make_sink
        self.private_directory = private_directory
        self.redirector: Redirector | None = None
        self._on_working: Callable[[], object] = lambda: None

    def when_working(self, told: Callable[[], object]) -> None:
        """Have somebody told once there is anything to redirect; at once if there is."""
        self._on_working = told
        if self.redirector is not None:
            told()

    def start(self) -> None:
        """Point what is configured to the sink, before conftests are imported."""
        if self.settings.redirects or self.settings.resets:
            self._working()

    @staticmethod
    def prepare() -> None:
        """Have at hand what the first redirect takes; a test's fake file system would be in what is imported later."""
        from pytest_session_guard._controls.redirect import Redirector  # noqa: F401

    def _working(self) -> Redirector:
        if self.redirector is None:
            # Imported here: most runs redirect nothing.
            from pytest_session_guard._controls.redirect import Redirector

            self.redirector = Redirector(
                self.settings.redirects,
                self.settings.resets,
                sink=self.make_sink(),
                project_roots=[self.places.rootdir],
                home=self.places.home,
                warn=lambda text, kind: warnings.warn(text, kind, stacklevel=2),
            )
            self.redirector.start()
            self._on_working()
        return self.redirector

    def declare(self, lines: Sequence[str], source: str) -> None:
        """Take in what conftests declare.

        :raises ConfigurationError: a line is no redirect.
        """
        for text in lines:
            self._working().add(_parsed(text, source))

    def add(self, target: str, place: str) -> None:
        """One more redirect in a running test, effective at once.

        :raises ConfigurationError: the target does not exist or the place leaves the private directory.
        """
        redirect = _parsed(f"{target} = {place}", "session_guard.redirect")
        self._working().enter_test(self.private_directory())
        self._working().add(redirect)

    def add_reset(self, target: str) -> None:
        """One more container, cache or value to start every test with.

        :raises ConfigurationError: there is no such attribute.
        """
        self._working().add_reset(target)

    def check(self) -> None:
        """See that every configured target is there; collection has ended.

        :raises ConfigurationError: one is not.
        """
        if self.redirector is not None:
            self.redirector.check()

    def enter_test(self) -> None:
        """Point targets into the test's private directory, and warn of who wrote since the last one."""
        if self.redirector is not None:
            self.tell_late_writers()
            self.redirector.enter_test(self.private_directory())

    def leave_test(self) -> None:
        """Point targets to the sink again."""
        if self.redirector is not None:
            self.redirector.leave_test()

    def tell_late_writers(self, at_last: bool = False) -> None:
        """Warn of what landed in the sink between tests."""
        if self.redirector is None:
            return
        for write in self.redirector.late_writes(at_last=at_last):
            warnings.warn(
                f"{write.change} between tests: {write.path!r}, by {self.writer_of(write.path) or UNSEEN}; "
                f"without the redirect of {write.target} it would have been {write.real!r} [late-writer]",
                LateWriterWarning,
                stacklevel=2,
            )

    def stop(self) -> None:
        """The end of the run: targets stay on the sink."""
        if self.redirector is not None:
            self.redirector.stop()


def _parsed(text: str, source: str) -> Redirect:
    return parse_redirect(Line(text, source))
