"""Git commands that read, in a checkout whose files somebody has touched since git looked at them."""

from __future__ import annotations

import shutil

import pytest
from capabilities import mount_namespace
from project import MakeProject, Project

pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or not mount_namespace(), reason="no git or no overlay here"
)

READING = ("git diff", "git describe --always --dirty", "git diff --stat && git status")
WRITING = ("echo >> program.py; git commit -qam stray", "git rm -q --cached program.py", "git add new.py")
SUITE = """\
import subprocess

def test_git():
    subprocess.run(["sh", "-c", {command!r}], check=True)
"""


def touched_checkout(make_project: MakeProject, command: str) -> Project:
    project = make_project({"test_it.py": SUITE.format(command=command), "program.py": "x = 1\n"})
    name = "-c user.name=n -c user.email=e"
    made = project.call(
        "sh", "-c", f"git init -q . && git add -A && git {name} commit -qm one && git config user.name n"
    )
    assert made.returncode == 0, made.stderr
    project.call("sh", "-c", "git config user.email e; touch -d @5 program.py; echo > new.py")
    return project


@pytest.mark.parametrize("command", READING)
def test_git_command_that_reads_is_no_change(make_project: MakeProject, command: str) -> None:
    project = touched_checkout(make_project, command)
    index = (project.root / ".git" / "index").read_bytes()

    result = project.run()

    assert result.status == 0, result.words
    assert (project.root / ".git" / "index").read_bytes() == index


@pytest.mark.parametrize("command", WRITING)
def test_git_command_that_writes_is_one(make_project: MakeProject, command: str) -> None:
    project = touched_checkout(make_project, command)
    index = (project.root / ".git" / "index").read_bytes()

    result = project.run()

    assert result.status == 1, result.words
    assert ".git" in result.words
    assert (project.root / ".git" / "index").read_bytes() == index
