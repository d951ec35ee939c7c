"""The ledger: what the run created and touched, on disk before it counts.

``.session_guard/runs/<run id>/`` holds ``run.json`` (what the run is), ``lock`` (held by the controller for as long as it
lives) and one append-only journal a process, ``journal-<label>-<pid>-<time>.jsonl``. The label is ``main`` or the worker's
name; children carry the label of the worker that started them, so each worker reads its own children's journals only.
No lock is taken to append: one `write` on an ``O_APPEND`` descriptor that was opened before the first test.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from builtins import dict, hasattr, isinstance, list, max, sorted, str, tuple  # noqa: A004 - captured: tests mock builtins
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import encode_line, parse_journal
from pytest_session_guard._core.runs import PastRun
from pytest_session_guard._host.fsops import (
    OwnPath,
    Raw,
    clock_ns,
    closing,
    make_directory,
    make_state_directory,
    open_for_append,
    read_file,
    replace_file,
    write_all,
)

RUN_FILE: Final = "run.json"
LOCK_FILE: Final = "lock"
CLOSED_FILE: Final = "closed.json"
# Journals of commands that look after a run when it is over.
AFTERWARDS: Final = ("journal-restore-", "journal-clean-")


def new_run_id(now_ns: int) -> str:
    """A run id that sorts by time and meets no other: ``20261120T083643-1a2b3c4d``, half of the tail the parts of a second."""
    fraction = (now_ns % 1_000_000_000 << 16) // 1_000_000_000
    return f"{datetime.fromtimestamp(now_ns // 1_000_000_000, UTC):%Y%m%dT%H%M%S}-{fraction:04x}{secrets.token_hex(2)}"


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
        own = {"run": self.run_id, "started_ns": self.started_ns, "machine": machine_id()}
        content = json.dumps({**own, **header}, indent=1).encode()
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
        self._torn = False
        self._open()

    def _open(self) -> None:
        self.pid = Raw.getpid()
        self.name = f"journal-{self.label}-{self.pid}-{Raw.time_ns():x}.jsonl"
        path = f"{self.run_directory}/{self.name}"
        try:
            self._fd = keep_clear_of_low_numbers(open_for_append(path))
            self._torn = False
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
            found = Raw.fstat(self._fd)
            if found.st_nlink == 0:
                # The write would succeed, into a file that nobody will ever read.
                raise FileNotFoundError(errno.ENOENT, "it was deleted during the run")
            before = found.st_size
            write_all(self._fd, encode_line(record))
            self.written += 1
        except OSError as problem:
            # Half a line at the end of a file does no harm; in the middle it would be damage. The next record goes elsewhere.
            self._torn = before >= 0 and Raw.fstat(self._fd).st_size != before
            raise LedgerError(f"{self.run_directory}/{self.name}", problem.strerror or str(problem)) from problem

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
            found = Raw.lstat(path)
            if found.st_size <= offset and stat.S_ISREG(found.st_mode):
                return ()
            if hasattr(os, "geteuid") and found.st_uid not in (os.geteuid(), 0):
                raise PermissionError(errno.EPERM, f"belongs to another user (uid {found.st_uid})")
            page = parse_journal(read_file(path, offset))
        except OSError as problem:
            self.damaged.append(f"{path!r}: {problem.strerror}")
            self._offsets[name] = 1 << 62
            return ()
        self._offsets[name] = offset + page.consumed
        self.damaged.extend(f"{path!r} line {number} (from byte {offset})" for number in page.damaged)
        return page.records


@contextmanager
def holding(run_path: str) -> Iterator[bool]:
    """Hold the lock of a run that is over, so that nobody else tidies up after it meanwhile.

    :returns: whether the lock could be had; what cannot be told counts as alive, so that nothing of the run is touched.
    """
    import filelock

    lock_path = f"{run_path}/{LOCK_FILE}"
    if not _is_plain_file(lock_path):
        yield False  # a run between making its directory and locking it
        return
    lock = filelock.FileLock(lock_path, fallback_to_soft=False, preserve_lock_file=True)
    try:
        lock.acquire(timeout=0)
    except (OSError, filelock.Timeout, NotImplementedError):
        yield False
        return
    try:
        # A killed controller leaves workers and forked children that go on for a while.
        yield not _has_living_writers(run_path)
    finally:
        lock.release()


def _has_living_writers(run_path: str) -> bool:
    for name in Raw.listdir(run_path):
        if not name.startswith("journal-") or name.startswith(AFTERWARDS):
            continue
        try:
            fd = Raw.open(OwnPath(f"{run_path}/{name}"), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            continue  # what cannot be opened cannot be read either, which is said elsewhere
        with closing(fd):
            if not lock_for_life(fd):
                return True
    return False


def is_alive(run_path: str) -> bool:
    """Whether a run still holds its lock, or nobody can tell."""
    with holding(run_path) as over:
        return not over


def note_closed(run_path: str, kept: Iterable[tuple[str, str]] = ()) -> None:
    """Write down that nothing is left to be done for a run, and what was kept all the same and why.

    :raises LedgerError: it cannot be written down.
    """
    content = json.dumps({"kept": [list(pair) for pair in kept]}, indent=1).encode()
    try:
        replace_file(f"{run_path}/{CLOSED_FILE}", content)
    except OSError as problem:
        raise LedgerError(f"{run_path}/{CLOSED_FILE}", problem.strerror or str(problem)) from problem


def run_paths(state_directory: str) -> list[str]:
    """The directories of all runs, oldest first; none where there is no ledger.

    :raises LedgerError: the ledger cannot be listed.
    """
    runs = f"{state_directory}/runs"
    try:
        return [f"{runs}/{name}" for name in sorted(Raw.listdir(runs)) if not name.endswith(".tmp")]
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise LedgerError(runs, problem.strerror or str(problem)) from problem


def read_run(path: str) -> PastRun:
    """A run as its directory tells it. What is not to be trusted is not read."""
    run_id = path.rpartition("/")[2]
    foreign = _distrust(path)
    if foreign:
        return PastRun(run_id, path, foreign=foreign)
    alive = is_alive(path)
    header, problem = _read_header(path)
    reader = JournalReader(path)
    try:
        records = reader.poll()
    except LedgerError as unreadable:
        return PastRun(run_id, path, foreign=unreadable.reason)
    return PastRun(
        run_id,
        path,
        started_ns=header.get("started_ns", 0),
        last_sign_ns=_last_sign_ns(path),
        alive=alive,
        closed=_is_plain_file(f"{path}/{CLOSED_FILE}"),
        foreign=_other_machine(header),
        header=header,
        records=records,
        damaged=(*((problem,) if problem else ()), *reader.damaged),
        kept=_read_kept(path),
        size_bytes=_size_bytes(path),
    )


def _distrust(path: str) -> str:
    try:
        found = Raw.lstat(path)
    except OSError as problem:
        return f"cannot be looked at ({problem.strerror})"
    if not stat.S_ISDIR(found.st_mode):
        return "is a symlink or a file, where a directory of ours should be"
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        return f"belongs to another user (uid {found.st_uid})"
    return ""


def _read_header(path: str) -> tuple[dict[str, Any], str]:
    try:
        header = json.loads(read_file(f"{path}/{RUN_FILE}"))
    except FileNotFoundError:
        return {}, ""  # killed before it could say who it is
    except (OSError, ValueError) as problem:
        return {}, f"{path}/{RUN_FILE}: {problem}"
    return (header, "") if isinstance(header, dict) else ({}, f"{path}/{RUN_FILE}: not a JSON object")


def _read_kept(path: str) -> tuple[tuple[str, str], ...]:
    try:
        return tuple((str(kept), str(why)) for kept, why in json.loads(read_file(f"{path}/{CLOSED_FILE}"))["kept"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()  # told to people only, decides nothing


def _last_sign_ns(path: str) -> int:
    """When a process of the run last wrote to the ledger; what a later restore or clean wrote does not count."""
    signs = [0]
    for name in Raw.listdir(path):
        if name in (RUN_FILE, LOCK_FILE) or (name.startswith("journal-") and not name.startswith(AFTERWARDS)):
            found = _lstat(f"{path}/{name}")
            signs.append(0 if found is None else found.st_mtime_ns)
    return max(signs)


def _size_bytes(path: str) -> int:
    total = 0
    pending = [path]
    while pending:
        for entry in list(Raw.scandir(pending.pop())):
            found = _lstat(entry.path)
            if found is None:
                continue
            if stat.S_ISDIR(found.st_mode):
                pending.append(entry.path)
            elif found.st_nlink == 1:
                total += found.st_blocks * 512 if hasattr(found, "st_blocks") else found.st_size
    return total


def machine_id() -> str:
    """What tells this machine from others that share its disks; ``""`` where nothing does."""
    try:
        return read_file("/etc/machine-id").decode("ascii", "replace").strip()
    except OSError:
        return ""


def _other_machine(header: Mapping[str, Any]) -> str:
    here, there = machine_id(), header.get("machine", "")
    return "is a run of another machine" if here and there and here != there else ""


def _is_plain_file(path: str) -> bool:
    found = _lstat(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def _lstat(path: str) -> os.stat_result | None:
    try:
        return Raw.lstat(path)
    except OSError:
        return None
