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
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final

from ..._core.runs import CLOSED_FILE, ENDED_FILE, LOCK_FILE
from ..._host import mounts, namespaces
from . import construction
from .construction import Builder, Construction, Layer
from .door import Door
from .layout import Layout, OverlayPlan, Surroundings, lay_out
from .unheard import Ear

MAIN: Final = "main"
# A directory for mounts of a moment in a namespace that nobody else sees.
UNUSED: Final = "/proc"
# Of the thread, not of the process: a worker on another host may run in another one than the first.
OWN_NAMESPACES: Final = "/proc/thread-self/ns/{}"


@dataclass
class Stack:
    """The layers built for one process.

    :param scratch: of the session that it was built for.
    """

    label: str
    built: Construction
    namespace_fd: int
    root_fd: int
    layout: Layout
    scratch: str


@dataclass(frozen=True)
class Base:
    """The namespace in which the disk is as it was.

    :param own_users: it has a user namespace of its own.
    :param root_fd: the root directory there: not that of the namespace under ``chroot``.
    :param before: the rights from before it was made.
    :param place: where upper layers can lie.
    :param disk: what it shows as yet.
    """

    own_users: bool
    namespace_fd: int
    root_fd: int
    before: namespaces.Capabilities
    place: construction.UpperPlace
    disk: Surroundings


def take_as_base(own_users: bool, before: namespaces.Capabilities) -> Base:
    """Keep the mount namespace that this process is in, a fresh one, as the base.

    :raises OSError: the kernel refused a mount.
    """
    mounts.make_private("/")
    place = construction.choose_upper_place(UNUSED)
    disk = construction.survey(locked=own_users)
    return Base(own_users, open_own_namespace("mnt"), open_root(), before, place, disk)


@dataclass
class Keeper:
    """What the keeper knows."""

    plan: OverlayPlan
    base: Base
    address: str = ""
    stacks: list[Stack] = field(default_factory=list)
    pristine_stores: dict[str, list[str]] = field(default_factory=dict)
    further_stores: list[str] = field(default_factory=list)
    ear: Ear | None = None
    door: Door | None = None

    @property
    def place(self) -> construction.UpperPlace:
        """Where upper layers lie."""
        return self.base.place if self.plan.upper == "auto" else self.plan.upper

    def build_stack(self, label: str, disk: Surroundings | None = None) -> Stack:
        """Build the plan's layout in a fresh copy of the base.

        :param disk: as it was seen a moment ago.
        :raises OSError: the kernel refused; the copy is gone again.
        """
        layout = lay_out(self.plan, disk or construction.survey(locked=self.base.own_users))
        builder = Builder(self.plan, layout, self.place)
        try:
            builder.take_hold()
            namespaces.unshare(namespaces.MOUNTS)
            try:
                if layout.read_only:
                    mounts.freeze("/")
                built = builder.assemble()
                stack = Stack(
                    self._unused(label), built, open_own_namespace("mnt"), open_root(), layout, self.plan.scratch
                )
            finally:
                self.return_to_base()
        finally:
            builder.let_go()
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

    def layers(self) -> list[Layer]:
        """The layers of all processes of the run."""
        return [layer for stack in self.stacks for layer in stack.built.layers]

    def mind_door(self, pid: int, stderr_fd: int | None) -> None:
        """Watch a process to its end, or let it go.

        :param stderr_fd: where to say what came of it; ``None`` to let it go.
        :raises OSError: it cannot be watched, or a layer cannot be read.
        """
        own = os.path.dirname(self.plan.scratch)
        if stderr_fd is None:
            if self.door is not None and self.door.pid == pid:
                self.door.open()
        elif self.door is None:
            self.door = Door(pid, stderr_fd, self.layers, own)
        elif self.door.pid == pid:
            self.door.shut(stderr_fd, own)
        else:
            raise OSError(errno.EBUSY, "another process of the run is watched")

    def make_note(self) -> None:
        """Make the file that `note_end` writes to: nothing new may appear in a directory that somebody is about to remove."""
        if not os.path.lexists(f"{os.path.dirname(self._note)}/{LOCK_FILE}"):
            return  # no run's
        with suppress(OSError):  # without it nobody sees the run go
            os.close(os.open(self._note, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def note_end(self) -> None:
        """The last process that was connected has gone: where nobody closed its run, write down when that was."""
        if os.path.lexists(f"{os.path.dirname(self._note)}/{CLOSED_FILE}"):
            return
        with suppress(OSError):  # the run's directory is gone
            note_fd = os.open(self._note, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            if not os.fstat(note_fd).st_size:  # noted already
                os.write(note_fd, b"ended\n")
            os.close(note_fd)

    @property
    def _note(self) -> str:
        return f"{os.path.dirname(self.plan.scratch)}/{ENDED_FILE}"

    def forget_door(self) -> None:
        """The process that was watched has ended."""
        door, self.door = self.door, None
        if door is not None:
            door.close()

    def further_descriptors(self) -> list[int]:
        """What to listen to besides the connections."""
        ears = [] if self.ear is None else [self.ear.listener]
        return ears if self.door is None else [*ears, self.door.process_fd]

    def attend(self, thread: int) -> None:
        """A thread of the run is about to end its process."""
        if self.door is not None:
            self.door.attend(thread)

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
        after = {(step.path, step.role) for step in self._lay_out(plan).steps}
        gone = {path for path, _ in before - after}
        if gone and not alone:
            raise OSError(errno.EBUSY, f"forks share them, and this one would have other ones at {min(gone)!r}")
        self._lay_on_top(stack, plan, gone | {path for path, _ in after - before}, namespace_fd, root_fd, gone)
        self.make_note()
        return stack

    def _lay_out(self, plan: OverlayPlan) -> Layout:
        return lay_out(plan, construction.survey(locked=self.base.own_users))

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
        layout = self._lay_out(plan)
        # What lay below a new place is hidden by it, so it is mounted on top again.
        steps = tuple(s for s in layout.steps if any(s.path == path or s.path.startswith(path + "/") for path in fresh))
        builder = Builder(plan, Layout(steps), self.place)
        try:
            builder.take_hold()
            enter_mounts(namespace_fd, root_fd)
            try:
                for path in sorted(stale, key=len, reverse=True):
                    _detach_if_there(path)
                built = builder.assemble()
            finally:
                self.return_to_base()
        finally:
            builder.let_go()
        self.plan = plan
        self.further_stores.append(built.store)
        stack.layout = layout
        for layer in [layer for layer in stack.built.layers if layer.path in stale]:
            stack.built.layers.remove(layer)
            os.close(layer.upper_fd)
            os.close(layer.lower_fd)
        stack.built.layers += built.layers
        stack.built.shortfalls += built.shortfalls
        stack.built.loose += built.loose
        return stack

    def show_pristine(self, path: str, namespace_fd: int, root_fd: int) -> None:
        """Put a fresh overlay of the real data on `path` in another namespace.

        :raises OSError: the kernel refused.
        """
        os.stat(path)
        layout = self._layout_of(path)
        builder = Builder(self.plan, layout, self.place)
        try:
            builder.take_hold()
            enter_mounts(namespace_fd, root_fd)
            try:
                built = builder.assemble()
            finally:
                self.return_to_base()
        finally:
            builder.let_go()
        for layer in built.layers:
            os.close(layer.upper_fd)
            os.close(layer.lower_fd)
        self.pristine_stores.setdefault(path, []).append(built.store)
        if built.shortfalls:
            self.hide_pristine(path, namespace_fd, root_fd)
            raise OSError(0, built.shortfalls[0][1], path)

    def _layout_of(self, path: str) -> Layout:
        """The mounts of the plan at and below `path`, with an overlay on `path` itself."""
        beneath = path.rstrip("/") + "/"
        plan = OverlayPlan(
            tuple(place for place in self.plan.writable if place.startswith(beneath)),
            (path, *(root for root in self.plan.overlaid if root.startswith(beneath))),
            self.plan.scratch,
        )
        layout = self._lay_out(plan)
        return Layout(tuple(step for step in layout.steps if step.path == path or step.path.startswith(beneath)))

    def hide_pristine(self, path: str, namespace_fd: int, root_fd: int) -> None:
        """Take the overlay that `show_pristine` put on `path` away, with all that was changed in it.

        :raises OSError: there is none.
        """
        store = self.pristine_stores[path].pop()
        enter_mounts(namespace_fd, root_fd)
        try:
            mounts.detach(path)
        finally:
            self.return_to_base()
        self.remove_store(store)

    def is_pristine(self, path: str) -> bool:
        """Whether `show_pristine` has put an overlay on a path, or above it, in any namespace of the run."""
        shown = (place for place, stores in self.pristine_stores.items() if stores)
        return any(path == place or path.startswith(place.rstrip("/") + "/") for place in shown)

    def remove_store(self, store: str) -> None:
        """Remove upper layers of ours from the disk; those in memory go by themselves."""
        if not store:
            return
        scratch_fd = os.open(os.path.dirname(store), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            construction.remove_store(os.path.basename(store), scratch_fd)
        finally:
            os.close(scratch_fd)

    def close(self) -> None:
        """Remove what lies on the disk; for when nobody is left to ask for it."""
        stores = (stack.built.store for stack in self.stacks)
        for store in chain(stores, self.further_stores, *self.pristine_stores.values()):
            self.remove_store(store)

    def return_to_base(self) -> None:
        """Go back to the base namespace, and to its root directory."""
        enter_mounts(self.base.namespace_fd, self.base.root_fd)


def _detach_if_there(path: str) -> None:
    try:
        mounts.detach(path)
    except OSError as problem:
        # Whoever removes a mount point from another namespace takes the mount along.
        if problem.errno not in (errno.ENOENT, errno.EINVAL):
            raise


def _joined(first: Iterable[str], further: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *further)))


def open_own_namespace(name: str) -> int:
    """A descriptor of a namespace of this thread."""
    return os.open(OWN_NAMESPACES.format(name), os.O_RDONLY | os.O_CLOEXEC)


def open_root() -> int:
    """A descriptor of this process's root directory."""
    return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def enter_mounts(namespace_fd: int, root_fd: int) -> None:
    """Join a mount namespace, and take the directory that is its users' root as root.

    :raises OSError: the kernel refused the namespace, and nothing is entered; or the root, which leaves this process
        on the namespace's own.
    """
    namespaces.join(namespace_fd, namespaces.MOUNTS)
    wanted, now = os.fstat(root_fd), os.stat("/")
    if (wanted.st_dev, wanted.st_ino) != (now.st_dev, now.st_ino):
        os.fchdir(root_fd)
        os.chroot(".")


def leave() -> bool:
    """Leave the mount namespace, and the user namespace as well where the right is missing otherwise.

    :returns: whether a user namespace was made.
    :raises OSError: neither is allowed.
    """
    uid, gid = os.geteuid(), os.getegid()
    if namespaces.has_capability(namespaces.CAP_SYS_ADMIN):
        namespaces.unshare(namespaces.MOUNTS)
        return False
    # A process that took its user without starting a program anew may not write its own /proc files.
    namespaces.make_dumpable()
    namespaces.unshare(namespaces.USERS | namespaces.MOUNTS)
    namespaces.map_own_ids(uid, gid)
    return True
