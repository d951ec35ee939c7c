"""The report: the documented shape, and words that stay readable however much there is to say."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import pytest
from project import MakeProject, Project, Result, lines_of

SUITE = """\
import os
from pathlib import Path

import pytest

CHAT = Path.home() / ".chat"

def test_passes():
    Path("new.txt").write_text("x")

def test_red():
    try:
        (CHAT / "notes.txt").unlink()
    except OSError:
        pass

def test_not_utf8():
    with pytest.raises(PermissionError):
        open(os.fsencode(CHAT) + b"/byte-\\xff\\x1b[31m.txt", "w")

@pytest.mark.skip
def test_skips():
    pass

@pytest.mark.xfail
def test_xfails():
    raise AssertionError

def test_fails():
    raise AssertionError

@pytest.fixture
def broken():
    raise RuntimeError

def test_errors(broken):
    pass
"""
RUN_KEYS = {"id", "started", "finished", "mode", "rootdir", "python", "pytest", "platform"}
TOUCH_KEYS = {
    "time", "operation", "path", "zone", "outcome", "violation", "layer", "nodeid", "phase", "pid", "process", "file", "line",
    "function", "reason",
}  # fmt: skip


@dataclass(frozen=True)
class Ran:
    project: Project
    result: Result

    @property
    def report(self) -> dict[str, object]:
        assert self.result.report is not None, self.result.words
        return dict(self.result.report)


@pytest.fixture(scope="module")
def ran(make_shared_project: MakeProject, workers: tuple[str, ...]) -> Ran:
    """The suite once for each way of running it."""
    project = make_shared_project({"test_it.py": SUITE})
    return Ran(project, project.run(*workers))


def test_report_has_the_documented_parts(ran: Ran) -> None:
    report = ran.report

    assert report["schema"] == "session-guard-report/1"
    assert {
        "run", "layers", "canary", "zones", "tests", "touches", "artifacts", "violations", "verdict"
    } <= set(report)  # fmt: skip


def test_report_says_which_run_it_was(ran: Ran) -> None:
    run = ran.result.report["run"] if ran.result.report else {}

    assert set(run) >= RUN_KEYS
    assert (run["mode"], run["rootdir"], run["pytest"]) == ("enforce", str(ran.project.root), pytest.__version__)
    assert run["started"] <= run["finished"] <= run["started"] + 120
    assert (ran.project.root / ".session_guard" / "runs" / run["id"]).is_dir()


def test_report_names_the_workers_of_the_run(ran: Ran, workers: tuple[str, ...]) -> None:
    run = ran.result.report["run"] if ran.result.report else {}

    assert run["workers"] in ((["gw0", "gw1"], 2) if workers else ([], 0))


def test_report_counts_the_tests(ran: Ran) -> None:
    assert ran.report["tests"] == {
        "passed": 1, "failed": 3, "skipped": 1, "error": 1, "xfailed": 1, "xpassed": 0
    }, ran.result.words  # fmt: skip


def test_report_touches_have_every_documented_fact(ran: Ran) -> None:
    touches = {touch["nodeid"].rpartition("::")[2]: touch for touch in ran.result.touches}

    assert set(touches) == {"test_red", "test_not_utf8"}
    assert all(set(touch) >= TOUCH_KEYS for touch in touches.values())
    red = touches["test_red"]
    assert (red["outcome"], red["zone"], red["layer"], red["phase"]) == ("refused", "protected", "hook", "call")
    assert (red["file"], red["line"]) == (f"{ran.project.root}/test_it.py", 13)
    assert ran.report["violations"] == 2
    assert ran.report["verdict"] == "violated"


def test_report_keeps_paths_that_are_not_utf8_and_the_terminal_escapes_them(ran: Ran) -> None:
    (touch,) = ran.result.touches_of("test_not_utf8")

    assert touch["path"] == f"{ran.project.home}/.chat/byte-\udcff\x1b[31m.txt"
    assert "\\udcff" in ran.project.report_path.read_text(encoding="ascii")
    assert "\x1b" not in ran.result.stdout
    assert lines_of(ran.result.stdout, "write refused: ", "byte-")


def test_report_layers_have_a_status_and_the_hook_is_enforced(ran: Ran) -> None:
    layers = ran.result.report["layers"] if ran.result.report else {}

    assert set(layers) == {"hook", "overlay", "seal", "manifest"}
    assert {layer["status"] for layer in layers.values()} <= {"enforced", "partial", "unavailable", "off"}
    assert layers["hook"]["status"] == "enforced"
    assert all(layer["reason"] for layer in layers.values() if layer["status"] in {"partial", "unavailable"})


def test_header_is_one_line_with_mode_layers_and_zones(ran: Ran) -> None:
    (header,) = ran.result.header_lines
    layers = ran.result.report["layers"] if ran.result.report else {}

    achieved = ", ".join(
        name if layer["status"] == "enforced" else f"{name} {layer['status']}"
        for name, layer in layers.items()
        if layer["status"] != "off"
    )
    assert header == f"session-guard: enforce; layers: {achieved}; protected ~, workspace {ran.project.root}"


MANY = """\
import contextlib
from pathlib import Path

import pytest

CHAT = Path.home() / ".chat"

@pytest.mark.parametrize("number", range(60))
def test_red(number):
    with contextlib.suppress(OSError):
        (CHAT / f"new-{number}.txt").touch()

def test_walks():
    for number in range(1000):
        with contextlib.suppress(OSError):
            (CHAT / f"many-{number}.txt").touch()
"""


def test_many_violations_are_shown_up_to_fifty_and_counted(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": MANY})

    result = project.run("--tb=no")
    section = result.stdout.rpartition(" session-guard =")[2].partition("short test summary info")[0]

    assert result.changes == {}
    assert result.outcomes == {"failed": 61}, result.words
    assert result.report is not None
    assert result.report["violations"] == 1060
    assert len(lines_of(section, "write refused: ")) == 50
    assert lines_of(section, "and 1010 more")


def test_hooks_hear_of_each_violation_and_of_the_report(make_project: MakeProject, workers: tuple[str, ...]) -> None:
    conftest = """\
import json, os
from pathlib import Path

HEARD = Path(os.environ["TMPDIR"]) / "heard.txt"

def pytest_session_guard_touch(touch):
    with open(HEARD, "a") as file:
        file.write(f"touch {touch.nodeid} {os.path.basename(touch.path)}\\n")

def pytest_session_guard_report(report):
    with open(HEARD, "a") as file:
        file.write(f"report {report['violations']} {report['verdict']}\\n")
"""
    suite = "from pathlib import Path\n\ndef test_red():\n    (Path.home() / '.chat' / 'notes.txt').unlink()\n"
    project = make_project({"conftest.py": conftest, "test_it.py": suite})

    project.run(*workers)

    assert (project.tmp / "heard.txt").read_text().splitlines() == [
        "touch test_it.py::test_red notes.txt",
        "report 1 violated",
    ]


def test_colours_come_from_pytests_own_writer(make_project: MakeProject) -> None:
    suite = "from pathlib import Path\n\ndef test_red():\n    (Path.home() / '.chat' / 'notes.txt').unlink()\n"
    project = make_project({"test_it.py": suite})

    coloured, plain = project.run("--color=yes"), project.run("--color=no")

    assert "\x1b[" in "".join(lines_of(coloured.stdout, " session-guard ", "==="))
    assert "\x1b[" not in plain.stdout


def test_quiet_run_says_nothing_but_what_is_wrong(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": "def test_passes():\n    pass\n"})

    result = project.run("-q")

    assert (result.status, result.report and result.report["verdict"]) == (0, "clean")
    assert lines_of(result.stdout, "session-guard") == []


REPORT_MODE = """\
import os, sqlite3
from pathlib import Path

CHAT = Path.home() / ".chat"

def test_write():
    (CHAT / "notes.txt").write_text("by a test")
    assert (CHAT / "notes.txt").read_text() == "by a test"

def test_sees_it_still():
    assert (CHAT / "notes.txt").read_text() == "by a test"

def test_remove():
    (CHAT / "sessions" / "a.json").unlink()
    assert not (CHAT / "sessions" / "a.json").exists()

def test_create():
    (CHAT / "new.txt").write_text("new")

def test_database():
    database = sqlite3.connect(CHAT / "state.db")
    database.execute("delete from talk")
    database.commit()
    database.close()
"""


@pytest.mark.parametrize("layers", ["auto", "hook"])
def test_report_mode_is_green_lists_the_touches_and_leaves_the_data_untouched(
    make_project: MakeProject, layers: str
) -> None:
    project = make_project({"test_it.py": REPORT_MODE})

    result = project.run("--session-guard=report", f"--session-guard-layers={layers}")

    assert (result.status, result.outcomes) == (0, {"passed": 5}), result.words
    assert result.report is not None
    assert result.report["verdict"] == "report-only"
    assert {touch["outcome"] for touch in result.touches} <= {"contained", "preserved"}
    named = {touch["path"].rpartition("/")[2] for touch in result.touches}
    assert named >= {"notes.txt", "a.json", "new.txt", "state.db"}
    data = {path for path, facts in result.changes.items() if set(facts) - {"modified_ns", "links"}}
    assert data == set(), result.changes
    assert json.loads((project.home / ".chat/sessions/a.json").read_text())["id"] == "a"


# What programs do with names, one test each: all of it must be as before when the run is over.
NAMES = """\
import os, shutil, subprocess, sys
from pathlib import Path

CHAT = Path.home() / ".chat"
NOTES, SESSIONS = CHAT / "notes.txt", CHAT / "sessions"

def test_create_and_remove():
    (CHAT / "passing").touch()
    (CHAT / "passing").unlink()
    os.mkdir(CHAT / "passing")
    os.rmdir(CHAT / "passing")

def test_save_by_rename():
    for text in ("one", "two"):
        (CHAT / "beside").write_text(text)
        os.replace(CHAT / "beside", NOTES)

def test_rename_file():
    os.rename(CHAT / "state.db", CHAT / "state.old")

def test_rename_own_tree():
    (CHAT / "a").mkdir()
    (CHAT / "a" / "b").touch()
    os.rename(CHAT / "a", CHAT / "c")
    (CHAT / "c" / "d").touch()

def test_hard_link():
    os.link(CHAT / "state.old", CHAT / "second")

def test_rename_directory():
    os.rename(SESSIONS, CHAT / "moved")
    (CHAT / "moved" / "new").touch()
    (CHAT / "moved" / "a.json").write_text("changed")

def test_rename_directory_out():
    os.rename(CHAT / "moved", os.path.join(os.environ["TMPDIR"], "away"))
    shutil.rmtree(os.path.join(os.environ["TMPDIR"], "away"))

def test_in_a_child():
    code = "import os, sys; os.rename('notes.txt', 'by-child'); open('by-child', 'a').write('x'); open('new', 'w')"
    subprocess.run([sys.executable, "-c", code], cwd=CHAT, check=True)

def test_in_a_fork():
    if (pid := os.fork()) == 0:
        (CHAT / "by-child").write_text("by a fork")
        os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2", "--dist=loadfile")], ids=["alone", "n2"])
def test_report_mode_without_an_overlay_puts_names_back_too(
    make_project: MakeProject, workers: tuple[str, ...]
) -> None:
    project = make_project({"test_it.py": NAMES})

    result = project.run("--session-guard=report", "--session-guard-layers=hook", *workers)

    # Python 3.12 and newer warn of a fork in a worker, which has threads.
    assert (result.status, {**result.outcomes, "warning": 0}) == (0, {"passed": 9, "warning": 0}), result.words
    assert result.report is not None
    assert result.report["verdict"] == "report-only"
    assert [note for note in result.report["notes"] if "put back" in note] == []
    data = {path: facts for path, facts in result.changes.items() if set(facts) - {"modified_ns", "links"}}
    assert data == {}


@pytest.mark.parametrize("given", ["report.json", "out/deep/report.json"])
def test_report_path_is_relative_to_where_pytest_was_started(make_project: MakeProject, given: str) -> None:
    suite = "import os\n\ndef test_moves(tmp_path):\n    os.chdir(tmp_path)\n"
    project = make_project({"sub/test_it.py": suite})

    result = project.run(f"--session-guard-json={given}", report=False, cwd=project.root / "sub")

    assert result.status == 0, result.words
    assert json.loads((project.root / "sub" / given).read_bytes())["verdict"] == "clean"


def test_report_that_cannot_be_written_makes_the_run_red(make_project: MakeProject) -> None:
    suite = "import os, shutil\nfrom pathlib import Path\n\ndef test_it():\n    Path('out').write_text('in the way')\n"
    project = make_project({"test_it.py": suite})

    result = project.run(f"--session-guard-json={project.root}/out/report.json", report=False)

    assert result.status != 0, result.words
    assert lines_of(result.words, "out/report.json' could not be written: ")
    assert lines_of(result.words, "fix:  name a place where this user may write")


def test_report_is_written_into_a_pipe_and_does_not_replace_it(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": "def test_it():\n    pass\n"})
    pipe = project.base / "pipe"
    os.mkfifo(pipe)
    os.chmod(pipe, 0o666)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    result = project.run(f"--session-guard-json={pipe}", report=False)

    content = os.read(reader, 1 << 20)
    os.close(reader)
    assert result.status == 0, result.words
    assert json.loads(content)["verdict"] == "clean"
    assert pipe.is_fifo()


def test_pipe_that_nobody_reads_makes_the_run_red_and_holds_nothing_up(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": "def test_it():\n    pass\n"})
    os.mkfifo(project.root / "pipe")
    os.chmod(project.root / "pipe", 0o666)

    result = project.run("--session-guard-json=pipe", report=False)

    assert result.status == 1, result.words
    assert lines_of(result.words, "pipe' could not be written: ")


def test_report_goes_to_standard_output_where_its_name_is_given(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": "def test_it():\n    pass\n"})
    # As /dev/stdout is, which no test may put at risk.
    (project.root / "out").symlink_to("/proc/self/fd/1")

    result = project.run("--session-guard-json=out", "-q", report=False)

    assert result.status == 0, result.words
    start = result.stdout.index('{\n  "schema"')
    assert json.JSONDecoder().raw_decode(result.stdout[start:])[0]["verdict"] == "clean"
    assert (project.root / "out").is_symlink()


def test_ledger_below_the_rootdir_is_no_ledger_elsewhere(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": "def test_it():\n    pass\n"})

    result = project.run("--session-guard-dir={rootdir}/build/ledger")

    assert (project.root / "build" / "ledger" / "runs").is_dir()
    assert "read-only disk" not in result.stdout
