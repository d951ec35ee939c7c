"""The pytest plugin: its options, and how it begins a run. From there on the hooks of the session take over."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from pytest_session_guard import hookspecs
from pytest_session_guard._core.settings import ENVIRONMENT_MODE, OPTIONS, Option, Settings, Value, merge
from pytest_session_guard._fixtures import GUARD, session_dir, session_guard, session_index
from pytest_session_guard._report.text import header
from pytest_session_guard._run.nested import NESTED_VARIABLE, is_nested
from pytest_session_guard._run.places import Output, declared_zones
from pytest_session_guard._run.plan import PLAN_VARIABLE, tell_plan
from pytest_session_guard._run.relaunch import relaunch_if_threaded
from pytest_session_guard._run.remote import INPUT_KEY, Invitation
from pytest_session_guard._run.start import StartRequest, active_run, own_runs, prepare, start
from pytest_session_guard._session_hooks import register, usage_errors
from pytest_session_guard._workers import NAME as WORKERS
from pytest_session_guard._workers import Workers

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["session_dir", "session_guard", "session_index"]

# Options of pytest and of well-known plugins that name a file or directory to write: attribute and flag.
OUTPUTS: Final = (
    ("xmlpath", "--junitxml"),
    ("log_file", "--log-file"),
    ("debug", "--debug"),
    ("htmlpath", "--html"),
    ("report_log", "--report-log"),
    ("json_report_file", "--json-report-file"),
    ("session_guard_json", "--session-guard-json"),
    ("session_guard_html", "--session-guard-html"),
)
# What a pytest-xdist worker writes too; the rest is its controller's to write.
WORKERS_OUTPUTS: Final = frozenset({"--log-file", "log_file", "--debug", "PYTHONPYCACHEPREFIX"})
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
        zones = config.hook.pytest_session_guard_zones(config=config)
        redirects = config.hook.pytest_session_guard_redirects(config=config)
        with usage_errors():
            run.declare(zones, redirects)
        formats = config.hook.pytest_session_guard_marker_formats()
        run.desk.formats = tuple(one for answer in formats for one in answer or ())
        run.enter("", "collection")
        if run.invitation is not None:
            cast("Any", config).workerinput[INPUT_KEY].send(run.invitation.worker)
        elif run.is_controller and getattr(config.option, "tx", None):
            config.pluginmanager.register(Workers(config, run), WORKERS)


def _begin(config: pytest.Config, late: str) -> None:
    if GUARD in config.stash:
        return
    with usage_errors():
        settings = merge(raw_values(config))
        invitation = Invitation.take(os.environ) if _worker_name() else None
        if invitation is not None:
            settings = invitation.applied(settings)
        # A run inside a test of a run (pytester in-process): the outer guard holds this process already.
        if active_run() is not None:
            return
        request = _request(config, settings, late, invitation)
        if is_nested(os.environ, request.worker, own_runs()):
            return
        if PLAN_VARIABLE in os.environ:
            places, policy, _ = prepare(request, os.environ)
            tell_plan(os.environ[PLAN_VARIABLE], settings, places, policy, request.has_workers)
        if settings.mode != "off":
            relaunch_if_threaded(settings, _worker_name(), os.environ)
            config.stash[GUARD] = start(request, os.environ)
            register(config, config.stash[GUARD])


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


def _request(config: pytest.Config, settings: Settings, late: str, invitation: Invitation | None) -> StartRequest:
    known = config.known_args_namespace
    outputs = tuple(_outputs(config))
    if invitation is not None:
        # It begins a run of its own on its host; base temp and workers are the controller's affair.
        outputs = tuple(output for output in outputs if output.option in WORKERS_OUTPUTS)
    is_alone = invitation is None
    return StartRequest(
        settings=settings,
        rootdir=str(config.rootpath),
        ini=config.inipath.name if config.inipath is not None else "",
        basetemp=str(getattr(known, "basetemp", None) or "") if is_alone else "",
        outputs=outputs,
        worker=_worker_name() if is_alone else "",
        has_workers=is_alone and bool(getattr(known, "numprocesses", 0) or getattr(known, "tx", ())),
        workdirs=tuple(_workdirs(known)) if is_alone else (os.getcwd(),),
        late=late,
        pytest_version=pytest.__version__,
        invitation=invitation,
    )


def _outputs(config: pytest.Config) -> Generator[Output]:
    known = config.known_args_namespace
    for dest, flag in OUTPUTS:
        value = getattr(known, dest, None)
        if isinstance(value, str) and value:
            yield Output(
                flag, os.path.join(str(config.invocation_params.dir), os.path.expanduser(os.path.expandvars(value)))
            )
    log_file = config.getini("log_file")
    if isinstance(log_file, str) and log_file:
        yield Output("log_file", os.path.join(str(config.rootpath), log_file))
    for report in getattr(known, "cov_report", None) or ():
        kind, _, path = str(report).partition(":")
        if path and kind in {"xml", "html", "json", "lcov", "annotate"}:
            yield Output("--cov-report", path)
    if sys.pycache_prefix:
        yield Output("PYTHONPYCACHEPREFIX", sys.pycache_prefix)


def _workdirs(known: object) -> Generator[str]:
    """The directories that ``--tx popen//chdir=…`` names: its workers are children of this process, and work there."""
    for spec in (*(getattr(known, "tx", None) or ()), *(getattr(known, "px", None) or ())):
        parts = str(spec).partition("*")[2 if str(spec).partition("*")[0].isdigit() else 0].split("//")
        if "popen" in parts:
            yield from (part.removeprefix("chdir=") for part in parts if part.startswith("chdir="))


def _worker_name() -> str:
    """The name of the pytest-xdist worker that this process is, or ``""``.

    A worker's configuration knows its ``workerinput`` too late for us, and the environment variable is inherited by every
    pytest that a test starts; the worker's own main loop on the stack is neither.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "__channelexec__":
            return os.environ.get("PYTEST_XDIST_WORKER", "")
        frame = frame.f_back
    return ""


def pytest_report_header(config: pytest.Config) -> list[str]:
    """One line: mode, layers, zones; under ``-v`` what was taken out of the environment."""
    run = config.stash.get(GUARD, None)
    if run is None:
        return ["session-guard: held by the run that started this one"] if NESTED_VARIABLE in os.environ else []
    states = {name: layer.status for name, layer in run.layers.items()}
    lines = [header(run.settings.mode, states, declared_zones(run.policy), run.places.home, run.notes)]
    if run.scrubbed and config.get_verbosity() > 0:
        lines.append(f"session-guard: taken out of the environment: {', '.join(run.scrubbed)}")
    return lines
