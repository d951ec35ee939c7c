"""Which files belong to a suite, and their text. They are read and parsed, nothing else."""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final

from pytest_session_guard._core.syntax import Function, bound_names
from pytest_session_guard._core.values import dataclass

PASSED_OVER: Final = frozenset(
    {"node_modules", "site-packages", "__pycache__", "build", "dist", "venv", "env", "_vendor", "vendor"}
)
TEST_DIRECTORIES: Final = frozenset({"test", "tests", "testing"})


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that could not be read, and why."""

    file: str
    reason: str


@dataclass(slots=True)
class Text:
    """A file's source.

    :ivar name: its dotted name, from the packages that it lies in.
    :ivar imports: the names that its imports bind, with the dotted names of what they stand for.
    """

    file: str
    name: str
    tree: ast.Module
    lines: list[str]
    imports: dict[str, str]


def find_files(paths: Sequence[str]) -> list[str | Unread]:
    """The test files at or below some paths, each once, in the order of their names within each path.

    :param paths: a file counts whatever it is called; below a directory tests, conftests and what lies in test
        directories do. Hidden directories, virtual environments and caches are left out.
    """
    found: dict[str, str | Unread] = {}
    for path in paths:
        for one in _below(path):
            found.setdefault(os.path.realpath(one if isinstance(one, str) else one.file), one)
    return list(found.values())


def _below(path: str) -> Iterator[str | Unread]:
    if not os.path.isdir(path):
        yield path if os.path.lexists(path) else Unread(path, "no such file or directory")
        return
    troubles: list[OSError] = []
    for directory, directories, files in os.walk(path, onerror=troubles.append):
        if directory != path and "pyvenv.cfg" in files:
            directories.clear()
            continue
        directories[:] = sorted(name for name in directories if name not in PASSED_OVER and not name.startswith("."))
        inside = _is_test_directory(path, directory)
        for name in sorted(files):
            if name.endswith(".py") and not name.startswith(".") and (inside or is_test_file(name)):
                yield os.path.join(directory, name)
    for trouble in troubles:
        yield Unread(str(trouble.filename), trouble.strerror or str(trouble))


def is_test_file(name: str) -> bool:
    """Whether pytest imports a file of this name by itself."""
    return name == "conftest.py" or name.startswith("test_") or name.endswith("_test.py")


def _is_test_directory(path: str, directory: str) -> bool:
    """Whether a directory holds tests by its name: one of those from the working directory on, or else from ``path`` on."""
    below = os.path.relpath(directory)
    if below.startswith(".."):
        below = os.path.join(os.path.basename(os.path.abspath(path)), os.path.relpath(directory, path))
    return not TEST_DIRECTORIES.isdisjoint([*below.split(os.sep), os.path.basename(os.getcwd())])


def read(file: str, wanted: bool) -> Text | Unread | None:
    """A file's source, parsed; ``None`` where it is some test's data: no Python, and nothing that pytest imports.

    :param wanted: it was asked for by its own name, so that what is wrong with it is told in any case.
    """
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            return Unread(file, "is no regular file")
        with open(file, "rb") as stream:
            content = stream.read()
        tree = ast.parse(content, file)
        # The tree may come from another encoding, named in the file; the lines are asked for comments alone.
        text = content.decode("utf-8", "replace")
    except OSError as problem:
        return Unread(file, problem.strerror or str(problem))
    except (SyntaxError, ValueError) as problem:
        # What cannot be parsed cannot be imported by the tests either; suites keep such files to try their readers on.
        return Unread(file, _reason(problem)) if wanted or is_test_file(os.path.basename(file)) else None
    except (RecursionError, MemoryError) as problem:
        return Unread(file, str(problem) or type(problem).__name__)
    name = dotted_name(file)
    package = name if os.path.basename(file) == "__init__.py" else name.rpartition(".")[0]
    imports: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.update(bound_names(node, package))
    return Text(file, name, tree, text.splitlines(), imports)


def _reason(problem: SyntaxError | ValueError) -> str:
    return f"{problem.msg} (line {problem.lineno or 0})" if isinstance(problem, SyntaxError) else str(problem)


def dotted_name(file: str) -> str:
    """The name by which a file is imported, from the packages that it lies in."""
    directory, name = os.path.split(os.path.abspath(file))
    parts = [] if name == "__init__.py" else [name.removesuffix(".py")]
    while os.path.isfile(os.path.join(directory, "__init__.py")):
        directory, package = os.path.split(directory)
        parts.insert(0, package)
    return ".".join(parts)


def parameters(function: Function) -> list[str]:
    """The names of a function's parameters."""
    held = function.args
    every = [*held.posonlyargs, *held.args, *held.kwonlyargs]
    return [argument.arg for argument in every]
