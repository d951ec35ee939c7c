"""What a trial found out, and the scratch places and child processes that trials are made with."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Literal

from pytest_session_guard._core.values import dataclass

TRIAL_LIMIT_S: Final = 60
REMOVAL_LIMIT_S: Final = 5
CONTENT: Final = "real data\n"
FILE: Final = "keep.txt"
Status = Literal["enforced", "partial", "unavailable"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one thing.

    :param status: for a layer what it achieved, in the report's words; for anything else ``enforced`` is "works".
    :param gives: what there is, or would be.
    :param reason: why it is less than it could be, one clause.
    :param advice: what the reader can do about it, or ``""``.
    """

    name: str
    status: Status
    gives: str
    reason: str = ""
    advice: str = ""
    abi: int | None = None


@contextmanager
def scratch_directory() -> Iterator[str]:
    """A scratch directory as `trials` needs it, gone afterwards."""
    scratch = os.path.realpath(tempfile.mkdtemp(prefix="session-guard-doctor-"))
    try:
        for name in ("project", "data", "free"):
            os.mkdir(f"{scratch}/{name}")
        with open(f"{scratch}/data/{FILE}", "w", encoding="ascii") as file:
            file.write(CONTENT)
        yield scratch
    finally:
        _remove(scratch)


def _remove(scratch: str) -> None:
    """Remove a scratch directory, beside a keeper that may be removing its layers at this moment."""
    deadline = time.monotonic() + REMOVAL_LIMIT_S
    while os.path.lexists(scratch) and time.monotonic() < deadline:
        for directory, names, _ in os.walk(scratch):
            for name in names:
                # The work directories of an overlay on disk have mode 000.
                with suppress(FileNotFoundError):
                    if not os.path.islink(path := os.path.join(directory, name)):
                        os.chmod(path, 0o700)
        shutil.rmtree(scratch, ignore_errors=True)


def run_quietly(command: Sequence[str], environ: Mapping[str, str], directory: str) -> subprocess.CompletedProcess[str]:
    """Run a command of a check; one that does not come back in time counts as failed."""
    try:
        return subprocess.run(
            list(command),
            env=dict(environ),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=TRIAL_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(list(command), 124, "", f"no answer within {TRIAL_LIMIT_S} seconds")


def is_harmed(scratch: str) -> bool:
    """Whether the protected file of a scratch directory is another one now."""
    try:
        with open(f"{scratch}/data/{FILE}", encoding="ascii") as file:
            return file.read() != CONTENT
    except OSError:
        return True
