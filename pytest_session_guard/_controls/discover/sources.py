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
from pytest_session_guard._core.syntax import FUNCTIONS, Function, assigned, bound_names, top_level
from pytest_session_guard._core.values import dataclass

PASSED_OVER: Final = frozenset(
    {"tests", "test", "testing", "node_modules", "site-packages", "build", "dist", "__pycache__"}
)


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
