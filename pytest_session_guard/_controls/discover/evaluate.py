"""Following expressions to the paths that they may be, through names, calls and modules. Nothing is run."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Mapping
from dataclasses import field
from typing import Final

from pytest_session_guard._controls.discover.libraries import (
    HOMES,
    PATH_TYPES,
    SAME_METHODS,
    SAME_PATH,
    app_directory,
)
from pytest_session_guard._controls.discover.sources import Source
from pytest_session_guard._controls.discover.traces import (
    NOTHING,
    UNKNOWN,
    Trace,
    Traces,
    as_constants,
    as_paths,
    combined,
    join_paths,
    limited,
    overridden,
    parents,
)
from pytest_session_guard._core.syntax import Function, assigned, top_level
from pytest_session_guard._core.values import dataclass

DEEPEST: Final = 24


@dataclass(frozen=True)
class Scope:
    """Where an expression stands.

    :param names: what the function around it assigns, its parameters' defaults included.
    :param owner: the class around it.
    """

    source: Source
    names: Mapping[str, list[ast.expr]] = field(default_factory=dict)
    owner: ast.ClassDef | None = None


class Evaluator:
    """Evaluates expressions of an application's modules.

    :param home: the home directory, so that absolute texts below it are recognised.
    """

    def __init__(self, sources: Mapping[str, Source], home: str) -> None:
        self.sources, self.home = sources, home.rstrip("/")
        self.open: set[tuple[str, int]] = set()
        self.known: dict[tuple[str, int], Traces] = {}
        self.provisional: dict[tuple[str, int], Traces] = {}
        self.fallbacks: dict[str, str] = {}  # variable → the path that stands in for it
        self.scopes: dict[int, Scope] = {}
        self.depth = self.cuts = 0

    def traces(self, node: ast.expr | None, scope: Scope) -> Traces:
        """What an expression may be, as far as its source tells."""
        if node is None:
            return NOTHING
        key = (scope.source.module, id(node))
        if key in self.known:
            return self.known[key]
        if key in self.provisional:
            return self.provisional[key]
        if key in self.open or self.depth > DEEPEST:
            self.cuts += 1
            return NOTHING
        self.open.add(key)
        self.depth += 1
        cuts = self.cuts
        try:
            out = limited(self._by_form(node, scope))
        finally:
            self.open.discard(key)
            self.depth -= 1
        self._remember(key, out, whole=cuts == self.cuts)
        return out

    def _remember(self, key: tuple[str, int], out: Traces, whole: bool) -> None:
        """Keep a result; one that was cut short, because it stands inside itself, for the question at hand only."""
        if whole or not self.open:
            self.known[key] = out
        else:
            self.provisional[key] = out
        if not self.open:
            self.provisional.clear()
        note_fallbacks(out, self.fallbacks)

    def _by_form(self, node: ast.expr, scope: Scope) -> Traces:
        match node:
            case ast.Constant(value=str() as text):
                return frozenset({Trace(self._with_tilde(text))})
            case ast.JoinedStr(values=pieces):
                return self._text(pieces, scope)
            case ast.FormattedValue(value=value) | ast.NamedExpr(value=value) | ast.Await(value=value):
                return self.traces(value, scope)
            case ast.BoolOp(values=choices):
                return self._either(choices, scope)
            case ast.IfExp(body=body, orelse=orelse):
                return self._either([body, orelse], scope)
            case ast.BinOp(left=left, op=ast.Div() | ast.Add() as operator, right=right):
                divides = isinstance(operator, ast.Div)
                join = join_paths if divides else str.__add__
                return combined(self.traces(left, scope), self.traces(right, scope), join, pathy=divides)
            case ast.Name() | ast.Attribute():
                return self._name(node, scope)
            case ast.Subscript(value=value, slice=name):
                return self._variable([name], scope) if self.dotted(value, scope) == "os.environ" else NOTHING
            case ast.Call():
                return self._call(node, scope)
        return NOTHING

    def _either(self, choices: list[ast.expr], scope: Scope) -> Traces:
        """Any of some alternatives."""
        return overridden(frozenset().union(*(self.traces(choice, scope) for choice in choices)))

    def _with_tilde(self, text: str) -> str:
        if self.home and (text == self.home or text.startswith(self.home + "/")):
            return "~" + text[len(self.home) :]
        return text

    def _text(self, pieces: list[ast.expr], scope: Scope) -> Traces:
        out = frozenset({Trace("")})
        for piece in pieces:
            out = combined(out, self.traces(piece, scope), str.__add__, pathy=False) or frozenset({Trace(UNKNOWN)})
        return out

    def _name(self, node: ast.Name | ast.Attribute, scope: Scope) -> Traces:
        if isinstance(node, ast.Name) and node.id in scope.names:
            return self._either(scope.names[node.id], scope)
        if isinstance(node, ast.Attribute):
            if node.attr == "parent":
                return parents(self.traces(node.value, scope))
            found = self._app_attribute(node, scope)
            if found:
                return found
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") and scope.owner is not None:
                return self._class_attribute(scope.owner, node.attr, scope)
        return self._global(self.dotted(node, scope))

    def _app_attribute(self, node: ast.Attribute, scope: Scope) -> Traces:
        """``PlatformDirs("app").user_data_dir``, also by way of a name."""
        made = self._definition(node.value, scope)
        if isinstance(made, ast.Call) and self.dotted(made.func, scope).rpartition(".")[2] in (
            "PlatformDirs",
            "AppDirs",
        ):
            path = app_directory(f"platformdirs.{node.attr}", self._first_text(made, scope))
            return frozenset({Trace(path, pathy=True)}) if path else NOTHING
        return NOTHING

    def _definition(self, node: ast.expr, scope: Scope) -> ast.expr:
        """The expression that a plain name stands for."""
        if isinstance(node, ast.Name):
            values = scope.names.get(node.id) or scope.source.names.get(node.id) or [node]
            return values[-1]
        return node

    def _global(self, dotted: str) -> Traces:
        """A constant of one of the modules, or of one of their classes."""
        found = self._find(dotted)
        if found is None:
            return NOTHING
        source, rest = found
        if rest in source.names:
            return as_constants(self._either(source.names[rest], Scope(source)))
        owner, _, name = rest.partition(".")
        if owner in source.classes:
            return self._class_attribute(source.classes[owner], name, Scope(source))
        return (
            self._global(source.imports[rest]) if rest in source.imports and source.imports[rest] != dotted else NOTHING
        )

    def _class_attribute(self, owner: ast.ClassDef, name: str, scope: Scope) -> Traces:
        outer = Scope(scope.source, owner=owner)
        values = assigned(owner.body).get(name, [])
        if values:
            return as_constants(self._either(values, outer))
        method = next((one for one in owner.body if isinstance(one, ast.FunctionDef) and one.name == name), None)
        return as_constants(self.returned(method, outer)) if method is not None else NOTHING

    def _find(self, dotted: str) -> tuple[Source, str] | None:
        """The module that a dotted name lies in, and what is left of the name."""
        parts = dotted.split(".")
        for count in range(len(parts) - 1, 0, -1):
            source = self.sources.get(".".join(parts[:count]))
            if source is not None:
                return source, ".".join(parts[count:])
        return None

    def dotted(self, node: ast.expr, scope: Scope) -> str:
        """The dotted name of what an expression names (``os.environ.get``), aliases resolved; ``""`` for others."""
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value, scope)
            return f"{base}.{node.attr}" if base else ""
        if not isinstance(node, ast.Name):
            return ""
        values = scope.names.get(node.id, [])
        if len(values) == 1 and isinstance(values[0], ast.Name | ast.Attribute) and id(values[0]) != id(node):
            key = (scope.source.module, id(values[0]))
            if key in self.open:
                return ""
            self.open.add(key)
            try:
                return self.dotted(values[0], scope)
            finally:
                self.open.discard(key)
        if node.id in scope.source.imports:
            return scope.source.imports[node.id]
        if node.id in (*scope.source.names, *scope.source.functions, *scope.source.classes):
            return f"{scope.source.module}.{node.id}"
        # A parameter of this name is handed the environment.
        return "os.environ" if node.id in ("env", "environ") else node.id

    def _call(self, node: ast.Call, scope: Scope) -> Traces:
        name = self.dotted(node.func, scope)
        arguments = [argument for argument in node.args if not isinstance(argument, ast.Starred)]
        if name in PATH_TYPES or name in ("os.path.join", "posixpath.join"):
            return self._joined(arguments, scope)
        if name in SAME_PATH or name == "os.path.expanduser":
            traces = self.traces(arguments[0], scope) if arguments else NOTHING
            return as_paths(traces) if name.startswith("os.path.") else traces
        if name == "os.path.dirname":
            return parents(self.traces(arguments[0], scope)) if arguments else NOTHING
        if name.removesuffix(".home") in PATH_TYPES:
            return frozenset({Trace("~", pathy=True)})
        if name in ("os.getenv", "os.environ.get", "os.environ.setdefault", "os.environ.pop"):
            return self._variable(arguments, scope)
        path = app_directory(name, self._first_text(node, scope)) if name else None
        if path is not None:
            return frozenset({Trace(path, pathy=True)})
        return self._method(node, arguments, scope) or self._own_function(name, scope)

    def _joined(self, arguments: list[ast.expr], scope: Scope) -> Traces:
        if not arguments:
            return NOTHING
        out = self.traces(arguments[0], scope)
        for argument in arguments[1:]:
            out = combined(out, self.traces(argument, scope), join_paths, pathy=True)
        return as_paths(out)

    def _variable(self, arguments: list[ast.expr], scope: Scope) -> Traces:
        match arguments:
            case [first]:
                names = self.traces(first, scope)
                return frozenset().union(*(variable(trace.text) for trace in names))
            case [first, default, *_]:
                return overridden(self._variable([first], scope) | self.traces(default, scope))
        return NOTHING

    def _first_text(self, node: ast.Call, scope: Scope) -> str:
        named = [keyword.value for keyword in node.keywords if keyword.arg in ("appname", "app_name")]
        for argument in itertools.chain(node.args[:1], named):
            # A name that differs by platform is written small on Linux.
            texts = [trace.text for trace in self.traces(argument, scope)]
            if texts:
                return max(texts)
        return ""

    def _method(self, node: ast.Call, arguments: list[ast.expr], scope: Scope) -> Traces:
        if not isinstance(node.func, ast.Attribute):
            return NOTHING
        held = node.func.value
        if node.func.attr in SAME_METHODS:
            traces = self.traces(held, scope)
            return as_paths(traces) if node.func.attr == "expanduser" else traces
        if node.func.attr == "joinpath":
            return self._joined([held, *arguments], scope)
        if node.func.attr in ("with_name", "with_suffix", "relative_to") and arguments:
            unknown = frozenset({Trace(UNKNOWN)})
            return combined(parents(self.traces(held, scope)), unknown, join_paths, pathy=True)
        if isinstance(held, ast.Name) and held.id in ("self", "cls") and scope.owner is not None:
            return self._class_attribute(scope.owner, node.func.attr, scope)
        return NOTHING

    def _own_function(self, name: str, scope: Scope) -> Traces:
        found = self._find(name)
        if found is None:
            return NOTHING
        source, rest = found
        if rest in source.functions:
            return as_constants(self.returned(source.functions[rest], Scope(source)))
        return self._own_function(source.imports[rest], scope) if source.imports.get(rest, name) != name else NOTHING

    def returned(self, function: Function, outer: Scope) -> Traces:
        """What a function may return."""
        scope = self.inside(function, outer)
        returns = [node.value for node in top_level(function.body) if isinstance(node, ast.Return) and node.value]
        out = self._either(returns, scope)
        note_fallbacks(out, self.fallbacks)
        return out

    def inside(self, function: Function, outer: Scope) -> Scope:
        """The scope of a function's body."""
        if id(function) not in self.scopes:
            names = assigned(function.body)
            for name, default in defaults(function):
                names.setdefault(name, []).append(default)
            self.scopes[id(function)] = Scope(outer.source, names, outer.owner)
        return self.scopes[id(function)]


def note_fallbacks(traces: Traces, fallbacks: dict[str, str]) -> None:
    """Write down which path stands in for a variable that may be unset."""
    alone = sorted(trace.text for trace in traces if trace.is_below_home and trace.pathy)
    for trace in traces:
        if alone and trace.variable and trace.text == f"${trace.variable}":
            fallbacks.setdefault(trace.variable, alone[0])


def variable(name: str) -> Traces:
    """What an environment variable may be; those of home directories are known without being set."""
    known = HOMES.get(name)
    own = Trace(f"${name}")
    return frozenset({Trace(known, pathy=True, overrides=frozenset({name}))}) if known else frozenset({own})


def defaults(function: Function) -> list[tuple[str, ast.expr]]:
    """The parameters that have a default."""
    arguments = [*function.args.posonlyargs, *function.args.args]
    positional = zip(arguments[::-1], function.args.defaults[::-1], strict=False)
    pairs = [*positional, *zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)]
    return [(argument.arg, default) for argument, default in pairs if default is not None]
