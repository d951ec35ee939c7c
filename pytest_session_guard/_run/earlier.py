"""Whether what was there before the guard was used: the files and directories that it leads to, before and after.

No layer can hold a descriptor or a mapping from before. What becomes of the real file through it is seen on the real
file alone, so this process keeps a descriptor of its own to each. None of them is closed before the process ends:
closing any descriptor of a file gives up all locks that this process holds on it (fcntl(2)), a database's too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import field
from stat import S_IFMT, S_ISDIR, S_ISREG
from typing import Final, NamedTuple

from pytest_session_guard._core.records import Span, Touch
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Policy, Zone, counts
from pytest_session_guard._host.fsops import OwnPath, Raw, keep_clear_of_low_numbers
from pytest_session_guard._host.processes import descendants
from pytest_session_guard._run.bystanders import writers_outside
from pytest_session_guard._run.guard import GuardRun
from pytest_session_guard._run.inherited import NO_DESCRIPTOR, Found
from pytest_session_guard._run.inventory import attributed

DIGEST_LIMIT_BYTES: Final = 16 * 1024 * 1024
TREE_LIMIT: Final = 2000
VERBS: Final = {
    "created": "was made",
    "removed": "was deleted",
    "replaced": "was replaced",
    "content": "was changed",
    "metadata": "was given other metadata",
}
FIX: Final = "open it in a fixture, or start with `session-guard run -- pytest …`, which starts before everything else"
_FLAGS: Final = os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)
_pread: Final = getattr(os, "pread", None)  # captured: tests replace it


class Facts(NamedTuple):
    """What one look at an object tells."""

    inode: int
    kind: int
    owner: tuple[int, int, int]
    size: int
    modified_ns: int
    changed_ns: int
    links: int

    @classmethod
    def of(cls, found: os.stat_result) -> Facts:
        """The facts that matter of a stat result."""
        kind = S_IFMT(found.st_mode)
        owner = (found.st_mode & 0o7777, found.st_uid, found.st_gid)
        is_directory = S_ISDIR(found.st_mode)
        # A directory's size, times and links move with its entries, which are looked at themselves.
        size, modified, links = (0, 0, 0) if is_directory else (found.st_size, found.st_mtime_ns, found.st_nlink)
        return cls(found.st_ino, kind, owner, size, modified, 0 if is_directory else found.st_ctime_ns, links)

    def difference(self, now: Facts) -> str:
        """The word for what became of it, or ``""``.

        A file that merely lost or gained a name was renamed over or linked, which goes by path and not by descriptor.
        """
        if (self.inode, self.kind) != (now.inode, now.kind):
            return "replaced"
        if (self.size, self.modified_ns) != (now.size, now.modified_ns):
            return "content"
        return "metadata" if self.owner != now.owner or self._was_set(now) else ""

    def _was_set(self, now: Facts) -> bool:
        return self.changed_ns != now.changed_ns and self.links == now.links


@dataclass
class _File:
    found: Found
    fd: int
    facts: Facts
    digest: bytes

    def paths(self) -> Iterable[str]:
        return (self.found.path,)

    def differences(self, at_last: bool) -> Iterator[tuple[str, str]]:
        now = Raw.fstat(self.fd)
        difference = self.facts.difference(Facts.of(now))
        if not difference and at_last and _digest(self.fd, now.st_size) != self.digest:
            # A store into a page of a mapping that was dirty before moves no time.
            difference = "content"
        if difference:
            yield self.found.path, difference


@dataclass
class _Tree:
    found: Found
    fd: int
    entries: dict[str, Facts]

    def paths(self) -> Iterable[str]:
        return (f"{self.found.path}/{name}" for name in self.entries)

    def differences(self, at_last: bool) -> Iterator[tuple[str, str]]:
        now = _entries(self.fd) if at_last else None
        if now is None:
            return
        for name in sorted(self.entries.keys() | now.keys()):
            before, after = self.entries.get(name), now.get(name)
            if before is None or after is None:
                yield f"{self.found.path}/{name}", "created" if before is None else "removed"
            elif difference := before.difference(after):
                yield f"{self.found.path}/{name}", difference


@dataclass
class Earlier:
    """What the things from before the guard lead to, as it was when the run began.

    :param policy: gives the policy that counts at the moment.
    """

    run_id: str
    policy: Callable[[], Policy]
    watched: list[_File | _Tree] = field(default_factory=list)
    writers: dict[str, str] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    asides: list[Touch] = field(default_factory=list)

    def close(self) -> None:
        """Compare no more."""
        for one in self.watched:
            Raw.close(one.fd)
        self.watched.clear()

    def watch(self, found: Iterable[Found]) -> Iterator[str]:
        """Keep the state of what some things lead to.

        :returns: the clause of each, with a word about what cannot be compared.
        """
        for one in found:
            # Those who merely read a database write to its "-shm".
            kept = _look(one) if one.path and not one.path.endswith("-shm") else None
            if kept is not None:
                self.watched.append(kept)
            is_left_out = one.is_directory and one.path and kept is None
            yield f"{one.clause} (too large, or out of reach, to be compared)" if is_left_out else one.clause
        # Asked now: from within an overlay no process outside can be looked at.
        paths = {path for one in self.watched for path in one.paths()}
        self.writers = writers_outside(paths, self.run_id, descendants())

    def touches(self, known: Callable[[], Collection[str]], span: Span, *, at_last: bool) -> Iterator[Touch]:
        """What was changed since the start and has not been told, as touches.

        :param known: gives the paths whose change the ledger attributes already.
        :param at_last: compare contents and directories too, which is too much after every test.
        """
        fresh = [
            (path, kind, one.found)
            for one in self.watched
            for path, kind in one.differences(at_last)
            if path not in self.told and counts(kind, path)
        ]
        attributed_already = known() if fresh else ()
        for path, kind, found in fresh:
            if (
                path not in self.told
                and path not in attributed_already
                and self.policy().rule_for(path).zone is Zone.PROTECTED
            ):
                self.told.add(path)
                touch = self._touch(path, kind, found, span)
                if not touch.violation:
                    self.asides.append(touch)
                yield touch

    def compare(self, run: GuardRun, *, at_last: bool = False) -> None:
        """Take what was changed to a run's ledger, charged to the test that runs.

        :param at_last: as for `touches`.
        """
        try:
            for touch in self.touches(lambda: attributed(run.touches), run.span, at_last=at_last):
                run.touched(touch)
        except OSError as problem:
            run.failed("earlier", (run.directory.path,), problem)

    def _touch(self, path: str, kind: str, found: Found, span: Span) -> Touch:
        rule, writer = self.policy().rule_for(path), self.writers.get(path, "")
        reason = f"{VERBS[kind]} for real, which no layer could hold: {found.clause}"
        if writer:
            reason += f"; a program outside the run had it open for writing as the run began: {writer}"
        elif is_interactive():
            reason += "; it belongs to the interactive program that runs these tests"
        else:
            reason += "; or a program outside the run did it"
        return Touch(
            time=Raw.time_ns() / 1e9,
            operation=kind,
            path=path,
            zone=rule.zone.value,
            outcome="allowed",
            violation=not writer and not is_interactive(),
            layer="manifest",
            nodeid=span.nodeid,
            phase=span.phase,
            pid=0,
            reason=reason,
            rule=str(rule),
            fix=FIX,
        )


def is_interactive() -> bool:
    """Whether tests run inside an interactive program (a notebook), which goes on writing its own history meanwhile."""
    return hasattr(sys, "ps1")


def _look(found: Found) -> _File | _Tree | None:
    way = found.path if found.fd == NO_DESCRIPTOR else f"/proc/self/fd/{found.fd}"
    try:
        if found.is_directory:
            fd = keep_clear_of_low_numbers(Raw.open(OwnPath(way), os.O_RDONLY | os.O_DIRECTORY | _FLAGS))
            entries = _entries(fd)
            if entries is None:
                Raw.close(fd)
                return None
            return _Tree(found, fd, entries)
        # Left at the number that it got: moving it would close the first one.
        fd = Raw.open(OwnPath(way), os.O_RDONLY | _FLAGS)
    except OSError:
        return None
    state = Raw.fstat(fd)
    return _File(found, fd, Facts.of(state), _digest(fd, state.st_size)) if S_ISREG(state.st_mode) else None


def _digest(fd: int, size: int) -> bytes:
    """A digest of a file's content, read without moving anybody's offset; empty for a large one."""
    if _pread is None or size > DIGEST_LIMIT_BYTES:
        return b""
    # Imported here: few runs have something to compare.
    from hashlib import blake2b

    state, start = blake2b(digest_size=16), 0
    while piece := _pread(fd, 1 << 20, start):
        state.update(piece)
        start += len(piece)
    return state.digest()


def _entries(fd: int) -> dict[str, Facts] | None:
    """Everything below a directory on its own file system, by relative path; ``None`` for more than can be compared."""
    found: dict[str, Facts] = {}
    device = Raw.fstat(fd).st_dev
    pending = [("", fd)]
    while pending:
        prefix, directory = pending.pop()
        try:
            for name in Raw.listdir(f"/proc/self/fd/{directory}"):
                state = Raw.stat(name, dir_fd=directory, follow_symlinks=False)
                found[prefix + name] = Facts.of(state)
                if len(found) > TREE_LIMIT:
                    break
                if S_ISDIR(state.st_mode) and state.st_dev == device:
                    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | _FLAGS
                    pending.append((f"{prefix}{name}/", Raw.open(OwnPath(name), flags, dir_fd=directory)))
        except OSError:
            continue  # gone meanwhile, or out of this user's reach
        finally:
            if directory != fd:
                Raw.close(directory)
        if len(found) > TREE_LIMIT:
            for _, left in pending:
                Raw.close(left)
            return None
    return found
