"""A ledger that somebody else lays hands on while its run lives: nothing is removed on its word, and that is said."""

from __future__ import annotations

import json
import os

import pytest
from project import MakeProject, Project, Result

SUITE = """\
import contextlib, os, subprocess
from pathlib import Path

ROOT = Path(__file__).parent
STORE = ROOT.parent / "store"

def test_a_creates():
    (STORE / "before").write_text("x")
    (ROOT / "first").write_text("changed")
    (STORE / "before").exists()

def test_b_waits_for_somebody():
    # A file of its own is waited for: whoever does it is no process of this run.
    (Path(os.environ["TMPDIR"]) / "waits").touch()
    while not (Path(os.environ["TMPDIR"]) / "done").exists():
        pass
"""
GOES_ON = """
def test_c_creates():
    with contextlib.suppress(OSError):
        (STORE / "after").write_text("x")
"""


def run_meddled(project: Project, meddle: str) -> Result:
    """Run the suite, and have a shell outside of the run do something in the run's directory meanwhile."""
    store = project.base / "store"
    store.mkdir()
    (store / "real").touch()
    (project.base / "elsewhere").mkdir()
    waits, done = project.tmp / "waits", project.tmp / "done"
    outside = f"while ! [ -e {waits} ]; do sleep 0.02; done; cd {project.root}/.session_guard/runs/* && {meddle}; touch {done}"
    if os.fork() == 0:
        os.execvp("sh", ["sh", "-c", outside])
    result = project.run(f"--session-guard-share={store}")
    os.wait()
    return result


def run_of(project: Project) -> str:
    (run,) = (project.root / ".session_guard" / "runs").iterdir()
    return run.name


def stays(project: Project) -> set[str]:
    return {path.name for path in (project.base / "store").iterdir()}


@pytest.mark.parametrize("goes_on", [True, False], ids=["with-more-to-record", "at-the-end-alone"])
@pytest.mark.parametrize(
    ("meddle", "words"),
    [
        pytest.param(
            "mv journal-* ../../../../elsewhere/ && ln -s ../../../../elsewhere/journal-* .",
            "another file stands in its place",
            id="symlink",
        ),
        pytest.param(
            'for one in journal-*; do cp "$one" copy; mv copy "$one"; done', "it was deleted during the run", id="copy"
        ),
        pytest.param(': > "$(echo journal-*)"', "it was cut short during the run", id="cut-short"),
        pytest.param("chown 4242 journal-*", "it was given to another user (uid 4242)", id="another-users"),
    ],
)
def test_a_journal_that_is_replaced_cut_short_or_given_away_while_its_run_lives_removes_nothing_and_is_said(
    make_project: MakeProject, meddle: str, words: str, goes_on: bool
) -> None:
    if meddle.startswith("chown") and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    project = make_project({"test_it.py": SUITE + (GOES_ON if goes_on else ""), "first": "was"})

    result = run_meddled(project, meddle)

    assert result.status == 1, result.words
    assert words in result.words
    assert {"real", "before"} <= stays(project), result.words
    assert f"kept '{project.base}/store/before': the ledger cannot be used" in result.words
    assert "Traceback" not in result.words


def test_a_backup_that_links_the_journals_of_a_living_run_disturbs_nobody(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE + GOES_ON, "first": "was"})

    result = run_meddled(project, "ln journal-* ../../../../elsewhere/")

    assert (result.status, stays(project)) == (0, {"real"}), result.words


@pytest.mark.parametrize(
    ("meddle", "first"),
    [
        pytest.param("for one in journal-*; do echo garbage >> $one; done", "was", id="garbage"),
        pytest.param(
            "chmod 644 lock; cp journal-* copy; rm journal-*; ln -s copy journal-x.jsonl", "changed", id="symlink"
        ),
    ],
)
def test_restore_from_a_damaged_ledger_brings_back_what_it_tells_of_and_says_that_there_may_be_more(
    make_project: MakeProject, meddle: str, first: str
) -> None:
    project = make_project({"test_it.py": SUITE + GOES_ON, "first": "was"})
    run_meddled(project, meddle)

    done = project.call(project.account.python, "-m", "pytest_session_guard", "restore", run_of(project))

    assert (project.root / "first").read_text() == first, done.stdout
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("damaged  ")]
    assert line.endswith("what else the run changed is not known")


def test_a_run_whose_lock_alone_was_deleted_is_over_when_nobody_writes_its_journals_any_more(
    make_project: MakeProject,
) -> None:
    project = make_project({"test_it.py": SUITE + GOES_ON, "first": "was"})
    listing = f"{project.account.python} -m pytest_session_guard runs --json > {project.base}/elsewhere/listed"

    result = run_meddled(project, f"rm lock && {listing}")
    done = project.call(project.account.python, "-m", "pytest_session_guard", "restore", run_of(project))

    (seen,) = json.loads((project.base / "elsewhere" / "listed").read_text())
    assert seen["state"] == "alive"
    assert (result.status, stays(project)) == (0, {"real"}), result.words
    assert (done.returncode, (project.root / "first").read_text()) == (0, "was"), done.stdout + done.stderr


def test_a_checkout_that_is_moved_away_while_its_run_lives_still_ends_with_a_report(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE + GOES_ON, "first": "was"})
    away = f"mv {project.root} {project.base}/moved && mkdir {project.root}"

    result = run_meddled(project, away)

    assert result.status == 1, result.words
    assert result.report is not None, result.words
    assert result.report["verdict"] == "violated"
    assert "Traceback" not in result.words
    done = project.call(project.account.python, "-m", "pytest_session_guard", "clean", cwd=project.base / "moved")
    assert (done.returncode, stays(project)) == (0, {"real"}), done.stdout + done.stderr
