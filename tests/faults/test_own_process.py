"""What a test may do to the process that it shares with the guard: umask, descriptors, limits, errors in the guard itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from isolated import ordinary_account
from project import HOME, Account, MakeProject, Project

IMPORTS = """\
import contextlib, os, resource, signal, subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
STORE = ROOT.parent / "store"
NOTES = Path.home() / ".chat" / "notes.txt"

"""
UNDER_A_UMASK = """
@pytest.mark.parametrize("mask", [0, 0o777], ids=["gives-all", "takes-all"])
def test_works(session_guard, mask):
    before = os.umask(mask)
    try:
        (ROOT / f"written-{mask}").write_text("changed")
        (ROOT / f"removed-{mask}").unlink()
        child = os.fork()
        if child == 0:
            (ROOT / f"forked-{mask}").write_text("changed")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        (STORE / f"made-{mask}").touch()
        session_guard.write_json(STORE / f"tagged-{mask}.json", {})
    finally:
        os.umask(before)
"""
MASKS = (0, 0o777)
WAYS = ("written", "removed", "forked")


@pytest.fixture(scope="module", params=["invoker", "ordinary"])
def account(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Account, Path]]:
    """Who runs pytest, and a directory of theirs: the user of the suite itself, and one without privileges."""
    if request.param == "invoker":
        yield Account(), tmp_path_factory.mktemp("invoker")
        return
    with ordinary_account() as (who, place):
        yield who, place


def test_under_any_umask_what_a_test_changes_is_kept_and_what_the_guard_makes_is_its_owners_alone(
    account: tuple[Account, Path],
) -> None:
    who, place = account
    files = {f"{way}-{mask}": "was" for way in WAYS for mask in MASKS}
    project = Project(place / "umask", {"test_it.py": IMPORTS + UNDER_A_UMASK, **files}, HOME, who)
    (project.base / "store").mkdir()
    project.give_away()

    result = project.run(f"--session-guard-share={project.base}/store")

    assert (result.status, result.outcomes) == (0, {"passed": 2}), result.words
    assert list((project.base / "store").iterdir()) == []
    (run,) = (project.root / ".session_guard" / "runs").iterdir()
    # A pre-image that is no copy is the file itself.
    own = [path for path in run.rglob("*") if path.is_file() and (path.parent == run or path.suffix == ".copy")]
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in own if path.stat().st_mode & 0o777 != 0o600} == {}
    assert len([path for path in own if path.suffix == ".copy"]) == 4
    directories = [path for path in [run, run.parent, *run.rglob("*")] if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in directories} == {0o700}
    done = project.call(who.python, "-m", "pytest_session_guard", "restore", "latest")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: (project.root / name).read_text() for name in files} == files


PRETENDS = """
def shell_makes(name):
    subprocess.run(["sh", "-c", f"echo x > {NOTES}.{name}"])

# A patch of the fixture's is still there when pytest asks the guard what the test did.
@pytest.mark.parametrize("name", ["geteuid", "getuid", "getpid"])
@pytest.mark.parametrize("answer", [0, 4242])
def test_pretends(monkeypatch, session_guard, name, answer):
    monkeypatch.setattr(os, name, lambda: answer)
    made = STORE / f"{name}-{answer}"
    made.write_text("x")
    (session_guard.path / "private").write_text("x")
    # What other processes of the run made is known from their journals alone.
    child = os.fork()
    if child == 0:
        open(f"{made}-by-a-child", "w").close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    session_guard.remove(made, f"{made}-by-a-child")

@pytest.mark.parametrize("name", ["geteuid", "getuid", "getpid"])
def test_pretends_and_harms(monkeypatch, name):
    monkeypatch.setattr(os, name, lambda: 4242)
    shell_makes(name)

def test_follows(session_guard):
    made = STORE / "removed"
    made.write_text("x")
    session_guard.remove(made)
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["bare", "n2"])
def test_a_test_that_pretends_to_be_another_user_or_process_does_not_make_the_ledger_somebody_elses(
    account: tuple[Account, Path], workers: tuple[str, ...]
) -> None:
    who, place = account
    project = Project(place / f"pretends{len(workers)}", {"test_it.py": IMPORTS + PRETENDS}, HOME, who)
    (project.base / "store").mkdir()
    project.give_away()

    # A worker has threads, which newer Pythons warn of at a fork.
    quiet = ("-W", "ignore::DeprecationWarning")
    result = project.run(f"--session-guard-share={project.base}/store", *workers, *quiet)

    assert (result.status, result.outcomes) == (1, {"passed": 7, "failed": 3}), result.words
    assert {touch["nodeid"].partition("[")[0] for touch in result.touches} == {"test_it.py::test_pretends_and_harms"}
    assert list((project.base / "store").iterdir()) == [], result.words
    assert result.changes == {}
    made = {path.name for path in project.tmp.iterdir() if path.name.startswith("pytest-session-guard-")}
    assert made <= {f"pytest-session-guard-{os.getuid() if who.uid is None else who.uid}"}


MAY_NOT_GROW = """
def test_creates():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    (STORE / "before").touch()
    # From here on nothing of it can be recorded, and what pytest captures of stderr has no room for words either.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        for number in range(3):
            with contextlib.suppress(OSError):
                (STORE / str(number)).touch()
        with contextlib.suppress(OSError):
            (ROOT / "kept").unlink()
        with contextlib.suppress(OSError):
            NOTES.unlink()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

def test_creates_again():
    (STORE / "after").touch()
"""


def test_when_files_may_not_grow_nothing_happens_and_each_refusal_says_that_it_could_not_be_recorded(
    make_project: MakeProject,
) -> None:
    project = make_project({"test_it.py": IMPORTS + MAY_NOT_GROW, "kept": "was"})
    store = project.base / "store"
    store.mkdir()

    result = project.run(f"--session-guard-share={store}")

    assert (result.status, result.outcomes) == (1, {"failed": 1, "passed": 1}), result.words
    assert (list(store.iterdir()), (project.root / "kept").read_text(), result.changes) == ([], "was", {})
    reasons = {touch["reason"] for touch in result.touches_of("test_creates")}
    assert any("cannot be recorded" in reason for reason in reasons), reasons
    assert not any("own code was replaced" in reason for reason in reasons), reasons
    assert "please report it" not in result.words


FAILS = """\
import pytest_session_guard.{module} as module

def own_bug(*arguments, **names):
    raise RuntimeError("a bug of the guard's own")

def pytest_collection_finish():
    module.{name} = own_bug
"""
CREATES = """
def test_creates():
    (STORE / "made").write_text("x")
    (ROOT / "source").write_text("changed")

def test_harms():
    with contextlib.suppress(OSError):
        NOTES.unlink()
"""


@pytest.mark.parametrize(
    ("module", "name", "stays"),
    [
        pytest.param("_run.session", "clear_shared", True, id="removing"),
        pytest.param("_controls.cleanup.removing", "_remove_file", True, id="in-the-middle-of-removing"),
        pytest.param("_controls.preimages", "Preimages.note_left", True, id="before-removing"),
        pytest.param("_run.exit", "look_once_more", False, id="after-the-report"),
        pytest.param("_run.exit", "close", False, id="closing"),
    ],
)
def test_where_the_guard_itself_fails_at_its_end_the_run_is_red_nothing_more_is_removed_and_a_command_finishes_it(
    make_project: MakeProject, module: str, name: str, stays: bool
) -> None:
    suite = IMPORTS + CREATES
    project = make_project(
        {"test_it.py": suite, "conftest.py": FAILS.format(module=module, name=name), "source": "was"}
    )
    store = project.base / "store"
    store.mkdir()
    (store / "real").touch()

    result = project.run(f"--session-guard-share={store}", "--deselect=test_it.py::test_harms")
    left = {path.name for path in store.iterdir()}
    (run,) = (project.root / ".session_guard" / "runs").iterdir()
    done = project.call(project.account.python, "-m", "pytest_session_guard", "clean", run.name)
    restored = project.call(project.account.python, "-m", "pytest_session_guard", "restore", run.name)

    assert (result.status, result.outcomes) == (1, {"passed": 1, "deselected": 1}), result.words
    assert f"finish it by hand: session-guard clean {run.name}" in result.words
    assert "RuntimeError: a bug of the guard's own" in result.stderr, "where it was is what a report of it needs"
    assert result.report is not None
    assert result.report["verdict"] == "violated"
    assert left == ({"real", "made"} if stays else {"real"}), result.words
    assert ("the guard failed before it was removed" in result.stdout) is stays
    assert (done.returncode, os.listdir(store)) == (0, ["real"]), done.stdout + done.stderr
    assert (restored.returncode, (project.root / "source").read_text()) == (0, "was"), restored.stdout


def test_where_the_guard_itself_fails_at_its_end_what_it_knew_is_told_all_the_same(make_project: MakeProject) -> None:
    fails = FAILS.format(module="_run.session", name="clear_shared")
    project = make_project({"test_it.py": IMPORTS + CREATES, "conftest.py": fails, "source": "was"})
    (project.base / "store").mkdir()

    result = project.run(f"--session-guard-share={project.base}/store")

    assert (result.status, result.outcomes) == (1, {"failed": 1, "passed": 1}), result.words
    assert result.touches_of("test_harms")
    assert result.changes == {}
