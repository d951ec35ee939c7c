"""Who made a name in a directory: this process, or another one (fanotify).

inotify tells the order of what came to a name, and not who brought it. fanotify tells an ordinary user whether it was the
process that asks; it makes one event of several, so it tells no order.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from typing import Final

from pytest_session_guard._host import syscalls
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.handles import file_handle
from pytest_session_guard._host.notices import Told

_CREATE, _MOVED_TO, _DIRECTORIES_TOO = 0x100, 0x80, 0x40000000
_CLOEXEC, _NONBLOCK, _BY_DIRECTORY_AND_NAME = 0x1, 0x2, 0xC00
_ADD, _ONLY_DIRECTORIES = 0x1, 0x8
# See fanotify(7): the event; then what it is about: kind, file system, and the directory's handle before the name.
_EVENT: Final = struct.Struct("=IBBHQii")
_ABOUT: Final = struct.Struct("=BBH8sIi")
_DIRECTORY_AND_NAME: Final = 2
_fsdecode: Final = os.fsdecode


class Makers(Told):
    """Directories of which it is known what others make in them, or move there.

    :raises OSError: the kernel is older (than 5.13), forbids it (some containers), or gives no more to this user.
    """

    def __init__(self) -> None:
        if sys.maxsize < 1 << 32:
            raise OSError(errno.ENOSYS, "the mask of a mark takes two registers here")
        flags = _CLOEXEC | _NONBLOCK | _BY_DIRECTORY_AND_NAME
        super().__init__(syscalls.call("fanotify_init", flags, os.O_RDONLY), "anon_inode:[fanotify]")

    def watch(self, directory: str) -> None:
        """Know of a directory from now on.

        :raises OSError: it cannot be watched, or lies on a file system without handles.
        """
        kinds = _CREATE | _MOVED_TO | _DIRECTORIES_TOO
        path = os.fsencode(directory) + b"\0"
        where = syscalls.AT_FDCWD
        syscalls.call("fanotify_mark", self._fd, _ADD | _ONLY_DIRECTORIES, kinds, where, path, subject=directory)

    def others(self) -> list[tuple[str, str]]:
        """Names that others made since the last call, each with the handle of its directory, as `file_handle` gives it."""
        content, position, found = self.take() or b"", 0, []
        while position < len(content):
            length, _, _, head, _, _, pid = _EVENT.unpack_from(content, position)
            # Whose it is otherwise is told to root alone; others read 0.
            if pid != Raw.getpid() and length > head:
                found += _read(content[position + head : position + length])
            position += length
        return found

    @staticmethod
    def leads_to(handle: str, directory: str) -> bool:
        """Whether a handle is a directory's; yes, where that cannot be told."""
        return file_handle(directory) in (None, handle)


def _read(about: bytes) -> list[tuple[str, str]]:
    kind, _, length, _, size, handle_kind = _ABOUT.unpack_from(about)
    if kind != _DIRECTORY_AND_NAME:
        return []
    handle, name = about[_ABOUT.size : _ABOUT.size + size], about[_ABOUT.size + size : length]
    return [(_fsdecode(name.split(b"\0")[0]), f"{handle_kind:x}-{handle.hex()}")]
