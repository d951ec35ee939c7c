"""What SQLite makes beside a database, from C, where no hook sees it, and takes away with the last connection.

It belongs to the database and is of no use without. By its name alone it may be anybody's: an application may keep a
``notes-journal`` beside the ``notes`` of a test.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from pytest_session_guard._host.directories import OpenDirectory
from pytest_session_guard._host.fsops import Raw, closing

JOURNAL: Final = "-journal"
WAL: Final = "-wal"
INDEX: Final = "-shm"
SIDE_FILES: Final = (WAL, INDEX, JOURNAL)

_READ: Final = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
_HEAD_BYTES: Final = 8
# See sqlite.org/fileformat2.html and walformat.html. A journal has zeros there until it is synced, and after its end.
_HEADS: Final = {
    WAL: (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"),
    JOURNAL: (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", bytes(_HEAD_BYTES)),
}
_INDEX_PIECE_BYTES: Final = 32768
_SMALLEST_PAGE_BYTES: Final = 512


def database_of(name: str) -> str:
    """The name of the database that a file lies beside by its name, or ``""``."""
    suffix = _suffix_of(name)
    return name.removesuffix(suffix) if suffix else ""


def is_made_by_sqlite(directory: OpenDirectory, name: str) -> bool:
    """Whether what has the name of a side file is one by its content, too.

    Neither the database nor its index is opened: closing them would give up the locks that this process holds on them.
    """
    suffix = _suffix_of(name)
    try:
        size = _size(directory, name)
        if suffix == INDEX:
            return size > 0 and size % _INDEX_PIECE_BYTES == 0
        if size == 0:
            pages = _size(directory, name.removesuffix(suffix))
            return pages > 0 and pages % _SMALLEST_PAGE_BYTES == 0
        return size > 0 and _head(directory, name).startswith(_HEADS[suffix])
    except OSError:
        return False


def _suffix_of(name: str) -> str:
    return next((suffix for suffix in SIDE_FILES if name.endswith(suffix)), "")


def _size(directory: OpenDirectory, name: str) -> int:
    """The size of a regular file; of anything else one that no file has."""
    found = Raw.stat(directory.name(name), dir_fd=directory.fd, follow_symlinks=False)
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _head(directory: OpenDirectory, name: str) -> bytes:
    with closing(Raw.open(directory.name(name), _READ, dir_fd=directory.fd)) as fd:
        return Raw.read(fd, _HEAD_BYTES)
