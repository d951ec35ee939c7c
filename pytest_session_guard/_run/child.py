"""A Python child of the run: judged by the run's policy, written down in a journal of its own."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pytest_session_guard._controls.audit.locate import DirFdHint
from pytest_session_guard._controls.audit.wrappers import wrap_calls_without_events, wrap_moves
from pytest_session_guard._controls.ledger import RunDirectory
from pytest_session_guard._core.errors import ProtectedPathError
from pytest_session_guard._core.records import Phase, Span, Touch
from pytest_session_guard._core.settings import Settings
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._run.guard import GuardRun
from pytest_session_guard._run.handover import Handover, read_policy
from pytest_session_guard._run.places import Places
from pytest_session_guard._run.walls import Walls

CURRENT_TEST = "PYTEST_CURRENT_TEST"
PHASES: Mapping[str, Phase] = {"setup": "setup", "call": "call", "teardown": "teardown"}


@dataclass
class ChildRun(GuardRun):
    """The run as a child knows it."""

    def judge(self, event: str, args: tuple[Any, ...]) -> None:
        """Let an audit event of this child pass, or refuse it.

        :raises ProtectedPathError: the policy forbids it, or it could not be judged.
        """
        __tracebackhide__ = True
        if event.startswith("_thread."):
            return
        try:
            self.gate.judge(event, args)
        except ProtectedPathError:
            raise
        except BaseException as problem:
            raise ProtectedPathError(str(args[:1]), self.failed(event, args, problem)) from None

    def touched(self, touch: Touch) -> None:
        """Take a touch to the ledger, with this child's command line."""
        super().touched(replace(touch, process=touch.process or command_line()))


def join_as_child(environ: Mapping[str, str]) -> ChildRun:
    """The run that the environment names, joined by this process.

    :raises LedgerError: it names none, or the run's directory is gone.
    """
    handover = Handover.parse(environ)
    policy, more = read_policy(handover.directory, handover.label)
    hint = DirFdHint()
    run = ChildRun(
        settings=Settings(mode=more["mode"], preimage_limit_bytes=more["preimage_limit_bytes"]),
        places=Places(more["rootdir"], tuple(more["homes"]), (), "", ledger=more["ledger"]),
        policy=policy,
        directory=RunDirectory(handover.directory, handover.run_id, handover.started_ns),
        label=handover.label,
        hint=hint,
        walls=Walls(covered=tuple(more["covered"])),
    )
    started_by = starter(environ)
    run.enter(started_by.nodeid, started_by.phase)
    wrap_calls_without_events(sys.audit, hint)
    wrap_moves(lambda: run.contains if run.walls.are_around_here() else None)
    _settle_at_the_end(run)
    return run


def _settle_at_the_end(run: ChildRun) -> None:
    """What this child makes last is settled as it ends: nobody else saw what became of the intent."""
    atexit.register(run.settle_made)
    os.register_at_fork(before=run.settle_made, after_in_child=run.ownership.expect_nothing)
    original = os._exit

    def leave(status: int) -> Any:
        run.settle_made()
        original(status)

    os._exit = leave


def starter(environ: Mapping[str, str]) -> Span:
    """The test that started this process: it names the starter, for as long as the process lives."""
    nodeid, _, phase = environ.get(CURRENT_TEST, "").rpartition(" ")
    return Span(nodeid, PHASES.get(phase.strip("()"), "")) if nodeid else Span()


def command_line() -> str:
    """This process's command line, cut to a line's length."""
    try:
        raw = Raw.read(fd := Raw.open("/proc/self/cmdline", 0), 4096)
        Raw.close(fd)
        words = raw.rstrip(b"\0").split(b"\0")
    except OSError:
        words = [word.encode(errors="surrogateescape") for word in sys.orig_argv]
    return b" ".join(words).decode("utf-8", "surrogateescape")[:200]
