"""The ``session-guard`` command. Knows no pytest; every destructive command prints its plan with ``--dry-run``.

A module a family of commands: `launching` (run) · `verifying` · `examining` (doctor) · `looking_back` (runs, show,
restore, clean) · `reporting` · `setting_up` (discover, init) · `linting`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from pytest_session_guard._core.errors import SessionGuardError
from pytest_session_guard._core.platforms import insist_on_platform
from pytest_session_guard.cli import examining, launching, linting, looking_back, reporting, setting_up, verifying
from pytest_session_guard.cli.console import NOT_DONE, print_error
from pytest_session_guard.cli.places import no_empty

__all__ = ["main"]

# Commands that the guard gives to processes of its own.
INTERNAL: Final = frozenset({"trial", "wall"})


class _Choices(dict[str, argparse.ArgumentParser]):
    """All commands, of which a complaint about a wrong one lists those that are meant for people."""

    def __iter__(self) -> Iterator[str]:
        return (name for name in super().__iter__() if name not in INTERNAL)


class _Version(argparse.Action):
    """Says which version is installed; found out only when somebody asks."""

    def __call__(self, *_: object, **__: object) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"pytest-session-guard {version('pytest-session-guard')}\n")
        raise SystemExit(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :returns: 0 fine, 1 violations or refused removals, 2 bad usage, 3 the guard could not do its work.
    """
    options = _parsed(build_parser(), arguments)
    try:
        if options.command != "verify":  # that one reads a report, wherever it was written
            insist_on_platform(os.name)
        status: int = options.run(options)
        sys.stdout.flush()
    except SessionGuardError as problem:
        print_error(str(problem))
        return NOT_DONE
    except FileNotFoundError as problem:
        if problem.filename is not None:
            raise
        # Only the questions for a working and for a temporary directory name no file; a traceback's status would pass for
        # violations.
        print_error(_no_directory(problem))
        return NOT_DONE
    except BrokenPipeError:
        # The reader (head, less) has seen enough; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return NOT_DONE
    return status


def _parsed(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    options, rest = parser.parse_known_args(arguments)
    # argparse gives a list of positionals nothing when an option stands before it: `restore RUN --dry-run PATH`.
    late = [word for word in rest if word != "--"]
    if late and ("paths" not in options or any(word.startswith("-") for word in late)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if late:
        try:
            options.paths = [*options.paths, *map(no_empty, late)]
        except argparse.ArgumentTypeError as problem:
            parser.error(f"argument PATH: {problem}")
    return options


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = argparse.ArgumentParser(
        prog="session-guard", description="Guard test runs, and look after what they left."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for family in (launching, examining, looking_back, reporting, setting_up, linting, verifying):
        family.add(commands)
    commands.choices = _Choices(commands.choices)
    return parser


def _no_directory(problem: FileNotFoundError) -> str:
    try:
        os.getcwd()
    except FileNotFoundError:
        return "the working directory does not exist any more\n  allowed: to start from a directory that is there"
    return f"{problem.strerror}\n  allowed: to name one that this user may write to (TMPDIR)"
