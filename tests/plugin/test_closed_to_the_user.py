"""What a test closes to everybody in the home is read all the same, and is nobody else's violation."""

from __future__ import annotations

from pathlib import Path

import pytest
from capabilities import mount_namespace
from isolated import ordinary_account
from project import MakeProject, Project, Result

pytestmark = pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")

SUITE = """\
import subprocess

def shell(script):
    subprocess.run(["/bin/sh", "-c", script], check=True)

def test_makes():
    shell('mkdir -m 000 "$HOME/.chat/locked"')

def test_closes_directory():
    shell('chmod 000 "$HOME/.chat/sessions"')

def test_closes_file():
    shell('chmod 000 "$HOME/.chat/notes.txt"')

def test_passes():
    pass
"""
EXPECTED = [
    ("created", ".chat/locked", "test_makes"),
    ("metadata", ".chat/sessions", "test_closes_directory"),
    ("metadata", ".chat/notes.txt", "test_closes_file"),
]


def charged(result: Result, home: Path) -> list[tuple[str, str, str]]:
    touches = ((t["operation"], t["path"], t["nodeid"]) for t in result.touches)
    return [(what, str(Path(path).relative_to(home)), nodeid.rpartition("::")[2]) for what, path, nodeid in touches]


def test_each_test_is_charged_with_what_it_closed(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    result = project.run()

    assert result.changes == {}
    assert result.outcomes == {"failed": 3, "passed": 1}, result.words
    assert charged(result, project.home) == EXPECTED


def test_each_test_of_an_ordinary_user_is_charged_with_what_it_closed() -> None:
    with ordinary_account() as (account, work):
        project = Project(work / "scratch", {"test_it.py": SUITE}, account=account)

        result = project.run()

        assert result.changes == {}
        assert result.outcomes == {"failed": 3, "passed": 1}, result.words
        assert charged(result, project.home) == EXPECTED
