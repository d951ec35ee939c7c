"""What the hook costs at each open, each figure a ratio of two things measured in one run: ``python benchmarks/bench_hook.py``.
Whole runs are measured by ``bench_run.py``.

Processor time of whole processes, in turn (guarded, unguarded, guarded, …); the median of the pairs' ratios is printed.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROUNDS = 5
OFF = ["-p", "no:session_guard"]

READS = """\
def test_reads():
    for _ in range(200000):
        open(__file__, "rb", 0).close()
"""
WRITES = """\
def test_writes(tmp_path):
    path = str(tmp_path / "x")
    for _ in range(50000):
        open(path, "wb", 0).close()
"""


def processor_time_s(command: list[str], directory: Path, home: Path) -> float:
    """User and system time of a command and its children, seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environ = {**os.environ, "HOME": str(home)}
    subprocess.run(
        command, cwd=directory, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(name: str, guarded: Callable[[], float], unguarded: Callable[[], float]) -> None:
    """Print the median ratio of the pairs, and the medians themselves."""
    pairs = [(guarded(), unguarded()) for _ in range(ROUNDS)]
    ratio = statistics.median(on / off for on, off in pairs)
    on, off = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{name:34} {ratio:6.2f}   ({on:.2f} s guarded, {off:.2f} s not)")


def main() -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch, "home")
        home.mkdir()
        suites = {
            "200,000 opens to read": READS,
            "50,000 opens to write": WRITES,
        }
        for number, (name, text) in enumerate(suites.items()):
            directory = Path(scratch, str(number))
            directory.mkdir()
            (directory / "test_it.py").write_text(text)
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
            compare(
                name,
                partial(processor_time_s, command, directory, home),
                partial(processor_time_s, [*command, *OFF], directory, home),
            )


if __name__ == "__main__":
    main()
