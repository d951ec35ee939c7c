"""The audit hook itself. It cannot be removed, so everything that it needs is bound to it.

The first lines are the cheapest possible reject: a suite may raise millions of events (`builtins.id` alone), and almost
every `open` reads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

from pytest_session_guard._controls.audit.attribution import THREAD_EVENTS, note_thread
from pytest_session_guard._controls.audit.gate import Gate, NotEmptyError
from pytest_session_guard._core.errors import ProtectedPathError
from pytest_session_guard._core.events import EVENTS, WRITE_FLAGS

EXEC: Final = "os.exec"
IMPORT: Final = "import"
LAUNCHES: Final = frozenset({"subprocess.Popen", "os.posix_spawn", "os.system", "os.spawn", EXEC})
WATCHED: Final = frozenset(EVENTS) | THREAD_EVENTS | LAUNCHES

Arguments = tuple[Any, ...]


class Watch(Protocol):
    """What the hook needs of the run that guards the process now."""

    gate: Gate
    emergency: Callable[[str, str], None]
    exhausted: int

    def launching(self, event: str, args: Arguments) -> None:
        """Another program is about to be started: beside this process or, at `EXEC`, in its place."""

    def failed(self, event: str, args: Arguments, problem: BaseException) -> str:
        """Take an error of the guard's own to the ledger; returns the message of the refusal that stands for it."""


def make_hook(
    current: Callable[[], Watch], importing: Callable[[str], None] | None = None
) -> Callable[[str, Arguments], None]:
    """The function for `sys.addaudithook`.

    :param current: the run that guards the process; asked for each touch, because a process may hold one run after
        another while its hook stays.
    :param importing: told of each import, where somebody wants to know.
    """
    watched = WATCHED | {IMPORT} if importing is not None else WATCHED
    attend = _make_attendant(current, importing)

    # Each default is bound anew at each call, and this one is called for everything.
    def hook(
        event: str,
        args: Arguments,
        _watched: frozenset[str] = watched,
        _write: int = WRITE_FLAGS,
        _attend: Callable[[str, Arguments], None] = attend,
    ) -> None:
        if event == "open":
            if not args[2] & _write:
                return
        elif event not in _watched:
            return
        __tracebackhide__ = True
        _attend(event, args)

    return hook


def _make_attendant(
    current: Callable[[], Watch], importing: Callable[[str], None] | None
) -> Callable[[str, Arguments], None]:
    """What is done about the few events that are watched."""

    def attend(
        event: str,
        args: Arguments,
        _threads: frozenset[str] = THREAD_EVENTS,
        _refusal: type[ProtectedPathError] = ProtectedPathError,
        # Ctrl-C may arrive in the middle of judging: the call does not happen, and the user is no error of the guard's.
        _passing: tuple[type[BaseException], ...] = (ProtectedPathError, KeyboardInterrupt),
        _not_empty: type[NotEmptyError] = NotEmptyError,
        _error: type[OSError] = OSError,
        _anything: type[BaseException] = BaseException,
        _note: Callable[..., None] = note_thread,
        _ascii: Callable[[object], str] = ascii,
        _import: str = IMPORT,
        _launches: frozenset[str] = LAUNCHES,
        _importing: Callable[[str], None] | None = importing,
        _exhausted: tuple[type[BaseException], ...] = (RecursionError, MemoryError),
    ) -> None:
        __tracebackhide__ = True
        watch = current()
        try:
            if event in _threads:
                _note(args, watch.gate.ports.span())
            elif event in _launches:
                watch.launching(event, args)
            elif _importing is not None and event == _import:
                _importing(args[0])
            else:
                watch.gate.judge(event, args)
        except _passing:
            raise
        except _not_empty as problem:
            raise _error(problem.errno, problem.strerror, args[0]) from None
        except _exhausted:
            # No room left to judge in; without the hook the call might have met the same. It does not happen, and a
            # caller that catches this and tries again higher up is judged then. Counted, because nothing stays silent.
            watch.exhausted += 1
            raise
        except _anything as problem:
            # What could not be judged is refused, as a refusal that the ledger has; where even that fails (a test
            # replaced builtins, or the interpreter is being taken down) the last resort needs nothing but itself.
            try:
                message = watch.failed(event, args, problem)
            except _anything:
                message = "guard-error: could not be judged"
                watch.emergency(event, _ascii(args))
            raise _refusal(_ascii(args), message) from None

    return attend


def install(current: Callable[[], Watch], importing: Callable[[str], None] | None = None) -> None:
    """Hook this process from now to its end."""
    sys.addaudithook(make_hook(current, importing))
