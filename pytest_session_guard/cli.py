"""The ``session-guard`` command. Knows no pytest; every destructive command prints its plan with ``--dry-run``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from pytest_session_guard._core.errors import SessionGuardError
from pytest_session_guard._core.settings import LAYERS, MODES
from pytest_session_guard._report.document import UnreadableReportError, objections, parse_report

FINE: Final = 0
VIOLATED: Final = 1
BAD_USAGE: Final = 2
NOT_DONE: Final = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :returns: 0 fine, 1 violations or refused removals, 2 bad usage, 3 the guard could not do its work.
    """
    options = build_parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except SessionGuardError as problem:
        print_error(str(problem))
        return NOT_DONE
    return status


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = argparse.ArgumentParser(
        prog="session-guard", description="Guard test runs, and look after what they left."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_verify(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="run pytest from outside: start first, finish last, hold the verdict")
    run.add_argument(
        "--wait", type=float, default=5.0, metavar="SECONDS", help="how long to wait for what pytest left running"
    )
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the pytest command")
    run.set_defaults(run=run_command)
    wall = commands.add_parser("wall")
    wall.add_argument("scratch")
    wall.add_argument("words", nargs=argparse.REMAINDER)
    wall.set_defaults(run=run_behind_wall)


def run_command(options: argparse.Namespace) -> int:
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


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = commands.add_parser(
        "verify", help="check a report: the last step of a CI job, which no option of pytest can talk round"
    )  # fmt: skip
    verify.add_argument("report", metavar="REPORT", help="the file that --session-guard-json wrote")
    verify.add_argument(
        "--require-layer", action="append", default=[], choices=LAYERS, help="a layer that must be enforced"
    )
    verify.add_argument("--require-mode", default="enforce", choices=MODES[1:], help="the weakest mode that will do")
    verify.add_argument("--min-tests", type=int, default=1, metavar="N", help="how many tests must have run")
    verify.add_argument("--rootdir", default=".", metavar="DIR", help="the checkout that the report must be about")
    verify.set_defaults(run=verify_report)


def verify_report(options: argparse.Namespace) -> int:
    """``verify REPORT``: 1 when the report is missing or does not show a guarded, clean run, 3 when it cannot be read."""
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
        rootdir=os.path.realpath(options.rootdir),
        require_mode=options.require_mode,
        require_layers=options.require_layer,
        min_tests=options.min_tests,
    )
    for objection in found:
        print_error(f"not verified: {objection}")
    if not found:
        sys.stdout.write(f"verified: {options.report}: {report['verdict']}, run {report['run'].get('id')}\n")
    return VIOLATED if found else FINE


def print_error(text: str) -> None:
    """One message on stderr, under the command's name."""
    sys.stderr.write(f"session-guard: {text}\n")
