"""What an overlay over the workspace would cost, with a commit of what changed at the end; docs/ledger.md has the decision.

    python benchmarks/bench_workspace.py [--files 5000] [--rounds 5] [--directory DIR] [--json]

The same work on the same tree, plain and through an overlay whose upper layer lies beside it on the same file system,
each in a process and a mount namespace of its own; the fastest of several rounds counts. Beside the figures it prints
what no figure shows: whether a directory can still be renamed.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pytest_session_guard._host import mounts, namespaces

FILES_PER_DIRECTORY = 100
CHANGED = 1_000
CONTENT = b"x" * 2_000


def make_workspace(path: str, count: int) -> None:
    for number in range(count):
        if number % FILES_PER_DIRECTORY == 0:
            os.makedirs(f"{path}/d{number // FILES_PER_DIRECTORY}")
        write(name_of(path, number))


def name_of(path: str, number: int) -> str:
    return f"{path}/d{number // FILES_PER_DIRECTORY}/f{number}"


def write(path: str) -> None:
    with open(path, "wb") as file:
        file.write(CONTENT)


@contextmanager
def clocked(figures: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    figures[name] = (time.perf_counter() - started) * 1000


def enter_namespace() -> None:
    if namespaces.has_capability(namespaces.CAP_SYS_ADMIN):
        namespaces.unshare(namespaces.MOUNTS)
    else:
        uid, gid = os.getuid(), os.getgid()
        namespaces.unshare(namespaces.USERS | namespaces.MOUNTS)
        namespaces.map_own_ids(uid, gid)
    mounts.make_private("/")


def measure(base: str, count: int, overlaid: bool) -> dict[str, float]:
    """One round, in this process, which is spoilt by it."""
    work, upper, inner = (f"{base}/{name}" for name in ("work", "upper", "inner"))
    make_workspace(work, count)
    os.mkdir(upper)
    os.mkdir(inner)
    figures: dict[str, float] = {}
    if overlaid:
        enter_namespace()
    # The way to what the overlay covers; opened in this namespace, or no rename would lead there.
    real_fd = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    if overlaid:
        with clocked(figures, "mount"):
            options = f"lowerdir={work},upperdir={upper},workdir={inner},userxattr"
            mounts.mount("overlay", work, "overlay", 0, options)
    with clocked(figures, "walk over all files"):
        for directory, _, files in os.walk(work):
            for name in files:
                os.lstat(f"{directory}/{name}")
    with clocked(figures, f"rewrite {CHANGED} files"):
        change(lambda number: write(name_of(work, number)))
    with clocked(figures, f"create {CHANGED} files"):
        change(lambda number: write(f"{work}/d0/new{number}"))
    figures["rename of a directory, errno"] = errno_of(lambda: os.rename(f"{work}/d1", f"{work}/renamed"))
    if overlaid:
        with clocked(figures, f"commit {2 * CHANGED} files"):
            commit(upper, real_fd)
    os.close(real_fd)
    return figures


def change(one: Callable[[int], None]) -> None:
    for number in range(CHANGED):
        one(number)


def commit(upper: str, real_fd: int) -> None:
    """Move every file of the upper layer to its place: the least that a commit does, without looking at what it replaces."""
    for directory, _, files in os.walk(upper):
        within = os.path.relpath(directory, upper)
        for name in files:
            os.rename(f"{directory}/{name}", f"{within}/{name}", dst_dir_fd=real_fd)


def errno_of(work: Callable[[], None]) -> int:
    try:
        work()
    except OSError as problem:
        return problem.errno or 0
    return 0


def run_round(directory: str | None, count: int, overlaid: bool) -> dict[str, float]:
    base = tempfile.mkdtemp(prefix="session-guard-bench-", dir=directory)
    try:
        command = [sys.executable, __file__, "--measure", base, str(int(overlaid)), "--files", str(count)]
        measured: dict[str, float] = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout
        )
        return measured
    finally:
        # The overlay's work directory has mode 000.
        if os.path.isdir(f"{base}/inner/work"):
            os.chmod(f"{base}/inner/work", 0o700)
        shutil.rmtree(base)


def compare(directory: str | None, count: int, rounds: int) -> dict[str, dict[str, float]]:
    """The fastest figures of the two forms, which take turns."""
    best: dict[str, dict[str, float]] = defaultdict(dict)
    for _ in range(rounds):
        for form, overlaid in (("plain", False), ("overlay", True)):
            for name, figure in run_round(directory, count, overlaid).items():
                best[form][name] = min(figure, best[form].get(name, figure))
    return dict(best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        base, overlaid = options.measure
        print(json.dumps(measure(base, options.files, overlaid == "1")))
        return
    table = compare(options.directory, options.files, options.rounds)
    if options.json:
        print(json.dumps(table, indent=2))
        return
    print(f"{options.files} files of {len(CONTENT)} bytes{'plain':>20}{'overlay':>12}{'ratio':>8}   (ms)")
    for name, figure in table["overlay"].items():
        if name.endswith("errno"):
            print(f"{name}: {errno.errorcode.get(int(figure), 'none')} (plain: {table['plain'][name] or 'none'})")
        elif name in table["plain"]:
            plain = table["plain"][name]
            print(f"{name:32}{plain:12.2f}{figure:12.2f}{figure / plain:8.2f}")
        else:
            print(f"{name:32}{'':12}{figure:12.2f}")


if __name__ == "__main__":
    main()
