"""The class to subclass: what it skips by name, what it insists on, and what it will not be run against."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def run_suite(tmp_path: Path, suite: str) -> subprocess.CompletedProcess[str]:
    """Run ``suite`` under the guard in a home of its own."""
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    project.joinpath("pytest.ini").write_text("[pytest]\naddopts = -p pytest_session_guard -p no:randomly\n")
    project.joinpath("test_store.py").write_text(suite)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    command = [sys.executable, "-m", "pytest", "-rs", "-q"]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


MINIMAL = """
from pathlib import Path
import pytest
from reference_store import ReferenceStore
from pytest_session_guard.contracts import FunctionAdapter, SessionStoreContract

class TestMinimal(SessionStoreContract):
    required = {required!r}

    @pytest.fixture
    def store(self, session_guard):
        store = ReferenceStore({root})
        return FunctionAdapter(
            root=store.root, make=store.make, find=store.find, load=store.load, save=store.save,
            list_ids=store.list_ids, session_file=store.session_file,
        )
"""


def test_store_without_abilities_is_held_to_the_rest_and_skips_name_what_it_lacks(tmp_path: Path) -> None:
    process = run_suite(tmp_path, MINIMAL.format(required=(), root="Path(session_guard.path)"))

    assert process.returncode == 0, process.stdout + process.stderr
    assert "4 passed" in process.stdout
    for ability, member in (("metadata", "load_metadata"), ("recovery", "recover"), ("index", "index_file")):
        assert f"{ability!r} (the adapter has no {member})" in process.stdout


def test_required_ability_that_the_adapter_lacks_fails(tmp_path: Path) -> None:
    process = run_suite(tmp_path, MINIMAL.format(required=("recovery",), root="Path(session_guard.path)"))

    assert process.returncode == 1
    assert "the store is required to have the ability" in process.stdout
    assert "'recovery' (the adapter has no recover)" in process.stdout


def test_required_ability_that_there_is_not_fails(tmp_path: Path) -> None:
    process = run_suite(tmp_path, MINIMAL.format(required=("recovry",), root="Path(session_guard.path)"))

    assert process.returncode == 1
    assert "required has unknown abilities: ['recovry']; there are metadata, stream" in process.stdout


def test_store_outside_the_private_directory_is_not_touched(tmp_path: Path) -> None:
    real = tmp_path / "home" / "store"

    process = run_suite(tmp_path, MINIMAL.format(required=(), root=f"Path({str(real)!r})"))

    assert process.returncode == 1
    assert "the store is outside the private directory of the test" in process.stdout
    assert not real.exists()


def test_missing_store_fixture_is_said(tmp_path: Path) -> None:
    suite = "from pytest_session_guard.contracts import SessionStoreContract\nclass TestX(SessionStoreContract): pass\n"

    process = run_suite(tmp_path, suite)

    assert process.returncode == 1
    assert "TestX must override the fixture 'store'" in process.stdout


@pytest.mark.parametrize("module", ["pytest_session_guard", "pytest_session_guard.plugin"])
def test_contract_is_imported_by_nobody(module: str) -> None:
    script = f"import sys, {module}; print([name for name in sys.modules if 'contracts' in name])"
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"
