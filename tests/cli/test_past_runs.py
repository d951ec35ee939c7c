"""``runs``, ``show``, ``restore`` and ``clean``: what people do after a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from project import Facts, MakeProject, Project, snapshot

from .commands import guard

SUITE = """\
from pathlib import Path

ROOT = Path(__file__).parent

def test_changes():
    (ROOT / "kept.txt").write_text("changed by the run")
    (ROOT / "gone.txt").unlink()
    (ROOT / "new.txt").write_text("made by the run")

def test_harms():
    (Path.home() / ".chat" / "notes.txt").unlink()
"""
FILES = {"test_it.py": SUITE, "kept.txt": "kept before", "gone.txt": "gone before", "other.txt": "never touched"}


def after_a_run(make_project: MakeProject) -> Project:
    project = make_project(FILES)
    result = project.run()
    assert result.status == 1, result.words
    return project


@pytest.fixture
def changed(make_project: MakeProject) -> Project:
    """A project after a run that changed its workspace."""
    return after_a_run(make_project)


@pytest.fixture(scope="module")
def looked_at(make_shared_project: MakeProject) -> Project:
    """Such a project for commands that only look."""
    return after_a_run(make_shared_project)


def run_ids(project: Project) -> list[str]:
    return sorted(path.name for path in (project.root / ".session_guard" / "runs").iterdir())


def test_runs_of_a_checkout_without_a_ledger_are_none_and_none_is_made(make_project: MakeProject) -> None:
    project = make_project()

    done = guard(project, "runs")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("no runs in ")
    assert not (project.root / ".session_guard").exists()


WRONG_PLACES = (
    pytest.param("--rootdir", "no-such-place", "is no directory, got 'no-such-place'", id="missing"),
    pytest.param("--rootdir", "test_it.py", "is no directory, got 'test_it.py'", id="file"),
    pytest.param("--rootdir", "", "is empty", id="empty"),
    pytest.param("--session-guard-dir", "", "is empty", id="empty_ledger"),
)


@pytest.mark.parametrize("command", ["runs", "show latest", "restore latest", "clean", "report latest", "doctor"])
@pytest.mark.parametrize(("option", "place", "words"), WRONG_PLACES)
def test_place_that_is_none_is_status_2(looked_at: Project, command: str, option: str, place: str, words: str) -> None:
    done = guard(looked_at, *command.split(), option, place)

    assert (done.returncode, done.stdout) == (2, "")
    assert f"argument {option}: {words}" in done.stderr


@pytest.mark.parametrize("command", ["runs", "restore latest x", "clean", "doctor", "init", "discover json"])
def test_working_directory_that_is_gone_is_said_to_be(make_project: MakeProject, command: str) -> None:
    project = make_project({"gone/x": ""})
    script = 'cd gone && rm -r ../gone && exec "$@"'

    done = project.call("sh", "-c", script, "sh", sys.executable, "-P", "-m", "pytest_session_guard", *command.split())

    assert done.returncode == 3, done.stderr
    assert "the working directory does not exist any more" in done.stderr
    assert "Traceback" not in done.stderr


def test_latest_run_of_a_checkout_without_any_is_not_there(make_project: MakeProject) -> None:
    done = guard(make_project(), "show", "latest")

    assert done.returncode == 3
    assert "holds no run yet" in done.stderr


def test_runs_and_show_tell_what_a_run_did_from_anywhere_in_the_checkout(looked_at: Project) -> None:
    below = looked_at.root / "below"
    below.mkdir()
    (run_id,) = run_ids(looked_at)

    listed = guard(looked_at, "runs", cwd=below)
    shown = guard(looked_at, "show", "latest", cwd=below)
    listed_json = json.loads(guard(looked_at, "runs", "--json").stdout)

    assert listed.returncode == shown.returncode == 0, shown.stderr
    assert listed.stdout.startswith(f"{run_id}  ended")
    assert "1 violation" in listed.stdout
    assert "2 to restore" in listed.stdout
    assert [(run["id"], run["state"], run["violations"], run["preimages"]) for run in listed_json] == [
        (run_id, "ended", 1, 2)
    ]
    for words in ("delete refused", "test_it.py::test_harms", "new.txt", "kept.txt", "gone.txt"):
        assert words in shown.stdout
    assert "other.txt" not in shown.stdout


def kept_in(project: Project) -> dict[str, Facts]:
    """All of a project; a lock that is taken may get another time (filelock 3.30 truncates it)."""
    return {
        path: facts._replace(modified_ns=0) if path.endswith("/lock") else facts
        for path, facts in snapshot(project.root).items()
    }


@pytest.mark.parametrize("words", [("runs",), ("show", "latest")])
def test_commands_that_only_look_take_dry_run_too(looked_at: Project, words: tuple[str, ...]) -> None:
    before = kept_in(looked_at)

    plain, dry = guard(looked_at, *words), guard(looked_at, *words, "--dry-run")

    assert (dry.returncode, dry.stdout) == (plain.returncode, plain.stdout) != (0, "")
    assert kept_in(looked_at) == before


def test_restore_with_dry_run_prints_the_plan_and_changes_nothing(looked_at: Project) -> None:
    before = kept_in(looked_at)

    done = guard(looked_at, "restore", "latest", "--dry-run")

    assert done.returncode == 0, done.stderr
    assert "restore  " in done.stdout
    assert "gone.txt" in done.stdout
    assert kept_in(looked_at) == before


def test_restore_brings_back_what_was_there_and_keeps_what_the_run_left(changed: Project) -> None:
    (run_id,) = run_ids(changed)

    done = guard(changed, "restore", run_id[:8])

    assert done.returncode == 0, done.stderr
    assert (changed.root / "kept.txt").read_text() == "kept before"
    assert (changed.root / "gone.txt").read_text() == "gone before"
    assert (changed.root / "new.txt").read_text() == "made by the run"
    (aside,) = (changed.root / ".session_guard" / "runs" / run_id / "aside").iterdir()
    assert aside.read_text() == "changed by the run"
    assert str(aside) in done.stdout
    again = guard(changed, "restore", "latest")
    assert (again.returncode, "as it was before the run" in again.stdout) == (0, True), again.stdout


def test_restore_of_a_path_leaves_the_others(changed: Project) -> None:
    done = guard(changed, "restore", "latest", "gone.txt")

    assert done.returncode == 0, done.stderr
    assert (changed.root / "gone.txt").read_text() == "gone before"
    assert (changed.root / "kept.txt").read_text() == "changed by the run"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["latest", "--dry-run", "gone.txt"], id="option-in-between"),
        pytest.param(["latest", "gone.txt", "--dry-run"], id="option-last"),
        pytest.param(["--dry-run", "latest", "gone.txt"], id="option-first"),
        pytest.param(["latest", "--dry-run", "--", "gone.txt"], id="after-two-dashes"),
    ],
)
def test_restore_takes_its_options_wherever_they_stand(looked_at: Project, words: list[str]) -> None:
    done = guard(looked_at, "restore", *words)

    assert done.returncode == 0, done.stderr
    assert "gone.txt" in done.stdout
    assert "kept.txt" not in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["restore", "latest", "--dryrun", "gone.txt"], "--dryrun", id="unknown-option"),
        pytest.param(["restore", "latest", "--force", ""], "PATH: is empty", id="empty-path"),
        pytest.param(["show", "latest", "--dry-run", "gone.txt"], "unrecognized arguments: gone.txt", id="no-paths"),
    ],
)
def test_what_no_command_takes_is_a_usage_error_and_nothing_is_done(
    looked_at: Project, words: list[str], said: str
) -> None:
    before = snapshot(looked_at.root)

    done = guard(looked_at, *words)

    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert snapshot(looked_at.root) == before


def test_restore_of_a_path_that_the_run_did_not_change_says_so(looked_at: Project) -> None:
    done = guard(looked_at, "restore", "latest", "other.txt")

    assert done.returncode == 1
    assert "kept no pre-image" in done.stdout


def test_restore_never_goes_over_something_newer_unless_forced(changed: Project) -> None:
    (changed.root / "kept.txt").write_text("worked on since")

    refused = guard(changed, "restore", "latest", "kept.txt")
    untouched = (changed.root / "kept.txt").read_text()
    forced = guard(changed, "restore", "latest", "kept.txt", "--force")

    assert refused.returncode == 1
    assert "changed after the run" in refused.stdout
    assert untouched == "worked on since"
    assert forced.returncode == 0
    assert (changed.root / "kept.txt").read_text() == "kept before"


UNKNOWN = (
    pytest.param("show", "nothing", "no run", id="unknown"),
    pytest.param("restore", "nothing", "no run", id="restore"),
    pytest.param("clean", "nothing", "no run", id="clean"),
    pytest.param("report", "../..", "no run", id="path"),
)


@pytest.mark.parametrize(("command", "name", "words"), UNKNOWN)
def test_run_that_is_not_one_is_status_3(looked_at: Project, command: str, name: str, words: str) -> None:
    done = guard(looked_at, command, name)

    assert done.returncode == 3
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_beginning_that_two_runs_share_is_status_3(changed: Project) -> None:
    (run_id,) = run_ids(changed)
    (changed.root / ".session_guard" / "runs" / f"{run_id}x").mkdir()

    done = guard(changed, "show", run_id[:8])

    assert done.returncode == 3
    assert f"holds 2 runs whose id begins with '{run_id[:8]}'" in done.stderr


KILLED = """\
import os, pytest, signal, time
from pathlib import Path

def test_dies():
    store = Path.home() / ".chat" / "sessions"
    (store / "mine.json").write_text("{}")
    (store / "theirs.json").exists()
    Path("ready").touch()
    time.sleep(60)
"""


@pytest.fixture
def killed(make_project: MakeProject) -> Project:
    """A project whose run was killed while an artifact of it lay in a shared place."""
    project = make_project({"test_it.py": KILLED, "pytest.ini": "[pytest]\nsession_guard_share = ~/.chat/sessions\n"})
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=project.root, env=project.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (project.root / "ready").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        alive = guard(project, "clean")
        assert "nothing to clean" in alive.stdout, "a run that lives is left alone"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    return project


def test_clean_finishes_what_a_killed_run_left_and_nothing_else(killed: Project) -> None:
    store = killed.home / ".chat" / "sessions"
    (store / "theirs.json").write_text("of a live application, made while the tests ran")
    before = snapshot(killed.home)

    planned = guard(killed, "clean", "--dry-run")
    unchanged = snapshot(killed.home) == before
    done = guard(killed, "clean")
    again = guard(killed, "clean")

    assert planned.returncode == 0, planned.stderr
    assert f"remove '{store / 'mine.json'}'" in planned.stdout
    assert unchanged
    assert done.returncode == 0, done.stderr
    assert "1 artifact removed" in done.stdout
    assert sorted(path.name for path in store.iterdir()) == ["_index.json", "a.json", "theirs.json"]
    assert again.stdout == "nothing to clean\n"


def test_clean_keeps_what_was_worked_on_after_the_run_had_died_and_says_so(killed: Project) -> None:
    mine = killed.home / ".chat" / "sessions" / "mine.json"
    mine.unlink()
    mine.write_text("another file now")

    done = guard(killed, "clean")

    assert done.returncode == 1, done.stdout
    assert "another object stands there now" in done.stdout
    assert mine.read_text() == "another file now"


def test_clean_leaves_a_run_alone_whose_ledger_is_damaged(killed: Project) -> None:
    (run_id,) = run_ids(killed)
    (journal,) = (killed.root / ".session_guard" / "runs" / run_id).glob("journal-main-*.jsonl")
    content = journal.read_bytes()
    journal.write_bytes(b"garbage\n" + content)

    done = guard(killed, "clean")

    assert done.returncode == 3
    assert "left alone: its ledger is damaged" in done.stderr
    assert (killed.home / ".chat" / "sessions" / "mine.json").exists()


@pytest.mark.parametrize("told", ["state", "{rootdir}/state"])
def test_ledger_elsewhere_is_found_by_configuration_and_by_option(make_project: MakeProject, told: str) -> None:
    project = make_project(
        {"test_it.py": "def test():\n    pass\n", "pytest.ini": f"[pytest]\nsession_guard_dir = {told}\n"}
    )
    project.run()

    by_configuration = guard(project, "runs")
    by_option = guard(project, "runs", "--session-guard-dir", "state", "--rootdir", str(project.root), cwd=Path("/"))

    assert by_configuration.stdout == by_option.stdout
    assert "ended" in by_option.stdout


def test_pipe_that_is_closed_early_is_no_traceback(looked_at: Project) -> None:
    command = f"{sys.executable} -m pytest_session_guard show latest | true"

    done = looked_at.call("/bin/sh", "-c", command)

    assert done.stderr == ""
