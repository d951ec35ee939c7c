"""The kernel layers of a run: which ones, over which places, and what they saw."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import TYPE_CHECKING, Final

from pytest_session_guard._core.errors import LayerUnavailableError
from pytest_session_guard._core.settings import Settings
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Policy, Zone, is_within
from pytest_session_guard._host.support import HAS_KERNEL_LAYERS, LINUX_ONLY
from pytest_session_guard._run.places import Places

if TYPE_CHECKING:
    from pytest_session_guard._controls.overlay import Ahead, Change, Making, Overlay, OverlayPlan, Try

KERNEL_LAYERS: Final = ("overlay", "seal", "manifest")


@dataclass
class Layer:
    """What a layer achieved: ``enforced``, ``partial``, ``unavailable`` or ``off``."""

    status: str
    reason: str = ""
    abi: int | None = None

    def to_json(self) -> dict[str, object]:
        """The layer as the report shows it."""
        return {"status": self.status, "reason": self.reason, "abi": self.abi}

    def in_header(self) -> str:
        """The status, and why a layer is not there at all."""
        return f"{self.status} ({self.reason})" if self.status == "unavailable" and self.reason else self.status

    @property
    def holds(self) -> bool:
        """Whether the layer is there at all."""
        return self.status in ("enforced", "partial")


@dataclass(frozen=True)
class WallPlan:
    """What the kernel layers are to do, real paths all.

    :param writable: bound through, as writable as they were.
    :param covered: what is done there lands in a throw-away layer.
    :param scratch: a directory of the run's own for building.
    :param for_workers: pytest-xdist workers will come and need layers of their own.
    :param unpinned: covered places of the run's own.
    :param shared: writable places in which what is older than ``started_ns`` must stay as it is.
    :param forbids_missing: nothing may come to be at covered places that do not exist yet.
    :param freed: globs, and the prefixes below which they free what they match.
    """

    writable: tuple[str, ...]
    covered: tuple[str, ...]
    scratch: str
    for_workers: bool = False
    unpinned: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    forbids_missing: bool = False
    freed: tuple[tuple[str, str], ...] = ()
    started_ns: int = 0


@dataclass
class Walls:
    """The kernel layers that this process lives in.

    :param scratch: of the session that began here; other sessions may have been here before, or come after.
    """

    overlay: Overlay | None = None
    covered: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    scratch: str = ""

    def contains(self, path: str) -> bool:
        """Whether a change at a path lands in a throw-away layer."""
        return any(is_within(path, root) for root in self.covered)

    def are_around_here(self) -> bool:
        """Whether this thread stands behind them: one from before the guard may not, and what it does is real."""
        return bool(self.covered) and (self.overlay is None or self.overlay.is_around_here())

    def changes(self) -> Sequence[Change]:
        """What landed in the layers since the last look.

        :raises OSError: a layer cannot be read.
        """
        return () if self.overlay is None else self.overlay.changes()

    def tries(self) -> Sequence[Try]:
        """What was tried that the layers refuse without a trace, since the last look.

        :raises OSError: whoever hears of it is gone.
        """
        return () if self.overlay is None else self.overlay.tries()

    def makings(self, *, of_all: bool = False) -> Sequence[Making]:
        """What programs without a hook brought about in shared places since the last look.

        :param of_all: in the stacks of workers too, which may have ended before they asked.
        :raises OSError: whoever hears of it is gone.
        """
        if self.overlay is None:
            return ()
        return self.overlay.makings_left() if of_all else self.overlay.makings()

    def of_workers(self) -> list[Overlay]:
        """The layers of the session's other processes that have some of their own; they can be read after these have died.

        :raises OSError: the keeper is gone, and with it the way to them.
        """
        own = self.overlay
        return [] if own is None else [own.stack(label) for label in own.labels(self.scratch) if label != own.label]

    def extend(self, writable: Sequence[str], covered: Sequence[str]) -> None:
        """Follow a policy that grew after the layers were entered.

        :raises LayerUnavailableError: the overlay cannot follow, so it would hide what the policy lets through.
        """
        if self.overlay is not None and (writable or covered):
            self.overlay.extend(writable, covered)
            self.covered = tuple(layer.path for layer in self.overlay.layers)

    def environment_of_fork(self, pid: int, marks: Sequence[str]) -> list[bytes]:
        """What a fork of this process, however it was made, has in its environment by now; empty where nobody can tell.

        :param marks: a variable is told where it has one of these in it.
        """
        if self.overlay is None:
            return []
        from pytest_session_guard._controls.overlay import environment_of_fork
        from pytest_session_guard._host.memory import place_of_environment

        try:
            return environment_of_fork(self.address, pid, place_of_environment(), marks)
        except (OSError, ValueError):
            return []

    @property
    def namespace(self) -> str:
        """The mount namespace of the overlay, in the words of ``/proc/PID/ns/mnt``, or ``""``."""
        return "" if self.overlay is None else self.overlay.namespace

    @property
    def address(self) -> str:
        """By which workers and children of the run find the overlay, or ``""``."""
        return "" if self.overlay is None else self.overlay.address


def wanted_layers(settings: Settings) -> tuple[str, ...]:
    """The layers to try, in order; of the kernel layers ``auto`` takes the first that is to be had."""
    return ("hook", *KERNEL_LAYERS) if settings.layers == ("auto",) else settings.layers


@contextmanager
def keeper_ahead(wanted: bool, unguarded: Callable[[], None]) -> Iterator[Ahead | None]:
    """The keeper of the overlay makes ready while the run does; what was not used of it is gone afterwards.

    :param wanted: whether this process will enter an overlay of its own.
    :param unguarded: has the hook of an earlier session stand aside, in the keeper.
    """
    ahead = None
    if wanted and HAS_KERNEL_LAYERS:
        # Imported here: ctypes costs 4 ms, which a run without kernel layers need not pay.
        from pytest_session_guard._controls.overlay import call_keeper

        ahead = call_keeper(unguarded)
    try:
        yield ahead
    finally:
        if ahead is not None:
            ahead.close()


def tell_ahead(ahead: Ahead, plan: WallPlan) -> None:
    """Have the layers built that `enter_walls` will enter, while the run does something else."""
    from pytest_session_guard._controls.overlay import tell_keeper

    tell_keeper(ahead, _overlay_plan(plan))


def enter_walls(settings: Settings, plan: WallPlan, layers: dict[str, Layer], ahead: Ahead | None = None) -> Walls:
    """Enter what is wanted and to be had; `layers` gets what was achieved.

    :param ahead: the keeper, where it was called already, and told of this very plan.
    :raises LayerUnavailableError: a layer that was asked for by name, or is required, is not to be had.
    """
    walls = Walls(scratch=plan.scratch)
    _begin(settings, layers)
    if "overlay" in wanted_layers(settings):
        _enter_overlay(plan, layers, walls, ahead)
    return walls


def meet_overlay(settings: Settings, address: str, layers: dict[str, Layer]) -> Walls:
    """This process was started inside the overlay, by the launcher.

    :raises LayerUnavailableError: nobody answers there; or another layer that was asked for is not to be had.
    """
    from pytest_session_guard._controls.overlay import attach

    walls = Walls()
    _begin(settings, layers)
    _take(attach(address), layers, walls)
    return walls


def resume_overlay(settings: Settings, plan: WallPlan, overlay: Overlay, layers: dict[str, Layer]) -> Walls:
    """This process stands in the overlay of an earlier session of its own.

    :raises LayerUnavailableError: that cannot follow this session, or another layer that was asked for is not to be had.
    """
    from pytest_session_guard._controls.overlay import resume

    walls = Walls(scratch=plan.scratch)
    _begin(settings, layers)
    resume(overlay, _overlay_plan(plan), plan.for_workers)
    _take(overlay, layers, walls)
    return walls


def follow(overlay: Overlay, plan: WallPlan) -> None:
    """Have this process's overlay go by another plan.

    :raises LayerUnavailableError: it cannot, and what was mounted by then stays.
    """
    from pytest_session_guard._controls.overlay import resume

    resume(overlay, _overlay_plan(plan))


def _begin(settings: Settings, layers: dict[str, Layer]) -> None:
    for name in ("hook", *KERNEL_LAYERS):
        layers[name] = Layer("off")
    if "hook" in wanted_layers(settings):
        layers["hook"] = Layer("enforced")


def insist(settings: Settings, layers: dict[str, Layer]) -> None:
    """A layer that was asked for by name and is not there is an error, never a silent downgrade.

    :raises LayerUnavailableError: one is not.
    """
    asked = () if settings.layers == ("auto",) else settings.layers
    for name in dict.fromkeys((*settings.require, *asked)):
        if not layers[name].holds:
            raise LayerUnavailableError(name, layers[name].reason or "it was not asked for (session_guard_layers)")


def _enter_overlay(wall: WallPlan, layers: dict[str, Layer], walls: Walls, ahead: Ahead | None) -> None:
    if not HAS_KERNEL_LAYERS:
        layers["overlay"] = Layer("unavailable", LINUX_ONLY)
        return
    from pytest_session_guard._controls.overlay import enter

    try:
        overlay = enter(_overlay_plan(wall), wall.for_workers, ahead)
    except LayerUnavailableError as problem:
        if problem.entered:
            raise
        layers["overlay"] = Layer("unavailable", problem.reason)
        return
    _take(overlay, layers, walls)


def _overlay_plan(wall: WallPlan) -> OverlayPlan:
    # Imported here: ctypes costs 4 ms, which a run without kernel layers need not pay.
    from pytest_session_guard._controls.overlay import OverlayPlan, witness_places

    return OverlayPlan(
        wall.writable,
        wall.covered,
        wall.scratch,
        witness_places(),
        unpinned=wall.unpinned,
        shared=wall.shared,
        forbids_missing=wall.forbids_missing,
        freed=wall.freed,
        started_ns=wall.started_ns,
    )


def seal_if_needed(
    settings: Settings,
    writable: Sequence[str],
    protected: Sequence[str],
    layers: dict[str, Layer],
    spare: Collection[str] = (),
) -> tuple[str, ...]:
    """Seal this process and all that it will start, where it was asked for or nothing better is there.

    Last of all: it cannot be undone, and nothing can be mounted afterwards.

    :param spare: writable places that need not be so as a whole.
    :returns: the protected places that it cannot hold, because they lie in writable ones.
    """
    if "seal" not in wanted_layers(settings) or (settings.layers == ("auto",) and layers["overlay"].holds):
        return ()
    if not HAS_KERNEL_LAYERS:
        layers["seal"] = Layer("unavailable", LINUX_ONLY)
        return ()
    from pytest_session_guard._controls.seal import enter

    try:
        seal = enter(writable, protected, spare)
    except LayerUnavailableError as problem:
        layers["seal"] = Layer("unavailable", problem.reason)
        return ()
    layers["seal"] = Layer(seal.status, seal.reason, seal.abi)
    return seal.exposed


def join_overlay(address: str, label: str, layers: dict[str, Layer]) -> Walls:
    """A worker moves to layers of its own.

    :raises LayerUnavailableError: it cannot be had; the worker is not guarded by it.
    """
    from pytest_session_guard._controls.overlay import attach

    walls = Walls()
    overlay = attach(address)
    overlay.restack(label)
    _take(overlay, layers, walls)
    return walls


def _take(overlay: Overlay, layers: dict[str, Layer], walls: Walls) -> None:
    unheard = f"refusals to native code leave no trace ({overlay.unheard})" if overlay.unheard else ""
    layers["overlay"] = Layer(overlay.status, "; ".join(filter(None, (overlay.reason, unheard))))
    walls.overlay = overlay
    walls.covered = tuple(layer.path for layer in overlay.layers)


def writable_places(policy: Policy, places: Places) -> Iterator[str]:
    """The places that stay writable: bound through from the real disk."""
    yield from (prefix for prefix in policy.prefixes(Zone.FREE, Zone.WORKSPACE, Zone.SHARED) if os.path.lexists(prefix))
    around = Policy(tuple(rule for rule in policy.rules if rule.prefix != places.ledger)).rule_for(places.ledger)
    if around.zone is Zone.PROTECTED:
        # Otherwise it is writable with the place around it. A mount of its own would part it from the workspace, and no
        # hard link (a pre-image) goes from one mount into another.
        yield places.ledger


def shared_places(policy: Policy, mode: str) -> tuple[str, ...]:
    """The declared places in which what was there before must stay; in ``report`` mode it may change, and is put back.

    A rootdir that is one is left to the hook: git and the tools work in it.
    """
    rules = policy.by_prefix.values() if mode == "enforce" else ()
    return tuple(rule.prefix for rule in rules if rule.zone is Zone.SHARED and rule.declared)


def freed_names(policy: Policy) -> tuple[tuple[str, str], ...]:
    """The policy's globs, and below which prefix each frees what it matches."""
    return tuple((pattern.glob, pattern.within) for pattern in policy.patterns)


def covered_places(policy: Policy, places: Places) -> Iterator[str]:
    """The places that get an overlay. A default that is not there (a rootdir without ``.git``) needs none."""
    for prefix in policy.prefixes(Zone.PROTECTED):
        if prefix not in ("/", places.ledger) and (policy.by_prefix[prefix].declared or os.path.lexists(prefix)):
            yield prefix
