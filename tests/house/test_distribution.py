"""What the source distribution holds: all that the checkout does, because the suite checks the pages of ``docs`` too."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Always in it, whatever the list says; and what only a checkout is for.
BESIDES = {"pyproject.toml", ".gitignore", ".ci"}


def test_source_distribution_holds_all_that_the_checkout_does() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0 or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    tracked = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    held = set(settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])

    assert held == tracked - BESIDES
