"""Ledgers under pytest-xdist, pytest-rerunfailures and pytest-timeout, in runs that end well, early and badly.

However the run goes: what was there stays, what the workspace lost comes back, and every artifact in the shared store is
gone when the run is over; only what a process announced and then died over is kept and named.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from small_run import before, prepare, verdict

SUITE = """
import os, signal, threading, time
from pathlib import Path
import pytest

STORE = Path(__file__).parents[1] / "store"
WORK = Path(__file__).parent

@pytest.mark.parametrize("number", range(8))
def test_creates(session_guard, number):
    path = STORE / f"session_{number}.json"
    path.write_text("{}")
    session_guard.artifact(path)

def test_edits():
    (WORK / "edited.py").write_text("edited = 2")

def test_in_threads(session_guard):
    def work(number):
        for index in range(5):
            (STORE / f"thread_{number}_{index}").write_text("x")
    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""
FAILS = """
def test_zz_fails():
    (STORE / "failing.json").write_text("{}")
    assert False
"""
FLAKY = """
def test_zz_flaky():
    path = STORE / f"flaky_{os.getpid()}_{len(list(STORE.glob('flaky_*')))}.json"
    path.write_text("{}")
    assert len(list(STORE.glob("flaky_*"))) > 2
"""
DIES = """
def test_zz_dies():
    (STORE / "dying.json").write_text("{}")
    (STORE / "second.json").write_text("{}")
    os.kill(os.getpid(), signal.SIGKILL)
"""
DIES_IN_A_TAG = """
from pytest_session_guard._host.directories import OpenDirectory

def test_zz_dies_in_a_tag(session_guard, monkeypatch):
    path = STORE / "dying.json"
    path.write_text("{}")
    exchange = OpenDirectory.exchange

    def exchange_and_die(opened, name, other):
        exchange(opened, name, other)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(OpenDirectory, "exchange", exchange_and_die)
    session_guard.artifact(path)
"""
HANGS = """
def test_zz_hangs():
    (STORE / "hanging.json").write_text("{}")
    (WORK.parent / "tmp" / "hangs").write_text("")
    time.sleep(60)
"""


def start(root: Path, suite: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    prepare(root)
    (root / "work" / "test_all.py").write_text(suite)
    (root / "home").mkdir()
    (root / "tmp").mkdir()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with (root / "output").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider",
             f"--session-guard-share={root / 'store'}", *arguments, "test_all.py"],
            cwd=root / "work", env=environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def left_in(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "store").iterdir() if path.name not in ("real.json", "_index.json"))


@pytest.mark.parametrize(
    ("suite", "arguments", "status"),
    [
        pytest.param(SUITE, [], 0, id="bare"),
        pytest.param(SUITE, ["-n4"], 0, id="four-workers"),
        pytest.param(SUITE, ["-n2", "--dist=loadscope"], 0, id="by-scope"),
        pytest.param(SUITE, ["--tx", f"popen//python={sys.executable}", "--dist=load"], 0, id="popen-worker"),
        pytest.param(FAILS + SUITE, ["-n2", "--maxfail=1"], 2, id="workers-and-maxfail"),
        pytest.param(FAILS + SUITE, ["-x"], 1, id="first-failure-ends-it"),
        pytest.param(SUITE + FLAKY, ["--reruns=5"], 0, id="reruns"),
        pytest.param(SUITE + HANGS, ["--timeout=1", "--timeout-method=signal"], 1, id="timeout-by-signal"),
    ],
)
def test_a_run_that_ends_leaves_no_artifact(tmp_path: Path, suite: str, arguments: Sequence[str], status: int) -> None:
    suite = "import os, signal, threading, time\nfrom pathlib import Path\n" + HEAD + suite
    process = start(tmp_path, suite, arguments)
    known = before(tmp_path)

    assert process.wait(timeout=120) == status, (tmp_path / "output").read_text()

    assert left_in(tmp_path) == [], (tmp_path / "output").read_text()
    assert verdict(tmp_path, known) == [], (tmp_path / "output").read_text()


HEAD = 'STORE = Path(__file__).parents[1] / "store"\nWORK = Path(__file__).parent\n'


def test_a_worker_that_dies_leaves_its_evidence_on_disk(tmp_path: Path) -> None:
    process = start(tmp_path, SUITE + DIES, ["-n2"])
    known = before(tmp_path)

    assert process.wait(timeout=120) == 1, (tmp_path / "output").read_text()

    output = (tmp_path / "output").read_text()
    # The first file was recorded when the second was made; of the second only the announcement is on disk. The keeper has
    # heard of it too; where there is none, it stays and is named.
    left = left_in(tmp_path)
    assert left in ([], ["second.json"]), output
    assert ("second.json" in output) is bool(left)
    assert verdict(tmp_path, known) == [], output


def test_a_worker_that_dies_in_a_tag_leaves_neither_document(tmp_path: Path) -> None:
    process = start(tmp_path, SUITE + DIES_IN_A_TAG, ["-n2"])
    known = before(tmp_path)

    assert process.wait(timeout=120) == 1, (tmp_path / "output").read_text()

    output = (tmp_path / "output").read_text()
    assert "crashed" in output
    assert left_in(tmp_path) == [], output
    assert verdict(tmp_path, known) == [], output


@pytest.mark.parametrize("arguments", [["--timeout=1", "--timeout-method=thread"]], ids=["timeout-by-thread"])
def test_a_run_that_is_ended_from_a_thread_is_finished_by_the_next(tmp_path: Path, arguments: Sequence[str]) -> None:
    process = start(tmp_path, SUITE + HANGS, arguments)
    known = before(tmp_path)

    assert process.wait(timeout=120) == 1, (tmp_path / "output").read_text()

    assert verdict(tmp_path, known) == [], (tmp_path / "output").read_text()
    assert set(left_in(tmp_path)) <= {"hanging.json"}


@pytest.mark.parametrize("arguments", [[], ["-n2"]], ids=["bare", "two-workers"])
def test_ctrl_c_ends_the_run_in_order(tmp_path: Path, arguments: Sequence[str]) -> None:
    process = start(tmp_path, SUITE + HANGS, arguments)
    known = before(tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "tmp" / "hangs").exists():
        assert time.monotonic() < deadline, (tmp_path / "output").read_text()
        assert process.poll() is None, (tmp_path / "output").read_text()
        time.sleep(0.02)

    os.killpg(process.pid, signal.SIGINT)

    assert process.wait(timeout=60) == 2, (tmp_path / "output").read_text()
    assert verdict(tmp_path, known) == [], (tmp_path / "output").read_text()
    assert set(left_in(tmp_path)) <= {"hanging.json"}
