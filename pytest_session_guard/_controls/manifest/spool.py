"""An inventory on disk: blocks, one a directory, in a file without a name."""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from typing import Final

from pytest_session_guard._core.values import dataclass
from pytest_session_guard._host.fsops import OwnPath, Raw, keep_clear_of_low_numbers, write_all

from .facts import RECORD, Facts

# Lengths of the path and of the names, how many names, and whether the directory could be listed.
_HEADER: Final = struct.Struct("=IQI?")
_BUFFER_BYTES: Final = 1 << 20


def content_of(names: Sequence[str], records: bytes) -> bytes:
    """The names of a directory and their records: equal bytes, equal directories."""
    return "\0".join(names).encode("utf-8", "surrogateescape") + records


@dataclass(frozen=True, slots=True)
class Block:
    """One directory as it was found.

    :param content: as `content_of` gives it; the names take its first ``names_bytes``.
    :param was_listed: whether it could be looked at.
    """

    path: str
    content: bytes
    names_bytes: int
    was_listed: bool

    def entries(self) -> dict[str, tuple[int, Facts]]:
        """Digest and facts by name."""
        names = self.content[: self.names_bytes].decode("utf-8", "surrogateescape")
        records = RECORD.iter_unpack(self.content[self.names_bytes :])
        return {name: (record[0], record[1:]) for name, record in zip(names.split("\0"), records, strict=False)}


class Spool:
    """A file that nobody else can reach and that goes with the process.

    :raises OSError: it cannot be made.
    """

    def __init__(self, directory: str = "") -> None:
        self._fd = _nameless_file(directory or tempfile.gettempdir())
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self.size_bytes = 0

    def append(self, path: str, names: Sequence[str], records: bytes, *, was_listed: bool) -> None:
        """Add a block.

        :raises OSError: it cannot be written.
        """
        where = path.encode("utf-8", "surrogateescape")
        content = content_of(names, records)
        header = _HEADER.pack(len(where), len(content) - len(records), len(names), was_listed)
        self._pending += (header, where, content)
        added = len(header) + len(where) + len(content)
        self._pending_bytes += added
        self.size_bytes += added
        if self._pending_bytes >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Put on disk what is not there yet.

        :raises OSError: it cannot be written.
        """
        write_all(self._fd, b"".join(self._pending))
        self._pending, self._pending_bytes = [], 0

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            Raw.close(self._fd)
            self._fd = -1

    def blocks(self, start: int, end: int) -> Iterator[Block]:
        """The blocks between two sizes that the spool has had, in order.

        :raises OSError: they cannot be read back.
        """
        source = _Source(self._fd, start, end)
        while not source.is_exhausted:
            path_bytes, names_bytes, count, was_listed = _HEADER.unpack(source.take(_HEADER.size))
            path = source.take(path_bytes).decode("utf-8", "surrogateescape")
            yield Block(path, source.take(names_bytes + count * RECORD.size), names_bytes, was_listed)


class _Source:
    """Reads a stretch of a file in big pieces and gives it away in small ones."""

    def __init__(self, fd: int, start: int, end: int) -> None:
        os.lseek(fd, start, os.SEEK_SET)
        self._fd = fd
        self._unread = end - start
        self._buffer = b""
        self._used = 0

    @property
    def is_exhausted(self) -> bool:
        return not self._unread and self._used == len(self._buffer)

    def take(self, count: int) -> bytes:
        while len(self._buffer) - self._used < count:
            piece = Raw.read(self._fd, min(self._unread, _BUFFER_BYTES))
            if not piece:
                raise OSError(errno.EIO, "the inventory is shorter than it was written")
            self._unread -= len(piece)
            self._buffer = self._buffer[self._used :] + piece
            self._used = 0
        self._used += count
        return self._buffer[self._used - count : self._used]


def _nameless_file(directory: str) -> int:
    """A descriptor of a file that has no name."""
    path = OwnPath(f"{directory}/.session-guard-manifest.{Raw.getpid()}.{Raw.time_ns():x}")
    fd = Raw.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    Raw.unlink(path)
    return keep_clear_of_low_numbers(fd)
