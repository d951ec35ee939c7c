"""A protected place that does not exist, where everybody may write: no layer holds it, so what appears there is told."""

from __future__ import annotations

import pytest
from capabilities import mount_namespace
from project import MakeProject, Project

pytestmark = pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")

SUITE = """\
import os, subprocess

PLACE = os.path.join(os.environ["TMPDIR"], "future")

def test_makes():
    subprocess.run(f"mkdir {PLACE}; echo x > {PLACE}/a", shell=True)

def test_other():
    pass
"""


def protecting(project: Project) -> str:
    return f"--session-guard-protect={project.tmp / 'future'}"


def test_place_that_a_child_makes_is_charged_to_its_test_and_said_to_be_real(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    result = project.run(protecting(project))

    assert (result.status, result.outcomes) == (1, {"failed": 1, "passed": 1}), result.words
    (touch,) = result.touches
    assert (touch["path"], touch["nodeid"]) == (str(project.tmp / "future"), "test_it.py::test_makes")
    assert (touch["operation"], touch["outcome"]) == ("created", "allowed")
    assert "is really there" in touch["reason"]


def test_place_that_a_child_makes_under_workers_is_told_once(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    result = project.run(protecting(project), "-n", "2")

    assert result.status == 1, result.words
    assert [touch["path"] for touch in result.touches] == [str(project.tmp / "future")]


def test_place_is_made_in_silence_when_the_guard_is_out(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    assert project.run("-p", "no:session_guard", report=False).status == 0
    assert (project.tmp / "future" / "a").exists()


def test_place_that_stays_away_is_no_violation(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": "def test_it(tmp_path):\n    (tmp_path / 'x').touch()\n"})

    result = project.run(protecting(project))

    assert (result.status, result.touches) == (0, []), result.words
