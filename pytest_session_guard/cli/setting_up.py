"""``discover``: which paths of an application lead to its users' data, and the configuration to send them elsewhere."""

from __future__ import annotations

import argparse
import os

from pytest_session_guard.cli.console import FINE, Commands, say, say_json


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Offer ``discover``."""
    discover = commands.add_parser(
        "discover", help="list the constants, variables and defaults of an application that lead to users' data"
    )
    discover.add_argument("application", metavar="PATH|MODULE", help="a file, a directory, or an importable module")
    discover.add_argument("--json", action="store_true", help="say it as JSON")
    discover.set_defaults(run=run_discover)


def run_discover(options: argparse.Namespace) -> int:
    """``discover PATH|MODULE``: what was found, then the configuration to paste; nothing of the application runs."""
    from pytest_session_guard._run.applications import survey

    found = survey(options.application, os.environ)
    if options.json:
        say_json(found.to_json())
    else:
        say(found.lines())
    return FINE
