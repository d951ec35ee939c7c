"""Removing 100,000 proven artifacts, against `rm -rf` of as many files; prints the ratio. The bound is 4.

PYTHONPATH=.:tests python benchmarks/bench_removal.py [COUNT] [DIRECTORY]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from artifact_scene import Scene

ROUNDS = 3
FILES_PER_DIRECTORY = 1_000


def make_files(root: Path, count: int, create: Callable[[Path], object], mkdir: Callable[[Path], object]) -> None:
    """``count`` small files in directories of a thousand."""
    for start in range(0, count, FILES_PER_DIRECTORY):
        directory = root / f"d{start}"
        mkdir(directory)
        for number in range(start, min(start + FILES_PER_DIRECTORY, count)):
            create(directory / f"session_{number}.json")


def time_rm(root: Path, count: int) -> float:
    """Seconds that `rm -rf` takes."""
    target = root / "plain"
    target.mkdir()
    make_files(target, count, lambda path: path.write_bytes(b"{}"), Path.mkdir)
    started = time.perf_counter()
    subprocess.run(["rm", "-rf", str(target)], check=True)
    return time.perf_counter() - started


def time_cleanup(root: Path, count: int) -> float:
    """Seconds that the end of a run takes for its artifacts: looking, planning, quarantine, removal, journal."""
    (root / "run").mkdir()
    scene = Scene(root / "run")
    make_files(scene.store, count, lambda path: scene.create(path, b"{}"), scene.mkdir)
    started = time.perf_counter()
    removed = scene.cleanup.clear_shared()
    taken = time.perf_counter() - started
    assert not removed.kept, removed.kept[:3]
    assert not list(scene.store.iterdir())
    return taken


def main(count: int = 100_000, directory: str | None = None) -> None:
    """Print each round, and the ratio of the best ones."""
    best_rm = best_cleanup = float("inf")
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="session-guard-bench-", dir=directory) as scratch:
            best_rm = min(best_rm, time_rm(Path(scratch), count))
            best_cleanup = min(best_cleanup, time_cleanup(Path(scratch), count))
    ratio = best_cleanup / best_rm
    print(f"removal of {count} artifacts: {best_cleanup:.2f} s; rm -rf: {best_rm:.2f} s; ratio {ratio:.2f} (bound 4)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:3])
