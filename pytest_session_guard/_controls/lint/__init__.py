"""Finding what can hurt real data in test files, by reading them; nothing is imported or run.

`rules` (slugs and fixes) · `files` (which belong to a suite) · `units` (their scopes) · `suite` (fixtures, calls and classes
across files) · `kinds`, `origins` (where a path lies) · `surroundings` (what is moved away) · `deeds` (what changes the
disk) · `changes`, `commands`, `leftovers`, `patches` (the rules) · `answers` (comments) · `linting` (all of it).
"""

from pytest_session_guard._controls.lint.files import Unread
from pytest_session_guard._controls.lint.linting import Linted, lint
from pytest_session_guard._controls.lint.rules import RULES, Finding, Rule
from pytest_session_guard._controls.lint.surroundings import Moved

__all__ = ["RULES", "Finding", "Linted", "Moved", "Rule", "Unread", "lint"]
