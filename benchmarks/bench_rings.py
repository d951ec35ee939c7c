"""What it costs a program with a ring (io_uring) that the keeper hears what the ring is told, beside a call that is heard.

    PYTHONPATH=tests python benchmarks/bench_rings.py [--rounds 15] [--json]

Every figure is the fastest of several rounds in one run, each in a process of its own, which first works unguarded and
then inside. What a ring is told: nothing, as good as by programs that read and write by rings; to open a file, of which the
keeper hears for shared places alone; and to make a link, which is looked up. Links and openings fail.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable

import ring

from pytest_session_guard._controls import overlay

TIMES = 500


def fastest_us(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in range(TIMES):
        work()
    return (time.perf_counter() - started) * 1_000_000 / TIMES


def refused(function: Callable[..., None], *arguments: str) -> None:
    try:
        function(*arguments)
    except OSError:
        return


def measure(base: str) -> dict[str, list[float]]:
    """One round, in this process, which is spoilt by it: microseconds outside and inside for each kind of work."""
    home, tmp, scratch = (os.path.join(base, name) for name in ("home", "tmp", tempfile.mkdtemp(dir=base)))
    first, second = os.path.join(tmp, "first"), os.path.join(tmp, "second")
    with open(first, "w"):
        pass
    plain, unindexed = ring.Ring(), ring.Ring(ring.NO_ARRAY)
    missing = os.path.join(tmp, "missing")
    opening, link = ring.open_to(os.O_RDONLY, missing), ring.link(missing, first)

    def rename() -> None:
        os.rename(first, second)
        os.rename(second, first)

    kinds: dict[str, Callable[[], object]] = {
        "stat": lambda: os.stat(first),
        "rename, twice": rename,
        "ring: wait for nothing": lambda: plain.tell(),
        "ring: nothing": lambda: plain.tell(ring.nothing()),
        "ring: nothing, without index array": lambda: unindexed.tell(ring.nothing()),
        "ring: open": lambda: plain.tell(opening),
        "ring: link": lambda: plain.tell(link),
        "link": lambda: refused(os.link, missing, second),
    }
    outside = {name: fastest_us(work) for name, work in kinds.items()}
    overlay.enter(overlay.OverlayPlan((tmp,), (home,), scratch))
    return {name: [outside[name], fastest_us(work)] for name, work in kinds.items()}


def compare(rounds: int) -> dict[str, list[float]]:
    gathered: dict[str, list[list[float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="session-guard-bench-") as base:
        for name in ("home", "tmp"):
            os.mkdir(os.path.join(base, name))
        for _ in range(rounds):
            command = [sys.executable, __file__, "--measure", base]
            for name, figures in json.loads(subprocess.check_output(command)).items():
                gathered[name].append(figures)
    return {name: [round(min(column), 2) for column in zip(*rows, strict=True)] for name, rows in gathered.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    table = compare(options.rounds)
    if options.json:
        print(json.dumps(table, indent=2))
        return
    print(f"{'':40}{'outside':>10}{'inside':>10}{'more':>10}   (us)")
    for name, (outside, inside) in table.items():
        print(f"{name:40}{outside:10.2f}{inside:10.2f}{inside - outside:10.2f}")


if __name__ == "__main__":
    main()
