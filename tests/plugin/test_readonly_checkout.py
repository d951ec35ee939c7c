"""A checkout on a read-only disk: its run is guarded as any other, and keeps its ledger elsewhere."""

from __future__ import annotations

import pytest
from capabilities import mount_namespace
from project import HOME, MakeProject, Project

SUITE = """\
import contextlib, os
from pathlib import Path

STORE = Path.home() / "store"

def test_made():
    (STORE / "mine.json").write_text("{}")

def test_killed():
    if os.environ.get("DIE"):
        os.kill(os.getpid(), 9)

def test_harm():
    with contextlib.suppress(OSError):
        (Path.home() / ".chat" / "notes.txt").unlink()
"""
FILES = {"test_it.py": SUITE, "pytest.ini": "[pytest]\nsession_guard_share = ~/store\n"}
pytestmark = pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")
HOME_FILES = {**HOME, "store/real.json": "{}"}


@pytest.fixture
def read_only(make_project: MakeProject) -> tuple[Project, tuple[str, ...]]:
    """A project, and what a command must be begun with to find it on a read-only disk."""
    project = make_project(FILES, HOME_FILES)
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"'
    return project, (*mount_namespace(), "sh", "-c", script, str(project.root))


@pytest.mark.parametrize("launcher", [False, True], ids=["in-process", "launcher"])
def test_run_in_a_checkout_on_a_read_only_disk(read_only: tuple[Project, tuple[str, ...]], launcher: bool) -> None:
    project, prefix = read_only
    python = project.account.python
    pytest_words = (python, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly")
    guard = (python, "-m", "pytest_session_guard")
    run = (*prefix, *(*guard, "run", "--") * launcher, *pytest_words)

    killed = project.call(*run, env={"DIE": "1"})
    left = (project.home / "store" / "mine.json").exists()
    done = project.call(*run)
    runs = project.call(*prefix, *guard, "runs")

    assert killed.returncode != 0
    assert left
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 2 passed" in done.stdout
    assert f"the ledger is kept in {project.tmp}/pytest-session-guard-" in done.stdout
    assert sorted(path.name for path in (project.home / "store").iterdir()) == ["real.json"]
    assert (project.home / ".chat" / "notes.txt").exists()
    assert not (project.root / ".session_guard").exists()
    assert runs.stdout.count("violation") >= 1, runs.stdout + runs.stderr
    assert len(list(project.tmp.glob("pytest-session-guard-*-*/runs/*"))) == 2


def test_users_runtime_directory_comes_first(read_only: tuple[Project, tuple[str, ...]]) -> None:
    project, prefix = read_only
    runtime = project.base / "runtime"
    runtime.mkdir()

    done = project.call(
        *(*prefix, project.account.python, "-m", "pytest", "-p", "no:cacheprovider", "-k", "made"),
        env={"XDG_RUNTIME_DIR": str(runtime)},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(runtime.glob("pytest-session-guard-*/runs/*"))) == 1


def test_a_ledger_that_was_named_is_not_kept_elsewhere(read_only: tuple[Project, tuple[str, ...]]) -> None:
    project, prefix = read_only

    done = project.call(*prefix, project.account.python, "-m", "pytest", "--session-guard-dir=ledger")

    assert done.returncode == 4
    assert "session_guard_dir (command line: --session-guard-dir): the ledger cannot be kept there" in done.stderr
