"""The audit hook itself. It cannot be removed, so everything that it needs is bound to it.

The first lines are the cheapest possible reject: a suite may raise millions of events (`builtins.id` alone), and almost
every `open` reads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

from pytest_session_guard._controls.audit.attribution import THREAD_EVENTS, note_thread
from pytest_session_guard._controls.audit.gate import Gate
from pytest_session_guard._core.errors import ProtectedPathError
from pytest_session_guard._core.events import EVENTS, WRITE_FLAGS

WATCHED: Final = frozenset(EVENTS) | THREAD_EVENTS

Arguments = tuple[Any, ...]


class Watch(Protocol):
    """What the hook needs of the run that guards the process now."""

    gate: Gate

    def failed(self, event: str, args: Arguments, problem: BaseException) -> str:
        """Take an error of the guard's own to the ledger; returns the message of the refusal that stands for it."""


def make_hook(current: Callable[[], Watch]) -> Callable[[str, Arguments], None]:
    """The function for `sys.addaudithook`.

    :param current: the run that guards the process; asked for each touch, because a process may hold one run after
        another while its hook stays.
    """

    def hook(
        event: str,
        args: Arguments,
        _watched: frozenset[str] = WATCHED,
        _write: int = WRITE_FLAGS,
        _threads: frozenset[str] = THREAD_EVENTS,
        _refusal: type[ProtectedPathError] = ProtectedPathError,
        _anything: type[BaseException] = BaseException,
        _note: Callable[..., None] = note_thread,
    ) -> None:
        if event == "open":
            if not args[2] & _write:
                return
        elif event not in _watched:
            return
        __tracebackhide__ = True
        watch = current()
        try:
            if event in _threads:
                _note(args, watch.gate.ports.span())
            else:
                watch.gate.judge(event, args)
        except _refusal:
            raise
        except _anything as problem:
            # What could not be judged is refused, as a refusal that the ledger has.
            message = watch.failed(event, args, problem)
            raise _refusal(str(args[:1]), message) from None

    return hook


def install(current: Callable[[], Watch]) -> None:
    """Hook this process from now to its end."""
    sys.addaudithook(make_hook(current))
