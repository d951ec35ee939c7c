"""What happens outside any test fails the run: while collecting, in wide fixtures, and after pytest has finished."""

from __future__ import annotations

import pytest
from project import MakeProject, lines_of

IMPORTS = """\
import atexit, contextlib, os, threading, time, weakref
from pathlib import Path

import pytest

NOTES = Path.home() / ".chat" / "notes.txt"

def harm():
    with contextlib.suppress(OSError):
        NOTES.unlink()
"""
PASSING = "def test_passes():\n    pass\n"

SESSION_TEARDOWN = """
@pytest.fixture(scope="session", autouse=True)
def clean_up():
    yield
    harm()
"""
MODULE_TEARDOWN = SESSION_TEARDOWN.replace("session", "module")

OUTSIDE = (
    pytest.param({"conftest.py": IMPORTS + "harm()\n"}, "|collection", "conftest.py", id="conftest_import"),
    pytest.param({"test_it.py": IMPORTS + "harm()\n" + PASSING}, "collection", "test_it.py", id="test_file_import"),
    pytest.param(
        {"conftest.py": IMPORTS + "def pytest_collection_modifyitems(items):\n    harm()\n"},
        "collection",
        "conftest.py",
        id="collection_hook",
    ),
    pytest.param(
        {"conftest.py": IMPORTS + "def pytest_sessionstart(session):\n    harm()\n"},
        "collection|session",
        "conftest.py",
        id="sessionstart",
    ),
    pytest.param(
        {"conftest.py": IMPORTS + "def pytest_sessionfinish(session):\n    harm()\n"},
        "|session",
        "conftest.py",
        id="sessionfinish",
    ),
)


@pytest.mark.parametrize(("files", "phases", "file"), OUTSIDE)
def test_refusal_outside_any_test_fails_a_green_run(
    make_project: MakeProject, workers: tuple[str, ...], files: dict[str, str], phases: str, file: str
) -> None:
    project = make_project({"test_it.py": PASSING, **files})

    result = project.run(*workers)

    assert result.changes == {}
    assert (result.status, result.outcomes) == (1, {"passed": 1}), result.words
    assert {touch["nodeid"] for touch in result.touches} == {""}
    assert {touch["phase"] for touch in result.touches} <= set(phases.split("|"))
    assert {touch["file"] for touch in result.touches} == {f"{project.root}/{file}"}
    assert "delete refused: " in result.stdout


BY_A_CHILD = (
    pytest.param("conftest.py", "def pytest_configure(config):\n    ", id="configure"),
    pytest.param("conftest.py", "def pytest_sessionstart(session):\n    ", id="sessionstart"),
    pytest.param("conftest.py", "def pytest_collection_finish(session):\n    ", id="collection_finish"),
    pytest.param("test_it.py", "", id="import"),
)


@pytest.mark.parametrize(("file", "start"), BY_A_CHILD)
def test_what_a_child_does_before_the_tests_is_not_the_first_tests_but_the_line_that_started_it(
    make_project: MakeProject, workers: tuple[str, ...], file: str, start: str
) -> None:
    body = f"import os\n\n{start}os.system('echo test >> ~/.chat/notes.txt')\n\n"
    project = make_project({"test_it.py": PASSING, file: body + PASSING * (file == "test_it.py")})

    result = project.run(*workers)

    assert result.changes == {}
    if result.report is None or result.report["layers"]["overlay"]["status"] not in ("enforced", "partial"):
        pytest.skip("no overlay is to be had here, so nothing sees what a shell does")
    assert (result.status, result.outcomes) == (1, {"passed": 1}), result.words
    said = {(touch["nodeid"], touch["phase"], touch["file"]) for touch in result.touches}
    assert said == {("", "collection", f"{project.root}/{file}")}, result.words
    assert f"  by: {file}:{body[: body.index('os.system')].count(chr(10)) + 1} in " in result.words


WINDOW = (
    pytest.param("@pytest.hookimpl(trylast=True)\ndef pytest_sessionfinish(session):", id="last_sessionfinish"),
    pytest.param("def pytest_terminal_summary(terminalreporter):", id="terminal_summary"),
    pytest.param("def pytest_unconfigure(config):", id="unconfigure"),
    pytest.param("@pytest.hookimpl(trylast=True)\ndef pytest_unconfigure(config):", id="last_unconfigure"),
)


@pytest.mark.parametrize("hook", WINDOW)
def test_refusal_while_pytest_finishes_fails_the_run_and_says_why(make_project: MakeProject, hook: str) -> None:
    project = make_project({"conftest.py": f"{IMPORTS}{hook}\n    harm()\n", "test_it.py": PASSING})

    result = project.run()

    assert result.changes == {}
    assert (result.status, result.outcomes) == (1, {"passed": 1}), result.words
    assert result.words.count(f"delete refused: '{project.home}/.chat/notes.txt' existed before this run") == 1


@pytest.mark.parametrize(
    ("fixture", "last"),
    [pytest.param(SESSION_TEARDOWN, "test_b.py::test_b", id="session"), pytest.param(MODULE_TEARDOWN, "", id="module")],
)
def test_refusal_in_the_teardown_of_a_wide_fixture_fails_the_last_test_that_used_it(
    make_project: MakeProject, fixture: str, last: str
) -> None:
    project = make_project(
        {
            "conftest.py": IMPORTS + fixture,
            "test_a.py": "def test_a():\n    pass\n",
            "test_b.py": "def test_b():\n    pass\n",
        }
    )

    result = project.run()

    assert result.changes == {}
    assert result.status == 1
    charged = {last} if last else {"test_a.py::test_a", "test_b.py::test_b"}
    assert {(touch["nodeid"], touch["phase"]) for touch in result.touches} == {(name, "teardown") for name in charged}
    assert {nodeid for nodeid, words in result.tests.items() if "ERROR" in words} == charged


def test_refusal_in_the_teardown_of_a_session_fixture_is_red_under_xdist(make_project: MakeProject) -> None:
    project = make_project(
        {"conftest.py": IMPORTS + SESSION_TEARDOWN, "test_a.py": PASSING, "test_b.py": PASSING, "test_c.py": PASSING}
    )

    result = project.run("-n", "2")

    assert result.changes == {}
    assert result.status == 1
    assert len(result.touches) == 2, result.words  # each worker tears its own down
    assert len(lines_of(result.stdout, "delete refused: ")) >= 2


LATE = (
    pytest.param("atexit.register(harm)", "harm", id="atexit"),
    pytest.param(
        "threading._register_atexit(harm)",
        "harm",
        id="threading_atexit",
    ),
    pytest.param("threading.Thread(target=later).start()", "harm", id="thread"),
    pytest.param("threading.Thread(target=later, daemon=True).start(); atexit.register(time.sleep, 0.6)", "harm", id="daemon"),
    pytest.param("global KEPT; KEPT = Harmful()", "__del__", id="del_of_a_global"),
    pytest.param("global KEPT; KEPT = Plain(); weakref.finalize(KEPT, harm)", "harm", id="weakref_finalize"),
    pytest.param("global KEPT; KEPT = Harmful(); KEPT.itself = KEPT; del KEPT", "__del__", id="del_in_a_cycle"),
)  # fmt: skip

LATE_SUITE = (
    IMPORTS
    + """
import gc

class Plain:
    pass

class Harmful:
    # All that it needs is held by itself: at shutdown the module's globals are gone.
    def __del__(self, unlink=os.unlink, path=str(NOTES), refusal=OSError):
        try:
            unlink(path)
        except refusal:
            pass

def later(sleep=time.sleep, harm=harm, main=threading.main_thread()):
    while not FINISHED.exists():
        sleep(0.01)
    sleep(0.15)
    harm()

FINISHED = Path(os.environ["TMPDIR"]) / "finished"

def test_starts_it():
    gc.disable()
    @ACT@
"""
)
MARK_THE_END = """\
import os
from pathlib import Path

import pytest

@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    (Path(os.environ["TMPDIR"]) / "finished").touch()
"""


@pytest.mark.parametrize(("act", "function"), LATE)
def test_refusal_after_pytest_has_finished_makes_the_exit_status_1_and_says_why(
    make_project: MakeProject, act: str, function: str
) -> None:
    project = make_project({"conftest.py": MARK_THE_END, "test_late.py": LATE_SUITE.replace("@ACT@", act)})

    result = project.run()

    assert result.changes == {}
    assert result.outcomes["passed"] == 1
    assert result.status == 1, result.words
    assert f"delete refused: '{project.home}/.chat/notes.txt' existed before this run" in result.stderr
    assert f"in {function}" in result.stderr
    assert "[protected-path]" in result.stderr


@pytest.mark.parametrize(("act", "function"), LATE)
def test_late_operation_does_damage_when_the_guard_is_out(make_project: MakeProject, act: str, function: str) -> None:
    project = make_project({"conftest.py": MARK_THE_END, "test_late.py": LATE_SUITE.replace("@ACT@", act)})

    result = project.run("-p", "no:session_guard", report=False)

    assert result.status == 0, result.words
    assert result.changes[".chat/notes.txt"] == ("vanished",), (result.changes, function)


def test_late_refusal_in_a_worker_fails_the_run(make_project: MakeProject) -> None:
    project = make_project({"test_late.py": LATE_SUITE.replace("@ACT@", "atexit.register(harm)")})

    result = project.run("-n", "2")

    assert result.changes == {}
    assert result.status == 1, result.words
    assert f"delete refused: '{project.home}/.chat/notes.txt'" in result.stdout + result.stderr


def test_late_thread_is_charged_to_the_test_that_started_it(make_project: MakeProject) -> None:
    start = "threading.Thread(target=later_in_run).start()\n"
    suite = LATE_SUITE.replace("@ACT@", start) + (
        "\ndef later_in_run():\n    EVENT.wait(5)\n    harm()\n    DONE.set()\n"
        "\nEVENT, DONE = threading.Event(), threading.Event()\n"
        "\ndef test_innocent():\n    EVENT.set()\n    assert DONE.wait(5)\n"
    )
    project = make_project({"test_late.py": suite})

    result = project.run()

    assert result.status == 1
    assert {touch["nodeid"] for touch in result.touches} == {"test_late.py::test_starts_it"}, result.words
    assert result.said_of("test_innocent") == {"PASSED"}


QUIET = """\
import atexit, logging, logging.handlers, os, shutil, sqlite3, subprocess, sys, tempfile, threading, weakref
from pathlib import Path

import pytest

SCRATCH = tempfile.TemporaryDirectory()
LOG = tempfile.NamedTemporaryFile("w", suffix=".log")
HANDLER = logging.FileHandler(os.path.join(SCRATCH.name, "run.log"), delay=True)
logging.getLogger().addHandler(HANDLER)
LEFT = tempfile.mkdtemp()
atexit.register(shutil.rmtree, LEFT)


class Leaves:
    def __init__(self):
        self.path = tempfile.mkdtemp()

    def __del__(self, rmtree=shutil.rmtree):
        rmtree(self.path, ignore_errors=True)


KEPT = [Leaves() for _ in range(3)]


@pytest.mark.parametrize("number", range(20))
def test_temporary(number, tmp_path, tmp_path_factory):
    logging.getLogger().warning("test %s", number)
    (tmp_path / "a").write_text("a")
    os.rename(tmp_path / "a", tmp_path / "b")
    (tmp_path_factory.mktemp("more") / "c").touch()
    with tempfile.TemporaryFile() as file, tempfile.NamedTemporaryFile() as named, tempfile.SpooledTemporaryFile(1) as spooled:
        file.write(b"x")
        named.write(b"x")
        spooled.write(b"xx")
    with tempfile.TemporaryDirectory() as place:
        database = sqlite3.connect(os.path.join(place, "x.db"))
        database.execute("create table t (x)")
        database.close()
        os.mkfifo(os.path.join(place, "pipe"))
    holder = tempfile.TemporaryDirectory()
    weakref.finalize(holder, Path(holder.name, "gone").exists)
    Path(holder.name, "x").symlink_to("nowhere")


def test_devices():
    with open(os.devnull, "w") as file:
        file.write("x")
    with open("/dev/shm/session-guard-probe" if os.access("/dev/shm", os.W_OK) else os.devnull, "w") as file:
        file.write("x")
    Path("/dev/shm/session-guard-probe").unlink(missing_ok=True)
    subprocess.run([sys.executable, "-c", "import tempfile; tempfile.TemporaryFile().write(b'x')"], check=True)
    with open("/proc/self/comm", "w") as file:
        file.write("quiet")


def test_thread_that_outlives_pytest():
    def work():
        threading.main_thread().join(0.3)
        Path(SCRATCH.name, "late").write_text("x")

    threading.Thread(target=work).start()


def test_reads():
    chat = Path.home() / ".chat"
    assert sorted(path.name for path in chat.rglob("*.json")) == ["_index.json", "a.json"]
    assert (chat / "notes.txt").read_bytes()
    os.close(os.open(chat / "notes.txt", os.O_RDONLY))
    database = sqlite3.connect(f"file:{chat}/state.db?mode=ro", uri=True)
    assert database.execute("select count(*) from talk").fetchone() == (1,)
    database.close()
    database = sqlite3.connect(f"file:{chat}/state.db?immutable=1", uri=True)
    assert database.execute("select count(*) from talk").fetchone() == (1,)
    database.close()
    assert sqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
    os.stat(chat), os.listdir(chat), os.access(chat, os.W_OK)
    shutil.copy2(chat / "notes.txt", SCRATCH.name)
    shutil.copytree(chat, os.path.join(SCRATCH.name, "copy"))
    with pytest.raises(FileNotFoundError):
        os.remove(chat / "not there")
    with pytest.raises(FileExistsError):
        os.mkdir(chat)
    os.makedirs(chat, exist_ok=True)
    chat.mkdir(exist_ok=True)
    with pytest.raises(IsADirectoryError):
        open(chat, "w")


def test_links_to_real_data(tmp_path):
    link = tmp_path / "place" / "link"
    link.parent.mkdir()
    link.symlink_to(Path.home() / ".chat" / "notes.txt")
    os.utime(link, (1, 1), follow_symlinks=False)
    os.lchown(link, -1, os.getgid())
    shutil.copytree(link.parent, tmp_path / "copy", symlinks=True)
    assert link.read_text() == "notes of a person\\n"
    link.rename(tmp_path / "renamed")
    (tmp_path / "renamed").unlink()
    shutil.rmtree(tmp_path / "copy")
"""


def test_clean_suite_prints_its_header_line_and_nothing_more(
    make_project: MakeProject, workers: tuple[str, ...]
) -> None:
    project = make_project({"test_quiet.py": QUIET, "pkg/__init__.py": "", "pkg/test_more.py": PASSING})

    result = project.run(*workers)

    assert result.changes == {}
    assert (result.status, result.outcomes) == (0, {"passed": 25}), result.words
    assert result.touches == []
    assert len(lines_of(result.stdout, "session-guard")) == 1 + len(lines_of(result.stdout, "plugins: ")), result.words
    assert result.stderr == ""
    assert result.report is not None
    assert result.report["verdict"] == "clean"


def test_clean_suite_leaves_its_caches_and_nothing_else_in_the_project(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": PASSING})

    project.run()

    assert {path.name for path in project.root.iterdir()} == {
        "test_it.py", "pytest.ini", "__pycache__", ".pytest_cache", ".session_guard"
    }  # fmt: skip
    assert list((project.root / "__pycache__").glob("test_it*.pyc"))


LATE_ARTIFACTS = {
    "unconfigure": "def pytest_unconfigure(config):\n    make()\n",
    "exit_handler": "import atexit\natexit.register(make)\n",
    "no_session": "def pytest_cmdline_main(config):\n    make()\n    return 0\n",
    "child_of_no_session": (
        "def pytest_cmdline_main(config):\n"
        "    import subprocess, sys\n"
        "    return subprocess.call([sys.executable, '-c', 'from conftest import make; make()'])\n"
    ),
}


@pytest.mark.parametrize("way", LATE_ARTIFACTS)
def test_artifact_that_is_made_after_the_report_or_without_one_goes_too(make_project: MakeProject, way: str) -> None:
    make = (
        "from pathlib import Path\n\n"
        "def make():\n    (Path.home() / 'store' / 'late.json').write_text('{}')\n    print('made')\n\n"
    )
    files = {
        "conftest.py": make + LATE_ARTIFACTS[way],
        "test_it.py": "def test():\n    pass\n",
        "pytest.ini": "[pytest]\nsession_guard_share = ~/store\n",
    }
    project = make_project(files, {"store/real.json": "real\n"})

    result = project.run("-s", report=False)

    assert result.status == 0, result.words
    assert "made" in result.stdout
    assert [path.name for path in (project.home / "store").iterdir()] == ["real.json"]
