"""What a run leaves running is waited for at its end, within a limit; what it does until then is reported."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import HOME, MakeProject, Project, Result

from pytest_session_guard._core.records import Span
from pytest_session_guard._run.leftovers import Leftovers

# The child acts once pytest has finished, so that no load of the machine lets it act earlier.
SCRIPT = 'n=0; while [ ! -e "$TMPDIR/finished" ] && [ $n -lt 800 ]; do sleep 0.05; n=$((n+1)); done; sleep 0.2; '
MARK_THE_END = """\
import os
from pathlib import Path

import pytest

@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        (Path(os.environ["TMPDIR"]) / "finished").touch()
"""
IMPORTS = f"import multiprocessing, os, subprocess, sys, time\nfrom pathlib import Path\n\nWAIT = {SCRIPT!r}\n\n"
REMOVE = "rm ~/.chat/notes.txt"
FORGETFUL = "n=~/.chat/notes.txt; env -i sh -c 'sleep 0.3; rm $0; sleep 0.3' $n; true"
PYTHON = (
    "import os, pathlib, sys, time\n"
    "while not os.path.exists(os.environ['TMPDIR'] + '/finished'): time.sleep(0.02)\n"
    "time.sleep(0.2); (pathlib.Path.home() / '.chat/notes.txt').unlink()"
)
WAYS = (
    pytest.param(f"subprocess.Popen(['sh', '-c', WAIT + {REMOVE!r}])", id="shell"),
    pytest.param(f"subprocess.Popen(['sh', '-c', WAIT + {REMOVE!r}], start_new_session=True)", id="session_of_its_own"),
    pytest.param(f"subprocess.run(['sh', '-c', '(' + WAIT + {REMOVE!r} + ') > /dev/null 2>&1 &'])", id="orphan"),
    pytest.param(f"subprocess.Popen(['sh', '-c', WAIT + {FORGETFUL!r}])", id="child_without_environment"),
    pytest.param(f"subprocess.Popen([sys.executable, '-c', {PYTHON!r}], stderr=subprocess.DEVNULL)", id="python"),
    pytest.param("daemon()", id="double_fork"),
)
DAEMON = f"""
def daemon():
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            while not os.path.exists(os.environ["TMPDIR"] + "/finished"):
                time.sleep(0.02)
            time.sleep(0.2)
            os.execv("/bin/sh", ["sh", "-c", {REMOVE!r}])
        os._exit(0)
    os.waitpid(child, 0)
"""


def suite(act: str) -> dict[str, str]:
    return {
        "conftest.py": MARK_THE_END,
        "test_it.py": f"{IMPORTS}{DAEMON}\ndef test_starts():\n    {act}\n\ndef test_other():\n    pass\n",
    }


def assert_overlay(result: Result) -> None:
    assert result.report is not None, result.words
    if result.report["layers"]["overlay"]["status"] not in ("enforced", "partial"):
        pytest.skip("no overlay is to be had here, so nothing sees what a shell does")


@pytest.mark.parametrize("act", WAYS)
def test_child_that_outlives_pytest_makes_the_run_red_and_its_starter_is_named(
    make_project: MakeProject, workers: tuple[str, ...], act: str
) -> None:
    project = make_project(suite(act))

    result = project.run(*workers, "-W", "ignore::DeprecationWarning")

    assert_overlay(result)
    assert result.changes == {}, result.words
    assert (result.status, result.outcomes) == (1, {"passed": 2}), result.words
    assert {(touch["nodeid"], touch["path"]) for touch in result.touches} == {
        ("test_it.py::test_starts", f"{project.home}/.chat/notes.txt")
    }, result.words
    assert result.report is not None
    assert result.report["verdict"] == "violated"
    assert "1 violation after pytest had finished" in result.stderr
    assert "still running" not in result.words


@pytest.mark.parametrize("act", WAYS)
def test_child_that_outlives_pytest_does_damage_when_the_guard_is_out(make_project: MakeProject, act: str) -> None:
    project = make_project(suite(act))

    result = project.run("-p", "no:session_guard", "-W", "ignore::DeprecationWarning", report=False)

    assert result.status == 0, result.words
    deadline = time.monotonic() + 30
    while (project.home / ".chat" / "notes.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not (project.home / ".chat" / "notes.txt").exists()


def test_report_mode_tells_what_a_leftover_did_and_stays_green(make_project: MakeProject) -> None:
    project = make_project(suite(f"subprocess.Popen(['sh', '-c', WAIT + {REMOVE!r}])"))

    result = project.run("--session-guard=report")

    assert_overlay(result)
    assert (result.status, result.changes) == (0, {}), result.words
    assert [touch["operation"] for touch in result.touches] == ["removed"]
    assert "sh -c" in result.touches[0]["reason"]
    assert "(started by test_it.py::test_starts)" in result.touches[0]["reason"]


def test_two_starters_are_both_named_and_neither_is_charged(make_project: MakeProject) -> None:
    files = suite(f"subprocess.Popen(['sh', '-c', WAIT + {REMOVE!r}])")
    files["test_more.py"] = IMPORTS + "def test_more():\n    subprocess.Popen(['sh', '-c', WAIT + 'true'])\n"
    project = make_project(files)

    result = project.run()

    assert_overlay(result)
    assert result.status == 1, result.words
    (touch,) = result.touches
    assert touch["nodeid"] == ""
    assert "(started by test_it.py::test_starts)" in touch["reason"]
    assert "(started by test_more.py::test_more)" in touch["reason"]


SHORT = "import pytest_session_guard._run.aftermath as aftermath\n\naftermath.WAIT_S = 0.3\n"
IDLE = "import subprocess\n\ndef test_it():\n    subprocess.Popen(['sleep', '40'], start_new_session=True)\n"


def end_survivor(said: str) -> None:
    """End the process that a run has named as its leftover."""
    (pid,) = re.findall(r"still running when the wait was over: (\d+) sleep 40", said)
    os.kill(int(pid), signal.SIGKILL)


def test_daemon_that_does_no_harm_is_named_and_stays_green(make_project: MakeProject, workers: tuple[str, ...]) -> None:
    project = make_project({"conftest.py": SHORT, "test_it.py": IDLE})

    result = project.run(*workers)

    end_survivor(result.stderr)
    assert (result.status, result.touches) == (0, []), result.words
    assert result.report is not None
    assert result.report["verdict"] == "clean"
    assert [note for note in result.report["notes"] if "sleep 40 (started by test_it.py::test_it)" in note]


def test_without_an_overlay_children_are_told_by_the_run_they_belong_to(make_project: MakeProject) -> None:
    files = suite(f"subprocess.Popen([sys.executable, '-c', {PYTHON!r}], stderr=subprocess.DEVNULL)")
    files["test_more.py"] = "import os\n\ndef test_more():\n    os.system('sleep 40 > /dev/null 2>&1 &')\n"
    files["conftest.py"] += SHORT.replace("0.3", "3")
    project = make_project(files)

    result = project.run("--session-guard-layers=hook")

    end_survivor(result.stderr)
    assert (result.status, result.changes) == (1, {}), result.words
    assert {(touch["nodeid"], touch["outcome"]) for touch in result.touches} == {("test_it.py::test_starts", "refused")}
    assert "sleep 40 (started by test_more.py::test_more)" in result.stderr


# A sign in place of each nap: whether the run waited at all.
COUNT_NAPS = """\
import os, time
from pathlib import Path

import pytest_session_guard._run.leftovers as leftovers

def nap(seconds, sleep=time.sleep, sign=Path(os.environ["TMPDIR"]) / "waits"):
    sign.touch()
    sleep(seconds)

leftovers._sleep = nap
"""
INNOCENT = (
    pytest.param("pass", id="nothing"),
    pytest.param("subprocess.run(['true'])", id="child_that_ended"),
    pytest.param("subprocess.Popen(['cat'], stdin=subprocess.PIPE)", id="filter_at_our_pipe"),
    pytest.param("from multiprocessing import resource_tracker; resource_tracker.ensure_running()", id="tracker"),
    pytest.param("from multiprocessing import forkserver; forkserver.ensure_running()", id="fork_server"),
    pytest.param("multiprocessing.get_context('spawn').Pool(1).apply(os.getpid)", id="pool_left_open"),
)


@pytest.mark.parametrize("act", INNOCENT)
def test_run_with_nothing_at_work_at_its_end_does_not_wait(make_project: MakeProject, act: str) -> None:
    project = make_project({"conftest.py": COUNT_NAPS, "test_it.py": f"{IMPORTS}def test_it():\n    {act}\n"})

    result = project.run("-W", "ignore")

    assert (result.status, result.touches) == (0, []), result.words
    assert not (project.tmp / "waits").exists()
    assert "still running" not in result.words


def test_run_with_something_at_work_does_wait(make_project: MakeProject) -> None:
    act = "subprocess.Popen(['sleep', '1.5'])"
    project = make_project({"conftest.py": COUNT_NAPS, "test_it.py": f"{IMPORTS}def test_it():\n    {act}\n"})

    assert project.run().status == 0
    assert (project.tmp / "waits").exists()


def test_ctrl_c_ends_the_wait(make_project: MakeProject) -> None:
    long = COUNT_NAPS + SHORT.replace("0.3", "60")
    project = make_project({"conftest.py": long, "test_it.py": IDLE})
    process = start(project)
    try:
        wait_for(project.tmp / "waits")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()

    end_survivor(said)
    assert process.returncode == 0
    assert "Traceback" not in said


def test_run_that_was_interrupted_waits_for_nobody(make_project: MakeProject) -> None:
    files = {"conftest.py": COUNT_NAPS, "test_it.py": IDLE + "    raise KeyboardInterrupt\n"}
    project = make_project(files)

    result = project.run()

    end_survivor(result.stderr)
    assert result.status == 2, result.words
    assert not (project.tmp / "waits").exists()


def start(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly"],
        cwd=project.root, env=project.environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)


def test_what_a_worker_has_expected_is_no_news_at_the_end_however_much_it_is(make_project: MakeProject) -> None:
    script = "for n in $(seq 250); do echo x > ~/.chat/new-$n; done"
    act = f"with session_guard.expect_refusal():\n        subprocess.run(['sh', '-c', {script!r}], check=True)"
    project = make_project({"test_it.py": f"{IMPORTS}def test_it(session_guard):\n    {act}\n"}, HOME)

    result = project.run("-n", "1")

    assert_overlay(result)
    assert (result.status, result.touches, result.changes) == (0, [], {}), result.words


class Listed(Leftovers):
    """As if these had been there a moment ago."""

    def _pids(self) -> Iterator[int]:
        return iter(self.pids)

    pids: tuple[int, ...] = ()


def test_process_that_ends_while_it_is_looked_at_leaves_the_starter_known() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    named = {**os.environ, "PYTEST_CURRENT_TEST": "test_it.py::test_starts (call)"}
    with subprocess.Popen(["sleep", "30"], env=named) as alive:
        leftovers = Listed("a run")
        leftovers.pids = (alive.pid, ended.pid)
        deadline = time.monotonic() + 30
        while not leftovers.met and time.monotonic() < deadline:
            leftovers.look()  # until the program has begun, and has its environment
        alive.kill()

    assert leftovers.starter == Span("test_it.py::test_starts", "late")
    assert list(leftovers.met) == [alive.pid]
