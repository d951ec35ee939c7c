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

from pytest_session_guard._core.records import Identity
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.identity import identity_of

if TYPE_CHECKING:
    from pytest_session_guard._host.makers import Makers
    from pytest_session_guard._host.notices import Notices, Told

_CREATE, _MOVED_TO, _ONLY_DIRECTORIES = 0x100, 0x80, 0x01000000
# What leaves a name is asked for as well: between them nothing, the kernel makes one event of two that are alike.
_MOVED_FROM, _DELETE = 0x40, 0x200
_OVERFLOW: Final = 0x4000
_HEAD: Final = struct.Struct("iIII")
_fsdecode: Final = os.fsdecode
MOST_DIRECTORIES: Final = 1000

# A directory under watch: the number of its watch, or where there is none by number the directory itself.
Watch = int | Identity
NOWHERE: Final = -1


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
        self._directories: dict[Watch, str] = {}
        self._watches: dict[str, Watch] = {}
        self._told: list[tuple[str, bool]] = []

    def expect(self, path: str) -> None:
        """``path`` is about to be created."""
        if not self._wanted(path):
            return
        self._by_others.discard(path)
        if Raw.getpid() != self._pid:
            self._begin()
        elif len(self._directories) >= MOST_DIRECTORIES:
            self._begin_anew()
        # The directory of that name may be another one by now.
        self._watch(path)

    def _watch(self, path: str) -> None:
        directory = path.rpartition("/")[0] or "/"
        try:
            watch = self._watch_of(directory)
        except (FileNotFoundError, NotADirectoryError):
            # Nothing can come to be there now; a directory that is made later is another one.
            self._watches[path] = NOWHERE
            return
        except OSError:
            return  # the kernel gives no more
        if watch is None:
            return
        self._watches[path] = watch
        if self._directories.get(watch) != directory:
            self._directories[watch] = directory
            if self._makers is not None:
                with suppress(OSError):
                    self._makers.watch(directory)

    def _watch_of(self, directory: str) -> Watch | None:
        """The watch of the directory that has a name now, which is made if there is none: one for each directory."""
        if self._notices is not None:
            return self._notices.watch(directory)
        # Others may have used up what the user gets of the one, and not of the other.
        return None if self._makers is None else identity_of(directory)

    def is_by_another(self, path: str) -> bool:
        """Whether another process made what came to a name, or moved it there, or the kernel kept too little to tell."""
        return path in self._by_others

    def is_elsewhere(self, path: str) -> bool:
        """Whether another directory than the one under watch holds the name by now: what came to it there nobody has told."""
        watch = self._watches.get(path)
        if watch is None or Raw.getpid() != self._pid:
            return False
        try:
            return self._watch_of(path.rpartition("/")[0] or "/") != watch
        except OSError:
            return True

    def forget(self, path: str) -> None:
        """Nobody waits for ``path`` any more."""
        self._watches.pop(path, None)
        self._by_others.discard(path)

    def _begin(self) -> None:
        # A forked child would take its parent's events away, so it has descriptors of its own; the parent's go here.
        self.end()
        self._pid = Raw.getpid()
        # Imported here: it takes ctypes, and other platforms have nothing of the kind.
        with suppress(ImportError, OSError, AttributeError):
            from pytest_session_guard._host.notices import Notices

            self._notices = Notices(_CREATE | _MOVED_TO | _MOVED_FROM | _DELETE | _ONLY_DIRECTORIES)
        with suppress(ImportError, OSError, AttributeError):
            from pytest_session_guard._host.makers import Makers

            self._makers = Makers() if self._tells_makers else None

    def _begin_anew(self) -> None:
        """Let go of the directories in which nobody waits for anything; what was told of the others is kept."""
        told, by_others = self.take(), self._by_others
        # The latest alone, so that there is room for more: of the rest nothing is told from now on.
        waited_for = list(self._watches)[-(MOST_DIRECTORIES // 2) :]
        lost = [path for path in waited_for if self.is_elsewhere(path)]
        self._begin()
        self._told, self._by_others = told, by_others
        for path in waited_for:
            self._watch(path)
        self._watches.update(dict.fromkeys(lost, NOWHERE))

    def take(self) -> list[tuple[str, bool]]:
        """What came since the last call, in order: the path, and whether it was moved there rather than made there."""
        if Raw.getpid() != self._pid:
            return []
        content = b"" if self._notices is None else self._notices.take()
        if content is None:
            self.end()  # a test closed it; the next name that is announced begins anew
            self._pid = -1
            return []
        self._hear_of_others()
        found, self._told = self._told, []
        position = 0
        while position < len(content):
            watch, kind, _, length = _HEAD.unpack_from(content, position)
            position += _HEAD.size + length
            if kind & _OVERFLOW:  # what came then, and from whom, is not told
                self._by_others.update(self._watches)
            directory = self._directories.get(watch)
            if directory is not None and kind & (_CREATE | _MOVED_TO):
                name = _fsdecode(content[position - length : position].rstrip(b"\0"))
                found.append((f"{directory.rstrip('/')}/{name}", bool(kind & _MOVED_TO)))
        return found

    def _hear_of_others(self) -> None:
        makers = self._makers
        for name, handle in () if makers is None else makers.others():
            for path in list(self._watches):
                directory, _, last = path.rpartition("/")
                if makers is not None and last == name and makers.leads_to(handle, directory or "/"):
                    self._by_others.add(path)

    def end(self) -> None:
        """Watch no more."""
        told: tuple[Told | None, ...] = self._notices, self._makers
        self._notices = self._makers = None
        self._directories, self._watches, self._told, self._by_others = {}, {}, [], set()
        for one in told:
            if one is not None:
                one.close()
