"""After pytest has finished: threads, exit handlers and finalizers are guarded still, and can still make the run red.

And where pytest is not let finish: a test that ends the process, or puts another program in its place, takes the verdict
along; that is never let pass in silence.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import Touch, line_maker
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._report.text import entry, printable
from pytest_session_guard._report.wording import counted
from pytest_session_guard._run.aftermath import look_once_more
from pytest_session_guard._run.handing_back import is_gone
from pytest_session_guard._run.leftovers import STILL_RUNNING
from pytest_session_guard._run.retreat import Retreat
from pytest_session_guard._run.session import SessionRun
from pytest_session_guard._run.unfinished import close, give_up

# pytest's own exit statuses that would let a pipeline go on: everything passed, or no test was collected.
GREEN: Final = frozenset({0, 5})


def guard_exit(run: SessionRun) -> None:
    """See to it that a violation after the end of the run reaches stderr and the exit status.

    Registered when the run starts, so before everybody else's handlers, so run after them.
    """
    last_word = _LastWord(run)
    run.on_late = last_word.take
    run.emergency = make_emergency(run, last_word)
    atexit.register(last_word)
    os.register_at_fork(before=run.forks.note)
    # What came to a name that was announced before a fork, only the parent is told.
    os.register_at_fork(before=run.settle_made, after_in_child=run.ownership.expect_nothing)
    _wrap_exit(run)


def retire(run: SessionRun) -> None:
    """Another session begins in this process: a last look at what this one saw, and nothing is kept open for it any more."""
    if not run.finished or run.is_fork or run.is_retired:
        return
    run.is_retired = True
    if not is_gone(run):
        with run.complaining():
            run.collect()
    run.lookout.end()
    if run.earlier is not None:
        run.earlier.close()
        run.earlier = None
    run.journal.close()
    run.directory.release()


class _LastWord:
    """The exit handler of one run. A forked child inherits it and must not speak for its parent."""

    def __init__(self, run: SessionRun) -> None:
        self.run = run
        self.late: list[Touch] = []
        self.exiting = False
        self._write = Raw.write
        self._exit = Raw.exit_now
        self._getpid = Raw.getpid

    def take(self, touch: Touch) -> None:
        """A violation happened after the end."""
        self.late.append(touch)
        if self.exiting and self._getpid() == self.run.pid:
            # The interpreter is being taken down: there will be no later moment to say so.
            self.say_and_leave()

    def __call__(self) -> None:
        """Take the last look: children may have done something meanwhile."""
        run = self.run
        if self._getpid() != run.pid:
            run.settle_made()
            return
        if run.finished and not run.is_retired and not run.has_given_up:
            before = len(run.touches)
            try:
                self._tell_survivors(look_once_more(run))
                if run.is_controller and not is_gone(run):
                    close(run)
                run.let_go()
            except LedgerError as problem:
                if not is_gone(run):
                    self._write(run.stderr_fd, f"session-guard: {problem}\n".encode(errors="replace"))
            except Exception as problem:
                give_up(run, problem)
            self.late.extend(t for t in run.touches[before:] if t.violation and t not in self.late)
        self.exiting = True
        if run.is_controller:
            # Workers and forks make it too, and leave it to the controller, which may have had no use for it itself.
            retreat = run.retreat or Retreat.find(run.directory.run_id)
            if retreat is not None:
                retreat.finish(keep=bool(run.exit_status))
        run.directory.release()
        if self.late:
            self.say_and_leave()

    def _tell_survivors(self, survivors: Sequence[object]) -> None:
        lines = [STILL_RUNNING.format(one) for one in survivors]
        if lines:
            words = "".join(f"session-guard: {printable(line)}\n" for line in lines)
            self._write(self.run.stderr_fd, words.encode("utf-8", "backslashreplace"))
            self.run.report.notes += lines
            self.run.add_to_report(())

    def say_and_leave(self) -> None:
        """Say on stderr what happened; under ``enforce`` leave with status 1 where it would have been green."""
        run = self.run
        late, self.late = self.late, []
        texts = [entry(touch, run.places.rootdir) for touch in late]
        head = f"session-guard: {counted(len(texts), 'violation')} after pytest had finished\n"
        flush_streams()
        self._write(run.stderr_fd, (head + "\n".join(texts) + "\n").encode("utf-8", "backslashreplace"))
        run.add_to_report(late)
        if run.settings.mode == "enforce" and run.is_controller and run.exit_status in GREEN:
            self._exit(1)


def _takes_verdict_along(run: SessionRun) -> bool:
    """Whether the process would end green although the session is not over, or is over and red."""
    return not run.is_told or run.violations > 0


def flush_streams() -> None:
    """Let nothing that was printed be lost."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def make_emergency(run: SessionRun, last_word: _LastWord) -> Callable[[str, str], None]:
    """The hook's last resort: everything that it needs is bound to it, for when globals and builtins are gone."""
    refused = Touch(
        time=Raw.time_ns() / 1e9,
        operation="?",
        path="",
        zone="protected",
        outcome="refused",
        violation=True,
        layer="guard",
        nodeid="",
        phase="late",
        pid=run.pid,
        reason="could not be judged: the interpreter was being taken down",
    )
    line = line_maker({"kind": "touch", **refused.to_json()}, "path")

    def emergency(
        event: str,
        args: str,
        _put: Callable[[Any], None] = run.broken.append,
        _state: _LastWord = last_word,
        _write: Callable[[int, bytes], int] = Raw.write,
        _leave: Callable[[int], Any] = Raw.exit_now,
        _fd: int = run.stderr_fd,
        _is_controller: bool = run.is_controller,
        _line: Callable[[str], bytes] = line,
    ) -> None:
        _put((event, args))
        if not _state.exiting:
            return
        _write(_fd, b"session-guard: guard-error after pytest had finished: " + (event + " " + args).encode() + b"\n")
        if not _is_controller:
            # The controller waits for its workers, reads this, and has the exit status.
            _write(_state.run.journal.descriptor, _line(event + " " + args))
        elif _state.run.settings.mode == "enforce":
            _leave(_state.run.exit_status or 1)

    return emergency


def _wrap_exit(run: SessionRun) -> None:
    """Hold `os._exit` back in the run's own process for as long as its session lasts; every process settles first."""
    original = os._exit

    def leave(status: int) -> Any:
        run.settle_made()
        if (
            Raw.getpid() == run.pid
            and run.is_controller
            and status in GREEN
            and run.settings.mode == "enforce"
            and _takes_verdict_along(run)
        ):
            run.collect()
            texts = [entry(touch, run.places.rootdir) for touch in run.touches if touch.violation]
            texts.append(
                f"session-guard: os._exit({status}) in {run.span.nodeid or 'no test'} would have ended pytest without its verdict; "
                "the exit status is 1"
            )
            flush_streams()
            Raw.write(run.stderr_fd, ("\n".join(texts) + "\n").encode("utf-8", "backslashreplace"))
            status = 1
        original(status)

    os._exit = leave
