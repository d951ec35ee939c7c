"""Which checkout, and which ledger, a command is about."""

from __future__ import annotations

import argparse


def add_places(command: argparse.ArgumentParser) -> None:
    """Let a command be told where the ledger is."""
    command.add_argument("--rootdir", metavar="DIR", help="the checkout (default: the nearest one, upwards from here)")
    command.add_argument(
        "--session-guard-dir", default="", metavar="PATH", help="its ledger (default: as its configuration says)"
    )


def ledger_of(options: argparse.Namespace) -> str:
    """The ledger's directory; it need not exist.

    :raises ConfigurationError: it is told in a way that cannot be used.
    """
    from pytest_session_guard._run.whereabouts import find_rootdir, state_directory

    return state_directory(options.rootdir or find_rootdir("."), options.session_guard_dir)
