"""Reading an upper layer: what the run changed, told apart from what an overlay copies for reasons of its own.

An overlay copies a file up when it is opened for writing, whether or not a byte is written, and it copies every
directory on the way. So each entry is compared with the real one: only a difference is a change.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from ..._core.values import dataclass
from .comparison import (
    DIRECTORY,
    OPAQUE,
    ChangeKind,
    System,
    compared,
    content_digest,
    flags_of,
    has_fine_times,
    has_xattr,
    is_whiteout,
    opened,
    opened_up,
    stamp_of,
    status_below,
    time_kind,
    try_opened,
    what_moved,
    xattrs,
)
from .construction import Layer, rights_of
from .others import ORIGIN, copied_ns, is_after, times_for, times_of

# Deeper than that a change is told of the directory at this depth: each level takes two descriptors.
_DEPTH_LIMIT: Final = 200
_NAME_KINDS: Final = ("created", "removed", "replaced", "undone")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between what the tests see and the real disk, new since the last look.

    :param path: as the tests see it.
    :param kind: ``created``, ``removed`` and ``replaced`` (another object stands there) change a name; ``content``;
        ``metadata``: mode, owner, times, xattrs, flags; ``names``: entries of a directory came and went and left
        nothing but its time; ``undone``: what was changed earlier is again as it really is.
    :param directory: the change is one of a directory.
    :param real: it is on the real disk, where no layer could be put.
    """

    path: str
    kind: ChangeKind
    directory: bool
    real: bool = False


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
        if self._untouched is not None and not layer.name:
            self._seen[layer.path] = self._root_as_made()
        self._now: dict[str, _Seen] = {}
        self._changes: list[Change] = []

    def _stamp_if_untouched(self) -> tuple[int, ...] | None:
        """The stamp of the upper root, if it is as it was made; another process may have been at work before."""
        status = System.fstat(self.layer.upper_fd)
        real = System.fstat(self.layer.lower_fd)
        with System.scandir(self.layer.upper_fd) as entries:
            is_empty = next(entries, None) is None
        as_made = rights_of(status) == self.layer.root_rights and status.st_mtime_ns == real.st_mtime_ns
        return stamp_of(status) if is_empty and as_made else None

    def _root_as_made(self) -> _Seen:
        # The real root may change at any time of a long run.
        status = System.fstat(self.layer.upper_fd)
        return _Seen(None, True, _stamp_of_directory(self.layer.upper_fd, status), times_of(status))

    @property
    def is_untouched(self) -> bool:
        """Whether the layer is as it was made, by a look of its own."""
        return self._stamp_if_untouched() is not None

    def changes(self) -> list[Change]:
        """What is new since the last call. An untouched layer costs one system call.

        :raises OSError: the layer cannot be read.
        """
        status = System.fstat(self.layer.upper_fd)
        # Whatever is the first to change below is copied into the root, so an empty root that did not change proves
        # that nothing did.
        if self._fine and stamp_of(status) == self._untouched:
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
        status = status_below(layer.upper_fd, layer.name)
        if status is not None:
            place = _Place(layer.path.rpartition("/")[0], layer.upper_fd, layer.lower_fd)
            self._read_entry(place, layer.name, status)

    def _read_root(self, status: os.stat_result) -> None:
        layer = self.layer
        # An O_PATH descriptor cannot be read from.
        lower_fd = System.open(".", DIRECTORY, dir_fd=layer.lower_fd)
        try:
            place = _Place(layer.path, layer.upper_fd, lower_fd)
            with opened_up(layer.upper_fd, status):
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
        real = status_below(place.lower_fd, name)
        if is_whiteout(status):
            if real is not None:
                self._settle(place.below(name), _Seen("removed", stat.S_ISDIR(real.st_mode)))
        elif stat.S_ISDIR(status.st_mode):
            self._read_directory(place, name, status, real)
        else:
            self._read_object(place, name, status, real)

    def _read_directory(self, place: _Place, name: str, status: os.stat_result, real: os.stat_result | None) -> None:
        path = place.below(name)
        upper_fd = opened(name, DIRECTORY, place.upper_fd, status)
        lower_fd = None
        try:
            if real is not None and stat.S_ISDIR(real.st_mode):
                lower_fd = try_opened(name, DIRECTORY, place.lower_fd)
            inner = _Place(path, upper_fd, lower_fd, place.depth + 1)
            with opened_up(upper_fd, status):
                renamed = inner.depth < _DEPTH_LIMIT and self._read_entries(inner)
            if lower_fd is not None:
                self._read_shared_directory(inner, status, renamed)
            else:
                kind: ChangeKind | None = "created" if real is None else "replaced"
                if (real is None or not stat.S_ISDIR(real.st_mode)) and has_xattr(upper_fd, ORIGIN):
                    # A directory that was copied cannot be renamed, so somebody took the real one away.
                    kind = "metadata" if path in self._seen else None
                self._settle_directory(inner, status, kind)
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
        earlier = self._seen.get(place.path)
        kind: ChangeKind | None = None
        if not is_root and has_xattr(place.upper_fd, OPAQUE):
            kind = "replaced"
            self._settle_hidden(place)
        elif (
            rights_of(status) != (self.layer.root_rights if is_root else rights_of(real))
            or xattrs(place.upper_fd) != xattrs(place.lower_fd)
            or flags_of(place.upper_fd) & ~flags_of(place.lower_fd)
        ) and (earlier is not None or not is_after(copied_ns(place.upper_fd, status), real.st_ctime_ns)):
            kind = "metadata"
        before = len(self._changes)
        self._settle_directory(place, status, kind)
        times, known = times_of(status), (earlier and earlier.times) or times_of(real)
        if times == known or len(self._changes) > before or renamed:
            return
        if earlier is None or earlier.times is None:
            known = times_for(status, real, copied_ns(place.upper_fd, status))
        if times != known:
            self._changes.append(Change(place.path, time_kind(status, known), True))

    def _settle_directory(self, place: _Place, status: os.stat_result, kind: ChangeKind | None) -> None:
        """Take note of a directory; one that is as it was at the last look differs as it did then.

        :param kind: how it differs from the real one by now, which may be somebody else's doing.
        """
        stamp = _stamp_of_directory(place.upper_fd, status)
        earlier = self._seen.get(place.path)
        if earlier is not None and earlier.stamp == stamp:
            kind = earlier.kind
        self._settle(place.path, _Seen(kind, True, stamp, times_of(status)), "metadata")

    def _settle_hidden(self, place: _Place) -> None:
        """What an opaque directory hides of the real one, and does not have itself, is removed."""
        assert place.lower_fd is not None, "unreachable because the callers opened it"
        with System.scandir(place.lower_fd) as entries:
            hidden = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, directory in hidden:
            if status_below(place.upper_fd, name) is None:
                self._settle(place.below(name), _Seen("removed", directory))

    def _read_object(self, place: _Place, name: str, status: os.stat_result, real: os.stat_result | None) -> None:
        path, stamp = place.below(name), stamp_of(status)
        earlier = self._seen.get(path)
        known = earlier is not None and earlier.stamp == stamp
        digest = None if self._fine else content_digest(name, place.upper_fd, status)
        if earlier is not None and known and earlier.digest == digest:
            self._now[path] = earlier
            return
        again: ChangeKind = "content" if known or earlier is None else what_moved(earlier.stamp, stamp)
        named_ns = System.fstat(place.upper_fd).st_mtime_ns
        kind = compared(name, place.upper_fd, place.lower_fd, status, real, named_ns)
        if not status.st_mode & stat.S_IRUSR:
            # Reading it took a change of mode and back, which is no news at the next look.
            stamp = stamp_of(System.stat(name, dir_fd=place.upper_fd, follow_symlinks=False))
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


def _stamp_of_directory(upper_fd: int, status: os.stat_result) -> tuple[object, ...]:
    """What tells that a directory itself was changed, whatever came and went in it."""
    return status.st_ino, rights_of(status), xattrs(upper_fd), flags_of(upper_fd)
