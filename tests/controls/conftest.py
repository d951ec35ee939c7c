"""Fixtures for what needs a particular file system; each probes for it and skips with its reason where it is not there."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def other_file_system(tmp_path: Path) -> Iterator[Path]:
    """A scratch directory on another file system than ``tmp_path``."""
    for place in ("/dev/shm", f"/run/user/{os.getuid()}", "/var/tmp"):
        if os.path.isdir(place) and os.access(place, os.W_OK) and os.stat(place).st_dev != tmp_path.stat().st_dev:
            with tempfile.TemporaryDirectory(prefix="session-guard-", dir=place) as directory:
                yield Path(directory)
            return
    pytest.skip("one file system holds everything here")


@pytest.fixture
def make_immutable() -> Iterator[Callable[[Path], None]]:
    """Set the immutable flag, and take it away at the end."""
    made: list[Path] = []

    def make(path: Path) -> None:
        if subprocess.run(["chattr", "+i", str(path)], capture_output=True, check=False).returncode != 0:
            pytest.skip("the immutable flag cannot be set here")
        made.append(path)

    yield make
    for path in made:
        subprocess.run(["chattr", "-i", str(path)], check=True)
