"""What the guarded runs need to know about the machine."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .scene import list_blocked_plugins


@pytest.fixture(scope="session")
def has_overlay(tmp_path_factory: pytest.TempPathFactory) -> bool:
    """Whether a guarded run on this machine gets its overlay, as its own report says."""
    project = tmp_path_factory.mktemp("probe")
    (project / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    report = project / "report.json"
    command = [
        sys.executable,
        "-m",
        "pytest",
        *list_blocked_plugins(()),
        f"--session-guard-json={report}",
        str(project),
    ]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    layers = json.loads(report.read_text(encoding="utf-8"))["layers"]
    return bool(layers["overlay"]["status"] == "enforced")
