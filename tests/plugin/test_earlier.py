"""What was there before the guard is listed; what is changed through it all the same makes the run red."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest
from project import MakeProject, Project, Result, lines_of

BEFORE = "-p", "before_the_guard"
OPENS = """\
import fcntl, mmap, os, subprocess
from pathlib import Path

CHAT = Path.home() / ".chat"
NOTES = CHAT / "notes.txt"

"""
WRITABLE = "HELD = os.open(NOTES, os.O_RDWR)\n"
READABLE = "HELD = os.open(NOTES, os.O_RDONLY)\n"
DIRECTORY = "HELD = os.open(CHAT, os.O_RDONLY)\n"
MAPPING = "FILE = os.open(NOTES, os.O_RDWR)\nHELD = mmap.mmap(FILE, 0)\nos.close(FILE)\n"
DIRTY_MAPPING = MAPPING + "HELD[0:1] = HELD[0:1]\n"
# The descriptor is known only where the code runs, so the shell gets it as its name.
SHELL = "subprocess.run(['sh', '-c', {!r}, str(HELD)], check=True, pass_fds=[HELD])"


def project_of(make_project: MakeProject, before: str, act: str = "pass") -> Project:
    imports = "import fcntl, os, subprocess, sys\nfrom before_the_guard import HELD\n"
    suite = f"{imports}\ndef test_uses():\n    {act}\n\ndef test_other():\n    pass\n"
    return make_project({"before_the_guard.py": OPENS + before, "test_it.py": suite})


def notes_of(result: Result) -> list[str]:
    assert result.report is not None, result.words
    notes: list[str] = result.report["notes"]
    return notes


USES = (
    pytest.param(WRITABLE, "os.write(HELD, b'gone')", "content", "test_uses", id="write"),
    pytest.param(WRITABLE, SHELL.format('eval "echo gone >&$0"'), "content", "test_uses", id="shell"),
    pytest.param(READABLE, SHELL.format("echo gone > /proc/self/fd/$0"), "content", "test_uses", id="opened_anew"),
    pytest.param(WRITABLE, SHELL.format("chmod 600 /proc/self/fd/$0"), "metadata", "test_uses", id="mode"),
    pytest.param(DIRECTORY, "os.fchdir(HELD); subprocess.run(['rm', 'notes.txt'])", "removed", "", id="removed"),
    pytest.param(DIRECTORY, "os.fchdir(HELD); subprocess.run(['sh', '-c', 'echo x > notes.txt'])", "content", "", id="below"),
    pytest.param(DIRECTORY, "os.fchdir(HELD); subprocess.run(['touch', 'new'])", "created", "", id="created"),
    # The page is dirty already: this store moves no time.
    pytest.param(DIRTY_MAPPING, "HELD[0:4] = b'gone'", None, None, id="mapping"),
)  # fmt: skip


@pytest.mark.parametrize(("before", "act", "operation", "charged"), USES)
def test_change_through_something_from_before_is_a_violation(
    make_project: MakeProject, before: str, act: str, operation: str | None, charged: str | None
) -> None:
    project = project_of(make_project, before, act)

    result = project.run(*BEFORE)

    assert result.changes != {}, result.words
    assert result.status == 1, result.words
    (touch,) = [one for one in result.touches if one["layer"] == "manifest"]
    name = "new" if operation == "created" else "notes.txt"
    assert (touch["path"], touch["outcome"]) == (f"{project.home}/.chat/{name}", "allowed")
    assert operation in (None, touch["operation"])
    assert charged in (None, touch["nodeid"].rpartition("::")[2])
    assert " before" in touch["reason"]
    assert "or a program outside the run did it" in touch["reason"]
    assert lines_of(result.stdout, " allowed: ", f"{project.home}/.chat/{name}", "which no layer could hold")


@pytest.mark.parametrize(("before", "act", "operation", "charged"), USES)
def test_same_change_is_silent_when_the_guard_is_out(
    make_project: MakeProject, before: str, act: str, operation: str | None, charged: str | None
) -> None:
    project = project_of(make_project, before, act)

    result = project.run(*BEFORE, "-p", "no:session_guard", report=False)

    assert (result.status, result.outcomes) == (0, {"passed": 2}), (result.words, operation, charged)
    assert result.changes != {}


LISTED: Mapping[str, tuple[str, str]] = {
    "writable": (WRITABLE, "descriptor {fd} was open for writing before: '{home}/.chat/notes.txt'"),
    "read-only": (
        READABLE,
        "descriptor {fd} was open before, for reading, and /proc lets it be opened for writing: '{home}/.chat/notes.txt'",
    ),
    "directory": (DIRECTORY, "directory descriptor {fd} was open before: '{home}/.chat'"),
    "directory of the workspace": (
        "HELD = os.open('.', os.O_RDONLY)\n",
        "directory descriptor {fd} was open before: '{root}'",
    ),
    "mapping": (MAPPING, "a shared mapping was made before: '{home}/.chat/notes.txt'"),
    "child": (
        "HELD = subprocess.Popen(['sh', '-c', 'exec sleep 20'])\nimport atexit; atexit.register(HELD.kill)\n",
        "a child was running before: {pid} sleep 20",
    ),
    "fork": (
        "import signal, time\nHELD = os.fork()\nif not HELD:\n    time.sleep(20)\n    os._exit(0)\n"
        "import atexit; atexit.register(os.kill, HELD, signal.SIGKILL)\n",
        "a fork of this process was running before: {fd} ",
    ),
}


SUBREAPER = "import ctypes\nHELD = ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"


def test_keeper_that_a_process_adopts_is_nothing_from_before(make_project: MakeProject) -> None:
    # So does the first process of a container without being asked.
    project = project_of(make_project, SUBREAPER)

    result = project.run(*BEFORE)

    assert (result.status, result.touches) == (0, []), result.words
    assert notes_of(result) == []


@pytest.mark.parametrize("name", LISTED)
def test_thing_from_before_that_is_not_used_is_listed_and_no_violation(make_project: MakeProject, name: str) -> None:
    before, clause = LISTED[name]
    project = project_of(make_project, before, "print('held', getattr(HELD, 'pid', HELD))")

    result = project.run(*BEFORE, "-s", "-W", "ignore")

    assert (result.status, result.touches, result.changes) == (0, [], {}), result.words
    held = next(iter(lines_of(result.stdout, "held "))).rpartition("held ")[2]
    expected = clause.format(fd=held, pid=held, home=project.home, root=project.root)
    assert [note for note in notes_of(result) if note.startswith(expected)], notes_of(result)
    assert expected in result.header_lines[0]


def test_nothing_is_listed_where_nothing_was_there(make_project: MakeProject) -> None:
    result = make_project({"test_it.py": "def test_it():\n    pass\n"}).run()

    assert notes_of(result) == []


STREAMS = (
    pytest.param('exec "$0" "$@" > ~/log.txt 2>&1', id="both"),
    pytest.param('exec "$0" "$@" 2>> ~/log.txt', id="stderr"),
    pytest.param('exec 5> ~/log.txt; exec "$0" "$@" >&5 2>&5', id="copy"),
)


@pytest.mark.parametrize("script", STREAMS)
def test_output_that_the_shell_sends_into_the_home_is_a_note_and_no_violation(
    make_project: MakeProject, script: str
) -> None:
    suite = "import sys\n\ndef test_it(capfd):\n    with capfd.disabled():\n        print('words', file=sys.stderr, flush=True)\n"
    project = make_project({"test_it.py": suite})

    done = project.call(
        "sh", "-c", script, sys.executable, "-m", "pytest", f"--session-guard-json={project.report_path}"
    )

    said = done.stdout + (project.home / "log.txt").read_text()
    assert done.returncode == 0, said
    assert f"what is printed goes to '{project.home}/log.txt', as it was started" in said
    assert "was open for writing before" not in said


# The writer is a sibling of pytest; pytest has the file itself, or the directory around it.
SHARED_WITH_OTHERS = (
    pytest.param('exec 5>> ~/.chat/live.log; ({}) & "$0" "$@"; s=$?; kill $!; exit $s', "descriptor 5", id="file"),
    pytest.param(
        'exec 5>> ~/.chat/live.log; ({}) & exec 5>&- 6< ~/.chat; "$0" "$@"; s=$?; kill $!; exit $s',
        "directory descriptor 6",
        id="directory",
    ),
)


@pytest.mark.parametrize(("script", "descriptor"), SHARED_WITH_OTHERS)
def test_file_that_a_program_outside_writes_to_is_told_and_no_violation(
    make_project: MakeProject, script: str, descriptor: str
) -> None:
    project = make_project({"test_it.py": "import time\n\ndef test_it():\n    time.sleep(0.3)\n"})
    loop = "n=0; while [ $n -lt 400 ]; do echo x >&5; sleep 0.02; n=$((n+1)); done"

    done = project.call("sh", "-c", script.format(loop), sys.executable, "-m", "pytest")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"; {descriptor} was open " in done.stdout
    assert lines_of(
        done.stdout,
        "session-guard: ",
        "live.log",
        "a program outside the run had it open for writing as the run began: ",
    )


def test_file_that_is_replaced_by_rename_was_not_changed_through_its_descriptor(make_project: MakeProject) -> None:
    project = project_of(make_project, WRITABLE, "import time; time.sleep(0.5)")
    script = '(sleep 0.3; while [ ! -e ready ]; do sleep 0.02; done; cp ~/.chat/notes.txt ~/n; mv ~/n ~/.chat/notes.txt) & "$0" "$@"'
    (project.root / "conftest.py").write_text("from pathlib import Path\n\nPath('ready').touch()\n")

    done = project.call("sh", "-c", script, sys.executable, "-m", "pytest", *BEFORE)

    assert done.returncode == 0, done.stdout + done.stderr


def test_directory_that_is_too_large_to_be_compared_is_said_to_be(make_project: MakeProject) -> None:
    project = project_of(make_project, DIRECTORY)
    for number in range(2100):
        (project.home / ".chat" / f"{number}").touch()

    result = project.run(*BEFORE)

    assert (result.status, result.touches) == (0, []), result.words
    assert "(too large, or out of reach, to be compared)" in result.header_lines[0]


def test_comparing_gives_up_no_lock_of_the_process(make_project: MakeProject) -> None:
    probe = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    before = WRITABLE + "fcntl.lockf(HELD, fcntl.LOCK_EX)\n"
    # Closing any other descriptor of the file would give the lock up (fcntl(2)).
    words = f"[sys.executable, '-S', '-c', {probe!r}, f'/proc/self/fd/{{HELD}}']"
    act = f"assert b'Blocking' in subprocess.run({words}, pass_fds=[HELD], capture_output=True).stderr"
    project = project_of(make_project, before, act)

    result = project.run(*BEFORE)

    assert (result.status, result.outcomes) == (0, {"passed": 2}), result.words


def test_notebook_that_writes_its_own_history_is_told_and_not_blamed(make_project: MakeProject) -> None:
    project = project_of(make_project, WRITABLE + "import sys\nsys.ps1 = '>>> '\n", "os.write(HELD, b'gone')")

    result = project.run(*BEFORE)

    assert (result.status, result.touches) == (0, []), result.words
    assert lines_of(result.stdout, "it belongs to the interactive program that runs these tests")
