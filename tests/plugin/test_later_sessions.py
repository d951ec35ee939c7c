"""Sessions one after another in one process: it cannot leave the walls of the first, so the later ones go on in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from capabilities import mount_namespace
from isolated import ordinary_account
from project import OTHERS, Account, MakeProject, Project, differences, snapshot

from pytest_session_guard._controls.overlay import probe
from pytest_session_guard._controls.seal import probe as seal_probe

needs_overlay = pytest.mark.skipif(probe().status == "unavailable", reason="no overlay to be had here")
needs_seal = pytest.mark.skipif(seal_probe().status == "unavailable", reason="no Landlock here")
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root enters while other threads run")

SESSIONS = f"""\
import os, subprocess, sys, threading
from pathlib import Path
import pytest

WITHOUT = [word for name in {OTHERS!r} for word in ("-p", f"no:{{name}}")]

def session(*args):
    try:
        status = int(pytest.main([*WITHOUT, *args]))
    except ImportError:  # so pytest 8 says that a plugin is not there
        status = 4
    print("status", status, flush=True)
    return status

"""
SUITE = """\
import os, subprocess
from pathlib import Path

NOTES = Path.home() / ".chat" / "notes.txt"
STORE = Path(os.environ["TMPDIR"]).parent / "store"

def test_passes():
    Path("made.txt").write_text("x")

def test_shell_removes():
    subprocess.run(["rm", NOTES])

def test_python_removes():
    try:
        NOTES.unlink()
    except OSError:
        pass

def test_shell_empties_store():
    subprocess.run("rm -f *", shell=True, cwd=STORE)

def test_shell_writes_to_store():
    subprocess.run("echo x > new.txt", shell=True, cwd=STORE, check=True)
"""


@pytest.fixture(params=["us", "ordinary"])
def account(request: pytest.FixtureRequest) -> Iterator[tuple[Account, Path | None]]:
    """The suite's own user, and an ordinary one in a place that it can reach."""
    if request.param == "us":
        yield Account(), None
        return
    with ordinary_account() as (ordinary, place):
        yield ordinary, place


def run_program(project: Project, lines: str) -> tuple[list[int], str]:
    """The statuses of the sessions of a program, and all that it said."""
    (project.base / "sessions.py").write_text(SESSIONS + lines)
    done = project.call(project.account.python, str(project.base / "sessions.py"))
    words = done.stdout + done.stderr
    assert "Traceback" not in words, words
    return [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("status ")], words


def reports(project: Project) -> list[dict[str, Any]]:
    """The reports of a checkout's runs, oldest first."""
    runs = sorted((project.root / ".session_guard" / "runs").iterdir())
    return [json.loads((run / "report.json").read_text()) for run in runs if (run / "report.json").exists()]


def touched(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (touch["nodeid"].partition("::")[2], Path(touch["path"]).name, touch["outcome"]) for touch in report["touches"]
    ]


@needs_overlay
def test_each_session_has_the_walls_and_answers_for_its_own_tests(
    account: tuple[Account, Path | None], make_project: MakeProject
) -> None:
    who, place = account
    files: dict[str, object] = {"test_it.py": SUITE}
    project = Project(place / "scratch", files, account=who) if place else make_project(files)
    before = snapshot(project.home)

    statuses, words = run_program(
        project,
        "session('test_it.py::test_passes')\n"
        "session('test_it.py::test_shell_removes')\n"
        "session('test_it.py::test_passes')\n"
        "session('test_it.py::test_python_removes')\n",
    )

    assert differences(before, snapshot(project.home)) == {}, words
    assert statuses == [0, 1, 0, 0], words
    told = reports(project)
    assert [report["layers"]["overlay"]["status"] for report in told] == ["enforced"] * 4, words
    assert [report["canary"]["overlay"] for report in told] == ["contained"] * 4, words
    # In the last one the notes are gone already, as they would be on the real disk.
    assert [touched(report) for report in told] == [[], [("test_shell_removes", "notes.txt", "contained")], [], []]
    assert "open before" not in words


@needs_overlay
def test_workspace_of_a_later_session_elsewhere_keeps_what_is_written(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})
    other = project.base / "other"
    shutil.copytree(project.root, other)
    (other / "test_it.py").rename(other / "test_other.py")

    statuses, words = run_program(
        project,
        f"session('test_it.py::test_passes')\nos.chdir({str(other)!r})\nsession('test_other.py::test_passes')\n",
    )

    assert statuses == [0, 0], words
    assert (project.root / "made.txt").exists()
    assert (other / "made.txt").exists()
    assert (other / ".session_guard" / "runs").is_dir()


@needs_overlay
@pytest.mark.parametrize("then", ["session_guard_protect=", "session_guard_free={0}", "session_guard_share={0}"])
def test_place_that_was_protected_in_an_earlier_session_alone_keeps_what_a_later_one_may_write(
    make_project: MakeProject, then: str
) -> None:
    project = make_project({"test_it.py": SUITE})
    store = project.base / "store"
    store.mkdir()

    statuses, words = run_program(
        project,
        f"session('-o', 'session_guard_protect={store}', 'test_it.py::test_shell_writes_to_store')\n"
        f"assert not Path({str(store / 'new.txt')!r}).is_symlink()\n"
        f"session('-o', {then.format(store)!r}, 'test_it.py::test_shell_writes_to_store')\n",
    )

    assert statuses == [1, 0], words
    assert (store / "new.txt").exists()


@needs_overlay
def test_place_that_a_later_session_protects_is_held(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})
    store = project.base / "store"
    store.mkdir()
    (store / "real.json").write_text("{}")

    statuses, words = run_program(
        project,
        "session('test_it.py::test_passes')\n"
        f"session('-o', 'session_guard_protect={store}', 'test_it.py::test_shell_empties_store')\n",
    )

    assert statuses == [0, 1], words
    assert (store / "real.json").exists()
    assert touched(reports(project)[1]) == [("test_shell_empties_store", "real.json", "contained")]


@needs_overlay
@pytest.mark.parametrize("first", ["", "share"])
def test_shared_place_of_a_later_session_is_held_against_a_shell_or_said_not_to_be(
    make_project: MakeProject, first: str
) -> None:
    project = make_project({"test_it.py": SUITE})
    store = project.base / "store"
    store.mkdir()
    (store / "real.json").write_text("{}")
    share = f"'-o', 'session_guard_share={store}', "

    statuses, words = run_program(
        project,
        f"session({share if first else ''}'test_it.py::test_passes')\n"
        f"session({share}'test_it.py::test_shell_empties_store')\n",
    )

    overlay = reports(project)[1]["layers"]["overlay"]
    if first:
        assert statuses == [0, 1], words
        assert (store / "real.json").exists()
        assert overlay == {"status": "enforced", "reason": "", "abi": None}
    else:
        assert overlay["status"] == "partial"
        assert "shared places are held in Python alone" in overlay["reason"]


@needs_overlay
def test_session_whose_checkout_lies_behind_the_walls_is_stopped_before_anything_is_lost(
    make_project: MakeProject,
) -> None:
    project = make_project({"test_it.py": SUITE})
    within = project.home / "project"
    shutil.copytree(project.root, within)
    before = snapshot(project.home)

    statuses, words = run_program(
        project, f"session('test_it.py::test_passes')\nos.chdir({str(within)!r})\nsession('test_it.py::test_passes')\n"
    )

    assert statuses == [0, 4], words
    assert f"an earlier session of this process left '{within}' behind its walls" in words
    assert "start each session in a process of its own" in words
    assert differences(before, snapshot(project.home)) == {}


@needs_overlay
def test_report_that_would_land_behind_the_walls_stops_the_session(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})
    target = project.home / "junit.xml"

    statuses, words = run_program(
        project,
        "session('test_it.py::test_passes')\n"
        f"session('-o', 'session_guard_free={target}', '--junitxml={target}', 'test_it.py::test_passes')\n",
    )

    assert statuses == [0, 4], words
    assert f"an earlier session of this process left '{target}' behind its walls" in words


@needs_overlay
def test_session_of_a_fork_is_guarded(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})
    before = snapshot(project.home)

    statuses, words = run_program(
        project,
        "session('test_it.py::test_passes')\n"
        "for name in ('test_shell_removes', 'test_passes'):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        os._exit(session(f'test_it.py::{name}'))\n"
        "    print('ended', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
    )

    assert differences(before, snapshot(project.home)) == {}, words
    assert statuses == [0, 1, 0], words
    assert "ended 1" in words
    assert "ended 0" in words
    told = reports(project)
    assert [report["layers"]["overlay"]["status"] for report in told] == ["enforced"] * 3
    assert touched(told[1]) == [("test_shell_removes", "notes.txt", "contained")]


@needs_overlay
@pytest.mark.parametrize(("first", "statuses"), [((), [0, 4]), (("-n", "2"), [0, 1])])
def test_workers_of_a_later_session_have_their_layers_or_do_not_begin(
    account: tuple[Account, Path | None], make_project: MakeProject, first: tuple[str, ...], statuses: list[int]
) -> None:
    who, place = account
    files: dict[str, object] = {"test_it.py": SUITE}
    project = Project(place / "scratch", files, account=who) if place else make_project(files)
    before = snapshot(project.home)

    found, words = run_program(
        project,
        f"session(*{first!r}, 'test_it.py::test_passes')\nsession('-n', '2', 'test_it.py::test_shell_removes')\n",
    )

    assert differences(before, snapshot(project.home)) == {}, words
    assert found == statuses, words
    if not first:
        assert "an earlier session of this process gave up the right to build layers for workers" in words


@needs_overlay
@only_root
def test_session_in_a_thread_that_stands_outside_gets_walls_of_its_own(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})
    before = snapshot(project.home)

    statuses, words = run_program(
        project,
        "first = threading.Thread(target=session, args=('test_it.py::test_passes',))\n"
        "first.start()\n"
        "first.join()\n"
        "session('test_it.py::test_shell_removes')\n",
    )

    assert differences(before, snapshot(project.home)) == {}, words
    assert statuses == [0, 1], words
    overlay = reports(project)[1]["layers"]["overlay"]
    assert "refused by session-guard" not in overlay["reason"]
    assert touched(reports(project)[1]) == [("test_shell_removes", "notes.txt", "contained")]


def test_session_after_one_that_could_not_begin_is_guarded(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    statuses, words = run_program(
        project,
        "session('--session-guard-layers=hook', '--session-guard-require=manifest', 'test_it.py::test_passes')\n"
        "session('--session-guard-layers=hook', 'test_it.py::test_python_removes')\n",
    )

    assert statuses == [4, 1], words
    assert (project.home / ".chat" / "notes.txt").exists()
    assert [touched(report) for report in reports(project)] == [[("test_python_removes", "notes.txt", "refused")]]


@pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")
def test_place_that_can_have_no_overlay_is_read_only_and_said_to_be(make_project: MakeProject, tmp_path: Path) -> None:
    # Overlays stand on overlays two deep and no deeper, so that here none goes on top: as in a container in a container.
    project = make_project({"test_it.py": SUITE})
    stack = (
        "set -e; top=$1; base=$2; shift 2; mount -t tmpfs none $top; "
        "for n in 1 2; do mkdir $top/upper$n $top/work$n; "
        "mount -t overlay -o lowerdir=$base,upperdir=$top/upper$n,workdir=$top/work$n overlay $base; done; "
        'cd $base/project; exec "$@"'
    )
    top = tmp_path / "top"
    top.mkdir()
    pytest_words = [project.account.python, "-m", "pytest", *(w for name in OTHERS for w in ("-p", f"no:{name}"))]

    done = project.call(
        *mount_namespace(),
        "sh",
        "-c",
        stack,
        "sh",
        str(top),
        str(project.base),
        *pytest_words,
        "test_it.py::test_shell_removes",
    )

    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert (project.home / ".chat" / "notes.txt").exists()
    assert "overlay" in done.stdout, done.stdout + done.stderr


KILLED = """\
import os, signal
from pathlib import Path

def test_dies():
    for name in ("new.json", "newer.json"):
        (Path.home() / ".chat" / name).write_text("{}")
    os.listdir(Path.home())
    (Path.home() / ".chat" / "newer.json").unlink()
    os.kill(os.getpid(), signal.SIGKILL)

def test_passes():
    pass
"""


@needs_overlay
@pytest.mark.parametrize("shared", [True, False])
def test_what_a_killed_run_left_behind_the_walls_of_an_earlier_session_is_left_to_another_process(
    make_project: MakeProject, shared: bool
) -> None:
    project = make_project({"test_it.py": SUITE})
    other = project.base / "other"
    other.mkdir()
    (other / "test_other.py").write_text(KILLED)
    (other / "pytest.ini").write_text("[pytest]\nsession_guard_share = ~/.chat\n")
    left = project.home / ".chat" / "new.json"
    words = ["-m", "pytest", *(word for name in OTHERS for word in ("-p", f"no:{name}")), str(other), "-k"]

    statuses, said = run_program(
        project,
        f"subprocess.run([sys.executable, *{[*words, 'dies']!r}], cwd={str(other)!r})\n"
        "assert (Path.home() / '.chat' / 'new.json').exists()\n"
        "session('test_it.py::test_passes')\n"
        f"os.chdir({str(other)!r})\n"
        f"session('-o', 'session_guard_share={'~/.chat' if shared else ''}', 'test_other.py::test_passes')\n",
    )

    assert statuses == [0, 0], said
    assert f"is left to the next process: '{left}' lies behind the walls of an earlier session" in said
    assert left.exists()
    assert "had been killed: 1 of its files removed" in project.call(project.account.python, *words, "passes").stdout
    assert not left.exists()


@needs_overlay
def test_report_behind_the_walls_stops_a_session_that_wants_no_overlay_too(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})
    target = project.home / "junit.xml"

    statuses, words = run_program(
        project,
        "session('test_it.py::test_passes')\n"
        "session('--session-guard-layers=hook', "
        f"'-o', 'session_guard_free={target}', '--junitxml={target}', 'test_it.py::test_passes')\n",
    )

    assert statuses == [0, 4], words
    assert f"an earlier session of this process left '{target}' behind its walls" in words


@needs_overlay
def test_what_workers_of_one_session_did_is_not_charged_to_another(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    statuses, words = run_program(
        project,
        "session('-n', '2', 'test_it.py::test_shell_removes')\n"
        "session('-n', '2', 'test_it.py::test_passes', 'test_it.py::test_shell_removes')\n"
        "session('-n', '2', 'test_it.py::test_passes')\n",
    )

    assert statuses == [1, 1, 0], words
    assert "after pytest had finished" not in words
    removed = [("test_shell_removes", "notes.txt", "contained")]
    assert [touched(report) for report in reports(project)] == [removed, removed, []], words


@needs_overlay
def test_session_of_a_fork_does_not_wait_for_the_process_that_started_it(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    statuses, words = run_program(
        project,
        "session('test_it.py::test_passes')\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    sys.exit(session('test_it.py::test_passes'))\n"
        "print('ended', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
    )

    assert statuses == [0, 0], words
    assert "ended 0" in words
    assert "still running" not in words


@needs_overlay
@only_root
def test_process_that_ends_outside_of_the_walls_of_its_thread_waits_for_nobody_else(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    with subprocess.Popen(["sleep", "60"]) as stranger:
        statuses, words = run_program(
            project,
            "first = threading.Thread(target=session, args=('test_it.py::test_passes',))\nfirst.start()\nfirst.join()\n",
        )
        stranger.kill()

    assert statuses == [0], words
    assert "still running" not in words


@needs_seal
def test_session_in_each_of_several_threads_of_an_ordinary_user_is_held() -> None:
    with ordinary_account() as (account, place):
        project = Project(place / "scratch", {"test_it.py": SUITE}, account=account)
        before = snapshot(project.home)

        statuses, words = run_program(
            project,
            "for name in ('test_passes', 'test_shell_removes'):\n"
            "    one = threading.Thread(target=session, args=(f'test_it.py::{name}',))\n"
            "    one.start()\n"
            "    one.join()\n",
        )

        # Until Linux 7.0 a seal is one of a thread; from then on the first is the process's, and holds the second as well.
        assert len(statuses) == 2, words
        assert differences(before, snapshot(project.home)) == {}, words


THROWN_AWAY = """\
for number in range(3):
    place = Path(os.environ["TMPDIR"]) / "project"
    place.mkdir()
    (place / "pytest.ini").write_text("[pytest]\\n")
    (place / f"test_{number}.py").write_text((Path("test_it.py")).read_text())
    os.chdir(place)
    session(f"test_{number}.py::test_passes")
    os.chdir(HERE)
    REMOVE
    print("there", place.exists())
"""


@needs_overlay
@pytest.mark.parametrize("remove", ["shutil.rmtree(place)", "subprocess.run(['rm', '-rf', place], check=True)"])
def test_temporary_project_can_be_removed_once_its_session_is_over(
    account: tuple[Account, Path | None], make_project: MakeProject, remove: str
) -> None:
    who, place = account
    files: dict[str, object] = {"test_it.py": SUITE}
    project = Project(place / "scratch", files, account=who) if place else make_project(files)
    before = snapshot(project.home)
    harm = "subprocess.run(['rm', Path.home() / '.chat' / 'notes.txt'])\n"

    quiet = run_program(project, "import shutil\nHERE = os.getcwd()\n" + THROWN_AWAY.replace("REMOVE", remove))
    red = run_program(project, "import shutil\nHERE = os.getcwd()\n" + THROWN_AWAY.replace("REMOVE", remove) + harm)

    assert quiet[0] == red[0] == [0, 0, 0], quiet[1] + red[1]
    assert quiet[1].count("there False") == 3, quiet[1]
    assert "session-guard: " not in quiet[1].replace("session-guard: enforce", ""), quiet[1]
    assert "notes.txt' was " in red[1]
    assert differences(before, snapshot(project.home)) == {}


def test_protected_place_in_a_temporary_project_is_not_handed_back(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE, "data/real.json": "{}"})

    statuses, words = run_program(
        project,
        "session('-o', 'session_guard_protect={rootdir}/data', 'test_it.py::test_passes')\n"
        "import shutil\n"
        "shutil.rmtree(os.getcwd(), ignore_errors=True)\n",
    )

    assert statuses == [0], words
    assert (project.root / "data" / "real.json").exists()
    assert "1 violation after pytest had finished" in words


def test_project_that_lies_in_no_temporary_place_keeps_its_ledger(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})
    within = project.home / "project"
    shutil.copytree(project.root, within)

    statuses, words = run_program(
        project,
        f"os.chdir({str(within)!r})\nsession('test_it.py::test_passes')\n"
        "import shutil\n"
        "shutil.rmtree('.session_guard', ignore_errors=True)\n",
    )

    assert statuses == [0], words
    assert (within / ".session_guard" / "runs").is_dir()
    assert "or keep it elsewhere (session_guard_dir)" in words


def test_pytest_itself_hands_nothing_back(make_project: MakeProject) -> None:
    remover = "import atexit, shutil, os\n\natexit.register(shutil.rmtree, os.path.abspath('.session_guard'), True)\n"
    project = make_project({"test_it.py": SUITE, "conftest.py": remover})

    result = project.run("test_it.py::test_passes")

    assert result.status == 1, result.words
    assert (project.root / ".session_guard" / "runs").is_dir()


STOPPED = ("'--no-such-option'", "'broken'", "'-p', 'no_such_plugin'")


@needs_overlay
@pytest.mark.parametrize("words", STOPPED)
def test_session_after_one_that_was_stopped_before_it_began_is_guarded(make_project: MakeProject, words: str) -> None:
    project = make_project({"test_it.py": SUITE, "broken/conftest.py": "1 / 0\n"})
    before = snapshot(project.home)

    # The one with the broken conftest shows its traceback, which is none of the program's.
    statuses, said = run_program(
        project,
        f"session('--tb=no', {words})\n"
        "session('test_it.py::test_python_removes')\n"
        "session('test_it.py::test_shell_removes')\n",
    )

    assert differences(before, snapshot(project.home)) == {}, said
    assert statuses == [4, 1, 1], said


@needs_overlay
def test_many_sessions_keep_little_open(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    statuses, words = run_program(
        project,
        "session('test_it.py::test_passes')\n"
        "before = len(os.listdir('/proc/self/fd'))\n"
        "for _ in range(14):\n"
        "    session('test_it.py::test_passes')\n"
        "print('more', len(os.listdir('/proc/self/fd')) - before)\n",
    )

    assert statuses == [0] * 15, words
    # A copy of standard error each, for what comes to light at the very end.
    (more,) = (int(line.split()[1]) for line in words.splitlines() if line.startswith("more "))
    assert more <= 14, words
    assert len(list((project.root / ".session_guard" / "runs").iterdir())) <= 11
    assert "session-guard: " not in words.rpartition("status 0")[2]


@needs_overlay
def test_what_comes_after_an_earlier_session_is_told_at_the_end(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    statuses, words = run_program(
        project,
        "session('test_it.py::test_passes')\n"
        "subprocess.run(['rm', Path.home() / '.chat' / 'notes.txt'])\n"
        "session('test_it.py::test_passes')\n",
    )

    assert statuses == [0, 0], words
    assert (project.home / ".chat" / "notes.txt").exists()
    assert words.count("1 violation after pytest had finished") == 1
    assert "notes.txt" in words
