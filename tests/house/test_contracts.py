"""The doors between the rooms: the import contracts hold, and each of them catches the fault that it is there for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="the import contracts need import-linter")

ROOT = Path(__file__).parents[2]
PACKAGE = "pytest_session_guard"
LINT = "from importlinter.cli import lint_imports_command as main; main()"


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LINT, "--no-cache", "--config", "pyproject.toml"]
    # A wide terminal, so that no line of the answer is broken.
    environment = {"COLUMNS": "500", "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Fault:
    """A line that somebody might add.

    :param contract: the contract that must catch it.
    :param said: what the answer must hold: the import, or the file without a room.
    """

    file: str
    line: str
    contract: str
    said: str


FAULTS = {
    "core-reads-the-clock": Fault("_core/zones.py", "import time", "The core is pure", "_core.zones -> time"),
    "core-runs-a-process-inside-a-function": Fault(
        "_core/records.py", "def f():\n    import subprocess", "The core is pure", "_core.records -> subprocess"
    ),
    "core-upside-down": Fault(
        "_core/errors.py", f"from {PACKAGE}._core.zones import Zone", "Inside the core", "_core.errors -> "
    ),
    "core-file-without-a-place": Fault("_core/stray.py", "", "Inside the core", "stray"),
    "core-knows-the-disk": Fault(
        "_core/marking.py", f"from {PACKAGE}._host.fsops import Raw", "Data flows one way", "_core.marking -> "
    ),
    "host-knows-a-control": Fault(
        "_host/fsops.py", f"from {PACKAGE}._controls.ledger import Journal", "Data flows one way", "_host.fsops -> "
    ),
    "host-upside-down": Fault(
        "_host/identity.py", f"from {PACKAGE}._host.copying import copy_content", "Inside the host", "_host.identity -> "
    ),
    "host-file-without-a-place": Fault("_host/helpers.py", "", "Inside the host", "helpers"),
    "control-knows-another": Fault(
        "_controls/markers.py",
        f"def f():\n    from {PACKAGE}._controls.ledger import Journal",
        "Controls never know each other",
        "_controls.markers -> ",
    ),
    "run-knows-pytest": Fault(
        "_run/guard.py", "def f():\n    import pytest", "Only the adapters know pytest", "_run.guard -> pytest"
    ),
    "command-knows-pytest": Fault(
        "cli/verifying.py", "import _pytest", "Only the adapters know pytest", "cli.verifying -> _pytest"
    ),
    "command-uses-a-control": Fault(
        "cli/verifying.py",
        f"from {PACKAGE}._controls.ledger import Journal",
        "Only the session combines controls",
        "cli.verifying -> ",
    ),
    "report-uses-the-host": Fault(
        "_report/text.py",
        f"from {PACKAGE}._host.fsops import Raw",
        "Only controls and the session touch the host",
        "_report.text -> ",
    ),
    "report-runs-a-process": Fault("_report/text.py", "import subprocess", "The report is pure", "_report.text -> subprocess"),
    "clean-up-looks-where-it-removes": Fault(
        "_controls/cleanup/inspection.py",
        f"from {PACKAGE}._controls.cleanup.removing import Removed",
        "Inside the clean-up",
        "cleanup.inspection -> ",
    ),
    "restorer-upside-down": Fault(
        "_controls/recovery/moving.py",
        f"from {PACKAGE}._controls.recovery.aside import Aside",
        "Inside the recovery",
        "recovery.moving -> ",
    ),
    "keeper-knows-who-asks": Fault(
        "_controls/overlay/keeper.py",
        f"from {PACKAGE}._controls.overlay.handle import Overlay",
        "Inside the overlay",
        "overlay.keeper -> ",
    ),
    "runs-on-record-need-their-recovery": Fault(
        "_run/past.py",
        f"def f():\n    from {PACKAGE}._run.recover import clean_run",
        "No room is built on itself",
        "No cycles are allowed in pytest_session_guard._run.",
    ),
    "room-without-a-door": Fault("manager.py", "", "Data flows one way", "manager"),
    "plugin-knows-the-command": Fault("plugin.py", f"from {PACKAGE}.cli import main", "Data flows one way", "plugin -> "),
}  # fmt: skip


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the contracts say about a copy with all the faults in it."""
    scratch = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / PACKAGE, scratch / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", scratch)
    for fault in FAULTS.values():
        with (scratch / PACKAGE / fault.file).open("a") as file:
            file.write(f"\n{fault.line}\n")
    done = lint(scratch)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def part_about(contract: str, answer: str) -> str:
    """The details of one broken contract: from its underlined name to the next one."""
    lines = answer.splitlines()
    headings = [number for number, line in enumerate(lines) if line and set(line) == {"-"}]
    start = next(number for number in headings if lines[number - 1].strip() == contract)
    return "\n".join(lines[start : next((number - 1 for number in headings if number > start), len(lines))])


def test_all_contracts_are_kept() -> None:
    done = lint(ROOT)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_caught(answer: str, name: str) -> None:
    fault = FAULTS[name]

    assert f"{fault.contract} BROKEN" in answer
    assert fault.said in part_about(fault.contract, answer)


def test_every_contract_catches_a_fault(answer: str) -> None:
    caught = {fault.contract for fault in FAULTS.values()}

    assert {line.removesuffix(" BROKEN") for line in answer.splitlines() if line.endswith(" BROKEN")} == caught
    assert not [line for line in answer.splitlines() if line.endswith(" KEPT")]
