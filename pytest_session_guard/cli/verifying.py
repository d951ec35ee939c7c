"""``verify``: the last step of a CI job, which no option of pytest can talk round."""

from __future__ import annotations

import argparse
import os

from pytest_session_guard._core.settings import LAYERS, MODES
from pytest_session_guard._report.document import UnreadableReportError, objections, parse_report
from pytest_session_guard.cli.console import FINE, NOT_DONE, VIOLATED, Commands, print_error, say
from pytest_session_guard.cli.places import no_empty


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Offer ``verify``."""
    verify = commands.add_parser(
        "verify", help="check a report: the last step of a CI job, which no option of pytest can talk round"
    )
    verify.add_argument("report", metavar="REPORT", help="the file that --session-guard-json wrote")
    verify.add_argument(
        "--require-layer", action="append", default=[], choices=LAYERS, help="a layer that must be enforced"
    )
    verify.add_argument(
        "--require-mode", default="enforce", choices=MODES[1:], help="the weakest mode that will do (default: enforce)"
    )
    verify.add_argument(
        "--min-tests", type=int, default=1, metavar="N", help="how many tests must have run (default: 1)"
    )
    verify.add_argument(
        "--rootdir",
        metavar="DIR",
        type=no_empty,
        help="the checkout that the report must be about (default: the one around the working directory)",
    )
    verify.set_defaults(run=verify_report)


def verify_report(options: argparse.Namespace) -> int:
    """``verify REPORT``: 1 when the report is missing or does not show a guarded, clean run, 3 when it cannot be read."""
    from pytest_session_guard._run.checkouts import find_rootdir

    try:
        with open(options.report, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        print_error(
            f"report missing: {options.report!r}\n  the run wrote none, so it was not guarded, or did not finish"
        )
        return VIOLATED
    except OSError as problem:
        print_error(f"report cannot be read: {options.report!r}: {problem.strerror}")
        return NOT_DONE
    try:
        report = parse_report(content)
    except UnreadableReportError as problem:
        print_error(f"report cannot be read: {options.report!r} {problem}")
        return NOT_DONE
    found = objections(
        report,
        rootdir=os.path.realpath(options.rootdir or find_rootdir(".")),
        require_mode=options.require_mode,
        require_layers=options.require_layer,
        min_tests=options.min_tests,
    )
    for objection in found:
        print_error(f"not verified: {objection}")
    if not found:
        say(f"verified: {options.report}: {report['verdict']}, run {report['run'].get('id')}")
    return VIOLATED if found else FINE
