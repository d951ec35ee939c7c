"""Redirects through the plugin: private places in each test, a sink between tests, and never the real path again."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from project import HOME, MakeProject, Project, Result

INI = """\
[pytest]
pythonpath = .
session_guard_redirect =
    app.models:SESSION_DIR        = sessions
    app.models:SESSION_INDEX_FILE = sessions/_index.json
    app.models:TEXT_DIR           = texts
    env:CHAT_HOME                 = home
session_guard_reset =
    app.models:SESSIONS
    app.models:ORDER
    app.models:COUNT
    app.models:read_title
    app.models:forget_all
"""
APP = """\
import json, os
from functools import lru_cache
from pathlib import Path

CHAT = Path.home() / ".chat"
SESSION_DIR = CHAT / "sessions"
SESSION_INDEX_FILE = SESSION_DIR / "_index.json"
TEXT_DIR = str(CHAT / "texts")
SESSIONS = {"at": "import"}
ORDER = ["at import"]
COUNT = 1
FORGOTTEN = 0

def save(name, payload):
    SESSION_DIR.mkdir(parents=True, exist_ok=True)
    (SESSION_DIR / f"{name}.json").write_text(json.dumps(payload))
    SESSION_INDEX_FILE.write_text(json.dumps([name]))
    SESSIONS[name] = payload
    ORDER.append(name)

@lru_cache
def read_title(name):
    return json.loads((SESSION_DIR / f"{name}.json").read_text())["title"]

def forget_all():
    global FORGOTTEN
    FORGOTTEN += 1
"""
CONFTEST = """\
import os
from app import models

# Set before conftests are imported: what an app reads at import is redirected already.
AT_IMPORT = os.environ["CHAT_HOME"]
"""
SUITE = """\
import os, threading, time
from pathlib import Path

import conftest
import pytest
from app import models

def real_places():
    # Not a constant: one of the same value would be sent elsewhere along with the app's.
    return {Path.home() / ".chat", Path.home() / ".chat" / "sessions"}


SEEN = []
STOP = threading.Event()


@pytest.fixture(scope="session", autouse=True)
def late_writer():
    # An application's autosave: it goes on between tests and after the last.
    def save():
        while not STOP.wait(0.01):
            Path(models.SESSION_DIR).mkdir(parents=True, exist_ok=True)
            (models.SESSION_DIR / "autosave.json").write_text("{}")

    thread = threading.Thread(target=save)
    thread.start()
    yield
    STOP.set()
    thread.join()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_has_places_of_its_own(session_guard, session_dir, session_index, number):
    assert models.SESSION_DIR == session_dir
    assert models.SESSION_INDEX_FILE == session_index
    assert isinstance(models.SESSION_DIR, Path)
    assert models.TEXT_DIR == str(session_guard.path / "texts")
    assert isinstance(models.TEXT_DIR, str)
    assert os.environ["CHAT_HOME"] == str(session_guard.path / "home")
    assert models.SESSION_DIR not in SEEN
    SEEN.append(models.SESSION_DIR)
    assert not session_index.exists()
    models.save(f"s{number}", {"title": f"title {number}"})
    assert session_index.read_text() == f'["s{number}"]'


@pytest.mark.parametrize("number", [1, 2])
def test_state_is_reset(number):
    assert models.SESSIONS == {}
    assert models.ORDER == []
    assert models.COUNT == 1
    assert models.FORGOTTEN > 0
    assert models.read_title.cache_info().currsize == 0
    models.save("same", {"title": f"title {number}"})
    assert models.read_title("same") == f"title {number}"
    models.COUNT = 5


def test_without_any_fixture():
    models.save("bare", {"title": "x"})
    assert real_places().isdisjoint([models.SESSION_DIR, *models.SESSION_DIR.parents])
    assert (models.SESSION_DIR / "bare.json").exists()


def test_containers_keep_their_identity():
    from app.models import SESSIONS
    models.save("x", {})
    assert SESSIONS is models.SESSIONS
    assert list(SESSIONS) == ["x"]


def test_environment_was_set_before_the_conftest():
    assert conftest.AT_IMPORT
    assert real_places().isdisjoint(Path(conftest.AT_IMPORT).parents)


def test_by_hand(session_guard):
    session_guard.redirect("app.models:CHAT", "by-hand")
    assert models.CHAT == session_guard.path / "by-hand"


def test_by_hand_is_over():
    assert real_places().isdisjoint([models.CHAT, *models.CHAT.parents])


@pytest.fixture(scope="session")
def wide():
    yield
    models.save("from-a-session-teardown", {})


def test_uses_wide(wide):
    pass


@pytest.fixture
def tidy():
    yield
    for path in models.SESSION_DIR.glob("*.json"):
        path.unlink()


def test_tidies(tidy):
    models.save("tidied", {})
"""
NAMES = (
    "test_each_has_places_of_its_own[1]", "test_each_has_places_of_its_own[2]", "test_each_has_places_of_its_own[3]",
    "test_state_is_reset[1]", "test_state_is_reset[2]", "test_without_any_fixture", "test_containers_keep_their_identity",
    "test_environment_was_set_before_the_conftest", "test_by_hand", "test_by_hand_is_over", "test_uses_wide", "test_tidies",
)  # fmt: skip
FILES = {"pytest.ini": INI, "app/__init__.py": "", "app/models.py": APP, "conftest.py": CONFTEST, "test_app.py": SUITE}


@dataclass(frozen=True)
class Ran:
    project: Project
    result: Result


@pytest.fixture(scope="module")
def ran(make_shared_project: MakeProject, workers: tuple[str, ...]) -> Ran:
    """The suite once for each way of running it; one module stays in one worker."""
    project = make_shared_project(FILES, {**HOME, ".chat/texts/a.txt": "a real text\n"})
    return Ran(project, project.run(*workers, *(("--dist", "loadfile") if workers else ())))


@pytest.mark.parametrize("name", NAMES)
def test_redirected_suite_passes(ran: Ran, name: str) -> None:
    assert ran.result.said_of(name) == {"PASSED"}, ran.result.words


def test_redirected_suite_is_green_and_touches_nothing_real(ran: Ran) -> None:
    assert ran.result.changes == {}
    assert ran.result.touches == []
    assert ran.result.status == 0, ran.result.words


def test_same_suite_without_the_redirects_is_refused(make_project: MakeProject) -> None:
    project = make_project({**FILES, "pytest.ini": "[pytest]\npythonpath = .\n"})

    result = project.run("-k", "without_any_fixture or containers", env={"CHAT_HOME": "/nowhere"})

    assert result.changes == {}
    assert result.status == 1
    # The first test may have failed in its setup already: by the application's own thread.
    assert f"{project.home}/.chat/sessions/x.json" in {touch["path"] for touch in result.touches}


AT_EXIT = """\
import atexit
from app import models

def test_saves():
    models.save("in-test", {})

@atexit.register
def save_state():
    models.save("at-exit", {})
"""


def test_exit_handler_writes_to_the_sink_and_not_to_the_real_store(make_project: MakeProject) -> None:
    project = make_project({**FILES, "test_app.py": AT_EXIT})

    result = project.run()

    assert result.changes == {}
    assert result.status == 0, result.words


def test_conftest_may_declare_redirects(make_project: MakeProject) -> None:
    declaring = """\
def pytest_session_guard_redirects(config):
    return ["app.models:SESSION_DIR = declared", "app.models:SESSION_INDEX_FILE = declared/i.json"]
"""
    suite = """\
from app import models

def test_declared(session_guard):
    assert models.SESSION_DIR == session_guard.path / "declared"
    models.save("x", {})
"""
    project = make_project(
        {**FILES, "pytest.ini": "[pytest]\npythonpath = .\n", "conftest.py": declaring, "test_app.py": suite}
    )

    result = project.run()

    assert result.changes == {}
    assert (result.status, result.outcomes) == (0, {"passed": 1}), result.words


def test_home_redirect_gives_the_run_a_home_of_its_own(make_project: MakeProject, workers: tuple[str, ...]) -> None:
    suite = """\
import os
from pathlib import Path

def test_home():
    assert str(Path.home()) != os.environ["REAL_HOME"]
    (Path.home() / ".chat").mkdir()
    (Path.home() / ".chat" / "notes.txt").write_text("by a test")
    (Path(os.environ["REAL_HOME"]) / ".chat" / "notes.txt").read_text()

def test_real_home_is_protected_still():
    (Path(os.environ["REAL_HOME"]) / ".chat" / "notes.txt").write_text("x")
"""
    project = make_project({"test_it.py": suite})

    result = project.run(*workers, "--session-guard-home=redirect", env={"REAL_HOME": str(project.home)})

    assert result.changes == {}
    assert result.said_of("test_home") == {"PASSED"}, result.words
    assert [touch["nodeid"] for touch in result.touches] == ["test_it.py::test_real_home_is_protected_still"]


@pytest.mark.parametrize(
    ("arguments", "head", "expected"),
    [
        pytest.param("session_guard", "", True, id="asked"),
        pytest.param(
            "", "import sys, types; sys.modules['pyfakefs'] = types.ModuleType('pyfakefs')\n", True, id="faked"
        ),
        pytest.param("", "", False, id="neither"),
    ],
)
def test_what_a_redirect_takes_is_imported_before_a_test_that_may_ask_for_one(
    make_project: MakeProject, arguments: str, head: str, expected: bool
) -> None:
    """Imported later, under a fake file system of the test's, it would hold the fake's modules for good."""
    asks = f"{head}def test_asks({arguments}): pass\n"
    looks = f"import sys\ndef test_looks(): assert ('pytest_session_guard._controls.redirect' in sys.modules) is {expected}\n"
    project = make_project({"test_a.py": looks, "test_b.py": asks})

    result = project.run()

    assert result.outcomes == {"passed": 2}
