"""What `lint` looks for: a slug for each rule, how grave it is, and what to do about it."""

from __future__ import annotations

from typing import Final, Literal

from pytest_session_guard._core.values import dataclass

Severity = Literal["danger", "advice"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    :param severity: ``danger`` can cost real data and makes the status 1; ``advice`` alone leaves it 0.
    :param fix: what this plugin, or pytest, offers instead.
    """

    slug: str
    severity: Severity
    meaning: str
    fix: str


BY_PATTERN: Final = Rule(
    "delete-by-pattern", "danger", "deletes whatever a listing of a lasting place gives",
    "keep what tests make under session_dir or tmp_path; session_guard.sweep(directory, pattern) removes only what this run made",
)  # fmt: skip
BY_AGE: Final = Rule(
    "delete-by-age", "danger", "takes a file's age for a proof that a test made it",
    "an application that runs meanwhile makes young files too: session_guard.sweep(directory, pattern) goes by the run's own record",
)  # fmt: skip
TREE: Final = Rule(
    "delete-tree", "danger", "removes a lasting directory with all that is in it",
    "make it under tmp_path, or let session_guard.artifact(path) record it and session_guard.remove(path) take it away",
)  # fmt: skip
REAL_PLACE: Final = Rule(
    "real-place", "danger", "changes something in the user's home or in the application's own store",
    "redirect it (session_guard_redirect, or session_guard_home = redirect), or use session_guard.path",
)  # fmt: skip
COMMAND: Final = Rule(
    "destructive-command", "danger", "a command that deletes or rewrites where the process happens to stand",
    "give it cwd=tmp_path (or session_guard.path) and an argument below that",
)  # fmt: skip
ENVIRON: Final = Rule(
    "environ-kept", "danger", "a variable that leads to users' data is set and not put back",
    "monkeypatch.setenv puts it back; session_guard_redirect = env:NAME = place sets it before conftests are imported",
)  # fmt: skip
CWD: Final = Rule(
    "cwd-kept", "danger", "the working directory is changed and not put back: relative paths of later tests lead elsewhere",
    "monkeypatch.chdir(tmp_path) puts it back",
)  # fmt: skip
SWALLOWED: Final = Rule(
    "swallowed-refusal", "advice", "an error of a deletion is thrown away, a refusal with it",
    "catch FileNotFoundError alone; session_guard.remove(path) says what it left and why",
)  # fmt: skip
PATCHED: Final = Rule(
    "patched-by-hand", "advice", "paths of the application are patched one by one; the one that is forgotten hits real data",
    "session_guard_redirect replaces every alias, for all tests",
)  # fmt: skip

RULES: Final = {
    rule.slug: rule for rule in (BY_PATTERN, BY_AGE, TREE, REAL_PLACE, COMMAND, ENVIRON, CWD, SWALLOWED, PATCHED)
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One place in a test file that can hurt real data.

    :param last_line: where the statement's part ends; a comment on any of its lines can answer for it.
    """

    file: str
    line: int
    column: int
    slug: str
    message: str
    fix: str
    last_line: int = 0

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return RULES[self.slug].severity
