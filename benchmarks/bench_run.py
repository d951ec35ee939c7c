"""What guarding a whole run costs, each figure a pair measured in turn: ``python benchmarks/bench_run.py [SUITE]``.

Only pytest and the plugin are loaded (other plugins would make the unguarded run dearer, and the ratio look better).
Processor time of the process and its children; the median of the pairs' ratios is printed, and that of the differences.
SUITE is a directory with tests of any project; without it this project's own tests/core stand for a real suite.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROUNDS = 7
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
GUARD = ["-p", "pytest_session_guard"]
VERSION = [sys.executable, "-m", "pytest", "--version", "--version"]

EMPTY = """\
import pytest
@pytest.mark.parametrize("n", range({count}))
def test_empty(n): pass
"""
CHILDREN = """\
import subprocess, sys
def test_children():
    for _ in range({count}):
        subprocess.run([sys.executable, "-c", ""], check=True)
"""
CHILD_COUNT = 100
# Of tests/core: they do what no guard lets pass, to see what it raises.
OWN_EVENTS = ("test_events.py", "events_child.py")


class Cost(NamedTuple):
    """Of one process: user and system time with that of its children, and the most memory that it held itself."""

    seconds: float
    mebibytes: float


def cost(command: list[str], directory: Path, home: Path, autoload: bool = False) -> Cost:
    """Run a command and see what it took."""
    environ = {**os.environ, "HOME": str(home)}
    # An installed package has its bytecode; an environment that keeps it from being written would be measured instead.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if not autoload:
        environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    process = subprocess.Popen(
        command, cwd=directory, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def compare(name: str, guarded: Callable[[], Cost], unguarded: Callable[[], Cost], share: int = 1) -> None:
    """Print the median ratio and difference of the pairs.

    :param share: the difference is divided by it.
    """
    guarded(), unguarded()  # bytecode, and the ledger's first run
    pairs = [(guarded(), unguarded()) for _ in range(ROUNDS)]
    ratio = statistics.median(on.seconds / off.seconds for on, off in pairs)
    more_ms = statistics.median(on.seconds - off.seconds for on, off in pairs) * 1000 / share
    memory = statistics.median(on.mebibytes - off.mebibytes for on, off in pairs)
    off_s = statistics.median(off.seconds for _, off in pairs)
    print(f"{name:34} {ratio:6.3f}   {more_ms:+8.1f} ms   {memory:+6.1f} MiB   ({off_s:.2f} s unguarded)", flush=True)


def compare_suite(name: str, directory: Path, home: Path, share: int = 1) -> None:
    """Compare runs of a suite with and without the plugin."""
    compare(
        name,
        lambda: cost([*PYTEST, *GUARD], directory, home),
        lambda: cost(PYTEST, directory, home),
        share,
    )


def main() -> None:
    """Measure everything."""
    given = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).parents[1] / "tests" / "core"
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch, "home")
        home.mkdir()
        suites = {f"{count:,} empty tests": EMPTY.format(count=count) for count in (1, 3000, 10000)}
        for name, text in suites.items():
            directory = Path(scratch, name.replace(" ", "-"))
            directory.mkdir()
            (directory / "test_it.py").write_text(text)
            compare_suite(name, directory, home)
        children = Path(scratch, "children")
        children.mkdir()
        (children / "test_it.py").write_text(CHILDREN.format(count=CHILD_COUNT))
        compare_suite("a Python child", children, home, share=CHILD_COUNT)
        real = Path(scratch, "real")
        shutil.copytree(given, real, ignore=shutil.ignore_patterns("__pycache__", ".session_guard", *OWN_EVENTS))
        (real / "pytest.ini").write_text("[pytest]\n")
        compare_suite(f"a real suite: {given.parent.name}/{given.name}", real, home)
        compare(
            "pytest --version --version",
            lambda: cost(VERSION, Path(scratch), home, autoload=True),
            lambda: cost([*VERSION, "-p", "no:session_guard"], Path(scratch), home, autoload=True),
        )


if __name__ == "__main__":
    main()
