"""Disks that are full, read-only, coarse or forgetful: real ones, mounted in a child's own mount namespace."""

from __future__ import annotations

import functools
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRELUDE = """
import os, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from artifact_scene import Scene, tree
from pytest_session_guard._core.errors import *
scratch = Path(sys.argv[1])
"""


@functools.cache
def can_mount() -> bool:
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False, timeout=20).returncode == 0
    except OSError:
        return False


@functools.cache
def can_mount_images() -> bool:
    script = (
        "d=$(mktemp -d) && truncate -s 4M $d/i && mkfs.ext4 -q -I 128 $d/i && mkdir $d/m && mount -o loop $d/i $d/m;"
        " s=$?; umount $d/m 2>/dev/null; rm -rf $d; exit $s"
    )
    return subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not can_mount(), reason="nothing can be mounted here")


def on(mount: str, script: str, scratch: Path) -> str:
    """Run a script with ``$1`` mounted over ``disk/`` in the scratch directory; what it prints."""
    program = PRELUDE.format(root=str(ROOT), tests=str(ROOT / "tests")) + textwrap.dedent(script)
    (scratch / "disk").mkdir()
    (scratch / "program.py").write_text(program)
    shell = f'cd "$1" && {mount} && {sys.executable} -B program.py "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", shell, "sh", str(scratch)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_mounts
def test_on_a_full_disk_nothing_is_created_that_cannot_be_recorded(tmp_path: Path) -> None:
    said = on(
        "mount -t tmpfs -o size=256k none disk",
        """
        scene = Scene(scratch / "disk")
        (scene.work / "filler").write_bytes(b"x" * 100_000)
        source = scene.work / "source"
        source.write_bytes(b"years of work")
        with open(scene.root / "rest", "wb", buffering=0) as file:
            try:
                while file.write(b"x" * 512):
                    pass
            except OSError as problem:
                print(problem.errno)
        refused = 0
        for number in range(200):
            try:
                scene.ownership.intend(str(scene.store / str(number)), False)
            except LedgerError as problem:
                refused += 1
        print("refused", refused > 0)
        try:
            scene.keep(source)
        except OSError as problem:
            print(type(problem).__name__)
        print(source.read_bytes(), os.listdir(scene.preimages.directory))
        """,
        tmp_path,
    )

    assert said.splitlines() == ["28", "refused True", "PreimageError", "b'years of work' []"]


@needs_mounts
def test_a_half_written_line_on_a_full_disk_ruins_no_later_one(tmp_path: Path) -> None:
    said = on(
        "mount -t tmpfs -o size=256k none disk",
        """
        from pytest_session_guard._controls.ledger import read_run
        scene = Scene(scratch / "disk")
        filler = scene.root / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while file.write(b"x" * 512):
                    pass
            except OSError:
                pass
        refused = 0
        for number in range(200):
            try:
                scene.ownership.intend(str(scene.store / str(number)) + "x" * 200, False)
            except LedgerError:
                refused += 1
        filler.unlink()
        path = scene.create(scene.store / "after")
        scene.die()
        run = read_run(scene.directory.path)
        print(refused > 0, run.damaged, run.count("created"))
        """,
        tmp_path,
    )

    assert said.splitlines() == ["True () 1"]


@needs_mounts
def test_on_a_read_only_disk_no_run_begins(tmp_path: Path) -> None:
    said = on(
        "mount -t tmpfs -o ro none disk",
        """
        from pytest_session_guard._controls.ledger import RunDirectory
        try:
            RunDirectory.create(str(scratch / "disk" / ".session_guard"))
        except LedgerError as problem:
            print(problem)
        """,
        tmp_path,
    )

    assert "the ledger cannot be used" in said
    assert "Read-only file system" in said


@needs_mounts
def test_a_disk_that_turns_read_only_keeps_its_artifacts_and_says_so(tmp_path: Path) -> None:
    said = on(
        "mount -t tmpfs none disk",
        """
        scene = Scene(scratch / "disk")
        path = scene.create(scene.store / "a")
        plan = scene.cleanup.plan_shared()
        os.system("mount --bind disk disk && mount -o remount,bind,ro disk")
        try:
            scene.cleanup.apply(plan)
        except LedgerError as problem:
            print(problem.reason)
        print(path.exists())
        """,
        tmp_path,
    )

    assert said.splitlines() == ["Read-only file system", "True"]


WITHOUT_BIRTH_TIMES = "truncate -s 8M image && mkfs.ext4 -q -I 128 image >/dev/null 2>&1 && mount -o loop image disk"
REPLACED = """
from pytest_session_guard._controls.markers import tag
scene = Scene(scratch / "disk")
own = scene.create(scene.store / "own.json", b"{}")
stranger = scene.create(scene.store / "replaced.json", b"{}")
marked = scene.create(scene.store / "marked.json", b"{}")
tag(str(marked), scene.directory.run_id, "t", scene.directory.started_ns)
print(own.stat().st_mtime_ns % 10**9, scene.ownership.paths[str(own)].birth_ns)
number = stranger.stat().st_ino
for _ in range(1000):
    stranger.unlink()
    stranger.write_bytes(b"somebody else's")
    if stranger.stat().st_ino == number:
        break
print(stranger.stat().st_ino == number)
if killed:
    from pytest_session_guard._run.recover import clean_all
    scene.die()
    removed = clean_all(scene.state)[0].removed
else:
    removed = scene.cleanup.clear_shared()
for path, reason in removed.kept:
    print(os.path.basename(path), "stays:", reason)
print(sorted(os.listdir(scene.store)))
"""
needs_images = pytest.mark.skipif(not can_mount_images(), reason="no image of a file system can be mounted here")


@needs_mounts
@needs_images
@pytest.mark.parametrize("killed", [False, True], ids=["at-the-end", "after-a-kill"])
def test_without_birth_times_and_with_whole_seconds_the_file_handle_decides(tmp_path: Path, killed: bool) -> None:
    said = on(WITHOUT_BIRTH_TIMES, f"killed = {killed}" + REPLACED, tmp_path)

    assert said.splitlines() == [
        "0 None",
        "True",
        "replaced.json stays: another object stands there now",
        "['replaced.json']",
    ]


@needs_mounts
@needs_images
def test_disarmed_the_object_with_the_number_of_an_artifact_would_be_removed(tmp_path: Path) -> None:
    blinding = """
    from pytest_session_guard._host import identity
    identity.file_handle = lambda path, dir_fd=None: "the same for all"
    """

    said = on(WITHOUT_BIRTH_TIMES, textwrap.dedent(blinding) + "killed = False" + REPLACED, tmp_path)

    assert said.splitlines() == ["0 None", "True", "[]"]


@needs_mounts
@needs_images
def test_without_birth_times_and_file_handles_only_tagged_artifacts_go(tmp_path: Path) -> None:
    # An overlay mount tells the birth times of the disk below it, here none, and refuses name_to_handle_at.
    overlay = (
        "mkdir below && truncate -s 8M image && mkfs.ext4 -q -I 128 image >/dev/null 2>&1 && mount -o loop image below"
        " && mkdir below/lower below/upper below/work"
        " && mount -t overlay -o lowerdir=below/lower,upperdir=below/upper,workdir=below/work none disk"
    )

    said = on(overlay, "killed = False" + REPLACED, tmp_path)

    reason = "neither a birth time nor a file handle tells it from a later object with the same number"
    assert said.splitlines() == [
        "0 None",
        "True",
        f"own.json stays: {reason}",
        f"replaced.json stays: {reason}",
        "['own.json', 'replaced.json']",
    ]


@needs_mounts
def test_what_somebody_mounted_over_an_artifact_stays_and_so_does_what_is_in_it(tmp_path: Path) -> None:
    said = on(
        "mount -t tmpfs none disk",
        """
        scene = Scene(scratch / "disk")
        bare, over = scene.mkdir(scene.store / "bare"), scene.mkdir(scene.store / "over")
        scene.create(over / "below")
        real = scene.root / "real"
        real.mkdir()
        (real / "file").write_bytes(b"years of work")
        os.system(f"mount --bind {real} {over}")
        removed = scene.cleanup.clear_shared()
        print([os.path.basename(path) for path in removed.removed])
        print([(os.path.basename(path), reason) for path, reason in removed.kept], os.listdir(real))
        """,
        tmp_path,
    )

    assert said.splitlines()[0] == "['bare']"
    assert "'over'" in said
    assert said.splitlines()[1].endswith("['file']")
