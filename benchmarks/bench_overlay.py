"""What the overlay costs: entering over a small and a huge home, looking, a worker's layer, a pristine view.

    python benchmarks/bench_overlay.py [--files 200000] [--rounds 15] [--json]

Every figure is the fastest of several rounds in one run, each in a process of its own, because other work on a machine
only ever adds; the two homes take turns, so that their ratio is one of like conditions. The homes are made in a
temporary directory and removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable

from pytest_session_guard._controls import overlay

SMALL = 1_000
FILES_PER_DIRECTORY = 500
LOOKS = 500
READS = 2_000
OTHER_WORK_S = 0.02


def make_home(path: str, count: int) -> None:
    for number in range(count):
        if number % FILES_PER_DIRECTORY == 0:
            directory = os.path.join(path, f"d{number // FILES_PER_DIRECTORY}")
            os.makedirs(directory)
        os.close(os.open(os.path.join(directory, f"f{number}"), os.O_WRONLY | os.O_CREAT, 0o600))


def elapsed_ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def measure(base: str, home: str, witnessed: bool) -> dict[str, float]:
    """One round, in this process, which is spoilt by it."""
    scratch = tempfile.mkdtemp(dir=base)
    plan = overlay.OverlayPlan((os.path.join(base, "tmp"),), (home,), scratch)
    if witnessed:
        plan = overlay.OverlayPlan(plan.writable, plan.overlaid, scratch, overlay.witness_places())
    inside: list[overlay.Overlay] = []
    found = {"read file (us)": read_us(home), "rename in a temp directory (us)": rename_us(base)}
    called: list[overlay.Ahead] = []
    found["call the keeper"] = elapsed_ms(lambda: called.extend(filter(None, [overlay.call_keeper(lambda: None)])))
    time.sleep(OTHER_WORK_S)  # a run reads its configuration and makes its ledger meanwhile
    found["tell it the plan"] = elapsed_ms(lambda: overlay.tell_keeper(called[0], plan))
    time.sleep(OTHER_WORK_S)  # and tidies up after earlier ones
    found["enter"] = elapsed_ms(lambda: inside.append(overlay.enter(plan, True, called[0])))
    found["read file inside (us)"] = read_us(home)
    found["rename inside, heard by the keeper (us)"] = rename_us(base)
    guard = inside[0]
    found["changes, nothing new (us)"] = elapsed_ms(lambda: [guard.changes() for _ in range(LOOKS)]) / LOOKS * 1000
    with open(os.path.join(home, "d0", "new"), "w") as file:
        file.write("x")
    found["changes, one new file (us)"] = elapsed_ms(guard.changes) * 1000
    found["changes, one old file (us)"] = elapsed_ms(lambda: [guard.changes() for _ in range(LOOKS)]) / LOOKS * 1000
    found["pristine"] = elapsed_ms(lambda: use_pristine(guard, home))
    found["restack"] = elapsed_ms(lambda: guard.restack("worker"))
    return found


def read_us(home: str) -> float:
    path = os.path.join(home, "d0", "f0")

    def read() -> None:
        for _ in range(READS):
            with open(path, "rb", 0) as file:
                file.read()

    return elapsed_ms(read) / READS * 1000


def rename_us(base: str) -> float:
    with tempfile.TemporaryDirectory(dir=os.path.join(base, "tmp")) as place:
        first, second = os.path.join(place, "a"), os.path.join(place, "b")
        with open(first, "w"):
            pass

        def rename() -> None:
            for _ in range(LOOKS):
                os.rename(first, second)
                os.rename(second, first)

        return elapsed_ms(rename) / LOOKS * 500


def use_pristine(guard: overlay.Overlay, home: str) -> None:
    with guard.pristine(home):
        pass


def run_round(base: str, home: str, witnessed: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", base, home, str(int(witnessed))]
    measured: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return measured


def fastest(rounds: list[dict[str, float]]) -> dict[str, float]:
    gathered: dict[str, list[float]] = defaultdict(list)
    for figures in rounds:
        for name, figure in figures.items():
            gathered[name].append(figure)
    return {name: round(min(figures), 3) for name, figures in gathered.items()}


def compare(count: int, rounds: int) -> dict[str, dict[str, float]]:
    base = tempfile.mkdtemp(prefix="session-guard-bench-")
    try:
        os.mkdir(os.path.join(base, "tmp"))
        homes = {f"{size} files": os.path.join(base, str(size)) for size in (SMALL, count)}
        for (_, home), size in zip(homes.items(), (SMALL, count), strict=True):
            make_home(home, size)
        gathered: dict[str, list[dict[str, float]]] = defaultdict(list)
        for _ in range(rounds):
            for label, home in homes.items():
                gathered[label].append(run_round(base, home, False))
            gathered["1000 files, witnesses"].append(run_round(base, homes[f"{SMALL} files"], True))
        return {label: fastest(figures) for label, figures in gathered.items()}
    finally:
        shutil.rmtree(base)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        base, home, witnessed = options.measure
        print(json.dumps(measure(base, home, witnessed == "1")))
        return
    table = compare(options.files, options.rounds)
    if options.json:
        print(json.dumps(table, indent=2))
        return
    small, huge, witnessed_table = table.values()
    print(f"{'':40}{'1000':>12}{options.files:>12}{'ratio':>8}{'witnesses':>12}   (ms unless said otherwise)")
    for name, figure in small.items():
        ratio = huge[name] / figure
        print(f"{name:40}{figure:12.3f}{huge[name]:12.3f}{ratio:8.2f}{witnessed_table[name]:12.3f}")


if __name__ == "__main__":
    main()
