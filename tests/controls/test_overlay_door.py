"""The door alone: a process whose end cannot be judged does not end green."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pytest_session_guard._controls.overlay.construction import Layer
from pytest_session_guard._controls.overlay.door import Door


def broken() -> Iterable[Layer]:
    raise ValueError("no layers")


def nothing() -> Iterable[Layer]:
    return ()


@pytest.mark.parametrize(
    ("layers", "is_over", "status", "said"),
    [
        pytest.param(nothing, True, 0, "", id="all-told"),
        pytest.param(nothing, False, -9, "ended without finishing its session", id="too-early"),
        pytest.param(broken, False, -9, "could not be judged: ValueError: no layers", id="cannot-be-judged"),
    ],
)
def test_process_is_killed_unless_its_end_is_known_to_be_fine(
    tmp_path: Path, layers: Callable[[], Iterable[Layer]], is_over: bool, status: int, said: str
) -> None:
    reading, writing = os.pipe()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        door = Door(process.pid, writing, layers, str(tmp_path))
        os.close(writing)
        if is_over:
            door.open()
        door.attend(process.pid)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=30) == status
    door.close()
    with open(reading) as stream:
        words = stream.read()
    assert said in words
    assert bool(words) == bool(said)
