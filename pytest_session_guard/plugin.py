"""The pytest plugin: its options, and when it begins a run. From there on the hooks of the session take over."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from pytest_session_guard import hookspecs
from pytest_session_guard._core.platforms import insist_on_platform, is_supported
from pytest_session_guard._core.settings import ENVIRONMENT_MODE, OPTIONS, Option, Value, merge
from pytest_session_guard._fixtures import GUARD, session_dir, session_guard, session_index
from pytest_session_guard._usage import usage_errors

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["session_dir", "session_guard", "session_index"]

PACKAGE: Final = "pytest_session_guard."
MARK: Final = (
    "session_guard(protect=(), share=(), pristine=(), reason=''): "
    "narrow what this test may touch; share only what the configuration shares (pytest-session-guard)"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the option table on the command line and in the ini file."""
    group = parser.getgroup("session-guard", "keep real data from harm (pytest-session-guard)")
    for option in OPTIONS:
        text = f"{option.help} ({option.allowed}{f'; default: {option.default}' if option.default else ''})"
        if option.flag:
            action = "append" if option.kind == "lines" else "store"
            group.addoption(
                option.flag, action=action, dest=option.dest, metavar=option.metavar, default=None, help=text
            )
        if option.ini:
            kind = "linelist" if option.kind == "lines" else "string"
            parser.addini(option.ini, text, type=kind, default=None)  # type: ignore[arg-type]


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Offer our own hooks."""
    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Begin before any conftest is imported.

    A wrapper, so that it is before pytest's own capturing too: what starts over must not inherit captured streams.
    """
    known = early_config.known_args_namespace
    if not (getattr(known, "version", 0) or getattr(known, "help", False)):
        _begin(early_config, late="")
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the mark; begin here at the latest; take in what conftests declare."""
    config.addinivalue_line("markers", MARK)
    if getattr(config.option, "version", 0) or getattr(config.option, "help", False):
        return
    _begin(config, late="started late: activated from a conftest, whose siblings were imported unguarded")
    run = config.stash.get(GUARD, None)
    if run is not None:
        run.is_configured = True
        zones = config.hook.pytest_session_guard_zones(config=config)
        redirects = config.hook.pytest_session_guard_redirects(config=config)
        with usage_errors():
            # Imported here: only a run declares.
            from pytest_session_guard._run.declarations import declare, formats_of_hooks

            declare(run, zones, redirects)
            run.desk.formats = formats_of_hooks(config.hook.pytest_session_guard_marker_formats())
        run.enter("", "collection")
        if run.invitation is not None:
            from pytest_session_guard._run.remote import INPUT_KEY

            cast("Any", config).workerinput[INPUT_KEY].send(run.invitation.worker)
        elif run.is_controller and getattr(config.option, "tx", None):
            from pytest_session_guard._workers import NAME, Workers

            config.pluginmanager.register(Workers(config, run), NAME)


def _begin(config: pytest.Config, late: str) -> None:
    if GUARD in config.stash:
        return
    with usage_errors():
        settings = merge(raw_values(config))
        if settings.mode == "off" and not _is_told_of_a_run():
            return
        insist_on_platform(os.name)
        # Imported here: a pytest that runs no test, or that nobody guards, need not pay for it.
        with unrewritten():
            from pytest_session_guard._beginning import begin

            begin(config, settings, late)


def _is_told_of_a_run() -> bool:
    """Whether another process of a run has left word in the environment."""
    return is_supported(os.name) and any(name.startswith("SESSION_GUARD_") for name in os.environ)


class _OwnModules:
    """Finds the modules of this package, past pytest's rewriting of assertions: that looks into each, and finds none."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Where a module of this package is."""
        return PathFinder.find_spec(name, path, target) if name.startswith(PACKAGE) else None


@contextmanager
def unrewritten() -> Iterator[None]:
    """Import inside as Python itself would."""
    sys.meta_path.insert(0, _OwnModules)
    try:
        yield
    finally:
        sys.meta_path.remove(_OwnModules)


def raw_values(config: pytest.Config) -> dict[str, list[Value]]:
    """What the user set, by option and strongest source first."""
    return {option.name: list(_values_of(config, option)) for option in OPTIONS}


def _values_of(config: pytest.Config, option: Option) -> Generator[Value]:
    if option.flag:
        given = getattr(config.option, option.dest, None)
        if given is None:
            given = getattr(config.known_args_namespace, option.dest, None)
        if given is not None:
            yield Value(given, f"command line: {option.flag}")
    if option.ini:
        written = config.getini(option.ini)
        if written is not None:
            yield Value(written, _ini_source(config, option))
    if option.ini == "session_guard" and os.environ.get(ENVIRONMENT_MODE):
        yield Value(os.environ[ENVIRONMENT_MODE], ENVIRONMENT_MODE)


def _ini_source(config: pytest.Config, option: Option) -> str:
    overridden = (
        getattr(config.option, "override_ini", None) or getattr(config.known_args_namespace, "override_ini", None) or ()
    )
    if any(word.partition("=")[0] == option.ini for word in overridden):
        return "command line: -o"
    return config.inipath.name if config.inipath is not None else "ini"


def pytest_report_header(config: pytest.Config) -> list[str]:
    """One line: mode, layers, zones; under ``-v`` what was taken out of the environment."""
    run = config.stash.get(GUARD, None)
    if run is None:
        return ["session-guard: held by the run that started this one"] if _is_held_by_another() else []
    from pytest_session_guard._report.text import header
    from pytest_session_guard._run.places import declared_zones

    states = {name: layer.in_header() for name, layer in run.layers.items()}
    lines = [header(run.settings.mode, states, declared_zones(run.policy), run.places.home, run.notes)]
    if run.scrubbed and config.get_verbosity() > 0:
        lines.append(f"session-guard: taken out of the environment: {', '.join(run.scrubbed)}")
    return lines


def _is_held_by_another() -> bool:
    if not _is_told_of_a_run():
        return False
    from pytest_session_guard._run.nested import NESTED_VARIABLE

    return NESTED_VARIABLE in os.environ
