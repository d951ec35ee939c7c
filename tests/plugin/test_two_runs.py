"""Two runs at once in one rootdir: neither takes the other's artifacts for its own, nor tidies up after one that lives."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

from project import MakeProject, Project

STORE_INI = "[pytest]\nsession_guard_share = ~/store\n"
SUITE = """\
import os, time
from pathlib import Path

import pytest
from pytest_session_guard import NotCreatedByRunError

STORE = Path.home() / "store"
OWN, OTHER = os.environ["OWN"], os.environ["OTHER"]
SIGNS = Path(os.environ["SIGNS"])

def meet(sign):
    (SIGNS / f"{OWN}-{sign}").touch()
    deadline = time.monotonic() + 60
    while not (SIGNS / f"{OTHER}-{sign}").exists():
        assert time.monotonic() < deadline, sign
        time.sleep(0.01)

def test_all(session_guard):
    mine, theirs = STORE / f"{OWN}.json", STORE / f"{OTHER}.json"
    mine.write_text(OWN)
    meet("made")
    with session_guard.expect_refusal():
        with pytest.raises(OSError):
            theirs.write_text("changed")
        with pytest.raises(OSError):
            theirs.unlink()
        with pytest.raises(NotCreatedByRunError) as caught:
            session_guard.sweep(STORE, "*.json")
    assert str(theirs) in str(caught.value)
    assert mine.exists()
    meet("tried")
    assert theirs.read_text() == OTHER
    meet("read")
"""
# Ends first: whatever its end and the start of the next run tidy up, the other one's artifact has to be there.
LAST = """

def test_zz_outlives_the_other():
    if OWN == "slow":
        deadline = time.monotonic() + 60
        while not (SIGNS / "quick-ended").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert (STORE / "slow.json").read_text() == "slow"
        assert not (STORE / "quick.json").exists()
"""


def run_as(project: Project, own: str, other: str, workers: tuple[str, ...]) -> tuple[int, str]:
    """One of the two runs: its exit status and all that it said."""
    signs = project.base / "signs"
    report = project.base / "tmp" / f"{own}.json"
    done = project.call(
        *(project.account.python, "-m", "pytest", "-p", "no:randomly", f"--session-guard-json={report}", *workers),
        env={"OWN": own, "OTHER": other, "SIGNS": str(signs)},
    )
    (signs / f"{own}-ended").touch()
    return done.returncode, done.stdout + done.stderr


def test_two_runs_at_once_leave_each_others_artifacts_alone(
    make_project: MakeProject, workers: tuple[str, ...]
) -> None:
    project = make_project({"pytest.ini": STORE_INI, "test_it.py": SUITE + LAST}, {"store/real.json": "real"})
    (project.base / "signs").mkdir()

    with ThreadPoolExecutor() as pool:
        slow = pool.submit(run_as, project, "slow", "quick", workers)
        quick = pool.submit(run_as, project, "quick", "slow", workers)

    assert quick.result()[0] == 0, quick.result()[1]
    assert slow.result()[0] == 0, slow.result()[1]
    assert {path.name: path.read_text() for path in (project.home / "store").iterdir()} == {"real.json": "real"}
    reports = [json.loads((project.base / "tmp" / f"{own}.json").read_bytes()) for own in ("slow", "quick")]
    assert [report["artifacts"]["kept"] for report in reports] == [[], []]
    assert reports[0]["run"]["id"] != reports[1]["run"]["id"]


COPIED = """\
import os, time
from pathlib import Path

STORE = Path.home() / "store"

SIGN = Path(os.environ["SIGNS"], "second-ended")

def test_outlives_a_copy():
    mine = STORE / f"{os.environ['OWN']}.json"
    mine.write_text("made by the run")
    if os.environ["OWN"] == "first":
        deadline = time.monotonic() + 60
        while not SIGN.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert mine.exists()
"""


def test_run_in_a_copy_of_the_checkout_leaves_the_artifacts_of_the_run_that_was_alive_when_it_was_copied(
    make_project: MakeProject,
) -> None:
    files = {"pytest.ini": STORE_INI, "test_it.py": COPIED}
    project = make_project(files, {"store/real.json": "real"})
    signs, artifact = project.base / "signs", project.home / "store" / "first.json"
    signs.mkdir()
    command = (project.account.python, "-m", "pytest", "-p", "no:randomly")

    with ThreadPoolExecutor() as pool:
        first = pool.submit(project.call, *command, env={"OWN": "first", "SIGNS": str(signs)})
        deadline = time.monotonic() + 60
        while not (artifact.exists() and artifact.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        copy = project.base / "copy"
        shutil.copytree(project.root, copy)
        second = project.call(*command, env={"OWN": "second", "SIGNS": str(signs)}, cwd=copy)
        (signs / "second-ended").touch()

    assert second.returncode == 0, second.stdout + second.stderr
    assert first.result().returncode == 0, first.result().stdout + first.result().stderr
    assert sorted(path.name for path in (project.home / "store").iterdir()) == ["real.json"]
