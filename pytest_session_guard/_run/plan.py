"""What a launcher must know before it starts: pytest itself says so, in a rehearsal that ends before any conftest.

Only pytest knows where its rootdir is and what its ini file says. The rehearsal runs behind the strictest wall there is
(homes and working directory covered, the disk read-only), because the plugins that it imports may do anything.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from pytest_session_guard._core.errors import LayerUnavailableError
from pytest_session_guard._core.settings import Settings
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Policy
from pytest_session_guard._host.fsops import Raw, replace_file
from pytest_session_guard._host.processes import end_children
from pytest_session_guard._host.support import HAS_KERNEL_LAYERS
from pytest_session_guard._run.destinations import outputs_in_the_open
from pytest_session_guard._run.places import Places, busy_places, capture
from pytest_session_guard._run.walls import covered_places, freed_names, shared_places, wanted_layers, writable_places

PLAN_VARIABLE: Final = "SESSION_GUARD_PLAN"


@dataclass(frozen=True)
class Plan:
    """What pytest will do, as builtins.

    :param layers: those that are wanted; under ``auto`` the first kernel layer that is to be had is enough.
    :param outputs: what pytest will write where all around is read-only: path, and whether it is a directory.
    :param busy: where the system writes at all hours, inside what is covered.
    """

    mode: str
    ledger: str
    layers: tuple[str, ...]
    is_auto: bool
    require: tuple[str, ...]
    writable: tuple[str, ...]
    covered: tuple[str, ...]
    outputs: tuple[tuple[str, bool], ...]
    shared: tuple[str, ...]
    freed: tuple[tuple[str, str], ...]
    has_workers: bool
    json_path: str
    html_path: str
    busy: tuple[str, ...] = ()


USAGE_ERROR: Final = 4  # pytest's own


class RehearsalError(Exception):
    """The rehearsal ended without a plan.

    :param status: its exit status, which pytest would have had too.
    :param output: what it said.
    :param has_run: it may have run tests, because it ended neither at once nor with a usage error.
    """

    def __init__(self, status: int, output: bytes, has_run: bool) -> None:
        super().__init__(status, output, has_run)
        self.status = status
        self.output = output
        self.has_run = has_run


def tell_plan(path: str, settings: Settings, places: Places, policy: Policy, has_workers: bool) -> None:
    """Answer the launcher and end this process: nothing of the suite has run, and nothing may.

    :raises OSError: the answer cannot be written.
    """
    plan = Plan(
        settings.mode,
        places.ledger,
        wanted_layers(settings),
        settings.layers == ("auto",),
        settings.require,
        tuple(writable_places(policy, places)),
        tuple(covered_places(policy, places)),
        tuple((out.path, out.is_directory) for out in outputs_in_the_open(policy, places)),
        shared_places(policy, settings.mode),
        freed_names(policy),
        has_workers,
        os.path.abspath(settings.json_path) if settings.json_path else "",
        os.path.abspath(settings.html_path) if settings.html_path else "",
        busy_places(places.homes),
    )
    replace_file(path, json.dumps(asdict(plan)).encode())
    end_children()
    Raw.exit_now(0)


def rehearse(command: Sequence[str], environ: Mapping[str, str]) -> Plan:
    """The plan of a pytest command.

    :raises RehearsalError: pytest ended without one (a usage error, no plugin), or there is no place to begin in.
    """
    place = ""
    try:
        os.getcwd()
        place = tempfile.mkdtemp(prefix="pytest-session-guard-plan-")
        return _rehearse(command, environ, place)
    except OSError as problem:
        words = f"session-guard: the working directory or a temporary one cannot be used: {problem}\n"
        raise RehearsalError(0, words.encode("utf-8", "backslashreplace"), has_run=False) from problem
    finally:
        if place:
            shutil.rmtree(place, ignore_errors=True)


def _rehearse(command: Sequence[str], environ: Mapping[str, str], place: str) -> Plan:
    answer, said = f"{place}/plan.json", f"{place}/output"
    wall = [sys.executable, "-m", "pytest_session_guard", "wall", place]
    with open(said, "wb") as output:
        done = subprocess.run(
            [*wall, "--", *command],
            env={**environ, PLAN_VARIABLE: answer},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    try:
        with open(answer, "rb") as file:
            fields: dict[str, Any] = json.load(file)
    except (OSError, ValueError):
        with open(said, "rb") as output_file:
            has_run = done.returncode != USAGE_ERROR
            raise RehearsalError(done.returncode, output_file.read(), has_run) from None
    tuples = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return Plan(**{**fields, **tuples})


def enter_strict_wall(scratch: str, environ: Mapping[str, str]) -> None:
    """Cover homes and working directory; leave temp directories writable, the rest of the disk read-only.

    Where no overlay is to be had the rehearsal runs without: it is no worse off than pytest itself will be.
    """
    if not HAS_KERNEL_LAYERS:
        return
    from pytest_session_guard._controls.overlay import OverlayPlan, enter

    places = capture(os.getcwd(), environ, ledger=scratch)
    upper = f"{scratch}/wall"
    Raw.mkdir(upper, 0o700)
    plan = OverlayPlan((*places.temporary, scratch), (*places.homes, places.rootdir), upper)
    try:
        enter(plan)
    except LayerUnavailableError as problem:
        if problem.entered:
            raise
