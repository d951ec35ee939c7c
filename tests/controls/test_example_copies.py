"""The example application under one root line, and the same tests isolated by hand as people do it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "chatstore"
BY_HAND = """\
import pytest
from chatstore import paths

@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    for name in ("SESSION_DIR", "HISTORY_DIR", "STATE_DB"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
"""
FORMS = 12


def run(tmp_path: Path, *options: str) -> tuple[int, str, set[str]]:
    """Exit status, output, and what is in the real store afterwards."""
    store = tmp_path / "home" / ".chatstore" / "sessions"
    store.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "tests/test_copies.py", *options]
    environ = {**os.environ, "HOME": str(tmp_path / "home"), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=tmp_path / "chatstore", env=environ, capture_output=True, text=True, check=False)
    made = {path.name for path in store.parent.rglob("*.accident")}
    return done.returncode, done.stdout + done.stderr, made


def copy_example(tmp_path: Path) -> Path:
    """A checkout of the example of this test's own."""
    ignored = shutil.ignore_patterns("__pycache__", ".session_guard", ".pytest_cache")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "chatstore", ignore=ignored))


def test_one_root_line_takes_every_copy_along(tmp_path: Path) -> None:
    copy_example(tmp_path)

    status, output, made = run(tmp_path)

    assert status == 0, output
    assert f"{FORMS} passed" in output
    assert made == set()


def test_isolation_by_hand_misses_copies_and_the_guard_refuses_each(tmp_path: Path) -> None:
    checkout = copy_example(tmp_path)
    (checkout / "tests" / "conftest.py").write_text(BY_HAND)

    status, output, made = run(tmp_path, "-o", "session_guard_redirect=")

    assert status == 1, output
    assert made == set()
    # The module attribute itself is all that the hand-written fixture reaches.
    refused = set(re.findall(r"test: \S+?\[([^]]+)\] \(call\)", output))
    assert len(refused) == FORMS - 1, output
    assert "module attribute" not in refused


def test_isolation_by_hand_without_the_guard_hurts_the_real_store(tmp_path: Path) -> None:
    checkout = copy_example(tmp_path)
    (checkout / "tests" / "conftest.py").write_text(BY_HAND)

    status, output, made = run(tmp_path, "-o", "session_guard_redirect=", "--session-guard=off")

    assert len(made) > 3, output
    assert status == 1  # each test still asks where its file lies
