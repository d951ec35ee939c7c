"""Into the kernel layers: as the first process of a run, as a worker of it, or started inside by the launcher."""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Final

from pytest_session_guard._core.runs import LAYERS_DIRECTORY
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._run.canary import CANARY_DIRECTORY
from pytest_session_guard._run.handover import Handover, read_policy
from pytest_session_guard._run.walls import (
    Layer,
    WallPlan,
    covered_places,
    enter_walls,
    freed_names,
    join_overlay,
    meet_overlay,
    resume_overlay,
    shared_places,
    wanted_layers,
    writable_places,
)

if TYPE_CHECKING:
    from pytest_session_guard._controls.overlay import Ahead, Overlay
    from pytest_session_guard._run.session import SessionRun

LAUNCH_VARIABLE: Final = "SESSION_GUARD_LAUNCH"


@dataclass(frozen=True)
class Introduction:
    """What the launcher says of a run that it has begun.

    :param reason: why there is no overlay, or ``""``.
    """

    directory: str
    run_id: str
    started_ns: int
    overlay: str
    reason: str

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Introduction | None:
        """What the environment says, and no child is told again; ``None`` without a launcher."""
        text = environ.pop(LAUNCH_VARIABLE, None)
        return None if text is None else cls(*json.loads(text))


def wall_plan(run: SessionRun, has_workers: bool) -> WallPlan:
    """What the kernel layers are to do for a run."""
    canary = run.directory.directory(CANARY_DIRECTORY)
    covered = (*covered_places(run.policy, run.places), canary)
    writable = tuple(writable_places(run.policy, run.places))
    return WallPlan(
        writable,
        covered,
        run.directory.directory(LAYERS_DIRECTORY),
        has_workers,
        unpinned=(canary,),
        shared=shared_places(run.policy, run.settings.mode),
        forbids_missing=run.settings.mode == "enforce",
        freed=freed_names(run.policy),
        started_ns=run.directory.started_ns,
    )


def enter_layers(
    run: SessionRun,
    has_workers: bool,
    outer: Handover | None,
    launch: Introduction | None,
    ahead: Ahead | None,
    standing: Overlay | None,
) -> None:
    """Enter the kernel layers before anything else: what is opened or started earlier escapes them.

    :param standing: the overlay of an earlier session, around this process already.
    """
    if outer is not None:
        _, told = read_policy(outer.directory)
        run.layers.update({name: Layer(**layer) for name, layer in told["layers"].items()})
        run.exposed = tuple(told["exposed"])
        if outer.overlay:
            run.walls = join_overlay(outer.overlay, run.label, run.layers)
    elif launch is not None and launch.overlay:
        run.walls = meet_overlay(run.settings, launch.overlay, run.layers)
    elif standing is not None and "overlay" in wanted_layers(run.settings):
        run.walls = resume_overlay(run.settings, wall_plan(run, has_workers), standing, run.layers)
    else:
        if standing is not None:
            # Nobody takes those walls away: what they lie over cannot be written to for good.
            outputs = (output.path for output in run.places.outputs)
            standing.insist_on_real((*writable_places(run.policy, run.places), *outputs))
        run.walls = enter_walls(run.settings, wall_plan(run, has_workers), run.layers, ahead)
