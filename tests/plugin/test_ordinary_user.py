"""The same promises for a user without privileges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from isolated import ordinary_account
from project import HOME, Account, Project, Result

from .operations import OPERATIONS, home_for, suite_of

SOME = tuple(op for op in OPERATIONS if op.name != "open_not_utf8")[::4]
SUITE, _ = suite_of(SOME)
HIDDEN = """\
import atexit, contextlib, os
from pathlib import Path

import pytest

CHAT, SHARED, ROOT = Path.home() / ".chat", Path.home() / "shared", Path(__file__).parent

def harm():
    with contextlib.suppress(OSError):
        (CHAT / "notes.txt").unlink()

def test_swallowed():
    harm()

@pytest.mark.xfail
def test_xfail():
    (CHAT / "notes.txt").unlink()

@pytest.fixture
def tidy():
    yield
    harm()

def test_teardown(tidy):
    pass

def test_git():
    (ROOT / ".git" / "config").write_text("x")

def test_foreign():
    (SHARED / "foreign.txt").write_text("x")

def test_allowed(tmp_path, session_guard, session_dir):
    assert os.getuid() != 0
    (SHARED / "mine.txt").write_text("x")
    (ROOT / "new.txt").write_text("x")
    (ROOT / "tracked.txt").write_text("x")
    (tmp_path / "x").touch()
    session_guard.write_json(session_dir / "a.json", {})
    with session_guard.expect_refusal():
        harm()

def test_reads():
    assert (CHAT / "notes.txt").read_text() == "notes of a person\\n"
"""
RED = {
    "test_swallowed": "FAILED",
    "test_xfail": "FAILED",
    "test_teardown": "ERROR",
    "test_git": "FAILED",
    "test_foreign": "FAILED",
}


@pytest.fixture(scope="module")
def account() -> Iterator[tuple[Account, Path]]:
    """An account without privileges, and a directory of its own."""
    with ordinary_account() as (account, place):
        yield account, place


@dataclass(frozen=True)
class Ran:
    project: Project
    result: Result


@pytest.fixture(scope="module")
def operations(account: tuple[Account, Path]) -> Ran:
    """A sample of all operations."""
    who, place = account
    project = Project(place / "operations", {"test_acts.py": SUITE}, home_for(SOME), who)
    return Ran(project, project.run())


@pytest.fixture(scope="module")
def ran(account: tuple[Account, Path], workers: tuple[str, ...]) -> Ran:
    """A sample of everything else, bare and with two workers."""
    who, place = account
    files = {"test_hidden.py": HIDDEN, ".git/config": "[core]\n", "tracked.txt": "tracked\n"}
    project = Project(place / f"hidden{len(workers)}", files, {**HOME, "shared/foreign.txt": "foreign\n"}, who)
    return Ran(project, project.run(*workers, "--session-guard-share=~/shared"))


@pytest.mark.parametrize("name", [op.name for op in SOME])
def test_operation_is_refused(operations: Ran, name: str) -> None:
    # Root's own privilege is what removexattr of a missing attribute and the like do not need: each is refused first.
    assert operations.result.touches_of(f"test_{name}"), operations.result.words
    assert operations.result.said_of(f"test_{name}") == {"FAILED"}
    assert operations.result.changes == {}


@pytest.mark.parametrize("name", list(RED))
def test_refusal_turns_its_test_red(ran: Ran, name: str) -> None:
    assert ran.result.touches_of(name), ran.result.words
    assert RED[name] in ran.result.said_of(name)


@pytest.mark.parametrize("name", ["test_allowed", "test_reads"])
def test_what_is_allowed_passes(ran: Ran, name: str) -> None:
    assert ran.result.said_of(name) == {"PASSED"}, ran.result.words


def test_home_is_untouched_and_the_shared_zone_cleared(ran: Ran) -> None:
    assert {path: facts for path, facts in ran.result.changes.items() if facts != ("modified_ns",)} == {}
    assert ran.result.status == 1


def test_late_refusal_makes_the_exit_status_1(account: tuple[Account, Path]) -> None:
    who, place = account
    late = HIDDEN.partition("def test_swallowed")[0] + "def test_starts():\n    atexit.register(harm)\n"
    project = Project(place / "late", {"test_late.py": late}, HOME, who)

    result = project.run()

    assert result.changes == {}
    assert (result.status, result.outcomes) == (1, {"passed": 1}), result.words
    assert "delete refused: " in result.stderr


def test_ledger_directory_that_this_user_cannot_write_stops_the_run(account: tuple[Account, Path]) -> None:
    who, place = account
    project = Project(place / "sealed", {"test_it.py": "def test_it():\n    pass\n"}, HOME, who)
    project.root.chmod(0o555)

    result = project.run()
    off = project.run("--session-guard=off", "-p", "no:cacheprovider")

    assert result.status == 4, result.words
    assert "session_guard_dir" in result.stderr
    assert result.stderr.count("[bad-configuration]") == 1
    assert off.status == 0, off.words
