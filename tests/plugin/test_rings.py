"""What a ring (io_uring) is told to do is named like a call; only who has a ring that nobody can hear is noted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ring
from capabilities import mount_namespace, rings
from isolated import ordinary_account
from project import HOME, Account, MakeProject, Project

from pytest_session_guard._core.removal import NOT_TOLD

pytestmark = pytest.mark.skipif(not (mount_namespace() and rings()), reason="no mount namespace or no ring here")

MODULE = Path(ring.__file__).read_text()
IMPORTS = """\
import os, subprocess, sys
from pathlib import Path

import pytest
import ring

NOTES = str(Path.home() / ".chat" / "notes.txt")
OUT = str(Path(os.environ["TMPDIR"], "out"))
STORE = Path.home() / "store"
REAL = str(STORE / "real.json")

def told(*entries, kind=0):
    return ring.Ring(kind).tell(*entries)

def in_child(code):
    script = "import sys, ring, os; notes, out = sys.argv[1:]; " + code
    return subprocess.run([sys.executable, "-Sc", script, NOTES, OUT], cwd=os.path.dirname(ring.__file__))

"""
TRIES = {
    "link": "ring.link(NOTES, OUT)",
    "rename": "ring.rename(os.path.dirname(NOTES), OUT)",
    "setxattr": "ring.setxattr(NOTES, 'trusted.x')",
}
SUITE = IMPORTS + "".join(f"def test_{name}():\n    told(ring.nothing(), {act})\n\n" for name, act in TRIES.items())
CHILD = "def test_child():\n    in_child('ring.Ring().tell(ring.link(notes, out))')\n\n"
INNOCENT = """\
def test_innocent(tmp_path):
    (tmp_path / "a").write_text("a")
    one = ring.Ring()
    for _ in range(20):
        one.tell(ring.nothing(), ring.open_to(os.O_RDONLY, NOTES), ring.link(str(tmp_path / "a"), str(tmp_path / "b")))
        one.tell(ring.rename(str(tmp_path / "b"), str(tmp_path / "c")), ring.unlink(str(tmp_path / "c")))
"""


@pytest.fixture(scope="module")
def account() -> Iterator[tuple[Account, Path]]:
    """An account without privileges, and a directory of its own."""
    with ordinary_account() as (who, place):
        yield who, place


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["bare", "n2"])
@pytest.mark.parametrize("user", ["invoker", "ordinary"])
def test_tries_of_a_ring_are_red_and_named(
    account: tuple[Account, Path], user: str, workers: tuple[str, ...], tmp_path: Path
) -> None:
    who, place = (Account(), tmp_path) if user == "invoker" else account
    project = Project(
        place / f"rings{len(workers)}", {"ring.py": MODULE, "test_it.py": SUITE + CHILD + INNOCENT}, HOME, who
    )

    result = project.run(*workers)

    assert result.changes == {}
    named = {name: [touch["operation"] for touch in result.touches_of(f"test_{name}")] for name in (*TRIES, "child")}
    assert named == {**{name: [name] for name in TRIES}, "child": ["link"]}, result.words
    assert result.said_of("test_innocent") == {"PASSED"}
    assert {touch["outcome"] for touch in result.touches} == {"refused"}
    (touch,) = result.touches_of("test_child")
    assert "ring.link(notes, out)" in touch["process"]
    assert [note for note in result.report["notes"] if "io_uring" in note] == []


DEAF = "from pytest_session_guard._controls.overlay.rings import Rings\nRings.told = lambda self, notification: []\n"


def test_disarmed_a_try_of_a_ring_is_silent(make_project: MakeProject) -> None:
    project = make_project({"ring.py": MODULE, "deaf.py": DEAF, "test_it.py": IMPORTS + CHILD})

    result = project.run("-p", "deaf")

    assert (result.status, result.touches, result.changes) == (0, [], {}), result.words


POLLED = "def test_polled():\n    in_child('ring.Ring(ring.POLLED)')\n\ndef test_here():\n    ring.Ring(ring.POLLED)\n"


@pytest.mark.skipif(not (rings() and ring.gives(ring.POLLED)), reason="no such ring here")
@pytest.mark.parametrize(("workers", "asker"), [((), "-m pytest"), (("-n", "1"), "")], ids=["bare", "n1"])
def test_who_has_a_ring_that_the_kernel_polls_is_noted_and_the_run_is_green(
    make_project: MakeProject, workers: tuple[str, ...], asker: str
) -> None:
    result = make_project({"ring.py": MODULE, "test_it.py": IMPORTS + POLLED}).run(*workers)

    assert (result.status, result.touches) == (0, []), result.words
    (note,) = [note for note in result.report["notes"] if "io_uring" in note]
    assert "started by test_it.py::test_polled" in note
    assert asker in note


def test_ring_cannot_make_a_protected_place_that_does_not_exist(make_project: MakeProject) -> None:
    suite = IMPORTS + (
        "PLACE = os.path.join(os.environ['TMPDIR'], 'future')\n\n"
        "def test_makes():\n    with pytest.raises(PermissionError):\n        told(ring.mkdir(PLACE))\n\n"
        "def test_other(tmp_path):\n    assert told(ring.mkdir(str(tmp_path / 'directory'))) == [0]\n"
    )
    project = make_project({"ring.py": MODULE, "test_it.py": suite})

    result = project.run(f"--session-guard-protect={project.tmp / 'future'}")

    assert (result.status, result.outcomes) == (1, {"failed": 1, "passed": 1}), result.words
    (touch,) = result.touches
    assert (touch["operation"], touch["path"], touch["outcome"]) == ("mkdir", str(project.tmp / "future"), "refused")
    assert not (project.tmp / "future").exists()


STORED = {**HOME, "store/real.json": "real\n", "store/deep/b.json": "b\n"}
INI = "[pytest]\nsession_guard_share = ~/store\n"
HARM = {
    "unlink": "ring.unlink(REAL)",
    "rename": "ring.rename(REAL, REAL + '2')",
    "link": "ring.link(REAL, OUT)",
    "truncate": "ring.open_to(os.O_WRONLY | os.O_TRUNC, REAL)",
    "setxattr": "ring.setxattr(REAL)",
    "fsetxattr": "ring.fsetxattr(os.open(REAL, os.O_RDONLY))",
}
HARMED = IMPORTS + "".join(
    f"def test_{name}():\n    with pytest.raises(PermissionError):\n        told(ring.nothing(), {act})\n\n"
    for name, act in HARM.items()
)
MADE = """\
def test_makes():
    os.chdir(STORE)
    told(ring.mkdir("directory"), ring.symlink("real.json", "symlink"), ring.open_to(os.O_WRONLY | os.O_CREAT, "deep/file"))
    told(ring.open_to(os.O_WRONLY | os.O_CREAT, "directory/file"))
    told(ring.rename("deep/file", "deep/renamed"))
    os.remove("symlink")
    with pytest.raises(FileExistsError):
        os.mkdir("directory")
"""


@pytest.mark.parametrize("user", ["invoker", "ordinary"])
def test_shared_places_are_held_and_what_a_ring_makes_there_may_be_changed_and_stays(
    account: tuple[Account, Path], user: str, tmp_path: Path
) -> None:
    who, place = (Account(), tmp_path) if user == "invoker" else account
    files = {"ring.py": MODULE, "test_it.py": HARMED + MADE, "pytest.ini": INI}
    project = Project(place / "shared", files, STORED, who)

    result = project.run()

    # Nobody tells whether the ring made it.
    stays = {"store/directory", "store/directory/file", "store/deep/renamed"}
    # What came and went leaves its mark in the times of the directories.
    assert stays <= set(result.changes) <= {*stays, "store", "store/deep"}
    assert {name for name in HARM if result.said_of(f"test_{name}") != {"FAILED"}} == set(), result.words
    assert {name for name in HARM if not result.touches_of(f"test_{name}")} == set()
    assert {(touch["zone"], touch["outcome"]) for touch in result.touches} == {("shared", "refused")}
    assert result.said_of("test_makes") == {"PASSED"}
    kept = {os.path.relpath(one["path"], project.home): one["reason"] for one in result.report["artifacts"]["kept"]}
    assert kept == dict.fromkeys(stays, NOT_TOLD)


def test_disarmed_a_ring_does_damage_in_a_shared_place(make_project: MakeProject) -> None:
    suite = IMPORTS + "def test_it():\n    told(ring.unlink(REAL))\n"
    project = make_project({"ring.py": MODULE, "deaf.py": DEAF, "test_it.py": suite, "pytest.ini": INI}, STORED)

    result = project.run("-p", "deaf")

    assert "store/real.json" in result.changes, result.words
