"""The keeper's process: how it starts beside a run, what it answers, and when it goes."""

from __future__ import annotations

import os
import select
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, astuple
from typing import Any, Final, NoReturn

from ..._host import memory, namespaces
from ..._host.fsops import Raw
from .base import Base, take_as_base
from .end_note import make_end_note, note_end
from .joining import leave, open_own_namespace
from .keeper import Keeper, Stack
from .layout import OverlayPlan
from .reasons import BUILDING, ENTERING, MOUNTING
from .unheard import Ear
from .wire import MAIN, Channel, Listener

_START_TIMEOUT_S: Final = 20.0


class Ahead:
    """A keeper that was started before its plan is known, and makes its base meanwhile.

    It is no child of this process: a suite that waits for its children must not meet it. Without a plan it ends when this
    is closed, or this process ends.

    :param unguarded: called in the keeper first.
    :ivar plan: what it was asked to build.
    :raises OSError: no process can be made.
    """

    def __init__(self, unguarded: Callable[[], None] = lambda: None) -> None:
        self._channel, theirs = Channel.pair()
        self._parent_pid = 0
        self.plan: OverlayPlan | None = None
        try:
            pid = fork_quietly()
            if pid == 0:
                _start_grandchild(theirs, unguarded)
            self._parent_pid = pid
        except OSError:
            self._channel.close()
            raise
        finally:
            theirs.close()

    def settle(self) -> None:
        """From now on it is no descendant of this process."""
        pid, self._parent_pid = self._parent_pid, 0
        if pid:
            # It only has to start the keeper and leave it to the reaper of orphans.
            os.waitpid(pid, 0)

    def ask(self, plan: OverlayPlan) -> None:
        """Have it build the first stack; does not wait for that.

        :param plan: of real paths.
        :raises OSError: it is gone.
        """
        self.plan = plan
        try:
            self._channel.send(asdict(plan))
        except OSError:
            self.close()
            raise

    def built(self) -> tuple[Channel, dict[str, Any], list[int]]:
        """Wait for the first stack.

        :returns: the connection, which is the caller's now, and the keeper's first message with its descriptors.
        :raises OSError: it did not answer.
        """
        try:
            answer, descriptors = self._channel.receive(_START_TIMEOUT_S)
        except (OSError, EOFError) as problem:
            self.close()
            raise ConnectionResetError(f"no process can be started for the overlay: {problem}") from problem
        channel, self._channel = self._channel, Channel(-1)
        self.settle()
        return channel, answer, descriptors

    def close(self) -> None:
        """Let go of it; a second time, and after `built`, is no error."""
        self._channel.close()
        self.settle()


def fork_quietly() -> int:
    """Fork without the warning that root's threads would bring: the child runs none of their code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _start_grandchild(channel: Channel, unguarded: Callable[[], None]) -> NoReturn:
    try:
        unguarded()
        # A session of its own: the keys that interrupt the run must not reach it.
        os.setsid()
        if os.fork() == 0:
            _live(channel)
    finally:
        Raw.exit_now(0)
    raise AssertionError("unreachable because _exit does not return")


def _live(channel: Channel) -> NoReturn:
    try:
        _let_go_of_everything_but(channel.fileno())
        base = _base()
        keeper = _keeper(base, channel)
        if keeper is not None:
            try:
                serve(keeper, channel)
            finally:
                keeper.close()
    finally:
        Raw.exit_now(0)
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


def _base() -> Base | dict[str, Any]:
    """The namespace in which the disk is as it was; or why there is none, as a message."""
    step = ENTERING
    try:
        before = namespaces.capabilities()
        own_users = leave()
        step = MOUNTING
        return take_as_base(own_users, before)
    except Exception as problem:
        # The one who asks decides what to do without; a traceback here would reach nobody.
        return {**described(problem), "step": step}


def _keeper(base: Base | dict[str, Any], channel: Channel) -> Keeper | None:
    """Wait for the plan and build the first stack; on failure say why and give up."""
    try:
        message, _ = channel.receive()
    except EOFError:
        return None  # nobody wants it after all
    if isinstance(base, dict):
        channel.send(base)
        return None
    try:
        keeper = Keeper(OverlayPlan.from_message(message), base)
        keeper.build_stack(MAIN, base.disk)
    except Exception as problem:
        channel.send({**described(problem), "step": BUILDING})
        return None
    return keeper


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
    make_end_note(keeper.run_directory)
    answer(keeper, first, {"ask": "read", "label": MAIN}, [])
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    channels = {first.fileno(): first}
    poll.register(first.fileno(), select.POLLIN)
    # What a run left running waits in calls that are heard here, and would fail if nobody were; and the process that is
    # watched may have ended a moment after its connection.
    while channels or keeper.ear is not None or keeper.door is not None:
        for descriptor, events in poll.poll():
            if descriptor == listener.fileno():
                channel = listener.accept()
                if channel is not None:
                    channels[channel.fileno()] = channel
                    poll.register(channel.fileno(), select.POLLIN)
            elif keeper.door is not None and descriptor == keeper.door.process_fd:
                poll.unregister(descriptor)
                keeper.forget_door()
            elif keeper.ear is not None and descriptor == keeper.ear.listener:
                listen(keeper, keeper.ear, events, poll)
            elif keeper.ear is not None and descriptor == keeper.ear.ends.fd:
                keeper.ear.hear_ends()
            elif not heed(keeper, channels[descriptor]):
                poll.unregister(descriptor)
                channels.pop(descriptor).close()
                if not channels:
                    note_end(keeper.run_directory)
            else:
                for further in keeper.further_descriptors():
                    poll.register(further, select.POLLIN)


def listen(keeper: Keeper, ear: Ear, events: int, poll: select.poll) -> None:
    """Hear one call; once no process is left that could make one, never again."""
    if events & select.POLLIN:
        ear.hear()
    else:
        poll.unregister(ear.listener)
        poll.unregister(ear.ends.fd)
        keeper.ear = None
        ear.close()


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
            send_stack(keeper, channel, keeper.build_stack(request["label"], worker=channel.peer()[0]))
        case "read":
            send_stack(keeper, channel, keeper.stack(request["label"]))
        case "labels":
            channel.send({"labels": keeper.labels(request["scratch"])})
        case "extend":
            more = OverlayPlan(tuple(request["writable"]), tuple(request["overlaid"]), keeper.plan.scratch)
            send_stack(keeper, channel, keeper.extend(request["label"], more, *descriptors))
        case "resume":
            plan = OverlayPlan.from_message(request["plan"])
            send_stack(keeper, channel, keeper.resume(request["label"], plan, request["alone"], *descriptors))
        case "listen":
            if descriptors:
                keeper.listen(os.dup(descriptors[0]), tuple(request["heard"]))
            channel.send({"heard": keeper.heard}, [] if keeper.ear is None else [keeper.ear.counter.fd])
        case "hold" | "let go" as wish:
            keeper.mind_door(request["pid"], None if wish == "let go" else descriptors[0])
            channel.send({})
        case "tries" | "makings" | "rings" | "environment":
            channel.send(known(keeper, request))
        case "show":
            keeper.show_pristine(request["path"], *descriptors)
            channel.send({})
        case "hide":
            keeper.pristine.hide(request["path"], *descriptors)
            channel.send({})
        case other:
            raise LookupError(f"no such request: {other!r}")


def marked(words: Iterable[bytes], marks: Iterable[str]) -> Iterator[str]:
    """Those of some words, for a message, in which one of some marks is."""
    raw = [mark.encode() for mark in marks]
    yield from (word.decode("latin-1") for word in words if any(mark in word for mark in raw))


def known(keeper: Keeper, request: dict[str, Any]) -> dict[str, Any]:
    """What is asked for and known here: what a fork has in its environment, or what was heard.

    That is who asked for a ring, or of one stack the tries or makings that are left.
    """
    if request["ask"] == "environment":
        return {"words": list(marked(memory.environment_at(request["pid"], request["place"]), request["marks"]))}
    ear, what = keeper.ear, request["ask"]
    if what == "rings":
        return {"askers": [] if ear is None else ear.rings.askers()}
    told = [] if ear is None else ear.told(what, request["label"])
    return {what: told, "waiting": ear is not None and ear.makings.is_waiting(request["label"])}


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
        "own_users": keeper.base.own_users,
        "shortfalls": stack.built.shortfalls,
        "loose": stack.built.loose,
        "uncovered": stack.layout.uncovered,
        "silent": stack.layout.silent,
        "absent": stack.layout.absent,
        "place": keeper.place,
        "address": keeper.address,
        "before": astuple(keeper.base.before),
        "pid": os.getpid(),
    }
    try:
        channel.send(message, [*descriptors, users_fd])
    finally:
        os.close(users_fd)
