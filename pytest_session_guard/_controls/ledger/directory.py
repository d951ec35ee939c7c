"""The directory of one run: made and locked by its controller, joined by everybody else, closed when nothing is left to do."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.relocation import Birthplace
from pytest_session_guard._core.runs import CLOSED_FILE, LOCK_FILE
from pytest_session_guard._host.fsops import (
    Raw,
    clock_ns,
    make_directory,
    make_state_directory,
    read_file,
    replace_file,
)
from pytest_session_guard._host.identity import identity_of, resolve_missing

RUN_FILE: Final = "run.json"
LOCK_WAIT_S: Final = 2.0
CREATE_ATTEMPTS: Final = 5


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
        self._birthplace: Birthplace | None = None

    @classmethod
    def create(cls, state_directory: str) -> RunDirectory:
        """A new run's directory, locked.

        :raises LedgerError: it cannot be made, is not ours, or cannot be locked.
        """
        # Imported here: filelock brings asyncio along, 30 ms that `pytest --version` need not pay. And before the directory is
        # made: without its lock nobody can tell whether the run lives.
        import filelock  # noqa: F401

        for _ in range(CREATE_ATTEMPTS):
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
            if run._is_untouched():
                run._see_birthplace()
                return run
            run.release()
        raise LedgerError(state_directory, "other runs take each new one for one that was killed")

    def _is_untouched(self) -> bool:
        """Whether nobody took this run for a killed one and tidied up after it, in the moment before it had its lock."""
        try:
            return Raw.listdir(self.path) == [LOCK_FILE]
        except OSError:
            return False

    def _see_birthplace(self) -> Birthplace:
        """Which directory this is; looked at before there are walls, which may show it in another way."""
        if self._birthplace is None:
            try:
                self._birthplace = Birthplace(resolve_missing(self.path), identity_of(self.path), boot_id())
            except OSError as problem:
                raise LedgerError(self.path, problem.strerror or str(problem)) from problem
        return self._birthplace

    def _acquire(self) -> None:
        import filelock

        lock = filelock.FileLock(f"{self.path}/{LOCK_FILE}", fallback_to_soft=False, mode=0o600, thread_local=False)
        try:
            # Another run that begins looks whether this one lives, and holds its lock for that moment.
            lock.acquire(timeout=LOCK_WAIT_S, poll_interval=0.005)
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
        own = {
            "run": self.run_id,
            "started_ns": self.started_ns,
            "machine": machine_id(),
            "boot": boot_id(),
            "directory": self._see_birthplace().to_json(),
        }
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


def note_closed(run_path: str, kept: Iterable[tuple[str, str]] = ()) -> None:
    """Write down that nothing is left to be done for a run, and what was kept all the same and why.

    :raises LedgerError: it cannot be written down.
    """
    content = json.dumps({"kept": [list(pair) for pair in kept]}, indent=1).encode()
    try:
        replace_file(f"{run_path}/{CLOSED_FILE}", content)
    except OSError as problem:
        raise LedgerError(f"{run_path}/{CLOSED_FILE}", problem.strerror or str(problem)) from problem


def machine_id() -> str:
    """What tells this machine from others that share its disks; ``""`` where nothing does."""
    return _first_line("/etc/machine-id")


def boot_id() -> str:
    """What tells this start of the machine from others; ``""`` where nothing does."""
    return _first_line("/proc/sys/kernel/random/boot_id")


def _first_line(path: str) -> str:
    try:
        return read_file(path).decode("ascii", "replace").strip()
    except OSError:
        return ""
