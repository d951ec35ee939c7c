"""pytest-session-guard: a test run can change only what the run created.

The rooms: `_core` decides (pure), `_host` makes system calls, `_controls` refuse, see and mend (siblings that do not
know each other), `_run` combines them into the life of a run, `_report` puts it into words; `plugin`, `_fixtures` and
`cli` face pytest and people; `contracts` is for the suites of session stores; `_startup` reaches the Python children.
Importing this package imports neither pytest nor any of that: a name is looked up when it is used, because every Python
child of a guarded run imports the package.

PYTEST_DONT_REWRITE: there is no assertion in here to rewrite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_session_guard._core.errors import (
        ConfigurationError,
        DataChangedError,
        LateWriterWarning,
        LayerUnavailableError,
        LedgerError,
        MarkerError,
        NotCreatedByRunError,
        PreimageError,
        ProtectedPathError,
        RedirectWarning,
        SessionGuardError,
        SessionGuardWarning,
    )
    from pytest_session_guard._core.marking import MarkerFormat
    from pytest_session_guard._core.records import Touch

__all__ = [
    "ConfigurationError",
    "DataChangedError",
    "LateWriterWarning",
    "LayerUnavailableError",
    "LedgerError",
    "MarkerError",
    "MarkerFormat",
    "NotCreatedByRunError",
    "PreimageError",
    "ProtectedPathError",
    "RedirectWarning",
    "SessionGuardError",
    "SessionGuardWarning",
    "Touch",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = {"MarkerFormat": "marking", "Touch": "records"}.get(name, "errors")
    return getattr(import_module(f"{__name__}._core.{home}"), name)


def pytest_plugin_registered(plugin: object, manager: Any) -> None:
    """Bring the plugin itself in when this package was named as one (``-p``, or ``pytest_plugins`` of a conftest).

    The entry point may have brought it in already, and ``-p no:session_guard`` may have blocked it: then nothing happens.
    """
    import sys

    if plugin is not sys.modules[__name__] or manager.is_blocked("session_guard"):
        return
    from pytest_session_guard import plugin as adapter

    if not manager.is_registered(adapter):
        manager.register(adapter, "session_guard")
