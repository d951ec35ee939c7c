"""When a run began, by the clock of any file system."""

from __future__ import annotations

import os

from pytest_session_guard._controls.ledger import RunDirectory
from pytest_session_guard._host.fsops import clock_ns


class Stamps:
    """A run's start stamp on each file system that it meets."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._by_device: dict[int, int] = {}

    def started_at(self, path: str) -> int:
        """The run's start stamp by the clock of the file system that holds a path, nanoseconds.

        File systems of this machine share the kernel's clock; one that is served by another machine does not, so it is
        asked now and the time that has passed since the start is taken off.
        """
        parent = path.rpartition("/")[0] or "/"
        own = self._directory
        try:
            device = os.stat(parent).st_dev
            if device == os.stat(own.path).st_dev:
                return own.started_ns
            if device not in self._by_device:
                passed = clock_ns(own.path) - own.started_ns
                self._by_device[device] = clock_ns(parent) - passed
        except OSError:
            return own.started_ns
        return self._by_device[device]
