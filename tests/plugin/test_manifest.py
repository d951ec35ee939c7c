"""The manifest as a layer of a run: what neither the hook nor a kernel layer saw makes the run red."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from capabilities import WITHOUT_NAMESPACES
from isolated import ordinary_account
from project import HOME, Project, Result

LAYERS = "--session-guard-layers=hook,manifest"
IDLE = {"test_it.py": "def test_it(tmp_path):\n    (tmp_path / 'a').write_text('a')\n"}
MakeOwn = Callable[[Mapping[str, object]], Project]


@pytest.fixture(scope="module")
def make_own() -> Iterator[MakeOwn]:
    """Make projects of a user whose only home is the scratch one: an inventory of the real one would take its time."""
    with ordinary_account() as (account, place):
        numbers = itertools.count()
        yield lambda files: Project(place / f"p{next(numbers)}", files, HOME, account)


def shell_suite(*scripts: str) -> Mapping[str, object]:
    """A suite of tests that each let a shell do something."""
    lines = ["import subprocess"]
    for number, script in enumerate(scripts):
        lines += ["", f"def test_{number}():", f"    subprocess.run(['/bin/sh', '-c', {script!r}], check=True)"]
    return {"test_it.py": "\n".join(lines) + "\n"}


def seen_by_manifest(result: Result) -> dict[str, tuple[str, str, bool]]:
    """Name to operation, reason and whether it counts."""
    assert result.report is not None, result.words
    return {
        Path(touch["path"]).name: (touch["operation"], touch["reason"], touch["violation"])
        for touch in result.report["touches"]
        if touch["layer"] == "manifest"
    }


def test_harm_by_shells_makes_the_run_red_and_each_is_named(make_own: MakeOwn) -> None:
    scripts = (
        "echo more >> ~/.chat/notes.txt",
        "rm -r ~/.chat/sessions",
        "echo new > ~/.chat/new.txt",
        "cp ~/.chat/state.db ~/.chat/n && mv ~/.chat/n ~/.chat/state.db",
        "chmod 700 ~/.chat",
    )
    result = make_own(shell_suite(*scripts)).run(LAYERS)

    assert result.status == 1, result.words
    seen = seen_by_manifest(result)
    assert {name: operation for name, (operation, _, _) in seen.items()} == {
        "notes.txt": "content",
        "sessions": "removed",
        "new.txt": "created",
        "state.db": "replaced",
        ".chat": "metadata",
    }
    assert all(counted and "author unknown" in reason for _, reason, counted in seen.values())
    assert "mode 0755 before, 0700 now" in seen[".chat"][1]


def test_suite_that_changes_nothing_is_clean(make_own: MakeOwn, workers: tuple[str, ...]) -> None:
    result = make_own(IDLE).run(LAYERS, *workers)

    assert result.status == 0, result.words
    assert result.report is not None
    assert result.report["layers"]["manifest"] == {"status": "enforced", "reason": "", "abi": None}
    assert result.report["verdict"] == "clean"


def test_harm_under_workers_is_found_when_all_have_ended(make_own: MakeOwn) -> None:
    result = make_own(shell_suite("rm ~/.chat/notes.txt", "true")).run(LAYERS, "-n", "2")

    assert result.status == 1, result.words
    assert seen_by_manifest(result).keys() == {"notes.txt"}


def test_what_the_hook_refused_is_not_reported_twice(make_own: MakeOwn) -> None:
    harm = "from pathlib import Path\n\ndef test_it():\n    (Path.home() / '.chat/notes.txt').unlink()\n"

    result = make_own({"test_it.py": harm}).run(LAYERS)

    assert [touch["layer"] for touch in result.touches] == ["hook"]
    assert result.changes == {}


def test_report_mode_puts_back_what_the_hook_let_pass_and_the_manifest_agrees(make_own: MakeOwn) -> None:
    harm = "from pathlib import Path\n\ndef test_it():\n    (Path.home() / '.chat/notes.txt').write_text('other')\n"

    result = make_own({"test_it.py": harm}).run(LAYERS, "--session-guard=report")

    assert result.status == 0, result.words
    assert [touch["layer"] for touch in result.touches] == ["hook"], result.touches


def test_live_application_that_writes_its_own_log_is_named_and_not_blamed_on_the_run(make_own: MakeOwn) -> None:
    project = make_own({"test_it.py": "import time\n\ndef test_it():\n    time.sleep(0.2)\n"})
    script = """\
import sys, time
with open(sys.argv[1], 'a') as log:
    while True:
        print('alive', file=log, flush=True)
        time.sleep(0.05)
"""
    log, account = project.home / "live.log", project.account
    # The account's own interpreter: root's is out of its reach.
    application = subprocess.Popen(
        [account.python, "-c", script, str(log)], env=project.environment(), user=account.uid, group=account.uid
    )
    try:
        while not log.exists():
            time.sleep(0.01)
        result = project.run(LAYERS)
    finally:
        application.kill()
        application.wait()

    _, reason, counted = seen_by_manifest(result)["live.log"]
    assert not counted
    assert f"a program outside the run has it open for writing: {application.pid} " in reason
    assert result.status == 0, result.words


def test_in_a_shared_place_new_files_of_others_are_no_violation_and_deleted_ones_are(make_own: MakeOwn) -> None:
    suite = shell_suite("echo new > ~/.chat/sessions/new.json; rm ~/.chat/sessions/a.json")

    result = make_own(suite).run(LAYERS, "--session-guard-share=~/.chat/sessions")

    assert {name: operation for name, (operation, _, _) in seen_by_manifest(result).items()} == {"a.json": "removed"}


def test_auto_takes_no_inventory_where_a_kernel_layer_holds(make_own: MakeOwn) -> None:
    result = make_own(IDLE).run()

    assert result.report is not None
    layers = result.report["layers"]
    if not {layers[name]["status"] for name in ("overlay", "seal")} & {"enforced", "partial"}:
        pytest.skip("no kernel layer is to be had here")
    assert layers["manifest"]["status"] == "off"


def test_auto_looks_through_a_home_that_the_seal_cannot_hold(make_own: MakeOwn) -> None:
    suite = shell_suite("rm ~/.chat/notes.txt; echo more >> $TMPDIR/free.txt")
    project = make_own(suite)
    if project.call(*WITHOUT_NAMESPACES, "true").returncode != 0:
        pytest.skip("no user namespace can be made here")
    words = (project.account.python, "-m", "pytest", f"--session-guard-json={project.report_path}")

    done = project.call(*WITHOUT_NAMESPACES, *words, env={"TMPDIR": str(project.base)})

    report = json.loads(project.report_path.read_bytes())
    if report["layers"]["seal"]["status"] == "unavailable":
        pytest.skip("no Landlock is to be had here")
    assert (report["layers"]["overlay"]["status"], report["layers"]["seal"]["status"]) == ("unavailable", "partial")
    assert done.returncode == 1, done.stdout
    (touch,) = (touch for touch in report["touches"] if touch["violation"])
    assert (touch["operation"], touch["layer"]) == ("removed", "manifest")
    assert touch["path"] == str(project.home / ".chat" / "notes.txt")
