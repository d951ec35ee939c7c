"""``lint``: what in test files can hurt real data, told without running them."""

from __future__ import annotations

import argparse
from itertools import chain

from pytest_session_guard.cli.console import FINE, NOT_DONE, VIOLATED, Commands, print_error, say, say_json
from pytest_session_guard.cli.places import no_empty


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Offer ``lint``."""
    lint = commands.add_parser(
        "lint",
        help="read test files and point at code that can hurt real data",
        description="Read test files and conftests and point at code that can hurt real data. Nothing of them is run. "
        "A comment `# session-guard: lint-ignore[SLUG] REASON` on a line answers for its finding.",
    )
    lint.add_argument("paths", metavar="PATH", nargs="+", type=no_empty, help="a file, or a directory of tests")
    for option, words in (("--select", "only these rules count"), ("--ignore", "these rules do not count")):
        lint.add_argument(option, action="append", default=[], type=_slugs, metavar="SLUG[,SLUG…]", help=words)
    lint.add_argument("--json", action="store_true", help="say it as JSON")
    lint.set_defaults(run=run_lint)


def _slugs(words: str) -> list[str]:
    """Names of rules, by commas.

    :raises ArgumentTypeError: there is no such rule.
    """
    from pytest_session_guard._run.suites import rule_slugs

    out = [one.strip() for one in words.split(",")]
    for one in out:
        if one not in rule_slugs():
            raise argparse.ArgumentTypeError(f"knows no rule {one!r} (choose from {', '.join(rule_slugs())})")
    return out


def run_lint(options: argparse.Namespace) -> int:
    """``lint PATH…``: 1 when something can hurt real data, 3 when a file could not be read; all others are told even so."""
    from pytest_session_guard._run.suites import judge

    verdict = judge(options.paths, [*chain(*options.select)], [*chain(*options.ignore)])
    if options.json:
        say_json(verdict.to_json())
    else:
        say(verdict.lines())
    for line in verdict.unread:
        print_error(line)
    if verdict.unread:
        return NOT_DONE
    return VIOLATED if verdict.is_dangerous else FINE
