"""What every rule asks: the suite, where its paths lie, what is moved away; and how a finding is put down."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Final

from pytest_session_guard._controls.lint.kinds import LASTING, Kinds
from pytest_session_guard._controls.lint.origins import Origins
from pytest_session_guard._controls.lint.rules import Finding, Rule
from pytest_session_guard._controls.lint.suite import Suite
from pytest_session_guard._controls.lint.surroundings import Configured, Surroundings
from pytest_session_guard._controls.lint.units import Module, Unit

LONGEST: Final = 70


class Reading:
    """A suite, ready to be asked."""

    def __init__(self, modules: Sequence[Module], configured: Configured) -> None:
        self.suite = Suite(modules)
        self.origins = Origins(self.suite)
        self.surroundings = Surroundings(self.suite, self.origins, configured)

    def lasting(self, kinds: Kinds, unit: Unit) -> Kinds:
        """What of a path's kinds is somebody's real data in a unit."""
        return self.surroundings.lasting(kinds, unit)

    def name_of(self, node: ast.AST, unit: Unit) -> str:
        """The dotted name of an expression."""
        return self.suite.name_of(node, unit)


def finding(rule: Rule, unit: Unit, node: ast.expr | ast.stmt, message: str, fix: str = "") -> Finding:
    """A finding of a rule at a node."""
    last = node.end_lineno or node.lineno
    return Finding(unit.text.file, node.lineno, node.col_offset + 1, rule.slug, message, fix or rule.fix, last)


def source(node: ast.AST) -> str:
    """An expression's source on one line, cut where it is long."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def place(kinds: Kinds) -> str:
    """The gravest of a path's kinds, in words."""
    return next(kind.value for kind in LASTING if kind in kinds)
