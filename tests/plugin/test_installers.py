"""Somebody installs, removes and opens packages while tests use the environment: no test is charged with it."""

from __future__ import annotations

import threading
import time

import pytest
from project import MakeProject, Project

# A child that is no Python of ours writes byte code into an environment below the home: so there are copies of its directories.
SUITE = """\
import os, subprocess, time
from pathlib import Path

TMP = Path(os.environ["TMPDIR"])
IMPORT = "mkdir -p ~/env/{0}/__pycache__ && echo > ~/env/{0}/__pycache__/a.pyc"

def import_outside(package):
    subprocess.run(["sh", "-c", IMPORT.format(package)])

def test_first():
    import_outside("one")
    (TMP / "ready").touch()
    while not (TMP / "done").exists():
        time.sleep(0.01)
    import_outside("two")

def test_second():
    import_outside("three")
"""
HOME = {f"env/{package}/a.py": "" for package in ("one", "two", "three")}
DOINGS = {
    "read": "ls -R ~/env",
    "remove": "rm -r ~/env/one",
    "rename": "mv ~/env ~/old",
    "rights": "chmod -R go-rwx ~/env",
    "by-file": "rm -r ~/env/one && echo > ~/env/one",
}


def work_beside(project: Project, doing: str) -> None:
    while not (project.tmp / "ready").exists():
        time.sleep(0.01)
    project.call("sh", "-c", f"{doing}; touch $TMPDIR/done")


@pytest.mark.parametrize(
    ("doing", "args"),
    [
        *(pytest.param(doing, (), id=name) for name, doing in DOINGS.items()),
        pytest.param(DOINGS["remove"], ("-n2",), id="workers"),
    ],
)
def test_what_is_done_to_an_environment_is_charged_to_no_test(
    make_project: MakeProject, doing: str, args: tuple[str, ...]
) -> None:
    project = make_project({"test_it.py": SUITE}, HOME)
    somebody = threading.Thread(target=work_beside, args=(project, doing), daemon=True)
    somebody.start()

    result = project.run(*args)

    somebody.join()
    assert result.status == 0, result.words
    assert result.outcomes == {"passed": 2}
