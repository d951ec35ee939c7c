"""Who asked for a ring of the kernel (io_uring): what a ring is told to do passes no filter, so nobody hears of it.

What it changes lands in an upper layer as ever; a link or a rename out of one is refused, and leaves no trace.
"""

from __future__ import annotations

from typing import Final

from ..._host import processes

NAMES_A_RING: Final = "io_uring_setup"
_KEPT_AT_MOST: Final = 100
_COMMAND_CHARACTERS: Final = 200


class Rings:
    """Those of one run, each command of each test once."""

    def __init__(self) -> None:
        self._askers: dict[str, None] = {}

    def note(self, thread: int) -> None:
        """A thread is about to ask for a ring."""
        command = processes.command_of(thread)[:_COMMAND_CHARACTERS]
        started_by = processes.test_in(processes.environment_of(thread))
        if len(self._askers) < _KEPT_AT_MOST:
            self._askers[f"{command!r}, started by {started_by}" if started_by else repr(command)] = None

    def askers(self) -> list[str]:
        """Their command lines, and the tests that started them where that is known."""
        return list(self._askers)
