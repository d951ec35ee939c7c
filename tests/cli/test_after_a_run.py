"""What can be done after a run: look at it, bring back what it changed in the workspace, finish what a killed one left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest
from project import Facts, MakeProject, Project, differences, snapshot

FILES = {
    "tree/a.txt": "a\n",
    "tree/deep/b.txt": "b\n",
    "empty": None,
    "moved/m.txt": "m\n",
    "link": "->tree",
    "dangling": "->nowhere",
    "plain.txt": "plain\n",
    "mode.txt": "mode\n",
    "replaced.txt": "old\n",
    "untouched.txt": "untouched\n",
}
SUITE = """\
import contextlib, os, shutil
from pathlib import Path

def test_changes(tmp_path):
    shutil.rmtree("tree")
    os.rmdir("empty")
    os.rename("moved", "elsewhere")
    os.unlink("link")
    os.unlink("dangling")
    Path("plain.txt").write_text("overwritten")
    os.chmod("mode.txt", 0o600)
    os.utime("mode.txt", (1, 1))
    (tmp_path / "new").write_text("new")
    os.replace(tmp_path / "new", "replaced.txt")
    Path("created.txt").write_text("x")

def test_harm():
    with contextlib.suppress(OSError):
        (Path.home() / ".chat" / "notes.txt").unlink()
"""


def command(project: Project, *args: str) -> subprocess.CompletedProcess[str]:
    """Run ``session-guard`` in the project."""
    return project.call(sys.executable, "-m", "pytest_session_guard", *args)


def of_the_project(project: Project) -> dict[str, Facts]:
    """The facts of what the project had before any run."""
    names = ("tree", "empty", "moved", "link", "dangling", "plain.txt", "mode.txt", "replaced.txt", "untouched.txt")
    return {path: facts for path, facts in snapshot(project.root).items() if path.partition("/")[0] in names}


@dataclass(frozen=True)
class Ran:
    project: Project
    before: dict[str, Facts]
    run_id: str


@pytest.fixture(params=["auto", "hook"])
def ran(request: pytest.FixtureRequest, make_project: MakeProject) -> Ran:
    """A run that changed much in its workspace."""
    project = make_project({**FILES, "test_it.py": SUITE})
    before = of_the_project(project)
    result = project.run(f"--session-guard-layers={request.param}")
    assert result.report is not None, result.words
    assert result.said_of("test_changes") == {"PASSED"}, result.words
    return Ran(project, before, result.report["run"]["id"])


def test_restore_brings_everything_back_as_it_was(ran: Ran) -> None:
    changed = of_the_project(ran.project)

    planned = command(ran.project, "restore", "--dry-run", ran.run_id)
    after_plan = of_the_project(ran.project)
    done = command(ran.project, "restore", ran.run_id)

    assert differences(ran.before, changed).keys() >= {
        "tree",
        "tree/deep/b.txt",
        "empty",
        "link",
        "plain.txt",
        "mode.txt",
    }
    assert planned.returncode == 0, planned.stderr
    assert "plain.txt" in planned.stdout
    assert differences(changed, after_plan) == {}
    assert done.returncode == 0, done.stderr
    left = differences(ran.before, of_the_project(ran.project))
    # A pre-image may be another link to what came back.
    assert {path: facts for path, facts in left.items() if set(facts) - {"links"}} == {}, done.stdout


def test_restore_of_one_path_brings_back_that_path_alone(ran: Ran) -> None:
    done = command(ran.project, "restore", ran.run_id, "tree/deep/b.txt")

    assert done.returncode == 0, done.stderr
    assert (ran.project.root / "tree" / "deep" / "b.txt").read_text() == "b\n"
    assert (ran.project.root / "plain.txt").read_text() == "overwritten"
    assert not (ran.project.root / "empty").exists()


def test_restore_does_not_overwrite_what_was_changed_since(ran: Ran) -> None:
    (ran.project.root / "plain.txt").write_text("by a person, after the run")

    done = command(ran.project, "restore", ran.run_id)
    kept = (ran.project.root / "plain.txt").read_text()
    forced = command(ran.project, "restore", "--force", ran.run_id)

    assert done.returncode == 1, done.stdout
    assert "plain.txt" in done.stdout + done.stderr
    assert kept == "by a person, after the run"
    assert forced.returncode == 0, forced.stderr
    assert (ran.project.root / "plain.txt").read_text() == "plain\n"
    aside = [path for path in (ran.project.root / ".session_guard").rglob("*") if path.is_file()]
    assert any(path.read_bytes() == b"by a person, after the run" for path in aside)


def test_runs_and_show_say_what_happened(ran: Ran) -> None:
    runs, machine = command(ran.project, "runs"), command(ran.project, "runs", "--json")
    shown = command(ran.project, "show", ran.run_id[:-3])

    assert runs.returncode == machine.returncode == shown.returncode == 0
    assert runs.stdout.startswith(ran.run_id)
    assert ran.run_id in json.dumps(json.loads(machine.stdout))
    for said in ("delete refused: ", "test_it.py::test_harm", "plain.txt", "created.txt"):
        assert said in shown.stdout


@pytest.mark.parametrize("words", [("show", "no-such-run"), ("restore", "no-such-run")])
def test_unknown_run_is_said_in_one_message(make_project: MakeProject, words: tuple[str, ...]) -> None:
    project = make_project({"test_it.py": "def test_it():\n    pass\n"})
    project.run()

    done = command(project, *words)

    assert done.returncode in {2, 3}
    assert "no-such-run" in done.stderr
    assert "Traceback" not in done.stderr


LINGERS = """\
import os, time
from pathlib import Path

def test_first():
    (Path.home() / "shared" / "mine.txt").write_text("x")
    Path("kept-by-the-workspace.txt").write_text("x")

def test_second():
    Path(os.environ["TMPDIR"], "ready").touch()
    time.sleep(60)
"""


DECLARES = """\
def pytest_session_guard_zones(config):
    return [("shared", "~/shared")]
"""


@pytest.fixture(params=["ini", "conftest"])
def killed(make_project: MakeProject, request: pytest.FixtureRequest) -> Project:
    """A project whose run was killed with an artifact in a zone that its ini file, or a hook in its conftest, shares."""
    ini = "[pytest]\nsession_guard_share =\n    ~/shared\n"
    shares = {"pytest.ini": ini} if request.param == "ini" else {"conftest.py": DECLARES}
    project = make_project({"test_it.py": LINGERS, **shares}, {"shared/foreign.txt": "foreign\n"})
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:randomly"],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (project.tmp / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (project.home / "shared" / "mine.txt").exists()
    return project


def test_clean_finishes_what_a_killed_run_left(killed: Project) -> None:
    planned = command(killed, "clean", "--dry-run")
    still = (killed.home / "shared" / "mine.txt").exists()
    done = command(killed, "clean")

    assert "mine.txt" in planned.stdout
    assert still
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (killed.home / "shared").iterdir()) == ["foreign.txt"]
    assert (killed.home / "shared" / "foreign.txt").read_text() == "foreign\n"
    assert (killed.root / "kept-by-the-workspace.txt").exists()


def test_clean_keeps_what_a_person_put_in_its_place(killed: Project) -> None:
    mine = killed.home / "shared" / "mine.txt"
    mine.unlink()
    mine.write_text("by a person")

    done = command(killed, "clean")

    assert mine.read_text() == "by a person"
    assert "Traceback" not in done.stderr


def test_next_run_finishes_what_a_killed_run_left_and_says_so(killed: Project) -> None:
    result = killed.run("-k", "first")

    assert sorted(path.name for path in (killed.home / "shared").iterdir()) == ["foreign.txt"]
    assert "had been killed" in result.stdout
    assert result.status == 0, result.words
