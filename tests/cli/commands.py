"""Calling the ``session-guard`` command in a scratch project."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from project import Project


def guard(
    project: Project, *args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as people do, in the project unless told otherwise."""
    python = project.account.python or sys.executable
    return project.call(python, "-m", "pytest_session_guard", *args, cwd=cwd, env=env)
