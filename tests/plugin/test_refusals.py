"""Every operation that changes something is refused in protected places, by name, test and line; unguarded each does damage."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from capabilities import user_xattrs
from project import MakeProject, Project, Result

from .operations import NO_CHANGE_UNGUARDED, OPERATIONS, Operation, home_for, suite_of

EACH = pytest.mark.parametrize("operation", [pytest.param(op, id=op.name) for op in OPERATIONS])
SUITE, ACTS = suite_of(OPERATIONS)


@dataclass(frozen=True)
class Tried:
    """A run of all operations, and the project that it ran on."""

    project: Project
    result: Result

    def changes_of(self, operation: Operation) -> dict[str, tuple[str, ...]]:
        """What this operation did to its own protected directory."""
        own = f".chat/{operation.name}"
        return {path: facts for path, facts in self.result.changes.items() if path == own or path.startswith(own + "/")}


def try_all(make: MakeProject, *args: str, report: bool = True) -> Tried:
    """Run all operations once, in a fresh project."""
    project = make({"test_acts.py": SUITE}, home_for(OPERATIONS))
    for op in OPERATIONS if user_xattrs() else ():
        os.setxattr(project.home / ".chat" / op.name / "notes.txt", "user.standing", b"was here")
    return Tried(project, project.run(*args, report=report))


@pytest.fixture(scope="module")
def by_hook(make_shared_project: MakeProject) -> Tried:
    """All operations under the hook alone."""
    return try_all(make_shared_project, "--session-guard-layers=hook")


@pytest.fixture(scope="module")
def unguarded(make_shared_project: MakeProject) -> Tried:
    """All operations with the plugin taken out."""
    return try_all(make_shared_project, "-p", "no:session_guard", report=False)


@EACH
def test_operation_is_refused_and_nothing_changes(by_hook: Tried, operation: Operation) -> None:
    name = f"test_{operation.name}"

    touches = by_hook.result.touches_of(name)

    assert by_hook.changes_of(operation) == {}
    assert by_hook.result.said_of(name) == {"FAILED"}, by_hook.result.words
    assert touches, by_hook.result.words
    assert {touch["outcome"] for touch in touches} == {"refused"}


@EACH
def test_operation_is_named_with_its_path_test_phase_and_line(by_hook: Tried, operation: Operation) -> None:
    name = f"test_{operation.name}"

    first = by_hook.result.touches_of(name)[0]

    expected = f"{by_hook.project.home}/.chat/{operation.name}/{operation.hits}".rstrip("/")
    assert fnmatchcase(first["path"], expected), first
    assert event_of(first["operation"]) in operation.event.split("|")
    assert (first["nodeid"], first["phase"], first["zone"]) == (f"test_acts.py::{name}", "call", "protected")
    assert Path(first["file"]).name == "test_acts.py"
    assert first["line"] == ACTS[operation.name]
    assert first["layer"] == "hook"


def event_of(operation: str) -> str:
    """The audit event in ``pathlib.unlink (os.remove)``."""
    return operation.rpartition("(")[2].rstrip(")")


@EACH
def test_operation_does_damage_when_the_guard_is_out(unguarded: Tried, operation: Operation) -> None:
    assert unguarded.result.said_of(f"test_{operation.name}") == {"PASSED"}, unguarded.result.words
    assert bool(unguarded.changes_of(operation)) == (operation.name not in NO_CHANGE_UNGUARDED)


def test_run_of_refusals_is_red(by_hook: Tried) -> None:
    assert by_hook.result.status == 1
    assert by_hook.result.report is not None
    assert by_hook.result.report["verdict"] == "violated"
    assert by_hook.result.report["violations"] >= len(OPERATIONS)
    assert by_hook.result.changes == {}


PARENTS = """\
import errno, os
from pathlib import Path
import pytest

STORE = Path(os.environ["TMPDIR"]).parent / "store"
CHAT = Path.home() / ".chat"

def test_own_tree_goes_as_far_as_it_can():
    (STORE / "a" / "b").mkdir(parents=True)
    os.removedirs(STORE / "a" / "b")
    assert not (STORE / "a").exists()

def test_own_file_is_renamed_into_another_tree():
    (STORE / "c").mkdir()
    (STORE / "c" / "file").write_text("made by the run")
    os.renames(STORE / "c" / "file", STORE / "d" / "file")

def test_directory_that_holds_something_says_so():
    with pytest.raises(OSError) as caught:
        os.rmdir(CHAT)
    assert (caught.value.errno, os.fspath(caught.value.filename)) == (errno.ENOTEMPTY, str(CHAT))
    with pytest.raises(OSError, match="not empty"):
        CHAT.rmdir()
"""
EMPTIED = """\
import os
from pathlib import Path

def test_it():
    mine = Path(os.environ["TMPDIR"]).parent / "store" / "empty" / "mine"
    mine.mkdir()
    os.removedirs(mine)
"""


@pytest.mark.parametrize("layers", ["hook", "auto"])
def test_removal_of_a_directory_that_is_not_empty_fails_as_it_would_and_is_no_touch(
    make_project: MakeProject, layers: str
) -> None:
    project = make_project({"test_it.py": PARENTS})
    store = project.base / "store"
    store.mkdir()
    (store / "real.json").write_text("was there")

    result = project.run(f"--session-guard-layers={layers}", f"--session-guard-share={store}")

    assert (result.status, result.touches) == (0, []), result.words
    assert sorted(path.name for path in store.iterdir()) == ["real.json"]


@pytest.mark.parametrize("layers", ["hook", "auto"])
def test_parent_that_was_empty_before_is_not_removed_with_an_own_tree(make_project: MakeProject, layers: str) -> None:
    project = make_project({"test_it.py": EMPTIED})
    empty = project.base / "store" / "empty"
    empty.mkdir(parents=True)

    result = project.run(f"--session-guard-layers={layers}", f"--session-guard-share={project.base / 'store'}")

    assert (result.status, [touch["path"] for touch in result.touches]) == (1, [str(empty)]), result.words
    assert list(empty.iterdir()) == []
