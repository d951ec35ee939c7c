"""Options are written into a project's own file, and nothing else of it changes."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pytest_session_guard._controls.initialise import plan_init
from pytest_session_guard._core.errors import ConfigurationError

OPTIONS = {"session_guard_redirect": ["~/.loom = loom", "env:LOOM_DATA = loom"], "session_guard_home": ["redirect"]}
INI_LINES = "session_guard_redirect =\n    ~/.loom = loom\n    env:LOOM_DATA = loom\nsession_guard_home = redirect\n"
TOML_LINES = 'session_guard_redirect = [\n    "~/.loom = loom",\n    "env:LOOM_DATA = loom",\n]\nsession_guard_home = "redirect"\n'


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        pytest.param("pytest.ini", None, "[pytest]\n" + INI_LINES, id="no file at all"),
        pytest.param("pytest.ini", "", "[pytest]\n" + INI_LINES, id="empty pytest.ini"),
        pytest.param(
            "pytest.ini", "# mine\n[pytest]\naddopts = -q  # quiet\n\n[other]\nx=1\n",
            "# mine\n[pytest]\naddopts = -q  # quiet\n" + INI_LINES + "\n[other]\nx=1\n", id="section in the middle",
        ),
        pytest.param("pytest.ini", "[pytest]\naddopts = -q", "[pytest]\naddopts = -q\n" + INI_LINES, id="no last newline"),
        pytest.param(
            "pytest.ini", "[pytest]\r\naddopts = -q\r\n",
            "[pytest]\r\naddopts = -q\r\n" + INI_LINES.replace("\n", "\r\n"), id="windows line endings",
        ),
        pytest.param(
            "pytest.ini",
            "[pytest]\nsession_guard_redirect =\n\t~/.loom = loom\n\t~/.other = other\naddopts = -q\nsession_guard_home = keep\n",
            "[pytest]\nsession_guard_redirect =\n\t~/.loom = loom\n\t~/.other = other\n\tenv:LOOM_DATA = loom\n"
            "addopts = -q\nsession_guard_home = redirect\n", id="some lines there",
        ),
        pytest.param("pytest.ini", "[pytest]\n" + INI_LINES, "[pytest]\n" + INI_LINES, id="all there"),
        pytest.param(
            "pytest.ini", "[pytest]\nsession_guard_redirect = ~/.loom/ = .\nsession_guard_home = redirect\n",
            "[pytest]\nsession_guard_redirect = ~/.loom/ = .\n    env:LOOM_DATA = loom\nsession_guard_home = redirect\n",
            id="sent elsewhere already",
        ),
        pytest.param(
            "pyproject.toml",
            '[tool.pytest]\nsession_guard_redirect = ["~/.loom=a", "env:LOOM_DATA = b"]\nsession_guard_home = "redirect"\n',
            '[tool.pytest]\nsession_guard_redirect = ["~/.loom=a", "env:LOOM_DATA = b"]\nsession_guard_home = "redirect"\n',
            id="all sent elsewhere already",
        ),
        pytest.param("tox.ini", "[tox]\nx = 1\n[pytest]\ny = 2\n", "[tox]\nx = 1\n[pytest]\ny = 2\n" + INI_LINES, id="tox.ini"),
        pytest.param(
            "setup.cfg", "[metadata]\nname = x\n\n[tool:pytest]\ny = 2\n\n[flake8]\n",
            "[metadata]\nname = x\n\n[tool:pytest]\ny = 2\n" + INI_LINES + "\n[flake8]\n", id="setup.cfg",
        ),
        pytest.param(
            "pyproject.toml", '[project]\nname = "x"', '[project]\nname = "x"\n\n[tool.pytest.ini_options]\n' + TOML_LINES,
            id="pyproject without a table",
        ),
        pytest.param(
            "pyproject.toml",
            '[tool.pytest.ini_options] # here\naddopts = [\n  "-q", # quiet ]\n]  # end\n\n# about ruff\n[tool.ruff]\nx = 1\n',
            '[tool.pytest.ini_options] # here\naddopts = [\n  "-q", # quiet ]\n]  # end\n' + TOML_LINES
            + "\n# about ruff\n[tool.ruff]\nx = 1\n", id="pyproject table in the middle",
        ),
        pytest.param(
            "pyproject.toml",
            '[tool.pytest.ini_options]\nsession_guard_redirect = [\n  "~/.a = a", # first\n  # last\n]\n'
            'session_guard_home = "redirect" # so\n',
            '[tool.pytest.ini_options]\nsession_guard_redirect = [\n  "~/.a = a", # first\n  # last\n  "~/.loom = loom",\n'
            '  "env:LOOM_DATA = loom",\n]\nsession_guard_home = "redirect" # so\n', id="list with comments",
        ),
        pytest.param(
            "pyproject.toml",
            "[tool.pytest.ini_options]\nsession_guard_redirect = ['~/.a = a']\nsession_guard_home = 'keep'\n",
            "[tool.pytest.ini_options]\nsession_guard_redirect = ['~/.a = a', \"~/.loom = loom\", \"env:LOOM_DATA = loom\"]\n"
            'session_guard_home = "redirect"\n', id="list on one line",
        ),
        pytest.param(
            "pyproject.toml",
            'x = """\n[tool.pytest.ini_options]\n"""\n[tool."pytest".ini_options]\nsession_guard_redirect = """\n  ~/.a = a\n"""\n',
            'x = """\n[tool.pytest.ini_options]\n"""\n[tool."pytest".ini_options]\nsession_guard_redirect = [\n    "~/.a = a",\n'
            '    "~/.loom = loom",\n    "env:LOOM_DATA = loom",\n]\nsession_guard_home = "redirect"\n', id="text of lines",
        ),
        pytest.param(
            "pyproject.toml", '[tool.pytest]\naddopts = ["-q"]\n', '[tool.pytest]\naddopts = ["-q"]\n' + TOML_LINES,
            id="native table of pytest 9",
        ),
        pytest.param("pytest.toml", '[pytest]\naddopts = ["-q"]\n', '[pytest]\naddopts = ["-q"]\n' + TOML_LINES, id="pytest.toml"),
    ],
)  # fmt: skip
def test_options_are_written_and_the_rest_is_kept(tmp_path: Path, name: str, before: str | None, after: str) -> None:
    if before is not None:
        (tmp_path / name).write_bytes(before.encode())

    plan = plan_init(str(tmp_path), OPTIONS)

    assert (plan.file, plan.old, plan.new) == (str(tmp_path / name), before or "", after)


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        pytest.param({"pytest.ini": "", "pyproject.toml": "[tool.pytest.ini_options]\n"}, "pytest.ini", id="pytest.ini first"),
        pytest.param({"pyproject.toml": "[tool.pytest.ini_options]\n", "tox.ini": "[pytest]\n"}, "pyproject.toml", id="then pyproject"),
        pytest.param({"pyproject.toml": "[project]\n", "tox.ini": "[pytest]\n"}, "tox.ini", id="tox.ini when it has the section"),
        pytest.param({"pyproject.toml": "[project]\n", "tox.ini": "[tox]\n"}, "pyproject.toml", id="pyproject when none has it"),
    ],
)  # fmt: skip
def test_file_is_the_one_that_pytest_reads(tmp_path: Path, files: dict[str, str], chosen: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    assert plan_init(str(tmp_path), OPTIONS).file == str(tmp_path / chosen)


def test_second_plan_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    (tmp_path / "pyproject.toml").write_text(plan_init(str(tmp_path), OPTIONS).new)

    again = plan_init(str(tmp_path), OPTIONS)

    assert (again.new, again.diff) == (again.old, "")
    assert (
        tomllib.loads(again.new)["tool"]["pytest"]["ini_options"]["session_guard_redirect"]
        == OPTIONS["session_guard_redirect"]
    )


def test_change_is_shown_as_a_diff(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -q\n")

    diff = plan_init(str(tmp_path), {"session_guard_home": ["redirect"]}).diff

    assert diff.splitlines()[:2] == ["--- pytest.ini now", "+++ pytest.ini then"]
    assert [line for line in diff.splitlines()[2:] if line[0] in "+-"] == ["+session_guard_home = redirect"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            'tool.pytest.ini_options = {addopts = "-q"}\n', "in a form that cannot be edited", id="inline table"
        ),
        pytest.param("this is no toml\n", "is no TOML", id="no toml"),
        pytest.param(
            '[tool.pytest]\nini_options.addopts = "-q"\n', "in a form that cannot be edited", id="dotted keys"
        ),
    ],
)
def test_file_that_cannot_be_edited_is_one_clear_error(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)

    with pytest.raises(ConfigurationError) as caught:
        plan_init(str(tmp_path), OPTIONS)

    assert caught.value.source == str(tmp_path / "pyproject.toml")
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["pytest.ini", "pyproject.toml"])
def test_pytest_reads_what_was_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[pytest]\n" if name == "pytest.ini" else "[tool.pytest.ini_options]\n")
    (tmp_path / name).write_text(plan_init(str(tmp_path), OPTIONS).new)
    (tmp_path / "ask.py").write_text(
        "import pytest\n"
        "def pytest_addoption(parser):\n"
        "    parser.addini('session_guard_redirect', '', type='linelist')\n"
        "    parser.addini('session_guard_home', '')\n"
        "def pytest_configure(config):\n"
        "    print('READ', config.getini('session_guard_redirect'), config.getini('session_guard_home'))\n"
    )

    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:session_guard",
        "-p",
        "ask",
        "-p",
        "no:cacheprovider",
        "--collect-only",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path)}
    )

    assert f"READ {OPTIONS['session_guard_redirect']} redirect" in done.stdout, done.stdout + done.stderr
