from __future__ import annotations

import json
import subprocess

import pytest
from isolated import ordinary_account
from project import MakeProject, Project

SUITE = """\
import json
from pathlib import Path
SHARED = Path.home() / "shared"

def test_makes(): (SHARED / "made.json").write_text('{"a": 1}'); (SHARED / "made.txt").write_text("plain")

def test_later():
    print("SEEN", json.dumps(json.loads((SHARED / "made.json").read_text())))
    print("FOREIGN", (SHARED / "old.json").read_text())
"""


@pytest.mark.parametrize("globs", [pytest.param("*.json", id="matching"), pytest.param("*.yaml", id="not_matching")])
def test_tag_option_tags_what_the_run_made_and_nothing_else(make_project: MakeProject, globs: str) -> None:
    home = {"shared/old.json": '{"old": true}'}
    ini = f"[pytest]\nsession_guard_share = ~/shared\nsession_guard_tag = {globs}\n"
    project = make_project({"test_it.py": SUITE, "pytest.ini": ini}, home)

    result = project.run("-s", "-p", "no:randomly")

    assert (result.status, result.outcomes) == (0, {"passed": 2}), result.words
    # The directory's own time alone: its listing grew and shrank again.
    assert set(result.changes) <= {"shared"}, result.words
    seen = json.loads(next(line for line in result.stdout.splitlines() if "SEEN" in line).split("SEEN ")[1])
    assert seen["a"] == 1
    assert ("__test_artifact" in seen) == (globs == "*.json")
    assert 'FOREIGN {"old": true}' in result.stdout


AMONG_OTHERS = """\
import subprocess
from pathlib import Path
SHARED = Path.home() / "shared"

def test_makes():
    (SHARED / "closed").mkdir()
    for name in ("closed/a.json", "replaced.json", "removed.json", "last.txt"):
        (SHARED / name).write_text("{}")
    (SHARED / "closed").chmod(0o555)
    words = "echo '{}' > new; mv new replaced.json; rm removed.json"
    subprocess.run(words, shell=True, cwd=SHARED, check=True)

def test_later():
    (SHARED / "closed").chmod(0o755)
"""


def test_what_cannot_be_tagged_any_more_stops_nothing_and_is_no_violation(make_project: MakeProject) -> None:
    files: dict[str, object] = {
        "test_it.py": AMONG_OTHERS,
        "pytest.ini": "[pytest]\nsession_guard_share = ~/shared\nsession_guard_tag = *.json\n",
    }
    with ordinary_account() as (account, place):
        project = Project(place / "scratch", files, {"shared/old.json": '{"old": true}'}, account)
        result = project.run("-p", "no:randomly")

        assert (result.status, result.outcomes, result.touches) == (0, {"passed": 2}, []), result.words
        # What the shell put in its place is the run's as well.
        assert result.changes.keys() <= {"shared"}, result.words
        assert result.report is not None
        assert [note for note in result.report["notes"] if "closed/a.json" in note and "Permission denied" in note]


REPLACED = """\
import contextlib, os, time
from pathlib import Path

from pytest_session_guard._run import artifacts

SHARED = Path.home() / "shared"
original = artifacts.tag
GO = os.open(Path(os.environ["TMPDIR"]) / "go", os.O_RDWR | os.O_CREAT)

def wait_for_another(path):
    before = os.stat(path).st_ino
    os.write(GO, b"now")
    while os.stat(path).st_ino == before:
        time.sleep(0.005)

def tag_among_others(path, *arguments):
    if WHEN == "before":
        wait_for_another(path)
    original(path, *arguments)
    if WHEN == "after":
        wait_for_another(path)

def test_it(session_guard, monkeypatch):
    monkeypatch.setattr(artifacts, "tag", tag_among_others)
    (SHARED / "NAME").write_text('{"a": 1}')
    with contextlib.suppress(OSError, ValueError):
        session_guard.artifact(SHARED / "NAME")
"""


@pytest.mark.parametrize("name", ["a.json", "a.txt"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_an_application_puts_in_its_place_around_the_tagging_is_the_applications(
    make_project: MakeProject, when: str, name: str
) -> None:
    suite = f"WHEN = {when!r}\n{REPLACED.replace('NAME', name)}"
    ini = "[pytest]\nsession_guard_share = ~/shared\n"
    project = make_project({"test_it.py": suite, "pytest.ini": ini}, {"shared/old.json": "{}"})
    live = f"while ! [ -s {project.tmp}/go ]; do sleep 0.005; done; echo '{{}}' > new; mv new {name}"
    with subprocess.Popen(["sh", "-c", live], cwd=project.home / "shared") as application:
        result = project.run()
        application.wait(timeout=30)

    assert result.status == 0, result.words
    assert (project.home / "shared" / name).read_text() == "{}\n", result.words
