"""Reading an upper layer: what the run changed, told apart from what an overlay copies for reasons of its own.

An overlay copies a file up when it is opened for writing, whether or not a byte is written, and it copies every
directory on the way. So each entry is compared with the real one: only a difference is a change.
"""

from __future__ import annotations

import fcntl
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from .construction import Layer, rights_of

ChangeKind = Literal["created", "removed", "replaced", "content", "metadata", "names", "undone"]

_OVERLAY_XATTR: Final = "user.overlay."
_OPAQUE: Final = "user.overlay.opaque"
_ORIGIN: Final = "user.overlay.origin"
_FILE_FLAGS: Final = "user.overlay.protattr"
_CHUNK_BYTES: Final = 1 << 18
_DEPTH_LIMIT: Final = 200
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FS_IOC_GETFLAGS: Final = 0x80086601
# append-only, immutable, no-dump, no-atime: what chattr sets and an overlay does not bring along by itself
_CHATTR_FLAGS: Final = 0x20 | 0x10 | 0x40 | 0x80
# Before 6.13 a time stamp stands still for a tick: a change right after a look may show the same one.
_TICK_NS: Final = 20_000_000
_FINE_TIMES_SINCE: Final = (6, 13)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between what the tests see and the real disk, new since the last look.

    :param path: as the tests see it.
    :param kind: ``created``, ``removed`` and ``replaced`` (another object stands there) change a name; ``content``;
        ``metadata``: mode, owner, times, xattrs, flags; ``names``: entries of a directory came and went and left
        nothing but its time; ``undone``: what was changed earlier is again as it really is.
    :param directory: the change is one of a directory.
    """

    path: str
    kind: ChangeKind
    directory: bool


class System:
    """The calls that reading needs, held where a test that patches ``os`` does not reach them."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    stat = staticmethod(os.stat)
    fstat = staticmethod(os.fstat)
    # Their types depend on arguments in ways that a name for them loses.
    scandir: Any = staticmethod(os.scandir)
    ioctl: Any = staticmethod(fcntl.ioctl)
    pread = staticmethod(os.pread)
    chmod = staticmethod(os.chmod)
    readlink = staticmethod(os.readlink)
    listxattr = staticmethod(os.listxattr)
    getxattr = staticmethod(os.getxattr)
    uname = staticmethod(os.uname)


def has_fine_times() -> bool:
    """Whether this kernel gives two changes two time stamps, however close, when somebody looked in between."""
    release = System.uname().release.split(".")
    try:
        return (int(release[0]), int(release[1])) >= _FINE_TIMES_SINCE
    except (ValueError, IndexError):
        return False


@dataclass(frozen=True, slots=True)
class _Seen:
    """An upper entry at the last look.

    :param kind: how it differs from the real one; ``None``: not at all.
    :param stamp: what a further change of it alters.
    :param times: of a directory: access and change of entries.
    :param digest: of its content, where the stamp alone would be no proof.
    """

    kind: ChangeKind | None
    directory: bool
    stamp: tuple[object, ...] = ()
    times: tuple[int, int] | None = None
    digest: int | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """A directory of the upper layer under examination; ``lower_fd`` is ``None`` where the real one lacks it."""

    path: str
    upper_fd: int
    lower_fd: int | None
    depth: int = 0

    def below(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"


class LayerReader:
    """Reads one layer, again and again; each time only what is new."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._fine = has_fine_times()
        self._untouched = self._stamp_if_untouched()
        self._seen: dict[str, _Seen] = {}
        self._now: dict[str, _Seen] = {}
        self._changes: list[Change] = []

    def _stamp_if_untouched(self) -> tuple[int, ...] | None:
        """The stamp of the upper root, if it is as it was made; another process may have been at work before."""
        status = System.fstat(self.layer.upper_fd)
        real = System.fstat(self.layer.lower_fd)
        with System.scandir(self.layer.upper_fd) as entries:
            is_empty = next(entries, None) is None
        as_made = rights_of(status) == self.layer.root_rights and status.st_mtime_ns == real.st_mtime_ns
        return _stamp(status) if is_empty and as_made else None

    def changes(self) -> list[Change]:
        """What is new since the last call. An untouched layer costs one system call.

        :raises OSError: the layer cannot be read.
        """
        status = System.fstat(self.layer.upper_fd)
        # Whatever is the first to change below is copied into the root, so an empty root that did not change proves
        # that nothing did.
        if self._fine and _stamp(status) == self._untouched:
            return []
        self._untouched = None
        self._changes, self._now = [], {}
        if self.layer.name:
            self._read_file_root()
        else:
            self._read_root(status)
        self._report_undone()
        self._seen = self._now
        return self._changes

    def _read_file_root(self) -> None:
        layer = self.layer
        status = _status_below(layer.upper_fd, layer.name)
        if status is not None:
            place = _Place(layer.path.rpartition("/")[0], layer.upper_fd, layer.lower_fd)
            self._read_entry(place, layer.name, status)

    def _read_root(self, status: os.stat_result) -> None:
        layer = self.layer
        # An O_PATH descriptor cannot be read from.
        lower_fd = System.open(".", _DIRECTORY, dir_fd=layer.lower_fd)
        try:
            place = _Place(layer.path, layer.upper_fd, lower_fd)
            with _opened_up(layer.upper_fd, status):
                renamed = self._read_entries(place)
            self._read_shared_directory(place, status, renamed, is_root=True)
        finally:
            System.close(lower_fd)

    def _read_entries(self, place: _Place) -> bool:
        """Read what is in a directory; says whether a name in it is newly changed, which moves its time."""
        with System.scandir(place.upper_fd) as entries:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        renamed = False
        for name, status in found:
            before = len(self._changes)
            self._read_entry(place, name, status)
            path = place.below(name)
            renamed = renamed or any(
                change.path == path and change.kind in _NAME_KINDS for change in self._changes[before:]
            )
        return renamed or self._has_lost_entries(place, {name for name, _ in found})

    def _has_lost_entries(self, place: _Place, names: set[str]) -> bool:
        start = place.below("")
        return any(
            path.startswith(start) and "/" not in path[len(start) :] and path[len(start) :] not in names
            for path, seen in self._seen.items()
            if seen.kind is not None
        )

    def _read_entry(self, place: _Place, name: str, status: os.stat_result) -> None:
        real = _status_below(place.lower_fd, name)
        if _is_whiteout(status):
            if real is not None:
                self._settle(place.below(name), _Seen("removed", stat.S_ISDIR(real.st_mode)))
        elif stat.S_ISDIR(status.st_mode):
            self._read_directory(place, name, status, real)
        else:
            self._read_object(place, name, status, real)

    def _read_directory(self, place: _Place, name: str, status: os.stat_result, real: os.stat_result | None) -> None:
        path = place.below(name)
        upper_fd = _opened(name, _DIRECTORY, place.upper_fd, status)
        lower_fd = None
        try:
            if real is not None and stat.S_ISDIR(real.st_mode):
                lower_fd = _try_opened(name, _DIRECTORY, place.lower_fd)
            inner = _Place(path, upper_fd, lower_fd, place.depth + 1)
            with _opened_up(upper_fd, status):
                renamed = inner.depth < _DEPTH_LIMIT and self._read_entries(inner)
            if lower_fd is not None:
                self._read_shared_directory(inner, status, renamed)
            else:
                kind: ChangeKind = "created" if real is None else "replaced"
                self._settle(path, _Seen(kind, True, (status.st_ino, rights_of(status), _xattrs(upper_fd))), "metadata")
        finally:
            System.close(upper_fd)
            if lower_fd is not None:
                System.close(lower_fd)

    def _read_shared_directory(
        self, place: _Place, status: os.stat_result, renamed: bool, is_root: bool = False
    ) -> None:
        """Compare a directory that stands in both trees; what is in it has been read already."""
        assert place.lower_fd is not None, "unreachable because the callers opened it"
        real = System.fstat(place.lower_fd)
        xattrs = _xattrs(place.upper_fd)
        kind: ChangeKind | None = None
        if not is_root and _has_xattr(place.upper_fd, _OPAQUE):
            kind = "replaced"
            self._settle_hidden(place)
        elif (
            rights_of(status) != (self.layer.root_rights if is_root else rights_of(real))
            or xattrs != _xattrs(place.lower_fd)
            or _has_new_flags(place.upper_fd, place.lower_fd)
        ):
            kind = "metadata"
        earlier = self._seen.get(place.path)
        times = (status.st_atime_ns, status.st_mtime_ns)
        known = earlier.times if earlier is not None else (real.st_atime_ns, real.st_mtime_ns)
        before = len(self._changes)
        self._settle(place.path, _Seen(kind, True, (status.st_ino, rights_of(status), xattrs), times), "metadata")
        if len(self._changes) == before and times != known and not renamed:
            self._changes.append(Change(place.path, _time_kind(status, known), True))

    def _settle_hidden(self, place: _Place) -> None:
        """What an opaque directory hides of the real one, and does not have itself, is removed."""
        assert place.lower_fd is not None, "unreachable because the callers opened it"
        with System.scandir(place.lower_fd) as entries:
            hidden = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, directory in hidden:
            if _status_below(place.upper_fd, name) is None:
                self._settle(place.below(name), _Seen("removed", directory))

    def _read_object(self, place: _Place, name: str, status: os.stat_result, real: os.stat_result | None) -> None:
        path, stamp = place.below(name), _stamp(status)
        earlier = self._seen.get(path)
        known = earlier is not None and earlier.stamp == stamp
        digest = None if self._fine else _content_digest(name, place.upper_fd, status)
        if earlier is not None and known and earlier.digest == digest:
            self._now[path] = earlier
            return
        again: ChangeKind = "content" if known or earlier is None else _what_moved(earlier.stamp, stamp)
        kind = _compared(name, place, status, real)
        if not status.st_mode & stat.S_IRUSR:
            # Reading it took a change of mode and back, which is no news at the next look.
            stamp = _stamp(System.stat(name, dir_fd=place.upper_fd, follow_symlinks=False))
        self._settle(path, _Seen(kind, False, stamp, digest=digest), again)

    def _settle(self, path: str, seen: _Seen, again: ChangeKind = "content") -> None:
        """Take note of an entry, and report it where it is news.

        :param again: how it changed if it is as different from the real one as before, but otherwise so.
        """
        earlier = self._seen.get(path)
        self._now[path] = seen
        before = earlier.kind if earlier is not None else None
        if seen.kind != before:
            self._changes.append(Change(path, seen.kind or "undone", seen.directory))
        elif (
            seen.kind is not None
            and earlier is not None
            and (earlier.stamp, earlier.digest) != (seen.stamp, seen.digest)
        ):
            self._changes.append(Change(path, again, seen.directory))

    def _report_undone(self) -> None:
        """What was different and is no longer there is as it really is again; only the topmost is named."""
        gone = {path for path, seen in self._seen.items() if path not in self._now and seen.kind is not None}
        for path in sorted(gone):
            if path.rpartition("/")[0] not in gone and not self._is_hidden(path):
                self._changes.append(Change(path, "undone", self._seen[path].directory))

    def _is_hidden(self, path: str) -> bool:
        """Whether a directory above is now removed or replaced as a whole, which says it all."""
        while path := path.rpartition("/")[0]:
            if path in self._now:
                return self._now[path].kind in ("removed", "replaced")
        return False


_NAME_KINDS: Final = ("created", "removed", "replaced", "undone")


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """What tells that an object changed, whatever of it: an attribute, the content, a name of it."""
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _what_moved(earlier: tuple[object, ...], now: tuple[object, ...]) -> ChangeKind:
    if earlier[:1] != now[:1]:  # what was a directory, or removed, has no stamp to compare
        return "replaced"
    return "content" if earlier[1:3] != now[1:3] else "metadata"


def _time_kind(status: os.stat_result, known: tuple[int, int] | None) -> ChangeKind:
    """Whether a directory's times were set, or moved because entries came and went."""
    by_entries = (known is None or status.st_atime_ns == known[0]) and abs(
        status.st_ctime_ns - status.st_mtime_ns
    ) < _TICK_NS
    return "names" if by_entries else "metadata"


def _status_below(directory_fd: int | None, name: str) -> os.stat_result | None:
    if directory_fd is None:
        return None
    try:
        return System.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # A real directory that this user may not search counts as empty.
        return None


def _try_opened(name: str, flags: int, directory_fd: int | None) -> int | None:
    try:
        return System.open(name, flags, dir_fd=directory_fd)
    except OSError:
        # Real data that this user cannot read: what can be compared is its status.
        return None


@contextmanager
def _opened_up(directory_fd: int, status: os.stat_result) -> Iterator[None]:
    """Lets an upper directory be searched even where a test took away the right to."""
    mode = stat.S_IMODE(status.st_mode)
    if mode & stat.S_IRWXU == stat.S_IRWXU:
        yield
        return
    System.chmod(directory_fd, mode | stat.S_IRWXU)
    try:
        yield
    finally:
        System.chmod(directory_fd, mode)


def _opened(name: str, flags: int, directory_fd: int, status: os.stat_result) -> int:
    """Open an upper entry even where a test took away the right to; it is a copy, and its mode is put back."""
    try:
        # Our own look must not pass for a test's change of the access time.
        return System.open(name, flags | os.O_NOATIME, dir_fd=directory_fd)
    except PermissionError:
        System.chmod(name, 0o700, dir_fd=directory_fd)
        try:
            return System.open(name, flags | os.O_NOATIME, dir_fd=directory_fd)
        finally:
            System.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=directory_fd)


def _compared(name: str, place: _Place, status: os.stat_result, real: os.stat_result | None) -> ChangeKind | None:
    """How an upper entry that is no directory differs from the real one."""
    if real is None:
        return "created"
    if stat.S_IFMT(real.st_mode) != stat.S_IFMT(status.st_mode):
        return "replaced"
    if stat.S_ISLNK(status.st_mode):
        same = System.readlink(name, dir_fd=place.upper_fd) == System.readlink(name, dir_fd=place.lower_fd)
        return _unless_same_times(status, real) if same else "replaced"
    if not stat.S_ISREG(status.st_mode):
        return _unless_same_times(status, real)
    return _compared_file(name, place, status, real)


def _unless_same_times(status: os.stat_result, real: os.stat_result) -> ChangeKind | None:
    then, now = ((s.st_atime_ns, s.st_mtime_ns, *rights_of(s)) for s in (real, status))
    return None if then == now else "metadata"


def _compared_file(name: str, place: _Place, status: os.stat_result, real: os.stat_result) -> ChangeKind | None:
    upper_fd = _opened(name, _FILE, place.upper_fd, status)
    lower_fd = _try_opened(name, _FILE, place.lower_fd)
    try:
        # Only a copy carries its origin; what was renamed or created over the real one does not.
        replaced = not _has_xattr(upper_fd, _ORIGIN)
        changed = status.st_size != real.st_size or (lower_fd is not None and not _same_content(upper_fd, lower_fd))
        metadata = (status.st_atime_ns, status.st_mtime_ns, *rights_of(status)) != (
            real.st_atime_ns,
            real.st_mtime_ns,
            *rights_of(real),
        )
        if lower_fd is not None:
            metadata = metadata or _xattrs(upper_fd) != _xattrs(lower_fd)
            metadata = metadata or _has_new_flags(upper_fd, lower_fd)
    finally:
        System.close(upper_fd)
        if lower_fd is not None:
            System.close(lower_fd)
    if replaced and (changed or metadata):
        return "replaced"
    if changed:
        return "content"
    return "metadata" if metadata else None


def _same_content(upper_fd: int, lower_fd: int) -> bool:
    """Whether two files of one size hold the same bytes."""
    offset = 0
    while True:
        ours = System.pread(upper_fd, _CHUNK_BYTES, offset)
        if ours != System.pread(lower_fd, _CHUNK_BYTES, offset):
            return False
        if not ours:
            return True
        offset += len(ours)


def _content_digest(name: str, directory_fd: int, status: os.stat_result) -> int:
    if not stat.S_ISREG(status.st_mode):
        return 0
    descriptor = _opened(name, _FILE, directory_fd, status)
    digest, offset = 0, 0
    try:
        while chunk := System.pread(descriptor, _CHUNK_BYTES, offset):
            digest = zlib.crc32(chunk, digest)
            offset += len(chunk)
    finally:
        System.close(descriptor)
    return digest


def _xattrs(descriptor: int) -> tuple[tuple[str, bytes], ...]:
    """The attributes that a user sets; not the overlay's own, and not labels, which the other file system may lack."""
    names = (name for name in System.listxattr(descriptor) if name.startswith(("user.", "system.", "security.cap")))
    return tuple(
        (name, System.getxattr(descriptor, name)) for name in sorted(names) if not name.startswith(_OVERLAY_XATTR)
    )


def _has_xattr(descriptor: int, name: str) -> bool:
    return name in System.listxattr(descriptor)


def _has_new_flags(upper_fd: int, lower_fd: int) -> bool:
    """Whether a flag was set that the real object lacks; immutable ones an overlay keeps in an attribute."""
    return _has_xattr(upper_fd, _FILE_FLAGS) or bool(_flags(upper_fd) & ~_flags(lower_fd))


def _flags(descriptor: int) -> int:
    """The flags that ``chattr`` sets; none where the file system has no such thing."""
    try:
        answer = System.ioctl(descriptor, _FS_IOC_GETFLAGS, bytes(8))
    except OSError:
        return 0
    return int.from_bytes(answer[:4], "little") & _CHATTR_FLAGS
