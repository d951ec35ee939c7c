"""The ledger: what the run created and touched, on disk before it counts.

``.session_guard/runs/<run id>/`` holds ``run.json`` (what the run is), ``lock`` (held by the controller for as long as it
lives) and one append-only journal a process, ``journal-<label>-<pid>-<time>.jsonl``. The label is ``main`` or the worker's
name; children carry the label of the worker that started them, so each worker reads its own children's journals only.
No lock is taken to append: one `write` on an ``O_APPEND`` descriptor that was opened before the first test.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import encode_line, parse_journal
from pytest_session_guard._host.fsops import (
    Raw,
    clock_ns,
    make_directory,
    make_state_directory,
    open_for_append,
    read_file,
    replace_file,
    write_all,
)

RUN_FILE: Final = "run.json"
LOCK_FILE: Final = "lock"


def new_run_id(now_ns: int) -> str:
    """A run id that sorts by time and meets no other: ``20261120T083643-1a2b3c4d``."""
    return f"{datetime.fromtimestamp(now_ns / 1e9, UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


class RunDirectory:
    """The directory of one run, made by its controller and joined by everybody else."""

    def __init__(self, path: str, run_id: str, started_ns: int) -> None:
        self.path = path
        self.run_id = run_id
        self.started_ns = started_ns
        self._lock: Any = None

    @classmethod
    def create(cls, state_directory: str) -> RunDirectory:
        """A new run's directory, locked.

        :raises LedgerError: it cannot be made, is not ours, or cannot be locked.
        """
        try:
            make_state_directory(state_directory)
            started_ns = clock_ns(state_directory)
            run_id = new_run_id(Raw.time_ns())
            path = f"{state_directory}/runs/{run_id}"
            make_directory(path)
        except OSError as problem:
            raise LedgerError(state_directory, problem.strerror or str(problem)) from problem
        run = cls(path, run_id, started_ns)
        run._acquire()
        return run

    def _acquire(self) -> None:
        # Imported here: filelock brings asyncio along, 30 ms that `pytest --version` need not pay.
        import filelock

        lock = filelock.FileLock(f"{self.path}/{LOCK_FILE}", fallback_to_soft=False, mode=0o600, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except (OSError, filelock.Timeout, NotImplementedError) as problem:
            raise LedgerError(
                f"{self.path}/{LOCK_FILE}", f"native file locks are not to be had here: {problem}"
            ) from problem
        self._lock = lock

    def release(self) -> None:
        """Give up the lock: the run is over, and the next one may tidy up after it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def write_header(self, header: Mapping[str, Any]) -> None:
        """Say in ``run.json`` what the run is.

        :raises LedgerError: it cannot be written.
        """
        content = json.dumps({"run": self.run_id, "started_ns": self.started_ns, **header}, indent=1).encode()
        try:
            replace_file(f"{self.path}/{RUN_FILE}", content)
        except OSError as problem:
            raise LedgerError(f"{self.path}/{RUN_FILE}", problem.strerror or str(problem)) from problem

    def directory(self, name: str) -> str:
        """A private directory of that name in the run's directory, made if missing.

        :raises LedgerError: it cannot be made.
        """
        path = f"{self.path}/{name}"
        try:
            make_directory(path)
        except OSError as problem:
            raise LedgerError(path, problem.strerror or str(problem)) from problem
        return path


class Journal:
    """This process's journal. A forked child opens one of its own at its first record.

    :param label: ``main``, or the worker's name.
    """

    def __init__(self, run_directory: str, label: str) -> None:
        self.run_directory = run_directory
        self.label = label
        self.written = 0
        self._open()

    def _open(self) -> None:
        self.pid = Raw.getpid()
        self.name = f"journal-{self.label}-{self.pid}-{Raw.time_ns():x}.jsonl"
        path = f"{self.run_directory}/{self.name}"
        try:
            self._fd = keep_clear_of_low_numbers(open_for_append(path))
        except OSError as problem:
            raise LedgerError(path, problem.strerror or str(problem)) from problem

    def append(self, record: Mapping[str, Any]) -> None:
        """Put a record on disk, in one write.

        :raises LedgerError: it is not on disk; whatever it announces must not happen.
        """
        try:
            if Raw.getpid() != self.pid:
                self._open()
            write_all(self._fd, encode_line(record))
            self.written += 1
        except OSError as problem:
            raise LedgerError(f"{self.run_directory}/{self.name}", problem.strerror or str(problem)) from problem


def keep_clear_of_low_numbers(fd: int) -> int:
    """The same file under a high descriptor number: tests close and reopen low ones, and count them."""
    try:
        import fcntl

        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 500)
    except (ImportError, OSError, ValueError):
        return fd
    Raw.close(fd)
    return high


class JournalReader:
    """Reads what the other processes of a run wrote since the last look.

    :param label: only journals of this label; ``""`` reads all.
    :param skip: the name of a journal to leave out: one's own.
    """

    def __init__(self, run_directory: str, label: str = "", skip: str = "") -> None:
        self.run_directory = run_directory
        self.prefix = f"journal-{label}-" if label else "journal-"
        self.skip = skip
        self.damaged: list[str] = []
        self._offsets: dict[str, int] = {}
        self._seen_ns = -1

    def poll(self) -> list[dict[str, Any]]:
        """The new records, journal by journal.

        :raises LedgerError: the run's directory is gone.
        """
        try:
            changed_ns = Raw.stat(self.run_directory).st_mtime_ns
            if changed_ns != self._seen_ns:
                self._seen_ns = changed_ns
                for name in sorted(Raw.listdir(self.run_directory)):
                    if name.startswith(self.prefix) and name.endswith(".jsonl") and name != self.skip:
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
            if Raw.lstat(path).st_size <= offset:
                return ()
            page = parse_journal(read_file(path, offset))
        except OSError as problem:
            self.damaged.append(f"{path!r}: {problem.strerror}")
            self._offsets[name] = 1 << 62
            return ()
        self._offsets[name] = offset + page.consumed
        self.damaged.extend(f"{path!r} line {number} (from byte {offset})" for number in page.damaged)
        return page.records


def is_alive(run_path: str) -> bool:
    """Whether a run still holds its lock; what cannot be told counts as alive, so that nothing of it is touched."""
    import filelock

    lock_path = f"{run_path}/{LOCK_FILE}"
    if not os.path.isfile(lock_path):
        return True  # a run between making its directory and locking it
    lock = filelock.FileLock(lock_path, fallback_to_soft=False, preserve_lock_file=True)
    try:
        lock.acquire(timeout=0)
    except (OSError, filelock.Timeout, NotImplementedError):
        return True
    lock.release()
    return False
