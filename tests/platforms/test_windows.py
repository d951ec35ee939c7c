"""Windows, which nothing of ours understands yet: a run ends before it begins, in one line, and can do without the guard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from project import MakeProject, Project

STAND_IN = Path(__file__).with_name("windows_stand_in.py")
NOT_YET = "session-guard does not work on Windows yet, so nothing was started and nothing was changed"
NO_AUTOLOAD = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
RAN = """\
import os, sys
from pathlib import Path

def test_ran():
    assert (os.name, sys.platform) == ("nt", "win32")
    assert not any(name.startswith("pytest_session_guard._host") for name in sys.modules)
    Path("ran.txt").touch()
"""
BY_CONFTEST = {"conftest.py": 'pytest_plugins = ["pytest_session_guard"]\n', "test_it.py": RAN}
SUITE = {"test_it.py": RAN}


@pytest.fixture
def stand_in(tmp_path: Path) -> Mapping[str, str]:
    """The environment of a child that plays."""
    (tmp_path / "sitecustomize.py").write_bytes(STAND_IN.read_bytes())
    return {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}


def left_in(project: Project) -> set[str]:
    return {path.name for path in project.root.iterdir()} - {"__pycache__", ".pytest_cache"}


@pytest.mark.parametrize(
    ("files", "args", "env"),
    [
        pytest.param(SUITE, (), {}, id="entry_point"),
        pytest.param(SUITE, ("-n", "2"), {}, id="workers"),
        pytest.param(SUITE, ("-p", "pytest_session_guard"), NO_AUTOLOAD, id="option_alone"),
        pytest.param(BY_CONFTEST, (), NO_AUTOLOAD, id="conftest_alone"),
    ],
)
def test_a_run_ends_before_it_begins(
    make_project: MakeProject,
    stand_in: Mapping[str, str],
    files: Mapping[str, object],
    args: tuple[str, ...],
    env: Mapping[str, str],
) -> None:
    project = make_project(files)

    result = project.run(*args, env={**stand_in, **env}, report=False)

    assert result.status == 4, result.words
    assert result.words.count(NOT_YET) == 1, result.words
    assert "Traceback" not in result.words
    assert result.header_lines == []
    assert left_in(project) == {"pytest.ini", *files}


@pytest.mark.parametrize(
    ("ini", "args", "env"),
    [
        pytest.param("", ("-p", "no:session_guard"), {}, id="plugin_taken_out"),
        pytest.param("session_guard = off\n", (), {}, id="ini"),
        # A word of a run on a system that shares its environment with this one (WSLENV).
        pytest.param("", (), {"PYTEST_ADDOPTS": "--session-guard=off", "SESSION_GUARD_NESTED": "1"}, id="environment"),
    ],
)
def test_a_run_does_without_the_guard(
    make_project: MakeProject,
    stand_in: Mapping[str, str],
    ini: str,
    args: tuple[str, ...],
    env: Mapping[str, str],
) -> None:
    project = make_project({**SUITE, "pytest.ini": f"[pytest]\n{ini}"})

    result = project.run(*args, env={**stand_in, **env}, report=False)

    assert (result.status, result.outcomes) == (0, {"passed": 1}), result.words
    assert left_in(project) == {"pytest.ini", "test_it.py", "ran.txt"}


def test_a_fixture_says_why_it_is_not_there(make_project: MakeProject, stand_in: Mapping[str, str]) -> None:
    project = make_project({"test_it.py": "def test_it(session_guard):\n    pass\n"})

    result = project.run("--session-guard=off", env=stand_in, report=False)

    assert (result.status, result.outcomes) == (1, {"error": 1}), result.words
    assert NOT_YET in result.stdout


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        pytest.param(("doctor",), 3, NOT_YET, id="doctor"),
        pytest.param(("run", "--", "pytest"), 3, NOT_YET, id="launcher"),
        pytest.param(("verify", "missing.json"), 1, "missing.json", id="verify_reads_a_report"),
        pytest.param(("--help",), 0, "restore", id="help"),
    ],
)
def test_the_command_says_so_too(
    make_project: MakeProject, stand_in: Mapping[str, str], args: tuple[str, ...], status: int, said: str
) -> None:
    project = make_project(SUITE)

    done = project.call(project.account.python, "-m", "pytest_session_guard", *args, env=stand_in)

    assert (done.returncode, done.stderr.count("Traceback")) == (status, 0), done.stderr
    assert said in done.stdout + done.stderr
    assert left_in(project) == {"pytest.ini", "test_it.py"}
