"""One process's side of the overlay: enter, join, read, and give up the right to mount."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, Literal

from ..._core.errors import LayerUnavailableError
from ..._host import mounts, namespaces
from ..._host.support import ProbeResult, tried_in_child
from . import construction, keeper, reasons
from .changes import Change, LayerReader
from .construction import Layer
from .keeper import MAIN
from .layout import OverlayPlan, ancestors
from .wire import Channel

LAYER: Final = "overlay"
ALWAYS_WRITABLE: Final = ("/dev", "/proc")
# What undoes the walls: mounting, and the view of processes outside through /proc/PID/root.
_DANGEROUS: Final = (namespaces.CAP_SYS_ADMIN, namespaces.CAP_SYS_PTRACE)
# What joining a mount namespace takes.
_NEEDED_BY_WORKERS: Final = (namespaces.CAP_SYS_ADMIN, namespaces.CAP_SYS_CHROOT)
# Left to the read-only disk: programs and libraries, which must stay fast; sockets and locks of services; no disks.
_UNWITNESSED: Final = frozenset(
    ("bin", "boot", "dev", "lib", "lib32", "lib64", "libx32", "lost+found", "proc", "run", "sbin", "sys", "tmp", "usr")
)
_WITNESS_LIMIT: Final = 32


class Overlay:
    """The overlay that this process lives in.

    :ivar status: ``partial`` when something of the plan could not be had; ``reason`` says what.
    :ivar missing: protected roots that do not exist and that nothing holds, because their place is writable.
    :ivar silent: protected roots that are held, but read-only: what native code tries there leaves no trace.
    :ivar absent: writable places of the plan that do not exist.
    :ivar address: by which other processes of the run `attach`.
    :ivar keeper_pid: a process that ends by itself once no process of the run holds a connection to it.
    """

    def __init__(self, channel: Channel, answer: dict[str, Any], descriptors: list[int], note: str = "") -> None:
        self._channel = channel
        self._pid = os.getpid()
        self._own_users: bool = answer["own_users"]
        self._before_entering = namespaces.Capabilities(*answer["before"])
        self.address: str = answer["address"]
        self.keeper_pid: int = answer["pid"]
        self._note = note
        self._take(answer, descriptors)

    def _take(self, answer: dict[str, Any], descriptors: list[int]) -> None:
        self.label: str = answer["label"]
        self.missing: tuple[str, ...] = tuple(answer["uncovered"])
        self.silent: tuple[str, ...] = tuple(answer["silent"])
        self.absent: tuple[str, ...] = tuple(answer["absent"])
        clauses = (self._note, reasons.shortfall_clause(answer["shortfalls"], self.missing))
        self.reason = "; ".join(clause for clause in clauses if clause)
        self.status: Literal["enforced", "partial"] = "partial" if self.reason else "enforced"
        self._namespace_fd, self._root_fd, *layers, self._users_fd = descriptors
        self.layers = tuple(
            Layer(path, name, layers[2 * index], layers[2 * index + 1], tuple(rights))
            for index, (path, name, rights) in enumerate(answer["layers"])
        )
        self._readers = [LayerReader(layer) for layer in self.layers]

    def extend(self, writable: Sequence[str], overlaid: Sequence[str]) -> None:
        """Add places to the plan, for this process, its children and the workers to come.

        :param writable: real paths that shall be as writable as they are; those that do not exist are in `absent`.
        :param overlaid: real roots that shall get an overlay on top.
        :raises LayerUnavailableError: it was refused; what was mounted by then stays.
        """
        known = {layer.path: layer for layer in self.layers}
        request = {"ask": "extend", "label": self.label, "path": "", "writable": writable, "overlaid": overlaid}
        try:
            answer, descriptors = self._ask_about_here(request)
        except OSError as problem:
            raise LayerUnavailableError(LAYER, f"no further places can be added: {problem.strerror}") from problem
        readers, layers = self._readers, self.layers
        for descriptor in (self._namespace_fd, self._root_fd, self._users_fd):
            os.close(descriptor)
        self._take(answer, descriptors)
        # Layers that were there before keep their readers, which know what has been told of them already.
        fresh = [reader for reader in self._readers if reader.layer.path not in known]
        for layer in self.layers:
            if layer.path in known:
                os.close(layer.upper_fd)
                os.close(layer.lower_fd)
        self.layers = (*layers, *(reader.layer for reader in fresh))
        self._readers = [*readers, *fresh]

    def changes(self) -> list[Change]:
        """What is new in the upper layers since the last call, or since the start; microseconds when nothing is.

        :raises OSError: a layer cannot be read.
        """
        found: list[Change] = []
        for reader in self._readers:
            found += reader.changes()
        return found

    def restack(self, label: str) -> None:
        """Move this process to upper layers of its own over the real disk; for the start of an xdist worker.

        Other threads of this process stay where they are: the layers they share with whoever started the worker.
        Ends with `drop_rights`.

        :param label: names the stack for `stack`, after this process has died.
        :raises LayerUnavailableError: it was refused, and this process is where it was before.
        """
        before = os.getcwd()
        try:
            answer, descriptors = self._channel.ask({"ask": "build", "label": label})
            # A fork of the process that kept the right has it in reserve only.
            namespaces.use_permitted_capabilities()
            namespaces.unshare(namespaces.SHARED_FS)
            keeper.enter_mounts(descriptors[0], descriptors[1])
        except OSError as problem:
            raise LayerUnavailableError(LAYER, f"no layer of its own for {label}: {problem.strerror}") from problem
        os.chdir(before)
        self._close_descriptors()
        self._take(answer, descriptors)
        self.drop_rights()

    def labels(self) -> tuple[str, ...]:
        """The stacks of the run: `MAIN` and one for each `restack`.

        :raises OSError: the keeper is gone.
        """
        return tuple(self._channel.ask({"ask": "labels"})[0]["labels"])

    def stack(self, label: str) -> Overlay:
        """The layers of another process of the run, to read them, also after it has died.

        :raises OSError: there is no such stack, or the keeper is gone.
        """
        return Overlay(Channel.connected(self.address), *self._channel.ask({"ask": "read", "label": label}))

    @contextmanager
    def pristine(self, path: str) -> Iterator[None]:
        """Inside, `path` shows the real data as they are, on a layer of its own; afterwards the earlier view is back.

        All threads and children of this process see it, and so does whoever shares its layers.

        :param path: absolute and real; a directory or a file, below a protected root or anywhere else.
        :raises LayerUnavailableError: it was refused, and nothing has changed.
        """
        try:
            self._ask_about_here({"ask": "show", "path": path})
        except OSError as problem:
            raise LayerUnavailableError(LAYER, f"no pristine view of {path!r}: {problem.strerror}") from problem
        try:
            yield
        finally:
            self._ask_about_here({"ask": "hide", "path": path})

    def _ask_about_here(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Have a mount of this namespace made or taken away; a working directory in it is looked up again."""
        if os.getpid() != self._pid:
            # A forked child must not share its parent's conversation.
            self._channel, self._pid = Channel.connected(self.address), os.getpid()
        before = os.getcwd()
        here, root = keeper.open_own_namespace("mnt"), keeper.open_root()
        try:
            answer = self._channel.ask(request, [here, root])
        finally:
            os.close(here)
            os.close(root)
        if (before + "/").startswith(request["path"] + "/"):
            # The nearest that is left: a directory made in a pristine view went with it.
            os.chdir(next(place for place in (before, *ancestors(before)) if os.path.isdir(place)))
        return answer

    def keep_rights_for_workers(self) -> None:
        """Let programs started from here join a stack of their own (`attach`, then `restack`).

        They have the right to mount until they `drop_rights`.

        :raises OSError: the right is gone already.
        """
        rights = self._before_entering.handed_down(_NEEDED_BY_WORKERS)
        namespaces.set_capabilities(rights)

    def drop_rights(self) -> None:
        """Give up, for this thread and all that it starts from now on, whatever could undo the walls.

        An ordinary user is left with no capability, as before; root with all but CAP_SYS_ADMIN and CAP_SYS_PTRACE.

        :raises OSError: the kernel refused.
        """
        namespaces.set_capabilities(self._before_entering.without(_DANGEROUS))

    def release_keeper(self) -> None:
        """Close this process's connection: the keeper and its memory (some 12 MiB) go with the last one.

        For a run without workers, launcher and `pristine`. The walls stand and `changes` works on; `pristine`,
        `restack`, `labels` and `stack` do not any more.
        """
        self._channel.close()

    def close(self) -> None:
        """Close the connection and the layers; once all processes of the run did, or ended, the layers are gone.

        The process stays in the namespace for as long as it lives. A forked child closes its own copies only.
        """
        self.release_keeper()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        self._readers = []
        for layer in self.layers:
            os.close(layer.upper_fd)
            os.close(layer.lower_fd)
        for descriptor in (self._namespace_fd, self._root_fd, self._users_fd):
            os.close(descriptor)
        self.layers = ()


def enter(plan: OverlayPlan, for_workers: bool = False) -> Overlay:
    """Put this process, and all that it starts from now on, inside.

    Everything is made beside this process; it joins what stands, and gives up its rights. ``/dev`` and ``/proc`` are
    always bound through.

    :param for_workers: keep the right to mount for xdist workers to come; call `Overlay.drop_rights` if none do.
    :raises LayerUnavailableError: it cannot be had; the process is where it was, unless ``entered`` says that it must
        stop.
    """
    count = _usable_thread_count()
    before = _working_directory()
    try:
        channel, answer, descriptors = keeper.start(_resolved(plan))
    except OSError as problem:
        raise LayerUnavailableError(LAYER, f"its keeper did not start: {problem}") from problem
    if "error" in answer:
        channel.close()
        raise LayerUnavailableError(LAYER, reasons.described(answer))
    _join(answer["own_users"], descriptors, before)
    overlay = Overlay(channel, answer, descriptors, reasons.outside_threads_clause(count) if count > 1 else "")
    if for_workers:
        overlay.keep_rights_for_workers()
    else:
        overlay.drop_rights()
    return overlay


def _usable_thread_count() -> int:
    count = namespaces.thread_count()
    if count > 1 and not namespaces.has_capability(namespaces.CAP_SYS_ADMIN):
        raise LayerUnavailableError(LAYER, reasons.threads_clause(count))
    return count


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError as problem:
        raise LayerUnavailableError(LAYER, f"the working directory is gone ({problem.strerror})") from problem


def _resolved(plan: OverlayPlan) -> OverlayPlan:
    real = os.path.realpath
    return replace(
        plan,
        writable=tuple(dict.fromkeys(real(path) for path in (*ALWAYS_WRITABLE, *plan.writable))),
        overlaid=tuple(dict.fromkeys(map(real, plan.overlaid))),
        witnessed=tuple(dict.fromkeys(map(real, plan.witnessed))),
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
        keeper.enter_mounts(descriptors[0], descriptors[1])
        entered = True
        # Joining put us on the root; a working directory kept from before would lead out.
        os.chdir(before)
    except OSError as problem:
        raise LayerUnavailableError(LAYER, f"joining what was built failed: {problem}", entered) from problem


def attach(address: str) -> Overlay:
    """The overlay that this process was started in by another process of the run.

    :param address: `Overlay.address` of the process that entered.
    :raises LayerUnavailableError: nobody answers there.
    """
    try:
        channel = Channel.connected(address)
        return Overlay(channel, *channel.ask({"ask": "read", "label": MAIN}))
    except OSError as problem:
        raise LayerUnavailableError(
            LAYER, f"the keeper at {address!r} does not answer: {problem.strerror}"
        ) from problem


def probe() -> ProbeResult:
    """Whether `enter` would work in this process, tried in a child of its own; changes nothing.

    :raises OSError: no child can be made.
    """
    count = namespaces.thread_count()
    privileged = namespaces.has_capability(namespaces.CAP_SYS_ADMIN)
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
        keeper.leave()
        step = reasons.MOUNTING
        mounts.make_private("/")
        # Nobody else sees it, so any directory serves.
        plan = OverlayPlan((), (), "/proc")
        place = construction.choose_upper_place(plan)
        mounts.freeze("/")
        construction.mount_memory(plan)
        for name in ("lower", "upper", "work", "seen"):
            os.mkdir(f"/proc/{name}", 0o700)
        step = reasons.BUILDING
        construction.mount_overlay("/proc", "/proc/seen", place)
    except OSError as problem:
        return reasons.failure_clause(step, problem.errno or 0, problem.strerror or str(problem))
    return "fine"


def sweep_leftovers(scratch: str) -> tuple[str, ...]:
    """Remove what a keeper that was killed left on the disk; upper layers in memory leave nothing.

    Proof: the entries are directories of this user, named as `Builder` names them, in a scratch directory of the
    run's own, whose owner the caller knows to be dead.

    :returns: what went.
    :raises OSError: something could not be removed.
    """
    scratch_fd = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        names = [name for name in os.listdir(scratch_fd) if name.startswith(construction.DISK_UPPERS)]
        ours = [n for n in names if os.stat(n, dir_fd=scratch_fd, follow_symlinks=False).st_uid == os.geteuid()]
        for name in ours:
            construction.remove_store(name, scratch_fd)
    finally:
        os.close(scratch_fd)
    return tuple(os.path.join(scratch, name) for name in ours)


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
