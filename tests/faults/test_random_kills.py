"""A real run of pytest, killed with SIGKILL at random moments: its controller, a worker, or a child of a worker.

The run creates, tags, changes and removes in a shared store and in its workspace, on two workers. Whatever dies when:
nothing that was there before is missing or different once the next run has tidied up and the user has restored, and every
artifact is either gone or named.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import pytest
from fault_points import EVERYTHING, SEED
from small_run import before, prepare, verdict

KILLS = int(os.environ.get("SESSION_GUARD_KILLS") or (500 if EVERYTHING else 3))
SUITE = """
import json, os, time
from pathlib import Path
import pytest

STORE = Path(__file__).parents[1] / "store"
WORK = Path(__file__).parent

@pytest.mark.parametrize("number", range(24))
def test_works(session_guard, number):
    path = STORE / f"session_{number}.json"
    path.write_text(json.dumps({"id": number}))
    session_guard.artifact(path)
    session_guard.write_json(STORE / f"written_{number}.json", {"id": number})
    fresh = STORE / f"fresh_{number}.tmp"
    fresh.write_text("{}")
    fresh.replace(STORE / f"final_{number}.json")
    if number % 3 == 0:
        session_guard.remove(path)
    if number % 4 == 0:
        directory = STORE / f"cache_{number}"
        directory.mkdir()
        (directory / "blob").write_bytes(b"x" * 1000)
    if number % 5 == 0:
        pid = os.fork()
        if pid == 0:
            (STORE / f"by_child_{number}.json").write_text("{}")
            os._exit(0)
        os.waitpid(pid, 0)

def test_edits():
    (WORK / "edited.py").write_text("edited = 2")
    (WORK / "moded.py").chmod(0o777)

def test_deletes():
    (WORK / "deleted.py").unlink()
    (WORK / "linked.py").unlink()
    (WORK / "renamed.py").rename(WORK / "moved.py")

def test_moves_a_package():
    (WORK / "package").rename(WORK / "pack")
"""


def start(root: Path) -> subprocess.Popen[bytes]:
    (root / "home").mkdir(exist_ok=True)
    (root / "tmp").mkdir(exist_ok=True)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with (root / "output").open("wb") as output:
        return _popen(root, environ, output)


def _popen(root: Path, environ: dict[str, str], output: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:randomly", "-p", "no:cacheprovider",
         f"--session-guard-share={root / 'store'}", "test_all.py"],
        cwd=root / "work", env=environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def members(session: int) -> list[int]:
    """The processes of a session that we started, oldest first."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
                # A process whose first thread is gone holds its files until the others are gone too.
                is_over = fields[0] == "Z" and len(os.listdir(f"/proc/{name}/task")) < 2
            except OSError:
                continue
            if int(fields[3]) == session and not is_over:
                found.append(int(name))
    return sorted(found)


def wait_until_all_are_gone(process: subprocess.Popen[bytes]) -> None:
    process.wait(timeout=60)
    deadline = time.monotonic() + 20
    while left := members(process.pid):
        if time.monotonic() > deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


@pytest.fixture(scope="module")
def duration(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long the run takes when it is left alone; it must be clean then."""
    root = tmp_path_factory.mktemp("whole")
    prepare(root)
    (root / "work" / "test_all.py").write_text(SUITE)
    known = before(root)
    started = time.monotonic()
    process = start(root)
    wait_until_all_are_gone(process)
    taken = time.monotonic() - started
    output = (root / "output").read_text()
    assert process.returncode == 0, output
    assert sorted(entry.name for entry in (root / "store").iterdir()) == ["_index.json", "real.json"], output
    assert verdict(root, known) == [], output
    return taken


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc to find the processes in")
@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_run_can_be_undone(tmp_path: Path, duration: float, number: int) -> None:
    print(f"SESSION_GUARD_SEED={SEED}")
    dice = random.Random(f"{SEED} {number}")
    prepare(tmp_path)
    (tmp_path / "work" / "test_all.py").write_text(SUITE)
    known = before(tmp_path)

    process = start(tmp_path)
    # The first fifth is the start of the interpreter.
    time.sleep(dice.uniform(0.2, 1.0) * duration)
    running = members(process.pid)
    if running:
        try:
            os.kill(dice.choice(running), signal.SIGKILL)
        except ProcessLookupError:
            pass  # it was about to go by itself
    wait_until_all_are_gone(process)

    output = (tmp_path / "output").read_text()
    assert verdict(tmp_path, known) == [], output
