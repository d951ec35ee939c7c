"""Removing 100,000 proven artifacts, against `rm -rf` of as many files; prints the ratio. The bound is 4.

PYTHONPATH=tests python benchmarks/bench_removal.py [COUNT] [DIRECTORY]

Both trees are made first and written out to the disk: files that the kernel has in memory only go several times faster,
and which of the two trees those are is chance.
"""

from __future__ import annotations

import argparse
import os
import subprocess
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


def make_plain(root: Path, count: int) -> Path:
    """A tree for `rm -rf`."""
    target = root / "plain"
    target.mkdir()
    make_files(target, count, lambda path: path.write_bytes(b"{}"), Path.mkdir)
    return target


def make_artifacts(root: Path, count: int) -> Scene:
    """As many artifacts of a run."""
    (root / "run").mkdir()
    scene = Scene(root / "run")
    make_files(scene.store, count, lambda path: scene.create(path, b"{}"), scene.mkdir)
    return scene


def time_rm(target: Path) -> float:
    """Seconds that `rm -rf` takes."""
    os.sync()
    started = time.perf_counter()
    subprocess.run(["rm", "-rf", str(target)], check=True)
    return time.perf_counter() - started


def time_cleanup(scene: Scene) -> float:
    """Seconds that the end of a run takes for its artifacts: looking, planning, quarantine, removal, journal."""
    os.sync()
    started = time.perf_counter()
    removed = scene.cleanup.clear_shared()
    taken = time.perf_counter() - started
    assert not removed.kept, removed.kept[:3]
    assert not list(scene.store.iterdir())
    return taken


def main(count: int, directory: str | None) -> None:
    """Print each round, and the ratio of the best ones."""
    best_rm = best_cleanup = float("inf")
    for turn in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="session-guard-bench-", dir=directory) as scratch:
            plain, scene = make_plain(Path(scratch), count), make_artifacts(Path(scratch), count)
            if turn % 2:  # the second to go finds the file system's own tables in memory
                cleanup, rm = time_cleanup(scene), time_rm(plain)
            else:
                rm, cleanup = time_rm(plain), time_cleanup(scene)
            print(f"round {turn + 1}: {cleanup:.2f} s; rm -rf: {rm:.2f} s", flush=True)
            best_rm, best_cleanup = min(best_rm, rm), min(best_cleanup, cleanup)
    ratio = best_cleanup / best_rm
    print(f"removal of {count} artifacts: {best_cleanup:.2f} s; rm -rf: {best_rm:.2f} s; ratio {ratio:.2f} (bound 4)")


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("count", nargs="?", type=int, default=100_000)
    words.add_argument("directory", nargs="?")
    given = words.parse_args()
    main(given.count, given.directory)
