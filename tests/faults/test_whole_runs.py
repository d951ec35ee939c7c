"""Whole runs of pytest in bad surroundings: signals, a ledger that goes, applications that are at work in the same place."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from project import MakeProject, Project

from pytest_session_guard._core.records import parse_journal
from pytest_session_guard._run.recover import clean_all

IMPORTS = """\
import contextlib, os, shutil, signal, socket, subprocess, sys, time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
STORE = ROOT.parent / "store"
HANGS = Path(os.environ["TMPDIR"]) / "hangs"
NOTES = Path.home() / ".chat" / "notes.txt"

"""
HANGS = """
def test_hangs():
    for name in ("a", "b", "c"):
        (STORE / name).write_text("x")
    with contextlib.suppress(OSError):
        NOTES.unlink()
    (ROOT / "source.py").write_text("changed")
    (STORE / "c").exists()
    HANGS.write_text("")
    time.sleep(60)
"""


def shared_project(make_project: MakeProject, suite: str, **files: object) -> tuple[Project, Path]:
    project = make_project({"test_it.py": IMPORTS + suite, "source.py": "was", **files})
    store = project.base / "store"
    store.mkdir()
    (store / "real.json").write_text('{"id": "real"}')
    return project, store


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def start(project: Project, store: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with (project.base / "output").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", f"--session-guard-share={store}", *arguments],
            cwd=project.root, env=project.environment(), stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, output.read_text()
        assert process.poll() is None, output.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["bare", "n2"])
@pytest.mark.parametrize(
    ("signals", "statuses"),
    [
        pytest.param([signal.SIGTERM], {-signal.SIGTERM}, id="terminated"),
        pytest.param([signal.SIGHUP], {-signal.SIGHUP}, id="hung-up"),
        pytest.param([signal.SIGINT, signal.SIGINT], {2, -signal.SIGINT, 1}, id="interrupted-twice"),
    ],
)
def test_a_run_that_a_signal_ends_keeps_its_evidence_and_the_next_finishes_it(
    make_project: MakeProject, signals: list[signal.Signals], statuses: set[int], workers: tuple[str, ...]
) -> None:
    project, store = shared_project(make_project, HANGS)
    process = start(project, store, *workers)
    wait_for(project.tmp / "hangs", process, project.base / "output")
    for number in signals:
        os.killpg(process.pid, number)
        time.sleep(0.05)

    said = (project.base / "output").read_text()
    assert process.wait(timeout=60) in statuses, said
    (run,) = (project.root / ".session_guard" / "runs").iterdir()
    deadline = time.monotonic() + 30
    while not (run / "closed.json").exists() and not clean_all(str(run.parents[1])):
        assert time.monotonic() < deadline, "the last worker does not go"
        time.sleep(0.1)

    records = [record for one in run.glob("journal-*.jsonl") for record in parse_journal(one.read_bytes()).records]
    assert {record["nodeid"] for record in records if record["kind"] == "touch"} == {"test_it.py::test_hangs"}
    assert (project.home / ".chat" / "notes.txt").read_text() == "notes of a person\n"
    assert names(store) == ["real.json"]
    done = project.call(sys.executable, "-m", "pytest_session_guard", "restore", run.name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project.root / "source.py").read_text() == "was"


DELETES_LEDGER = """
def test_a_creates():
    (STORE / "before").write_text("x")

def test_b_deletes_the_ledger():
    %s

def test_c_creates():
    with contextlib.suppress(OSError):
        (STORE / "after").write_text("x")

def test_d_changes():
    with contextlib.suppress(OSError):
        (ROOT / "source.py").write_text("changed")
"""


@pytest.mark.parametrize(
    "how",
    [
        pytest.param('shutil.rmtree(ROOT / ".session_guard", ignore_errors=True)', id="by-python"),
        pytest.param('subprocess.run(["rm", "-rf", str(ROOT / ".session_guard")])', id="by-a-program"),
    ],
)
@pytest.mark.parametrize("layers", ["auto", "hook"])
def test_when_the_ledger_is_deleted_during_the_run_the_run_fails_and_nothing_is_removed_on_its_word(
    make_project: MakeProject, how: str, layers: str
) -> None:
    project, store = shared_project(make_project, DELETES_LEDGER % how)

    result = project.run(f"--session-guard-share={store}", f"--session-guard-layers={layers}")

    assert result.status == 1, result.words
    assert result.changes == {}
    assert "Traceback" not in result.words
    if "rmtree" in how:
        # The hook knew better, and everything goes on as ever.
        assert names(store) == ["real.json"], result.words
        assert result.touches_of("test_b_deletes_the_ledger"), result.words
    else:
        # What cannot be written down is neither created, nor changed, nor removed.
        assert names(store) == ["before", "real.json"], result.words
        assert (project.root / "source.py").read_text() == "was", result.words
        assert "'before'" in result.words or "/before'" in result.words
        # Who it was is said, and no word of an error of the guard's own.
        (gone,) = [touch for touch in result.touches if "cannot be used" in touch["reason"]]
        assert (gone["nodeid"], gone["process"][:7]) == ("test_it.py::test_b_deletes_the_ledger", "rm -rf "), gone
        assert "please report it" not in result.words
        listed = project.call(sys.executable, "-m", "pytest_session_guard", "runs").stdout
        assert " alive " not in listed, listed


LIVE_APPLICATION = """\
import json, os, sys, time
from pathlib import Path

store, stop = Path(sys.argv[1]), Path(sys.argv[2])
alive, number = {}, 0
while not stop.exists() or number < 40:
    number += 1
    path = store / f"live_{number % 7}.json"
    content = json.dumps({"number": number})
    if number % 5 == 0 and path.exists():
        path.unlink()
        alive.pop(path.name, None)
    elif number % 3 == 0 and path.exists():
        with path.open("w") as file:
            file.write(content)
        alive[path.name] = content
    elif number % 4 == 0 and path.exists():
        os.utime(path)
    else:
        fresh = store / f".live_{number}.tmp"
        fresh.write_text(content)
        fresh.replace(path)
        alive[path.name] = content
    time.sleep(0.003)
print(json.dumps(alive))
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["bare", "n2"])
def test_a_live_application_keeps_its_sessions_and_none_of_them_is_called_the_runs(
    make_project: MakeProject, workers: tuple[str, ...]
) -> None:
    suite = """
@pytest.mark.parametrize("number", range(60))
def test_works(session_guard, number):
    path = STORE / f"session_{number}.json"
    path.write_text("{}")
    session_guard.artifact(path)
    if number % 3 == 0:
        session_guard.remove(path)
    if number % 7 == 0:
        os.system(f"echo x > {STORE}/session_{number}.tmp && rm {STORE}/session_{number}.tmp")
"""
    project, store = shared_project(make_project, suite)
    program, stop = project.base / "live.py", project.base / "stop"
    program.write_text(LIVE_APPLICATION)
    with subprocess.Popen([sys.executable, str(program), str(store), str(stop)], stdout=subprocess.PIPE) as live:
        result = project.run(f"--session-guard-share={store}", *workers)
        stop.touch()
        said, _ = live.communicate(timeout=30)

    alive = json.loads(said)
    assert live.returncode == 0
    assert result.status == 0, result.words
    assert result.touches == []
    assert {path.name: path.read_text() for path in store.iterdir()} == {**alive, "real.json": '{"id": "real"}'}
    assert result.report is not None
    artifacts = [*result.report["artifacts"]["removed"], *(one["path"] for one in result.report["artifacts"]["kept"])]
    assert [path for path in artifacts if "live_" in path] == []


WRITES_AND_WAITS = """
def test_writes_and_waits():
    NOTES.write_text("by the run")
    HANGS.write_text("")
    while not HANGS.with_name("replaced").exists():
        time.sleep(0.001)
"""


def test_what_a_live_application_wrote_during_a_run_in_report_mode_stays_and_is_named(
    make_project: MakeProject,
) -> None:
    project, store = shared_project(make_project, WRITES_AND_WAITS)
    process = start(project, store, "--session-guard=report", "--session-guard-layers=hook")
    wait_for(project.tmp / "hangs", process, project.base / "output")
    notes = project.home / ".chat" / "notes.txt"
    fresh = notes.with_name("fresh")
    fresh.write_text("newer words")
    fresh.replace(notes)
    (project.tmp / "replaced").write_text("")

    process.wait(timeout=60)

    said = (project.base / "output").read_text()
    assert notes.read_text() == "newer words", said
    assert f"could not be put back as it was: '{notes}': another program replaced it" in said


REMOVES = """
def test_removes():
    (ROOT / "deleted.py").unlink()
    (ROOT / "fresh.py").write_text("new")
    (ROOT / "fresh.py").replace(ROOT / "replaced.py")
    shutil.rmtree(ROOT / "tree")
"""
MOVES_AND_WRITES = """
def test_moves_and_writes():
    (ROOT / "renamed.py").rename(ROOT / "moved.py")
    (ROOT / "moved.py").write_text("changed")
    subprocess.run([sys.executable, "-c", "open('moved.py', 'a').write('!')"], cwd=ROOT, check=True)
"""
WRITES = """
def test_writes():
    (ROOT / "moved.py").write_text("changed by the next run")
"""


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["bare", "n1"])
@pytest.mark.parametrize("layers", ["auto", "hook"])
def test_what_loses_its_name_in_the_workspace_is_kept_without_copying_a_byte(
    make_project: MakeProject, layers: str, workers: tuple[str, ...]
) -> None:
    files = {"deleted.py": "was", "replaced.py": "was", "tree/in.py": "was"}
    project, _ = shared_project(make_project, REMOVES, **files)
    numbers = {name: (project.root / name).stat().st_ino for name in files}

    result = project.run(f"--session-guard-layers={layers}", *workers)
    done = project.call(sys.executable, "-m", "pytest_session_guard", "restore", "latest")

    assert (result.status, done.returncode) == (0, 0), result.words + done.stderr
    assert {name: (project.root / name).stat().st_ino for name in files} == numbers
    assert {(project.root / name).read_text() for name in files} == {"was"}


@pytest.mark.parametrize("layers", ["auto", "hook"])
def test_a_file_that_the_ledger_keeps_by_name_can_be_written_to_under_another(
    make_project: MakeProject, layers: str
) -> None:
    project, _ = shared_project(make_project, MOVES_AND_WRITES, **{"renamed.py": "was"})

    first = project.run(f"--session-guard-layers={layers}")
    # A store of an earlier run is no other place that a write would reach, either.
    (project.root / "test_it.py").write_text(
        IMPORTS + "def test_moves():\n    os.rename(ROOT / 'source.py', ROOT / 'moved.py')\n"
    )
    second = project.run(f"--session-guard-layers={layers}")
    (project.root / "test_it.py").write_text(IMPORTS + WRITES)
    third = project.run(f"--session-guard-layers={layers}")

    assert [run.status for run in (first, second, third)] == [0, 0, 0], first.words + second.words + third.words
    for run in sorted((project.root / ".session_guard" / "runs").iterdir(), reverse=True):
        done = project.call(sys.executable, "-m", "pytest_session_guard", "restore", run.name, "--force")
        assert done.returncode == 0, done.stdout + done.stderr
    assert (project.root / "renamed.py").read_text() == "was"
    assert (project.root / "source.py").read_text() == "was"


DIGS = """
def test_digs():
    (STORE / "shallow").write_text("x")
    (STORE / "deep").mkdir()
    above = os.open(STORE / "deep", os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=above)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=above))
    os.close(above)
"""


def test_what_lies_deeper_than_a_path_can_say_stays_and_is_named(make_project: MakeProject) -> None:
    project, store = shared_project(make_project, DIGS)

    result = project.run(f"--session-guard-share={store}")

    assert (result.status, result.touches) == (0, []), result.words
    assert names(store) == ["deep", "real.json"], result.words
    assert f"session-guard kept '{store}/deep': it holds '{'d' * 200}', which stays: " in result.stdout
    assert "its creation by this run is not recorded" in result.stdout


REPLACER = """\
import os, sys, time
path = sys.argv[1]
while not os.path.exists(path):
    time.sleep(0.001)
if sys.argv[2] == "rename":
    with open(path + ".tmp", "w") as file:
        file.write("a live session")
    os.replace(path + ".tmp", path)
else:
    os.unlink(path)
    with open(path, "x") as file:
        file.write("a live session")
open(path + ".done", "w").close()
"""


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["bare", "n1"])
@pytest.mark.parametrize("how", ["rename", "again"])
def test_a_live_application_that_replaces_an_artifact_at_once_keeps_its_file(
    make_project: MakeProject, how: str, workers: tuple[str, ...]
) -> None:
    suite = """
def test_works():
    # Nothing that the run does from here on lets it look at its file before the application has replaced it.
    (STORE / "state.json").write_text("{}")
    while not os.path.exists(STORE / "state.json.done"):
        time.sleep(0.001)
"""
    project, store = shared_project(make_project, suite)
    program = project.base / "replacer.py"
    program.write_text(REPLACER)
    with subprocess.Popen([sys.executable, str(program), str(store / "state.json"), how]):
        result = project.run(f"--session-guard-share={store}", *workers)

    assert result.status == 0, result.words
    assert names(store) == ["real.json", "state.json", "state.json.done"], result.words
    assert (store / "state.json").read_text() == "a live session"


@pytest.mark.parametrize("kind", ["fifo", "socket"])
@pytest.mark.parametrize("how", ["delete", "rename", "mode"])
def test_a_pipe_or_socket_of_the_workspace_that_was_there_comes_back_or_is_refused(
    make_project: MakeProject, kind: str, how: str
) -> None:
    acts = {
        "delete": "(ROOT / 'special').unlink()",
        "rename": "(ROOT / 'special').rename(ROOT / 'elsewhere')",
        "mode": "(ROOT / 'special').chmod(0o777)",
    }
    project, store = shared_project(
        make_project, f"def test_it():\n    with contextlib.suppress(OSError):\n        {acts[how]}\n"
    )
    special = project.root / "special"
    if kind == "fifo":
        os.mkfifo(special, 0o600)
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            # The path is longer than the address of a socket may be.
            here = os.getcwd()
            os.chdir(project.root)
            listener.bind("special")
            os.chdir(here)
        special.chmod(0o600)
    was = special.lstat()

    result = project.run(f"--session-guard-share={store}")

    if result.status == 0:
        (run,) = (project.root / ".session_guard" / "runs").iterdir()
        done = project.call(sys.executable, "-m", "pytest_session_guard", "restore", run.name)
        assert done.returncode == 0, done.stdout + done.stderr
    found = special.lstat()
    assert stat.S_IFMT(found.st_mode) == stat.S_IFMT(was.st_mode), result.words
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, was.st_uid), result.words


def test_a_forked_child_that_ends_in_order_cleans_up_nothing_of_its_parents(make_project: MakeProject) -> None:
    suite = """
def test_a_child_runs_exit_handlers():
    (STORE / "a").write_text("x")
    pid = os.fork()
    if pid == 0:
        (STORE / "by_child").write_text("x")
        import atexit
        atexit._run_exitfuncs()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert sorted(path.name for path in STORE.iterdir()) == ["a", "by_child", "real.json"]

def test_b_the_run_goes_on():
    (STORE / "b").write_text("x")
"""
    project, store = shared_project(make_project, suite)

    result = project.run(f"--session-guard-share={store}")

    assert result.status == 0, result.words
    assert names(store) == ["real.json"]


WAITS = """
def test_a_waits_while_somebody_moves_the_store_away():
    assert NOTES.exists()
    HANGS.write_text("")
    for _ in range(1000):
        if (HANGS.parent / "moved").exists():
            break
        time.sleep(0.01)

def test_b_goes_on():
    pass
"""


@pytest.mark.parametrize("layers", ["auto", "hook,manifest"])
def test_a_protected_root_that_somebody_moves_away_is_not_called_deleted_and_is_not_restored(
    make_project: MakeProject, layers: str
) -> None:
    project, store = shared_project(make_project, WAITS)
    process = start(
        project, store, f"--session-guard-layers={layers}", f"--session-guard-protect={project.home / '.chat'}",
        f"--session-guard-json={project.report_path}",
    )  # fmt: skip
    wait_for(project.tmp / "hangs", process, project.base / "output")
    (project.home / ".chat").rename(project.base / "moved-away")
    (project.tmp / "moved").write_text("")

    process.wait(timeout=60)

    said = (project.base / "output").read_text()
    report = json.loads(project.report_path.read_bytes())
    assert not (project.home / ".chat").exists(), said
    assert (project.base / "moved-away" / "notes.txt").read_text() == "notes of a person\n"
    assert [touch for touch in report["touches"] if touch["path"].endswith(("notes.txt", ".json", ".db"))] == [], said
    assert "2 passed" in said
    assert ("cannot be compared any more" in said) is ("manifest" in layers)
