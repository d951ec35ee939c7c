"""Tries that leave no trace, heard as they are made: hard links and renames out, flags, attributes, owners.

The walls refuse them, or let pass what makes no difference to a copy (the owner that it had before). Nothing of them
lands in an upper layer, so the keeper listens for the few system calls that can end so, writes down those that aim at a
place that is not writable, and lets them go on: whether one is refused is the kernel's affair. Whoever asks for the tries
judges them by the policy, and by what became of them. Only in shared places, where no wall stands, the keeper refuses what
would hurt what was there before.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import astuple
from typing import Final

from ..._core.values import dataclass
from ..._host import processes, seccomp
from ..._host.identity import look
from ..._host.tracing import CallEnds
from .custody import Custody
from .heard_calls import (
    exists,
    last_name_of,
    leaves_what_is_there,
    links_descriptor,
    makes,
    only_reads,
    operation_of,
    paths_of,
    views_of,
)
from .hearing import Counter
from .layout import OverlayPlan
from .makings import Expected, Making, Makings
from .rings import NAMES_A_RING, TELLS_A_RING, Rings

# More than these from one stack between two looks are counted, and not written down.
KEPT_AT_MOST: Final = 1000
_COMMAND_CHARACTERS: Final = 1000
_TAKEN_AT_ONCE: Final = 10

# What ends a process, or a thread alone.
_ENDS: Final = {"exit_group": False, "exit": True}


@dataclass(frozen=True, slots=True)
class Try:
    """One try, as it was made; it may have succeeded.

    :param path: what it aims at, symlinks on the way resolved.
    :param other: the second path of a rename or a hard link, or ``""``.
    :param pid: the thread that tried.
    :param command: its command line.
    :param refused: the keeper refused it.
    :param test: the one that pytest names in the environment that its program was started with, or ``""``.
    """

    operation: str
    path: str
    other: str
    pid: int
    command: str
    refused: bool = False
    test: str = ""

    def to_message(self) -> tuple[object, ...]:
        """The try in a message."""
        return astuple(self)


class Ear:
    """The keeper's side.

    :param listener: see `seccomp.listen`; closed with `close`.
    :param plan: the plan as it stands at the moment.
    :param label_of: whose stack a thread stands in.
    :param ending: told of each thread that is about to end its process, green, or alone (then `True`), and its process with it
        only if it has no other.
    :param custody: knows what must stay although it could be changed.
    :param heard: the calls of `seccomp.ON_DEMAND` that are heard.
    :ivar rings: what they are told to do.
    """

    def __init__(
        self,
        listener: int,
        plan: Callable[[], OverlayPlan],
        label_of: Callable[[int], str],
        ending: Callable[[int, bool], None],
        custody: Custody,
        heard: Collection[str] = (),
    ) -> None:
        self.listener = listener
        self._ending = ending
        self._custody = custody
        self.rings = Rings(heard)
        self.counter = Counter()
        self.makings = Makings()
        self.ends = CallEnds()
        self._waits_to_the_end = seccomp.waits_to_the_end()
        self._plan, self._label_of = plan, label_of
        self._kept: dict[str, list[Try]] = {}

    def hear(self) -> None:
        """Take one call, and let it go on whatever comes of looking at it, unless it would hurt what is in custody."""
        try:
            notification = seccomp.receive(self.listener)
        except OSError:
            return  # its thread was killed before it could be heard
        refused = False
        try:
            if notification.name in _ENDS:
                self._ending(notification.thread, _ENDS[notification.name])
            elif notification.name == NAMES_A_RING:
                self.rings.set_up(notification)
            elif notification.name == TELLS_A_RING:
                # Whatever a ring is told in one call is refused as a whole: none of it has been taken by then, and the kernel
                # has no word for a part of it.
                told = self.rings.told(notification)
                refused = self._refuses(told)
                for one in told if not refused else ():
                    with suppress(OSError):
                        self._consider(one)
            else:
                refused = self._refuses([notification])
                if not refused:
                    self._consider(notification)
        except Exception:
            # Mostly it ended while we looked, or is another user's. Whatever it is: nobody else could let the call go on,
            # and without this process every other of the run would break; the kernel decides about the call anyway. Only in a
            # shared place it lets it pass: what could not be looked at there is not held.
            pass
        finally:
            self._answer(notification, refused)

    def _answer(self, notification: seccomp.Notification, refused: bool) -> None:
        try:
            if refused:
                seccomp.refuse(self.listener, notification, errno.EACCES)
            else:
                seccomp.let_go_on(self.listener, notification)
        except OSError:
            pass  # killed meanwhile: nobody waits for the answer

    def _refuses(self, calls: Iterable[seccomp.Notification]) -> bool:
        """Whether one of these calls, which are made together, would hurt what is in custody; then it is written down."""
        if not self._custody.follow(self._plan()):
            return False
        makings = []
        for call in calls:
            try:
                every = [] if only_reads(call) else paths_of(call)
                is_making = bool(every) and makes(call)
            except OSError:
                continue  # the kernel will not find it either, or it ended while we looked
            held = self._held(call, every, is_making)
            if held and seccomp.still_waits(self.listener, call):
                other = next((path for path in _hurt_by(call, every) if path != held), "")
                self._write_down(call, held, other, refused=True)
                return True
            if is_making and not held:
                makings.append((call, every))
        for call, every in makings:
            with suppress(OSError):
                self._note_making(call, every)
        return False

    def _held(self, call: seccomp.Notification, every: list[str], is_making: bool) -> str:
        """The path at which a call would hurt what is in custody, or bring about what must not be; ``""`` where it does neither."""
        barred = every[-1] if is_making and self._custody.barred(call.thread, every[-1]) else ""
        views = dict(zip(every, views_of(call), strict=True)) if every else {}
        return self._custody.held(call.thread, _hurt_by(call, every), call.name in seccomp.WRITES, views) or barred

    def _note_making(self, call: seccomp.Notification, every: list[str]) -> None:
        """Remember what is about to come to be in a shared place."""
        thread, source, path = call.thread, every[0], every[-1]
        if not self._custody.is_shared(path):
            return
        label = self._label_of(thread)
        if len(every) > 1 and operation_of(call) == "rename" and self._custody.is_shared(source):
            self.makings.note(Making("moved", path, source), label, thread)
        elif len(every) > 1 and not links_descriptor(call, source):
            seen = look(f"/proc/{thread}/root{source}")
            making = Making("named", path, source, seen.identity, stat.S_ISDIR(seen.mode))
            remember = self.makings.note if self._custody.is_shared(source) else self.makings.bring
            remember(making, label, thread)
        elif not os.path.lexists(path):
            is_followed = not call.by_ring and self._follows(call)
            self.makings.expect(Expected(path, label, thread, leaves_what_is_there(call), is_followed, call.by_ring))
        else:
            return
        self.counter.count_making()

    def _follows(self, notification: seccomp.Notification) -> bool:
        """Have a thread held at the end of its call, if that can be had."""
        if not self._waits_to_the_end:
            return False
        try:
            self.ends.attach(notification.thread)
            waits = seccomp.still_waits(self.listener, notification)
            if waits:  # otherwise it was killed, and another may have its number
                self.ends.hold(notification.thread)
        except OSError:
            return False  # a debugger follows it, or it may not be looked at
        return waits

    def hear_ends(self) -> None:
        """Look at what came of the calls that are over."""
        for thread, answer in self.ends.ended():
            # As above: nobody else could let the thread go on, nor answer the others.
            with suppress(Exception):
                self.makings.finish(thread, answer)

    def _consider(self, notification: seccomp.Notification) -> None:
        if notification.name in seccomp.WRITES | seccomp.CREATIONS:
            return  # what comes of it is seen in a layer
        operation = operation_of(notification)
        if operation == "remove" and not self._may_be_root(notification):
            return
        paths = paths_of(notification)
        is_aimed_at = {"rename": self._is_guarded_or_holds_such, "remove": self._is_root}.get(
            operation, self._is_guarded
        )
        if not any(map(is_aimed_at, paths)) or not exists(notification.thread, paths[0]):
            return
        if not seccomp.still_waits(self.listener, notification):
            return
        # The guarded one first: a rename over something, or a link into a guarded place, is about the second.
        guarded, *rest = sorted(paths, key=is_aimed_at, reverse=True)
        self._write_down(notification, guarded, rest[0] if rest else "")

    def _write_down(self, notification: seccomp.Notification, path: str, other: str, refused: bool = False) -> None:
        pid = notification.thread
        command = processes.command_of(pid)[:_COMMAND_CHARACTERS]
        kept = self._kept.setdefault(self._label_of(pid), [])
        if len(kept) < KEPT_AT_MOST:
            test = processes.test_in(processes.environment_of(pid))
            kept.append(Try(operation_of(notification), path, other, pid, command, refused, test))
        self.counter.count_try()

    def _is_guarded(self, path: str) -> bool:
        """Whether the walls stand at a path: the longest prefix that the plan names is none that may be written."""
        plan = self._plan()
        places = [(len(place), False) for place in plan.writable if _lies_in(path, place)]
        places += [(len(place), True) for place in plan.overlaid if _lies_in(path, place)]
        return max(places, default=(0, True))[1]

    def _is_guarded_or_holds_such(self, path: str) -> bool:
        """Whether the walls stand at a path or below it: what holds them cannot be renamed either."""
        return self._is_guarded(path) or any(_lies_in(place, path) for place in self._plan().overlaid)

    def _is_root(self, path: str) -> bool:
        """Whether an overlay stands at a path itself; what is removed below one shows in its upper layer."""
        return path in self._plan().overlaid

    def _may_be_root(self, notification: seccomp.Notification) -> bool:
        """Whether a removal names what a root is named; most do not, and need not be looked at any closer."""
        name = last_name_of(notification)
        return any(root.rpartition("/")[2] == name for root in self._plan().overlaid)

    def take(self, label: str) -> list[Try]:
        """The tries from one stack that nobody has taken yet, as many as go into one message; none when all are."""
        kept = self._kept.get(label, [])
        taken, self._kept[label] = kept[:_TAKEN_AT_ONCE], kept[_TAKEN_AT_ONCE:]
        return taken

    def told(self, what: str, label: str) -> list[tuple[object, ...]]:
        """The next tries, or makings, of one stack as a message."""
        taken = self.makings.take(label) if what == "makings" else self.take(label)
        return [one.to_message() for one in taken]

    def close(self) -> None:
        """Stop listening; the calls that were heard fail from then on in whatever process is left."""
        os.close(self.listener)
        self.counter.close()
        self.makings.close()
        self.ends.close()


def _lies_in(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")


def _hurt_by(call: seccomp.Notification, every: list[str]) -> list[str]:
    """The paths at which a call may hurt what is there; where the last name is taken the kernel says so to some."""
    paths = every[:-1] if every and leaves_what_is_there(call) else every
    if call.name in seccomp.WRITES:
        return [os.path.realpath(path) if os.path.islink(path) else path for path in paths]
    return paths
