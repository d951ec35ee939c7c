"""What it costs to be told who makes what in a shared place, at each creation there: ``python benchmarks/bench_creations.py``.

A guarded test makes files in a shared place, in turn with the kernel's word (inotify and fanotify) and without it, by their
time alone; the median of the pairs' ratios of processor time is printed, and so is that to as many files in the workspace.
With an overlay each creation waits for its keeper too, which costs the same in all of them: there the hook is alone.

Then, with the overlay, a program without a hook makes files and directories in a shared place and in a free one, in turn;
the medians of what one takes, by the clock, and of the pairs' differences.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SUITE = '''\
import os, statistics, time
from pathlib import Path
from pytest_session_guard._host.arrivals import Arrivals

ROUNDS, FILES = 300, 40
HERE = Path(__file__).parent
ASKS = Arrivals.expect

def time_s(place, number, asks=True):
    """Processor time for some files, each of which settles the one before it."""
    directory = place / f"{number % 10}-{asks}"
    directory.mkdir(exist_ok=True)
    (directory / f"{number}-first").touch()
    paths = [str(directory / f"{number}-{index}") for index in range(FILES)]
    Arrivals.expect = ASKS if asks else lambda self, path: False
    try:
        started = time.process_time()
        for path in paths:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        return time.process_time() - started
    finally:
        Arrivals.expect = ASKS

def test_creations(capsys):
    shared, workspace = HERE.parent / "shared", HERE / "made"
    workspace.mkdir()
    rows = [(time_s(shared, n), time_s(shared, n, asks=False), time_s(workspace, n)) for n in range(ROUNDS)][10:]
    told, untold, other = ([row[index] for row in rows] for index in range(3))
    with capsys.disabled():
        print()
        for name, column in (("shared, by time alone", untold), ("workspace", other)):
            ratio = statistics.median(one / two for one, two in zip(told, column))
            print(f"told who made it, against {name:22} {ratio:6.2f}")
        for name, column in (("told", told), ("by time alone", untold), ("workspace", other)):
            print(f"  a creation, {name:14} {statistics.median(column) / FILES * 1e6:6.0f} us")
'''

UNHOOKED = '''\
import os, statistics, subprocess, sys
from pathlib import Path

ROUNDS, NAMES = 25, 200
BASE = Path(__file__).parents[1]
MAKES = {
    "a file": "os.close(os.open(name, os.O_WRONLY | os.O_CREAT))",
    "a directory": "os.mkdir(name)",
}
SCRIPT = """import os, sys, time
names = [os.path.join(sys.argv[1], str(number)) for number in range(int(sys.argv[2]))]
started = time.perf_counter()
for name in names:
    @MAKE@
print(time.perf_counter() - started)"""

def time_s(make, place):
    place.mkdir()
    command = [sys.executable, "-IS", "-c", SCRIPT.replace("@MAKE@", make), str(place), str(NAMES)]
    return float(subprocess.check_output(command, text=True))

def test_unhooked(capsys):
    for what, make in MAKES.items():
        places = (BASE / "shared", BASE / "tmp")
        pairs = [[time_s(make, place / f"{what} {n}") / NAMES * 1e6 for place in places] for n in range(ROUNDS)]
        shared, free = (statistics.median(column) for column in zip(*pairs))
        more = statistics.median(one - other for one, other in pairs)
        with capsys.disabled():
            print(f"\\n  without a hook, {what:11} {shared:6.0f} us in a shared place, {free:.0f} us in a free one: {more:+.0f} us")
'''


def main() -> None:
    """Run both suites."""
    for suite, layers in ((SUITE, "hook"), (UNHOOKED, "auto")):
        print(*run(suite, layers), sep="\n")


def run(suite: str, layers: str) -> list[str]:
    """What a suite prints in a project of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("home", "project", "shared", "tmp"):
            Path(scratch, name).mkdir()
        project = Path(scratch, "project")
        (project / "test_it.py").write_text(suite)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--session-guard-layers={layers}"]
        environ = {**os.environ, "HOME": f"{scratch}/home", "TMPDIR": f"{scratch}/tmp"}
        done = subprocess.run(
            [*command, f"--session-guard-share={scratch}/shared"],
            cwd=project,
            env=environ,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return [
        line for line in done.stdout.splitlines() if line.startswith(("told who", "  a creation", "  without a hook"))
    ]


if __name__ == "__main__":
    main()
