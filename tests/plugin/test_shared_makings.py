"""What programs without a hook make in a shared place is the run's: it may be changed, and goes at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from capabilities import mount_namespace
from isolated import ordinary_account
from project import HOME, Account, MakeProject, Project

from pytest_session_guard._controls.overlay.hearing import Counter, Hearing
from pytest_session_guard._core.records import iter_kind, parse_journal
from pytest_session_guard._core.removal import NOT_TOLD

pytestmark = pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")

IMPORTS = """\
import contextlib, ctypes, os, shutil, sqlite3, subprocess, sys, time
from pathlib import Path

STORE = Path(__file__).parents[1] / "store"

def sh(script):
    subprocess.run(["sh", "-ec", script], check=True)

"""
# Each leaves something behind, in a directory of its own, that no hook has seen.
MAKES = {
    "files": "sh('echo x > a; cp a b; : > -dash')",
    "trees": "sh('mkdir -p a/b; echo x > a/b/f; ln -s f a/b/l; mkfifo a/p; cp -r a c; mv c d; mv d/b d/e')",
    "hard_links": "sh('echo x > a; ln a b; rm a; echo y > c; ln c d')",
    "whole_files": "sh('echo x > a.tmp; mv a.tmp a; echo y > a.tmp; mv a.tmp a')",
    "from_elsewhere": "sh('t=$(mktemp); echo x > $t; mv $t a; d=$(mktemp -d); echo y > $d/z; cp -a $d b; mv $d/z c')",
    "native_code": "os.close(ctypes.CDLL(None).creat(b'a', 0o600))",
    "sqlite": "c = sqlite3.connect('a.db'); c.execute('pragma journal_mode = wal'); c.execute('create table t (c)')",
    "python_without_site": "subprocess.run([sys.executable, '-S', '-c', 'open(\"a\", \"w\")'], check=True)",
    "late": "subprocess.Popen(['sh', '-c', 'sleep 0.5; echo x > late'])",
}
# Python goes on with what others made.
CHANGES = {
    "writes": "sh('echo x > a'); Path('a').write_text('by python')",
    "removes": "sh('echo x > a; mkdir b; echo y > b/c'); os.remove('a'); shutil.rmtree('b')",
    "renames": "sh('echo x > a; echo y > b; mv a b'); os.rename('b', 'c')",
    "moved_by_a_shell": "Path('a').write_text('x'); sh('mv a b; echo y >> b'); Path('b').unlink()",
    "removed_by_a_fork": "pid = os.fork()\n    if pid == 0:\n        sh('echo x > a')\n        os.remove('a')\n        os._exit(0)\n"
    "    assert os.waitpid(pid, 0)[1] == 0",
    "by_object": "sh('echo x > a; echo {} > b.json'); session_guard.artifact('b.json'); session_guard.remove('a')",
}
SUITE = IMPORTS + "".join(
    f"def test_{name}(session_guard, monkeypatch):\n    monkeypatch.chdir(STORE / {name!r})\n    {act}\n\n"
    for name, act in {**MAKES, **CHANGES}.items()
)


@pytest.fixture(scope="module")
def account() -> Iterator[tuple[Account, Path]]:
    """An account without privileges, and a directory of its own."""
    with ordinary_account() as (who, place):
        yield who, place


def make_store(project: Project, *directories: str) -> Path:
    store = project.base / "store"
    store.mkdir()
    (store / "real.json").write_text("real")
    for name in directories:
        (store / name).mkdir()
    project.give_away()
    return store


def everything_in(store: Path) -> set[str]:
    return {os.path.relpath(path, store) for path in store.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("user", ["invoker", "ordinary"])
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["bare", "n2"])
def test_what_programs_without_a_hook_make_may_be_changed_and_goes(
    account: tuple[Account, Path], user: str, workers: tuple[str, ...], tmp_path: Path
) -> None:
    who, place = (Account(), tmp_path) if user == "invoker" else account
    project = Project(place / f"makings{len(workers)}", {"test_it.py": SUITE}, HOME, who)
    store = make_store(project, *MAKES, *CHANGES)

    # A worker has threads, which newer Pythons warn of at a fork.
    quiet = ("-W", "ignore::DeprecationWarning")
    result = project.run(f"--session-guard-share={store}", *workers, *quiet)

    assert (result.status, result.touches) == (0, []), result.words
    assert result.outcomes == {"passed": len(MAKES) + len(CHANGES)}
    assert everything_in(store) == {"real.json"}, result.words
    # A directory that was there stays, and those that were made went.
    assert {path.name for path in store.rglob("*") if path.is_dir()} == {*MAKES, *CHANGES}


def test_what_was_there_and_what_others_make_meanwhile_stays(make_project: MakeProject) -> None:
    suite = IMPORTS + (
        "def test_it(monkeypatch):\n"
        "    monkeypatch.chdir(STORE)\n"
        "    sh('echo x > mine; echo x > replaced; echo x > taken; cat real.json > /dev/null; mv mine yours')\n"
        "    (STORE / 'waits').write_text('')\n"
        "    while not (STORE / 'done').exists():\n        time.sleep(0.005)\n"
        "    sh('echo x > more; [ -e done ]')\n"
    )
    project = make_project({"test_it.py": suite})
    store = make_store(project)
    live = (
        "while ! [ -e waits ]; do sleep 0.01; done; echo live > live; echo live > new; mv new replaced; "
        "rm taken; echo live > taken; touch done"
    )
    with subprocess.Popen(["sh", "-c", live], cwd=store) as application:
        result = project.run(f"--session-guard-share={store}")
        application.wait(timeout=30)

    assert result.status == 0, result.words
    assert everything_in(store) == {"real.json", "live", "replaced", "taken", "done"}, result.words
    assert {(store / name).read_text() for name in ("live", "replaced", "taken")} == {"live\n"}


def test_what_is_put_back_from_quarantine_is_not_taken_for_the_runs(make_project: MakeProject) -> None:
    # A live application replaces the file when the plan of its removal stands: it comes into quarantine, and back.
    suite = IMPORTS + (
        "from pytest_session_guard._controls.cleanup import removing\n"
        "original = removing.plan_removal\n\n"
        "def plan_and_wait(facts):\n"
        "    plan = original(facts)\n"
        "    (STORE.parent / 'planned').touch()\n"
        "    deadline = time.monotonic() + 10\n"
        "    while not (STORE.parent / 'replaced').exists() and time.monotonic() < deadline:\n"
        "        time.sleep(0.005)\n"
        "    return plan\n\n"
        "def test_it(session_guard):\n"
        "    removing.plan_removal = plan_and_wait\n"
        "    (STORE / 'mine').write_text('x')\n"
        "    session_guard.remove(STORE / 'mine')\n"
        "    removing.plan_removal = original\n"
        "    sh(f'echo x > {STORE}/more')\n"
    )
    project = make_project({"test_it.py": suite})
    store = make_store(project)
    free = f"--session-guard-free={project.base}/planned"
    live = (
        f"while ! [ -e {project.base}/planned ]; do sleep 0.005; done; "
        f"echo live > new; mv new mine; touch {project.base}/replaced"
    )
    with subprocess.Popen(["sh", "-c", live], cwd=store) as application:
        result = project.run(f"--session-guard-share={store}", free)
        application.wait(timeout=30)

    assert (store / "mine").read_text() == "live\n", result.words
    assert everything_in(store) == {"real.json", "mine"}, result.words


# What a program without a hook does to a file that an application made meanwhile.
HURTS = {
    "remove": "sh('rm -f live')",
    "write": "sh('echo x >> live')",
    "truncate": "sh(': > live')",
    "rename": "sh('mv live gone')",
    "rename_over": "sh('echo x > own; mv own live')",
    "in_own_directory": "sh('rm -rf made')",
    "native_code": "assert ctypes.CDLL(None).unlink(os.fsencode(STORE / 'live')) == -1",
    "another_interpreter": "subprocess.run([sys.executable, '-IS', '-c', 'import os; os.remove(\"live\")'], cwd=STORE)",
    "by_a_link_of_its_own": "sh('ln -sf live own_link; chown $(id -u) own_link')",
    "attribute_by_a_link": "sh('ln -sf live other_link'); assert ctypes.CDLL(None).setxattr("
    "os.fsencode(STORE / 'other_link'), b'user.x', b'1', 1, 0) == -1",
    "by_a_descriptor": "assert ctypes.CDLL(None).fchownat(os.open('live', os.O_RDONLY), b'', os.getuid(), -1, 0x1000) == -1",
    "by_proc": "sh('rm -f /proc/self/cwd/live')",
    "after_a_failure": "sh('mkdir live || :; rm -f live')",
}


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["bare", "n2"])
def test_what_others_made_meanwhile_is_held_against_programs_without_a_hook(
    make_project: MakeProject, workers: tuple[str, ...]
) -> None:
    tests = "".join(
        f"def test_{name}(store):\n    with contextlib.suppress(subprocess.CalledProcessError):\n        {act}\n\n"
        for name, act in HURTS.items()
    )
    fixture = (
        "import pytest\n\n@pytest.fixture\ndef store(monkeypatch, worker_id):\n    place = STORE / worker_id\n"
        "    monkeypatch.chdir(place)\n    monkeypatch.setitem(globals(), 'STORE', place)\n"
        "    if not os.path.exists('asked'):\n        sh('mkdir made; echo x > made/own; echo x > asked')\n"
        "    while not os.path.exists('answered'):\n        time.sleep(0.005)\n\n"
    )
    project = make_project({"test_it.py": IMPORTS + fixture + tests})
    places = ["gw0", "gw1"] if workers else ["master"]
    store = make_store(project, *places)
    live = (
        'while ! [ -e "$1/asked" ]; do sleep 0.01; done; cd "$1"; '
        "echo live > live; cp live made/live; cp live old; mv old replaced; : > answered"
    )
    applications = [subprocess.Popen(["sh", "-c", live, "-", place], cwd=store) for place in places]
    result = project.run(f"--session-guard-share={store}", *workers)
    for application in applications:
        application.kill()

    assert result.status == 1, result.words
    hurt = {path for path in everything_in(store) if path.endswith("/live")}
    assert hurt == {f"{place}/{name}" for place in places for name in ("live", "made/live")}, result.words
    assert {(store / path).read_text() for path in hurt} == {"live\n"}
    assert {touch["nodeid"].rpartition("test_")[2] for touch in result.touches} == set(HURTS), result.words


def test_file_in_a_directory_that_is_renamed_all_the_time_is_held_against_who_has_it_open(
    make_project: MakeProject,
) -> None:
    suite = IMPORTS + (
        "def test_it():\n    (STORE / 'asked').touch()\n    unlinkat, place = ctypes.CDLL(None).unlinkat, None\n"
        "    while not place:\n        with contextlib.suppress(OSError):\n            place = os.open(STORE / 'a', os.O_RDONLY)\n"
        "    assert {unlinkat(place, b'live', 0) for _ in range(500)} == {-1}\n"
    )
    live = (
        "import os, sys\nwhile not os.path.exists('asked'): pass\n"
        "os.mkdir('b')\nopen('b/live', 'w').close()\n"
        "while os.getppid() == int(sys.argv[1]):\n    os.rename('b', 'a')\n    os.rename('a', 'b')\n"
    )
    project = make_project({"test_it.py": suite})
    store = make_store(project)
    with subprocess.Popen([sys.executable, "-c", live, str(os.getpid())], cwd=store) as application:
        result = project.run(f"--session-guard-share={store}")
        application.kill()

    assert result.status == 1, result.words
    assert [path.name for path in store.rglob("live")] == ["live"], result.words


OWN = {
    "no_name_at_first": "f = os.open('.', os.O_TMPFILE | os.O_WRONLY)\n"
    "    assert ctypes.CDLL(None).linkat(-100, b'/proc/self/fd/%d' % f, -100, b'a', 0x400) == 0\n    sh('rm a')",
    "socket": "script = 'import socket; socket.socket(socket.AF_UNIX).bind(\"a\")'\n"
    "    subprocess.run([sys.executable, '-IS', '-c', script], check=True)\n    sh('rm a')",
    "tree_from_elsewhere": "sh('d=$(mktemp -d); mkdir $d/x; echo y > $d/x/z; mv $d here; echo z > here/x/z; rm -r here')",
    "of_python": "Path('a').write_text('x'); os.mkdir('b'); Path('b/c').touch(); sh('echo x >> a; rm -r a b')",
    "of_a_fork": "pid = os.fork()\n    if pid == 0:\n        Path('a').write_text('x')\n        os._exit(0)\n"
    "    os.waitpid(pid, 0)\n    sh('mv a b; rm b')",
    "at_once": "sh('for i in $(seq 50); do (echo x > $i; mv $i m$i; rm m$i) & done; wait')",
    "again_and_again": "sh('for i in $(seq 50); do echo x > a; rm a; mkdir a; rmdir a; done')",
    "links": "sh('echo x > a; ln a b; rm a; ln -s b c; ln c d; rm b c d; mkfifo e; rm e')",
    "archive": "sh('mkdir a; for i in $(seq 30); do echo $i > a/$i; done; tar cf t a; rm -r a; tar xf t; rm -r a t')",
    "python_removes_what_a_shell_made": "sh('mkdir -p a/b; echo x > a/b/c')\n    shutil.rmtree('a')",
}


@pytest.mark.parametrize("user", ["invoker", "ordinary"])
def test_what_the_run_made_may_be_changed_by_whichever_program(
    account: tuple[Account, Path], user: str, tmp_path: Path
) -> None:
    who, place = (Account(), tmp_path) if user == "invoker" else account
    suite = IMPORTS + "".join(
        f"def test_{name}(monkeypatch):\n    monkeypatch.chdir(STORE / {name!r})\n    {act}\n    assert os.listdir() == []\n\n"
        for name, act in OWN.items()
    )
    project = Project(place / "own", {"test_it.py": suite}, HOME, who)
    store = make_store(project, *OWN)

    result = project.run(f"--session-guard-share={store}", "-W", "ignore::DeprecationWarning")

    assert (result.status, result.touches, result.outcomes) == (0, [], {"passed": len(OWN)}), result.words
    assert everything_in(store) == {"real.json"}


LAYERS = pytest.mark.parametrize("layers", ["auto", "hook,seal"])
FORKS = """
def test_it():
    (STORE / "a").write_text("x")
    pid = os.fork()
    if pid == 0:
        while os.stat(STORE / "a").st_size < 2:
            time.sleep(0.005)
        (STORE / "b").write_text("x")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
"""


@LAYERS
def test_what_replaced_a_parents_file_is_not_taken_for_the_runs_by_its_fork(
    make_project: MakeProject, layers: str
) -> None:
    project = make_project({"test_it.py": IMPORTS + FORKS})
    store = make_store(project)
    live = "while ! [ -s a ]; do sleep 0.005; done; sleep 0.1; echo live > new; mv new a"
    with subprocess.Popen(["sh", "-c", live], cwd=store) as application:
        result = project.run(f"--session-guard-share={store}", f"--session-guard-layers={layers}")
        application.wait(timeout=30)

    assert result.status == 0, result.words
    assert everything_in(store) == {"real.json", "a"}, result.words
    assert (store / "a").read_text() == "live\n"


FAILS = {
    "rename": "os.rename(STORE / 'none', 'a')",
    "opener": "open('a', 'w', opener=lambda path, flags: os.open(path, flags, dir_fd=-5))",
    "symlink": "os.symlink('x' * 5000, 'a')",
    "elsewhere": "os.mkdir('d'); place = os.open('d', os.O_RDONLY); "
    "open('a', 'w', opener=lambda path, flags: os.open(path, flags, dir_fd=place)).close(); 1 / 0",
}


@LAYERS
@pytest.mark.parametrize("fails", FAILS)
def test_what_others_make_where_a_call_failed_stays(make_project: MakeProject, fails: str, layers: str) -> None:
    suite = IMPORTS + (
        f"def test_it(monkeypatch):\n    monkeypatch.chdir(STORE)\n    go = os.open(STORE.parent / 'go', os.O_RDWR)\n"
        f"    with contextlib.suppress(OSError, ZeroDivisionError):\n        {FAILS[fails]}\n"
        "    os.write(go, b'now')\n"  # which no hook hears of
        "    while 'b' not in os.listdir(STORE):\n        time.sleep(0.005)\n"
    )
    project = make_project({"test_it.py": suite})
    store = make_store(project)
    (project.base / "go").touch()
    live = "while ! [ -s ../go ]; do sleep 0.005; done; echo live > a; touch b"
    with subprocess.Popen(["sh", "-c", live], cwd=store) as application:
        result = project.run(
            f"--session-guard-share={store}",
            f"--session-guard-layers={layers}",
            f"--session-guard-free={project.base}/go",
        )
        application.wait(timeout=30)

    assert result.status == 0, result.words
    assert everything_in(store) == {"real.json", "a", "b"}, result.words


# None of them is heard again before it ends.
FAILS_UNHEARD = {
    "shell": "sh = subprocess.Popen(['sh', '-c', 'ulimit -n 3; echo x > a; echo failed; read line'], cwd=STORE, "
    "stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n    assert sh.stdout.readline() == 'failed\\n'",
    "program": "assert subprocess.run(['ln', '-s', 'x' * 5000, 'a'], cwd=STORE).returncode == 1",
    "native_code": "assert ctypes.CDLL(None).symlink(b'x' * 5000, os.fsencode(STORE / 'a')) == -1",
    "thread": "thread = threading.Thread(target=ctypes.CDLL(None).symlink, args=(b'x' * 5000, os.fsencode(STORE / 'a')))\n"
    "    thread.start(); thread.join()",
    "python_without_site": 'script = \'import os\\ntry: os.symlink("x" * 5000, "a")\\nexcept OSError: print(1)\'\n'
    "    assert subprocess.check_output([sys.executable, '-IS', '-c', script], cwd=STORE)",
}


@pytest.mark.parametrize("fails", FAILS_UNHEARD)
def test_what_others_make_where_the_call_of_a_program_without_a_hook_failed_stays(
    make_project: MakeProject, fails: str
) -> None:
    suite = IMPORTS + (
        f"import threading\n\ndef test_it():\n    go = os.open(STORE.parent / 'go', os.O_RDWR)\n    {FAILS_UNHEARD[fails]}\n"
        "    os.write(go, b'now')\n"  # which nobody hears of
        "    while 'b' not in os.listdir(STORE):\n        time.sleep(0.005)\n"
    )
    project = make_project({"test_it.py": suite})
    store = make_store(project)
    (project.base / "go").touch()
    live = "while ! [ -s ../go ]; do sleep 0.005; done; echo live > a; touch b"
    with subprocess.Popen(["sh", "-c", live], cwd=store) as application:
        result = project.run(f"--session-guard-share={store}", f"--session-guard-free={project.base}/go")
        application.wait(timeout=30)

    assert result.status == 0, result.words
    assert everything_in(store) == {"real.json", "a", "b"}, result.words


@pytest.mark.skipif(shutil.which("strace") is None, reason="no debugger to be had here")
def test_what_a_program_makes_that_a_debugger_follows_may_be_changed_stays_and_is_named(
    make_project: MakeProject,
) -> None:
    suite = IMPORTS + (
        "def test_it(monkeypatch):\n    monkeypatch.chdir(STORE)\n"
        "    followed = ['strace', '-f', '-o', '/dev/null', 'sh', '-ec']\n"
        "    subprocess.run([*followed, 'echo x > a; echo x > b; echo x > c; mkdir d; mv d e'], check=True)\n"
        "    os.remove('a')\n    sh('rm b; echo y > c')\n    Path('c').write_text('z')\n"
    )
    project = make_project({"test_it.py": suite})
    store = make_store(project)

    result = project.run(f"--session-guard-share={store}")

    assert (result.status, result.touches) == (0, []), result.words
    assert {path.name for path in store.iterdir()} == {"real.json", "c", "e"}
    kept = {os.path.relpath(one["path"], store): one["reason"] for one in result.report["artifacts"]["kept"]}
    assert kept == {"c": NOT_TOLD, "e": NOT_TOLD}, result.words


TAGS = """
@pytest.mark.parametrize("number", range(8))
def test_makes(session_guard, number):
    path = STORE / f"session_{number}.json"
    path.write_text('{"id": 1}')
    session_guard.artifact(path)
    session_guard.write_json(STORE / f"written_{number}.json", {"id": 2})
    fresh = STORE / f"fresh_{number}.tmp"
    fresh.write_text("{}")
    fresh.replace(STORE / f"final_{number}.json")
    (STORE / f"d{number}").mkdir()
    os.rename(STORE / f"d{number}", STORE / f"e{number}")
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["bare", "n2"])
def test_what_python_does_is_heard_too_and_written_down_once(
    make_project: MakeProject, workers: tuple[str, ...]
) -> None:
    project = make_project({"test_it.py": f"{IMPORTS}import pytest\n{TAGS}"})
    store = make_store(project)

    result = project.run(f"--session-guard-share={store}", *workers)

    assert (result.status, everything_in(store)) == (0, {"real.json"}), result.words
    journals = (project.root / ".session_guard" / "runs").glob("*/journal-*")
    records = [record for path in journals for record in parse_journal(path.read_bytes()).records]
    created = [(record["path"], tuple(record["identity"])) for record in iter_kind(records, "created")]
    moved = [(record["path"], record["to"]) for record in iter_kind(records, "moved")]
    assert len(created) >= 8 * 5
    assert [one for one in created if created.count(one) > 1] == []
    assert [(one, other) for one, other in moved if other.endswith(".tmp")] == []


def test_what_a_killed_run_had_let_programs_make_goes_with_the_next(make_project: MakeProject) -> None:
    suite = IMPORTS + (
        "def test_a():\n    sh(f'cd {STORE}; mkdir d; echo x > d/a')\n\ndef test_b():\n    os.kill(os.getpid(), 9)\n"
    )
    project = make_project({"test_it.py": suite})
    store = make_store(project)
    share = f"--session-guard-share={store}"

    first = project.run(share)
    left = everything_in(store)
    (project.root / "test_it.py").write_text("def test_it():\n    pass\n")
    second = project.run(share)

    assert (first.status, left) == (-9, {"real.json", "d/a"}), first.words
    assert everything_in(store) == {"real.json"}, second.words


def test_disarmed_the_clean_up_of_what_a_shell_made_is_refused_and_it_stays(make_project: MakeProject) -> None:
    disarm = "from pytest_session_guard._run.walls import Walls\nWalls.makings = lambda self, of_all=False: ()\n"
    suite = IMPORTS + "def test_it():\n    sh(f'cd {STORE}; echo x > a; echo x > b')\n    os.remove(STORE / 'a')\n"
    project = make_project({"test_it.py": suite, "conftest.py": disarm})
    store = make_store(project)

    result = project.run(f"--session-guard-share={store}")

    assert (result.status, everything_in(store)) == (1, {"real.json", "a", "b"}), result.words


def test_the_news_of_one_kind_is_not_lost_with_that_of_the_other() -> None:
    counter = Counter()
    hearing = Hearing(os.dup(counter.fd))
    counter.count_try()
    counter.count_making()

    assert hearing.has_news()
    assert [hearing.has_new_tries(), hearing.has_new_tries(), hearing.has_news()] == [True, False, True]
    assert [hearing.has_new_makings(), hearing.has_new_makings(), hearing.has_news()] == [True, False, False]
    counter.close()
