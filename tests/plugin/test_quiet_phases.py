"""A phase in which nothing happened has no look at anything; whatever happened, in whichever way, gets one."""

from __future__ import annotations

import pytest
from capabilities import mount_namespace
from project import MakeProject

with_overlay = pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")

# Counts the looks, and ends the watch where a test asks for it.
CONFTEST = """\
import pytest
from pytest_session_guard._run.guard import GuardRun
from pytest_session_guard._run.start import active_run

LOOKS = []
look = GuardRun.collect

def counted(self, *arguments):
    LOOKS.append(self.span)
    return look(self, *arguments)

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    active_run().collect()
    GuardRun.collect = counted

@pytest.fixture
def run():
    return active_run()

@pytest.fixture
def looks():
    return LOOKS
"""
IMPORTS = """\
import os, subprocess, sys
from pathlib import Path

CHAT = Path.home() / ".chat"

def in_child(code):
    subprocess.run([sys.executable, "-ISc", "import os, sys; p = sys.argv[1]; " + code, CHAT])

"""
# A change by a child, which no hook sees, and the phases and tests around it.
CHANGES = {
    "root": "os.chmod(p, 0o711)",
    "root_times": "os.utime(p, (1, 1))",
    "root_xattr": "os.setxattr(p, 'user.x', b'1')",
    "entry": "open(p + '/new', 'w')",
    "deep": "os.chmod(p + '/sessions/a.json', 0o600)",
    "again": "open(p + '/sessions/a.json', 'a').write('x')",
}
PROTECT = "[pytest]\nsession_guard_protect = ~/.chat\n"


@pytest.mark.parametrize(
    "layers", [pytest.param("hook,overlay", marks=with_overlay), "hook,seal", "hook,manifest", "hook"]
)
def test_tests_in_which_nothing_happens_cost_no_look(make_project: MakeProject, layers: str) -> None:
    quiet = "".join(f"def test_{number}():\n    open(__file__).close()\n\n" for number in range(5))
    project = make_project(
        {"conftest.py": CONFTEST, "test_it.py": quiet + "def test_last(looks):\n    assert not looks\n"}
    )

    result = project.run(f"--session-guard-layers={layers}")

    assert result.outcomes == {"passed": 6}, result.words


@pytest.mark.parametrize("disturbance", ["", "run.lookout.end()"], ids=["watching", "no-inotify-to-be-had"])
def test_without_an_overlay_what_children_write_down_is_news(make_project: MakeProject, disturbance: str) -> None:
    child = "import os, sys; os.remove(os.path.expanduser('~/.chat/notes.txt'))"
    suite = IMPORTS + (
        f"def test_before(run):\n    {disturbance or 'pass'}\n\n"
        f"def test_child():\n    subprocess.run([sys.executable, '-c', {child!r}])\n\n"
        f"def test_two(looks):\n    looks.clear()\n    in_child('pass')\n    subprocess.run([sys.executable, '-c', {child!r}])\n\n"
        "def test_after():\n    pass\n"
    )
    project = make_project({"conftest.py": CONFTEST, "test_it.py": suite})

    result = project.run("--session-guard-layers=hook")

    assert result.changes == {}
    assert [(touch["nodeid"].rpartition("::")[2], touch["phase"]) for touch in result.touches] == [
        ("test_child", "call"), ("test_two", "call"),
    ]  # fmt: skip
    assert result.outcomes == {"passed": 2, "failed": 2}, result.words


@with_overlay
def test_what_a_child_does_is_charged_to_its_phase_of_its_test_each_time(make_project: MakeProject) -> None:
    suite = IMPORTS + "".join(
        f"def test_{name}():\n    in_child({code!r})\n\ndef test_after_{name}():\n    pass\n\n"
        for name, code in CHANGES.items()
    )
    project = make_project({"conftest.py": CONFTEST, "test_it.py": suite, "pytest.ini": PROTECT})

    result = project.run()

    assert result.changes == {}
    blamed = [(touch["nodeid"].rpartition("::")[2], touch["phase"]) for touch in result.touches]
    assert dict.fromkeys(blamed) == dict.fromkeys((f"test_{name}", "call") for name in CHANGES)
    assert result.outcomes == {"failed": 6, "passed": 6}, result.words


@with_overlay
def test_flags_of_a_root_are_heard_where_inotify_is_silent(make_project: MakeProject) -> None:
    no_dump = "import fcntl; fcntl.ioctl(os.open(p, os.O_RDONLY), 0x40086602, bytes([0x40, 0, 0, 0]))"
    suite = IMPORTS + f"def test_child():\n    in_child({no_dump!r})\n\ndef test_after():\n    pass\n"
    project = make_project({"conftest.py": CONFTEST, "test_it.py": suite, "pytest.ini": PROTECT})

    result = project.run()

    assert result.outcomes == {"failed": 1, "passed": 1}, result.words
    assert result.touches_of("test_child")


@with_overlay
def test_phases_are_told_apart(make_project: MakeProject) -> None:
    suite = IMPORTS + (
        "import pytest\n\n@pytest.fixture\ndef wide():\n    in_child(\"open(p + '/setup', 'w')\")\n    yield\n"
        "    in_child(\"open(p + '/teardown', 'w')\")\n\n"
        "def test_it(wide):\n    in_child(\"open(p + '/call', 'w')\")\n"
    )
    project = make_project(
        {"conftest.py": CONFTEST, "test_it.py": suite, "pytest.ini": PROTECT + "session_guard = report\n"}
    )

    result = project.run()

    assert {(touch["path"].rpartition("/")[2], touch["phase"]) for touch in result.touches} == {
        (phase, phase) for phase in ("setup", "call", "teardown")
    }


@with_overlay
@pytest.mark.parametrize(
    "disturbance",
    [
        pytest.param("run.lookout.end()", id="no-inotify-to-be-had"),
        pytest.param("os.close(run.lookout._notices._fd)", id="closed-by-a-test"),
        pytest.param("os.dup2(os.open('/dev/null', 0), run.lookout._notices._fd)", id="number-taken-by-a-test"),
    ],
)
def test_without_news_every_phase_has_its_look(make_project: MakeProject, disturbance: str) -> None:
    suite = IMPORTS + (
        f"def test_disturbs(run):\n    {disturbance}\n\n"
        "def test_looked_at(looks):\n    assert looks\n\n"
        "def test_child():\n    in_child(\"open(p + '/new', 'w')\")\n"
    )
    project = make_project({"conftest.py": CONFTEST, "test_it.py": suite, "pytest.ini": PROTECT})

    result = project.run()

    assert result.outcomes == {"passed": 2, "failed": 1}, result.words
    assert result.touches_of("test_child")


@with_overlay
def test_watch_that_hears_nothing_does_not_outlive_the_start(make_project: MakeProject) -> None:
    # A kernel that keeps what an overlay does from inotify: news are never there.
    deaf = "from pytest_session_guard._host.notices import Notices\nNotices.has_news = lambda self: False\n"
    suite = IMPORTS + "def test_child():\n    in_child(\"open(p + '/new', 'w')\")\n"
    project = make_project({"deaf.py": deaf, "conftest.py": CONFTEST, "test_it.py": suite, "pytest.ini": PROTECT})

    result = project.run("-p", "deaf")

    assert result.outcomes == {"failed": 1}, result.words
