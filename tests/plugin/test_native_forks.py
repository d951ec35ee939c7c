"""A process that was forked past Python (`libc.fork`, a C extension) outlives its test: what it does is its starter's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from isolated import ordinary_account
from project import MakeProject, Project, Result

from pytest_session_guard._controls.overlay import probe

SUITE = """\
import ctypes, os, subprocess, time
from pathlib import Path
from unittest import mock

import pytest

GO, DONE = Path(os.environ["TMPDIR"], "go"), Path(os.environ["TMPDIR"], "done")
libc = ctypes.CDLL(None)

def harm(name="native"):
    libc.close(libc.open(os.fsencode(Path.home() / ".chat" / name), os.O_CREAT | os.O_WRONLY, 0o600))

def fork_a_child():
    if libc.fork() == 0:
        os.setsid()
        while not GO.exists():
            time.sleep(0.01)
        harm()
        DONE.touch()
        time.sleep(0.5)
        os._exit(0)

def fork_a_daemon():
    child = libc.fork()
    if child:
        os.waitpid(child, 0)
    else:
        os.setsid()
        fork_a_child()
        os._exit(0)

def fork_an_idler(naps=1):
    if libc.fork() == 0:
        for _ in range(naps):
            time.sleep(4 / naps)
        os._exit(0)

@pytest.fixture(scope="session")
def helper():
    fork_a_daemon()

def test_first(helper):
    pass

def test_forks_a_child():
    fork_a_child()

def test_forks_a_daemon():
    fork_a_daemon()

def test_forks_in_an_environment_of_its_own():
    with mock.patch.dict(os.environ, {name: os.environ[name] for name in ("HOME", "TMPDIR")}, clear=True):
        fork_a_daemon()

def test_forks_an_idler():
    fork_an_idler()

def test_forks_a_busy_one():
    fork_an_idler(200)

def test_forks_a_late_one():
    if libc.fork() == 0:
        os.setsid()
        time.sleep(1)
        harm()
        os._exit(0)

def test_starts():
    subprocess.run(["true"], check=True)

def test_waits():
    GO.touch()
    while not DONE.exists():
        time.sleep(0.01)

def test_innocent():
    pass

def test_pauses():
    time.sleep(0.2)

def test_harms_itself():
    harm("own")
"""
OF_THE_SUITE = """\
import sys
from pathlib import Path

def pytest_sessionstart():
    sys.path.insert(0, str(Path(__file__).parent))
    import test_it
    test_it.fork_a_daemon()
"""
NATIVE = "/.chat/native"

pytestmark = pytest.mark.skipif(probe().status == "unavailable", reason="no overlay is to be had here")


@pytest.fixture(params=["us", "ordinary"])
def anybodys(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    """A project of the suite's own user, and one of an ordinary user in a place that it can reach."""
    if request.param == "us":
        yield Project(tmp_path, {"test_it.py": SUITE})
        return
    with ordinary_account() as (ordinary, place):
        yield Project(place, {"test_it.py": SUITE}, account=ordinary)


def run(project: Project, *names: str, start: str = "") -> Result:
    """Some of the suite's tests, in one process, under the launcher or in workers."""
    before = ("-m", "pytest_session_guard", "run", "--", project.account.python) if start == "launcher" else ()
    workers = ("-n2", "--dist=loadfile") if start == "workers" else ()
    return project.run(
        *(f"test_it.py::{name}" for name in names), *workers, "-W", "ignore::DeprecationWarning",
        # A fork has the environment that pytest was given, by somebody's test as well.
        env={"PYTEST_CURRENT_TEST": "outer.py::test_outer (call)"}, program=(*before, "-m", "pytest"),
    )  # fmt: skip


def charged(result: Result, name: str = NATIVE) -> tuple[str, str]:
    """The test and phase that the one touch of a file is charged to."""
    (touch,) = [touch for touch in result.touches if touch["path"].endswith(name)]
    return touch["nodeid"].rpartition("::")[2], touch["phase"]


@pytest.mark.parametrize("start", ["alone", "launcher", "workers"])
@pytest.mark.parametrize("starter", ["test_forks_a_child", "test_forks_a_daemon"])
def test_what_a_native_fork_does_is_charged_to_the_test_that_forked(
    anybodys: Project, starter: str, start: str
) -> None:
    result = run(anybodys, starter, "test_waits", "test_innocent", start=start)

    assert (result.status, result.changes) == (1, {}), result.words
    assert charged(result) == (starter, "late"), result.words
    assert "PASSED" in result.said_of("test_waits"), result.words
    assert "PASSED" in result.said_of("test_innocent"), result.words


@pytest.mark.parametrize("start", ["alone", "launcher", "workers"])
def test_what_a_native_fork_does_after_the_end_is_charged_to_the_test_that_forked(
    make_project: MakeProject, start: str
) -> None:
    project = make_project({"test_it.py": SUITE})

    result = run(project, "test_forks_an_idler", "test_forks_a_late_one", "test_innocent", start=start)

    assert (result.status, result.changes) == (1, {}), result.words
    (touch,) = result.touches
    assert "test_forks_a_late_one" in touch["reason"], result.words


@pytest.mark.parametrize("between", ["test_innocent", "test_starts", "test_forks_an_idler"])
def test_what_came_between_is_not_taken_for_the_starter(make_project: MakeProject, between: str) -> None:
    project = make_project({"test_it.py": SUITE})

    result = run(project, "test_forks_a_daemon", between, "test_pauses", "test_waits")

    assert charged(result) == ("test_forks_a_daemon", "late"), result.words


def test_where_native_forks_of_two_tests_may_have_done_it_both_are_named(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    result = run(project, "test_forks_a_daemon", "test_forks_a_busy_one", "test_waits")

    assert charged(result)[0] == "test_waits", result.words
    (touch,) = result.touches
    assert touch["process"].startswith("one of: "), result.words
    for name in ("test_forks_a_daemon", "test_forks_a_busy_one"):
        assert f"(started by test_it.py::{name})" in touch["process"], result.words


def test_native_fork_of_a_fixture_is_charged_to_the_test_that_set_it_up(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    result = run(project, "test_first", "test_waits")

    assert charged(result) == ("test_first", "late"), result.words


@pytest.mark.parametrize("before", [(), ("test_starts", "test_forks_a_busy_one")])
def test_native_fork_of_no_test_is_charged_to_no_test_that_started_anything(
    make_project: MakeProject, before: tuple[str, ...]
) -> None:
    project = make_project({"test_it.py": SUITE, "conftest.py": OF_THE_SUITE})

    result = run(project, *before, "test_waits")

    assert charged(result)[0] == "test_waits", result.words


def test_native_fork_that_does_not_tell_its_test_is_nobody_elses(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    result = run(project, "test_forks_in_an_environment_of_its_own", "test_innocent", "test_waits")

    assert charged(result)[0] == "test_waits", result.words


@pytest.mark.parametrize("known_by", [(), ("test_starts",)])
def test_what_an_idle_fork_cannot_have_done_is_the_running_tests(
    make_project: MakeProject, known_by: tuple[str, ...]
) -> None:
    project = make_project({"test_it.py": SUITE})

    result = run(project, "test_forks_an_idler", *known_by, "test_pauses", "test_harms_itself")

    assert charged(result, "/.chat/own") == ("test_harms_itself", "call"), result.words
    assert "FAILED" in result.said_of("test_harms_itself")
