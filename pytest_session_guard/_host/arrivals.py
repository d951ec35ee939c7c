"""Which names in a directory were given to objects, one after another: what stands there now may be somebody else's.

A program that replaces a file makes another object and renames it over the name, or deletes the one and makes the other. By
times alone the second cannot be told from one that this process was about to make at that moment; the kernel knows the
order (inotify).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pytest_session_guard._host.fsops import Raw

if TYPE_CHECKING:
    from pytest_session_guard._host.makers import Makers
    from pytest_session_guard._host.notices import Notices, Told

_CREATE, _MOVED_TO, _ONLY_DIRECTORIES = 0x100, 0x80, 0x01000000
# What leaves a name is asked for as well: between them nothing, the kernel makes one event of two that are alike.
_MOVED_FROM, _DELETE = 0x40, 0x200
_HEAD: Final = struct.Struct("iIII")
_fsdecode: Final = os.fsdecode
MOST_DIRECTORIES: Final = 1000


class Arrivals:
    """What came to names that were about to be created. Where the kernel tells nothing, nothing came.

    :param wanted: whether a name is worth a watch of its directory; the kernel gives each user so many.
    :param tells_makers: whether this process makes them itself, so that what others bring can be told from it.
    """

    def __init__(self, wanted: Callable[[str], bool], *, tells_makers: bool = False) -> None:
        self._wanted = wanted
        self._tells_makers = tells_makers
        self._pid = -1
        self._notices: Notices | None = None
        self._makers: Makers | None = None
        self._by_others: set[str] = set()
        self._directories: dict[int, str] = {}
        self._numbers: dict[str, int] = {}

    def expect(self, path: str) -> None:
        """``path`` is about to be created."""
        if not self._wanted(path):
            return
        self._by_others.discard(path)
        if Raw.getpid() != self._pid or len(self._directories) >= MOST_DIRECTORIES:
            self._begin()
        if self._notices is not None:
            directory = path.rpartition("/")[0] or "/"
            try:
                # Asked for each time: the directory of that name may be another one by now, and one that is watched gets no
                # second watch.
                number = self._notices.watch(directory)
            except OSError:
                return  # it is not there, or the kernel gives no more
            self._numbers[path] = number
            if self._directories.get(number) != directory:
                self._directories[number] = directory
                self._know_makers(directory)

    def _know_makers(self, directory: str) -> None:
        if self._makers is not None:
            with suppress(OSError):
                self._makers.watch(directory)

    def is_by_another(self, path: str) -> bool:
        """Whether the kernel says that another process made what came to a name, or moved it there."""
        return path in self._by_others

    def is_elsewhere(self, path: str) -> bool:
        """Whether another directory than the one under watch holds the name by now: what came to it there nobody has told."""
        number = self._numbers.get(path)
        if number is None or self._notices is None or Raw.getpid() != self._pid:
            return False
        try:
            return self._notices.watch(path.rpartition("/")[0] or "/") != number
        except OSError:
            return True

    def forget(self, path: str) -> None:
        """Nobody waits for ``path`` any more."""
        self._numbers.pop(path, None)
        self._by_others.discard(path)

    def _begin(self) -> None:
        # A forked child would take its parent's events away, so it has a descriptor of its own; the parent's goes here.
        self.end()
        self._pid = Raw.getpid()
        try:
            # Imported here: it takes ctypes, and other platforms have nothing of the kind.
            from pytest_session_guard._host.makers import Makers
            from pytest_session_guard._host.notices import Notices

            self._notices = Notices(_CREATE | _MOVED_TO | _MOVED_FROM | _DELETE | _ONLY_DIRECTORIES)
            self._makers = Makers() if self._tells_makers else None
        except (ImportError, OSError, AttributeError):
            pass  # without either of them less is told

    def take(self) -> list[tuple[str, bool]]:
        """What came since the last call, in order: the path, and whether it was moved there rather than made there."""
        if self._notices is None or Raw.getpid() != self._pid:
            return []
        content = self._notices.take()
        if content is None:
            self.end()  # a test closed it; the next name that is announced begins anew
            self._pid = -1
            return []
        self._hear_of_others()
        found: list[tuple[str, bool]] = []
        position = 0
        while position < len(content):
            watch, kind, _, length = _HEAD.unpack_from(content, position)
            position += _HEAD.size + length
            directory = self._directories.get(watch)
            if directory is not None and kind & (_CREATE | _MOVED_TO):
                name = _fsdecode(content[position - length : position].rstrip(b"\0"))
                found.append((f"{directory.rstrip('/')}/{name}", bool(kind & _MOVED_TO)))
        return found

    def _hear_of_others(self) -> None:
        makers = self._makers
        for name, handle in () if makers is None else makers.others():
            for path in list(self._numbers):
                directory, _, last = path.rpartition("/")
                if makers is not None and last == name and makers.leads_to(handle, directory or "/"):
                    self._by_others.add(path)

    def end(self) -> None:
        """Watch no more."""
        told: tuple[Told | None, ...] = self._notices, self._makers
        self._notices = self._makers = None
        self._directories, self._numbers = {}, {}
        for one in told:
            if one is not None:
                one.close()
