"""One root line over a real run of pytest: bare, in workers, shuffled and with reruns."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from project import Project
from redirect_packages.world import PACKAGES

LOOM = {f"loom/{path.name}": path.read_text() for path in sorted((PACKAGES / "loom").glob("*.py"))}
HOME = {".loom/sessions/_index.json": '["a"]\n', ".loom/sessions/a.json": "{}\n", ".loom/log.txt": "a line\n"}
INI = "[pytest]\npythonpath = .\nsession_guard_redirect =\n    ~/.loom = loom\n"

CONFTEST = """
import pytest
from loom import paths
from loom.paths import SESSION_DIR as BY_CONFTEST

@pytest.fixture(scope="session", autouse=True)
def clean_up():
    yield
    # The classic: a session fixture that cleans up in teardown, where no test runs any more.
    for path in BY_CONFTEST.glob("*.json"):
        path.unlink()
    for path in paths.SESSION_DIR.glob("*.json"):
        path.unlink()

def store_into(directory):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "made.json").write_text("made by a test")
    (directory / "a.json").unlink(missing_ok=True)
"""

FORMS = """
import functools, importlib, os, sys
import pytest
from conftest import BY_CONFTEST, store_into
from loom import containers, definitions, paths
from loom.aliases import STORE
from loom.paths import INDEX_FILE, SESSION_DIR

def own(session_guard):
    return os.path.join(session_guard.path, "loom/sessions")

FORMS = {
    "module": lambda: paths.SESSION_DIR,
    "from": lambda: SESSION_DIR,
    "renamed": lambda: STORE,
    "conftest": lambda: BY_CONFTEST,
    "derived": lambda: INDEX_FILE.parent,
    "class": lambda: definitions.Store.directory,
    "default": lambda: definitions.default(),
    "keyword": lambda: definitions.keyword(),
    "dataclass": lambda: definitions.Config().directory,
    "closure": lambda: definitions.closed(),
    "partial": lambda: definitions.partial(),
    "dict": lambda: containers.BY_NAME["sessions"],
    "list": lambda: containers.LIST[1],
    "tuple": lambda: containers.TUPLE[0],
    "late import": lambda: importlib.import_module("late_module").HELD,
    "reload": lambda: importlib.reload(paths).SESSION_DIR,
}

@pytest.mark.parametrize("form", FORMS)
def test_form(form, session_guard):
    directory = FORMS[form]()
    assert os.fspath(directory) == own(session_guard)
    assert not os.path.exists(directory)
    store_into(directory)

def test_own_patch(monkeypatch, tmp_path, session_guard):
    monkeypatch.setattr(paths, "SESSION_DIR", tmp_path)
    assert paths.SESSION_DIR == tmp_path
    monkeypatch.undo()
    assert os.fspath(paths.SESSION_DIR) == own(session_guard)

@pytest.fixture
def patched_first(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "SESSION_DIR", tmp_path)
    return tmp_path

def test_own_patch_by_a_fixture(patched_first, session_guard):
    assert paths.SESSION_DIR == patched_first
"""

LATE_MODULE = "from loom.paths import SESSION_DIR as HELD\n"

FLAKY = """
import os
from loom import paths
runs = []

def test_second_try_has_a_directory_of_its_own(session_guard):
    runs.append(os.fspath(paths.SESSION_DIR))
    assert not os.path.exists(runs[-1])
    os.makedirs(runs[-1])
    assert len(set(runs)) == 2, runs
"""

LATE = """
import atexit, os, threading, time
from loom import paths
over = threading.Event()

def write():
    over.wait(20)
    paths.SESSION_DIR.mkdir(parents=True, exist_ok=True)
    (paths.SESSION_DIR / "late.json").write_text(str(paths.SESSION_DIR))

thread = threading.Thread(target=write, daemon=True)

def test_starts_a_thread():
    thread.start()

def test_after(session_guard):
    pass

@atexit.register
def at_exit():
    (paths.SESSION_DIR.parent).mkdir(parents=True, exist_ok=True)
    (paths.SESSION_DIR.parent / "log.txt").write_text("at exit")
"""


BETWEEN = """
import sys
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    yield
    test_late = sys.modules["test_late"]
    test_late.over.set()
    test_late.thread.join()
    return True
"""


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="bare"),
        pytest.param(("-n", "2"), id="two workers"),
        pytest.param(("-p", "randomly", "-p", "randomly", "-p", "no:cacheprovider"), id="shuffled"),
        pytest.param(("--session-guard-layers=hook",), id="hook alone"),
    ],
)
def test_every_form_follows_one_root_line(make_project: Callable[..., Project], arguments: tuple[str, ...]) -> None:
    project = make_project(
        {**LOOM, "pytest.ini": INI, "conftest.py": CONFTEST, "late_module.py": LATE_MODULE, "test_forms.py": FORMS},
        HOME,
    )

    result = project.run(*arguments)

    assert (result.status, result.outcomes["passed"], "failed" in result.outcomes) == (0, 18, False), result.words
    assert (dict(result.changes), result.touches) == ({}, []), result.words


ACCIDENTS = """
import atexit, functools, glob, importlib, os, sys, threading
from pathlib import Path
import pytest
from chatstore import paths
from chatstore.paths import CHATSTORE_HOME, HISTORY_DIR as LOG, SESSION_DIR

class Cleaner:
    places = [SESSION_DIR, LOG]
    by_name = {"index": paths.SESSION_INDEX_FILE}

def wipe(directory=SESSION_DIR):
    for path in glob.glob(f"{directory}/**", recursive=True):
        if os.path.isfile(path):
            os.remove(path)

wipe_history = functools.partial(wipe, LOG)

def closing(directory):
    return lambda: wipe(directory)

wipe_all = closing(CHATSTORE_HOME)

@pytest.fixture(scope="session", autouse=True)
def clean_up():
    yield
    wipe()
    wipe_all()

@pytest.mark.parametrize("accident", [
    wipe, wipe_history, wipe_all,
    lambda: [wipe(place) for place in Cleaner.places],
    lambda: Cleaner.by_name["index"].unlink(missing_ok=True),
    lambda: paths.STATE_DB.unlink(missing_ok=True),
    lambda: wipe(importlib.reload(paths).SESSION_DIR),
    lambda: wipe(importlib.import_module("late_module").HELD),
    lambda: wipe(os.environ["CHATSTORE_HOME"]),
], ids=["default", "partial", "closure", "list", "dict", "derived", "reload", "late import", "variable"])
def test_accident(accident, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "SESSION_DIR", tmp_path)
    monkeypatch.undo()
    accident()

def test_anew(monkeypatch):
    monkeypatch.delitem(sys.modules, "chatstore.paths")
    wipe(importlib.import_module("chatstore.paths").SESSION_DIR)

def test_late():
    threading.Timer(0.05, wipe_all).start()

atexit.register(wipe_all)
"""

CHATSTORE_HOME = {
    ".chatstore/sessions/a.json": '{"session_id": "a", "messages": []}',
    ".chatstore/sessions/_index.json": '["a"]',
    ".chatstore/history/session_a.jsonl": "{}\n",
    ".chatstore/state.db": "rows",
}


@pytest.mark.parametrize("arguments", [pytest.param((), id="bare"), pytest.param(("-n", "2"), id="two workers")])
def test_example_with_one_root_line_survives_an_accident_of_each_form(
    make_project: Callable[..., Project], request: pytest.FixtureRequest, arguments: tuple[str, ...]
) -> None:
    example = request.config.rootpath / "examples" / "chatstore" / "chatstore"
    sources = {f"chatstore/{path.name}": path.read_text() for path in example.glob("*.py")}
    late = "from chatstore.paths import SESSION_DIR as HELD\n"
    ini = "[pytest]\npythonpath = .\nsession_guard_redirect =\n    ~/.chatstore = chatstore\n"
    project = make_project(
        {**sources, "pytest.ini": ini, "late_module.py": late, "test_it.py": ACCIDENTS}, CHATSTORE_HOME
    )

    result = project.run(*arguments, env={"CHATSTORE_HOME": f"{project.home}/.chatstore"})

    assert (result.status, result.outcomes["passed"], dict(result.changes)) == (0, 11, {}), result.words
    assert result.touches == [], result.words


def test_rerun_gets_a_directory_of_its_own(make_project: Callable[..., Project]) -> None:
    project = make_project({**LOOM, "pytest.ini": INI, "test_flaky.py": FLAKY}, HOME)

    result = project.run("-p", "rerunfailures", "--reruns", "1")

    assert (result.status, result.outcomes.get("passed")) == (0, 1), result.words


def test_late_writers_reach_the_sink_and_are_told(make_project: Callable[..., Project]) -> None:
    project = make_project({**LOOM, "pytest.ini": INI, "conftest.py": BETWEEN, "test_late.py": LATE}, HOME)

    result = project.run()

    assert (result.status, dict(result.changes)) == (0, {}), result.words
    said = result.stdout + result.stderr
    assert "[late-writer]" in said, result.words
    assert f"{project.home}/.loom/sessions/late.json" in said
    assert "in write, in a thread that test_late.py::test_starts_a_thread started" in said


def test_run_with_a_home_of_its_own_keeps_root_lines_private_to_each_test(make_project: Callable[..., Project]) -> None:
    project = make_project(
        {
            **LOOM,
            "pytest.ini": INI + "session_guard_home = redirect\n",
            "test_home.py": "import os\nfrom pathlib import Path\nfrom loom import paths\n"
            "def test_place(session_guard):\n"
            "    assert os.fspath(paths.HOME_DIR) == os.path.join(session_guard.path, 'loom')\n"
            f"    assert os.fspath(Path.home()) != {os.fspath(Path.home())!r}\n",
        },
        HOME,
    )

    result = project.run()

    assert (result.status, dict(result.changes)) == (0, {}), result.words


@pytest.mark.parametrize("arguments", [pytest.param((), id="bare"), pytest.param(("-n", "2"), id="two workers")])
def test_target_that_does_not_exist_stops_the_run_with_one_message(
    make_project: Callable[..., Project], arguments: tuple[str, ...]
) -> None:
    ini = "[pytest]\npythonpath = .\nsession_guard_redirect =\n    loom.paths:NOWHERE = place\n"
    project = make_project({**LOOM, "pytest.ini": ini, "test_a.py": "def test_a(): pass\n"}, HOME)

    result = project.run(*arguments)

    said = result.stdout + result.stderr
    assert result.status != 0, result.words
    assert "names no attribute 'NOWHERE' of loom.paths" in said, result.words
    assert "passed" not in result.outcomes


WIDE = """
import pytest
from loom import paths

@pytest.fixture(scope="session")
def wide():
    yield
    paths.SESSION_DIR.mkdir(parents=True, exist_ok=True)
    print("\\nWIDE", paths.SESSION_DIR)

def test_uses_it(wide, session_guard):
    print("\\nOWN", session_guard.path)
"""


def test_teardown_of_a_session_fixture_finds_the_sink(make_project: Callable[..., Project]) -> None:
    project = make_project({**LOOM, "pytest.ini": INI, "test_wide.py": WIDE}, HOME)

    result = project.run("-s")

    words = result.stdout.split()
    wide, own = (words[words.index(word) + 1] for word in ("WIDE", "OWN"))
    assert "/sink/" in wide, result.words
    assert not wide.startswith(own)
    assert dict(result.changes) == {}
