"""Looking at one directory, and at files too young to be told by their times."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

from pytest_session_guard._host.fsops import OwnPath, Raw

from .facts import RECORD, facts_of, pack_all

# A file whose last change is as young as this may change again without a new time; whole seconds are a coarse clock's.
RACY_NS: Final = 50_000_000
RACY_COARSE_NS: Final = 2_000_000_000
DIGEST_LIMIT_BYTES: Final = 16 << 20
UNREADABLE: Final = 1
_PIECE_BYTES: Final = 1 << 20
_BY_DESCRIPTOR: Final = os.listdir in os.supports_fd and os.lstat in os.supports_dir_fd

Listing = tuple[list[str], list[os.stat_result]]


def list_directory(path: str) -> Listing:
    """The names in a directory, sorted, and their stats; a name that goes meanwhile is left out.

    :raises OSError: it cannot be listed, or is no directory.
    """
    if not _BY_DESCRIPTOR:
        return _those_found(sorted(Raw.listdir(path)), lambda name: Raw.lstat(joined(path, name)))
    lstat = Raw.lstat
    fd = Raw.open(OwnPath(path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        names = Raw.listdir(fd)  # type: ignore[arg-type]  # an overload that the captured name has lost
        names.sort()
        try:
            return names, [lstat(name, dir_fd=fd) for name in names]
        except FileNotFoundError:
            return _those_found(names, lambda name: lstat(name, dir_fd=fd))
    finally:
        Raw.close(fd)


def _those_found(names: Sequence[str], look: Callable[[str], os.stat_result]) -> Listing:
    kept, stats = [], []
    for name in names:
        try:
            stats.append(look(name))
        except FileNotFoundError:
            continue
        kept.append(name)
    return kept, stats


def records_of(directory: str, names: Sequence[str], stats: Sequence[os.stat_result]) -> bytes:
    """The records of a directory; a file that was changed a moment ago gets a digest."""
    now_ns = Raw.time_ns()
    if max((state.st_ctime_ns for state in stats), default=0) < now_ns - RACY_COARSE_NS:
        return pack_all(stats)
    return b"".join(
        RECORD.pack(digest(joined(directory, name)) if is_racy(state, now_ns) else 0, *facts_of(state))
        for name, state in zip(names, stats, strict=True)
    )


def is_racy(state: os.stat_result, now_ns: int) -> bool:
    """Whether a file may change after this look without its times telling."""
    if not stat.S_ISREG(state.st_mode) or state.st_size > DIGEST_LIMIT_BYTES:
        return False
    window_ns = RACY_NS if state.st_ctime_ns % 1_000_000_000 else RACY_COARSE_NS
    return state.st_ctime_ns >= now_ns - window_ns


def digest(path: str) -> int:
    """A number that stands for the content of a regular file, never 0; `UNREADABLE` when it cannot be read."""

    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        fd = Raw.open(OwnPath(path), flags)
    except OSError:
        return UNREADABLE
    try:
        if not stat.S_ISREG(Raw.fstat(fd).st_mode):
            return UNREADABLE
        summed = blake2b(digest_size=8)
        while piece := Raw.read(fd, _PIECE_BYTES):
            summed.update(piece)
    except OSError:
        return UNREADABLE
    finally:
        Raw.close(fd)
    return max(int.from_bytes(summed.digest(), "big"), UNREADABLE + 1)


def joined(directory: str, name: str) -> str:
    """The path of a name in a directory."""
    return f"/{name}" if directory == "/" else f"{directory}/{name}"
