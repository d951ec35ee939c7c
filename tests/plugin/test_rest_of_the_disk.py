"""Places that are neither the project's nor anybody's home are protected too: the rest of the disk, seen on a scratch disk."""

from __future__ import annotations

import pytest
from capabilities import mount_namespace
from project import MakeProject, Project, lines_of

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
