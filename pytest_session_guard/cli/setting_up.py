"""``discover`` and ``init``: which paths of an application lead to its users' data, and the configuration to send them elsewhere."""

from __future__ import annotations

import argparse
import os

from pytest_session_guard.cli.console import FINE, Commands, say, say_json
from pytest_session_guard.cli.places import add_rootdir, no_empty


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Offer the two."""
    discover = commands.add_parser(
        "discover", help="list the constants, variables and defaults of an application that lead to users' data"
    )
    discover.add_argument(
        "application", metavar="PATH|MODULE", type=no_empty, help="a file, a directory, or an importable module"
    )
    discover.add_argument("--json", action="store_true", help="say it as JSON")
    discover.set_defaults(run=run_discover)
    init = commands.add_parser("init", help="put what discover finds into the checkout's own configuration")
    init.add_argument(
        "application", metavar="PATH|MODULE", nargs="?", type=no_empty, help="as of discover (default: the checkout)"
    )
    add_rootdir(init)
    choice = init.add_mutually_exclusive_group()
    choice.add_argument("--yes", action="store_true", help="write it; without, the change is only shown")
    choice.add_argument("--dry-run", action="store_true", help="show the change and write nothing, as without --yes")
    init.set_defaults(run=run_init)


def run_discover(options: argparse.Namespace) -> int:
    """``discover PATH|MODULE``: what was found, then the configuration to paste; nothing of the application runs."""
    from pytest_session_guard._run.applications import survey

    found = survey(options.application, os.environ)
    if options.json:
        say_json(found.to_json())
    else:
        say(found.lines())
    return FINE


def run_init(options: argparse.Namespace) -> int:
    """``init [PATH|MODULE]``: the change is shown first; with ``--yes`` it is written."""
    from pytest_session_guard._run.applications import plan_configuration, survey, write_configuration
    from pytest_session_guard._run.checkouts import find_rootdir

    rootdir = os.path.realpath(options.rootdir or find_rootdir("."))
    found = survey(options.application or rootdir, os.environ)
    plan = plan_configuration(rootdir, found.options)
    if plan.new == plan.old:
        say(f"nothing to change in {plan.file}")
        return FINE
    say(plan.diff)
    if options.yes:
        write_configuration(plan)
        say(f"written: {plan.file}")
    else:
        say("nothing is written yet: session-guard init --yes writes it")
    return FINE
