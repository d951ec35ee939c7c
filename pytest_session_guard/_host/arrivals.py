"""Which names in a directory were given to objects, and by whom: what stands there now may be somebody else's.

A program that replaces a file makes another object and renames it over the name, or deletes the one and makes the other. By
times alone the second cannot be told from one that this process was about to make at that moment; the kernel knows the
order (inotify), and who it was (fanotify).
"""

from __future__ import annotations

import errno
import os
import struct
from _thread import RLock, get_ident
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
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
# What is used up now, by this process or by its user, may be to be had for the next name.
_USED_UP: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC})

# A directory under watch: the number of its watch, or where there is none by number the directory itself.
Watch = int | Identity
NOWHERE: Final = -1


class Arrivals:
    """What came to names that were about to be created, as far as the kernel tells.

    :param wanted: whether a name is worth a watch of its directory; the kernel gives each user so many.
    :param tells_makers: whether this process makes them itself, so that what others bring can be told from it.
    """

    def __init__(self, wanted: Callable[[str], bool], *, tells_makers: bool = False) -> None:
        self._wanted = wanted
        self._tells_makers = self._are_makers_told = tells_makers
        self._pid = -1
        self._notices: Notices | None = None
        self._makers: Makers | None = None
        self._by_others: set[str] = set()
        self._by_us: set[str] = set()
        # Names of which the kernel may have told more than was heard.
        self._unheard: set[str] = set()
        self._directories: dict[Watch, str] = {}
        self._marked: dict[Watch, str] = {}
        self._watches: dict[str, Watch] = {}
        self._told: list[tuple[str, bool]] = []
        self._looks = 0
        # What one thread has read, the others must not miss. By process, because a fork never gets back what another thread
        # holds; and by nobody held while anything is waited for.
        self._turns: dict[int, RLock] = {}

    def expect(self, path: str) -> bool:
        """``path`` is about to be created; the answer is whether it is wanted to know what comes to it."""
        if not self._wanted(path):
            return False
        with self._turn():
            self._drop(path)
            if Raw.getpid() != self._pid:
                self._begin()
            elif len(self._directories) >= MOST_DIRECTORIES:
                self._begin_anew()
            elif self._makers is None and self._are_makers_told:
                self._begin_makers()
            # The directory of that name may be another one by now.
            self._watch(path)
        return True

    def _turn(self) -> RLock:
        pid = Raw.getpid()
        return self._turns.get(pid) or self._turns.setdefault(pid, RLock())

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
        self._directories[watch] = directory
        if self._makers is not None and self._marked.get(watch) != directory:
            with suppress(OSError):
                self._makers.watch(directory)
                self._marked[watch] = directory

    def _watch_of(self, directory: str) -> Watch | None:
        """The watch of the directory that has a name now, which is made if there is none: one for each directory."""
        # Others may have used up what the user gets of the one, and not of the other.
        with suppress(OSError) if self._makers is not None else nullcontext():
            if self._notices is not None:
                return self._notices.watch(directory)
        return None if self._makers is None else identity_of(directory)

    def is_by_another(self, path: str) -> bool:
        """Whether another process is told to have made something at a name, or to have moved it there."""
        return path in self._by_others

    def is_by_us(self, path: str) -> bool:
        """Whether this process is told to have made something at a name, and nobody else: yes only by the kernel's own word."""
        return path in self._by_us and path not in self._by_others and path not in self._unheard

    def is_elsewhere(self, path: str) -> bool:
        """Whether another directory than the one under watch holds the name by now: what came to it there nobody has told."""
        watch = self._watches.get(path)
        if watch is None or Raw.getpid() != self._pid:
            return False
        directory = path.rpartition("/")[0] or "/"
        try:
            if isinstance(watch, Identity):
                return identity_of(directory) != watch
            return self._notices is None or self._notices.watch(directory) != watch
        except OSError:
            return True

    def catch_up(self, paths: Iterable[str]) -> None:
        """Let those finish who are at work in the directories of names at this moment, threads of ours among them.

        The kernel shows an object, or what has taken its place, a moment before it tells of it. Until it has told, nobody can
        look for another name there, unless somebody has before.
        """
        for directory in {path.rpartition("/")[0] for path in paths if path in self._watches}:
            self._looks += 1
            with suppress(OSError):
                Raw.lstat(f"{directory}/.session-guard-{Raw.getpid()}-{self._looks}-{get_ident()}")

    def forget(self, path: str) -> None:
        """Nobody waits for ``path`` any more."""
        self._watches.pop(path, None)
        self._drop(path)

    def _drop(self, path: str) -> None:
        for heard in (self._by_others, self._by_us, self._unheard):
            heard.discard(path)

    def _begin(self) -> None:
        # A forked child would take its parent's events away, so it has descriptors of its own; the parent's go here.
        self.end()
        self._pid = Raw.getpid()
        # Imported here: it takes ctypes, and other platforms have nothing of the kind.
        with suppress(ImportError, OSError, AttributeError):
            from pytest_session_guard._host.notices import Notices

            self._notices = Notices(_CREATE | _MOVED_TO | _MOVED_FROM | _DELETE | _ONLY_DIRECTORIES)
        self._are_makers_told = self._tells_makers
        self._begin_makers()

    def _begin_makers(self) -> None:
        self._marked = {}
        if not self._are_makers_told:
            return
        try:
            from pytest_session_guard._host.makers import Makers

            self._makers = Makers()
        except OSError as problem:
            self._are_makers_told = problem.errno in _USED_UP
        except (ImportError, AttributeError):
            self._are_makers_told = False

    def _begin_anew(self) -> None:
        """Let go of the directories in which nobody waits for anything; what was told of the others is kept."""
        told = self.take()
        # The latest alone, so that there is room for more: of the rest nothing is told from now on.
        waited_for = list(self._watches)[-(MOST_DIRECTORIES // 2) :]
        lost = [path for path in waited_for if self.is_elsewhere(path)]
        heard, before = (self._by_others, self._by_us, self._unheard), self._makers
        self._makers = None  # it goes on until the next one has begun
        self._begin()
        self._told, (self._by_others, self._by_us, self._unheard) = told, heard
        for path in waited_for:
            self._watch(path)
        self._watches.update(dict.fromkeys(lost, NOWHERE))
        if before is not None:
            self._hear(before)
            before.close()
        # Of the rest nobody would be told that somebody else took the name.
        self._by_us = {path for path in self._by_us if self._watches.get(path) in self._marked}

    def take(self) -> list[tuple[str, bool]]:
        """What came since the last call, in order: the path, and whether it was moved there rather than made there."""
        if Raw.getpid() != self._pid:
            return []
        with self._turn():
            content = b"" if self._notices is None else self._notices.take()
            if content is None:
                self.end()  # a test closed it; the next name that is announced begins anew
                self._pid = -1
                return []
            if self._makers is not None and not self._hear(self._makers):
                self._makers.close()
                self._makers = None
            found, self._told = self._told, []
        position = 0
        while position < len(content):
            watch, kind, _, length = _HEAD.unpack_from(content, position)
            position += _HEAD.size + length
            if kind & _OVERFLOW:  # what came then, and from whom, is not told
                self._unheard.update(self._watches)
            directory = self._directories.get(watch)
            if directory is not None and kind & (_CREATE | _MOVED_TO):
                name = _fsdecode(content[position - length : position].rstrip(b"\0"))
                found.append((f"{directory.rstrip('/')}/{name}", bool(kind & _MOVED_TO)))
        return found

    def _hear(self, makers: Makers) -> bool:
        """Take in who made what; the answer is whether that is all."""
        told = makers.told()
        if told is None:
            self._unheard.update(self._watches)
            return False
        for path, is_ours in told:
            if path in self._watches:
                (self._by_us if is_ours else self._by_others).add(path)
        return True

    def end(self) -> None:
        """Watch no more."""
        told: tuple[Told | None, ...] = self._notices, self._makers
        self._notices = self._makers = None
        self._directories, self._marked, self._watches, self._told = {}, {}, {}, []
        self._by_others, self._by_us, self._unheard = set(), set(), set()
        for one in told:
            if one is not None:
                one.close()
