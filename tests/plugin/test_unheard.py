"""What the kernel refuses to a child without a trace is heard all the same, and what an upper layer shows has an author."""

from __future__ import annotations

import pytest
from capabilities import mount_namespace
from project import MakeProject, write_files

pytestmark = pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")

IMPORTS = """\
import os, shutil, subprocess, sys
from pathlib import Path

NOTES = Path.home() / ".chat" / "notes.txt"
OUT = Path(os.environ["TMPDIR"], "out")

def try_in_child(code):
    subprocess.run([sys.executable, "-ISc", "import os, shutil, sys; a, b = sys.argv[1:]\\n" + code, NOTES, OUT])

"""
LINK = "def test_links():\n    try_in_child('os.link(a, b)')\n"


def test_hard_link_out_is_red_and_named_with_the_childs_command_line(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": IMPORTS + LINK + "\ndef test_passes():\n    pass\n"})

    result = project.run()

    assert result.changes == {}
    assert (result.status, result.outcomes) == (1, {"failed": 1, "passed": 1}), result.words
    (touch,) = result.touches
    assert (touch["operation"], touch["outcome"], touch["layer"]) == ("link", "refused", "overlay")
    assert touch["path"] == str(project.home / ".chat" / "notes.txt")
    assert touch["nodeid"] == "test_it.py::test_links"
    assert "os.link(a, b)" in touch["process"]


def test_hard_link_out_is_made_when_the_guard_is_out(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": IMPORTS + LINK})

    assert project.run("-p", "no:session_guard", report=False).changes


def test_each_worker_is_charged_with_its_own(make_project: MakeProject) -> None:
    suites = {f"test_{name}.py": IMPORTS + LINK + "    import time; time.sleep(0.3)\n" for name in "ab"}
    project = make_project(suites)

    result = project.run("-n", "2", "--dist=loadfile")

    assert result.changes == {}
    assert sorted(touch["nodeid"] for touch in result.touches) == ["test_a.py::test_links", "test_b.py::test_links"]


def test_program_that_copies_what_it_may_not_link_has_only_read(make_project: MakeProject) -> None:
    body = "try:\n    os.link(a, b)\nexcept OSError:\n    shutil.copy(a, b)\n"
    project = make_project({"test_it.py": IMPORTS + f"def test_copies():\n    try_in_child({body!r})\n"})

    result = project.run()

    assert (result.status, result.touches) == (0, []), result.words


def test_refusal_that_is_expected_is_forgiven(make_project: MakeProject) -> None:
    suite = "def test_links(session_guard):\n    with session_guard.expect_refusal():\n        try_in_child('os.link(a, b)')\n"
    project = make_project({"test_it.py": IMPORTS + suite})

    result = project.run()

    assert result.status == 0, result.words
    assert result.report is not None
    assert [(touch["operation"], touch["violation"]) for touch in result.report["touches"]] == [("link", False)]


def test_report_mode_stays_green_and_says_so(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": IMPORTS + LINK})

    result = project.run("--session-guard=report")

    assert (result.status, result.changes) == (0, {}), result.words
    assert [touch["operation"] for touch in result.touches] == ["link"]


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        pytest.param(["rm"], "rm {notes}", id="the-one"),
        pytest.param(
            ["cat", "rm", "ls"],
            "one of: cat {notes} (test_it.py:14); rm {notes} (test_it.py:15); ls {notes} (test_it.py:16)",
            id="one-of-those",
        ),
    ],
)
def test_contained_change_names_the_commands_that_the_test_started(
    make_project: MakeProject, commands: list[str], expected: str
) -> None:
    body = "".join(f"    subprocess.run([{command!r}, NOTES])\n" for command in commands)
    earlier = "def test_earlier():\n    subprocess.run(['true'])\n\n"
    project = make_project({"test_it.py": IMPORTS + earlier + f"def test_it():\n{body}"})

    result = project.run("-p", "no:randomly")

    assert result.changes == {}
    (touch,) = result.touches
    assert (touch["outcome"], touch["process"]) == (
        "contained",
        expected.format(notes=project.home / ".chat" / "notes.txt"),
    ), touch
    assert f"  process: {touch['process']}" in result.stdout
    line = 14 if commands == ["rm"] else 0
    assert (touch["line"], touch["function"]) == (line, "test_it" if line else ""), touch


def test_commands_that_one_line_started_have_that_line(make_project: MakeProject) -> None:
    body = "def test_it():\n    for name in ('cat', 'rm'):\n        subprocess.run([name, NOTES])\n"
    project = make_project({"test_it.py": IMPORTS + body})

    result = project.run()

    (touch,) = result.touches
    notes = project.home / ".chat" / "notes.txt"
    assert touch["process"] == f"one of: cat {notes}; rm {notes}"
    assert f"   by: test_it.py:{touch['line']} in test_it" in result.stdout
    assert (project.root / "test_it.py").read_text().splitlines()[touch["line"] - 1].strip().startswith("subprocess")


def test_native_code_of_the_tests_own_process_is_not_charged_to_a_line_that_started_a_program(
    make_project: MakeProject,
) -> None:
    body = "def test_it():\n    subprocess.run(['true'])\n    import ctypes\n    ctypes.CDLL(None).link(bytes(NOTES), bytes(OUT))\n"
    project = make_project({"test_it.py": IMPORTS + body})

    result = project.run()

    (touch,) = result.touches
    assert (touch["operation"], touch["process"], touch["line"]) == ("link", "", 0), touch


@pytest.mark.parametrize(
    ("made", "script", "operation"),
    [
        pytest.param(["keys.env"], "rm -f keys.env", "remove", id="file-removed"),
        pytest.param(["keys.env/"], "rmdir keys.env", "remove", id="empty-directory-removed"),
        pytest.param(["keys.env/a"], "cd .. && mv shelf elsewhere", "rename", id="what-holds-it-renamed"),
    ],
)
def test_declared_place_that_cannot_be_moved_or_removed_is_named_when_that_is_tried(
    make_project: MakeProject, made: list[str], script: str, operation: str
) -> None:
    suite = f"import subprocess\n\ndef test_tries():\n    subprocess.run({script!r}, shell=True, cwd={{shelf!r}})\n"
    project = make_project({})
    shelf = project.tmp / "shelf"
    write_files(shelf, {name.rstrip("/"): None if name.endswith("/") else "data\n" for name in made})
    write_files(project.root, {"test_it.py": suite.format(shelf=str(shelf))})
    project.give_away()

    result = project.run(f"--session-guard-protect={shelf / 'keys.env'}")

    assert (result.status, result.outcomes) == (1, {"failed": 1}), result.words
    (touch,) = result.touches
    assert (touch["operation"], touch["outcome"], touch["nodeid"]) == (operation, "refused", "test_it.py::test_tries")
    assert touch["path"] == str(shelf if operation == "rename" else shelf / "keys.env")
    assert (shelf / "keys.env").exists()


def test_owner_that_it_had_before_is_a_touch_of_a_childs_too(make_project: MakeProject) -> None:
    suite = IMPORTS + "def test_gives():\n    try_in_child('os.chown(a, os.getuid(), os.getgid())')\n"
    result = make_project({"test_it.py": suite}).run()

    assert (result.status, result.changes) == (1, {}), result.words
    assert [touch["operation"] for touch in result.touches] == ["chown"]


@pytest.mark.parametrize("locked", [".chat/sessions", ".chat", ".chat/notes.txt"])
def test_what_a_child_did_is_named_also_where_it_took_the_right_to_read_it(
    make_project: MakeProject, locked: str
) -> None:
    script = f"rm .chat/sessions/a.json; chmod 000 {locked}"
    suite = (
        f"import subprocess\nfrom pathlib import Path\n\ndef test_locks():\n"
        f"    subprocess.run({script!r}, shell=True, cwd=Path.home())\n"
    )
    project = make_project({"test_it.py": suite})

    result = project.run()

    assert (result.status, result.changes) == (1, {}), result.words
    told = {(touch["operation"], touch["path"].partition("/home/")[2]) for touch in result.touches}
    assert told == {("removed", ".chat/sessions/a.json"), ("metadata", locked)}
