"""The keeper: a small process beside the run that alone keeps the right to mount.

It lives in a *base* namespace in which the disk is as it always was. For each process that runs tests it copies the
base and builds the layout in the copy; the process then merely joins. So nobody ever stands in a half-made
namespace, every process has upper layers of its own over the real disk (never an overlay on an overlay), and a
process that has threads already (an xdist worker) can be served, because joining a mount namespace needs no single
thread.

It holds the upper layers by their descriptors, so they can be read after the process that filled them has died, and
they vanish with the keeper. It goes when the last connection to it closes.
"""

from __future__ import annotations

import os
import select
import warnings
from dataclasses import astuple, dataclass, field, replace
from itertools import chain
from typing import Any, Final, NoReturn

from ..._host import mounts, namespaces
from . import construction
from .construction import Builder, Construction
from .layout import Layout, OverlayPlan, lay_out
from .reasons import BUILDING, ENTERING, MOUNTING
from .wire import Channel, Listener

MAIN: Final = "main"
_START_TIMEOUT_S: Final = 20.0


@dataclass
class Stack:
    """The layers built for one process."""

    label: str
    built: Construction
    namespace_fd: int
    root_fd: int
    layout: Layout


@dataclass
class Keeper:
    """What the keeper knows.

    :param base_fd: the namespace in which the disk is as it was.
    :param base_root_fd: the root directory there: not that of the namespace under ``chroot``.
    """

    plan: OverlayPlan
    own_users: bool
    base_fd: int
    base_root_fd: int
    place: construction.UpperPlace
    before: namespaces.Capabilities
    address: str = ""
    stacks: list[Stack] = field(default_factory=list)
    pristine_stores: dict[str, list[str]] = field(default_factory=dict)

    def build_stack(self, label: str) -> Stack:
        """Build the plan's layout in a fresh copy of the base.

        :raises OSError: the kernel refused; the copy is gone again.
        """
        layout = lay_out(self.plan, construction.survey(locked=self.own_users))
        builder = Builder(self.plan, layout, self.place)
        try:
            builder.take_hold()
            namespaces.unshare(namespaces.MOUNTS)
            try:
                if layout.read_only:
                    mounts.freeze("/")
                stack = Stack(self._unused(label), builder.assemble(), open_own_namespace("mnt"), open_root(), layout)
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

    def extend(self, label: str, more: OverlayPlan, namespace_fd: int, root_fd: int) -> Stack:
        """Add places to the plan: in the stack of a process that stands in it already, and in all stacks to come.

        :raises OSError: the kernel refused; what was mounted by then stays.
        """
        stack = next(stack for stack in self.stacks if stack.label == label)
        writable = tuple(dict.fromkeys((*self.plan.writable, *more.writable)))
        overlaid = tuple(dict.fromkeys((*self.plan.overlaid, *more.overlaid)))
        plan = replace(self.plan, writable=writable, overlaid=overlaid)
        layout = lay_out(plan, construction.survey(locked=self.own_users))
        fresh = {*more.writable, *more.overlaid} - {step.path for step in stack.layout.steps}
        # What lay below a new place is hidden by it, so it is mounted on top again.
        steps = tuple(s for s in layout.steps if any(s.path == path or s.path.startswith(path + "/") for path in fresh))
        builder = Builder(plan, Layout(steps), self.place)
        try:
            builder.take_hold()
            enter_mounts(namespace_fd, root_fd)
            try:
                built = builder.assemble()
            finally:
                self.return_to_base()
        finally:
            builder.let_go()
        self.plan = plan
        stack.layout = layout
        stack.built.layers += built.layers
        stack.built.shortfalls += built.shortfalls
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
        layout = lay_out(plan, construction.survey(locked=self.own_users))
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

    def remove_store(self, store: str) -> None:
        """Remove upper layers of ours from the disk; those in memory go by themselves."""
        if not store:
            return
        scratch_fd = os.open(self.plan.scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            construction.remove_store(os.path.basename(store), scratch_fd)
        finally:
            os.close(scratch_fd)

    def close(self) -> None:
        """Remove what lies on the disk; for when nobody is left to ask for it."""
        for store in chain((stack.built.store for stack in self.stacks), *self.pristine_stores.values()):
            self.remove_store(store)

    def return_to_base(self) -> None:
        """Go back to the base namespace, and to its root directory."""
        enter_mounts(self.base_fd, self.base_root_fd)


def open_own_namespace(name: str) -> int:
    """A descriptor of a namespace of this process."""
    return os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)


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


def start(plan: OverlayPlan) -> tuple[Channel, dict[str, Any], list[int]]:
    """Start the keeper of a run and have it build the first stack.

    It is no child of this process: a suite that waits for its children must not meet it.

    :returns: the connection, and the keeper's first message with its descriptors.
    :raises OSError: no process can be made, or it did not answer.
    """
    ours, theirs = Channel.pair()
    pid = fork_quietly()
    if pid == 0:
        _start_grandchild(plan, theirs)
    theirs.close()
    try:
        answer, descriptors = ours.receive(_START_TIMEOUT_S)
    except (OSError, EOFError) as problem:
        ours.close()
        raise ConnectionResetError(f"no process can be started for the overlay: {problem}") from problem
    finally:
        # It ended long ago: it only had to start the keeper and leave it to the reaper of orphans.
        os.waitpid(pid, 0)
    return ours, answer, descriptors


def fork_quietly() -> int:
    """Fork without the warning that root's threads would bring: the child runs none of their code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _start_grandchild(plan: OverlayPlan, channel: Channel) -> NoReturn:
    try:
        # A session of its own: the keys that interrupt the run must not reach it.
        os.setsid()
        if os.fork() == 0:
            _live(plan, channel)
    finally:
        os._exit(0)
    raise AssertionError("unreachable because _exit does not return")


def _live(plan: OverlayPlan, channel: Channel) -> NoReturn:
    try:
        _let_go_of_everything_but(channel.fileno())
        keeper = _found(plan, channel)
        if keeper is not None:
            try:
                serve(keeper, channel)
            finally:
                keeper.close()
    finally:
        os._exit(0)
    raise AssertionError("unreachable because _exit does not return")


def _let_go_of_everything_but(kept: int) -> None:
    # A pipe that stays open here would keep whoever reads the run's output waiting for its end.
    os.closerange(0, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    null_fd = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        if standard != null_fd and standard != kept:
            os.dup2(null_fd, standard)
    os.chdir("/")
    os.umask(0o077)


def _found(plan: OverlayPlan, channel: Channel) -> Keeper | None:
    """Make the base namespace and the first stack; on failure say why and give up."""
    step = ENTERING
    try:
        before = namespaces.capabilities()
        own_users = leave()
        step = MOUNTING
        mounts.make_private("/")
        place = construction.choose_upper_place(plan)
        keeper = Keeper(plan, own_users, open_own_namespace("mnt"), open_root(), place, before)
        step = BUILDING
        keeper.build_stack(MAIN)
    except Exception as problem:
        # The one who asked decides what to do without; a traceback here would reach nobody.
        channel.send({**described(problem), "step": step})
        return None
    return keeper


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


def described(problem: BaseException) -> dict[str, Any]:
    """An error as a message."""
    if isinstance(problem, OSError):
        named = f": {problem.filename!r}" if problem.filename else ""
        return {"error": f"{problem.strerror or problem}{named}", "errno": problem.errno or 0}
    return {"error": f"{type(problem).__name__}: {problem}", "errno": 0}


def serve(keeper: Keeper, first: Channel) -> None:
    """Answer requests until the last connection closes."""
    name = f"session-guard-{os.getpid()}-{os.urandom(8).hex()}"
    listener = Listener(name)
    keeper.address = name
    answer(keeper, first, {"ask": "read", "label": MAIN}, [])
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    channels = {first.fileno(): first}
    poll.register(first.fileno(), select.POLLIN)
    while channels:
        for descriptor, _ in poll.poll():
            if descriptor == listener.fileno():
                channel = listener.accept()
                if channel is not None:
                    channels[channel.fileno()] = channel
                    poll.register(channel.fileno(), select.POLLIN)
            elif not heed(keeper, channels[descriptor]):
                poll.unregister(descriptor)
                channels.pop(descriptor).close()


def heed(keeper: Keeper, channel: Channel) -> bool:
    """Answer one request; `False` when the other end is gone, or talks what this does not understand."""
    try:
        request, descriptors = channel.receive()
    except (EOFError, OSError, ValueError, LookupError, TypeError):
        return False
    try:
        answer(keeper, channel, request, descriptors)
    except Exception as problem:
        # Whoever asked is told; the others are served on.
        return _told(channel, described(problem))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return True


def _told(channel: Channel, message: dict[str, Any]) -> bool:
    try:
        channel.send(message)
    except OSError:
        return False
    return True


def answer(keeper: Keeper, channel: Channel, request: dict[str, Any], descriptors: list[int]) -> None:
    """Do what a request asks and reply.

    :raises OSError: the kernel refused it.
    :raises LookupError: it names something that is not there.
    """
    match request["ask"]:
        case "build":
            send_stack(keeper, channel, keeper.build_stack(request["label"]))
        case "read":
            send_stack(keeper, channel, keeper.stack(request["label"]))
        case "labels":
            channel.send({"labels": [stack.label for stack in keeper.stacks]})
        case "extend":
            more = OverlayPlan(tuple(request["writable"]), tuple(request["overlaid"]), keeper.plan.scratch)
            send_stack(keeper, channel, keeper.extend(request["label"], more, *descriptors))
        case "show":
            keeper.show_pristine(request["path"], *descriptors)
            channel.send({})
        case "hide":
            keeper.hide_pristine(request["path"], *descriptors)
            channel.send({})
        case other:
            raise LookupError(f"no such request: {other!r}")


def send_stack(keeper: Keeper, channel: Channel, stack: Stack) -> None:
    """Send all that a process needs to join a stack and to read its layers."""
    layers = stack.built.layers
    descriptors = [stack.namespace_fd, stack.root_fd]
    for layer in layers:
        descriptors += (layer.upper_fd, layer.lower_fd)
    users_fd = open_own_namespace("user")
    message = {
        "label": stack.label,
        "layers": [(layer.path, layer.name, layer.root_rights) for layer in layers],
        "own_users": keeper.own_users,
        "shortfalls": stack.built.shortfalls,
        "uncovered": stack.layout.uncovered,
        "silent": stack.layout.silent,
        "absent": stack.layout.absent,
        "place": keeper.place,
        "address": keeper.address,
        "before": astuple(keeper.before),
        "pid": os.getpid(),
    }
    try:
        channel.send(message, [*descriptors, users_fd])
    finally:
        os.close(users_fd)
