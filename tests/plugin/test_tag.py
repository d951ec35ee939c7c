from __future__ import annotations

import json

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
