"""``python -m chatstore COMMAND``: look at the store, mend it, fill it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from chatstore import history, index, paths, recovery, sample


def list_sessions() -> None:
    """Print one line a session, newest first."""
    for row in index.list_rows():
        print(f"{row['session_id']}  {row['message_count']:5} messages  {row['title']}")


def recover() -> None:
    """Do what the application does at start, and say what had to be done."""
    done = recovery.recover()
    for word, ids in (
        ("restored from its backup", done.from_backup),
        ("rebuilt from the state database", done.from_state),
        ("entered into the state database", done.into_state),
    ):
        for session_id in ids:
            print(f"{session_id}  {word}")
    if done.index_rebuilt:
        print("index rebuilt")


def regenerate() -> None:
    """Write the index and every metadata file again, from the sessions and the histories."""
    print(f"{len(history.regenerate())} metadata files, {len(index.rebuild())} index rows in {paths.CHATSTORE_HOME}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 2 for a command that is none."""
    parser = argparse.ArgumentParser(prog="chatstore", description="The store of a small chat application.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="one line a session, newest first")
    commands.add_parser("recover", help="put back what an accident took")
    commands.add_parser("regenerate", help="write index and metadata again from what they are derived from")
    filling = commands.add_parser("sample", help="save invented conversations and print their ids")
    filling.add_argument("count", type=int)
    filling.add_argument("--longest", type=int, default=0, help="messages of the last one")
    chosen = parser.parse_args(arguments)
    if chosen.command == "sample":
        for session in sample.save_sessions(chosen.count, chosen.longest):
            print(session.session_id, flush=True)
    else:
        {"list": list_sessions, "recover": recover, "regenerate": regenerate}[chosen.command]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
