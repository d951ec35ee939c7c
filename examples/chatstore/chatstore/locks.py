"""The one lock of the store."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from chatstore import paths

_THREADS = threading.RLock()
_depth = 0


@contextmanager
def store_lock() -> Iterator[None]:
    """Keep every other thread and every other process out of the store while the block runs.

    A save reads the old session, compares, and changes four files; only together do they make sense. The thread that
    holds the lock may take it again. The kernel gives a dead process's lock back, so nothing has to be cleaned up.
    """
    global _depth
    with _THREADS:
        if _depth:
            # A second flock by the same thread, on another descriptor, would wait for ourselves.
            yield
            return
        paths.SESSION_DIR.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(paths.SESSION_DIR / "_lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _depth = 1
            yield
        finally:
            _depth = 0
            os.close(descriptor)
