"""Where the kernel does not tell who made what in a shared place, nothing there is taken for the run's by its time alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from project import MakeProject, Project, Result

from pytest_session_guard._core.removal import NOT_TOLD

if sys.platform != "linux":
    pytest.skip("other platforms are never told", allow_module_level=True)

from pytest_session_guard._host.makers import Makers

try:
    Makers().close()
except OSError:
    pytest.skip("no fanotify to be had here", allow_module_level=True)

LIMITS = 'for name in {}; do echo 0 > /proc/sys/user/max_$name; done && exec "$@"'
# Without any layer of the kernel's: what a keeper hears is another matter.
LAYERS = "--session-guard-layers=hook"
FORBIDDEN = """\
from pytest_session_guard._host import makers

def forbidden():
    raise PermissionError(1, "Operation not permitted")

makers.Makers = forbidden
"""
BY_TIME_ALONE = """\
from pytest_session_guard._host.arrivals import Arrivals
Arrivals.expect = lambda self, path: False
"""
# What the run is denied, and a conftest.
UNTOLD = {
    "groups": ("fanotify_groups", ""),
    "marks": ("fanotify_marks", ""),
    "all": ("fanotify_groups fanotify_marks inotify_instances inotify_watches", ""),
    "forbidden": ("", FORBIDDEN),
}
SUITE = """\
import contextlib, os, shutil, sqlite3, subprocess, sys, threading, time
from pathlib import Path

STORE = Path(__file__).parents[1] / "store"

def test_fails():
    with contextlib.suppress(OSError):
        os.symlink("x" * 5000, STORE / "a")
    (STORE.parent / "go").write_text("now")
    while not (STORE / "b").exists():
        time.sleep(0.005)

def test_own(monkeypatch):
    monkeypatch.chdir(STORE)
    Path("own").write_text("x")
    Path("own").write_text("again")
    subprocess.run([sys.executable, "-c", "open('own', 'a').write('by a child')"], check=True)
    Path("own.tmp").write_text("x")
    os.replace("own.tmp", "own")
    Path("own").chmod(0o600)
    os.mkdir("d")
    Path("d/x").write_text("x")
    os.rename("d", "e")
    Path("e/x").write_text("y")
    subprocess.run([sys.executable, "-c", "open('of_child', 'w').write('x')"], check=True)
    Path("of_child").write_text("by its parent")
    os.link("own", "link")
    pid = os.fork()
    if pid == 0:
        Path("own").write_text("by a fork")
        Path("of_fork").write_text("x")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    Path("of_fork").write_text("by its parent")
    connection = sqlite3.connect("own.db")
    connection.execute("create table t (c)")
    connection.close()

def test_gone(monkeypatch):
    monkeypatch.chdir(STORE)
    for _ in range(2):
        Path("gone").write_text("x")
        Path("gone").unlink()
        os.makedirs("tree/deep")
        Path("tree/deep/x").write_text("x")
        os.rename("tree/deep/x", "tree/y")
        shutil.rmtree("tree")
    threads = [threading.Thread(target=lambda n=n: Path(f"gone{n}").write_text("x")) for n in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for number in range(8):
        Path(f"gone{number}").write_text("y")
        os.remove(f"gone{number}")
    subprocess.run([sys.executable, "-c", "open('gone', 'w')"], check=True)
    os.remove("gone")
"""
OWN = {"own", "e", "of_child", "link", "of_fork", "own.db"}
NOBODYS = {"real.json", "a", "b"}


def make_store(project: Project) -> Path:
    store = project.base / "store"
    store.mkdir()
    (store / "real.json").write_text("real")
    return store


def run_without(project: Project, store: Path, denied: str, *args: str) -> Result:
    """Run the project's suite where the user's limits of some kinds are 0."""
    words = (*args, f"--session-guard-share={store}", f"--session-guard-free={store.parent}/go")
    if not denied:
        return project.run(*words)
    way = ("--user", "--map-root-user", "sh", "-c", LIMITS.format(denied), "sh", project.account.python, "-m", "pytest")
    if project.call("unshare", *way[:-3], "true").returncode != 0:
        pytest.skip("no user namespace to be had here")
    return project.run(*words, python="unshare", program=way)


def run_beside_an_application(project: Project, store: Path, denied: str = "", *args: str) -> Result:
    """An application makes the very name of which the suite's call has failed, a moment later."""
    live = "while ! [ -s ../go ]; do sleep 0.005; done; echo live > a; touch b"
    with subprocess.Popen(["sh", "-c", live], cwd=store) as application:
        result = run_without(project, store, denied, *args)
        application.wait(timeout=30)
    return result


def names_in(store: Path) -> set[str]:
    return {path.name for path in store.iterdir()}


def kept_in(result: Result) -> dict[str, str]:
    assert result.report is not None, result.words
    return {Path(kept["path"]).name: kept["reason"] for kept in result.report["artifacts"]["kept"]}


@pytest.mark.parametrize("way", UNTOLD)
@pytest.mark.parametrize("layers", ["hook", "auto"])
def test_what_nobody_tells_who_made_it_may_be_changed_and_stays_and_is_named(
    make_project: MakeProject, way: str, layers: str
) -> None:
    denied, conftest = UNTOLD[way]
    project = make_project({"test_it.py": SUITE, "conftest.py": conftest})
    store = make_store(project)

    result = run_beside_an_application(project, store, denied, f"--session-guard-layers={layers}")

    assert (result.status, result.touches) == (0, []), result.words
    assert (store / "a").read_text() == "live\n"
    if layers == "hook":  # what a keeper hears is another matter
        # A conftest forbids nothing to children.
        stay = OWN - {"of_child"} if conftest else OWN
        assert names_in(store) == NOBODYS | stay, result.words
        assert kept_in(result) == dict.fromkeys({"a", "x", *stay}, NOT_TOLD)
        assert f"session-guard kept {str(store / 'own')!r}: {NOT_TOLD}" in result.stdout


@pytest.mark.parametrize("denied", ["", "inotify_instances", "inotify_watches"])
def test_what_the_run_is_told_to_have_made_goes(make_project: MakeProject, denied: str) -> None:
    project = make_project({"test_it.py": SUITE})
    store = make_store(project)

    result = run_beside_an_application(project, store, denied, LAYERS)

    assert (result.status, result.touches) == (0, []), result.words
    assert names_in(store) == NOBODYS, result.words
    assert kept_in(result) == {}


def test_disarmed_by_its_time_alone_the_file_of_an_application_goes(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE, "conftest.py": BY_TIME_ALONE})
    store = make_store(project)

    result = run_beside_an_application(project, store, "", LAYERS)

    assert result.status == 0, result.words
    assert names_in(store) == NOBODYS - {"a"}, result.words


USED_UP = SUITE.partition("def test_own")[0].replace(
    """\
    with contextlib.suppress(OSError):
        os.symlink("x" * 5000, STORE / "a")
""",
    """\
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
    held = []
    with contextlib.suppress(OSError):
        while True:
            held.append(os.dup(0))
    try:
        with contextlib.suppress(OSError):
            (STORE / "a").touch()
    finally:
        [os.close(fd) for fd in held]
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
""",
)
LATER = '\ndef test_later():\n    (STORE / "own").write_text("x")\n'


@pytest.mark.parametrize("armed", [True, False], ids=["armed", "disarmed"])
def test_what_others_make_where_no_descriptor_was_left_stays_and_what_is_made_later_goes(
    make_project: MakeProject, armed: bool
) -> None:
    project = make_project({"test_it.py": USED_UP + LATER, "conftest.py": "" if armed else BY_TIME_ALONE})
    store = make_store(project)

    result = run_beside_an_application(project, store, "", LAYERS)

    assert (result.status, result.outcomes) == (0, {"passed": 2}), result.words
    assert names_in(store) == (NOBODYS if armed else NOBODYS - {"a"}), result.words
    assert kept_in(result) == ({"a": NOT_TOLD} if armed else {})


def test_few_descriptors_are_enough_to_be_told(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})
    store = make_store(project)
    few = ("-c", 'ulimit -n 64; exec "$@"', "sh", project.account.python, "-m", "pytest")
    (store / "b").touch()

    result = project.run(
        LAYERS, f"--session-guard-share={store}", f"--session-guard-free={project.base}/go", python="sh", program=few
    )

    assert (result.status, names_in(store)) == (0, {"real.json", "b"}), result.words


TAGGED = """\
import os, sqlite3
from pathlib import Path

STORE = Path(__file__).parents[1] / "store"

def test_makes(session_guard, monkeypatch):
    monkeypatch.chdir(STORE)
    Path("a.json").write_text('{"id": 1}')
    Path("whole.tmp").write_text('{"id": 1}')
    os.replace("whole.tmp", "whole.json")
    connection = sqlite3.connect("a.db")
    connection.execute("create table t (c)")
    connection.close()
    os.mkdir("d")
    Path("d/x.json").write_text("{}")
    Path("plain.txt").write_text("x")
    for name in ("a.json", "whole.json", "a.db", "d", "d/x.json", "plain.txt"):
        session_guard.artifact(name)
    session_guard.write_json("written.json", {})
    Path("untagged.json").write_text('{"id": 1}')

def test_goes_on_with_them(session_guard):
    (STORE / "a.json").unlink()
    (STORE / "a.json").write_text('{"id": 2}')
    session_guard.artifact(STORE / "a.json")

def test_again(session_guard):
    (STORE / "a.json").write_text((STORE / "a.json").read_text())
    Path(STORE, "taken").write_text("x")
    session_guard.artifact(STORE / "taken")
    session_guard.remove(STORE / "taken")
"""


@pytest.mark.parametrize(("way", "workers"), [*((way, ()) for way in UNTOLD), ("all", ("-n", "2", "--dist=loadfile"))])
def test_what_is_tagged_goes(make_project: MakeProject, way: str, workers: tuple[str, ...]) -> None:
    denied, conftest = UNTOLD[way]
    # A glob says nothing of who made it.
    ini = "[pytest]\nsession_guard_tag =\n    *.json\n    *.db\n"
    project = make_project({"test_it.py": TAGGED, "conftest.py": conftest, "pytest.ini": ini})
    store = make_store(project)

    result = run_without(project, store, denied, LAYERS, *workers)

    assert (result.status, result.touches) == (0, []), result.words
    assert names_in(store) == {"real.json", "untagged.json"}, result.words
    assert (store / "untagged.json").read_text() == '{"id": 1}'
    assert kept_in(result) == {"untagged.json": NOT_TOLD}


REPLACED = """\
import subprocess
from pathlib import Path
from pytest_session_guard._run import artifacts

STORE = Path(__file__).parents[1] / "store"
tag = artifacts.tag

def test_it(session_guard, monkeypatch):
    def tag_and_let_it_be_replaced(*arguments):
        tag(*arguments)
        subprocess.run(["sh", "-ec", "echo live > new; mv new a"], cwd=STORE, check=True)

    monkeypatch.setattr(artifacts, "tag", tag_and_let_it_be_replaced)
    (STORE / "a").write_text("x")
    session_guard.artifact(STORE / "a")
"""


def test_what_took_its_place_as_it_was_tagged_is_not_the_runs_by_the_tests_word(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": REPLACED, "conftest.py": FORBIDDEN})
    store = make_store(project)

    result = run_without(project, store, "", LAYERS)

    assert result.status == 0, result.words
    assert (store / "a").read_text() == "live\n", result.words


LENIENT = """\
import contextlib, os, time
from pathlib import Path

STORE = Path.home() / "store"

def test_fails():
    (STORE / "made").write_text("x")
    with contextlib.suppress(OSError):
        os.symlink("x" * 5000, STORE / "a")
    (STORE.parents[1] / "go").write_text("now")
    while not (STORE / "b").exists():
        time.sleep(0.005)
"""


@pytest.mark.parametrize("conftest", ["", FORBIDDEN], ids=["told", "untold"])
def test_report_mode_puts_back_only_what_is_told_to_be_the_runs(make_project: MakeProject, conftest: str) -> None:
    home = {"store/real.json": "real"}
    project = make_project({"test_it.py": LENIENT, "conftest.py": conftest}, home)
    live = "while ! [ -s ../../go ]; do sleep 0.005; done; echo live > a; touch b"
    with subprocess.Popen(["sh", "-c", live], cwd=project.home / "store") as application:
        result = project.run("--session-guard=report", LAYERS, f"--session-guard-free={project.base}/go")
        application.wait(timeout=30)

    assert result.status == 0, result.words
    assert (project.home / "store" / "a").read_text() == "live\n", result.words
    # What nobody tells who made it stays, and is said to.
    assert names_in(project.home / "store") == {"real.json", "a", "b", *(["made"] if conftest else [])}, result.words
    missed = f"could not be put back as it was: {str(project.home / 'store' / 'made')!r}: {NOT_TOLD}"
    assert (missed in result.words) is bool(conftest), result.words


KILLED = """\
import os
from pathlib import Path

STORE = Path(__file__).parents[1] / "store"

def test_dies(session_guard):
    (STORE / "left").write_text("x")
    (STORE / "left.tmp").write_text("x")
    os.replace(STORE / "left.tmp", STORE / "moved")
    session_guard.write_json(STORE / "tagged.json", {})
    (STORE / "last").write_text("x")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_run_left_untold_is_named_and_stays(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": KILLED, "test_other.py": "def test(): pass", "conftest.py": FORBIDDEN})
    store = make_store(project)
    assert project.run(f"--session-guard-share={store}", "test_it.py", report=False).status == -9

    done = project.call(project.account.python, "-m", "pytest_session_guard", "clean")

    assert names_in(store) == {"real.json", "left", "moved", "last"}, done.stdout
    told = {line.split("':", 1)[0].rpartition("/")[2]: line for line in done.stdout.splitlines() if "kept  " in line}
    assert set(told) == {"left", "moved", "last"}, done.stdout
    assert NOT_TOLD in told["left"], done.stdout
    assert NOT_TOLD in told["moved"], done.stdout
    assert "died before it saw" in told["last"], done.stdout


MANY = """\
from pathlib import Path

STORE = Path(__file__).parents[1] / "store"

def test_many():
    for number in range(200):
        (STORE / str(number)).write_text("x")
"""


def test_many_that_stay_are_counted(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": MANY, "conftest.py": FORBIDDEN})
    store = make_store(project)

    result = run_without(project, store, "", LAYERS)

    said = [line for line in result.stdout.splitlines() if line.startswith("session-guard kept")]
    assert (result.status, len(said), len(kept_in(result))) == (0, 4, 200), result.words
    assert said[-1] == "session-guard kept 197 more for the same reason; the report lists them"
    assert len(os.listdir(store)) == 201
