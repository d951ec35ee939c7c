"""Beside other plugins and other ways to run pytest: reruns, subtests, doctests, a limit of failures, runs within runs."""

from __future__ import annotations

import importlib.util
import sys
import time

import pytest
from capabilities import mount_namespace
from project import HOME, MakeProject, Result, lines_of

from pytest_session_guard._core.records import parse_journal

IMPORTS = """\
import contextlib, os, subprocess, sys
from pathlib import Path

import pytest

NOTES = Path.home() / ".chat" / "notes.txt"

def harm():
    with contextlib.suppress(OSError):
        NOTES.unlink()

"""
HARM = IMPORTS + "def test_harm():\n    harm()\n"


def assert_red(result: Result, nodeid: str) -> None:
    """The run is red for one test, and nothing changed."""
    assert result.changes == {}
    assert result.status == 1, result.words
    assert {touch["nodeid"] for touch in result.touches} == {nodeid}, result.words


def test_clock_that_a_test_fakes_is_not_the_guards(make_project: MakeProject) -> None:
    # As freezegun does it: every name in every module that means a clock means another one.
    fakes = (
        "import datetime, time\n\ndef test_frozen(monkeypatch, session_guard):\n"
        "    clocks = {time.time: lambda: 1.0, time.time_ns: lambda: 10**9, time.monotonic: lambda: 1.0}\n"
        "    for module in list(sys.modules.values()):\n"
        "        for name, value in list(getattr(module, '__dict__', {}).items()):\n"
        "            if type(value) is type(time.time) and value in clocks:\n"
        "                monkeypatch.setattr(module, name, clocks[value])\n"
        "    (Path.home() / 'store' / 'made.json').write_text('{}')\n"
        "    harm()\n"
    )
    project = make_project(
        {"test_it.py": IMPORTS + fakes, "pytest.ini": "[pytest]\nsession_guard_share = ~/store\n"},
        {**HOME, "store/real.json": "{}"},
    )
    started = time.time()

    result = project.run()

    assert result.changes.pop("store") == ("modified_ns",)
    assert_red(result, "test_it.py::test_frozen")
    assert [started < touch["time"] < time.time() for touch in result.touches] == [True]
    assert result.report is not None
    assert result.report["artifacts"]["kept"] == []


@pytest.mark.skipif(importlib.util.find_spec("pytest_rerunfailures") is None, reason="pytest-rerunfailures is not here")
def test_rerun_does_not_wash_a_refusal_off(make_project: MakeProject) -> None:
    suite = IMPORTS + (
        "RUNS = []\n\ndef test_flaky():\n    RUNS.append(1)\n    if len(RUNS) == 1:\n        harm()\n        assert False\n"
    )
    project = make_project({"test_it.py": suite})

    # The harness blocks it by its name; this one is about it.
    result = project.run("-p", "pytest_rerunfailures", "--reruns=2")

    assert_red(result, "test_it.py::test_flaky")


needs_timeout = pytest.mark.skipif(
    importlib.util.find_spec("pytest_timeout") is None, reason="pytest-timeout is not here"
)
NATIVE_HARM = IMPORTS + (
    "import time\n\ndef native_harm():\n    subprocess.run(['sh', '-c', f'echo harm >> {NOTES}'])\n\n"
    "STORE = Path(__file__).parents[1] / 'store'\n"
)


@needs_timeout
@pytest.mark.skipif(not mount_namespace(), reason="no overlay here")
def test_violations_of_a_test_that_a_signal_ends_are_its_own(make_project: MakeProject) -> None:
    suite = NATIVE_HARM + (
        "def test_hangs():\n    harm()\n    native_harm()\n    time.sleep(60)\n\ndef test_follows():\n    pass\n"
    )
    project = make_project({"test_it.py": suite})

    result = project.run("-p", "pytest_timeout", "--timeout=2", "--timeout-method=signal")

    assert_red(result, "test_it.py::test_hangs")
    assert result.said_of("test_follows") == {"PASSED"}
    assert sorted(touch["layer"] for touch in result.touches) == ["hook", "overlay"], result.words


@needs_timeout
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["bare", "n2"])
def test_violations_of_a_run_that_a_thread_ends_are_on_disk_and_its_artifacts_go_with_the_next(
    make_project: MakeProject, workers: tuple[str, ...]
) -> None:
    suite = NATIVE_HARM + (
        "def test_hangs():\n    harm()\n    for name in 'ab':\n        (STORE / name).write_text('x')\n"
        "    (STORE / 'a').exists()\n    (STORE / 'c').mkdir()\n    time.sleep(60)\n"
    )
    project = make_project({"test_it.py": suite, "test_fine.py": "def test_fine():\n    pass\n"})
    store = project.base / "store"
    store.mkdir()
    (store / "real").write_text("real")

    result = project.run(
        "-p", "pytest_timeout", "--timeout=2", "--timeout-method=thread", f"--session-guard-share={store}", *workers
    )

    assert result.changes == {}
    assert result.status == 1, result.words
    (run,) = (project.root / ".session_guard" / "runs").iterdir()
    records = [
        record for journal in run.glob("journal-*.jsonl") for record in parse_journal(journal.read_bytes()).records
    ]
    assert {record["nodeid"] for record in records if record["kind"] == "touch"} == {"test_it.py::test_hangs"}
    again = project.run("test_fine.py", f"--session-guard-share={store}")
    assert again.status == 0, again.words
    assert sorted(path.name for path in store.iterdir()) == ["real"], again.words


@pytest.mark.skipif(importlib.util.find_spec("pytest_rerunfailures") is None, reason="pytest-rerunfailures is not here")
@pytest.mark.skipif(not mount_namespace(), reason="no overlay here")
def test_each_rerun_is_charged_with_what_is_new_in_it(make_project: MakeProject) -> None:
    suite = NATIVE_HARM + (
        "RUNS = []\n\ndef test_flaky(session_dir):\n    RUNS.append(1)\n    assert not list(session_dir.iterdir())\n"
        "    (session_dir / 'x').touch()\n    (STORE / f'{len(RUNS)}').touch()\n"
        "    if len(RUNS) < 3:\n        native_harm()\n\ndef test_follows():\n    pass\n"
    )
    project = make_project({"test_it.py": suite})
    (project.base / "store").mkdir()

    result = project.run("-p", "pytest_rerunfailures", "--reruns=3", f"--session-guard-share={project.base / 'store'}")

    assert_red(result, "test_it.py::test_flaky")
    assert len(result.touches) == 2, result.words
    assert result.said_of("test_follows") == {"PASSED"}
    assert list((project.base / "store").iterdir()) == []


@pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="this pytest has no subtests")
def test_refusal_in_a_subtest_fails_its_test(make_project: MakeProject) -> None:
    suite = IMPORTS + "def test_many(subtests):\n    with subtests.test('one'):\n        harm()\n"
    project = make_project({"test_it.py": suite})

    assert_red(project.run(), "test_it.py::test_many")


def test_refusal_in_a_unittest_subtest_fails_its_test(make_project: MakeProject) -> None:
    suite = IMPORTS + (
        "import unittest\n\nclass TestCase(unittest.TestCase):\n    def test_many(self):\n"
        "        with self.subTest('one'):\n            harm()\n"
    )
    project = make_project({"test_it.py": suite})

    assert_red(project.run(), "test_it.py::TestCase::test_many")


def test_refusal_in_a_doctest_fails_it(make_project: MakeProject) -> None:
    module = IMPORTS.replace("import pytest\n", "") + 'def documented():\n    """\n    >>> harm()\n    """\n'
    project = make_project({"app.py": module})

    assert_red(project.run("--doctest-modules"), "app.py::app.documented")


def test_refusal_in_an_item_of_another_kind_fails_it(make_project: MakeProject) -> None:
    conftest = IMPORTS + (
        "class Spec(pytest.Item):\n    def runtest(self):\n        harm()\n\n"
        "class Specs(pytest.File):\n    def collect(self):\n        yield Spec.from_parent(self, name='spec')\n\n"
        "def pytest_collect_file(parent, file_path):\n"
        "    if file_path.suffix == '.spec':\n        return Specs.from_parent(parent, path=file_path)\n"
    )
    project = make_project({"conftest.py": conftest, "one.spec": ""})

    assert_red(project.run(), "one.spec::spec")


def test_refusal_counts_towards_maxfail(make_project: MakeProject) -> None:
    suite = HARM + "\ndef test_never():\n    pass\n"
    project = make_project({"test_it.py": suite})

    result = project.run("-x")

    assert_red(result, "test_it.py::test_harm")
    assert "test_it.py::test_never" not in result.tests


def test_refusal_is_remembered_by_last_failed(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": HARM + "\ndef test_passes():\n    pass\n"})

    project.run()
    again = project.run("--lf")

    assert again.outcomes["failed"] == 1
    assert "passed" not in again.outcomes


def test_refusal_is_a_failure_in_junit_xml(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": HARM})

    project.run(f"--junitxml={project.tmp}/junit.xml")

    xml = (project.tmp / "junit.xml").read_text()
    assert 'failures="1"' in xml
    assert "delete refused: " in xml


def test_collect_only_refuses_and_fails_too(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": IMPORTS + "harm()\n\ndef test_it():\n    pass\n"})

    result = project.run("--collect-only")

    assert_red(result, "")


def test_exit_status_of_an_interrupted_run_stays_its_own(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": IMPORTS + "def test_it():\n    harm()\n    raise KeyboardInterrupt\n"})

    result = project.run()

    assert result.changes == {}
    assert result.status == 2, result.words
    assert lines_of(result.words, "delete refused: ")


def test_pytest_exit_with_status_0_does_not_make_a_violated_run_green(make_project: MakeProject) -> None:
    project = make_project(
        {"test_it.py": IMPORTS + "def test_it():\n    harm()\n    pytest.exit('enough', returncode=0)\n"}
    )

    result = project.run()

    assert result.changes == {}
    assert result.status == 1, result.words


def test_run_without_a_terminal_reporter_is_red_too(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": HARM})

    done = project.call(
        sys.executable, "-m", "pytest", "-p", "no:terminal", "-p", "no:randomly", env={"PYTEST_ADDOPTS": ""}
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert (project.home / ".chat" / "notes.txt").exists()


def test_deselected_tests_and_no_tests_leave_status_5(make_project: MakeProject) -> None:
    result = make_project({"test_it.py": HARM}).run("-k", "nothing_like_it")

    assert result.status == 5
    assert result.touches == []


@pytest.mark.parametrize("capture", ["-s", "--capture=sys", "--capture=tee-sys"])
def test_capture_mode_makes_no_difference(make_project: MakeProject, capture: str) -> None:
    assert_red(make_project({"test_it.py": HARM}).run(capture), "test_it.py::test_harm")


@pytest.mark.parametrize("name", ["logging", "cacheprovider", "faulthandler"])
def test_plugin_of_pytest_that_is_switched_off_is_not_missed(make_project: MakeProject, name: str) -> None:
    assert_red(make_project({"test_it.py": HARM}).run("-p", f"no:{name}"), "test_it.py::test_harm")


def test_warnings_as_errors_find_nothing_of_ours(make_project: MakeProject, workers: tuple[str, ...]) -> None:
    suite = IMPORTS + "def test_it(session_guard, session_dir, tmp_path):\n    (tmp_path / 'x').touch()\n"
    ini = "[pytest]\nfilterwarnings = error\naddopts = --strict-markers --strict-config\n"
    project = make_project({"test_it.py": suite, "pytest.ini": ini})

    result = project.run(*workers, env={"PYTHONWARNINGS": "error::ResourceWarning", "PYTHONDEVMODE": "1"})

    assert (result.status, result.outcomes) == (0, {"passed": 1}), result.words
    assert "Warning" not in result.words


MAIN_TWICE = """\
import contextlib, sys
from pathlib import Path

import pytest

NOTES = Path.home() / ".chat" / "notes.txt"
first = pytest.main(["-q", "-p", "no:randomly", "test_good.py"])
with contextlib.suppress(OSError):
    NOTES.write_text("between")
second = pytest.main(["-q", "-p", "no:randomly", "test_it.py"])
print("statuses", int(first), int(second))
"""


def test_two_sessions_in_one_process_are_both_guarded(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": HARM, "test_good.py": "def test_good():\n    pass\n", "main.py": MAIN_TWICE})

    done = project.call(sys.executable, "main.py")

    assert "statuses 0 1" in done.stdout, done.stdout + done.stderr
    assert (project.home / ".chat" / "notes.txt").read_text() == "notes of a person\n"


PYTESTER = """\
from pathlib import Path

pytest_plugins = ["pytester"]
REAL = Path.home() / ".chat" / "notes.txt"

def test_subprocess(pytester):
    pytester.makepyfile("def test_inner(tmp_path):\\n    (tmp_path / 'x').touch()\\n")
    result = pytester.runpytest_subprocess("-p", "no:randomly")
    result.assert_outcomes(passed=1)

def test_subprocess_with_workers(pytester):
    pytester.makepyfile("def test_inner(tmp_path):\\n    (tmp_path / 'x').touch()\\n")
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-n", "1")
    result.assert_outcomes(passed=1)

def test_in_process(pytester):
    pytester.makepyfile("def test_inner(tmp_path):\\n    (tmp_path / 'x').touch()\\n")
    pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:xdist").assert_outcomes(passed=1)

def test_in_process_with_workers(pytester):
    pytester.makepyfile(test_inner="def test_inner(tmp_path):\\n    (tmp_path / 'x').touch()\\n")
    pytester.runpytest_inprocess("-p", "no:randomly", "-n", "1").assert_outcomes(passed=1)

def test_in_process_with_an_option(pytester):
    pytester.makepyfile("def test_inner(session_guard):\\n    assert session_guard.run_id\\n")
    pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:xdist").assert_outcomes(passed=1)
"""


def test_suites_of_pytest_plugins_run_under_the_guard(make_project: MakeProject, workers: tuple[str, ...]) -> None:
    project = make_project({"test_it.py": PYTESTER})

    result = project.run(*workers)

    assert result.changes == {}
    assert (result.status, result.outcomes) == (0, {"passed": 5}), result.words
    assert result.touches == []


SUBPROCESS_HARM = """\
from pathlib import Path

pytest_plugins = ["pytester"]
REAL = Path.home() / ".chat" / "notes.txt"

def test_outer(pytester):
    pytester.makepyfile(f"def test_inner():\\n    open({str(REAL)!r}, 'w')\\n")
    pytester.runpytest_subprocess("-p", "no:randomly")
"""


def test_harm_in_a_run_of_a_child_process_is_charged_to_the_outer_test(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUBPROCESS_HARM})

    result = project.run()

    assert result.changes == {}
    assert result.status == 1, result.words
    assert "test_it.py::test_outer" in {touch["nodeid"] for touch in result.touches}


ROUGH = """\
import builtins, gc, os, posix, shutil, signal, sys, tempfile, threading, time
from pathlib import Path

import pytest

NOTES = str(Path.home() / ".chat" / "notes.txt")
REAL_OPEN = open

def refused():
    try:
        REAL_OPEN(NOTES, "w")
    except PermissionError:
        return True
    return False

def broken(*args, **kwargs):
    raise RuntimeError("mocked")

@pytest.mark.parametrize("target", [
    "os.lstat", "os.stat", "os.readlink", "os.getcwd", "os.path.realpath", "os.path.abspath", "os.fspath", "os.fsdecode", "os.write",
    "os.getpid", "posix.lstat", "posix.stat", "posix.readlink", "posix.write", "time.time", "time.time_ns", "builtins.isinstance",
    "builtins.len", "builtins.str", "builtins.OSError", "threading.get_ident", "threading.current_thread", "json.dumps", "os.open",
])
def test_mocked(monkeypatch, target):
    import json
    module, _, name = target.rpartition(".")
    module = {"os.path": os.path}.get(module) or sys.modules[module]
    with monkeypatch.context() as patch:
        patch.setattr(module, name, broken)
        try:
            REAL_OPEN(NOTES, "w")
            outcome = "open"
        except BaseException as problem:
            outcome = type(problem).__name__
    assert outcome == "ProtectedPathError"

def test_environment_cleared():
    kept = dict(os.environ)
    os.environ.clear()
    try:
        assert refused()
    finally:
        os.environ.update(kept)

def test_directory_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert refused()
    try:
        REAL_OPEN("new.txt", "w")
    except FileNotFoundError:
        pass

@pytest.mark.parametrize("mask", [0, 0o777])
def test_umask(mask, tmp_path):
    before = os.umask(mask)
    try:
        assert refused()
        REAL_OPEN(f"new-{mask}.txt", "w").close()
    finally:
        os.umask(before)

def test_liar():
    class Liar(str):
        def startswith(self, *a): return False
        def __fspath__(self): return "/tmp/elsewhere"
        def __str__(self): return "/tmp/elsewhere"
    with pytest.raises(PermissionError):
        REAL_OPEN(Liar(NOTES), "w")

def test_path_object_that_changes_its_mind():
    class Fickle:
        def __init__(self): self.asked = 0
        def __fspath__(self):
            self.asked += 1
            return tempfile.gettempdir() + "/x" if self.asked == 1 else NOTES
    import io
    try:
        io.FileIO(Fickle(), "w").close()
    except PermissionError:
        pass

def test_signal_inside():
    def handler(*args):
        assert refused()
    signal.signal(signal.SIGUSR1, handler)
    os.kill(os.getpid(), signal.SIGUSR1)

def test_recursion():
    def deeper():
        try:
            deeper()
        except RecursionError:
            refused()
    deeper()
    assert refused()

def test_many_threads():
    results = []
    threads = [threading.Thread(target=lambda: results.append(refused())) for _ in range(16)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert results == [True] * 16

def test_closed_descriptors_in_a_child():
    pid = os.fork()
    if pid == 0:
        os.closerange(3, 1024)
        os._exit(0 if refused() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def test_descriptors_used_up():
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), hard))
    try:
        assert refused()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

def test_last():
    assert refused()
"""


@pytest.mark.parametrize("layers", ["hook", "auto"])
def test_rough_suite_never_gets_past_the_hook(make_project: MakeProject, layers: str) -> None:
    project = make_project({"test_rough.py": ROUGH})

    result = project.run(f"--session-guard-layers={layers}", "-W", "ignore")

    assert result.changes == {}, result.words
    assert result.status == 1
    assert "AssertionError" not in result.stdout, result.words
    assert "assert refused()" not in result.stdout, result.words
    # At the recursion limit the hook has no room to judge: refused and written down as its own error.
    errors = {touch["nodeid"] for touch in result.touches if touch["layer"] == "guard"}
    assert errors <= {"test_rough.py::test_recursion"}, errors
    assert len({touch["nodeid"] for touch in result.touches}) == result.outcomes["failed"], result.words


MOCKING = """\
import builtins, json, os, shutil, tempfile, time
from pathlib import Path
from unittest import mock

import pytest

@pytest.mark.parametrize("target", [
    "json.dumps", "json.dump", "json.JSONEncoder.encode", "os.open", "os.write", "os.stat", "os.lstat", "os.rename", "os.replace",
    "os.getpid", "os.path.exists", "os.path.isdir", "os.makedirs", "os.listdir", "time.time", "time.monotonic", "time.time_ns",
    "pathlib.Path.exists", "shutil.rmtree", "tempfile.mkdtemp", "threading.current_thread", "zlib.crc32",
])
def test_mocked(target):
    name = target.rpartition(".")[2]
    with mock.patch(target, side_effect=OSError("disk full")):
        file = builtins.open(f"made-{name}.txt", "w")
    file.write("x")
    file.close()
    assert Path(f"made-{name}.txt").read_text() == "x"

def test_object_afterwards(session_guard, session_dir):
    session_guard.write_json(session_dir / "a.json", {})
"""


def test_mocks_of_a_suite_do_not_reach_the_guard(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": MOCKING})

    result = project.run()

    assert (result.status, result.outcomes) == (0, {"passed": 23}), result.words
    assert result.touches == []
    assert result.stderr == ""


AT_THE_LIMIT = """\
import os, sys
from pathlib import Path
NOTES = str(Path.home() / ".chat" / "notes.txt")

def depth():
    frame, count = sys._getframe(), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count

def test_with_ever_more_room():
    usual, here = sys.getrecursionlimit(), depth()
    for room in range(3, 120):
        try:
            sys.setrecursionlimit(here + room)
            os.remove(NOTES)
        except (RecursionError, OSError):
            pass
        finally:
            sys.setrecursionlimit(usual)
"""


def test_calls_at_the_recursion_limit_are_not_let_through_and_not_passed_over(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": AT_THE_LIMIT})

    result = project.run()

    assert result.changes == {}, result.words
    assert "met the recursion or memory limit unjudged" in result.stdout, result.words
    assert result.status == 1, result.words


PICKLES = '''
import concurrent.futures, functools, multiprocessing, os, pickle, sqlite3, pytest

NAMES = """
    open rename replace remove unlink rmdir mkdir mkfifo mknod chmod chown lchown utime chroot setxattr removexattr link symlink
""".split()

@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(os, name)])
def test_function_of_os(name):
    function = getattr(os, name)
    assert pickle.loads(pickle.dumps(function)) is function
    assert function.__name__ == function.__qualname__ == name

def test_connect():
    assert pickle.loads(pickle.dumps(sqlite3.connect)) is sqlite3.connect

def test_spawned_process_gets_them(tmp_path):
    path = tmp_path / "made"
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(os.mkdir, path).result()
        assert path.is_dir()
        pool.submit(os.rename, path, tmp_path / "moved").result()
        pool.submit(os.rmdir, tmp_path / "moved").result()
    assert os.listdir(tmp_path) == []
'''


@pytest.mark.parametrize("layers", ["auto", "hook"])
def test_functions_that_the_guard_wraps_can_be_pickled(make_project: MakeProject, layers: str) -> None:
    project = make_project({"test_it.py": PICKLES})

    result = project.run(f"--session-guard-layers={layers}")

    assert (result.status, result.touches, result.changes) == (0, [], {}), result.words


FAILING_FIXTURES = """
import pytest

@pytest.fixture(scope="module")
def wide():
    raise OSError("setup")

@pytest.fixture
def narrow():
    yield
    raise OSError("teardown")
"""
USES_THEM = "def test_setup(wide):\n    pass\n\ndef test_teardown(narrow):\n    pass\n"
REDIRECTED = "[pytest]\nsession_guard_redirect = env:CHAT_HOME = chat\n"


@pytest.mark.parametrize("ini", [pytest.param("", id="plain"), pytest.param(REDIRECTED, id="redirect")])
def test_fixture_that_fails_is_shown_without_our_frames(make_project: MakeProject, ini: str) -> None:
    # In the test's own file pytest would leave out all that comes before it.
    files = {"conftest.py": FAILING_FIXTURES, "test_it.py": USES_THEM, "pytest.ini": ini}

    result = make_project(files).run()

    assert result.outcomes == {"passed": 1, "error": 2}, result.words
    assert "pytest_session_guard/" not in result.stdout
