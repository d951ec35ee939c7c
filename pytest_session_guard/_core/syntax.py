"""Reading Python source as a tree: what its scopes assign and what its imports bind. Nothing is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def bound_names(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, str]]:
    """The names that an import statement binds, with what they stand for."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            yield name, alias.name if alias.asname else name
        return
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        above = parts[: len(parts) - node.level + 1]
        base = ".".join([*above, *([base] if base else [])])
    for alias in node.names:
        yield alias.asname or alias.name, f"{base}.{alias.name}"


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run in a body's own scope, those in ``if``, ``try``, ``with`` and loops included."""
    for node in body:
        yield node
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            continue
        for part in ("body", "orelse", "finalbody"):
            yield from top_level(getattr(node, part, []))
        for handler in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]:
            yield from top_level(handler.body)


def assigned(body: list[ast.stmt]) -> dict[str, list[ast.expr]]:
    """What is assigned in a body's own scope, with all expressions that are."""
    names: dict[str, list[ast.expr]] = {}
    for node in top_level(body):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    names.setdefault(target.id, []).append(node.value)
        elif isinstance(node, ast.AnnAssign | ast.AugAssign) and isinstance(node.target, ast.Name) and node.value:
            names.setdefault(node.target.id, []).append(node.value)
        for walrus in (part for part in own_expressions(node) if isinstance(part, ast.NamedExpr)):
            names.setdefault(walrus.target.id, []).append(walrus.value)
    return names


def own_expressions(node: ast.stmt) -> Iterator[ast.expr]:
    """The expressions of one statement, without those of statements and definitions inside it."""
    waiting: list[ast.AST] = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    waiting += [item.context_expr for item in getattr(node, "items", []) if isinstance(item, ast.withitem)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.expr):
            yield part
        if not isinstance(part, ast.Lambda):
            waiting += list(ast.iter_child_nodes(part))
