"""Who made a name in a directory: this process, or another one (fanotify).

inotify tells the order of what came to a name, and not who brought it. fanotify tells an ordinary user whether it was the
process that asks; it makes one event of several of one process, so it tells no order.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from typing import Final

from pytest_session_guard._host import syscalls
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.handles import in_words, reported_handle
from pytest_session_guard._host.notices import Told

_CREATE, _MOVED_TO, _DIRECTORIES_TOO = 0x100, 0x80, 0x40000000
_OVERFLOW: Final = 0x4000
_CLOEXEC, _NONBLOCK, _BY_DIRECTORY_AND_NAME = 0x1, 0x2, 0xC00
_ADD, _ONLY_DIRECTORIES = 0x1, 0x8
# See fanotify(7): the event; then what it is about: kind, file system, and the directory's handle before the name.
_EVENT: Final = struct.Struct("=IBBHQii")
_ABOUT: Final = struct.Struct("=BBH8sIi")
_DIRECTORY_AND_NAME: Final = 2
_fsdecode: Final = os.fsdecode


class Makers(Told):
    """Directories of which it is known who makes something in them, or moves it there.

    :raises OSError: the kernel is older (than 5.13), forbids it (some containers), or gives no more to this user.
    """

    def __init__(self) -> None:
        if sys.maxsize < 1 << 32:
            raise OSError(errno.ENOSYS, "the mask of a mark takes two registers here")
        flags = _CLOEXEC | _NONBLOCK | _BY_DIRECTORY_AND_NAME
        super().__init__(syscalls.call("fanotify_init", flags, os.O_RDONLY), "anon_inode:[fanotify]")
        self._directories: dict[str, str] = {}

    def watch(self, directory: str) -> None:
        """Know of a directory from now on.

        :raises OSError: it cannot be watched, or lies on a file system without handles.
        """
        # Asked before: should another directory take its place meanwhile, nothing is told rather than something wrong.
        handle = reported_handle(directory)
        kinds = _CREATE | _MOVED_TO | _DIRECTORIES_TOO
        path = os.fsencode(directory) + b"\0"
        where = syscalls.AT_FDCWD
        syscalls.call("fanotify_mark", self._fd, _ADD | _ONLY_DIRECTORIES, kinds, where, path, subject=directory)
        if handle is None:
            raise OSError(errno.EOPNOTSUPP, "no file handles here", directory)
        self._directories[handle] = directory

    def told(self) -> list[tuple[str, bool]] | None:
        """What came to names since the last call: the path, and whether this process made it there.

        Of a name to which several things came there may be several entries, in any order.

        :returns: ``None`` where something is missing: a test closed the descriptor, or it was more than the kernel keeps.
        """
        content, position = self.take(), 0
        found: list[tuple[str, bool]] = []
        while content is not None and position < len(content):
            length, _, _, head, kinds, _, pid = _EVENT.unpack_from(content, position)
            if kinds & _OVERFLOW:
                return None
            handle, name = _read(content[position + head : position + length])
            directory = self._directories.get(handle)
            if directory is not None:
                # Whose it is otherwise is told to root alone; others read 0.
                is_ours = pid == Raw.getpid() and kinds & (_CREATE | _MOVED_TO) == _CREATE
                found.append((f"{directory.rstrip('/')}/{name}", is_ours))
            position += length
        return None if content is None else found


def _read(about: bytes) -> tuple[str, str]:
    """The handle of a directory, and a name in it."""
    kind, _, length, _, size, handle_kind = _ABOUT.unpack_from(about)
    if kind != _DIRECTORY_AND_NAME:
        return "", ""
    handle, name = about[_ABOUT.size : _ABOUT.size + size], about[_ABOUT.size + size : length]
    return in_words(handle_kind, handle), _fsdecode(name.split(b"\0")[0])
