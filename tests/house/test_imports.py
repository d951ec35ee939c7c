"""What importing costs: the package alone brings in no pytest, and next to nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest


def modules_after(statement: str) -> set[str]:
    script = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("import pytest_session_guard", id="package"),
        pytest.param("import pytest_session_guard.cli", id="command"),
        pytest.param("from pytest_session_guard import ProtectedPathError, MarkerFormat, Touch", id="public-names"),
        pytest.param("import pytest_session_guard._run.session", id="run"),
    ],
)
def test_pytest_is_not_imported(statement: str) -> None:
    found = modules_after(statement)

    assert "pytest_session_guard" in found
    assert not {"pytest", "_pytest", "pluggy", "xdist"} & found


def test_package_alone_brings_in_nothing_of_its_own() -> None:
    assert {name for name in modules_after("import pytest_session_guard") if "session_guard" in name} == {
        "pytest_session_guard"
    }


@pytest.mark.parametrize("module", ["cli", "_controls.audit", "_controls.ledger", "_host.identity"])
def test_filelock_and_ctypes_wait_until_they_are_needed(module: str) -> None:
    assert not {"filelock", "ctypes"} & modules_after(f"import pytest_session_guard.{module}")


@pytest.mark.parametrize(
    "module",
    [
        "configparser",
        "tomllib",
        "pytest_session_guard._controls.redirect",
        "pytest_session_guard._controls.recovery",
        "pytest_session_guard._core.restoring",
    ],
)
def test_a_run_begins_without_what_most_runs_have_no_use_for(module: str) -> None:
    assert module not in modules_after("import pytest; import pytest_session_guard._beginning")
