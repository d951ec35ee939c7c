"""Comments that answer for a finding: ``# session-guard: lint-ignore[slug] why``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pytest_session_guard._controls.lint.rules import Finding

ANSWER: Final = re.compile(r"#\s*session-guard:\s*lint-ignore\[([\w\-, ]+)\]\s*(.*)")
NO_REASON: Final = "; the comment there gives no reason and does not count"


def is_answered(found: Finding, lines: Sequence[str]) -> bool | None:
    """Whether a comment on one of a finding's lines names its slug with a reason; ``None`` where the reason is missing."""
    out: bool | None = False
    for line in lines[found.line - 1 : found.last_line]:
        match = ANSWER.search(line)
        if match and found.slug in re.split(r"[,\s]+", match[1]):
            if any(letter.isalnum() for letter in match[2]):
                return True
            out = None
    return out


def unexplained(found: Finding) -> Finding:
    """The finding, with a word about the comment that does not count."""
    return replace(found, message=found.message + NO_REASON)
