"""Past runs: whether they live, and what their directories tell; what is not to be trusted is not read."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pytest_session_guard._controls.ledger.directory import RUN_FILE, boot_id, machine_id
from pytest_session_guard._controls.ledger.journal import JournalReader, lock_for_life
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import Identity
from pytest_session_guard._core.relocation import COPIED, Birthplace, Move
from pytest_session_guard._core.runs import CLOSED_FILE, DELETED, ENDED_FILE, LAYERS_DIRECTORY, LOCK_FILE, PastRun
from pytest_session_guard._core.zones import is_within
from pytest_session_guard._host.fsops import OwnPath, Raw, closing, lstat_or_none, read_file
from pytest_session_guard._host.identity import identity_of, resolve_missing

# Journals of commands that look after a run when it is over.
AFTERWARDS: Final = ("journal-restore-", "journal-clean-")
MAIN_JOURNAL: Final = "journal-main-"
STILLBORN_NS: Final = 60_000_000_000


@contextmanager
def holding(run_path: str) -> Iterator[bool]:
    """Hold the lock of a run that is over, so that nobody else tidies up after it meanwhile.

    :returns: whether the lock could be had; what cannot be told counts as alive, so that nothing of the run is touched.
    """
    import filelock

    lock_path = f"{run_path}/{LOCK_FILE}"
    if not _is_plain_file(lock_path):
        yield _has_nothing_to_tell(run_path)
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


def _has_nothing_to_tell(run_path: str) -> bool:
    """Whether a run that has no lock is over: killed between making its directory and locking it, which takes it no minute; or
    closed, and what it had written is deleted (``git clean -x``); or nobody writes its journals any more.
    """
    try:
        age_ns = Raw.time_ns() - Raw.lstat(run_path).st_mtime_ns
        names = Raw.listdir(run_path)
    except OSError:
        return False  # nobody can tell
    if LOCK_FILE not in names and any(name.startswith(MAIN_JOURNAL) for name in names):
        return not _has_living_writers(run_path)  # the lock alone was deleted: the journals are locked for life too
    if CLOSED_FILE in names:
        return not any(name == LOCK_FILE or name.startswith("journal-") for name in names)
    return not names and age_ns > STILLBORN_NS


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


def read_run(path: str, *, with_records: bool = True) -> PastRun:
    """A run as its directory tells it. What is not to be trusted is not read.

    :param with_records: read the journals too, which takes its time: a glance at all runs at the start of the next one
        does without, and must read again before it acts.
    """
    run_id = path.rpartition("/")[2]
    foreign = _distrust(path)
    if foreign:
        return PastRun(run_id, path, foreign=foreign)
    try:
        return _read_trusted(run_id, path, with_records)
    except FileNotFoundError:
        # Whoever starts a run deletes old ones, at any moment.
        return PastRun(run_id, path, foreign=DELETED)


def _read_trusted(run_id: str, path: str, with_records: bool) -> PastRun:
    alive = is_alive(path)
    header, problem = _read_header(path)
    reader = JournalReader(path)
    try:
        records = reader.poll() if with_records else []
    except LedgerError as unreadable:
        return PastRun(run_id, path, foreign=unreadable.reason)
    closed = is_closed(path)
    copied, move = _whereabouts(path, header)
    if move is not None:
        header, records = move.header(header), move.records(records)
    unheard = "" if closed else copied
    if unheard and not is_within(resolve_missing(path), str(header.get("rootdir", ""))):
        return PastRun(run_id, path, foreign=unheard)  # it tells of a checkout that is not its own
    return PastRun(
        run_id,
        path,
        started_ns=header.get("started_ns", 0),
        last_sign_ns=_last_sign_ns(path),
        seen_ending_ns=_seen_ending_ns(path),
        alive=alive,
        closed=closed,
        copied=unheard,
        foreign=_other_machine(header),
        header=header,
        records=records,
        damaged=(*((problem,) if problem else ()), *reader.damaged),
        kept=_read_kept(path),
        size_bytes=_size_bytes(path),
    )


def _whereabouts(path: str, header: Mapping[str, Any]) -> tuple[str, Move | None]:
    """Whether a run's directory is a copy, and how the checkout that it lies in has moved since the run began."""
    born = Birthplace.of_header(header)
    if born is None:
        return "", None
    here, found = resolve_missing(path), identity_of(path)
    is_original = born.is_of(found, boot_id())
    copied = "" if is_original else COPIED.format(born.path)
    if here == born.path or (is_original and _leads_to(born.path, found)):
        return copied, None  # the same place may have two names, as in a container
    return copied, Move.between(born.path, here, str(header.get("rootdir", "")))


def _leads_to(path: str, found: Identity) -> bool:
    try:
        return identity_of(path) == found
    except OSError:
        return False


def _distrust(path: str) -> str:
    try:
        found = Raw.lstat(path)
    except OSError as problem:
        return f"cannot be looked at ({problem.strerror})"
    if not stat.S_ISDIR(found.st_mode):
        return "is a symlink or a file, where a directory of ours should be"
    if Raw.geteuid is not None and found.st_uid != Raw.geteuid():
        return f"belongs to another user (uid {found.st_uid})"
    return ""


def _read_header(path: str) -> tuple[dict[str, Any], str]:
    try:
        header = json.loads(read_file(f"{path}/{RUN_FILE}"))
        Birthplace.of_header(header if isinstance(header, dict) else {})
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
        # Not the lock: whoever looks whether the run lives may leave a time on it.
        if name == RUN_FILE or (name.startswith("journal-") and not name.startswith(AFTERWARDS)):
            found = lstat_or_none(f"{path}/{name}")
            signs.append(0 if found is None else found.st_mtime_ns)
    return max(signs)


def _seen_ending_ns(path: str) -> int:
    found = lstat_or_none(f"{path}/{ENDED_FILE}")
    return found.st_mtime_ns if found is not None and found.st_size else 0


def is_closed(run_path: str) -> bool:
    """Whether nothing is left to be done for a run."""
    return _is_plain_file(f"{run_path}/{CLOSED_FILE}")


def room_bytes(run_path: str) -> int:
    """Room that a run's directory takes; nothing where it is not to be trusted."""
    return 0 if _distrust(run_path) else _size_bytes(run_path)


def _size_bytes(path: str) -> int:
    total = 0
    pending = [path]
    while pending:
        try:
            entries = list(Raw.scandir(pending.pop()))
        except (FileNotFoundError, PermissionError):
            continue  # deleted meanwhile; or closed to us, as what an overlay works in is
        for entry in entries:
            found = lstat_or_none(entry.path)
            if found is None:
                continue
            if stat.S_ISDIR(found.st_mode):
                if entry.path == f"{path}/{LAYERS_DIRECTORY}":
                    continue  # to look into a layer would move its access time, which passes for a touch of a live run's
                pending.append(entry.path)
            elif found.st_nlink == 1:
                total += found.st_blocks * 512 if hasattr(found, "st_blocks") else found.st_size
    return total


def _other_machine(header: Mapping[str, Any]) -> str:
    here, there = machine_id(), header.get("machine", "")
    return "is a run of another machine" if here and there and here != there else ""


def _is_plain_file(path: str) -> bool:
    found = lstat_or_none(path)
    return found is not None and stat.S_ISREG(found.st_mode)
