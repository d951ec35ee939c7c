"""What `session-guard doctor` tries, one trial a process: none of it can be taken back, so each gets a process of its own.

A trial has a scratch directory that holds ``project`` (a rootdir), ``data`` (protected, with a file in it) and ``free``.
It enters one layer as a run would, does harm in its own process and through a shell, and says what came of it. Whether
the file is still as it was is looked at from outside, by `doctor`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from pytest_session_guard._core.errors import LayerUnavailableError, SessionGuardError
from pytest_session_guard._core.settings import Line, Settings
from pytest_session_guard._host.support import HAS_KERNEL_LAYERS, LINUX_ONLY
from pytest_session_guard._run.finding import FILE

if TYPE_CHECKING:
    from pytest_session_guard._run.session import SessionRun


def try_hook(scratch: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The audit hook: harm by this process and by a forked child must raise."""
    run = _start(scratch, environ, "hook")
    return {**_state_of(run, "hook"), "refused": _refuses_here(scratch)}


def try_overlay(scratch: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The overlay, over this user's real home and the scratch: harm by a shell must land in the throw-away layer."""
    if not HAS_KERNEL_LAYERS:
        raise LayerUnavailableError("overlay", LINUX_ONLY)
    run = _start(scratch, environ, "overlay")
    _shell_harms(scratch)
    seen = any(change.path == f"{scratch}/data/{FILE}" for change in run.walls.changes())
    return {**_state_of(run, "overlay"), "seen": seen}


def try_seal(scratch: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The seal: harm by a shell must fail, and writing where it is allowed must not."""
    if not HAS_KERNEL_LAYERS:
        raise LayerUnavailableError("seal", LINUX_ONLY)
    from pytest_session_guard._controls.seal import enter

    seal = enter((f"{scratch}/free",))
    refused = not _shell_harms(scratch)
    with open(f"{scratch}/free/new.txt", "w", encoding="ascii") as file:
        file.write("allowed")
    return {"status": seal.status, "reason": seal.reason, "abi": seal.abi, "refused": refused}


def try_manifest(scratch: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The manifest: harm by a shell must show as a difference."""
    from pytest_session_guard._controls.manifest import Manifest

    manifest = Manifest.take([f"{scratch}/data"], lambda path: False)
    _shell_harms(scratch)
    seen = any(difference.path == f"{scratch}/data/{FILE}" for difference in manifest.differences())
    return {"status": "enforced", "reason": "", "seen": seen}


TRIALS: Final[Mapping[str, Callable[[str, Mapping[str, str]], dict[str, Any]]]] = {
    "hook": try_hook,
    "overlay": try_overlay,
    "seal": try_seal,
    "manifest": try_manifest,
}


def attempt(name: str, scratch: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """What a trial says, also where the layer is not to be had."""
    try:
        return TRIALS[name](scratch, environ)
    except LayerUnavailableError as problem:
        return {"status": "unavailable", "reason": problem.reason}
    except (SessionGuardError, OSError, ImportError, AttributeError) as problem:
        return {"status": "unavailable", "reason": f"{type(problem).__name__}: {problem}"}


def _start(scratch: str, environ: Mapping[str, str], layer: str) -> SessionRun:
    """Begin a run in the scratch project, with the hook and one layer."""
    from pytest_session_guard._run.start import StartRequest, start

    layers = tuple(dict.fromkeys(("hook", layer)))
    settings = Settings(layers=layers, protect=(Line(f"{scratch}/data", "doctor"),))
    return start(StartRequest(settings, f"{scratch}/project"), dict(environ))


def _state_of(run: SessionRun, layer: str) -> dict[str, Any]:
    return {**run.layers[layer].to_json(), "canary": run.canary.get(layer, "skipped")}


def _refuses_here(scratch: str) -> bool:
    try:
        with open(f"{scratch}/data/{FILE}", "w", encoding="ascii") as file:
            file.write("harmed")
    except PermissionError:
        return True
    return False


def _shell_harms(scratch: str) -> bool:
    """Let a shell overwrite the file; whether it could, as the shell sees it."""
    script = 'echo harmed > "$0"'
    if sys.platform == "win32":
        command = ["cmd", "/c", f"echo harmed> {scratch}\\data\\{FILE}"]
    else:
        command = ["/bin/sh", "-c", script, os.path.join(scratch, "data", FILE)]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
