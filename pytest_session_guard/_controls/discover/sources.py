"""An application's modules: found on disk, parsed, their names resolved. Nothing is imported."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from dataclasses import field
from importlib.machinery import PathFinder
from typing import Final

from pytest_session_guard._core.errors import ConfigurationError
from pytest_session_guard._core.values import dataclass

PASSED_OVER: Final = frozenset(
    {"tests", "test", "testing", "node_modules", "site-packages", "build", "dist", "__pycache__"}
)
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Source:
    """One module.

    :ivar names: what is assigned at module level, each with all expressions that are.
    :ivar imports: names that imports bind, with the dotted name of what they stand for.
    """

    module: str
    file: str
    tree: ast.Module
    names: dict[str, list[ast.expr]] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)

    def segment(self, node: ast.expr) -> str:
        """The source of an expression, on one line."""
        return " ".join(ast.unparse(node).split())


def read_sources(path_or_module: str) -> dict[str, Source]:
    """All modules of an application, by name.

    :param path_or_module: a file, a directory (a package, or a checkout that holds packages) or an importable name.
    :raises ConfigurationError: there is no such thing, or no Python source in it.
    """
    sources: dict[str, Source] = {}
    for module, file in locate(path_or_module):
        source = parse(module, file)
        if source is not None:
            sources[module] = source
    if not sources:
        raise ConfigurationError(
            "discover", "command line", f"finds no Python source, got {path_or_module!r}",
            "a file, a directory or the name of a module that can be imported",
        )  # fmt: skip
    return sources


def locate(path_or_module: str) -> Iterator[tuple[str, str]]:
    """The modules and their files."""
    path = path_or_module
    if not os.path.exists(path):
        path = find_module(path_or_module)
    if os.path.isfile(path):
        yield module_of(path), path
        return
    for directory, directories, files in os.walk(path):
        directories[:] = sorted(name for name in directories if name not in PASSED_OVER and not name.startswith("."))
        if directory != path and "pyvenv.cfg" in files:
            directories.clear()
            continue
        for name in sorted(files):
            if name.endswith(".py") and not name.startswith("test_") and name not in ("conftest.py", "setup.py"):
                yield module_of(os.path.join(directory, name)), os.path.join(directory, name)


def find_module(name: str) -> str:
    """The file or directory of a module, found without importing it or its packages; ``""`` when there is none."""
    places: list[str] | None = [os.getcwd(), os.path.join(os.getcwd(), "src"), *sys.path]
    origin = ""
    for count in range(len(name.split("."))):
        spec = PathFinder.find_spec(".".join(name.split(".")[: count + 1]), places) if places else None
        if spec is None:
            return ""
        places = list(spec.submodule_search_locations or ())
        origin = places[0] if places else (spec.origin or "")
    return origin if os.path.isdir(origin) or origin.endswith(".py") else ""


def module_of(file: str) -> str:
    """The dotted name by which a file is imported, from the packages that it lies in."""
    directory, name = os.path.split(os.path.abspath(file))
    parts = [] if name == "__init__.py" else [name.removesuffix(".py")]
    while os.path.isfile(os.path.join(directory, "__init__.py")):
        directory, package = os.path.split(directory)
        parts.insert(0, package)
    return ".".join(parts)


def parse(module: str, file: str) -> Source | None:
    """A module's source; ``None`` when it is of another Python or no text."""
    try:
        with open(file, "rb") as stream:
            tree = ast.parse(stream.read(), file)
    except (SyntaxError, ValueError):
        return None
    source = Source(module, file, tree)
    package = module if os.path.basename(file) == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            source.imports.update(bound_names(node, package))
    for node in top_level(tree.body):
        if isinstance(node, FUNCTIONS):
            source.functions[node.name] = node
        elif isinstance(node, ast.ClassDef):
            source.classes[node.name] = node
    source.names = assigned(tree.body)
    return source


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
