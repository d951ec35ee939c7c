"""The end of the process itself, where no launcher holds the status: nothing untold lets it end green."""

from __future__ import annotations

import platform

import pytest
from capabilities import mount_namespace
from project import MakeProject

pytestmark = pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")

IMPORTS = """\
import codecs, ctypes, os, subprocess, sys, threading, time
from pathlib import Path

NOTES = Path.home() / ".chat" / "notes.txt"
libc = ctypes.CDLL(None)

"""
LEAVE_NATIVELY = IMPORTS + "def test_leaves():\n    libc._exit(0)\n"
LEAVE_TRUNCATED = IMPORTS + "def test_leaves():\n    libc._exit(256)\n"
END_THREAD = {"x86_64": "libc.syscall(60, 0)", "aarch64": "libc.syscall(93, 0)"}.get(
    platform.machine(), "libc._exit(0)"
)
END_FIRST_THREAD = IMPORTS + (
    f"def test_leaves():\n    subprocess.run(['rm', NOTES])\n    {END_THREAD}\n\ndef test_is_fine():\n    pass\n"
)
EXEC_NATIVELY = IMPORTS + (
    "def test_leaves():\n    words = (ctypes.c_char_p * 2)(b'true', None)\n    libc.execv(b'/bin/true', words)\n"
)
# The codec registry is emptied after the audit hooks are gone.
LATE = IMPORTS + (
    "class Late:\n"
    "    def __call__(self, name):\n        return None\n"
    "    def __del__(self, unlink=libc.unlink, path=os.fsencode(NOTES)):\n        unlink(path)\n\n"
    "def test_registers():\n    codecs.register(Late())\n"
)


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        pytest.param(LEAVE_NATIVELY, "ended without finishing its session", id="native-exit"),
        pytest.param(LEAVE_TRUNCATED, "ended without finishing its session", id="native-exit-with-a-status-too-large"),
        pytest.param(END_FIRST_THREAD, "ended without finishing its session", id="end-of-the-first-thread"),
        pytest.param(EXEC_NATIVELY, "ended without finishing its session", id="native-exec"),
        pytest.param(LATE, "notes.txt' was removed after the last look", id="late-destructor"),
    ],
)
def test_process_that_would_end_green_is_killed_and_says_why(make_project: MakeProject, suite: str, said: str) -> None:
    result = make_project({"test_it.py": suite}).run()

    assert result.status == -9, result.words
    assert said in result.stderr
    assert result.changes == {}


@pytest.mark.parametrize("status", [0, 3])
def test_worker_whose_first_thread_ends_holds_nobody_up(make_project: MakeProject, status: int) -> None:
    suite = END_FIRST_THREAD.replace(", 0)", f", {status})")
    result = make_project({"test_it.py": suite}).run("-n", "2")

    assert result.status == 1, result.words
    assert "crashed while running 'test_it.py::test_leaves'" in result.stdout
    assert "1 failed, 1 passed" in result.stdout
    assert "notes.txt' was deleted" in result.words
    assert result.changes == {}


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["bare", "n1"])
@pytest.mark.parametrize(
    "body",
    [
        f"    child = os.fork()\n    if child == 0:\n        {END_THREAD}\n    assert os.waitpid(child, 0)[1] == 0\n",
        "    tasks = set(os.listdir('/proc/self/task'))\n"
        f"    thread = threading.Thread(target=lambda: {END_THREAD}, daemon=True)\n    thread.start()\n"
        "    while not set(os.listdir('/proc/self/task')) <= tasks:\n        time.sleep(0.01)\n",
    ],
    ids=["child", "further-thread"],
)
def test_other_thread_that_ends_itself_is_no_end(
    make_project: MakeProject, body: str, workers: tuple[str, ...]
) -> None:
    result = make_project({"test_it.py": IMPORTS + "def test_it():\n" + body}).run(*workers)

    assert result.status == 0, result.words


def test_process_that_is_killed_has_its_untold_changes_named(make_project: MakeProject) -> None:
    suite = IMPORTS + "def test_dies():\n    subprocess.run(['rm', NOTES])\n    os.kill(os.getpid(), 9)\n"
    result = make_project({"test_it.py": suite}).run()

    assert result.status == -9
    assert "pytest ended without finishing its session" in result.stderr
    assert "notes.txt' was removed before that, by a child process or native code" in result.stderr
    assert result.changes == {}


def test_process_that_is_killed_has_named_what_the_hook_refused_it(make_project: MakeProject) -> None:
    suite = (
        IMPORTS + "def test_dies():\n    try:\n        NOTES.unlink()\n    finally:\n        os.kill(os.getpid(), 11)\n"
    )
    result = make_project({"test_it.py": suite}).run()

    assert result.status == -11
    assert "notes.txt' was refused before that, by " in result.stderr
    assert "in test_it.py::test_dies" in result.stderr


def test_red_run_names_what_comes_late_too(make_project: MakeProject) -> None:
    result = make_project({"test_it.py": LATE + "\ndef test_fails():\n    assert 0\n"}).run()

    assert result.status == 1
    assert "notes.txt' was removed after the last look" in result.stderr


@pytest.mark.parametrize("suite", [LEAVE_NATIVELY, EXEC_NATIVELY, LATE])
def test_process_ends_green_when_the_guard_is_out(make_project: MakeProject, suite: str) -> None:
    assert make_project({"test_it.py": suite}).run("-p", "no:session_guard", report=False).status == 0


def test_native_exit_of_a_child_is_its_own_affair(make_project: MakeProject) -> None:
    suite = IMPORTS + (
        "def test_forks():\n    child = os.fork()\n    if child == 0:\n        libc._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n\n"
        "def test_runs():\n    subprocess.run(['true'], check=True)\n"
    )
    result = make_project({"test_it.py": suite}).run()

    assert result.status == 0, result.words


@pytest.mark.parametrize("option", ["--version", "--help", "--collect-only", "--fixtures", "--markers", "-h"])
def test_pytest_that_runs_no_test_ends_as_ever(make_project: MakeProject, option: str) -> None:
    result = make_project({"test_it.py": "def test_it():\n    pass\n"}).run(option, report=False)

    assert result.status == 0, result.words


def test_report_mode_lets_the_process_end(make_project: MakeProject) -> None:
    assert make_project({"test_it.py": LATE}).run("--session-guard=report").status == 0


def test_program_that_runs_pytest_within_itself_ends_as_it_likes(make_project: MakeProject) -> None:
    program = "import os, pytest, sys\nassert pytest.main(['-q', 'test_it.py']) == 0\nos._exit(0)\n"
    project = make_project({"test_it.py": "def test_it():\n    pass\n", "program.py": program})

    done = project.call(project.account.python, "program.py")

    assert done.returncode == 0, done.stdout + done.stderr


def test_workers_end_as_ever(make_project: MakeProject) -> None:
    result = make_project({"test_it.py": "def test_it():\n    pass\n"}).run("-n", "2")

    assert result.status == 0, result.words


@pytest.mark.parametrize("hook", ["trylast=True", "wrapper=True, tryfirst=True"])
def test_status_that_a_conftest_makes_green_at_the_end_is_red_again(make_project: MakeProject, hook: str) -> None:
    body = "yield\n    session.exitstatus = 0" if "wrapper" in hook else "session.exitstatus = 0"
    conftest = f"import pytest\n\n@pytest.hookimpl({hook})\ndef pytest_sessionfinish(session):\n    {body}\n"
    suite = IMPORTS + "def test_removes():\n    subprocess.run(['rm', NOTES])\n"
    project = make_project({"test_it.py": suite, "conftest.py": conftest})

    assert project.run().status == 1
    assert project.run("--session-guard=report").status == 0
    assert project.run("-p", "no:session_guard", report=False).status == 0


@pytest.mark.parametrize("end", ["sys.exit()", "sys.exit(0)", "os._exit(0)"])
def test_conftest_that_ends_the_process_leaves_no_green_run(make_project: MakeProject, end: str) -> None:
    harm = "import os, subprocess, sys\n\nsubprocess.run('rm ~/.chat/notes.txt', shell=True)\n"
    project = make_project({"conftest.py": harm + end + "\n", "test_it.py": "def test_it():\n    pass\n"})

    result = project.run()

    assert result.changes == {}
    assert result.status != 0, result.words
