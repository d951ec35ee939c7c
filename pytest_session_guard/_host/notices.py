"""Whether anything happened in a few directories since the last look, for one system call (inotify)."""

from __future__ import annotations

import contextlib
import errno
import os
import select
from collections.abc import Callable
from typing import Final

from pytest_session_guard._host import syscalls
from pytest_session_guard._host.fsops import keep_clear_of_low_numbers

_MODIFY, _ATTRIB, _MOVED, _CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x2, 0x4, 0xC0, 0x100, 0x200, 0x400, 0x800
_HAPPENINGS: Final = _MODIFY | _ATTRIB | _MOVED | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
_CHUNK_BYTES: Final = 1 << 16


class Told:
    """What the kernel tells through a descriptor.

    :param fd: the descriptor, which is not used any more afterwards.
    :param link: what ``/proc`` says of it.
    :raises OSError: ``/proc`` says something else, or nothing: then nobody could tell it later from another one of its number.
    """

    def __init__(self, fd: int, link: str) -> None:
        self._fd: int = keep_clear_of_low_numbers(fd)
        try:
            is_known = os.readlink(f"/proc/self/fd/{self._fd}") == link
        except OSError:
            is_known = False
        if not is_known:
            os.close(self._fd)
            raise OSError(errno.ENOSYS, f"no word of {link} in /proc")
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        self._poll: Callable[[int], list[tuple[int, int]]] = poll.poll
        self._read, self._readlink, self._link = os.read, os.readlink, link

    def has_news(self) -> bool:
        """Whether anything happened since `clear`; what cannot be told counts as news."""
        try:
            return self._poll(0) != []
        except (OSError, ValueError, RuntimeError):  # closed by a test; or another thread is just asking
            return True

    def clear(self) -> bool:
        """Forget what happened. Whoever looks at the directories does so afterwards.

        :returns: whether this still works; a test that closes every descriptor ends it.
        """
        return self.take() is not None

    def take(self) -> bytes | None:
        """What happened, as the kernel writes it down (inotify(7), fanotify(7)); ``None`` once this works no more."""
        pieces: list[bytes] = []
        try:
            # Under the number may be something else by now, whose bytes are not ours to read.
            if self._readlink(f"/proc/self/fd/{self._fd}") != self._link:
                return None
            while self.has_news():
                pieces.append(self._read(self._fd, _CHUNK_BYTES))
        except BlockingIOError:
            pass  # another thread has read it
        except OSError:
            return None
        return b"".join(pieces)

    def close(self) -> None:
        """Watch no more."""
        with contextlib.suppress(OSError):
            if self._readlink(f"/proc/self/fd/{self._fd}") == self._link:
                os.close(self._fd)


class Notices(Told):
    """Directories under watch. The kernel has written an event down before the call that caused it returns.

    It tells of the directory's own attributes, of names in it, and of the content and attributes of files in it; by
    whichever process, also in native code. It does not tell what happens deeper, nor of the flags ``d`` and ``A`` of
    ``chattr``.

    :param happenings: the events to be told of, as inotify numbers them.
    :raises OSError: the kernel gives no more instances to this user.
    """

    def __init__(self, happenings: int = _HAPPENINGS) -> None:
        self._happenings = happenings
        super().__init__(syscalls.call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC), "anon_inode:inotify")

    def watch(self, path: str) -> int:
        """Watch a directory; ``/proc/self/fd/N`` names one that has no path.

        :returns: the number by which events name it, always the same for one directory.
        :raises OSError: it cannot be watched.
        """
        return syscalls.call("inotify_add_watch", self._fd, os.fsencode(path) + b"\0", self._happenings, subject=path)
