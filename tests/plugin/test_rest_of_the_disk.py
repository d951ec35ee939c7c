"""Places that are neither the project's nor anybody's home are protected too: the rest of the disk, seen on a scratch disk."""

from __future__ import annotations

import sys

import pytest
from capabilities import mount_namespace
from project import MakeProject, Project, lines_of

from pytest_session_guard._controls.seal import probe as landlock_probe

SUITE = """\
import contextlib, os
from pathlib import Path

ELSEWHERE = Path("/mnt/elsewhere")

def test_change():
    with contextlib.suppress(OSError):
        (ELSEWHERE / "data.txt").write_text("x")

def test_create():
    with contextlib.suppress(OSError):
        (ELSEWHERE / "new.txt").touch()

def test_mkdir_beside_it():
    with contextlib.suppress(OSError):
        os.mkdir("/mnt/new")

def test_reads():
    assert (ELSEWHERE / "data.txt").read_text() == "real\\n"
"""
# A disk of its own for the namespace that the shell runs in: whatever happens there is gone with it, and /mnt itself is not touched.
SCRATCH_DISK = """
set -e
mount -t tmpfs none /mnt
mkdir /mnt/elsewhere
echo real > /mnt/elsewhere/data.txt
"$@" || status=$?
echo "left: $(cat /mnt/elsewhere/data.txt) $(ls /mnt/elsewhere /mnt | tr '\\n' ' ')"
exit ${status:-0}
"""
pytestmark = pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")


def run_on_scratch_disk(project: Project, *args: str) -> tuple[int, str]:
    """Run pytest where /mnt is a scratch disk; exit status and everything said."""
    command = (project.account.python, "-m", "pytest", "-rpfE", "-p", "no:randomly", *args)
    done = project.call(*mount_namespace(), "sh", "-c", SCRATCH_DISK, "sh", *command)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("layers", ["auto", "hook"])
def test_rest_of_the_disk_is_protected(make_project: MakeProject, layers: str) -> None:
    project = make_project({"test_it.py": SUITE})

    status, said = run_on_scratch_disk(project, f"--session-guard-layers={layers}")

    assert status == 1, said
    assert "left: real" in said
    assert "3 failed, 1 passed" in said
    assert "new.txt" not in said.rpartition("left: ")[2]
    assert lines_of(said, "zone: protected /")


def test_rest_of_the_disk_is_damaged_when_the_guard_is_out(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    status, said = run_on_scratch_disk(project, "-p", "no:session_guard", "--deselect", "test_it.py::test_reads")

    assert status == 0, said
    assert "left: x" in said
    assert "new.txt" in said.rpartition("left: ")[2]


def test_free_option_opens_a_place_there(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    status, said = run_on_scratch_disk(project, "--session-guard-free=/mnt", "--deselect", "test_it.py::test_reads")

    assert status == 0, said
    assert "left: x" in said


# Of /mnt a try leaves a trace, of /run it does not: an overlay there, nothing but a read-only disk here.
OPEN_DISK = """
set -e
mount -t tmpfs none {place}
mkdir {place}/out
"$@" || status=$?
cd {place}/out
echo "left: $(wc -c j.xml l.log r.json r.html | tr -s ' \\n' ' ')"
exit ${{status:-0}}
"""
PASSES = {"test_it.py": "def test_passes(tmp_path):\n    pass\n"}


def run_in_the_open(project: Project, place: str, *args: str, launcher: bool = False) -> tuple[int, str]:
    """As `run_on_scratch_disk`, where ``place`` is the scratch disk and has an empty directory ``out``."""
    launch = ("-m", "pytest_session_guard", "run", "--", project.account.python) if launcher else ()
    command = (project.account.python, *launch, "-m", "pytest", "-p", "no:randomly", *args)
    done = project.call(*mount_namespace(), "sh", "-c", OPEN_DISK.format(place=place), "sh", *command)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("launcher", [False, True], ids=["alone", "launcher"])
@pytest.mark.parametrize("layers", ["auto", "hook,seal"])
@pytest.mark.parametrize("place", ["/mnt", "/run"])
def test_outputs_named_on_the_command_line_are_written_there(
    make_project: MakeProject, place: str, layers: str, launcher: bool
) -> None:
    if layers != "auto" and landlock_probe().status == "unavailable":
        pytest.skip("this kernel has no Landlock")
    project = make_project(PASSES)
    options = {
        "--junitxml": "j.xml",
        "--log-file": "l.log",
        "--session-guard-json": "r.json",
        "--session-guard-html": "r.html",
    }
    outputs = [f"{option}={place}/out/{name}" for option, name in options.items()]

    status, said = run_in_the_open(project, place, f"--session-guard-layers={layers}", *outputs, launcher=launcher)

    assert status == 0, said
    sizes = dict(zip(*[iter(reversed(said.rpartition("left: ")[2].split()))] * 2, strict=False))
    assert {name for name in ("j.xml", "r.json", "r.html") if int(sizes[name]) == 0} == set(), said
    assert "l.log" in sizes, said


@pytest.mark.parametrize("layers", ["auto", "hook"])
def test_base_temp_there_is_refused_where_the_disk_is_read_only(make_project: MakeProject, layers: str) -> None:
    project = make_project(PASSES)

    status, said = run_in_the_open(project, "/run", f"--session-guard-layers={layers}", "--basetemp=/run/out/temp")

    assert status == (4 if layers == "auto" else 0), said
    assert bool(lines_of(said, "--basetemp", "read-only for the run")) is (layers == "auto"), said


@pytest.mark.parametrize(
    "launcher", [(), ("-m", "pytest_session_guard", "run", "--", sys.executable)], ids=["alone", "launcher"]
)
@pytest.mark.parametrize("layers", ["auto", "hook,seal"])
def test_outputs_in_a_free_place_that_is_not_there_yet_are_written_there(
    make_project: MakeProject, layers: str, launcher: tuple[str, ...]
) -> None:
    if layers != "auto" and landlock_probe().status == "unavailable":
        pytest.skip("this kernel has no Landlock")
    project = make_project({**PASSES, "pytest.ini": "[pytest]\nsession_guard_free = ~/reports\n"})
    target = project.home / "reports" / "of" / "today.xml"
    pytest_words = ("-m", "pytest", "-p", "no:randomly", f"--session-guard-layers={layers}", f"--junitxml={target}")

    done = project.call(sys.executable, *launcher, *pytest_words)

    assert done.returncode == 0, done.stdout + done.stderr
    assert b'tests="1"' in target.read_bytes()


MOUNT_BELOW = 'mount -t tmpfs none "$1" && echo "{}" > "$1/real.json" || exit 99; shift; "$@"; status=$?; ls "$OLDPWD"; exit $status'


@pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")
def test_disk_below_a_place_that_a_conftest_frees_is_still_read_for_changes(make_project: MakeProject) -> None:
    conftest = "def pytest_session_guard_zones():\n    return [('free', '~/outer')]\n"
    suite = (
        "import subprocess\nfrom pathlib import Path\n\n"
        "def test_removes():\n    subprocess.run(['rm', Path.home() / 'outer' / 'disk' / 'real.json'], check=True)\n\n"
        "def test_makes():\n    (Path.home() / 'outer' / 'new.txt').touch()\n"
    )
    ini = "[pytest]\nsession_guard_protect = ~/outer/disk\n"
    project = make_project({"conftest.py": conftest, "test_it.py": suite, "pytest.ini": ini})
    disk = project.home / "outer" / "disk"
    disk.mkdir(parents=True)
    command = (sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:rerunfailures", "-rfp")

    done = project.call(
        *mount_namespace(), "sh", "-c", MOUNT_BELOW.replace("$OLDPWD", str(disk)), "sh", str(disk), *command
    )

    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert lines_of(said, "delete contained", "real.json"), said
    assert lines_of(said, "FAILED", "test_removes"), said
    assert done.stdout.rstrip().endswith("real.json"), said
    assert (project.home / "outer" / "new.txt").exists()
