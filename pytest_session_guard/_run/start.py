"""How a run begins, in the controller and in its workers; and the one switch of the process."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pytest_session_guard._controls.audit import install, wrap_calls_without_events
from pytest_session_guard._controls.audit.locate import DirFdHint
from pytest_session_guard._controls.ledger import RunDirectory
from pytest_session_guard._core.errors import ConfigurationError, LedgerError
from pytest_session_guard._core.settings import Settings
from pytest_session_guard._run.canary import prove
from pytest_session_guard._run.exit import guard_exit
from pytest_session_guard._run.places import (
    Output,
    Places,
    build_policy,
    capture,
    check_outputs,
    removable_git_variables,
)
from pytest_session_guard._run.session import SessionRun
from pytest_session_guard._run.walls import Layer, enter_walls, join_overlay

RUN_VARIABLE: Final = "SESSION_GUARD_RUN"


@dataclass(frozen=True)
class StartRequest:
    """All that a run needs to know of pytest to begin.

    :param worker: the pytest-xdist worker's name, or ``""`` in the controller.
    :param has_workers: pytest-xdist will start workers.
    :param outputs: what pytest's own options say it will write.
    :param late: why the guard starts later than it should, or ``""``.
    """

    settings: Settings
    rootdir: str
    ini: str = ""
    basetemp: str = ""
    outputs: Sequence[Output] = ()
    worker: str = ""
    has_workers: bool = False
    late: str = ""
    pytest_version: str = ""


class _Process:
    """What this process has installed and cannot take back: the audit switch."""

    current: Final[list[SessionRun]] = []
    hooked: bool = False
    hint: Final = DirFdHint()


def active_run() -> SessionRun | None:
    """The run that guards this process now, if any."""
    return next((run for run in _Process.current if not run.finished), None)


def start(request: StartRequest, environ: MutableMapping[str, str]) -> SessionRun:
    """Guard this process from now on.

    :param environ: the process's environment; changed as `scrub` says.
    :raises ConfigurationError: an option's value cannot be used here.
    :raises LedgerError: the ledger cannot be kept.
    :raises LayerUnavailableError: a required layer is not to be had.
    """
    settings = request.settings
    seen = {**environ, **_real_home(environ)} if request.worker else environ
    places = capture(
        request.rootdir, seen, basetemp=request.basetemp, outputs=request.outputs, ledger=settings.directory, ini=request.ini
    )  # fmt: skip
    policy, notes = build_policy(settings, places)
    if not request.worker:
        check_outputs(policy, places)
    directory = _join(environ) if request.worker else _create(settings, places)
    run = SessionRun(
        settings, places, policy, directory, request.worker or "main", _Process.hint, [*settings.notes, *notes]
    )
    if request.late:
        run.notes.append(request.late)
    run.scrubbed = scrub(environ)
    _enter_layers(run, request, environ)
    run.start_redirects(environ)
    _install_hook(run)
    prove(run)
    if run.is_controller:
        environ[RUN_VARIABLE] = json.dumps(
            {
                "directory": directory.path,
                "run": directory.run_id,
                "started_ns": directory.started_ns,
                "home": places.home,
                "overlay": run.walls.address,
                "layers": {name: layer.to_json() for name, layer in run.layers.items()},
            }
        )
        run.header = header_of(run, request)
        directory.write_header(run.header)
    guard_exit(run)
    return run


def start_unguarded(rootdir: str, ledger: str, environ: MutableMapping[str, str]) -> SessionRun:
    """A run that keeps a ledger and guards nothing: what ``session_guard = off`` leaves of the fixtures.

    :raises LedgerError: the ledger cannot be kept.
    """
    settings = Settings(mode="off", directory=ledger)
    places = capture(rootdir, environ, ledger=ledger)
    policy, notes = build_policy(settings, places)
    return SessionRun(settings, places, policy, RunDirectory.create(places.ledger), "main", DirFdHint(), list(notes))


def _real_home(environ: Mapping[str, str]) -> dict[str, str]:
    """The home that the controller captured: a worker may have been given another one already."""
    try:
        return {"HOME": str(json.loads(environ[RUN_VARIABLE])["home"])}
    except (KeyError, ValueError, TypeError):
        return {}


def _create(settings: Settings, places: Places) -> RunDirectory:
    try:
        return RunDirectory.create(places.ledger)
    except LedgerError as problem:
        raise ConfigurationError(
            "session_guard_dir",
            settings.directory_source,
            f"the ledger cannot be kept there ({problem.reason}), got {places.ledger!r}",
            "a directory that this user may write to, or session_guard = off",
        ) from problem


def _join(environ: MutableMapping[str, str]) -> RunDirectory:
    """The directory of the run that started this worker.

    :raises LedgerError: the environment names none.
    """
    try:
        known = json.loads(environ[RUN_VARIABLE])
        return RunDirectory(known["directory"], known["run"], known["started_ns"])
    except (KeyError, ValueError, TypeError) as problem:
        raise LedgerError(RUN_VARIABLE, f"names no run to join: {problem!r}") from problem


def scrub(environ: MutableMapping[str, str]) -> tuple[str, ...]:
    """Take out what sends git elsewhere than it looks, and keep read-only git commands from writing.

    :returns: the names that were taken out.
    """
    names = removable_git_variables(environ)
    for name in names:
        del environ[name]
    environ["GIT_OPTIONAL_LOCKS"] = "0"
    return names


def _enter_layers(run: SessionRun, request: StartRequest, environ: MutableMapping[str, str]) -> None:
    """Enter the kernel layers before anything else: what is opened or started earlier escapes them."""
    if run.is_controller:
        run.walls = enter_walls(
            run.settings,
            run.policy,
            run.places,
            run.directory.directory("overlay"),
            run.layers,
            for_workers=request.has_workers,
        )
        return
    layers = json.loads(environ[RUN_VARIABLE])["layers"]
    run.layers.update({name: Layer(layer["status"], layer["reason"], layer["abi"]) for name, layer in layers.items()})
    address = json.loads(environ[RUN_VARIABLE]).get("overlay")
    if address:
        run.walls = join_overlay(address, run.label, run.layers)


def _install_hook(run: SessionRun) -> None:
    """Make this run the one that answers for the process; the hook itself is installed once."""
    _Process.current[:] = [run]
    if run.layers["hook"].status != "enforced" or _Process.hooked:
        return
    _Process.hooked = True
    current = _Process.current
    install(lambda: current[0])
    wrap_calls_without_events(sys.audit, _Process.hint)


def header_of(run: SessionRun, request: StartRequest) -> dict[str, Any]:
    """What the run is, for the ledger and for the report."""
    return {
        "mode": run.settings.mode,
        "rootdir": run.places.rootdir,
        "python": platform.python_version(),
        "pytest": request.pytest_version,
        "platform": sys.platform,
        "pid": os.getpid(),
        "command": sys.argv,
    }
