"""The hooks that a conftest or another plugin may implement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pytest_session_guard._core.records import Touch

hookspec = pluggy.HookspecMarker("pytest")


@hookspec
def pytest_session_guard_zones(config: Any) -> Iterable[tuple[str, str]] | None:
    """Declare zones: pairs of a zone's word (``protected``, ``shared``, ``free``) and a path.

    Called once in each process, when the conftests of the command line have been loaded; counts from then on.
    """


@hookspec
def pytest_session_guard_redirects(config: Any) -> Iterable[str] | None:
    """Declare redirects: lines of ``TARGET = PLACE``, as in ``session_guard_redirect``."""


@hookspec
def pytest_session_guard_marker_formats() -> Iterable[Any] | None:
    """Give further formats of files that ``__test_artifact`` can be put into."""


@hookspec
def pytest_session_guard_touch(touch: Touch) -> None:
    """A touch that the policy forbids was seen; called after the test's phase in which it happened."""


@hookspec
def pytest_session_guard_report(report: dict[str, Any]) -> None:
    """The report is complete; ``report`` has the shape of the JSON report. Called once, by the controller."""
