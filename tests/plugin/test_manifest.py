"""The manifest as a layer of a run: what neither the hook nor a kernel layer saw makes the run red."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import MakeProject
from project import Project, Result

LAYERS = "--session-guard-layers=hook,manifest"
SHELL = "import subprocess\n\ndef test_harms():\n    subprocess.run(['/bin/sh', '-c', {script!r}], check=True)\n"


def run(project: Project, *args: str) -> Result:
    return project.run(LAYERS, *args)


@pytest.mark.parametrize(
    ("script", "name", "operation", "words"),
    [
        pytest.param("echo more >> ~/.chat/notes.txt", "notes.txt", "content", "was changed", id="append"),
        pytest.param("rm ~/.chat/notes.txt", "notes.txt", "removed", "was deleted", id="delete"),
        pytest.param("rm -r ~/.chat/sessions", "sessions", "removed", "was deleted", id="delete-tree"),
        pytest.param("echo new > ~/.chat/new.txt", "new.txt", "created", "was made", id="create"),
        pytest.param("chmod 600 ~/.chat/notes.txt", "notes.txt", "metadata", "mode 0644 before, 0600 now", id="chmod"),
        pytest.param("cp ~/.chat/notes.txt ~/.chat/n && mv ~/.chat/n ~/.chat/notes.txt", "notes.txt", "replaced",
                     "was replaced", id="replace"),
    ],
)  # fmt: skip
def test_harm_by_a_shell_makes_the_run_red_and_is_named(
    make_project: MakeProject, script: str, name: str, operation: str, words: str
) -> None:
    project = make_project({"test_it.py": SHELL.format(script=script)})

    result = run(project)

    assert result.status == 1, result.words
    touches = [touch for touch in result.touches if touch["layer"] == "manifest"]
    assert [(touch["path"], touch["operation"]) for touch in touches] == [
        (str(project.home / ".chat" / name), operation)
    ], result.words
    assert words in touches[0]["reason"]
    assert "author unknown" in touches[0]["reason"]


def test_suite_that_changes_nothing_is_clean(make_project: MakeProject, workers: tuple[str, ...]) -> None:
    project = make_project({"test_it.py": "def test_it(tmp_path):\n    (tmp_path / 'a').write_text('a')\n"})

    result = run(project, *workers)

    assert result.status == 0, result.words
    assert result.report is not None
    assert result.report["layers"]["manifest"]["status"] == "enforced"
    assert result.report["verdict"] == "clean"


def test_what_the_hook_refused_is_not_reported_twice(make_project: MakeProject) -> None:
    project = make_project(
        {"test_it.py": "from pathlib import Path\n\ndef test_it():\n    (Path.home() / '.chat/notes.txt').unlink()\n"}
    )

    result = run(project)

    assert [touch["layer"] for touch in result.touches] == ["hook"]
    assert result.changes == {}


def test_report_mode_puts_back_what_the_hook_let_pass_and_the_manifest_agrees(make_project: MakeProject) -> None:
    project = make_project(
        {
            "test_it.py": "from pathlib import Path\n\ndef test_it():\n"
            "    (Path.home() / '.chat/notes.txt').write_text('other')\n"
        }
    )

    result = run(project, "--session-guard=report")

    assert result.status == 0, result.words
    assert [touch["layer"] for touch in result.touches] == ["hook"], result.touches


@pytest.fixture
def live_application(make_project: MakeProject) -> Iterator[Project]:
    """A project whose home has a log that a program outside the run holds open and writes to."""
    project = make_project({"test_it.py": "import time\n\ndef test_it():\n    time.sleep(0.3)\n"})
    script = "import sys, time\nwith open(sys.argv[1], 'a') as log:\n    while True:\n" \
        "        print('alive', file=log, flush=True)\n        time.sleep(0.05)\n"  # fmt: skip
    log = project.home / "live.log"
    application = subprocess.Popen([sys.executable, "-c", script, str(log)])
    while not log.exists():
        time.sleep(0.01)
    yield project
    application.kill()
    application.wait()


def test_live_application_that_writes_its_own_log_is_named_and_not_blamed_on_the_run(live_application: Project) -> None:
    result = run(live_application)

    assert result.status == 0, result.words
    assert result.report is not None
    touches = [touch for touch in result.report["touches"] if touch["layer"] == "manifest"]
    assert [Path(touch["path"]).name for touch in touches] == ["live.log"]
    assert "a program outside the run has it open for writing" in touches[0]["reason"]
    assert not touches[0]["violation"]


def test_created_files_of_others_in_a_shared_place_are_no_violation_but_deleted_ones_are(
    make_project: MakeProject,
) -> None:
    script = "echo new > ~/.chat/sessions/new.json; rm ~/.chat/sessions/a.json"
    project = make_project({"test_it.py": SHELL.format(script=script)})

    result = run(project, "--session-guard-share=~/.chat/sessions")

    assert [(Path(touch["path"]).name, touch["operation"]) for touch in result.touches] == [("a.json", "removed")]


def test_auto_takes_no_inventory_where_a_kernel_layer_holds(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": "def test_it():\n    pass\n"})

    result = project.run()

    assert result.report is not None
    layers = result.report["layers"]
    if not {layers[name]["status"] for name in ("overlay", "seal")} & {"enforced", "partial"}:
        pytest.skip("no kernel layer is to be had here")
    assert layers["manifest"]["status"] == "off"
