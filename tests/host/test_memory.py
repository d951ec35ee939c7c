"""What a fork has in its memory: the environment that it was forked with, by whomever, and what it has changed since."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pytest_session_guard._host.memory import environment_at, memory_of, place_of_environment, string_of

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="there is no /proc here")

libc = ctypes.CDLL(None)


@contextmanager
def forked(act: Callable[[], object] = lambda: None) -> Iterator[int]:
    """A child that native code forked; it waits once it has acted."""
    reading, writing = os.pipe()
    pid = libc.fork()
    if pid == 0:
        act()
        os.write(writing, b"x")
        signal.pause()
    try:
        os.read(reading, 1)
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("value", ["test_a.py::test_it (call)", "é" * 5000, ""], ids=["short", "pages", "empty"])
def test_environment_of_a_fork_is_that_of_its_moment(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MOMENT", value)

    with forked() as pid:
        monkeypatch.setenv("MOMENT", "later")

        assert f"MOMENT={value}".encode() in environment_at(pid, place_of_environment())
    assert environment_at(pid, place_of_environment()) == []


def test_environment_that_a_fork_has_emptied_is_empty() -> None:
    with forked(libc.clearenv) as pid:
        assert environment_at(pid, place_of_environment()) == []


def test_program_of_its_own_keeps_its_environment_elsewhere() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        found = environment_at(child.pid, place_of_environment())

    # Where addresses are not random it is the child's own.
    assert all(b"=" in word for word in found)


def test_string_is_read_to_its_end_and_no_further_than_asked_for() -> None:
    text = ctypes.create_string_buffer(b"a" * 10_000)
    address, pid = ctypes.addressof(text), os.getpid()

    assert string_of(pid, address, 1 << 16) == text.value
    assert string_of(pid, address + 9_999, 1 << 16) == b"a"
    assert 5_000 <= len(string_of(pid, address, 5_000)) < 5_000 + 4096
    assert memory_of(pid, address, 3) == b"aaa"


@pytest.mark.parametrize("place", [0, 8])
def test_place_that_is_none_has_no_environment(place: int) -> None:
    assert environment_at(os.getpid(), place) == []
