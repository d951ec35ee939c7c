"""Try vectors and write what came of them as the verdicts to expect. A person reads the difference before it goes in."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from . import document, expected
from .catalogue import load_all
from .layers import LAYER_SETS, Form
from .pool import try_all
from .selection import select
from .verdicts import Outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Try, print every verdict that changed, and rewrite the file of verdicts and the table in the docs."""
    parser = argparse.ArgumentParser(prog="python -m tests.vectors.regenerate", description=__doc__)
    parser.add_argument(
        "forms", nargs="*", default=LAYER_SETS, help="such as off hook auto auto@root auto@n2; all layer sets"
    )
    parser.add_argument("--only", nargs="+", default=(), help="names or families of vectors; all of them")
    parser.add_argument("--dry-run", action="store_true", help="print what would change and write nothing")
    parser.add_argument("--docs", action="store_true", help="only write the table in the docs again")
    options = parser.parse_args(arguments)
    table = expected.load()
    for label in () if options.docs else options.forms:
        _regenerate(table, Form.parse(label), set(options.only))
        if not options.dry_run:
            expected.write(table)
    if not options.dry_run:
        document.write(table)
    return 0


def _regenerate(table: expected.Table, form: Form, only: set[str]) -> None:
    names, absent = select(form)
    catalogue = load_all()
    names = [name for name in names if not only or name in only or catalogue[name].family in only]
    started = time.monotonic()
    outcomes = try_all([(name, form) for name in names], report=_show_trouble)
    for line in expected.record(table, outcomes, form):
        print(line, flush=True)
    print(
        f"{form.label}: {len(outcomes)} tried in {time.monotonic() - started:.0f} s, {len(absent)} not tried here",
        file=sys.stderr,
    )


def _show_trouble(outcome: Outcome) -> None:
    if "broken" in outcome.verdict or outcome.survivors:
        print(
            f"{outcome.vector}: {outcome.verdict}; still running: {outcome.survivors}\n{outcome.output}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(main())
