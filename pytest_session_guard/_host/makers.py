"""Who made a name in a directory: this process, or another one (fanotify).

inotify tells the order of what came to a name, and not who brought it. fanotify tells an ordinary user whether it was the
process that asks; it makes one event of several of one process, so it tells no order.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
import termios
import time
from typing import Final

from pytest_session_guard._host import syscalls
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.handles import in_words, reported_handle
from pytest_session_guard._host.notices import Told

_CREATE, _MOVED_TO, _OPEN, _CLOSE, _OVERFLOW = 0x100, 0x80, 0x20, 0x18, 0x4000
_DIRECTORIES_TOO, _OF_WHAT_IS_IN_IT = 0x40000000, 0x08000000
_CLOEXEC, _NONBLOCK, _BY_DIRECTORY_AND_NAME = 0x1, 0x2, 0xC00
_ADD, _ONLY_DIRECTORIES, _FLUSH = 0x1, 0x8, 0x80
# See fanotify(7): the event; then what it is about: kind, file system, and the directory's handle before the name.
_EVENT: Final = struct.Struct("=IBBHQii")
_ABOUT: Final = struct.Struct("=BBH8sIi")
_DIRECTORY_AND_NAME: Final = 2
_OTHERS_READ_S: Final = 0.003
_fsdecode: Final = os.fsdecode


class _InDirectories(Told):
    """Directories of which it is known what is done to names in them.

    :param kinds: what is told of.
    :raises OSError: the kernel is older (than 5.13), forbids it (some containers), or gives no more to this user.
    """

    def __init__(self, kinds: int) -> None:
        if sys.maxsize < 1 << 32:
            raise OSError(errno.ENOSYS, "the mask of a mark takes two registers here")
        flags = _CLOEXEC | _NONBLOCK | _BY_DIRECTORY_AND_NAME
        super().__init__(syscalls.call("fanotify_init", flags, os.O_RDONLY), "anon_inode:[fanotify]")
        self._kinds = kinds
        self._directories: dict[str, str] = {}

    def watch(self, directory: str) -> None:
        """Know of a directory from now on.

        :raises OSError: it cannot be watched, or lies on a file system without handles.
        """
        # Asked before: should another directory take its place meanwhile, nothing is told rather than something wrong.
        handle = reported_handle(directory)
        path = os.fsencode(directory) + b"\0"
        where = syscalls.AT_FDCWD
        syscalls.call("fanotify_mark", self._fd, _ADD | _ONLY_DIRECTORIES, self._kinds, where, path, subject=directory)
        if handle is None:
            raise OSError(errno.EOPNOTSUPP, "no file handles here", directory)
        self._directories[handle] = directory

    def _events(self) -> list[tuple[int, int, str]] | None:
        """What happened since the last call: the kinds, the process, and the path.

        :returns: ``None`` where something is missing: a test closed the descriptor, or it was more than the kernel keeps.
        """
        content, position = self.take(), 0
        found: list[tuple[int, int, str]] = []
        while content is not None and position < len(content):
            length, _, _, head, kinds, _, pid = _EVENT.unpack_from(content, position)
            if kinds & _OVERFLOW:
                return None
            handle, name = _read(content[position + head : position + length])
            directory = self._directories.get(handle)
            if directory is not None:
                found.append((kinds, pid, f"{directory.rstrip('/')}/{name}"))
            position += length
        return None if content is None else found


class Makers(_InDirectories):
    """Directories of which it is known who makes something in them, or moves it there."""

    def __init__(self) -> None:
        super().__init__(_CREATE | _MOVED_TO | _DIRECTORIES_TOO)

    def told(self) -> list[tuple[str, bool]] | None:
        """What came to names since the last call: the path, and whether this process made it there.

        Of a name to which several things came there may be several entries, in any order.

        :returns: ``None`` where something is missing: a test closed the descriptor, or it was more than the kernel keeps.
        """
        events = self._events()
        if events is None:
            return None
        # Whose it is otherwise is told to root alone; others read 0.
        own = Raw.getpid()
        return [(path, pid == own and kinds & (_CREATE | _MOVED_TO) == _CREATE) for kinds, pid, path in events]


class Openers(_InDirectories):
    """Directories of which it is known whether a file was made by whoever opened it.

    Of what one process does to one name the kernel makes one event; of what two do, two. It keeps them apart also where it
    does not say who they are.
    """

    def __init__(self) -> None:
        super().__init__(_CREATE | _OPEN | _CLOSE | _OF_WHAT_IS_IN_IT)
        self._told: dict[str, list[int]] = {}
        self._is_cut = False

    def is_made_by_opener(self, path: str) -> bool:
        """Whether a process that has just opened a file, and is held since, has made it.

        Others that read each new file are given a moment: who has closed it is not the one that is held. While several have
        it open nobody can tell who made it.
        """
        if self._waiting() > 1:
            time.sleep(_OTHERS_READ_S)  # before it is read: what is done later makes another event
        events = self._events()
        self._is_cut |= events is None
        for kinds, _, told in events or ():
            self._told.setdefault(told, []).append(kinds)
        have_it_open = [kinds for kinds in self._told.get(path, ()) if kinds & _OPEN and not kinds & _CLOSE]
        return not self._is_cut and len(have_it_open) == 1 and bool(have_it_open[0] & _CREATE)

    def _waiting(self) -> int:
        """How many events have not been read yet."""
        # The kernel counts their heads alone.
        size = fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4))
        return int.from_bytes(size, sys.byteorder) // _EVENT.size

    def forget(self) -> None:
        """Watch none of the directories any more.

        :raises OSError: a test closed the descriptor.
        """
        syscalls.call("fanotify_mark", self._fd, _FLUSH, 0, syscalls.AT_FDCWD, None)
        self.take()
        self._directories.clear()
        self._told.clear()
        self._is_cut = False


def _read(about: bytes) -> tuple[str, str]:
    """The handle of a directory, and a name in it."""
    kind, _, length, _, size, handle_kind = _ABOUT.unpack_from(about)
    if kind != _DIRECTORY_AND_NAME:
        return "", ""
    handle, name = about[_ABOUT.size : _ABOUT.size + size], about[_ABOUT.size + size : length]
    return in_words(handle_kind, handle), _fsdecode(name.split(b"\0")[0])
