"""The keeper: a small process beside the run that alone keeps the right to mount.

It lives in a *base* namespace in which the disk is as it always was. For each process that runs tests it copies the
base and builds the layout in the copy; the process then merely joins. So nobody ever stands in a half-made
namespace, every process has upper layers of its own over the real disk (never an overlay on an overlay), and a
process that has threads already (an xdist worker) can be served, because joining a mount namespace needs no single
thread.

It holds the upper layers by their descriptors, so they can be read after the process that filled them has died, and
they vanish with the keeper. It goes when the last connection to it is closed and the last process that it hears has
ended.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Collection, Iterable
from dataclasses import field, replace
from itertools import chain

from ..._core.records import Identity
from ..._core.values import dataclass
from ..._host import mounts
from . import construction
from .base import Base
from .construction import Builder, Construction, Layer
from .custody import Custody
from .disk_store import Store, remove_all
from .door import Door
from .end_note import make_end_note
from .joining import open_own_namespace, open_root
from .layout import Layout, OverlayPlan, Surroundings, lay_out
from .pristine import PristineViews
from .unheard import Ear
from .wire import MAIN


@dataclass
class Stack:
    """The layers built for one process.

    :param scratch: of the session that it was built for.
    :param worker: the process that asked for it, or 0 for the stack that the run began in.
    """

    label: str
    built: Construction
    namespace_fd: int
    root_fd: int
    layout: Layout
    scratch: str
    worker: int = 0


@dataclass
class Keeper:
    """What the keeper knows."""

    plan: OverlayPlan
    base: Base
    address: str = ""
    stacks: list[Stack] = field(default_factory=list)
    further_stores: list[Store | None] = field(default_factory=list)
    ear: Ear | None = None
    heard: tuple[str, ...] = ()
    door: Door | None = None
    pristine: PristineViews = field(init=False)

    def __post_init__(self) -> None:
        self.pristine = PristineViews(self.base)

    @property
    def place(self) -> construction.UpperPlace:
        """Where upper layers lie."""
        return self.base.place if self.plan.upper == "auto" else self.plan.upper

    @property
    def run_directory(self) -> str:
        """Where the run keeps what it writes down."""
        return os.path.dirname(self.plan.scratch)

    def build_stack(self, label: str, disk: Surroundings | None = None, worker: int = 0) -> Stack:
        """Build the plan's layout in a fresh copy of the base.

        :param disk: as it was seen a moment ago.
        :param worker: the process that it is for, where that runs tests for another one.
        :raises OSError: the kernel refused; the copy is gone again.
        """
        layout = lay_out(self.plan, disk or self.base.survey())
        builder = Builder(self.plan, layout, self.place)
        with builder.holding(), self.base.copied():
            if layout.read_only:
                mounts.freeze("/")
            built = builder.assemble()
            here, root = open_own_namespace("mnt"), open_root()
            stack = Stack(self._unused(label), built, here, root, layout, self.plan.scratch, worker)
        self.stacks.append(stack)
        return stack

    def _unused(self, label: str) -> str:
        """The label itself, unless a worker of that name died and came again."""
        again = [stack for stack in self.stacks if stack.label.partition("#")[0] == label]
        return f"{label}#{len(again) + 1}" if again else label

    def stack(self, label: str) -> Stack:
        """The stack of a label.

        :raises LookupError: there is none.
        """
        for stack in self.stacks:
            if stack.label == label:
                return stack
        raise LookupError(f"no stack of that label: {label!r}")

    def labels(self, scratch: str) -> list[str]:
        """The stacks that were built for a session; all of them where none is told.

        :param scratch: the session's.
        """
        return [stack.label for stack in self.stacks if not scratch or stack.scratch == scratch]

    def label_of(self, thread: int) -> str:
        """The stack that a thread of the run stands in; `MAIN` for one in a namespace of its own making."""
        try:
            namespace = os.stat(f"/proc/{thread}/ns/mnt").st_ino
        except OSError:
            return MAIN
        matching = (stack.label for stack in self.stacks if os.fstat(stack.namespace_fd).st_ino == namespace)
        return next(matching, MAIN)

    def missing_roots(self) -> list[str]:
        """The protected roots that no layer holds because they do not exist, in writable places."""
        return [path for stack in self.stacks for path in stack.layout.uncovered]

    def layers(self) -> list[Layer]:
        """The layers of all processes of the run."""
        return [layer for stack in self.stacks for layer in stack.built.layers]

    def mind_door(self, pid: int, stderr_fd: int | None) -> None:
        """Watch a process to its end, or let it go.

        :param stderr_fd: where to say what came of it; ``None`` to let it go.
        :raises OSError: it cannot be watched, or a layer cannot be read.
        """
        if stderr_fd is None:
            if self.door is not None and self.door.pid == pid:
                self.door.open()
        elif self.door is None:
            self.door = Door(pid, stderr_fd, self.layers, self.run_directory)
        elif self.door.pid == pid:
            self.door.shut(stderr_fd, self.run_directory)
        else:
            raise OSError(errno.EBUSY, "another process of the run is watched")

    def listen(self, listener: int, heard: tuple[str, ...]) -> None:
        """Hear calls from now on.

        :param listener: see `seccomp.listen`; taken over.
        :param heard: the calls of `seccomp.ON_DEMAND` among them.
        """
        self.heard = heard
        custody = Custody(self.pristine.holds, self.missing_roots, self.may_be_known)
        self.ear = Ear(listener, lambda: self.plan, self.label_of, self.attend, custody, heard)

    def may_be_known(self, path: str, identity: Identity) -> bool:
        """Whether the run made, or may have made, an object in a shared place."""
        # Of what some rings are told to make nobody hears.
        return self.ear is None or bool(self.ear.rings.askers()) or self.ear.makings.is_known(path, identity)

    def forget_door(self) -> None:
        """The process that was watched has ended."""
        door, self.door = self.door, None
        if door is not None:
            door.close()

    def further_descriptors(self) -> list[int]:
        """What to listen to besides the connections."""
        ears = [] if self.ear is None else [self.ear.listener, self.ear.ends.fd]
        return ears if self.door is None else [*ears, self.door.process_fd]

    def attend(self, thread: int, alone: bool) -> None:
        """A thread of the run is about to end its process, green.

        :param alone: it ends without the others, in whatever colour. The first one of pytest takes the tests along, and
            pytest's status; that of a worker leaves those that talk to the run, which would wait for ever for its tests.
        """
        if self.door is not None and (not alone or thread == self.door.pid):
            self.door.attend(thread)
        if alone and any(thread == stack.worker and stack.label == self.label_of(thread) for stack in self.stacks):
            os.kill(thread, signal.SIGKILL)

    def extend(self, label: str, more: OverlayPlan, namespace_fd: int, root_fd: int) -> Stack:
        """Add places to the plan: in the stack of a process that stands in it already, and in all stacks to come.

        :raises OSError: the kernel refused; what was mounted by then stays.
        """
        plan = replace(
            self.plan,
            writable=_joined(self.plan.writable, more.writable),
            overlaid=_joined(self.plan.overlaid, more.overlaid),
        )
        stack = self.stack(label)
        known = {step.path for step in stack.layout.steps}
        return self._lay_on_top(stack, plan, {*more.writable, *more.overlaid} - known, namespace_fd, root_fd)

    def resume(self, label: str, more: OverlayPlan, alone: bool, namespace_fd: int, root_fd: int) -> Stack:
        """Go by the plan of a later session in a process that stands in the stack of an earlier one.

        What both plans cover alike stays as it was left.

        :param alone: nobody else stands there; for others nothing is taken away.
        :raises OSError: the kernel refused, and what was mounted by then stays; or something would have to be taken away.
        """
        stack, plan = self.stack(label), replace(more, witnessed=self.plan.witnessed)
        if not alone:
            plan = replace(
                plan,
                writable=_joined(more.writable, self.plan.writable),
                overlaid=_joined(more.overlaid, self.plan.overlaid),
                unpinned=_joined(more.unpinned, self.plan.unpinned),
                links=_joined(more.links, self.plan.links),
            )
        before = {(step.path, step.role) for step in stack.layout.steps}
        after = {(step.path, step.role) for step in lay_out(plan, self.base.survey()).steps}
        gone = {path for path, _ in before - after}
        if gone and not alone:
            raise OSError(errno.EBUSY, f"forks share them, and this one would have other ones at {min(gone)!r}")
        self._lay_on_top(stack, plan, gone | {path for path, _ in after - before}, namespace_fd, root_fd, gone)
        make_end_note(self.run_directory)
        return stack

    def _lay_on_top(
        self,
        stack: Stack,
        plan: OverlayPlan,
        fresh: Collection[str],
        namespace_fd: int,
        root_fd: int,
        stale: Collection[str] = (),
    ) -> Stack:
        """Go by another plan in a stack that somebody stands in.

        :param fresh: where something other is to be mounted than before.
        :param stale: where what is mounted is to go.
        """
        layout = lay_out(plan, self.base.survey())
        # What lay below a new place is hidden by it, so it is mounted on top again.
        steps = tuple(s for s in layout.steps if any(s.path == path or s.path.startswith(path + "/") for path in fresh))
        builder = Builder(plan, Layout(steps), self.place)
        with builder.holding(), self.base.left_for(namespace_fd, root_fd):
            for path in sorted(stale, key=len, reverse=True):
                _detach_if_there(path)
            built = builder.assemble()
        self.plan = plan
        self.further_stores.append(built.store)
        stack.layout = layout
        for layer in [layer for layer in stack.built.layers if layer.path in stale]:
            stack.built.layers.remove(layer)
            layer.close()
        stack.built.layers += built.layers
        stack.built.shortfalls += built.shortfalls
        stack.built.loose += built.loose
        return stack

    def show_pristine(self, path: str, namespace_fd: int, root_fd: int) -> None:
        """Put a fresh overlay of the real data on `path` in another namespace.

        :raises OSError: the kernel refused.
        """
        self.pristine.show(path, self.plan, self.place, namespace_fd, root_fd)

    def close(self) -> None:
        """Remove what lies on the disk; for when nobody is left to ask for it."""
        stores = (stack.built.store for stack in self.stacks)
        remove_all(chain(stores, self.further_stores, self.pristine.stores()))


def _detach_if_there(path: str) -> None:
    try:
        mounts.detach(path)
    except OSError as problem:
        # Whoever removes a mount point from another namespace takes the mount along.
        if problem.errno not in (errno.ENOENT, errno.EINVAL):
            raise


def _joined(first: Iterable[str], further: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *further)))
