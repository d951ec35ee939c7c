"""Journals: each process writes one of its own, and reads what the others wrote."""

from __future__ import annotations

import errno
import os
import stat
from builtins import len  # noqa: A004 - captured: tests mock builtins
from collections.abc import Container, Mapping
from typing import Any

from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import encode_line, parse_journal
from pytest_session_guard._host.fsops import Raw, keep_clear_of_low_numbers, open_for_append, read_file, write_all


class Journal:
    """This process's journal. A forked child opens one of its own at its first record.

    :param label: ``main``, or the worker's name.
    :ivar names: of all files that this process writes or wrote to, a forked child's with those of its parent until then.
    """

    def __init__(self, run_directory: str, label: str) -> None:
        self.run_directory = run_directory
        self.label = label
        self.written = 0
        # How many bytes the open file must have. Not counted under a lock: where threads meet it is too small, never too large.
        self._counted = [0]
        self.names: set[str] = set()
        self._torn = False
        self._open()

    def _open(self) -> None:
        self.pid = Raw.getpid()
        self.name = f"journal-{self.label}-{self.pid}-{Raw.time_ns():x}.jsonl"
        self.names.add(self.name)
        path = f"{self.run_directory}/{self.name}"
        try:
            opened = keep_clear_of_low_numbers(open_for_append(path))
            # A list of its own: a thread that still writes to the last file counts there.
            self._counted, self._fd, self._torn = [0], opened, False
            self._owner = Raw.fstat(self._fd).st_uid
            lock_for_life(self._fd)
        except OSError as problem:
            raise LedgerError(path, problem.strerror or str(problem)) from problem

    def append(self, record: Mapping[str, Any]) -> None:
        """Put a record on disk, in one write.

        :raises LedgerError: it is not on disk; whatever it announces must not happen.
        """
        before = -1
        try:
            if Raw.getpid() != self.pid or self._torn:
                self._open()
            counted = self._counted
            before = self._look(counted[0]).st_size
            line = encode_line(record)
            write_all(self._fd, line)
            counted[0] += len(line)
            self.written += 1
        except OSError as problem:
            # Half a line at the end of a file does no harm; in the middle it would be damage. The next record goes elsewhere.
            self._torn = before >= 0 and Raw.fstat(self._fd).st_size != before
            raise LedgerError(f"{self.run_directory}/{self.name}", problem.strerror or str(problem)) from problem

    def _look(self, least_bytes: int) -> os.stat_result:
        """The open file, which has all that was written to it and can still be found.

        :param least_bytes: read before this call: another thread may write at any moment.
        :raises OSError: it is not so: what was written down is lost, and what is written from now on may be.
        """
        found = Raw.fstat(self._fd)
        if found.st_nlink == 0:
            # The write would succeed, into a file that nobody will ever read.
            raise FileNotFoundError(errno.ENOENT, "it was deleted during the run")
        if found.st_size < least_bytes:
            raise OSError(errno.EIO, "it was cut short during the run")
        return found

    def insist_on_whole(self) -> None:
        """Nothing is removed on the word of a journal that is not where it was, or has lost what was written to it.

        :raises LedgerError: it is so.
        """
        path = f"{self.run_directory}/{self.name}"
        if Raw.getpid() != self.pid:
            return  # a fork's is made at its first record
        try:
            held, stands = self._look(self._counted[0]), Raw.lstat(path)
        except OSError as problem:
            raise LedgerError(path, problem.strerror or str(problem)) from problem
        if (held.st_dev, held.st_ino) != (stands.st_dev, stands.st_ino):
            raise LedgerError(path, "another file stands in its place")
        if held.st_uid != self._owner:
            raise LedgerError(path, f"it was given to another user (uid {held.st_uid})")

    @property
    def descriptor(self) -> int:
        """Of the open file, for whoever has to write when nothing else works."""
        return self._fd

    def retire(self) -> None:
        """Count no more as a living writer; what comes all the same is still written."""
        unlock(self._fd)

    def close(self) -> None:
        """Write no more; only a process that goes on living after its run needs this."""
        Raw.close(self._fd)


def lock_for_life(fd: int) -> bool:
    """Lock an open file until the last process that shares the descriptor is gone; whether that could be done.

    Where the platform has no `flock`, the controller's lock alone says whether the run lives.
    """
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return True
    except OSError:
        return False
    return True


def unlock(fd: int) -> None:
    """Give up what `lock_for_life` took."""
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_UN)
    except ImportError:
        return  # then nothing was taken


class JournalReader:
    """Reads what the other processes of a run wrote since the last look.

    :param label: only journals of this label; ``""`` reads all.
    :param skip: names of journals to leave out: one's own, which grow in number when a line is torn or the process forks.
    """

    def __init__(self, run_directory: str, label: str = "", skip: Container[str] = frozenset()) -> None:
        self.run_directory = run_directory
        self.prefix = f"journal-{label}-" if label else "journal-"
        self.skip = skip
        self.damaged: list[str] = []
        self._offsets: dict[str, int] = {}
        self._seen_ns = -1

    def labels(self) -> list[str]:
        """The workers that have journals, by name."""
        return sorted({name.split("-")[1] for name in self._offsets} - {"main"})

    def widen(self) -> None:
        """Read the journals of all labels from now on."""
        self.prefix, self._seen_ns = "journal-", -1

    def poll(self) -> list[dict[str, Any]]:
        """The new records, journal by journal.

        :raises LedgerError: the run's directory is gone.
        """
        try:
            changed_ns = Raw.stat(self.run_directory).st_mtime_ns
            if changed_ns != self._seen_ns:
                self._seen_ns = changed_ns
                for name in sorted(Raw.listdir(self.run_directory)):
                    if name.startswith(self.prefix) and name.endswith(".jsonl") and name not in self.skip:
                        self._offsets.setdefault(name, 0)
        except OSError as problem:
            raise LedgerError(self.run_directory, problem.strerror or str(problem)) from problem
        records: list[dict[str, Any]] = []
        for name, offset in self._offsets.items():
            records.extend(self._read(name, offset))
        return records

    def _read(self, name: str, offset: int) -> tuple[dict[str, Any], ...]:
        path = f"{self.run_directory}/{name}"
        try:
            found = Raw.lstat(path)
            if found.st_size <= offset and stat.S_ISREG(found.st_mode):
                return ()
            if Raw.geteuid is not None and found.st_uid not in (Raw.geteuid(), 0):
                raise PermissionError(errno.EPERM, f"belongs to another user (uid {found.st_uid})")
            page = parse_journal(read_file(path, offset))
        except OSError as problem:
            self.damaged.append(f"{path!r}: {problem.strerror}")
            self._offsets[name] = 1 << 62
            return ()
        self._offsets[name] = offset + page.consumed
        self.damaged.extend(f"{path!r} line {number} (from byte {offset})" for number in page.damaged)
        return page.records
