"""The manifest: an inventory of the protected roots before and after, where no kernel layer can hold them.

It says what changed, never who did it. The first inventory goes, a directory at a time, into a nameless file; the second
is compared with it as it is taken, so memory grows with the largest single directory and not with the tree. A
directory of which nothing changed costs its listing, a stat for each name, and one comparison of bytes.

Stat tells all changes but those that move no time: a store into a shared mapping whose page was dirty already, and, on
file systems with coarse times, a change within the tick of the inventory. Files so young are read, and told by digest.
Only regular files are ever opened. What is below another mount is not looked at, and counted.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Literal

from pytest_session_guard._host.fsops import OwnPath, Raw, write_all

Kind = Literal["created", "removed", "replaced", "content", "metadata", "names", "incomparable"]
Skip = Callable[[str], bool]
# (mode, inode, links, uid, gid, size, mtime_ns, ctime_ns); a record has a digest after it, 0 for none.
Facts = tuple[int, ...]

BUDGET_ENTRIES: Final = 2_000_000
NAMED_UNCHECKED: Final = 20
LISTED_DIFFERENCES: Final = 10_000

_facts: Final = attrgetter(
    "st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ctime_ns"
)  # fmt: skip
_MODE, _INODE, _LINKS, _UID, _GID, _SIZE, _MTIME, _CTIME, _DIGEST = range(9)
_RECORD: Final = struct.Struct("=IQIIIQqqQ")
_BLOCK: Final = struct.Struct("=IQI?")  # length of the path, length of the names, how many, whether it was looked at
_BUFFER_BYTES: Final = 1 << 20
# A file whose last change is as young as this may change again without a new time; whole seconds are a coarse clock's.
_RACY_NS: Final = 50_000_000
_RACY_COARSE_NS: Final = 2_000_000_000
_DIGEST_LIMIT_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One path that is not as it was.

    :param kind: the words of the overlay's changes, and ``incomparable`` for a root of which no more can be said.
    :param detail: which facts differ, one clause.
    """

    path: str
    kind: Kind
    directory: bool = False
    detail: str = ""


@dataclass(slots=True)
class _Root:
    """A root as it was found.

    :param ancestors: identity (device, inode) of every directory above it, deepest first.
    :param facts: ``None`` when nothing stood there.
    :param start: where its blocks begin in the spool.
    """

    path: str
    ancestors: tuple[tuple[str, tuple[int, int]], ...]
    facts: Facts | None
    device: int = 0
    start: int = 0
    end: int = 0


@dataclass
class Manifest:
    """The inventory of some roots, as `take` found them.

    :ivar unchecked: how many places were not compared; any is reason enough not to call the outcome clean.
    :ivar unchecked_places: the first of them, each with its reason.
    :ivar unlisted: how many differences there were beyond those that `differences` lists.
    """

    roots: list[_Root] = field(default_factory=list)
    entries: int = 0
    unchecked: int = 0
    unchecked_places: list[tuple[str, str]] = field(default_factory=list)
    unlisted: int = 0

    def __post_init__(self) -> None:
        self._spool: _Spool | None = None
        self._skip: Skip = lambda path: False
        self._known_unchecked: set[str] = set()

    @classmethod
    def take(
        cls, roots: Sequence[str], skip: Skip, *, directory: str = "", budget_entries: int = BUDGET_ENTRIES
    ) -> Manifest:
        """Look at everything below some roots.

        :param roots: real paths; what lies below another root is looked at once.
        :param skip: says of a path that it, and all below it, is of no interest.
        :param directory: where the inventory is kept, in a file without a name; the temp directory by default.
        :param budget_entries: how many names to look at; directories beyond that are counted as unchecked.
        :raises OSError: the inventory cannot be kept.
        """
        manifest = cls()
        manifest._spool, manifest._skip = _Spool(directory), skip
        chosen = sorted(dict.fromkeys(roots))
        for path in chosen:
            manifest.roots.append(manifest._take_root(path, frozenset(chosen) - {path}, budget_entries))
        manifest._spool.flush()
        return manifest

    def close(self) -> None:
        """Let go of the inventory; nothing can be compared any more."""
        if self._spool is not None:
            self._spool.close()

    def _take_root(self, path: str, others: frozenset[str], budget: int) -> _Root:
        assert self._spool is not None, "unreachable because take() makes the spool first"
        found = _lstat(path)
        root = _Root(path, _ancestors(path), None if found is None else _facts(found))
        root.start = root.end = self._spool.size
        if found is None or not stat.S_ISDIR(found.st_mode):
            return root
        root.device = found.st_dev
        stack = [path]
        while stack:
            here = stack.pop()
            listing = self._list(here) if self.entries < budget else None
            if listing is None and self.entries >= budget:
                self._leave_out(here, f"the budget of {budget} names was used up")
            names, stats = listing or ((), ())
            self.entries += len(names)
            self._spool.append(_block(here, names, _packed(here, names, stats), listing is not None))
            stack += self._directories(here, names, stats, root.device, others)
        root.end = self._spool.size
        return root

    def _list(self, path: str) -> tuple[list[str], list[os.stat_result]] | None:
        try:
            return _listing(path)
        except OSError as problem:
            self._leave_out(path, f"cannot be listed ({problem.strerror})")
            return None

    def _leave_out(self, path: str, reason: str) -> None:
        if path in self._known_unchecked:
            return
        self.unchecked += 1
        if len(self._known_unchecked) < NAMED_UNCHECKED:
            self._known_unchecked.add(path)
            self.unchecked_places.append((path, reason))

    def _directories(
        self, here: str, names: Sequence[str], stats: Sequence[os.stat_result], device: int, others: frozenset[str]
    ) -> list[str]:
        """The directories to look at next, last first."""
        found: list[str] = []
        for name, state in zip(names, stats, strict=True):
            if not stat.S_ISDIR(state.st_mode):
                continue
            path = _join(here, name)
            if path in others or self._skip(path):
                continue
            if state.st_dev != device:
                self._leave_out(path, "is another file system")
                continue
            found.append(path)
        return found[::-1]

    # -- the second look ---------------------------------------------------------------------------------------------

    def differences(self) -> list[Difference]:
        """What is not as it was, roots in order; at most `LISTED_DIFFERENCES`, the rest is counted.

        :raises OSError: the inventory cannot be read back.
        """
        found: list[Difference] = []
        self.unlisted = 0
        for root in self.roots:
            for difference in self._compare_root(root):
                if self._skip(difference.path):
                    continue
                if len(found) < LISTED_DIFFERENCES:
                    found.append(difference)
                else:
                    self.unlisted += 1
        return found

    def _compare_root(self, root: _Root) -> Iterator[Difference]:
        now = _lstat(root.path)
        moved = next((path for path, was in root.ancestors if _identity(path) != was), None)
        if moved is not None:
            yield Difference(root.path, "incomparable", True, f"{moved!r} on the way to it is not what it was")
        elif root.facts is None:
            if now is not None:
                yield Difference(root.path, "created", stat.S_ISDIR(now.st_mode))
        elif now is None:
            yield Difference(root.path, "incomparable", stat.S_ISDIR(root.facts[_MODE]), "it is gone")
        elif stat.S_ISDIR(now.st_mode) and root.facts[_INODE] != now.st_ino:
            yield Difference(root.path, "incomparable", True, "another directory stands there")
        else:
            yield from _compare(root.path, (*root.facts, 0), _facts(now))
            if root.start != root.end and stat.S_ISDIR(now.st_mode):
                yield from self._compare_tree(root, frozenset(other.path for other in self.roots) - {root.path})

    def _compare_tree(self, root: _Root, others: frozenset[str]) -> Iterator[Difference]:
        """Walk as the first look did, block by block; a block whose directory is not met is of one that is gone."""
        assert self._spool is not None, "unreachable because a root with blocks has a spool"
        blocks = self._spool.blocks(root.start, root.end)
        stack = [root.path]
        while stack:
            here = stack.pop()
            block = next(block for block in blocks if block.path == here)
            listing = self._list(here) if block.was_listed else None
            if listing is None:
                continue
            names, stats = listing
            before: frozenset[str] | None = None
            if block.content != _content(names, b"".join(map(_pack, stats))):
                was = block.entries()
                before = frozenset(name for name, facts in was.items() if stat.S_ISDIR(facts[_MODE]))
                yield from self._compare_directory(here, was, dict(zip(names, map(_facts, stats), strict=True)))
            for path in self._directories(here, names, stats, root.device, others):
                if before is None or path.rpartition("/")[2] in before:
                    stack.append(path)

    def _compare_directory(self, here: str, was: dict[str, Facts], now: dict[str, Facts]) -> Iterator[Difference]:
        for name in sorted(was.keys() | now.keys()):
            path = _join(here, name)
            if name not in now:
                yield Difference(path, "removed", stat.S_ISDIR(was[name][_MODE]))
            elif name not in was:
                yield Difference(path, "created", stat.S_ISDIR(now[name][_MODE]))
            else:
                yield from _compare(path, was[name], now[name])


def _compare(path: str, was: Facts, now: Facts) -> Iterator[Difference]:
    """What is different about one name; nothing when all facts agree."""
    directory = stat.S_ISDIR(now[_MODE])
    if was[:_DIGEST] == now:
        if was[_DIGEST] and _digest(path) != was[_DIGEST]:
            yield Difference(path, "content", detail="its content, although no time moved")
        return
    if stat.S_IFMT(was[_MODE]) != stat.S_IFMT(now[_MODE]):
        yield Difference(path, "replaced", directory, "another kind of object")
    elif was[_INODE] != now[_INODE]:
        # Some file systems number their files anew when they please; a new object has a change time of its own.
        if was[_CTIME] != now[_CTIME]:
            yield Difference(path, "replaced", directory, "another object")
    elif directory:
        detail = _metadata(was, now)
        if detail or was[_MTIME] == now[_MTIME]:
            yield Difference(path, "metadata", True, detail or "attributes or times")
        else:
            yield Difference(path, "names", True, "its entries")
    elif was[_SIZE] != now[_SIZE]:
        yield Difference(path, "content", detail=f"{was[_SIZE]} bytes before, {now[_SIZE]} now")
    elif was[_MTIME] != now[_MTIME]:
        yield Difference(path, "content", detail="its modification time")
    else:
        detail = _metadata(was, now) or "its change time: attributes, or content with its times put back"
        yield Difference(path, "metadata", detail=detail)


def _metadata(was: Facts, now: Facts) -> str:
    """Which of mode, owner and links differ, one clause; a directory's links are its subdirectories."""
    clauses = []
    if was[_MODE] != now[_MODE]:
        clauses.append(f"mode {stat.S_IMODE(was[_MODE]):04o} before, {stat.S_IMODE(now[_MODE]):04o} now")
    if (was[_UID], was[_GID]) != (now[_UID], now[_GID]):
        clauses.append(f"owner {was[_UID]}:{was[_GID]} before, {now[_UID]}:{now[_GID]} now")
    if was[_LINKS] != now[_LINKS] and not stat.S_ISDIR(now[_MODE]):
        clauses.append(f"{was[_LINKS]} names before, {now[_LINKS]} now")
    return "; ".join(clauses)


# -- looking ---------------------------------------------------------------------------------------------------------


def _listing(path: str) -> tuple[list[str], list[os.stat_result]]:
    """The names in a directory, sorted, and their stats; a name that goes meanwhile is left out."""
    if os.listdir not in os.supports_fd:
        return _listing_by_path(path)
    lstat = Raw.lstat
    fd = Raw.open(OwnPath(path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        names = Raw.listdir(fd)
        names.sort()
        try:
            return names, [lstat(name, dir_fd=fd) for name in names]
        except FileNotFoundError:
            return _those_found(names, lambda name: lstat(name, dir_fd=fd))
    finally:
        Raw.close(fd)


def _listing_by_path(path: str) -> tuple[list[str], list[os.stat_result]]:
    return _those_found(sorted(Raw.listdir(path)), lambda name: Raw.lstat(_join(path, name)))


def _those_found(
    names: Sequence[str], look: Callable[[str], os.stat_result]
) -> tuple[list[str], list[os.stat_result]]:
    kept, stats = [], []
    for name in names:
        try:
            stats.append(look(name))
        except FileNotFoundError:
            continue
        kept.append(name)
    return kept, stats


def _packed(here: str, names: Sequence[str], stats: Sequence[os.stat_result]) -> bytes:
    """The records of a directory; files too young to be told by their times get a digest."""
    now = Raw.time_ns()
    youngest = max((state.st_ctime_ns for state in stats), default=0)
    if youngest < now - _RACY_COARSE_NS:
        return b"".join(map(_pack, stats))
    return b"".join(
        _RECORD.pack(*_facts(state), _digest(_join(here, name)) if _is_racy(state, now) else 0)
        for name, state in zip(names, stats, strict=True)
    )


def _pack(state: os.stat_result) -> bytes:
    return _RECORD.pack(*_facts(state), 0)


def _is_racy(state: os.stat_result, now_ns: int) -> bool:
    if not stat.S_ISREG(state.st_mode) or state.st_size > _DIGEST_LIMIT_BYTES:
        return False
    window = _RACY_NS if state.st_ctime_ns % 1_000_000_000 else _RACY_COARSE_NS
    return state.st_ctime_ns >= now_ns - window


def _digest(path: str) -> int:
    """A number that stands for the content of a regular file, never 0; 1 when it cannot be read."""
    import hashlib

    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        fd = Raw.open(OwnPath(path), flags)
    except OSError:
        return 1
    try:
        if not stat.S_ISREG(Raw.fstat(fd).st_mode):
            return 1
        summed = hashlib.blake2b(digest_size=8)
        while piece := Raw.read(fd, _BUFFER_BYTES):
            summed.update(piece)
    except OSError:
        return 1
    finally:
        Raw.close(fd)
    return int.from_bytes(summed.digest(), "big") or 2


def _ancestors(path: str) -> tuple[tuple[str, tuple[int, int]], ...]:
    found = []
    while path not in ("", "/"):
        path = path.rpartition("/")[0] or "/"
        identity = _identity(path)
        if identity is not None:
            found.append((path, identity))
    return tuple(found)


def _identity(path: str) -> tuple[int, int] | None:
    found = _lstat(path)
    return None if found is None else (found.st_dev, found.st_ino)


def _lstat(path: str) -> os.stat_result | None:
    try:
        return Raw.lstat(path)
    except OSError:
        return None


def _join(directory: str, name: str) -> str:
    return f"/{name}" if directory == "/" else f"{directory}/{name}"


# -- the spool -------------------------------------------------------------------------------------------------------


def _content(names: Sequence[str], records: bytes) -> bytes:
    return "\0".join(names).encode("utf-8", "surrogateescape") + records


def _block(path: str, names: Sequence[str], records: bytes, was_listed: bool) -> bytes:
    where = path.encode("utf-8", "surrogateescape")
    content = _content(names, records)
    return _BLOCK.pack(len(where), len(content) - len(records), len(names), was_listed) + where + content


@dataclass(frozen=True, slots=True)
class _Block:
    """One directory as it was found.

    :param content: its names and the records after them.
    """

    path: str
    content: bytes
    names_bytes: int
    was_listed: bool

    def entries(self) -> dict[str, Facts]:
        """Facts by name."""
        names = self.content[: self.names_bytes].decode("utf-8", "surrogateescape")
        records = _RECORD.iter_unpack(self.content[self.names_bytes :])
        return dict(zip(names.split("\0") if names else (), records, strict=True))


class _Spool:
    """Blocks in a file without a name, which nobody else can reach and which goes with the process."""

    def __init__(self, directory: str) -> None:
        self._fd = _nameless_file(directory)
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self.size = 0

    def append(self, block: bytes) -> None:
        self._pending.append(block)
        self._pending_bytes += len(block)
        self.size += len(block)
        if self._pending_bytes >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        write_all(self._fd, b"".join(self._pending))
        self._pending, self._pending_bytes = [], 0

    def close(self) -> None:
        if self._fd >= 0:
            Raw.close(self._fd)
            self._fd = -1

    def blocks(self, start: int, end: int) -> Iterator[_Block]:
        os.lseek(self._fd, start, os.SEEK_SET)
        buffer, left = b"", end - start

        def more(wanted: int) -> None:
            nonlocal buffer, left
            while len(buffer) < wanted:
                piece = Raw.read(self._fd, min(left, max(_BUFFER_BYTES, wanted)))
                if not piece:
                    raise OSError(errno.EIO, "the inventory is shorter than it was written")
                buffer, left = buffer + piece, left - len(piece)

        while left or buffer:
            more(_BLOCK.size)
            path_bytes, names_bytes, count, was_listed = _BLOCK.unpack_from(buffer)
            length = _BLOCK.size + path_bytes + names_bytes + count * _RECORD.size
            more(length)
            body, buffer = buffer[_BLOCK.size : length], buffer[length:]
            path = body[:path_bytes].decode("utf-8", "surrogateescape")
            yield _Block(path, body[path_bytes:], names_bytes, was_listed)


def _nameless_file(directory: str) -> int:
    """A descriptor of a file that has no name, under a high number: tests close and reopen low ones, and count them."""
    import tempfile

    place = directory or tempfile.gettempdir()
    path = OwnPath(f"{place}/.session-guard-manifest.{Raw.getpid()}.{Raw.time_ns():x}")
    fd = Raw.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    Raw.unlink(path)
    try:
        import fcntl

        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 500)
    except (ImportError, OSError, ValueError):
        return fd
    Raw.close(fd)
    return high
