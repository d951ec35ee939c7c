"""What a redirect costs a test: 50 targets, each with one alias in a test module, over the bare private directory.

Run it with the Python that the plugin is installed for: ``python benchmarks/bench_redirect.py``. A round is a make of
the private directory, with and without `enter_test` and `leave_test`; the figure is the difference of the two lower
deciles, which a busy machine moves least.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_session_guard._controls.redirect import Redirector
from pytest_session_guard._core.settings import Line, parse_redirect

TARGETS = 50
ROUNDS = 4_000
BOUND_US = 50.0
KINDS = {
    "Path": "Path(os.path.expanduser('~/.app/d{n}'))",
    "str": "os.path.expanduser('~/.app/d{n}')",
}


def sources(kind: str) -> dict[str, str]:
    """An application with one constant for each target, and a test module that imports them all."""
    lines = [f"D{n} = {KINDS[kind].format(n=n)}" for n in range(TARGETS)]
    return {
        "benched_app": "import os\nfrom pathlib import Path\n" + "\n".join(lines) + "\n",
        "benched_tests": f"from benched_app import {', '.join(f'D{n}' for n in range(TARGETS))}\n",
    }


def redirector_over(base: Path, kind: str, lines: Sequence[str]) -> Redirector:
    """A started redirector, its modules imported."""
    source = base / kind
    source.mkdir()
    for name, text in sources(kind).items():
        (source / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)
    sys.path.insert(0, str(source))
    (base / f"sink-{kind}-{len(lines)}").mkdir()
    redirector = Redirector(
        [parse_redirect(Line(line, "benchmark")) for line in lines],
        [],
        sink=str(base / f"sink-{kind}-{len(lines)}"),
        project_roots=[str(source)],
        home=os.path.expanduser("~"),
        warn=lambda message, category: None,
    )
    redirector.start()
    __import__("benched_tests")
    redirector.check()
    sys.path.remove(str(source))
    return redirector


def cost_us(base: Path, redirector: Redirector) -> float:
    """Microseconds a test over the bare private directory."""
    bare, guarded = [], []
    redirector.enter_test(str(base / "warm"))
    redirector.leave_test()
    for number in range(ROUNDS):
        bare.append(timed(os.mkdir, f"{base}/bare-{number}"))
        guarded.append(timed(one_test, redirector, f"{base}/guarded-{number}"))
    return (statistics.quantiles(guarded, n=10)[0] - statistics.quantiles(bare, n=10)[0]) / 1_000


def one_test(redirector: Redirector, private: str) -> None:
    os.mkdir(private)
    redirector.enter_test(private)
    redirector.leave_test()


def timed(call: Callable[..., None], *arguments: object) -> int:
    start = time.perf_counter_ns()
    call(*arguments)
    return time.perf_counter_ns() - start


def main() -> int:
    """Print one line for each kind of target; the status is 1 when a bound is missed."""
    worst = 0.0
    attribute_lines = [f"benched_app:D{n} = d{n}" for n in range(TARGETS)]
    for kind in KINDS:
        for name, lines in (("module:ATTR lines", attribute_lines), ("one root line", ["~/.app = app"])):
            with tempfile.TemporaryDirectory() as directory:
                redirector = redirector_over(Path(directory), kind, lines)
                cost = cost_us(Path(directory), redirector)
                redirector.stop()
            worst = max(worst, cost)
            print(f"{TARGETS} {kind:4} targets, {name:17}: {cost:6.1f} us a test (bound {BOUND_US:.0f})")
    return int(worst > BOUND_US)


if __name__ == "__main__":
    raise SystemExit(main())
