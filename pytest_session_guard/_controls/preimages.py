"""Pre-images: what stood at a path before the run's first change to it, kept so that it can be brought back.

What is about to lose its name (unlink, rename away, rename over) gets a second name in the store: a hard link, no byte
copied. What is about to be written in place is copied, as a reflink where the file system shares blocks, holes kept.
A database is kept with its log or journal, which SQLite writes and deletes from C: the one means nothing without the other.
The names in the store come from the object's identity, so that the processes of a run find what others kept without a lock.
"""

from __future__ import annotations

import base64
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from pytest_session_guard._core.errors import LedgerError, PreimageError
from pytest_session_guard._core.records import Identity
from pytest_session_guard._core.restoring import How, Preimage, side_files, state_of
from pytest_session_guard._host.copying import copy_content, listed_xattrs
from pytest_session_guard._host.directories import OpenDirectory
from pytest_session_guard._host.fsops import OwnPath, Raw, closing
from pytest_session_guard._host.identity import identity_from_stat
from pytest_session_guard._host.stores import BY_PATH, COPY, links_in_stores

# Seconds before each further attempt at a copy: another run in the same checkout is through with the file by then.
PAUSES: Final = (0.0, 0.005, 0.02, 0.08, 0.2)
SQLITE_HEADER: Final = b"SQLite format 3\0"
SMALLEST_PAGE: Final = 512

_sleep: Final = time.sleep  # captured: tests replace it


class Preimages:
    """The store of one run, as one process of it fills it.

    :param directory: the store; on the file system of the workspace hard links work.
    :param limit_bytes: what would take more room than this is not copied, and so may not be changed in place.
    :param journal: writes a record, or raises `LedgerError`.
    """

    def __init__(self, directory: str, limit_bytes: int, journal: Callable[[Mapping[str, Any]], None]) -> None:
        self.directory = directory
        self.limit_bytes = limit_bytes
        self._journal = journal
        self._store = Raw.lstat(directory)
        # No lock: threads meet as processes do, at names that only the first can make.
        self._recorded: dict[tuple[str, Identity], How] = {}
        # Of directories, as they were before the run took the first entry out; each entry that goes changes them.
        self._emptied: dict[str, os.stat_result] = {}

    def keep(self, path: str, found: os.stat_result, removal: bool) -> None:
        """Keep what stands at ``path``, unless it is kept already.

        :param found: the object's `lstat`, as the hook saw it.
        :param removal: the object is about to lose this name; otherwise it is about to be changed.
        :raises PreimageError: it cannot be kept (too large, unreadable, no space), so it must not be changed.
        :raises LedgerError: it cannot be written down, so it must not be changed.
        """
        try:
            if removal:
                above = path.rpartition("/")[0] or "/"
                if above not in self._emptied:
                    self._emptied[above] = Raw.lstat(above)
            if stat.S_ISDIR(found.st_mode):
                self._keep_directory(path, found, removal)
            else:
                self._keep_one(path, found, removal)
        except (PreimageError, LedgerError):
            raise
        except OSError as problem:
            if isinstance(problem, FileNotFoundError) and _lstat(path) is None:
                return  # it went by itself: there is nothing left to change
            raise PreimageError(path, f"could not be copied ({problem.strerror or problem})") from problem

    def note_left(self) -> None:
        """Write down how the run leaves each path that it changed, so that later changes can be told from its own.

        :raises LedgerError: it cannot be written down.
        """
        for path in dict.fromkeys(path for path, _ in list(self._recorded)):
            state = state_of(_lstat(path))
            self._journal({"kind": "left", "path": path, "state": None if state is None else list(state)})

    def _keep_directory(self, path: str, found: os.stat_result, removal: bool) -> None:
        """A directory is its mode, owner, times and attributes; one that is renamed away takes its contents along."""
        full = self._emptied.get(path)
        if full is not None and (full.st_dev, full.st_ino) == (found.st_dev, found.st_ino):
            found = full
        self._record(path, found, "directory")
        if removal:
            for entry in _entries(path):
                inner = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(inner.st_mode):
                    self._keep_directory(f"{path}/{entry.name}", inner, removal)
                else:
                    self._keep_one(f"{path}/{entry.name}", inner, removal)

    def _insist_on_store(self, path: str) -> None:
        """A store that was moved away, with a symlink or somebody else's directory in its place, is no place to write to."""
        now = Raw.lstat(self.directory)
        if (now.st_dev, now.st_ino) != (self._store.st_dev, self._store.st_ino):
            raise PreimageError(path, "could not be copied: another directory stands where the ledger was")

    def _keep_one(self, path: str, found: os.stat_result, removal: bool) -> None:
        if stat.S_ISLNK(found.st_mode):
            self._record(path, found, "symlink", target=Raw.readlink(path))
            return
        identity = identity_from_stat(path, found)
        held = self._recorded.get((path, identity))
        if held == "copy" or (held == "link" and removal):
            return
        self._insist_on_store(path)
        name = store_name(path, identity)
        sides = self._side_files(path, found, name)
        linked = _lstat(f"{self.directory}/{name}") is not None
        names = self._count_names(path, found, name)
        if _lstat(f"{self.directory}/{name}{COPY}") is not None:
            # Kept under another name of the object, by another process, or by another thread.
            self._record(path, found, "copy", copy=name + COPY, names=names)
        elif removal and (linked or self._link_with(sides, path, found, name)):
            self._record(path, found, "link", copy=name, names=names)
        else:
            # A second name is the object itself and would change with it: from now on the copy counts.
            self._copy_with(sides, path, found, name + COPY)
            self._record(path, found, "copy", copy=name + COPY, names=names)

    def _count_names(self, path: str, found: os.stat_result, name: str) -> int:
        """How many names an object has where a write would reach it: the store of an earlier run is no such place, either."""
        if found.st_nlink == 1:
            return 1
        # In this order: a link that another process makes meanwhile counts, and a name too many only has more brought back.
        links = links_in_stores(self.directory, name, found)
        return Raw.lstat(path).st_nlink - links

    def _side_files(self, path: str, found: os.stat_result, name: str) -> dict[str, os.stat_result | None]:
        """What SQLite keeps beside a database, there or not; nothing for anything else, nor once the run may have opened it.

        :param name: of the database in the store.
        """
        # The size of a database is that of its pages; few other files need to be opened then.
        if not stat.S_ISREG(found.st_mode) or found.st_size < SMALLEST_PAGE or found.st_size % SMALLEST_PAGE:
            return {}
        sides = {side: _lstat(side) for side in side_files(path)}
        # Looked at in this order: whoever of the run kept the database first has not opened it before it stood in the store.
        if any(_lstat(f"{self.directory}/{name}{end}") is not None for end in ("", COPY)) or not _is_database(path):
            return {}
        return {side: seen if seen is not None and stat.S_ISREG(seen.st_mode) else None for side, seen in sides.items()}

    def _link_with(
        self, sides: Mapping[str, os.stat_result | None], path: str, found: os.stat_result, name: str
    ) -> bool:
        self._keep_sides(sides, found, self._copy_all({side: seen for side, seen in sides.items() if seen is not None}))
        return self._link(path, found, name)

    def _copy_with(
        self, sides: Mapping[str, os.stat_result | None], path: str, found: os.stat_result, name: str
    ) -> None:
        copied = self._copy_all({path: found, **{side: seen for side, seen in sides.items() if seen is not None}}, name)
        self._keep_sides(sides, found, copied)

    def _keep_sides(
        self,
        sides: Mapping[str, os.stat_result | None],
        database: os.stat_result,
        copied: Mapping[str, os.stat_result],
    ) -> None:
        for side in sides:
            if side in copied:
                seen = copied[side]
                name = store_name(side, identity_from_stat(side, seen)) + COPY
                self._record(side, seen, "copy", copy=name, names=seen.st_nlink)
            else:
                self._record(side, database, "absent")

    def _link(self, path: str, found: os.stat_result, name: str) -> bool:
        """Give the object a name in the store; ``False`` where links are not to be had."""
        stored = OwnPath(f"{self.directory}/{name}")
        try:
            Raw.link(OwnPath(path), stored, follow_symlinks=False)
        except FileExistsError:
            return True  # another thread was faster
        except FileNotFoundError:
            raise
        except OSError:
            # Another file system, too many links, or somebody else's file under fs.protected_hardlinks.
            return False
        kept = Raw.lstat(stored)
        if (kept.st_dev, kept.st_ino) != (found.st_dev, found.st_ino):
            Raw.unlink(stored)
            raise PreimageError(path, "was replaced while its pre-image was taken")
        return True

    def _copy_all(self, files: Mapping[str, os.stat_result], name: str = "") -> dict[str, os.stat_result]:
        """Copies of files that belong together, as they were at one moment.

        :param name: of the first in the store; the others have their own.
        :returns: what each was when it was copied.
        """
        names = {path: store_name(path, identity_from_stat(path, found)) + COPY for path, found in files.items()}
        if name:
            names[next(iter(files))] = name
        for path, found in files.items():
            self._insist_on_copyable(path, found)
        end = f".{Raw.getpid()}.{threading.get_native_id()}.tmp"
        try:
            copied = self._copy_at_rest(
                files, {path: f"{self.directory}/{stored}{end}" for path, stored in names.items()}
            )
            with OpenDirectory(self.directory) as store:
                # The first copy is the one from before any change: whoever made it has not changed anything until then.
                for stored in reversed(names.values()):
                    _publish(store, f"{stored}{end}", stored)
        except BaseException:
            # A KeyboardInterrupt too must not leave a torn copy that could pass for a pre-image.
            for stored in names.values():
                if _lstat(f"{self.directory}/{stored}{end}") is not None:
                    Raw.unlink(OwnPath(f"{self.directory}/{stored}{end}"))
            raise
        return copied

    def _insist_on_copyable(self, path: str, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise PreimageError(path, "is no regular file, so it cannot be copied")
        needed = min(found.st_size, found.st_blocks * 512)
        if needed > self.limit_bytes:
            raise PreimageError(
                path, f"takes {needed} bytes, more than session_guard_preimage_limit ({self.limit_bytes})"
            )

    def _copy_at_rest(
        self, files: Mapping[str, os.stat_result], targets: Mapping[str, str]
    ) -> dict[str, os.stat_result]:
        for pause in PAUSES:
            if pause:
                _sleep(pause)
            copied: dict[str, os.stat_result] = {}
            moved = False
            for path, found in files.items():
                before, after = copy_content(path, targets[path])
                if (before.st_dev, before.st_ino) != (found.st_dev, found.st_ino):
                    raise PreimageError(path, "was replaced while its pre-image was taken")
                moved |= state_of(before) != state_of(after)
                copied[path] = before
            if len(files) > 1:
                moved |= any(state_of(before) != state_of(_lstat(path)) for path, before in copied.items())
            if not moved:
                return copied
        raise PreimageError(next(iter(files)), "is being changed by something else all the time")

    def _record(
        self, path: str, found: os.stat_result, how: How, *, copy: str = "", target: str = "", names: int = 1
    ) -> None:
        identity = identity_from_stat(path, found)
        if self._recorded.get((path, identity)) == how:
            return
        image = Preimage(
            path,
            how,
            identity,
            copy=copy,
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            size=found.st_size,
            atime_ns=found.st_atime_ns,
            mtime_ns=found.st_mtime_ns,
            names=names,
            time_ns=Raw.time_ns(),
            target=target,
            xattrs={name: base64.b64encode(value).decode() for name, value in listed_xattrs(path).items()},
        )
        self._journal(image.to_json())
        self._recorded[path, identity] = how


def store_name(path: str, identity: Identity) -> str:
    """The name of an object in the store: its identity, and the path where nothing else tells a number that comes again."""
    number = f"{identity.device:x}-{identity.inode:x}"
    if identity.birth_ns is not None:
        return f"{number}-{identity.birth_ns:x}"
    import zlib

    if identity.handle is not None:
        return f"{number}-of-{zlib.crc32(identity.handle.encode()):08x}"  # a handle may be too long for a name
    return f"{number}{BY_PATH}{zlib.crc32(os.fsencode(path)):08x}"


def _publish(store: OpenDirectory, beside: str, name: str) -> None:
    try:
        store.move_if_free(beside, store, name)
    except FileExistsError:
        store.unlink(beside)


def _is_database(path: str) -> bool:
    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        with closing(Raw.open(OwnPath(path), flags)) as fd:
            return Raw.read(fd, len(SQLITE_HEADER)) == SQLITE_HEADER
    except OSError:
        return False  # what cannot be read cannot be copied either, which is said there


def _lstat(path: str) -> os.stat_result | None:
    try:
        return Raw.lstat(path)
    except OSError as problem:
        if problem.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def _entries(path: str) -> list[os.DirEntry[str]]:
    return list(Raw.scandir(path))  # at once: no descriptor stays open while the tree below is walked
