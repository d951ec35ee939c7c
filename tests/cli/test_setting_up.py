"""``discover`` and ``init``: from an application's source to its tests' configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from project import MakeProject, Project, snapshot

from .commands import guard

APPLICATION = {
    "talk/__init__.py": "",
    "talk/paths.py": "import os\nfrom pathlib import Path\n\n"
    'HOME = Path(os.environ.get("TALK_HOME", Path.home() / ".talk"))\nSESSIONS = HOME / "sessions"\n',
    "test_talk.py": "from talk import paths\n\ndef test_it(session_guard):\n"
    "    assert paths.SESSIONS.is_relative_to(session_guard.path)\n",
}
INI = "[pytest]\n# ours\naddopts = -q   \n\n[other]\nkept = yes\n"


@pytest.fixture
def application(make_project: MakeProject) -> Project:
    return make_project({**APPLICATION, "pytest.ini": INI})


def test_discover_lists_what_leads_to_user_data_and_the_lines_to_paste(application: Project) -> None:
    done = guard(application, "discover", "talk")

    assert done.returncode == 0, done.stderr
    assert "talk.paths:SESSIONS" in done.stdout
    assert "~/.talk/sessions" in done.stdout
    assert "~/.talk = talk" in done.stdout
    assert "env:TALK_HOME = talk" in done.stdout


def test_discover_as_json_has_findings_and_configuration(application: Project) -> None:
    said = json.loads(guard(application, "discover", "--json", "talk").stdout)

    assert {finding["target"] for finding in said["findings"]} >= {"talk.paths:SESSIONS", "env:TALK_HOME"}
    assert said["configuration"] == {"session_guard_redirect": ["~/.talk = talk", "env:TALK_HOME = talk"]}


def test_discover_of_nothing_is_status_3(application: Project) -> None:
    done = guard(application, "discover", "no_such_module")

    assert done.returncode == 3
    assert "no Python source" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_init_without_yes_shows_the_change_and_writes_nothing(application: Project, words: tuple[str, ...]) -> None:
    before = snapshot(application.root)

    done = guard(application, "init", *words)

    assert done.returncode == 0, done.stderr
    assert "+    ~/.talk = talk" in done.stdout
    assert "nothing is written yet" in done.stdout
    assert snapshot(application.root) == before


def test_init_with_yes_writes_it_and_keeps_the_rest_and_the_tests_then_use_it(application: Project) -> None:
    ini = application.root / "pytest.ini"
    ini.chmod(0o640)

    done = guard(application, "init", "--yes")
    again = guard(application, "init", "--yes")
    result = application.run()

    assert done.returncode == 0, done.stderr
    text = ini.read_text()
    assert [line for line in text.splitlines() if line in INI.splitlines()] == INI.splitlines()
    assert ini.stat().st_mode & 0o777 == 0o640
    assert again.stdout.startswith("nothing to change in ")
    assert result.status == 0, result.words


def test_init_writes_through_a_symlink(application: Project) -> None:
    real = application.base / "elsewhere.ini"
    (application.root / "pytest.ini").rename(real)
    (application.root / "pytest.ini").symlink_to(real)

    done = guard(application, "init", "--yes")

    assert done.returncode == 0, done.stderr
    assert (application.root / "pytest.ini").is_symlink()
    assert "~/.talk = talk" in real.read_text()


def test_init_makes_pytest_ini_where_there_is_no_configuration(make_project: MakeProject) -> None:
    project = make_project(APPLICATION)
    (project.root / "pytest.ini").unlink()

    done = guard(project, "init", "--yes", "--rootdir", ".")

    assert done.returncode == 0, done.stderr
    assert "~/.talk = talk" in (project.root / "pytest.ini").read_text()


def test_init_where_nothing_leads_to_user_data_changes_nothing(make_project: MakeProject) -> None:
    project = make_project({"plain.py": "X = 1\n"})
    before = snapshot(project.root)

    done = guard(project, "init", "--yes")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nothing to change in ")
    assert snapshot(project.root) == before


def test_init_of_configuration_that_is_no_text_is_status_3(application: Project) -> None:
    ini: Path = application.root / "pytest.ini"
    ini.write_bytes(b"[pytest]\n# \xff\xfe\n")

    done = guard(application, "init", "--yes", "--rootdir", ".")

    assert done.returncode == 3, done.stdout
    assert "Traceback" not in done.stderr
    assert ini.read_bytes() == b"[pytest]\n# \xff\xfe\n"
