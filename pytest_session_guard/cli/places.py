"""Which checkout, which ledger and which run a command is about."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pytest_session_guard._core.runs import PastRun

RUN_HELP: Final = "a run's id, the beginning of one, or 'latest'"


def add_places(command: argparse.ArgumentParser) -> None:
    """Let a command be told where the ledger is."""
    add_rootdir(command)
    command.add_argument(
        "--session-guard-dir",
        metavar="PATH",
        type=no_empty,
        help="its ledger (default: as its configuration says)",
    )


def add_rootdir(command: argparse.ArgumentParser) -> None:
    """Let a command be told which checkout is meant."""
    command.add_argument(
        "--rootdir",
        metavar="DIR",
        type=directory,
        help="the checkout (default: the nearest one, upwards from here)",
    )


def ledger_of(options: argparse.Namespace) -> str:
    """The ledger's directory; it need not exist.

    :raises ConfigurationError: it is told in a way that cannot be used.
    """
    from pytest_session_guard._run.checkouts import find_rootdir
    from pytest_session_guard._run.whereabouts import state_directory

    return state_directory(options.rootdir or find_rootdir("."), options.session_guard_dir or "")


def add_run_name(command: argparse.ArgumentParser) -> None:
    """Let a command be told which run is meant."""
    command.add_argument("name", metavar="RUN", type=no_empty, help=RUN_HELP)


def no_empty(word: str) -> str:
    """An argument as it is; an empty one, as from a variable of the shell that is not set, would stand for everything.

    :raises ArgumentTypeError: it is empty.
    """
    if not word:
        raise argparse.ArgumentTypeError("is empty")
    return word


def directory(word: str) -> str:
    """A directory that is there: of another one, a wrong name above all, "no runs" would be true and of no use.

    :raises ArgumentTypeError: it is none.
    """
    if not os.path.isdir(no_empty(word)):
        raise argparse.ArgumentTypeError(f"is no directory, got {word!r}")
    return word


def find_run(options: argparse.Namespace) -> PastRun:
    """The run that the user means.

    :raises LedgerError: there is none, or more than one.
    """
    from pytest_session_guard._run import past

    return past.find_run(ledger_of(options), options.name)
