"""``report``: a past run's report again, as a web page or as JSON."""

from __future__ import annotations

import argparse

from pytest_session_guard.cli.console import FINE, NOT_DONE, Commands, print_error, say, say_json
from pytest_session_guard.cli.places import add_places, add_run_name, find_run


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Offer ``report``."""
    report = commands.add_parser("report", help="give a past run's report again, as a web page or as JSON")
    add_run_name(report)
    report.add_argument("--html", metavar="FILE", help="write it to FILE as a web page that needs nothing else")
    add_places(report)
    report.set_defaults(run=give_report)


def give_report(options: argparse.Namespace) -> int:
    """``report RUN``: JSON on stdout, or a page in a file; 3 when it cannot be written."""
    from pytest_session_guard._run.reports import report_of, write_page

    report = report_of(find_run(options))
    if options.html is None:
        say_json(report)
        return FINE
    for path, problem in write_page(report, options.html):
        print_error(f"the report cannot be written: {path!r}: {problem.strerror}")
        return NOT_DONE
    say(f"{options.html}: {report['verdict']}, run {report['run']['id']}")
    return FINE
