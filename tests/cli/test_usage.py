"""What every command shares: usage, exit status, and where the ledger is looked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest

from pytest_session_guard import ConfigurationError
from pytest_session_guard._run.checkouts import find_rootdir
from pytest_session_guard._run.whereabouts import state_directory
from pytest_session_guard.cli import main

COMMANDS = ("run", "doctor", "runs", "show", "restore", "clean", "report", "discover", "init", "lint", "verify")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("nothing",),
        ("show",),
        ("restore",),
        ("clean", "--maybe"),
        ("init", "--yes", "--dry-run"),
        ("restore", ""),
        ("restore", "latest", ""),
        ("clean", ""),
        ("lint",),
        ("lint", ""),
    ],
)
def test_bad_usage_is_status_2(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)

    assert exit_.value.code == 2
    assert "usage: session-guard" in capsys.readouterr().err


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])

    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"pytest-session-guard {version('pytest-session-guard')}\n"


def test_complaint_about_a_command_lists_those_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nothing"])

    allowed = capsys.readouterr().err.partition("(choose from ")[2]
    assert sorted(re.findall(r"\w+", allowed)) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])

    assert exit_.value.code == 0
    assert f"usage: session-guard {command}" in capsys.readouterr().out


CONFIGURED = (
    pytest.param({}, "", ".session_guard", id="default"),
    pytest.param({"pytest.ini": "[pytest]\nsession_guard_dir = a\n"}, "", "a", id="pytest.ini"),
    pytest.param({"pytest.ini": "[pytest]\nsession_guard_dir = a\n"}, "b", "b", id="command-line-first"),
    pytest.param({"tox.ini": "[pytest]\nsession_guard_dir = a\n"}, "", "a", id="tox.ini"),
    pytest.param({"setup.cfg": "[tool:pytest]\nsession_guard_dir = a%b\n"}, "", "a%b", id="setup.cfg"),
    pytest.param({"pyproject.toml": '[tool.pytest.ini_options]\nsession_guard_dir = "a"\n'}, "", "a", id="pyproject"),
    pytest.param({"pyproject.toml": '[tool.pytest]\nsession_guard_dir = "a"\n'}, "", "a", id="pyproject-native"),
    pytest.param({"pytest.toml": '[pytest]\nsession_guard_dir = "a"\n'}, "", "a", id="pytest.toml"),
    pytest.param(
        {"pytest.ini": "[pytest]\n", "tox.ini": "[pytest]\nsession_guard_dir = a\n"}, "", ".session_guard", id="first-file-counts"
    ),
    pytest.param({"pytest.ini": "[pytest]\nsession_guard_dir = /elsewhere/state\n"}, "", "/elsewhere/state", id="absolute"),
)  # fmt: skip


@pytest.mark.parametrize(("files", "given", "expected"), CONFIGURED)
def test_ledger_is_where_pytest_would_keep_it(
    tmp_path: Path, files: Mapping[str, str], given: str, expected: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    assert state_directory(str(tmp_path), given) == str(tmp_path / expected)


@pytest.mark.parametrize("content", ["no section\n", "[pytest\n"])
def test_configuration_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "pytest.ini").write_text(content)

    with pytest.raises(ConfigurationError, match=r"pytest\.ini.*cannot be read"):
        state_directory(str(tmp_path))


@pytest.mark.parametrize("given", [".", "/", "~", "a/.."])
def test_ledger_without_a_name_of_its_own_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(ConfigurationError, match="is no directory of its own"):
        state_directory(str(tmp_path), given)


@pytest.mark.parametrize(
    "sign",
    [
        pytest.param(".session_guard/runs/", id="ledger"),
        pytest.param("pytest.ini", id="configuration"),
    ],
)
def test_checkout_is_the_nearest_directory_with_a_sign_of_one(tmp_path: Path, sign: str) -> None:
    below = tmp_path / "checkout" / "src" / "package"
    below.mkdir(parents=True)
    target = tmp_path / "checkout" / sign
    target.parent.mkdir(exist_ok=True)
    if sign.endswith("/"):
        target.mkdir(parents=True)
    else:
        target.write_text("[pytest]\n")

    assert find_rootdir(str(below)) == str(tmp_path / "checkout")


@pytest.mark.parametrize("sign", ["pyproject.toml", "setup.py", "setup.cfg", ".git"])
def test_ledger_above_a_project_of_its_own_is_not_its_own(tmp_path: Path, sign: str) -> None:
    (tmp_path / ".session_guard" / "runs").mkdir(parents=True)
    below = tmp_path / "project" / "src"
    below.mkdir(parents=True)
    (tmp_path / "project" / sign).touch()

    assert find_rootdir(str(below)) == str(tmp_path / "project")


def test_configuration_above_a_project_is_what_pytest_goes_by(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").touch()

    assert find_rootdir(str(tmp_path / "project")) == str(tmp_path)
