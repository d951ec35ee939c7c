"""Renames from one of our mounts to another: the kernel refuses them, and a suite that was green without the guard stays so."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, cast

import pytest
from capabilities import mount_namespace
from project import MakeProject, Project

from pytest_session_guard._run.walls import Walls

pytestmark = pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")

IMPORTS = """\
import errno, os, subprocess, sys
from pathlib import Path

import pytest

HOME = Path.home()
CHAT = HOME / ".chat"
HERE = Path(__file__).parent

"""
INNOCENT = (
    pytest.param("(t / 'x').write_text('1'); os.replace(t / 'x', 'made'); assert Path('made').read_text() == '1'", id="in"),
    pytest.param("os.rename('there', t / 'x'); assert (t / 'x').read_text() == 'there'; os.rename(t / 'x', 'there')", id="out"),
    pytest.param("(t / 'x').write_text('1'); (t / 'x').replace('there'); assert Path('there').read_text() == '1'", id="over"),
    pytest.param("(t / 'x').symlink_to('y'); (t / 'x').rename('link'); assert os.readlink('link') == 'y'", id="symlink"),
    pytest.param("os.replace(os.fsencode(make(t)), b'made'); assert os.listdir('made/d') == ['f']", id="directory"),
    pytest.param("Path('made').mkdir(); make(t).rename('made'); assert os.listdir('made/d') == ['f']", id="directory-over-empty"),
    pytest.param(
        "p = t / 'x'; p.touch(); p.chmod(0o640); os.utime(p, ns=(5, 7)); p.rename('m'); s = os.stat('m'); "
        "assert (s.st_mode & 0o777, s.st_mtime_ns) == (0o640, 7)",
        id="metadata",
    ),
    pytest.param("run(\"open(sys.argv[1], 'w').close(); os.rename(*sys.argv[1:])\", t / 'x', 'made'); os.stat('made')", id="child"),
)  # fmt: skip
MAKE = """\
def make(t):
    (t / "a" / "d").mkdir(parents=True)
    (t / "a" / "d" / "f").write_text("f")
    return t / "a"

def run(code, *args):
    subprocess.run([sys.executable, "-c", "import os, sys; " + code, *args], check=True)

"""


def in_walls_of_their_own(make_project: MakeProject, body: str) -> tuple[Project, tuple[str, ...]]:
    """A project whose rootdir and temp directory are bound into a guarded place, as in a checkout beside /tmp."""
    project = make_project(
        {"test_it.py": f"{IMPORTS}{MAKE}def test_it(tmp_path):\n    t = tmp_path\n    {body}\n", "there": "there"}
    )
    return project, (f"--session-guard-protect={project.base}", "--session-guard-layers=hook,overlay")


@pytest.mark.parametrize("body", INNOCENT)
def test_rename_between_writable_places_goes_as_without_the_guard(make_project: MakeProject, body: str) -> None:
    project, options = in_walls_of_their_own(make_project, body)

    result = project.run(*options)

    assert (result.status, result.outcomes, result.touches) == (0, {"passed": 1}, []), result.words
    assert not [name for name in os.listdir(project.root) if name.startswith((".made", ".there"))]


def test_file_that_the_run_made_and_moved_is_not_listed_as_one_of_before(make_project: MakeProject) -> None:
    body = "(t / 'x').touch(); os.replace(t / 'x', 'made'); os.replace('made', t / 'x'); os.replace(t / 'x', 'made')"
    project, options = in_walls_of_their_own(make_project, body)

    result = project.run(*options)

    assert (result.status, result.touches) == (0, []), result.words
    assert "of the workspace changed" not in result.stdout


def test_what_was_replaced_can_be_restored(make_project: MakeProject) -> None:
    project, options = in_walls_of_their_own(make_project, "(t / 'x').write_text('1'); os.replace(t / 'x', 'there')")

    result = project.run(*options)

    assert "  there\n" in result.stdout, result.words
    done = project.call(project.account.python, "-m", "pytest_session_guard", "restore", "latest")
    assert (project.root / "there").read_text() == "there", done.stdout + done.stderr


def test_directory_that_is_not_empty_is_not_replaced_and_the_source_stays(make_project: MakeProject) -> None:
    body = (
        "Path('full/x').mkdir(parents=True); make(t)\n"
        "    with pytest.raises(OSError) as caught:\n        (t / 'a').rename('full')\n"
        "    assert caught.value.errno in (errno.ENOTEMPTY, errno.EEXIST)\n"
        "    assert caught.value.filename == str(t / 'a')\n"
        "    assert os.listdir(t / 'a' / 'd') == ['f'] and os.listdir('full') == ['x']"
    )
    project, options = in_walls_of_their_own(make_project, body)

    result = project.run(*options)

    assert (result.status, result.touches) == (0, []), result.words


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param("held = open(t / 'x', 'w'); held.write('later')", id="open-for-writing"),
        pytest.param("os.mkfifo(t / 'x')", id="pipe"),
    ],
)
def test_what_no_copy_could_stand_for_stays_where_it_is(make_project: MakeProject, prepare: str) -> None:
    body = (
        f"{prepare}\n    with pytest.raises(OSError) as caught:\n        os.replace(t / 'x', 'made')\n"
        "    assert caught.value.errno == errno.EXDEV\n    assert (t / 'x').exists() and not Path('made').exists()"
    )
    project, options = in_walls_of_their_own(make_project, body)

    result = project.run(*options)

    assert (result.status, result.touches) == (0, []), result.words


REPORTED = (
    pytest.param("(t / 'x').write_text('1'); os.replace(t / 'x', CHAT / 'notes.txt')", {"notes.txt"}, id="over"),
    pytest.param("os.rename(CHAT / 'notes.txt', t / 'x'); assert (t / 'x').exists()", {"notes.txt"}, id="away"),
    pytest.param("(t / 'x').write_text('1'); os.rename(t / 'x', CHAT / 'new')", {"new"}, id="new"),
    pytest.param("(CHAT / 'sessions').rename(t / 'x'); assert (t / 'x' / 'a.json').exists()", {"sessions"}, id="directory"),
    pytest.param("(CHAT / 'sessions').rename(CHAT / 'bak'); (CHAT / 'bak').rename(CHAT / 'sessions')", {"sessions", "bak"}, id="aside"),
)  # fmt: skip


@pytest.mark.parametrize(("body", "names"), REPORTED)
def test_report_mode_lets_the_suite_move_real_data_and_has_only_that_to_say(
    make_project: MakeProject, body: str, names: set[str]
) -> None:
    project = make_project({"test_it.py": f"{IMPORTS}def test_it(tmp_path):\n    t = tmp_path\n    {body}\n"})

    result = project.run("--session-guard=report")

    assert (result.status, result.outcomes, result.changes) == (0, {"passed": 1}, {}), result.words
    assert {touch["path"] for touch in result.touches} == {f"{project.home}/.chat/{name}" for name in names}
    assert {touch["outcome"] for touch in result.touches} == {"contained"}


def test_report_mode_lets_a_guarded_file_of_the_rootdir_be_replaced(make_project: MakeProject) -> None:
    body = (
        "Path('.env.new').write_text('test'); Path('.env.new').chmod(0o600); os.replace('.env.new', '.env')\n"
        "    assert Path('.env').read_text() == 'test' and not Path('.env.new').exists()\n"
        "    (t / 'x').write_text('more'); os.replace(t / 'x', '.env'); assert Path('.env').read_text() == 'more'"
    )
    suite = f"{IMPORTS}def test_it(tmp_path):\n    t = tmp_path\n    {body}\n"
    project = make_project({"test_it.py": suite, ".env": "SECRET=1\n"})

    result = project.run("--session-guard=report", "--session-guard-protect={rootdir}/.env")

    assert (result.status, result.outcomes) == (0, {"passed": 1}), result.words
    assert (project.root / ".env").read_text() == "SECRET=1\n"
    assert {(touch["path"], touch["outcome"]) for touch in result.touches} == {(f"{project.root}/.env", "contained")}


SIGNALLED = """\
import signal

def test_it(tmp_path, monkeypatch):
    came = []
    signal.signal(signal.SIGALRM, lambda *_: came.append(1))
    place = HERE.parent / "store"
    monkeypatch.chdir(place if place.exists() else tmp_path)
    Path("a").touch()
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    for _ in range(300):
        os.rename("a", "b")
        os.replace("b", "a")
        os.link("a", "c")
        os.chown("c", -1, -1)
        os.unlink("c")
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert came
"""


MAKES = """\
        os.mkdir("d")
        os.symlink("a", "d/l")
        os.mkfifo("d/p")
        os.truncate("a", 0)
        os.remove("d/l")
        os.remove("d/p")
        os.rmdir("d")
"""


@pytest.mark.parametrize("shared", [False, True])
def test_signal_ends_no_call_while_it_waits_to_be_heard(make_project: MakeProject, shared: bool) -> None:
    suite = IMPORTS + SIGNALLED.replace('        os.unlink("c")\n', '        os.unlink("c")\n' + MAKES)
    project = make_project({"test_it.py": suite})
    store = project.base / "store"
    if shared:
        store.mkdir()

    result = project.run(*([f"--session-guard-share={store}"] if shared else []))

    assert (result.status, result.touches, result.outcomes) == (0, [], {"passed": 1}), result.words


@pytest.mark.parametrize("inside", [True, False])
def test_a_thread_outside_of_the_walls_has_no_move_finished_for_it(inside: bool) -> None:
    overlay = cast("Any", SimpleNamespace(is_around_here=lambda: inside))

    assert Walls(overlay, covered=("/home",)).are_around_here() is inside
    assert not Walls(overlay).are_around_here()
    # A child has no handle of its own, and was started inside.
    assert Walls(covered=("/home",)).are_around_here()


def test_enforced_run_still_refuses_to_move_real_data(make_project: MakeProject) -> None:
    body = "with pytest.raises(PermissionError):\n        os.rename(CHAT / 'notes.txt', t / 'x')"
    project = make_project({"test_it.py": f"{IMPORTS}def test_it(tmp_path):\n    t = tmp_path\n    {body}\n"})

    result = project.run()

    assert (result.status, result.changes) == (1, {}), result.words
    assert [touch["outcome"] for touch in result.touches] == ["refused"]
