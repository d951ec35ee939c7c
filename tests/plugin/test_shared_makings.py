"""What programs without a hook make in a shared place is the run's: it may be changed, and goes at the end."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from capabilities import mount_namespace
from isolated import ordinary_account
from project import HOME, Account, MakeProject, Project

from pytest_session_guard._controls.overlay import Overlay
from pytest_session_guard._controls.overlay import makings as makings_of_overlay
from pytest_session_guard._controls.overlay.hearing import Counter, Hearing
from pytest_session_guard._controls.overlay.makings import Making, Makings
from pytest_session_guard._controls.overlay.service import heard
from pytest_session_guard._core.records import iter_kind, parse_journal
from pytest_session_guard._host.identity import identity_of

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


def taken(makings: Makings, label: str = "") -> list[tuple[str, str]]:
    return [(making.kind, os.path.basename(making.path)) for making in makings.take(label)]


def test_only_what_is_born_after_it_was_heard_and_comes_once_is_made(tmp_path: Path) -> None:
    makings = Makings()
    for name in ("made", "twice", "moved_there", "never"):
        makings.expect(str(tmp_path / name), "main", 1)
        if name == "twice":
            (tmp_path / name).touch()
            (tmp_path / name).unlink()
        if name == "moved_there":
            (tmp_path / "older").touch()
            (tmp_path / "older").rename(tmp_path / name)
        elif name != "never":
            (tmp_path / name).touch()

    assert taken(makings) == [("made", "made")]
    assert taken(makings) == []
    makings.close()


def test_what_comes_after_a_call_that_failed_is_nobodys_once_its_thread_is_heard_again(tmp_path: Path) -> None:
    makings = Makings()
    for name, thread in (("failed", 1), ("slow", 2), ("made", 1)):
        makings.expect(str(tmp_path / name), "main", thread)
    (tmp_path / "made").touch()
    makings.note(Making("moved", str(tmp_path / "b"), str(tmp_path / "c"), thread=3), "main")
    for name in ("failed", "slow"):
        (tmp_path / name).touch()

    assert taken(makings) == [("made", "made"), ("moved", "b"), ("made", "slow")]
    makings.close()


def test_what_a_ring_is_told_to_make_is_waited_for_while_its_thread_is_heard_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = [makings_of_overlay.stamp_clock_ns()]
    monkeypatch.setattr(makings_of_overlay, "stamp_clock_ns", lambda: now_ns[0])
    makings = Makings()
    for name in ("first", "second"):
        makings.expect(str(tmp_path / name), "main", 1, by_ring=True)
    makings.expect(str(tmp_path / "third"), "main", 1)
    (tmp_path / "second").touch()
    now_ns[0] += makings_of_overlay._DELAY_NS + 1
    makings.settle(1)
    for name in ("first", "third"):
        (tmp_path / name).touch()

    assert taken(makings) == [("made", "second")]
    makings.close()


def test_what_takes_its_place_while_it_is_looked_for_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makings = Makings()
    makings.expect(str(tmp_path / "a"), "main", 1)
    (tmp_path / "a").touch()
    take = makings._arrivals.take

    def take_and_let_it_be_replaced() -> object:
        told = list(take())
        (tmp_path / "b").touch()
        (tmp_path / "b").rename(tmp_path / "a")
        return told

    monkeypatch.setattr(makings._arrivals, "take", take_and_let_it_be_replaced)
    made = identity_of(str(tmp_path / "a"))

    assert [making.identity for making in makings.take("")] == [made]
    assert identity_of(str(tmp_path / "a")) != made
    makings.close()


def test_what_is_made_in_a_directory_that_took_the_place_of_the_heard_one_is_nobodys(tmp_path: Path) -> None:
    makings = Makings()
    store = tmp_path / "store"
    store.mkdir()
    makings.expect(str(store / "a"), "main", 1)
    (store / "a").touch()
    store.rename(tmp_path / "old")
    store.mkdir()
    (store / "a").touch()

    assert taken(makings) == []
    assert makings._expected == {}
    makings.close()


def test_what_is_made_in_a_directory_that_was_not_there_when_it_was_heard_is_nobodys(tmp_path: Path) -> None:
    makings = Makings()
    store = tmp_path / "store"
    makings.expect(str(store / "a"), "main", 1)
    store.mkdir()
    makings.expect(str(store / "b"), "main", 2)
    for name in "ab":
        (store / name).touch()

    assert taken(makings) == [("made", "b")]
    makings.close()


def test_what_comes_while_it_is_looked_for_is_told_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makings = Makings()
    makings.expect(str(tmp_path / "a"), "main", 1)
    take = makings._arrivals.take

    def take_and_let_it_come() -> object:
        told = list(take())
        (tmp_path / "a").touch()
        return told

    with monkeypatch.context() as patch:
        patch.setattr(makings._arrivals, "take", take_and_let_it_come)
        assert taken(makings) == []

    assert taken(makings) == [("made", "a")]
    makings.close()


def test_call_that_had_not_come_to_its_end_when_asked_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makings, counter = Makings(), Counter()
    layers = Overlay.__new__(Overlay)
    layers.label = "gw0"
    layers._pid = os.getpid()
    layers._hearing = Hearing(os.dup(counter.fd))
    keeper = SimpleNamespace(ear=SimpleNamespace(told=lambda _, label: makings.take(label), makings=makings))
    channel = SimpleNamespace(ask=lambda request: (json.loads(json.dumps(heard(keeper, request), default=astuple)), []))
    monkeypatch.setattr(layers, "_channel", channel, raising=False)

    makings.expect(str(tmp_path / "a"), "gw0", 1)
    counter.count_making()
    assert [layers.makings(), layers.has_news()] == [[], True]
    (tmp_path / "a").touch()

    assert [making.path for making in layers.makings()] == [str(tmp_path / "a")]
    assert [layers.makings(), layers.has_news()] == [[], False]
    makings.close()
    counter.close()


def test_what_the_kernel_does_not_tell_of_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makings = Makings()
    makings.expect(str(tmp_path / "a"), "main", 1)
    (tmp_path / "a").touch()
    monkeypatch.setattr(makings._arrivals, "take", list)
    assert taken(makings) == []
    heard_ns, *others = makings._expected[str(tmp_path / "a")]
    makings._expected[str(tmp_path / "a")] = (heard_ns - 10_000_000_000, *others)

    assert taken(makings) == []
    assert makings._expected == {}
    makings.close()


def test_an_object_that_is_older_than_the_call_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makings = Makings()
    makings.expect(str(tmp_path / "a"), "main", 1)
    (tmp_path / "a").touch()
    later = time.time_ns() + 10_000_000_000
    makings._expected[str(tmp_path / "a")] = (later, "main", 1, False)

    assert taken(makings) == []
    makings.close()


def test_each_stack_is_told_of_its_own_in_order_and_in_pieces(tmp_path: Path) -> None:
    makings = Makings()
    for number in range(60):
        path = tmp_path / str(number)
        makings.expect(str(path), "gw0" if number % 60 else "gw1", 1)
        path.touch()

    first, second = taken(makings, "gw0"), taken(makings, "gw0")
    assert [*first, *second] == [("made", str(number)) for number in range(1, 60)]
    assert (len(first), taken(makings, "gw0")) == (50, [])
    assert taken(makings) == [("made", "0")]
    makings.close()


def test_a_making_survives_the_message(tmp_path: Path) -> None:
    makings = Makings()
    makings.expect(f"{tmp_path}/a\udcff", "main", 1)
    (tmp_path / "a\udcff").touch()
    makings.note(Making("moved", f"{tmp_path}/b", f"{tmp_path}/c"), "main")

    sent = makings.take("main")
    assert [Making.parse(json.loads(json.dumps(making.to_message()))) for making in sent] == sent
    assert [making.kind for making in sent] == ["made", "moved"]
    makings.close()


def test_the_news_of_one_kind_is_not_lost_with_that_of_the_other() -> None:
    counter = Counter()
    hearing = Hearing(os.dup(counter.fd))
    counter.count_try()
    counter.count_making()

    assert hearing.has_news()
    assert [hearing.has_new_tries(), hearing.has_new_tries(), hearing.has_news()] == [True, False, True]
    assert [hearing.has_new_makings(), hearing.has_new_makings(), hearing.has_news()] == [True, False, False]
    counter.close()
