"""The example keeps the contract under the guard, and its demonstration comes to a good end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(command: list[str], cwd: Path, home: Path) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "CHATSTORE_FSYNC": "0"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_example_suite_passes_under_the_guard_without_a_skip(tmp_path: Path) -> None:
    checkout = shutil.copytree(EXAMPLES / "chatstore", tmp_path / "chatstore")

    process = run([sys.executable, "-m", "pytest", "-q"], checkout, tmp_path / "home")

    assert process.returncode == 0, process.stdout + process.stderr
    assert "skipped" not in process.stdout
    assert not (tmp_path / "home" / ".chatstore").exists()


def test_example_configuration_is_under_ten_lines() -> None:
    lines = (EXAMPLES / "chatstore" / "pytest.ini").read_text().splitlines()
    about_the_guard = lines[next(at for at, line in enumerate(lines) if line.startswith("session_guard_protect")) :]
    assert 0 < len([line for line in about_the_guard if line.strip()]) < 10


def test_demo_comes_to_a_good_end(tmp_path: Path) -> None:
    process = run([sys.executable, str(EXAMPLES / "demo.py")], tmp_path, tmp_path / "home")

    assert process.returncode == 0, process.stdout + process.stderr
    verdict = process.stdout.splitlines()[-2:]
    assert [line.split(":")[0].strip() for line in verdict] == ["guard on", "guard off"]


def leave_unguarded(accidents: Path) -> None:
    with open(accidents / "pytest.ini", "a") as ini:
        ini.write("session_guard = off\n")


def make_harmless(accidents: Path) -> None:
    accidents.joinpath("test_3_cleanup_by_age.py").write_text("def test_nothing() -> None:\n    assert True\n")


@pytest.mark.parametrize(
    ("spoil", "deviations"),
    [
        pytest.param(
            leave_unguarded,
            ["WRONG: the accidents did not turn the run red: exit 0", "WRONG: the accidents touched "],
            id="accidents-not-guarded",
        ),
        pytest.param(make_harmless, ["WRONG: test_3_cleanup_by_age.py did no damage with"], id="accident-is-none"),
    ],
)
def test_demo_that_proves_nothing_says_so(spoil: Callable[[Path], None], deviations: list[str], tmp_path: Path) -> None:
    examples = shutil.copytree(EXAMPLES, tmp_path / "examples")
    for slow in ("test_contract.py", "test_commands.py"):
        examples.joinpath("chatstore", "tests", slow).unlink()
    spoil(examples / "chatstore" / "accidents")

    process = run([sys.executable, str(examples / "demo.py")], tmp_path, tmp_path / "home")

    assert process.returncode == 1
    assert [deviation for deviation in deviations if deviation not in process.stdout] == []
