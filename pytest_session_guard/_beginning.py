"""What a run needs to know of pytest to begin, and its beginning."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Final

import pytest

from pytest_session_guard._core.errors import SessionGuardError
from pytest_session_guard._core.settings import Settings
from pytest_session_guard._fixtures import GUARD
from pytest_session_guard._run.nested import call_nested, is_nested
from pytest_session_guard._run.places import Output
from pytest_session_guard._run.plan import PLAN_VARIABLE, tell_plan
from pytest_session_guard._run.relaunch import relaunch_if_late
from pytest_session_guard._run.remote import Invitation
from pytest_session_guard._run.start import StartRequest, active_run, own_runs, prepare, start
from pytest_session_guard._session_hooks import register
from pytest_session_guard._usage import usage_errors

if TYPE_CHECKING:
    from types import FrameType

    from pytest_session_guard._run.session import SessionRun

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


def begin(config: pytest.Config, settings: Settings, late: str) -> None:
    """Guard this process from now on, unless another run does.

    :param late: why the guard starts later than it should, or ``""``.
    """
    with usage_errors():
        invitation = Invitation.take(os.environ) if _worker_name() else None
        if invitation is not None:
            settings = invitation.applied(settings)
        # A run inside a test of a run (pytester in-process): the outer guard holds this process already.
        if active_run() is not None:
            config.add_cleanup(call_nested(os.environ))
            return
        request = _request(config, settings, late, invitation)
        if is_nested(os.environ, request.worker, own_runs()):
            return
        if PLAN_VARIABLE in os.environ:
            places, policy, _ = prepare(request, os.environ)
            tell_plan(os.environ[PLAN_VARIABLE], settings, places, policy, request.has_workers)
        if settings.mode != "off":
            relaunch_if_late(settings, _worker_name(), os.environ)
            try:
                config.stash[GUARD] = start(request, os.environ)
            except SessionGuardError:
                raise
            except OSError as problem:
                # No file, process or room to be had: nobody knows what stands by now, so nothing may run.
                raise pytest.UsageError(f"session-guard cannot begin: {problem}") from problem
            run = config.stash[GUARD]
            # Before the hooks: a conftest or an option that is refused leaves a session that nobody unconfigures.
            config.add_cleanup(lambda: _leave(run))
            register(config, run)


def _leave(run: SessionRun) -> None:
    """Pytest stops before it was configured: the next session of this process has a run of its own.

    Later on the session's own end is waited for: where that never comes, the run's word is not taken.
    """
    if run.finished or run.is_fork or run.is_configured:
        return
    problem = sys.exc_info()[1]
    # A conftest may end the process green, and then what it did before is to make that red.
    is_green = isinstance(problem, SystemExit) and not problem.code
    run.exit_status = 0 if is_green else int(pytest.ExitCode.USAGE_ERROR)
    run.end()


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
    log_file = _ini_of_pytest(config, "log_file")
    if isinstance(log_file, str) and log_file:
        yield Output("log_file", os.path.join(str(config.rootpath), log_file))
    if getattr(known, "cacheclear", False):
        # It removes what it takes for its cache as it starts.
        cache = os.path.expandvars(str(_ini_of_pytest(config, "cache_dir")))
        yield Output("--cache-clear", os.path.join(str(config.rootpath), os.path.expanduser(cache)))
    for report in getattr(known, "cov_report", None) or ():
        kind, _, path = str(report).partition(":")
        if path and kind in {"xml", "html", "json", "lcov", "annotate"}:
            yield Output("--cov-report", path, kind in {"html", "annotate"})
    if sys.pycache_prefix:
        yield Output("PYTHONPYCACHEPREFIX", sys.pycache_prefix, True)


def _ini_of_pytest(config: pytest.Config, name: str) -> object:
    """What the ini file says, ``None`` where the plugin that has the option was switched off (``-p no:logging``)."""
    try:
        return config.getini(name)
    except (KeyError, ValueError):
        return None


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
