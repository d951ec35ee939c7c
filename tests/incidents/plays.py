"""One run of a case: build its scene, start pytest in a process of its own, look at the data after it has ended."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

from .facts import Facts, list_differences
from .incident import Incident, Signal
from .outcomes import Guise, Outcome
from .scene import GUARD, Scene, build_scene, list_blocked_plugins, scratch_elsewhere
from .stand_ins import Nothing, StandIn

LIMIT_S: Final = 60
POLL_S: Final = 0.005
GUARDED: Final = frozenset(Guise) - {Guise.UNGUARDED, Guise.REDIRECTED}
WITH_LINE: Final = frozenset({Guise.LINE, Guise.LINE_REPORT})
TOLD: Final = re.compile(r" (refused|contained|preserved): '")
"""What a message about a touch says became of it; late ones come after the report is written."""
MODES: Final = {Guise.LINE: "enforce", Guise.LINE_REPORT: "report"}


def play(incident: Incident, guise: Guise, base: Path) -> Outcome:
    """Run the case once and say what it did.

    :param base: an empty directory for this run alone.
    """
    with scratch_elsewhere(incident, base) as elsewhere:
        scene = build_scene(incident, base, elsewhere)
        if guise in WITH_LINE:
            with (scene.checkout / "pytest.ini").open("a") as configuration:
                configuration.write(scene.fill(incident.line) + "\n")
        with incident.stand_in(scene) if incident.stand_in else nullcontext(Nothing()) as stand_in:
            scene.tokens.update(stand_in.tokens)
            return _measure(scene, guise, stand_in)


def _measure(scene: Scene, guise: Guise, stand_in: StandIn) -> Outcome:
    incident = scene.incident
    before = scene.facts() | stand_in.facts()
    code, output = _run(scene, guise)
    differences = _compare(scene, stand_in, before)
    left = None
    if guise in GUARDED and code == -signal.SIGKILL and _last_run(scene):
        output += _call(scene, "show")
    if guise is Guise.ENFORCE and differences and _last_run(scene):
        output += _call(scene, "restore")
        left = _compare(scene, stand_in, before)
    touches = _read_touches(scene)
    return Outcome(
        ended=_name_end(code),
        differences=differences,
        names_test=guise in GUARDED and _names_test(scene, output),
        names_path=guise in GUARDED and _names_path(scene, output),
        blames_bystander=_blames(touches, incident.bystanders),
        touches=tuple(sorted({touch["outcome"] for touch in touches} | set(TOLD.findall(output)))),
        left_after_restore=left,
        output=output,
    )


def _compare(scene: Scene, stand_in: StandIn, before: Facts) -> tuple[str, ...]:
    differences = list_differences(before, scene.facts() | stand_in.facts(), scene.incident.bystanders)
    # The Python version in the path of an environment is the machine's, not the case's.
    return tuple(re.sub(r"python3\.\d+", "python3", difference) for difference in differences)


def _run(scene: Scene, guise: Guise) -> tuple[int, str]:
    environment = _environment(scene, guise)
    directory = scene.fill(scene.incident.working_directory)
    # The cases destroy what these name; a slip here must never reach anything real.
    assert all(
        Path(place).is_relative_to(scene.base) for place in (environment["HOME"], environment["TMPDIR"], directory)
    )
    printed = scene.base / "printed"
    # A file and no pipe: what a killed run leaves behind would hold a pipe open.
    with printed.open("wb") as stream:
        process = subprocess.Popen(
            _command(scene, guise),
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    if scene.incident.kill_at:
        _kill_when(process, scene.tmp / scene.incident.kill_at)
    try:
        code = process.wait(LIMIT_S)
    finally:
        process.kill()
    return code, printed.read_text(errors="backslashreplace")


def _environment(scene: Scene, guise: Guise) -> dict[str, str]:
    environment = scene.environment()
    environment.update({name: scene.fill(value) for name, value in scene.incident.environment.items()})
    if guise is Guise.REDIRECTED:
        scratch = scene.base / "scratch-home"
        scratch.mkdir()
        places = {"HOME": "", "USERPROFILE": "", "XDG_CONFIG_HOME": ".config", "XDG_DATA_HOME": ".local/share"}
        places |= {"XDG_STATE_HOME": ".local/state", "XDG_CACHE_HOME": ".cache"}
        environment.update({name: str(scratch / place) for name, place in places.items()})
    return environment


def _command(scene: Scene, guise: Guise) -> list[str]:
    incident = scene.incident
    start = [scene.fill(word) for word in incident.command] or [
        scene.fill(incident.interpreter) or sys.executable,
        "-m",
        "pytest",
    ]
    mode = ["-p", f"no:{GUARD}"]
    if guise in GUARDED:
        mode = [f"--session-guard={MODES.get(guise, guise)}", f"--session-guard-json={scene.tmp / 'report.json'}"]
    blocked = list_blocked_plugins(incident.plugins)
    # The header lists what was taken from the environment under -v alone; elsewhere -v would name every test, culprit or not.
    verbosity = ["-v"] if incident.signal is Signal.DISARMED else []
    return [
        *start,
        *verbosity,
        "-p",
        "no:cacheprovider",
        *blocked,
        *mode,
        *(scene.fill(word) for word in incident.arguments),
    ]


def _kill_when(process: subprocess.Popen[bytes], sign: Path) -> None:
    """Send SIGKILL once ``sign`` exists; a run that ends before is left alone."""
    while process.poll() is None:
        if sign.exists():
            process.send_signal(signal.SIGKILL)
            return
        time.sleep(POLL_S)


def _name_end(code: int) -> str:
    if code == -signal.SIGKILL:
        return "killed"
    return "failed" if code else "passed"


def _names_test(scene: Scene, output: str) -> bool:
    """Say whether a line about a touch or a failure, or what stands in the header for it, names the culprit."""
    culprit = scene.incident.culprit
    if not culprit:
        return False
    label = "taken out of the environment: " if scene.incident.signal is Signal.DISARMED else r"(?:test|by): "
    return re.search(rf"^.*{label}.*{re.escape(culprit)}", output, re.MULTILINE) is not None


def _names_path(scene: Scene, output: str) -> bool:
    """Say whether a message about a touch, or the list of what can be restored, names the harmed path."""
    if not scene.incident.named_path:
        return False
    full = str(scene.resolve(scene.incident.named_path))
    listed = full.removeprefix(f"{scene.checkout}/")
    pattern = rf"{TOLD.pattern}{re.escape(full)}\b|^  {re.escape(listed)}\b"
    return re.search(pattern, output, re.MULTILINE) is not None


def _read_touches(scene: Scene) -> list[Mapping[str, Any]]:
    """Give the touches of the JSON report; none where the run was killed before it could write one."""
    report = scene.tmp / "report.json"
    if not report.exists():
        return []
    touches: list[Mapping[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["touches"]
    return touches


def _blames(touches: list[Mapping[str, Any]], bystanders: tuple[str, ...]) -> bool:
    return any(touch["path"].endswith(name) for touch in touches for name in bystanders)


def _last_run(scene: Scene) -> str:
    """Give the id of the guarded run in this scene, empty where there is none."""
    return max((path.name for path in scene.checkout.glob(".session_guard/runs/*")), default="")


def _call(scene: Scene, verb: str) -> str:
    """Call the command-line tool on the run, as a user would afterwards: ``restore`` what it changed, ``show`` what it did."""
    command = [sys.executable, "-m", "pytest_session_guard", verb, _last_run(scene)]
    environment = scene.environment()
    done = subprocess.run(
        command, cwd=scene.checkout, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    return f"\n$ {' '.join(command)}\n{done.stdout}{done.stderr}"
