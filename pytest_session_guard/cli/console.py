"""What all commands share: exit codes, and words on the two streams."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from typing import Any, Final

FINE: Final = 0
VIOLATED: Final = 1
BAD_USAGE: Final = 2
NOT_DONE: Final = 3

Commands = argparse._SubParsersAction  # the type that add_subparsers() gives, which has no public name


def say(lines: str | Iterable[str]) -> None:
    """Lines on stdout; lone bytes of paths escaped, so that any terminal can show them."""
    text = lines if isinstance(lines, str) else "\n".join(lines)
    if text:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def say_json(value: Any) -> None:
    """A JSON value on stdout; ASCII, so that lone bytes of paths survive as ``\\udcXX``."""
    say(json.dumps(value, indent=2, ensure_ascii=True))


def print_error(text: str) -> None:
    """One message on stderr, under the command's name."""
    sys.stderr.write(f"session-guard: {text.encode('utf-8', 'backslashreplace').decode()}\n")
