"""The proof, on every run, that each layer holds: a forbidden write really tried, by this process and by a child."""

from __future__ import annotations

import errno
import os
import signal
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from pytest_session_guard._core.errors import LayerUnavailableError, ProtectedPathError
from pytest_session_guard._host.fsops import OwnPath, Raw
from pytest_session_guard._run.walls import Layer

if TYPE_CHECKING:
    from pytest_session_guard._run.session import SessionRun

# A place of the run's own that is protected as the real ones are, and gets an overlay as they do.
CANARY_DIRECTORY: Final = "canary"
NAME: Final = "forbidden"
CHILD_LIMIT_S: Final = 5.0
_WENT_THROUGH: Final = "its canary died: a forbidden write went through"
DIED: Final[Mapping[str, str]] = {
    "hook": _WENT_THROUGH,
    "overlay": _WENT_THROUGH,
    "seal": _WENT_THROUGH,
    "manifest": "its canary died: a forbidden write was not seen",
}
CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC


def prove_overlay(run: SessionRun) -> None:
    """Try the overlay before the next best layer is entered, which takes its place where it does not hold.

    :raises LayerUnavailableError: it is required, and does not hold.
    """
    _prove(run, {"overlay": _try_overlay})


def prove(run: SessionRun) -> None:
    """Try each other layer that claims to hold; one that does not loses its claim.

    :raises LayerUnavailableError: a required layer does not hold.
    """
    _prove(run, {"hook": _try_hook, "seal": _try_seal, "manifest": _try_manifest})


def _prove(run: SessionRun, trials: Mapping[str, Callable[[SessionRun], str]]) -> None:
    for name, trial in trials.items():
        if not run.layers[name].holds:
            run.canary[name] = "skipped"
            continue
        answer = trial(run)
        run.canary[name] = answer
        if answer == "failed":
            run.layers[name] = Layer("unavailable", DIED[name])
            if name in run.settings.require or name in run.settings.layers:
                raise LayerUnavailableError(name, run.layers[name].reason)


def _try_hook(run: SessionRun) -> str:
    """Write where nobody may, in the run's own scratch place; the hook must raise, here and in a forked child."""
    path = f"{run.directory.directory(CANARY_DIRECTORY)}/{NAME}"
    with run.trying():
        held = _is_refused(path)
        inherited = held and in_child(lambda: _is_refused(path))
    if os.path.lexists(path):
        Raw.unlink(OwnPath(path))
        return "failed"
    if held and not inherited:
        run.layers["hook"] = Layer("partial", "a forked child gave no proof that it is held too")
    return "refused" if held else "failed"


def _is_refused(path: str) -> bool:
    try:
        os.close(os.open(path, CREATE, 0o600))
    except ProtectedPathError:
        return True
    return False


def _try_overlay(run: SessionRun) -> str:
    """Write there past the hook; the layer must have it."""
    overlay = run.walls.overlay
    assert overlay is not None, "unreachable because the layer claims to hold"
    place = run.directory.directory(CANARY_DIRECTORY)
    paths = [f"{place}/{NAME}-{run.label}-{who}" for who in ("process", "child")]
    run.lookout.clear()
    try:
        _create(paths[0])
    except OSError as problem:
        return _read_only_instead(problem, paths[1])
    noticed = run.lookout.has_news()
    run.lookout.clear()
    if not in_child(lambda: _create(paths[1])):
        run.layers["overlay"] = Layer("partial", "a forked child gave no proof that it is held too")
        paths.pop()
    elif not (noticed and run.lookout.has_news()):
        run.lookout.end()  # the kernel keeps it in the dark; without, every phase has its look
    landed = {change.path for change in overlay.changes() if change.kind == "created"}
    for path in paths:
        if os.path.lexists(path):
            Raw.unlink(OwnPath(path))
    overlay.forget(place)  # what was tried there is nobody's touch
    return "contained" if landed >= set(paths) else "failed"


def _read_only_instead(problem: OSError, path: str) -> str:
    """Where an overlay could not be had the place is read-only, as the layer's reason says; that holds too."""

    def is_read_only() -> bool:
        try:
            return not _create(path)
        except OSError as problem:
            return problem.errno == errno.EROFS

    return "refused" if problem.errno == errno.EROFS and in_child(is_read_only) else "failed"


def _try_seal(run: SessionRun) -> str:
    """Open a nameless file for writing in a home; the kernel must refuse. Were it not to, the file leaves no trace."""
    flags = getattr(os, "O_TMPFILE", 0) | os.O_WRONLY | os.O_CLOEXEC
    homes = (home for home in run.places.homes if home not in run.exposed and os.access(home, os.W_OK))
    place = next(homes, None)
    if place is None:
        return "skipped"

    def is_refused() -> bool:
        try:
            Raw.close(Raw.open(OwnPath(place), flags, 0o600))
        except OSError as problem:
            return problem.errno in (errno.EACCES, errno.EPERM)
        return False

    return "refused" if is_refused() and in_child(is_refused) else "failed"


def _try_manifest(run: SessionRun) -> str:
    """Write there past the hook, and compare: it holds nothing, and must see everything."""
    if run.inventory is None:
        return "skipped"  # a worker leaves it to the controller
    from pytest_session_guard._controls.manifest import Manifest

    place = run.directory.directory(CANARY_DIRECTORY)
    paths = [f"{place}/{NAME}-{run.label}-{who}" for who in ("process", "child")]
    manifest = Manifest.take([place], lambda path: False, directory=run.directory.path)
    try:
        _create(paths[0])
        if not in_child(lambda: _create(paths[1])):
            paths.pop()
        seen = {one.path for one in manifest.differences() if one.kind == "created"}
        for path in paths:
            Raw.unlink(OwnPath(path))
    finally:
        manifest.close()
    return "seen" if seen >= set(paths) else "failed"


def _create(path: str) -> bool:
    Raw.close(Raw.open(OwnPath(path), CREATE, 0o600))
    return True


def in_child(trial: Callable[[], bool]) -> bool:
    """What a trial answers in a forked child; ``False`` too when the child does not come back.

    Beside a subinterpreter, or a thread that holds a lock, a forked child of CPython may hang or crash.
    """
    with warnings.catch_warnings():
        # Since 3.12 a fork beside threads warns; this child makes two system calls and leaves.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            pid = os.fork()
        except OSError:
            return False  # where no process can be made (a limit), none gives a proof
    if pid == 0:
        status = 1
        try:
            status = 0 if trial() else 1
        finally:
            Raw.exit_now(status)
    deadline = time.monotonic() + CHILD_LIMIT_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.0005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False
