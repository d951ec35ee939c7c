"""What in a suite's source can hurt real data, as `session-guard lint` tells it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from pytest_session_guard._controls.lint import RULES, Linted, Moved, lint
from pytest_session_guard._core.errors import ConfigurationError
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._report.wording import counted
from pytest_session_guard._run.checkouts import configuration, find_rootdir


@dataclass(frozen=True, slots=True)
class Verdict:
    """What reading a suite gave, in words."""

    linted: Linted

    @property
    def is_dangerous(self) -> bool:
        """Whether anything graver than advice was found."""
        return any(finding.severity == "danger" for finding in self.linted.findings)

    @property
    def unread(self) -> list[str]:
        """A line for each file that could not be read."""
        return [f"cannot be read: {one.file!r}: {one.reason}" for one in self.linted.unread]

    def to_json(self) -> dict[str, Any]:
        """The verdict as a JSON object."""
        findings = [{**asdict(finding), "severity": finding.severity} for finding in self.linted.findings]
        return {
            "schema": "session-guard-lint/1",
            "files": self.linted.files,
            "findings": findings,
            "ignored": self.linted.answered,
            "unread": [asdict(one) for one in self.linted.unread],
        }

    def lines(self) -> Iterator[str]:
        """Two lines a finding, then the numbers."""
        here = os.getcwd() + os.sep
        for finding in self.linted.findings:
            file = finding.file.removeprefix(here)
            yield f"{file}:{finding.line}:{finding.column}: {finding.message} [{finding.slug}]"
            yield f"  fix: {finding.fix}"
        ignored = f", {self.linted.answered} ignored with a reason" if self.linted.answered else ""
        yield f"{counted(self.linted.files, 'file')} read, {counted(len(self.linted.findings), 'finding')}{ignored}"


def rule_slugs() -> tuple[str, ...]:
    """The names of all rules."""
    return tuple(RULES)


def judge(paths: Sequence[str], select: Sequence[str] = (), ignore: Sequence[str] = ()) -> Verdict:
    """Read the test files at or below some paths; nothing of them is imported or run.

    :param select: the rules that count; all when there are none.
    :param ignore: rules that do not.
    """
    chosen = {slug for slug in select or RULES if slug not in ignore}
    return Verdict(lint(paths, chosen, cache(moved_by_configuration)))


def moved_by_configuration(directory: str) -> Moved:
    """What the plugin's own options send elsewhere for the tests of a directory."""
    try:
        options = configuration(find_rootdir(directory)) or {}
    except ConfigurationError:
        return Moved.NOTHING  # pytest will say so; here it only means that nothing is known to be redirected
    out = Moved.STORE if options.get("session_guard_redirect") else Moved.NOTHING
    return out | Moved.HOME | Moved.XDG if options.get("session_guard_home") == "redirect" else out
