"""``run``: pytest from outside."""

from __future__ import annotations

import argparse
import os

from pytest_session_guard.cli.console import BAD_USAGE, Commands, print_error


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Offer ``run``, and the wall that it rehearses behind."""
    run = commands.add_parser("run", help="run pytest from outside: start first, finish last, hold the verdict")
    run.add_argument(
        "--wait",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="how long to wait for what pytest left running (default: 5)",
    )
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the pytest command")
    run.set_defaults(run=launch_command)
    wall = commands.add_parser("wall")
    wall.add_argument("scratch")
    wall.add_argument("words", nargs=argparse.REMAINDER)
    wall.set_defaults(run=run_behind_wall)


def launch_command(options: argparse.Namespace) -> int:
    """``run -- COMMAND``: the exit status is pytest's, or 1 where that would have been green and must not be."""
    from pytest_session_guard._run.launcher import launch
    from pytest_session_guard._run.relaunch import is_pytest_command

    command = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not is_pytest_command(command):
        print_error(f"run: no pytest command, got {' '.join(command)!r}\n  allowed: pytest ... or python -m pytest ...")
        return BAD_USAGE
    return launch(command, os.environ, options.wait)


def run_behind_wall(options: argparse.Namespace) -> int:
    """Become a command behind the strictest wall; how the launcher rehearses."""
    from pytest_session_guard._run.plan import enter_strict_wall

    command = options.words[1:] if options.words[:1] == ["--"] else options.words
    enter_strict_wall(options.scratch, os.environ)
    os.execvp(command[0], command)
