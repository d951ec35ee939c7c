"""How the plugin comes in, how it is taken out, and what cannot weaken it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from project import MakeProject, Result, lines_of

FORGETFUL = """\
from pathlib import Path

def test_forgetful():
    (Path.home() / ".chat" / "notes.txt").write_text("overwritten")
"""
BY_CONFTEST = {"conftest.py": 'pytest_plugins = ["pytest_session_guard"]\n', "test_it.py": FORGETFUL}
BY_ITSELF = {"test_it.py": FORGETFUL}
NO_AUTOLOAD = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
WAYS = (
    pytest.param(BY_ITSELF, (), {}, id="entry_point"),
    pytest.param(BY_CONFTEST, (), {}, id="conftest_and_entry_point"),
    pytest.param(BY_CONFTEST, (), NO_AUTOLOAD, id="conftest_alone"),
    pytest.param(BY_ITSELF, ("-p", "pytest_session_guard"), {}, id="option_and_entry_point"),
    pytest.param(BY_ITSELF, ("-p", "pytest_session_guard"), NO_AUTOLOAD, id="option_alone"),
    pytest.param(BY_ITSELF, ("-p", "session_guard"), NO_AUTOLOAD, id="option_by_entry_point_name"),
    pytest.param(BY_CONFTEST, ("-p", "pytest_session_guard"), {}, id="all_three"),
    pytest.param(BY_CONFTEST, ("-p", "pytest_session_guard"), NO_AUTOLOAD, id="conftest_and_option"),
)
CHANGED = {".chat/notes.txt"}


def assert_guarded(result: Result) -> None:
    """One header, one refusal, nothing changed, and no complaint of pytest's."""
    assert result.changes == {}, result.words
    assert (result.status, result.outcomes) == (1, {"failed": 1}), result.words
    assert len(lines_of(result.stdout, "session-guard: enforce; layers: hook")) == 1
    assert len(result.touches) == 1
    assert "already registered" not in result.words


def assert_unguarded(result: Result) -> None:
    """The accident happened."""
    assert set(result.changes) == CHANGED, result.words
    assert (result.status, result.outcomes) == (0, {"passed": 1}), result.words
    assert result.header_lines == []


@pytest.mark.parametrize(("files", "args", "env"), WAYS)
def test_plugin_guards_however_it_came_in(
    make_project: MakeProject, files: dict[str, object], args: tuple[str, ...], env: dict[str, str]
) -> None:
    assert_guarded(make_project(files).run(*args, env=env))


@pytest.mark.parametrize(
    ("files", "args", "env"),
    [
        pytest.param(BY_CONFTEST, (), {}, id="conftest_and_entry_point"),
        pytest.param(BY_CONFTEST, ("-p", "xdist"), NO_AUTOLOAD, id="conftest_alone"),
        pytest.param(BY_ITSELF, ("-p", "xdist", "-p", "pytest_session_guard"), NO_AUTOLOAD, id="option_alone"),
    ],
)
def test_plugin_guards_workers_however_it_came_in(
    make_project: MakeProject, files: dict[str, object], args: tuple[str, ...], env: dict[str, str]
) -> None:
    assert_guarded(make_project(files).run("-n", "2", *args, env=env))


@pytest.mark.parametrize(
    ("files", "args"),
    [
        pytest.param(BY_ITSELF, (), id="entry_point"),
        pytest.param(BY_CONFTEST, (), id="conftest"),
        pytest.param(BY_ITSELF, ("-p", "pytest_session_guard"), id="option"),
    ],
)
def test_no_session_guard_takes_it_out(
    make_project: MakeProject, files: dict[str, object], args: tuple[str, ...]
) -> None:
    assert_unguarded(make_project(files).run("-p", "no:session_guard", *args, report=False))


def test_autoload_disabled_leaves_it_out(make_project: MakeProject) -> None:
    assert_unguarded(make_project(BY_ITSELF).run(env=NO_AUTOLOAD, report=False))


def test_late_start_is_said_in_the_header_and_in_the_report(make_project: MakeProject) -> None:
    early = make_project(BY_CONFTEST).run()
    late = make_project(BY_CONFTEST).run(env=NO_AUTOLOAD)

    assert "started late" in late.header_lines[0]
    assert late.report is not None
    assert any("started late" in note for note in late.report["notes"])
    assert "late" not in early.header_lines[0]


INSISTS = "[pytest]\nrequired_plugins = pytest-session-guard\n"


def test_required_plugins_is_content_with_the_distribution(make_project: MakeProject) -> None:
    assert_guarded(make_project({**BY_ITSELF, "pytest.ini": INSISTS}).run())


@pytest.mark.parametrize(
    ("args", "env"),
    [pytest.param(("-p", "no:session_guard"), {}, id="blocked"), pytest.param((), NO_AUTOLOAD, id="no_autoload")],
)
def test_required_plugins_stops_a_run_without_it(
    make_project: MakeProject, args: tuple[str, ...], env: dict[str, str]
) -> None:
    result = make_project({**BY_ITSELF, "pytest.ini": INSISTS}).run(*args, env=env, report=False)

    assert result.status == 4
    assert "pytest-session-guard" in result.stderr
    assert result.changes == {}


WEAKENING = (
    pytest.param("[pytest]\nsession_guard = off\n", (), id="ini_off"),
    pytest.param("[pytest]\nsession_guard = report\n", (), id="ini_report"),
    pytest.param("[pytest]\n", ("--session-guard=off",), id="command_line_off"),
    pytest.param("[pytest]\n", ("--session-guard=report",), id="command_line_report"),
    pytest.param("[pytest]\n", ("-o", "session_guard=off"), id="override"),
    pytest.param("[pytest]\naddopts = --session-guard=off\n", (), id="addopts"),
)


@pytest.mark.parametrize(("ini", "args"), WEAKENING)
def test_environment_is_a_floor_that_nothing_weakens(
    make_project: MakeProject, ini: str, args: tuple[str, ...]
) -> None:
    result = make_project({**BY_ITSELF, "pytest.ini": ini}).run(*args, env={"SESSION_GUARD": "enforce"})

    assert_guarded(result)
    assert "outranks" in result.header_lines[0]


def test_environment_may_not_weaken_what_the_project_says(make_project: MakeProject) -> None:
    project = make_project({**BY_ITSELF, "pytest.ini": "[pytest]\nsession_guard = enforce\n"})

    assert_guarded(project.run(env={"SESSION_GUARD": "off"}))


def test_command_line_beats_the_ini_file(make_project: MakeProject) -> None:
    project = make_project({**BY_ITSELF, "pytest.ini": "[pytest]\nsession_guard = off\n"})

    assert_guarded(project.run("--session-guard=enforce"))


@pytest.mark.parametrize(
    ("ini", "args", "env"),
    [
        pytest.param("[pytest]\nsession_guard = off\n", (), {}, id="ini"),
        pytest.param("[pytest]\n", ("--session-guard=off",), {}, id="command_line"),
    ],
)
def test_off_means_off(make_project: MakeProject, ini: str, args: tuple[str, ...], env: dict[str, str]) -> None:
    project = make_project({**BY_ITSELF, "pytest.ini": ini})

    assert_unguarded(project.run(*args, env=env))
    assert not (project.root / ".session_guard").exists()


@pytest.mark.parametrize("flag", ["--help", "--version", "-VV"])
def test_asking_pytest_for_help_starts_no_run(make_project: MakeProject, flag: str) -> None:
    project = make_project(BY_ITSELF)

    result = project.run(flag)

    assert result.status == 0
    assert not (project.root / ".session_guard").exists()


def test_importing_the_package_imports_neither_pytest_nor_the_plugin() -> None:
    code = "import sys, pytest_session_guard; print(*{name.partition('.')[0] for name in sys.modules})"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert {"pytest", "_pytest", "pluggy", "filelock"}.isdisjoint(done.stdout.split())


INSIDE = """\
from pathlib import Path

NOTES = Path.home() / ".chat" / "notes.txt"  # pytester gives its test another home

def test_outer(pytester):
    inner = f"def test_inner():\\n    __import__('pathlib').Path({str(NOTES)!r}).write_text('x')\\n"
    pytester.makepyfile(inner)
    assert pytester.runpytest_inprocess("-p", "no:xdist").ret == 1
"""


def test_run_inside_a_guarded_test_answers_to_the_outer_guard(make_project: MakeProject) -> None:
    project = make_project({"conftest.py": "pytest_plugins = ['pytester']\n", "test_it.py": INSIDE})

    result = project.run()

    assert result.changes == {}
    assert result.status == 1, result.words
    assert {touch["nodeid"] for touch in result.touches} == {"test_it.py::test_outer"}, result.words
