"""A protected place that does not exist, where everybody may write: no layer can hold it, so the keeper refuses what would
make it; where it may not refuse, what appears is told.
"""

from __future__ import annotations

import os

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


MAKING = (
    pytest.param("mkdir {0}", "mkdir", id="directory"),
    pytest.param("mkdir -p {0}/deep/deeper", "mkdir", id="parents"),
    pytest.param("echo x > {0}", "open", id="redirect"),
    pytest.param("touch {0}", "open", id="touch"),
    pytest.param("touch x; cp x {0}", "open", id="copy"),
    pytest.param("touch x; mv x {0}", "rename", id="move"),
    pytest.param("mkdir d; touch d/f; mv d {0}", "rename", id="move-directory"),
    pytest.param("touch x; ln x {0}", "link", id="hard-link"),
    pytest.param("ln -s x {0}", "symlink", id="symlink"),
    pytest.param("mkfifo {0}", "mknod", id="pipe"),
)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["bare", "n2"])
@pytest.mark.parametrize(("command", "operation"), MAKING)
def test_child_cannot_make_the_place(
    make_project: MakeProject, command: str, operation: str, workers: tuple[str, ...]
) -> None:
    suite = (
        "import os, subprocess\n\nPLACE = os.path.join(os.environ['TMPDIR'], 'future')\n\n"
        f"def test_makes(tmp_path):\n    subprocess.run({command!r}.format(PLACE), shell=True, cwd=tmp_path)\n\n"
        "def test_other(tmp_path):\n"
        "    subprocess.run('mkdir a; touch a/b; ln -s b a/c; ln a/b a/d; mkfifo a/e; mv a f', shell=True, check=True, cwd=tmp_path)\n"
    )
    project = make_project({"test_it.py": suite})

    result = project.run(protecting(project), *workers)

    assert (result.status, result.outcomes) == (1, {"failed": 1, "passed": 1}), result.words
    (touch,) = result.touches
    assert (touch["path"], touch["nodeid"]) == (str(project.tmp / "future"), "test_it.py::test_makes")
    assert (touch["operation"], touch["outcome"]) == (operation, "refused")
    assert not os.path.lexists(project.tmp / "future")
    assert result.report is not None
    assert result.report["layers"]["overlay"]["status"] == "enforced"


def test_place_that_is_asked_for_and_not_there_is_missing_as_ever(make_project: MakeProject) -> None:
    suite = (
        "import os, subprocess\n\nPLACE = os.path.join(os.environ['TMPDIR'], 'future')\n\n"
        "def test_reads():\n"
        "    for command in (f'cat {PLACE}', f'rm {PLACE}', f'mv {PLACE} x', f'truncate -c -s 0 {PLACE}', f'ls {PLACE}/a'):\n"
        "        subprocess.run(command, shell=True)\n"
    )
    project = make_project({"test_it.py": suite})

    result = project.run(protecting(project))

    assert (result.status, result.touches) == (0, []), result.words


def test_in_report_mode_a_place_that_a_child_makes_is_told_and_said_to_be_real(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    result = project.run(protecting(project), "--session-guard=report")

    assert (result.status, result.outcomes) == (0, {"passed": 2}), result.words
    (touch,) = result.touches
    assert (touch["path"], touch["nodeid"]) == (str(project.tmp / "future"), "test_it.py::test_makes")
    assert (touch["operation"], touch["outcome"]) == ("created", "allowed")
    assert "is really there" in touch["reason"]


def test_in_report_mode_such_a_place_is_told_once_under_workers(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    result = project.run(protecting(project), "--session-guard=report", "-n", "2")

    assert [touch["path"] for touch in result.touches] == [str(project.tmp / "future")], result.words


def test_place_is_made_in_silence_when_the_guard_is_out(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    assert project.run("-p", "no:session_guard", report=False).status == 0
    assert (project.tmp / "future" / "a").exists()


def test_place_that_stays_away_is_no_violation(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": "def test_it(tmp_path):\n    (tmp_path / 'x').touch()\n"})

    result = project.run(protecting(project))

    assert (result.status, result.touches) == (0, []), result.words
