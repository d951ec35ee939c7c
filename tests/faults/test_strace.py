"""The small run under `strace`, which kills it at, or fails, its N-th real system call: no wrapper of ours in between."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fault_points import chosen
from small_run import before, prepare, verdict

CHECKOUT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("small_run.py")
CALLS = (
    "openat,mkdir,mkdirat,write,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,symlink,symlinkat,"
    "truncate,ftruncate,copy_file_range,fsync,chmod,fchmodat,utimensat,setxattr,lsetxattr,flock"
)


def strace_works() -> bool:
    if shutil.which("strace") is None:
        return False
    probe = ["strace", "-f", "-o", "/dev/null", "-e", "trace=write", "-e", "inject=write:error=EIO:when=9999", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not strace_works(), reason="strace cannot trace here")


def trace(root: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        # -P narrows to calls that concern the scene, so that the start of the interpreter is not counted.
        ["strace", "-f", "-o", str(root.parent / f"{root.name}.log"), *options, *(f"-P{path}" for path in places(root)),
         sys.executable, "-B", str(PROGRAM), str(root)],
        capture_output=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "tests")))},
    )  # fmt: skip


def places(root: Path) -> list[Path]:
    work, store = root / "work", root / "store"
    names = ["edited.py", "deleted.py", "renamed.py", "moded.py", "moved.py", "package", "pack", ".session_guard"]
    made = [
        "session_0.json",
        "session_1.json",
        "session_2.json",
        "session_2.tmp",
        "cache",
        "cache/blob",
        "written.json",
    ]
    return [work, store, *(work / name for name in names), *(store / name for name in made)]


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    """Every system call that the small run makes: its name, and its number among those of that name, as strace counts."""
    root = tmp_path_factory.mktemp("traced") / "whole"
    root.mkdir()
    prepare(root)
    done = trace(root, "-e", f"trace={CALLS}")
    assert done.returncode == 0, done.stderr.decode()
    log = (root.parent / "whole.log").read_text(errors="replace")
    names = Counter(re.findall(r"^\d+ +(\w+)\(", log, re.MULTILINE))
    assert {"openat", "write", "unlink", "link", "mkdir"} <= names.keys(), log
    return [(name, number) for name, count in sorted(names.items()) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("signal=KILL", id="killed"),
        pytest.param("error=ENOSPC", id="disk-full"),
        pytest.param("error=EIO", id="input-output-error"),
        pytest.param("error=EACCES", id="permission-denied"),
    ],
)
def test_nothing_real_is_lost_and_every_proven_artifact_goes(
    tmp_path: Path, points: list[tuple[str, int]], fault: str
) -> None:
    wrong: dict[tuple[str, int], list[str]] = {}
    for name, number in chosen(points, 4):
        root = tmp_path / f"{name}-{number}"
        root.mkdir()
        prepare(root)
        known = before(root)

        trace(root, "-e", f"trace={CALLS}", "-e", f"inject={name}:{fault}:when={number}")

        found = verdict(root, known)
        if found:
            wrong[name, number] = found
        shutil.rmtree(root)

    assert wrong == {}
