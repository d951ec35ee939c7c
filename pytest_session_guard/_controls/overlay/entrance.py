"""Into the overlay: enter as the first process of a run, attach as a later one, or only ask whether one could."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from ..._core.errors import LayerUnavailableError
from ..._host import mounts, namespaces, seccomp
from ..._host.identity import resolve_missing
from ..._host.support import ProbeResult, tried_in_child
from . import construction, joining, reasons, service
from .base import UNUSED
from .handle import LAYER, Overlay
from .layout import OverlayPlan
from .wire import MAIN, Channel

ALWAYS_WRITABLE: Final = ("/dev", "/proc")
# Left to the read-only disk: programs and libraries, which must stay fast; sockets and locks of services; no disks.
_UNWITNESSED: Final = frozenset(
    ("bin", "boot", "dev", "lib", "lib32", "lib64", "libx32", "lost+found", "proc", "run", "sbin", "sys", "tmp", "usr")
)
_WITNESS_LIMIT: Final = 32


def call_keeper(unguarded: Callable[[], None]) -> service.Ahead | None:
    """Start the keeper before there is a plan, so that it makes ready while this process has other things to do.

    :param unguarded: called in the keeper first: what it makes is not for the hook of an earlier session to judge.
    :returns: for `enter`; ``None`` where that will say what is in the way.
    """
    try:
        _usable_thread_count()
        return service.Ahead(unguarded)
    except (LayerUnavailableError, OSError):
        return None


def tell_keeper(ahead: service.Ahead, plan: OverlayPlan) -> None:
    """Have the keeper build what `enter` will enter, while this process has other things to do."""
    with suppress(OSError):  # `enter` says what is in the way
        ahead.ask(_resolved(plan))


def enter(plan: OverlayPlan, for_workers: bool = False, ahead: service.Ahead | None = None) -> Overlay:
    """Put this process, and all that it starts from now on, inside.

    Everything is made beside this process; it joins what stands, and gives up its rights. ``/dev`` and ``/proc`` are
    always bound through.

    :param for_workers: keep the right to mount for xdist workers to come; call `Overlay.drop_rights` if none do.
    :param ahead: what `call_keeper` gave, told of this very plan or not yet; the caller closes it, come what may.
    :raises LayerUnavailableError: it cannot be had; the process is where it was, unless ``entered`` says that it must
        stop.
    """
    count = _usable_thread_count()
    before = _working_directory()
    try:
        ahead = ahead or service.Ahead()
        # Resolved once: that takes a quarter of a millisecond, and inside the names lead where they did.
        resolved = ahead.plan or _resolved(plan)
        if ahead.plan is None:
            ahead.ask(resolved)
        channel, answer, descriptors = ahead.built()
    except OSError as problem:
        raise LayerUnavailableError(LAYER, f"its keeper did not start: {problem}") from problem
    if "error" in answer:
        channel.close()
        raise LayerUnavailableError(LAYER, reasons.described(answer))
    _join(answer["own_users"], descriptors, before)
    overlay = Overlay(channel, answer, descriptors, reasons.outside_threads_clause(count) if count > 1 else "")
    _be_heard(overlay, resolved)
    try:
        if for_workers:
            overlay.keep_rights_for_workers()
        else:
            overlay.drop_rights()
    except OSError as problem:
        raise LayerUnavailableError(LAYER, reasons.kept_rights_clause(problem), entered=True) from problem
    return overlay


def _usable_thread_count() -> int:
    try:
        count = namespaces.thread_count()
        is_too_late = count > 1 and not namespaces.has_capability(namespaces.CAP_SYS_ADMIN)
    except OSError as problem:
        raise LayerUnavailableError(LAYER, reasons.NO_PROC) from problem
    if is_too_late:
        raise LayerUnavailableError(LAYER, reasons.threads_clause(count))
    return count


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError as problem:
        raise LayerUnavailableError(LAYER, f"the working directory is gone ({problem.strerror})") from problem


def _resolved(plan: OverlayPlan) -> OverlayPlan:
    real = resolve_missing
    return replace(
        plan,
        writable=tuple(dict.fromkeys(real(path) for path in (*ALWAYS_WRITABLE, *plan.writable))),
        overlaid=tuple(dict.fromkeys(map(real, plan.overlaid))),
        witnessed=tuple(dict.fromkeys(map(real, plan.witnessed))),
        links=tuple(path for path in plan.overlaid if os.path.islink(path)),
        shared=tuple(dict.fromkeys(map(real, plan.shared))),
        scratch=real(plan.scratch),
    )


def _join(own_users: bool, descriptors: list[int], before: str) -> None:
    """Enter the namespaces that the keeper made; from the second step on there is no way back."""
    entered = False
    try:
        if own_users:
            namespaces.join(descriptors[-1], namespaces.USERS)
            entered = True
        else:
            # With other threads the working directory and the root are shared, and cannot move for one alone.
            namespaces.unshare(namespaces.SHARED_FS)
        joining.enter_mounts(descriptors[0], descriptors[1])
        entered = True
        # Joining put us on the root; a working directory kept from before would lead out.
        os.chdir(before)
    except OSError as problem:
        raise LayerUnavailableError(LAYER, f"joining what was built failed: {problem}", entered) from problem


def resume(overlay: Overlay, plan: OverlayPlan, for_workers: bool = False) -> None:
    """Have a later session of a process in the overlay of an earlier one, which the process cannot leave.

    :raises LayerUnavailableError: it cannot follow, and the process must stop: what it writes may land in a throw-away layer.
    """
    if for_workers and not namespaces.can_hand_down(namespaces.CAP_SYS_ADMIN):
        raise LayerUnavailableError(LAYER, reasons.rights_clause())
    plan = _resolved(plan)
    overlay.resume(plan, _held_calls(plan))


def _held_calls(plan: OverlayPlan, missing: Sequence[str] = ()) -> frozenset[str]:
    """What has to be heard because no layer can hold what it hurts.

    :param missing: protected roots that do not exist, in writable places.
    """
    calls = seccomp.REMOVALS | seccomp.WRITES | seccomp.CREATIONS if plan.shared else frozenset()
    return calls | seccomp.WRITES | seccomp.CREATIONS if plan.forbids_missing and missing else calls


def _be_heard(overlay: Overlay, plan: OverlayPlan) -> None:
    """From now on the keeper hears of what the walls refuse without a trace; where that is not to be had, nobody does."""
    own = os.path.dirname(plan.scratch) + "/"
    further = _held_calls(plan, overlay.missing)
    layers = (layer for layer in overlay.layers if layer.path in plan.overlaid and not layer.path.startswith(own))
    if any(layer.is_bare() for layer in layers):
        # The kernel refuses to remove a mount point, and nothing shows it. What is in any other directory would have to be
        # removed first, which does show.
        further |= seccomp.REMOVALS
    try:
        listener = seccomp.listen(further)
    except OSError as problem:
        overlay.unheard = f"no listener by seccomp: {problem.strerror}"
        return
    try:
        overlay.listen(listener, further)
    finally:
        os.close(listener)


def attach(address: str) -> Overlay:
    """The overlay that this process was started in by another process of the run.

    :param address: `Overlay.address` of the process that entered.
    :raises LayerUnavailableError: nobody answers there.
    """
    try:
        channel = Channel.connected(address)
        overlay = Overlay(channel, *channel.ask({"ask": "read", "label": MAIN}))
        overlay.listen()
        return overlay
    except OSError as problem:
        raise LayerUnavailableError(
            LAYER, f"the keeper at {address!r} does not answer: {problem.strerror}"
        ) from problem


def probe() -> ProbeResult:
    """Whether `enter` would work in this process, tried in a child of its own; changes nothing.

    :raises OSError: no child can be made.
    """
    try:
        count = namespaces.thread_count()
        privileged = namespaces.has_capability(namespaces.CAP_SYS_ADMIN)
    except OSError:
        return ProbeResult("unavailable", reasons.NO_PROC)
    if count > 1 and not privileged:
        return ProbeResult("unavailable", reasons.threads_clause(count))
    problem = tried_in_child(_trial)
    if problem != "fine":
        return ProbeResult("unavailable", problem.removeprefix("error: "))
    if count > 1:
        return ProbeResult("partial", reasons.outside_threads_clause(count))
    return ProbeResult("enforced")


def _trial() -> str:
    """Make a namespace and an overlay in it; all of it goes with the process."""
    step = reasons.ENTERING
    try:
        joining.leave()
        step = reasons.MOUNTING
        mounts.make_private("/")
        place = construction.choose_upper_place(UNUSED)
        mounts.freeze("/")
        construction.mount_memory(UNUSED)
        for name in ("lower", "upper", "work", "seen"):
            os.mkdir(f"{UNUSED}/{name}", 0o700)
        step = reasons.BUILDING
        construction.mount_overlay(UNUSED, f"{UNUSED}/seen", place)
    except OSError as problem:
        return reasons.failure_clause(step, problem.errno or 0, problem.strerror or str(problem))
    return "fine"


def witness_places() -> tuple[str, ...]:
    """Directories of the read-only rest where an overlay lets a try leave a trace, for `OverlayPlan.witnessed`.

    The top-level directories that this user may write to, and those one level further down that are the user's own.
    Programs, libraries and the places of services are left alone.
    """
    places: list[str] = []
    for top in _directories("/"):
        if os.path.basename(top) in _UNWITNESSED:
            continue
        if os.access(top, os.W_OK):
            places.append(top)
        else:
            places += [place for place in _directories(top) if os.access(place, os.W_OK)]
    return tuple(places[:_WITNESS_LIMIT])


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
