from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SUITE = """\
import os, pathlib, sqlite3
DATA = pathlib.Path.home() / "data"

def test_attach(tmp_path):
    con = sqlite3.connect(tmp_path / "a.db")
    try:
        con.execute(f"attach '{DATA}/new.db' as x")
        con.execute("create table x.t (a)")
        con.commit()
    except sqlite3.Error:
        pass

def test_vacuum_into(tmp_path):
    con = sqlite3.connect(tmp_path / "a.db")
    con.execute("create table t (a)")
    con.commit()
    try:
        con.execute(f"vacuum into '{DATA}/copy.db'")
    except sqlite3.Error:
        pass

def test_attach_in_tmp(tmp_path):
    con = sqlite3.connect(":memory:")
    con.execute(f"attach '{tmp_path}/new.db' as x")
    con.execute("create table x.t (a)")
    con.commit()

def test_history():
    import readline
    try:
        readline.write_history_file(str(DATA / "history"))
    except OSError:
        pass
"""
HARMFUL = ("test_attach", "test_vacuum_into", "test_history")


def run(tmp_path: Path, *options: str) -> tuple[str, set[str]]:
    home, project = tmp_path / "home", tmp_path / "project"
    (home / "data").mkdir(parents=True)
    project.mkdir()
    (project / "test_it.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *options]
    environ = {**os.environ, "HOME": str(home), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False)
    return done.stdout, {path.name for path in (home / "data").iterdir()}


def test_hook_alone_sees_what_raises_no_event(tmp_path: Path) -> None:
    output, made = run(tmp_path, "--session-guard-layers=hook")

    assert made == set()
    assert all(f"FAILED test_it.py::{name}" in output for name in HARMFUL), output
    assert "PASSED test_it.py::test_attach_in_tmp" in output


def test_without_the_guard_the_same_does_damage(tmp_path: Path) -> None:
    _, made = run(tmp_path, "-p", "no:session_guard")

    assert made == {"new.db", "copy.db", "history"}


def test_both_hooks_watch_the_whole_table() -> None:
    script = (
        "from pytest_session_guard._core.events import EVENTS, WRITE_FLAGS\n"
        "from pytest_session_guard._controls.audit import attribution, hook\n"
        "from pytest_session_guard import _startup\n"
        "table = set(EVENTS) | attribution.THREAD_EVENTS\n"
        "assert hook.WATCHED - hook.LAUNCHES == table, hook.WATCHED ^ table\n"
        "assert _startup.WATCHED == table, _startup.WATCHED ^ table\n"
        "assert _startup.WRITE_FLAGS == WRITE_FLAGS\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
