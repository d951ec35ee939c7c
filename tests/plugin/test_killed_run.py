"""A run that is killed cannot speak for itself: the next one says what it had recorded."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from project import MakeProject, Project

from pytest_session_guard._controls.overlay import probe

SUITE = """\
import contextlib, os, signal
from pathlib import Path

CHAT = Path.home() / ".chat"

def test_dies():
    for path in @PATHS@:
        with contextlib.suppress(OSError):
            os.remove(path)
    os.kill(os.getpid(), signal.@SIGNAL@)
"""
FINE = "def test_fine():\n    pass\n"


def killed(make_project: MakeProject, signal: str, paths: str) -> tuple[Project, str]:
    """A project whose run was killed, and the id of that run."""
    suite = SUITE.replace("@SIGNAL@", signal).replace("@PATHS@", paths)
    project = make_project({"test_it.py": suite, "test_fine.py": FINE})
    result = project.run("test_it.py")
    assert (result.status < 0, result.report, result.changes) == (True, None, {}), result.words
    (run,) = (project.root / ".session_guard" / "runs").iterdir()
    return project, run.name


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGSEGV"])
def test_next_run_names_what_a_killed_run_had_recorded(make_project: MakeProject, signal: str) -> None:
    project, run_id = killed(make_project, signal, "(CHAT / 'notes.txt',)")

    following, third = project.run("test_fine.py"), project.run("test_fine.py")

    note = (
        f"run {run_id} was killed before it could report os.remove refused: '{project.home}/.chat/notes.txt'"
        f" by test_it.py::test_dies (session-guard show {run_id})"
    )
    assert note in following.header_lines[0]
    assert following.report is not None
    assert note in following.report["notes"]
    assert (following.status, following.touches) == (0, []), following.words
    assert "was killed" not in third.words, "once is enough"


def test_next_run_counts_what_it_does_not_name(make_project: MakeProject) -> None:
    project, run_id = killed(make_project, "SIGKILL", "(CHAT / 'notes.txt', CHAT / 'state.db')")

    result = project.run("test_fine.py")

    assert f"by test_it.py::test_dies and 1 more (session-guard show {run_id})" in result.header_lines[0]


def test_next_run_has_nothing_to_say_of_a_killed_run_without_violations(make_project: MakeProject) -> None:
    project, _ = killed(make_project, "SIGKILL", "()")

    assert "killed" not in project.run("test_fine.py").words


def test_next_run_has_nothing_to_say_of_a_run_that_gave_its_report(make_project: MakeProject) -> None:
    suite = SUITE.replace("os.kill(os.getpid(), signal.@SIGNAL@)", "pass").replace("@PATHS@", "(CHAT / 'notes.txt',)")
    project = make_project({"test_it.py": suite, "test_fine.py": FINE})
    assert project.run("test_it.py").status == 1

    assert "killed" not in project.run("test_fine.py").words


MAKES = """\
import os, signal
from pathlib import Path

def test_dies():
    for name in ("untouched.json", "edited.json"):
        (Path.home() / "store" / name).write_text("{}")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("layers", "wait_s"),
    [
        pytest.param(
            "auto", 0.0, marks=pytest.mark.skipif(probe().status == "unavailable", reason="nobody sees the run go")
        ),
        pytest.param("hook", 2.2, id="unseen"),
    ],
)
def test_what_a_killed_run_made_goes_unless_somebody_has_worked_on_it_since(
    make_project: MakeProject, layers: str, wait_s: float
) -> None:
    files = {"test_it.py": MAKES, "test_fine.py": FINE, "pytest.ini": "[pytest]\nsession_guard_share = ~/store\n"}
    project = make_project(files, {"store/real.json": "{}"})
    store = project.home / "store"
    option = f"--session-guard-layers={layers}"
    assert project.run(option, "test_it.py").status < 0
    (run,) = (project.root / ".session_guard" / "runs").iterdir()
    if layers == "auto":
        wait_for_the_witness(run)
    time.sleep(wait_s)
    with (store / "edited.json").open("a") as file:
        file.write("worked on by its owner since")

    following = project.run(option, "test_fine.py")

    assert sorted(path.name for path in store.iterdir()) == ["edited.json", "real.json"]
    assert "1 of its files removed, 1 kept" in following.header_lines[0]
    assert following.status == 0


def wait_for_the_witness(run: Path) -> None:
    deadline = time.monotonic() + 20
    while not (run / "ended").stat().st_size:
        assert time.monotonic() < deadline, sorted(path.name for path in run.iterdir())
        time.sleep(0.005)
