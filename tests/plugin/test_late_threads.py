"""A thread outlives its test and starts a program: what that does is the starter's, and the running test's own stay its own."""

from __future__ import annotations

import pytest
from project import MakeProject, Result

from pytest_session_guard._controls.overlay import probe

SUITE = """\
import subprocess, threading

GO, DONE = threading.Event(), threading.Event()

def start(command):
    GO.wait()
    subprocess.run(command, shell=True)
    DONE.set()

def test_starts_a_thread():
    threading.Thread(target=start, args=("echo late > ~/.chat/notes.txt",)).start()

def test_starts_an_innocent_thread():
    threading.Thread(target=start, args=("true",)).start()

def test_waits():
    GO.set()
    DONE.wait()

def test_harms():
    subprocess.run("echo own > ~/.chat/notes.txt", shell=True)
    test_waits()

def test_innocent():
    pass
"""

pytestmark = pytest.mark.skipif(probe().status == "unavailable", reason="no overlay is to be had here")


def run(make_project: MakeProject, *names: str) -> Result:
    return make_project({"test_it.py": SUITE}).run(*(f"test_it.py::{name}" for name in (*names, "test_innocent")))


def test_program_of_a_late_thread_is_charged_to_the_test_that_started_the_thread(make_project: MakeProject) -> None:
    result = run(make_project, "test_starts_a_thread", "test_waits")

    assert (result.status, result.changes) == (1, {}), result.words
    (touch,) = result.touches
    assert (touch["nodeid"], touch["phase"]) == ("test_it.py::test_starts_a_thread", "late"), result.words
    assert "echo late" in touch["process"], result.words
    assert "PASSED" in result.said_of("test_waits"), result.words
    assert "PASSED" in result.said_of("test_innocent"), result.words


@pytest.mark.parametrize("starter", ["test_starts_a_thread", "test_starts_an_innocent_thread"])
def test_programs_of_the_running_test_are_named_beside_a_late_threads(make_project: MakeProject, starter: str) -> None:
    result = run(make_project, starter, "test_harms")

    assert (result.status, result.changes) == (1, {}), result.words
    (touch,) = result.touches
    assert (touch["nodeid"], touch["phase"]) == ("test_it.py::test_harms", "call"), result.words
    assert "echo own" in touch["process"], result.words
    assert touch["function"] == "test_harms", result.words
