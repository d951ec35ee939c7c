"""Each test in a fork of its own, as pytest-forked runs them: the verdict, the ledger and the private places are the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from capabilities import mount_namespace
from project import MakeProject, Project, Result

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
needs_overlay = pytest.mark.skipif(not mount_namespace(), reason="no overlay here")

IMPORTS = """\
import contextlib, os, subprocess
from pathlib import Path

import pytest

NOTES = Path.home() / ".chat" / "notes.txt"
STORE = Path(__file__).parents[1] / "store"

"""
FORKING = Path(__file__).with_name("forking.py").read_text()


class Forked:
    """A project with a shared store, whose tests each run in a fork."""

    def __init__(self, make_project: MakeProject, workers: tuple[str, ...], suite: str) -> None:
        self.project: Project = make_project(
            {"test_it.py": IMPORTS + suite, "forking.py": FORKING, "source.txt": "was"}
        )
        self.store = self.project.base / "store"
        self.store.mkdir()
        (self.store / "real.json").write_text('{"id": "real"}')
        self.workers = workers

    def run(self, *more: str) -> Result:
        return self.project.run("-p", "forking", f"--session-guard-share={self.store}", *self.workers, *more)

    @property
    def left(self) -> list[str]:
        return sorted(path.name for path in self.store.iterdir())

    @property
    def in_temp(self) -> list[str]:
        return sorted(path.name for path in self.project.tmp.rglob("*private*"))


def nodeids(result: Result) -> list[str]:
    return sorted(touch["nodeid"].rpartition("::")[2] for touch in result.touches)


def test_artifacts_of_forks_are_recorded_and_removed(make_project: MakeProject, workers: tuple[str, ...]) -> None:
    forked = Forked(
        make_project,
        workers,
        """
def test_plain():
    (STORE / "plain.txt").write_text("x")
    (STORE / "directory").mkdir()
    (STORE / "directory" / "inside").write_text("x")

def test_by_object(session_guard):
    session_guard.write_json(STORE / "written.json", {})
    session_guard.artifact(STORE / "written.json")

def test_in_a_fork_of_the_fork():
    pid = os.fork()
    if pid == 0:
        (STORE / "by_child").write_text("x")
        os._exit(0)
    os.waitpid(pid, 0)
""",
    )

    result = forked.run()

    assert (result.status, result.outcomes["passed"], result.touches) == (0, 3, []), result.words
    assert forked.left == ["real.json"], result.words
    assert result.report is not None
    created = {os.path.basename(path) for path in result.report["artifacts"]["removed"]}
    assert created == {"plain.txt", "directory", "inside", "written.json", "by_child"}


def test_a_swallowed_refusal_in_a_fork_fails_its_test_once(make_project: MakeProject, workers: tuple[str, ...]) -> None:
    forked = Forked(
        make_project,
        workers,
        """
def harm():
    with contextlib.suppress(OSError):
        NOTES.unlink()

@pytest.fixture
def harmful():
    yield
    harm()

def test_call():
    harm()

def test_teardown(harmful):
    pass

def test_innocent():
    pass
""",
    )

    result = forked.run()

    assert result.changes == {}
    assert nodeids(result) == ["test_call", "test_teardown"], result.words
    assert result.status == 1
    assert result.said_of("test_call") == {"FAILED"}
    assert result.said_of("test_teardown") == {"PASSED", "ERROR"}
    assert result.said_of("test_innocent") == {"PASSED"}


@needs_overlay
def test_what_only_the_overlay_saw_is_charged_to_the_forked_test_and_to_no_later_one(
    make_project: MakeProject, workers: tuple[str, ...]
) -> None:
    forked = Forked(
        make_project,
        workers,
        """
def test_a():
    subprocess.run(["sh", "-c", f"echo harm >> '{NOTES}'"])

def test_b():
    pass

def test_c():
    pass

def test_d():
    subprocess.run(["sh", "-c", f"echo more harm >> '{NOTES}'"])
""",
    )

    result = forked.run()

    assert result.changes == {}
    assert nodeids(result) == ["test_a", "test_d"], result.words
    assert [result.said_of(name) for name in ("test_a", "test_b", "test_c", "test_d")] == [
        {"FAILED"},
        {"PASSED"},
        {"PASSED"},
        {"FAILED"},
    ]


@needs_overlay
def test_a_fork_that_dies_leaves_its_evidence(make_project: MakeProject, workers: tuple[str, ...]) -> None:
    forked = Forked(
        make_project,
        workers,
        """
def test_a_dies():
    (STORE / "first").write_text("x")
    (STORE / "second").write_text("x")
    subprocess.run(["sh", "-c", f"echo harm >> '{NOTES}'"])
    os.kill(os.getpid(), 9)

def test_b_follows():
    pass
""",
    )

    result = forked.run()

    assert result.changes == {}
    assert nodeids(result) == ["test_a_dies"], result.words
    assert result.said_of("test_b_follows") == {"PASSED"}
    # The second was announced, and nobody lived to record it but the keeper, which had heard of it.
    assert forked.left == ["real.json"], result.words
    assert result.report is not None
    assert result.report["artifacts"]["kept"] == []


def test_private_places_of_forked_tests_are_their_own_and_go(
    make_project: MakeProject, workers: tuple[str, ...]
) -> None:
    forked = Forked(
        make_project,
        workers,
        """
@pytest.mark.parametrize("number", range(4))
def test_starts_empty(session_dir, number):
    assert list(session_dir.iterdir()) == []
    (session_dir / "file").write_text("x")
""",
    )

    result = forked.run()

    assert (result.status, result.outcomes["passed"]) == (0, 4), result.words
    assert forked.in_temp == []


@needs_overlay
def test_what_a_mark_changes_ends_with_the_forked_test(make_project: MakeProject) -> None:
    forked = Forked(
        make_project,
        (),
        """
@pytest.mark.session_guard(pristine=str(NOTES.parent))
def test_a_copy():
    NOTES.write_text("in a copy")

def test_b_sees_the_real_one_again():
    assert NOTES.read_text() == "notes of a person\\n"
    with pytest.raises(PermissionError):
        NOTES.write_text("harm")

def test_c_forgiven(session_guard):
    with session_guard.expect_refusal():
        with contextlib.suppress(OSError):
            NOTES.unlink()
""",
    )

    result = forked.run()

    assert result.changes == {}
    assert nodeids(result) == ["test_b_sees_the_real_one_again"], result.words
    assert "assert" not in " ".join(touch["reason"] for touch in result.touches)
    assert result.said_of("test_a_copy") == {"PASSED"}
    assert result.said_of("test_c_forgiven") == {"PASSED"}
    assert "in a copy" not in result.stdout


def test_files_that_a_glob_names_are_tagged_after_a_fork_too(make_project: MakeProject) -> None:
    forked = Forked(
        make_project,
        (),
        """
def test_a_creates():
    (STORE / "a.json").write_text('{"id": 1}')

def test_b_sees_the_tag():
    assert "__test_artifact" in (STORE / "a.json").read_text()
""",
    )
    (forked.project.root / "pytest.ini").write_text("[pytest]\nsession_guard_tag = *.json\n")

    result = forked.run()

    assert (result.status, result.outcomes["passed"]) == (0, 2), result.words
    assert forked.left == ["real.json"]


def test_what_a_forked_test_changes_in_the_workspace_comes_back(make_project: MakeProject) -> None:
    forked = Forked(
        make_project, (), 'def test_it():\n    (Path(__file__).parent / "source.txt").write_text("overwritten")\n'
    )

    result = forked.run()

    assert result.status == 0, result.words
    assert "source.txt" in result.stdout
    run_id = os.listdir(forked.project.root / ".session_guard" / "runs")[0]
    done = forked.project.call(
        forked.project.account.python, "-m", "pytest_session_guard", "restore", run_id, str(forked.project.root)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (forked.project.root / "source.txt").read_text() == "was"


CHILDREN = """\
import os, subprocess, sys
from pathlib import Path

SHARED = Path.home() / "shared"

def test_children_create():
    for name, end in (("by-returning", ""), ("by-exit", "; import os; os._exit(0)")):
        code = "import sys; open(sys.argv[1], 'w').close()" + end
        subprocess.run([sys.executable, "-c", code, SHARED / name], check=True)
        assert (SHARED / name).exists()
"""


def test_what_a_python_child_makes_last_is_recorded_and_removed(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": CHILDREN}, {"shared/foreign": "real\n"})

    result = project.run("--session-guard-share=~/shared")

    assert result.status == 0, result.words
    assert result.report is not None
    assert result.report["artifacts"]["kept"] == []
    assert {path for path, facts in result.changes.items() if facts != ("modified_ns",)} == set()
