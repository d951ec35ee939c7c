"""A child that outlives its test while others run: what it does is its starter's, and no innocent test is red for it."""

from __future__ import annotations

import pytest
from project import MakeProject

from pytest_session_guard._controls.overlay import probe

SUITE = """\
import ctypes, os, subprocess, sys, time
from pathlib import Path

GO, DONE = Path(os.environ["TMPDIR"], "go"), Path(os.environ["TMPDIR"], "done")
LATE = "while [ ! -e $TMPDIR/go ]; do sleep 0.01; done; @ACT@; touch $TMPDIR/done; exec sleep 0.2"

def native_harm():
    libc = ctypes.CDLL(None)
    libc.close(libc.open(os.fsencode(Path.home() / ".chat" / "native"), os.O_CREAT | os.O_WRONLY, 0o600))

def test_starts():
    subprocess.Popen(LATE, shell=True)

def test_starts_a_daemon():
    subprocess.run(["sh", "-c", 'setsid sh -c "$0" > /dev/null 2>&1 &', LATE], check=True)

def fork_a_child(act):
    if os.fork() == 0:
        while not GO.exists():
            time.sleep(0.01)
        act()
        DONE.touch()
        time.sleep(0.2)
        os._exit(0)

def fork_a_daemon(act):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    else:
        os.setsid()
        fork_a_child(act)
        os._exit(0)

INNER = '''
import os, subprocess
def test_inner():
    subprocess.Popen(["sh", "-c", os.environ["LATE"]], start_new_session=True)
'''

def inner_pytest(tmp_path, monkeypatch):
    monkeypatch.setenv("LATE", LATE)
    (tmp_path / "test_in.py").write_text(INNER)
    (tmp_path / "pytest.ini").write_text("[pytest]\\n")
    return [sys.executable, "-m", "pytest", "-p", "no:session-guard", str(tmp_path)]

def test_starts_a_pytest(tmp_path, monkeypatch):
    subprocess.run(inner_pytest(tmp_path, monkeypatch), check=True)

def test_starts_a_pytest_that_stays(tmp_path, monkeypatch):
    words = inner_pytest(tmp_path, monkeypatch)
    words[1:3] = ["-c", "import pytest, sys, time; pytest.main(sys.argv[1:]); time.sleep(2)"]
    inner = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    while " passed" not in inner.stdout.readline():
        pass

def test_forks_a_daemon():
    fork_a_daemon(native_harm)

def test_forks_and_starts():
    fork_a_daemon(native_harm)
    subprocess.run(["true"], check=True)

def test_forks_an_idler():
    if os.fork() == 0:
        time.sleep(4)
        os._exit(0)

def test_waits():
    GO.touch()
    while not DONE.exists():
        time.sleep(0.01)

def test_starts_and_waits():
    subprocess.run(["true"], check=True)
    test_waits()

def test_expects_and_waits(session_guard):
    with session_guard.expect_refusal():
        subprocess.run("ln ~/.chat/state.db $TMPDIR/own", shell=True)
        test_waits()

def test_innocent():
    pass

def test_starts_a_sleeper():
    subprocess.Popen(["sleep", "20"])

def test_pauses():
    time.sleep(0.5)

def test_harms_itself():
    native_harm()

def test_starts_and_harms():
    subprocess.run("echo > ~/.chat/child", shell=True, check=True)
"""
WRITES = "echo late > ~/.chat/notes.txt"
LINKS = "ln ~/.chat/notes.txt $TMPDIR/alias"

pytestmark = pytest.mark.skipif(probe().status == "unavailable", reason="no overlay is to be had here")


@pytest.mark.parametrize("workers", [(), ("-n1",)])
@pytest.mark.parametrize("act", [WRITES, LINKS])
@pytest.mark.parametrize(
    "starter", ["test_starts", "test_starts_a_daemon", "test_starts_a_pytest", "test_starts_a_pytest_that_stays"]
)
def test_what_a_straggler_does_is_charged_to_its_starter(
    make_project: MakeProject, starter: str, act: str, workers: tuple[str, ...]
) -> None:
    project = make_project({"test_it.py": SUITE.replace("@ACT@", act)})

    names = (starter, "test_waits", "test_innocent")
    result = project.run(*(f"test_it.py::{name}" for name in names), *workers)

    assert (result.status, result.changes) == (1, {}), result.words
    (touch,) = [touch for touch in result.touches if touch["path"].endswith("notes.txt")]
    assert (touch["nodeid"], touch["phase"]) == (f"test_it.py::{starter}", "late"), result.words
    # A shell that has only just forked has the words of its parent still.
    assert "$TMPDIR/go" in touch["process"] or "ln " in touch["process"]
    assert "PASSED" in result.said_of("test_waits"), result.words
    assert "PASSED" in result.said_of("test_innocent"), result.words


def test_who_has_made_a_try_is_known_beside_programs_of_the_running_test(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE.replace("@ACT@", LINKS)})

    result = project.run("test_it.py::test_starts", "test_it.py::test_starts_and_waits")

    assert (result.status, result.changes) == (1, {}), result.words
    (touch,) = result.touches
    assert (touch["nodeid"], touch["phase"]) == ("test_it.py::test_starts", "late"), result.words
    assert touch["process"].startswith("ln "), result.words
    assert "PASSED" in result.said_of("test_starts_and_waits"), result.words


def test_what_a_test_expects_of_its_own_programs_forgives_no_straggler(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE.replace("@ACT@", LINKS)})

    result = project.run("test_it.py::test_starts", "test_it.py::test_expects_and_waits")

    assert (result.status, result.changes) == (1, {}), result.words
    (touch,) = result.touches
    assert (touch["nodeid"], touch["path"].rpartition("/")[2]) == ("test_it.py::test_starts", "notes.txt"), result.words
    assert "PASSED" in result.said_of("test_expects_and_waits"), result.words


NATIVE = "native"
OF_THE_SUITE = """\
import sys
from pathlib import Path

def pytest_sessionstart():
    sys.path.insert(0, str(Path(__file__).parent))
    import test_it
    test_it.@FORK@(test_it.native_harm)
"""


@pytest.mark.parametrize("workers", [(), ("-n1",)])
@pytest.mark.parametrize("starter", ["test_forks_a_daemon", "test_forks_and_starts"])
def test_what_a_bare_fork_does_is_charged_to_the_test_that_forked(
    make_project: MakeProject, starter: str, workers: tuple[str, ...]
) -> None:
    project = make_project({"test_it.py": SUITE})

    names = (starter, "test_waits", "test_innocent")
    result = project.run(
        *(f"test_it.py::{name}" for name in names), *workers, "-W", "ignore::DeprecationWarning",
        # A fork has the environment that pytest was given, by somebody's test as well.
        env={"PYTEST_CURRENT_TEST": "outer.py::test_outer (call)"},
    )  # fmt: skip

    assert (result.status, result.changes) == (1, {}), result.words
    (touch,) = [touch for touch in result.touches if touch["path"].endswith(NATIVE)]
    assert (touch["nodeid"], touch["phase"]) == (f"test_it.py::{starter}", "late"), result.words
    assert "PASSED" in result.said_of("test_waits"), result.words


@pytest.mark.parametrize("fork", ["fork_a_child", "fork_a_daemon"])
def test_what_a_fork_of_no_test_does_is_not_charged_to_a_test_that_forked(make_project: MakeProject, fork: str) -> None:
    project = make_project({"test_it.py": SUITE, "conftest.py": OF_THE_SUITE.replace("@FORK@", fork)})

    names = ("test_forks_an_idler", "test_waits")
    result = project.run(*(f"test_it.py::{name}" for name in names), "-W", "ignore::DeprecationWarning")

    assert (result.status, result.changes) == (1, {}), result.words
    (touch,) = [touch for touch in result.touches if touch["path"].endswith(NATIVE)]
    assert touch["nodeid"] != "test_it.py::test_forks_an_idler", result.words


def test_what_nobody_else_can_have_done_is_the_running_tests(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    names = ("test_starts_a_sleeper", "test_pauses", "test_harms_itself", "test_starts_and_harms")
    result = project.run(*(f"test_it.py::{name}" for name in names))

    assert result.status == 1
    charged = {touch["path"].rpartition("/")[2]: touch["nodeid"].rpartition("::")[2] for touch in result.touches}
    assert charged == {"native": "test_harms_itself", "child": "test_starts_and_harms"}, result.words
    assert "FAILED" in result.said_of("test_harms_itself")
