"""The manifest against ``find -printf`` of the same facts, over the same tree, in turns.

    python benchmarks/bench_manifest.py [FILES]

The bound is a ratio of 2.0 for taking the inventory and for comparing it when nothing has changed.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pytest_session_guard._controls.manifest import Manifest

FACTS = r"%P\0%y %m %i %n %U %G %s %T@ %C@ %l\0"
ROUNDS = 5
PER_DIRECTORY = 100


def make_tree(root: Path, files: int) -> None:
    for number in range(files):
        directory = root / f"d{number // PER_DIRECTORY // 50}" / f"d{number // PER_DIRECTORY}"
        if number % PER_DIRECTORY == 0:
            directory.mkdir(parents=True, exist_ok=True)
        (directory / f"session_{number}.json").touch()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def find(root: Path) -> None:
    with open(os.devnull, "wb") as nowhere:
        subprocess.run(["find", str(root), "-printf", FACTS], stdout=nowhere, check=True)


def main(files: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-manifest-") as place:
        root = Path(place, "tree")
        make_tree(root, files)
        time.sleep(2.5)  # what was written a moment ago is read and digested, which is another measurement
        before_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        takes, compares, finds = [], [], []
        for _ in range(ROUNDS):
            finds.append(seconds(lambda: find(root)))
            made: list[Manifest] = []
            takes.append(seconds(lambda: made.append(Manifest.take([str(root)], lambda path: False))))  # noqa: B023
            compares.append(seconds(lambda: made[0].differences()))  # noqa: B023
            assert made[0].differences() == []
            assert made[0].unchecked == 0
            made[0].close()
        grown_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before_bytes
    base = statistics.median(finds)
    print(f"{files} files: find -printf {base * 1e3:.0f} ms")
    for name, times in (("take", takes), ("compare", compares)):
        middle = statistics.median(times)
        print(f"{name:8} {middle * 1e3:6.0f} ms  {middle / files * 1e6:5.2f} us a file  ratio {middle / base:.2f}")
    print(f"memory grown by {grown_bytes / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
