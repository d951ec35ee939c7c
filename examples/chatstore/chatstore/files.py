"""Writing files so that a reader, a crash or a neighbour never sees half of one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

DURABLE: Final = os.environ.get("CHATSTORE_FSYNC", "1") != "0"
"""Whether a write waits for the disk. A scratch store has no power cut to fear, and on a busy disk waiting is slow."""


def write_atomic(path: Path, content: bytes) -> None:
    """Put ``content`` in place of whatever ``path`` holds: afterwards it is the old file or the new one, never a part."""
    with _prepared(path, content) as prepared:
        os.replace(prepared, path)
    _sync_directory(path.parent)


def create_atomic(path: Path, content: bytes) -> None:
    """Make ``path`` with ``content``, whole from its first moment.

    :raises FileExistsError: somebody made ``path`` first, however late; theirs is left alone.
    """
    with _prepared(path, content) as prepared:
        # A check before a rename leaves a gap in which a live file can appear and be lost. A link has no gap: it fails.
        os.link(prepared, path)
    _sync_directory(path.parent)


def append(path: Path, content: bytes) -> None:
    """Add ``content`` at the end of ``path`` in one write, and wait until it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, content)
        _sync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Unlink ``path``; it may be gone already."""
    with suppress(FileNotFoundError):
        path.unlink()


@contextmanager
def _prepared(path: Path, content: bytes) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Process and thread in the name: with a fixed one, two savers truncate each other's half-written file. What a
    # dead process of the same number left under this name is nobody's any more, so it may be overwritten.
    prepared = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        descriptor = os.open(prepared, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            # Without this the name can reach the disk before the bytes: after a power cut, a file of zeros.
            _sync(file.fileno())
        yield prepared
    finally:
        remove(prepared)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    if DURABLE:
        os.fsync(descriptor)
