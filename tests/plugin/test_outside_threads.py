"""Threads of root's process that ran before the guard: they stand outside of the walls, and what they do is real."""

from __future__ import annotations

import os

import pytest
from project import MakeProject

from pytest_session_guard._controls.overlay import probe

pytestmark = [
    pytest.mark.skipif(probe().status == "unavailable", reason="no overlay to be had here"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root enters while other threads run"),
]

PROGRAM = """\
import queue, sys, threading
import pytest

ASKED, ANSWERED = queue.Queue(), queue.Queue()

def answer():
    while True:
        act = ASKED.get()
        try:
            act()
        except OSError as problem:
            ANSWERED.put(type(problem).__name__)
        else:
            ANSWERED.put("done")

def outside(act):
    ASKED.put(act)
    return ANSWERED.get()

sys.modules["program"] = sys.modules["__main__"]
threading.Thread(target=answer, daemon=True).start()
sys.exit(pytest.main(["-s", *sys.argv[1:]]))
"""
SUITE = """\
import os
from pathlib import Path
from program import outside

def test_it(tmp_path):
    chat = Path.home() / ".chat"
    notes = chat / "notes.txt"
    print("answer:", outside(lambda: {}))
"""
ACTS = (
    pytest.param("notes.write_text('gone')", {"notes.txt"}, id="write"),
    pytest.param("notes.unlink()", {"notes.txt"}, id="unlink"),
    pytest.param("os.rename(notes, notes.with_name('other'))", {"notes.txt", "other"}, id="rename"),
    pytest.param("os.link(notes, tmp_path / 'link')", {"notes.txt"}, id="link"),
    pytest.param("notes.with_name('new').touch()", {"new"}, id="create"),
)


@pytest.mark.parametrize("mode", ["report", "enforce"])
@pytest.mark.parametrize(("act", "names"), ACTS)
def test_what_such_a_thread_would_really_do_is_refused_in_every_mode(
    make_project: MakeProject, act: str, names: set[str], mode: str
) -> None:
    project = make_project({"test_it.py": SUITE.format(act), "program.py": PROGRAM})

    result = project.run(f"--session-guard={mode}", program=("program.py",))

    assert result.changes == {}, result.words
    assert "overlay partial" in result.stdout, result.words
    assert "answer: ProtectedPathError" in result.stdout, result.words
    assert {touch["outcome"] for touch in result.touches} == {"refused"}
    assert {touch["path"].rpartition("/")[2] for touch in result.touches} <= names
    assert result.status == (mode == "enforce"), result.words


@pytest.mark.parametrize(("act", "names"), ACTS[:2])
def test_it_would_happen_where_the_hook_is_out(make_project: MakeProject, act: str, names: set[str]) -> None:
    project = make_project({"test_it.py": SUITE.format(act), "program.py": PROGRAM})

    result = project.run("-p", "no:session_guard", program=("program.py",), report=False)

    assert {name.rpartition("/")[2] for name in result.changes} >= names, result.words


def test_what_such_a_thread_does_in_the_workspace_is_recorded_as_any_other(make_project: MakeProject) -> None:
    suite = SUITE.format("Path('made.txt').write_text('x')")
    project = make_project({"test_it.py": suite, "program.py": PROGRAM})

    result = project.run("--session-guard=report", program=("program.py",))

    assert (result.status, result.touches) == (0, []), result.words
    assert "answer: done" in result.stdout
