"""What holds for one test alone: rules of its mark, and copy-on-write views of real data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from pytest_session_guard._core.errors import ConfigurationError, LayerUnavailableError
from pytest_session_guard._core.settings import Line, check_path
from pytest_session_guard._core.zones import Policy, Rule, extended, freed, is_within
from pytest_session_guard._host.fsops import lstat_or_none
from pytest_session_guard._host.identity import resolve_missing
from pytest_session_guard._run.places import expand

if TYPE_CHECKING:
    from pytest_session_guard._run.session import SessionRun


class Narrowing:
    """Gives a run another policy for a while."""

    def __init__(self, run: SessionRun) -> None:
        self._run = run
        self._views: list[str] = []

    def begin(self, until_its_end: ExitStack, rules: Sequence[Rule], pristine: Iterable[str]) -> None:
        """Let a test's own rules count, and its views stand, until the stack is closed.

        :raises LayerUnavailableError: a view was asked for and there is no overlay.
        """
        if rules:
            until_its_end.enter_context(self._under(extended(self._run.policy, rules)))
        for path in pristine:
            until_its_end.enter_context(self.pristine(path))

    @contextmanager
    def _under(self, policy: Policy) -> Iterator[None]:
        """Go by another policy inside, this process and the children that it starts."""
        run = self._run
        before = run.policy
        run.use(policy)
        run.tell_children()
        try:
            yield
        finally:
            run.use(before)
            run.tell_children()

    @contextmanager
    def pristine(self, path: str) -> Iterator[str]:
        """Inside, real data may be changed at will: what is seen is a copy-on-write view, gone afterwards.

        :returns: the real path.
        :raises LayerUnavailableError: there is no overlay, or it refused.
        :raises ConfigurationError: nothing is there.
        """
        run = self._run
        overlay = run.walls.overlay
        if overlay is None:
            reason = run.layers["overlay"].reason or "it was not asked for (session_guard_layers)"
            raise LayerUnavailableError("overlay", f"{reason}; a pristine view needs it")
        real = resolve_missing(expand("pristine", check_path("pristine", Line(path, "pristine")), run.places))
        if lstat_or_none(real) is None:
            raise ConfigurationError(
                "pristine", "mark or fixture", f"does not exist, got {path!r}", "data that is there"
            )
        if not run.is_quiet():
            run.look()
        with overlay.pristine(real), self._under(freed(run.policy, real, "pristine")):
            self._views.append(real)
            try:
                yield real
            finally:
                self._views.remove(real)
                # What was heard in the view is judged while it stands: nothing is forbidden there.
                if not run.is_quiet():
                    run.look()

    def shows(self, path: str) -> bool:
        """Whether a path lies in a view."""
        return any(is_within(path, view) for view in self._views)
