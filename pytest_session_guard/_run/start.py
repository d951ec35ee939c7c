"""How a run begins, in the controller and in its workers; and the one switch of the process."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pytest_session_guard._controls.audit import BlindSpots, install, wrap_calls_without_events, wrap_moves
from pytest_session_guard._controls.audit.locate import DirFdHint
from pytest_session_guard._controls.ledger import RunDirectory
from pytest_session_guard._core.errors import ConfigurationError, LedgerError
from pytest_session_guard._core.settings import Settings
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Pattern, Policy
from pytest_session_guard._host.directories import Root
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.processes import descendants
from pytest_session_guard._run.canary import prove, prove_overlay
from pytest_session_guard._run.destinations import (
    check_basetemp_within_walls,
    check_outputs,
    check_temporary,
    check_workdirs,
    make_output,
    outputs_in_the_open,
    with_usable_workdirs,
)
from pytest_session_guard._run.entering import Introduction, enter_layers, wall_plan
from pytest_session_guard._run.exit import guard_exit, retire
from pytest_session_guard._run.handover import RUN_VARIABLE, Handover, read_policy
from pytest_session_guard._run.inherited import inherited
from pytest_session_guard._run.inventory import take_if_needed
from pytest_session_guard._run.places import (
    OUTPUT_SOURCE,
    Output,
    Places,
    build_policy,
    capture,
    removable_git_variables,
)
from pytest_session_guard._run.remote import Invitation
from pytest_session_guard._run.session import SessionRun
from pytest_session_guard._run.walls import (
    covered_places,
    insist,
    keeper_ahead,
    seal_if_needed,
    tell_ahead,
    wanted_layers,
    writable_places,
)

if TYPE_CHECKING:
    from pytest_session_guard._controls.overlay import Overlay


@dataclass(frozen=True)
class StartRequest:
    """All that a run needs to know of pytest to begin.

    :param worker: the pytest-xdist worker's name, or ``""`` in the controller.
    :param has_workers: pytest-xdist will start workers.
    :param workdirs: where it was told to let workers of this host work; where this worker works, when it was invited.
    :param outputs: what pytest's own options say it will write.
    :param late: why the guard starts later than it should, or ``""``.
    :param invitation: what the controller on another host asks, in its worker; that begins a run of its own.
    """

    settings: Settings
    rootdir: str
    ini: str = ""
    basetemp: str = ""
    outputs: Sequence[Output] = ()
    worker: str = ""
    has_workers: bool = False
    workdirs: Sequence[str] = ()
    late: str = ""
    pytest_version: str = ""
    invitation: Invitation | None = None


class _Process:
    """What this process has installed and cannot take back: the audit switch."""

    current: Final[list[SessionRun]] = []
    overlays: Final[list[Overlay]] = []
    hooked: bool = False
    hint: Final = DirFdHint()


def active_run() -> SessionRun | None:
    """The run that guards this process now, if any."""
    return next((run for run in _Process.current if not run.finished), None)


def own_runs() -> list[str]:
    """The directories of the runs that this process began."""
    return [run.directory.path for run in _Process.current]


def start(request: StartRequest, environ: MutableMapping[str, str]) -> SessionRun:
    """Guard this process from now on.

    :param environ: the process's environment; changed as `scrub` says, and told of the run for its children.
    :raises ConfigurationError: an option's value cannot be used here.
    :raises LedgerError: the ledger cannot be kept.
    :raises LayerUnavailableError: a required layer is not to be had.
    """
    settings = request.settings
    outer = Handover.parse(environ) if request.worker else None
    launch = Introduction.take(environ)
    standing = _standing_overlay()
    is_first = outer is None and launch is None and standing is None
    processes = _processes_before()
    with keeper_ahead("overlay" in wanted_layers(settings) and is_first, _stand_aside) as ahead:
        run = _make_run(request, environ, outer, launch, standing)
        if ahead is not None:
            tell_ahead(ahead, wall_plan(run, request.has_workers))
            ahead.settle()
        if run.is_controller:
            # Imported here: a worker tidies nothing.
            from pytest_session_guard._run.tidying import tidy

            run.notes += tidy(run.places.ledger, within_walls=standing is not None)
            watch_earlier(run, set(_own_descriptors()), processes)
        enter_layers(run, request.has_workers, outer, launch, ahead, standing)
    if run.walls.overlay is not None:
        _Process.overlays[:] = [run.walls.overlay]
    try:
        _begin(run, request, environ)
    except BaseException:
        # It never began: what comes later in this process has another guard, or none, and is not this run's.
        run.finished = True
        raise
    return run


def _begin(run: SessionRun, request: StartRequest, environ: MutableMapping[str, str]) -> None:
    """Inside the walls: install the rest, and prove it."""
    settings = request.settings
    run.root = next((earlier.root for earlier in _Process.current), None) or Root.if_movable()
    run.header = header_of(run, request)
    run.write_header()
    environ[RUN_VARIABLE] = run.handover().encode()
    run.start_redirects(environ)
    _install_hook(run)
    _retire_startup_hook()
    run.lookout.begin(run.walls)
    prove_overlay(run)
    if run.is_controller:
        policy, places = run.policy, run.places
        writable, covered = tuple(writable_places(policy, places)), tuple(covered_places(policy, places))
        run.exposed = seal_if_needed(settings, writable, covered, run.layers, places.temporary[1:])
        if run.layers["overlay"].holds or run.layers["seal"].holds:
            check_basetemp_within_walls(policy, places)
        run.inventory = take_if_needed(
            settings, lambda: run.policy, places, run.directory.path, run.layers, run.exposed
        )
    run.lookout.clear()
    run.tell_children()
    if not run.lookout.has_news():
        run.lookout.end()  # it was there to see the policy being written, and did not
    insist(settings, run.layers)
    prove(run)
    guard_exit(run)


def _standing_overlay() -> Overlay | None:
    """The overlay of an earlier session of this process, which cannot leave it; another thread than that one's is outside."""
    return next((overlay for overlay in _Process.overlays if overlay.is_around_here()), None)


def _own_descriptors() -> Iterator[int]:
    """What earlier sessions of this process hold open."""
    for overlay in _Process.overlays:
        yield from overlay.descriptors
    for run in _Process.current:
        yield from () if run.root is None else (run.root.fd,)
        yield from () if run.earlier is None else (one.fd for one in run.earlier.watched)


def _processes_before() -> list[int]:
    """This process's children and all below them, but for the keepers of earlier sessions.

    To be asked before a keeper is called: of a process that adopts orphans, as the first one of a container does, the keeper
    becomes a child.
    """
    keepers = {overlay.keeper_pid for overlay in _Process.overlays}
    return [pid for pid in descendants() if pid not in keepers]


def _stand_aside() -> None:
    """For the keeper: the hook that an earlier session left in this process has nothing to judge in that one's fork."""
    for run in _Process.current:
        run.gate.use(Policy((), (Pattern("*"),)))


def _make_run(
    request: StartRequest,
    environ: MutableMapping[str, str],
    outer: Handover | None,
    launch: Introduction | None,
    standing: Overlay | None,
) -> SessionRun:
    """The run as this process will know it, and its place on the disk."""
    settings = request.settings
    places, policy, notes = prepare(request, environ)
    if standing is not None:
        standing.insist_on_real((places.rootdir, os.path.dirname(places.ledger)))
    if outer is not None:
        # The controller looked before anything was redirected; a worker goes by what it saw.
        policy, told = read_policy(outer.directory)
        places = replace(places, homes=tuple(told["homes"]), ledger=told["ledger"])
        directory = RunDirectory(outer.directory, outer.run_id, outer.started_ns)
    elif launch is not None:
        directory = RunDirectory(launch.directory, launch.run_id, launch.started_ns)
    else:
        directory = _create(settings, places)
    run = SessionRun(
        settings, places, policy, directory, request.worker or "main", _Process.hint, [*settings.notes, *notes]
    )
    run.invitation = request.invitation
    if request.late:
        run.notes.append(request.late)
    run.scrubbed = scrub(environ)
    run.supervised = launch is not None
    if run.is_controller:
        make_workdirs(run)
        if {"overlay", "seal"} & {*wanted_layers(settings)}:
            for output in outputs_in_the_open(policy, places):
                make_output(output)
    return run


def watch_earlier(run: SessionRun, own: Collection[int] = (), processes: Collection[int] = ()) -> None:
    """List what was there before the guard, and keep the state of what it leads to.

    :param own: descriptors of the guard's own.
    :param processes: as of `inherited`.
    """
    found = inherited(run.policy, run.places.ledger, own, processes)
    if found:
        # Imported here: most runs have nothing to watch.
        from pytest_session_guard._run.earlier import Earlier

        run.earlier = Earlier(run.directory.run_id, lambda: run.policy)
        run.notes += run.earlier.watch(found)


def start_unguarded(rootdir: str, ledger: str, environ: MutableMapping[str, str]) -> SessionRun:
    """A run that keeps a ledger and guards nothing: what ``session_guard = off`` leaves of the fixtures.

    :raises LedgerError: the ledger cannot be kept.
    """
    settings = Settings(mode="off", directory=ledger)
    places = capture(rootdir, environ, ledger=ledger)
    policy, notes = build_policy(settings, places)
    return SessionRun(settings, places, policy, RunDirectory.create(places.ledger), "main", DirFdHint(), list(notes))


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


def make_workdirs(run: SessionRun) -> None:
    """Make the directories that workers will work in, as execnet would: inside the walls it is too late to make a place.

    :raises ConfigurationError: one cannot be made.
    """
    for path in run.places.workdirs:
        if os.path.lexists(path):
            continue
        run.ownership.intend(path, True)
        try:
            Raw.mkdir(path)
        except OSError as problem:
            raise ConfigurationError(
                "--tx chdir=",
                OUTPUT_SOURCE,
                f"cannot be made ({problem.strerror}), got {path!r}",
                "a directory whose parent is there",
            ) from problem


def scrub(environ: MutableMapping[str, str]) -> tuple[str, ...]:
    """Take out what sends git elsewhere than it looks, and keep read-only git commands from writing.

    :returns: the names that were taken out.
    """
    names = removable_git_variables(environ)
    for name in names:
        del environ[name]
    environ["GIT_OPTIONAL_LOCKS"] = "0"
    return names


def prepare(request: StartRequest, environ: Mapping[str, str]) -> tuple[Places, Policy, tuple[str, ...]]:
    """Where everything is, and the policy that follows.

    :raises ConfigurationError: a path cannot be used, or pytest was told to write over what is guarded.
    """
    settings = request.settings
    places = capture(
        request.rootdir,
        environ,
        basetemp=request.basetemp,
        outputs=request.outputs,
        ledger=settings.directory,
        ini=request.ini,
        workdirs=request.workdirs,
    )
    if request.invitation is not None:
        places = with_usable_workdirs(settings, places)
    policy, notes = build_policy(settings, places)
    if not request.worker:
        check_temporary(policy, places, environ)
        check_outputs(policy, places)
        if request.invitation is None:
            check_workdirs(policy, places)
    return places, policy, notes


def _install_hook(run: SessionRun) -> None:
    """Make this run the one that answers for the process; the hook itself is installed once."""
    for earlier in _Process.current:
        retire(earlier)
    _Process.current[:] = [run]
    if run.layers["hook"].status != "enforced" or _Process.hooked:
        return
    _Process.hooked = True
    current = _Process.current
    if run.layers["overlay"].holds:
        install(lambda: current[0])
    else:
        blind_spots = BlindSpots(sys.audit)
        install(lambda: current[0], blind_spots.importing)
        blind_spots.start()
    wrap_calls_without_events(sys.audit, _Process.hint)
    wrap_moves(lambda: current[0].contains if current[0].walls.are_around_here() else None)


def _retire_startup_hook() -> None:
    """A worker was guarded as a child until now; two hooks would judge and report everything twice."""
    startup = sys.modules.get("pytest_session_guard._startup")
    if startup is not None:
        startup.retire()


def header_of(run: SessionRun, request: StartRequest) -> dict[str, Any]:
    """What the run is, for the ledger and for the report."""
    invited = request.invitation
    return {
        "mode": run.settings.mode,
        "rootdir": run.places.rootdir,
        "python": platform.python_version(),
        "pytest": request.pytest_version,
        "platform": sys.platform,
        "pid": os.getpid(),
        "command": sys.argv,
        **({} if invited is None else {"worker": invited.worker, "controller": invited.run_id}),
    }
