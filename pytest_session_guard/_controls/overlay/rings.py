"""What rings of the kernel (io_uring) are told to do, as the calls that would do the same.

A ring's work passes no filter. What tells it to begin does, so what it is told is read then. Nothing is heard of a ring from
which a thread of the kernel takes its work, of one without a descriptor, nor where the kernel lists no rings: who has such a
one is noted.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from ..._host import processes, rings, seccomp

NAMES_A_RING: Final = "io_uring_setup"
TELLS_A_RING: Final = "io_uring_enter"
_KEPT_AT_MOST: Final = 100
_COMMAND_CHARACTERS: Final = 200
# How long an entry is shows in the kernel's list alone, which until Linux 6.19 has none of such a ring.
_UNLISTED: Final = rings.SETUP_LONG | rings.SETUP_WITHOUT_ARRAY


class Rings:
    """Those of one run; of the unheard ones each command of each test once.

    :param heard: the calls of `seccomp.ON_DEMAND` that are heard, whoever makes them.
    """

    def __init__(self, heard: Collection[str]) -> None:
        self._unheard_calls = seccomp.ON_DEMAND - frozenset(heard)
        self._own_memory: dict[int, int] = {}
        self._askers: dict[str, None] = {}

    def set_up(self, notification: seccomp.Notification) -> None:
        """A thread is about to ask for a ring.

        :raises OSError: its memory cannot be read.
        """
        thread = notification.thread
        flags, own_memory = rings.setup_of(thread, notification.arguments[1])
        if own_memory and len(self._own_memory) < _KEPT_AT_MOST:
            self._own_memory[own_memory] = processes.process_of(thread)
        is_unlisted = flags & _UNLISTED == _UNLISTED
        if is_unlisted or flags & (rings.SETUP_POLLED | rings.SETUP_REGISTERED_ALONE):
            self._note(thread)

    def told(self, notification: seccomp.Notification) -> list[seccomp.Notification]:
        """What a thread tells a ring to do, as far as it would be heard if it were done by calls."""
        thread, (descriptor, count, _, flags, *_) = notification.thread, notification.arguments
        found: list[rings.Entry] = []
        try:
            # Which ring an index means is not to be seen from outside; mostly a thread has one, or nothing waits in the others.
            by_index = flags & rings.ENTER_BY_INDEX
            open_rings = rings.rings_of(thread) if by_index else [descriptor & seccomp.ANY]
            for ring in open_rings:
                own_memory = self._own_memory_of(thread)
                found += rings.entries(thread, ring, count & seccomp.ANY, own_memory, self._unheard_calls)
            if not open_rings:
                self._note(thread)
        except (OSError, ValueError):
            self._note(thread)
        return [
            seccomp.Notification(notification.token, thread, entry.name, entry.arguments, True, entry.path)
            for entry in dict.fromkeys(found)  # a ring may be open twice
        ]

    def _own_memory_of(self, thread: int) -> list[int]:
        if not self._own_memory:
            return []
        process = processes.process_of(thread)
        return [address for address, owner in self._own_memory.items() if owner == process]

    def _note(self, thread: int) -> None:
        command = processes.command_of(thread)[:_COMMAND_CHARACTERS]
        started_by = processes.test_in(processes.environment_of(thread))
        if len(self._askers) < _KEPT_AT_MOST:
            self._askers[f"{command!r}, started by {started_by}" if started_by else repr(command)] = None

    def askers(self) -> list[str]:
        """The command lines of those with a ring that is not heard, and the tests that started them where that is known."""
        return list(self._askers)
