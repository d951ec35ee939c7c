"""Whether anything was heard: a count in memory that the keeper and the processes of the run share."""

from __future__ import annotations

import mmap
import os
from typing import Final

# One count for tries, and one for what came to be in shared places.
_COUNT_BYTES: Final = 8
_SIZE: Final = 2 * _COUNT_BYTES
_TRIES: Final = slice(0, _COUNT_BYTES)
_MAKINGS: Final = slice(_COUNT_BYTES, _SIZE)


class Counter:
    """The keeper's side."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("session-guard-tries", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, _SIZE)
        self._tries = self._makings = 0

    def count_try(self) -> None:
        """One more try."""
        self._tries += 1
        os.pwrite(self.fd, self._tries.to_bytes(_COUNT_BYTES, "little"), _TRIES.start)

    def count_making(self) -> None:
        """One more thing that comes to be in a shared place."""
        self._makings += 1
        os.pwrite(self.fd, self._makings.to_bytes(_COUNT_BYTES, "little"), _MAKINGS.start)

    def close(self) -> None:
        """Count no more."""
        os.close(self.fd)


class Hearing:
    """The side of a process of the run: whether there was anything, at the price of a look into memory.

    :param counter_fd: taken over.
    :ivar is_awaiting: a call that would make something had been heard, and had not come to its end, when last asked.
    """

    is_awaiting = False

    def __init__(self, counter_fd: int) -> None:
        try:
            self._counter = mmap.mmap(counter_fd, _SIZE, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(counter_fd)
        self._heard = self._counter[:]

    def has_news(self) -> bool:
        """Whether anything was heard, in any stack, since it was asked for."""
        return self.is_awaiting or self._counter[:] != self._heard

    def has_new_tries(self) -> bool:
        """Whether anything was tried, in any stack, since the last call."""
        return self._is_new(_TRIES)

    def has_new_makings(self) -> bool:
        """Whether anything came to be in a shared place since the last call, or may have."""
        return self._is_new(_MAKINGS) or self.is_awaiting

    def _is_new(self, part: slice) -> bool:
        before, now = self._heard, self._counter[:]
        # Only that part is heard; of the other there may be news still.
        self._heard = now[_TRIES] + before[_MAKINGS] if part is _TRIES else before[_TRIES] + now[_MAKINGS]
        return before[part] != now[part]
