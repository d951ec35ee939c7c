"""``session-guard run -- pytest …``: the verdict is held from outside, whatever becomes of pytest."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from project import MakeProject, Project

from pytest_session_guard._run.launcher import Launch, asks_for_words_alone

from .commands import guard

FINE = "def test_fine():\n    pass\n"
LATE_HARM = """\
import subprocess

def test_leaves_a_child():
    late = "while kill -0 $PPID 2> /dev/null; do sleep 0.05; done; rm ~/.chat/notes.txt"
    subprocess.Popen(["/bin/sh", "-c", late], start_new_session=True)
"""
HIDDEN = "import os\nfrom pathlib import Path\n\ndef harm():\n    try:\n" \
    "        (Path.home() / '.chat' / 'notes.txt').unlink()\n    except OSError:\n        pass\n"  # fmt: skip


def launch(project: Project, *args: str, wait_s: float = 10.0) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--session-guard-json={project.report_path}")
    return guard(project, "run", "--wait", str(wait_s), "--", *command, *args)


def report(project: Project) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(project.report_path.read_bytes())
    return content


EXIT = (
    pytest.param(FINE, (), 0, id="green"),
    pytest.param("def test_fails():\n    assert 0\n", (), 1, id="red"),
    pytest.param("", (), 5, id="no-tests"),
    pytest.param(FINE, ("--no-such-option",), 4, id="usage-error"),
)


@pytest.mark.parametrize(("suite", "args", "status"), EXIT)
def test_exit_status_is_pytests_own(make_project: MakeProject, suite: str, args: tuple[str, ...], status: int) -> None:
    done = launch(make_project({"test_it.py": suite}), *args)

    assert done.returncode == status, done.stdout + done.stderr


def test_pytest_without_the_plugin_is_not_said_to_have_run_nothing(make_project: MakeProject) -> None:
    command = (sys.executable, "-m", "pytest", "-p", "no:session_guard")

    done = make_project({"test_it.py": FINE}).call(sys.executable, "-m", "pytest_session_guard", "run", "--", *command)

    assert done.returncode == 3, done.stdout + done.stderr
    assert "without a word of the plugin" in done.stderr
    assert "nothing was run" not in done.stderr


@pytest.mark.parametrize("word", ["--help", "-h", "--version", "-V"])
def test_command_for_words_alone_is_pytests_own(make_project: MakeProject, word: str) -> None:
    done = launch(make_project({"test_it.py": FINE}), word)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "pytest" in done.stdout


@pytest.mark.parametrize(
    ("command", "alone"),
    [
        ("pytest -h", True),
        ("/venv/bin/pytest tests --version", True),
        ("python3.12 -m pytest -V", True),
        ("pytest", False),
        ("pytest -- -h", False),
        ("make test -h", False),
        ("sh -c pytest -h", False),
        ("python run_tests.py --version", False),
        ("python -m tests.run -V", False),
    ],
)
def test_only_of_pytest_itself_it_is_known_which_command_runs_nothing(command: str, alone: bool) -> None:
    assert asks_for_words_alone(command.split()) is alone


def test_working_directory_that_is_gone_is_told(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": FINE, "gone/x": ""})
    command = 'cd gone && rm -r ../gone && exec "$@"'

    done = project.call(
        *("sh", "-c", command, "sh"), *(sys.executable, "-m", "pytest_session_guard", "run", "--", "pytest")
    )

    assert done.returncode == 3, done.stdout + done.stderr
    assert "the working directory or a temporary one cannot be used" in done.stderr
    assert "nothing was run" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("end", "status"),
    [
        pytest.param("os._exit(0)", 1, id="exit-at-once"),
        pytest.param("os.execv('/bin/true', ['true'])", 1, id="exec"),
        pytest.param("os.kill(os.getpid(), 9)", 137, id="kill"),
    ],
)
def test_pytest_that_ends_itself_cannot_take_the_verdict_along(
    make_project: MakeProject, end: str, status: int
) -> None:
    project = make_project({"test_it.py": f"{HIDDEN}\ndef test_it():\n    harm()\n    {end}\n"})

    done = launch(project)

    assert done.returncode == status, done.stdout + done.stderr
    said = report(project)
    assert said["verdict"] == "violated"
    assert str(project.home / ".chat" / "notes.txt") in {touch["path"] for touch in said["touches"]}
    assert (project.home / ".chat" / "notes.txt").exists()


def test_child_that_outlives_pytest_is_waited_for_and_what_it_did_is_in_every_report(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": LATE_HARM})
    page = project.tmp / "page.html"

    done = launch(project, f"--session-guard-html={page}")

    if report(project)["layers"]["overlay"]["status"] == "unavailable":
        pytest.skip("no overlay is to be had here, so nothing sees what a shell does")
    assert done.returncode == 1, done.stdout + done.stderr
    said = report(project)
    (touch,) = said["touches"]
    assert (touch["path"], touch["operation"]) == (str(project.home / ".chat" / "notes.txt"), "removed")
    assert (touch["nodeid"], touch["phase"]) == ("test_it.py::test_leaves_a_child", "late")
    assert "(started by test_it.py::test_leaves_a_child)" in touch["reason"]
    assert (said["violations"], said["verdict"]) == (1, "violated")
    assert "notes.txt" in page.read_text("utf-8")
    assert json.loads(guard(project, "report", "latest").stdout) == said
    assert "1 violation" in guard(project, "runs").stdout
    assert "notes.txt" in guard(project, "show", "latest").stdout
    assert (project.home / ".chat" / "notes.txt").exists()


def test_what_ended_before_the_launcher_could_look_is_charged_by_the_word_of_pytest() -> None:
    run = Launch((), cast("Any", None), cast("Any", SimpleNamespace(run_id="a-run")))

    blame = run.late_blame(
        [{"kind": "leftover", "pid": 7, "command": "rm x", "nodeid": "test_it.py::test_a"}, {"kind": "touch"}]
    )

    assert (blame.span.nodeid, blame.span.phase) == ("test_it.py::test_a", "late")
    assert blame.still_at_work == "7 rm x (started by test_it.py::test_a)"


def test_where_no_kernel_layer_is_the_launcher_compares_once_more(make_project: MakeProject) -> None:
    suite = (
        "import os, subprocess\nfrom pathlib import Path\n\ndef test_harms_and_dies():\n"
        "    subprocess.run(['rm', Path.home() / '.chat' / 'notes.txt'])\n    os.kill(os.getpid(), 9)\n"
    )
    project = make_project({"test_it.py": suite})

    done = launch(project, "--session-guard-layers=hook,manifest")

    assert done.returncode == 137, done.stdout + done.stderr
    (touch,) = (touch for touch in report(project)["touches"] if touch["violation"])
    assert (touch["operation"], touch["layer"], touch["phase"]) == ("removed", "manifest", "late")
    assert touch["path"] == str(project.home / ".chat" / "notes.txt")
    assert "was deleted during the run, author unknown" in done.stderr


def test_inventory_of_the_launcher_finds_nothing_where_nothing_happened(make_project: MakeProject) -> None:
    suite = "def test_makes(tmp_path):\n    (tmp_path / 'new').touch()\n"

    done = launch(make_project({"test_it.py": suite}), "--session-guard-layers=hook,manifest")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "session-guard:" not in done.stderr


def test_link_that_a_child_tries_after_the_session_is_in_the_report(make_project: MakeProject) -> None:
    late = LATE_HARM.replace("rm ~/.chat/notes.txt", "ln ~/.chat/notes.txt $TMPDIR/out")
    project = make_project({"test_it.py": late})

    done = launch(project)

    assert done.returncode == 1, done.stdout + done.stderr
    (touch,) = (touch for touch in report(project)["touches"] if touch["violation"])
    assert (touch["operation"], touch["outcome"], touch["nodeid"]) == (
        "link",
        "refused",
        "test_it.py::test_leaves_a_child",
    )
    assert touch["process"].startswith("ln ")


def test_child_that_does_not_end_in_time_is_named(make_project: MakeProject) -> None:
    suite = "import subprocess\n\ndef test_it():\n    subprocess.Popen(['sleep', '5'], start_new_session=True)\n"
    project = make_project({"test_it.py": suite})

    done = launch(project, wait_s=0.1)

    assert "still running when the wait was over" in done.stderr
    assert "sleep 5" in done.stderr


@pytest.mark.parametrize("words", [(), ("--",), ("--", "true"), ("--", "python", "-m", "http.server")])
def test_command_that_is_not_pytest_is_bad_usage(make_project: MakeProject, words: tuple[str, ...]) -> None:
    done = guard(make_project(), "run", *words)

    assert done.returncode == 2
    assert "no pytest command" in done.stderr


EARLY_POOL = """\
import multiprocessing, os, pathlib

pool = multiprocessing.get_context("fork").Pool(1)
with open(os.path.join(os.environ["TMPDIR"], "workers"), "a") as workers:
    print(pool.apply(os.getpid), file=workers)
"""


@pytest.mark.parametrize("launched", [True, False], ids=["launcher", "relaunch"])
def test_workers_of_a_pool_from_before_the_guard_are_left_nowhere(make_project: MakeProject, launched: bool) -> None:
    project = make_project({"test_it.py": FINE, "early.py": EARLY_POOL})
    early = ("-p", "early", "-p", "pytest_session_guard")
    search = {"PYTHONPATH": str(project.root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    if launched:
        done = guard(project, "run", "--", sys.executable, "-m", "pytest", *early, env=search)
    else:
        done = project.call(sys.executable, "-m", "pytest", *early, env=search)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "still running" not in done.stdout + done.stderr
    # The keeper, which has the launcher's command line, goes a moment after it; a worker that is left would stay.
    deadline = time.monotonic() + 20
    while left := [line for line in commands_of_all() if "early" in line and str(project.root) in line]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def commands_of_all() -> Iterator[str]:
    """The environment and command line of every process, as far as they can be read."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield " ".join((place / name).read_text(errors="replace") for name in ("cmdline", "environ"))


def test_subinterpreter_from_before_the_guard_begins_the_run_anew(make_project: MakeProject) -> None:
    early = (
        "try:\n    import _interpreters as interpreters\nexcept ImportError:\n    import _xxsubinterpreters as interpreters\n"
        "other = interpreters.create()\n"
    )
    suite = "import early\n\ndef test_it():\n    early.interpreters.run_string(early.other, 'pass')\n"
    project = make_project({"test_it.py": suite, "early.py": early})
    search = {"PYTHONPATH": str(project.root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    words = ("-m", "pytest", "-p", "early", "-p", "pytest_session_guard", f"--session-guard-json={project.report_path}")
    done = project.call(sys.executable, *words, env=search)

    assert done.returncode == 0, done.stdout + done.stderr
    # CPython 3.11 lets no child be forked beside a subinterpreter, so one of the trials of the walls may fail.
    assert report(project)["layers"]["overlay"]["status"] in ("enforced", "partial")
