"""After pytest has finished: threads, exit handlers and finalizers are guarded still, and can still make the run red."""

from __future__ import annotations

import atexit
import sys
from typing import Final

from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import Touch
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._report.text import entry
from pytest_session_guard._run.session import SessionRun

# pytest's own exit statuses that would let a pipeline go on: everything passed, or no test was collected.
GREEN: Final = frozenset({0, 5})


def guard_exit(run: SessionRun) -> None:
    """See to it that a violation after the end of the run reaches stderr and the exit status.

    Registered when the run starts, so before everybody else's handlers, so run after them.
    """
    atexit.register(_LastWord(run))


class _LastWord:
    """The exit handler of one run. A forked child inherits it and must not speak for its parent."""

    def __init__(self, run: SessionRun) -> None:
        self.run = run
        self.late: list[Touch] = []
        self.exiting = False
        self._write = Raw.write
        self._exit = Raw.exit_now
        self._getpid = Raw.getpid
        run.on_late = self.take

    def take(self, touch: Touch) -> None:
        """A violation happened after the end."""
        self.late.append(touch)
        if self.exiting and self._getpid() == self.run.pid:
            # The interpreter is being taken down: there will be no later moment to say so.
            self.say_and_leave()

    def __call__(self) -> None:
        """Run the last look: children may have done something meanwhile."""
        if self._getpid() != self.run.pid:
            return
        run = self.run
        self.exiting = True
        if run.finished:
            before = len(run.touches)
            try:
                run.collect()
            except LedgerError as problem:
                self._write(2, f"session-guard: {problem}\n".encode(errors="replace"))
            self.late.extend(t for t in run.touches[before:] if t.violation and t not in self.late)
        if run.retreat is not None and run.is_controller:
            run.retreat.finish(keep=bool(run.exit_status))
        run.directory.release()
        if self.late:
            self.say_and_leave()

    def say_and_leave(self) -> None:
        """Say on stderr what happened; under ``enforce`` leave with status 1 where it would have been green."""
        run = self.run
        texts = [entry(touch, run.places.rootdir) for touch in self.late]
        self.late = []
        head = f"session-guard: {len(texts)} violations after pytest had finished\n"
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        self._write(2, (head + "\n".join(texts) + "\n").encode("utf-8", "backslashreplace"))
        if run.settings.mode == "enforce" and run.is_controller and run.exit_status in GREEN:
            self._exit(1)
