"""The side of a try that runs inside pytest: generated project files call in here."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, Final

from .catalogue import load_one
from .vector import Scene

HELD: Final[dict[str, Any]] = {}


def prepare(module: str, name: str, base: str) -> None:
    """Run the vector's ``before`` and keep what it opened."""
    before = load_one(module, name).before
    assert before is not None, "unreachable because only vectors with a before get this plugin"
    before(Scene(Path(base), HELD))


def perform(module: str, name: str, base: str, request: object = None) -> None:
    """Run the vector and swallow every error, as careless code does: only the guard can make the run red.

    What went wrong is kept in the free directory, for a reader who wonders why a way did nothing.
    """
    scene = Scene(Path(base), HELD)
    HELD["request"] = request
    try:
        load_one(module, name).act(scene)
    except BaseException:  # the way must not fail its own test
        try:
            (scene.tmp / "error.txt").write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
        except BaseException:
            return
