"""The places in an application that lead to its users' data."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pytest_session_guard._controls.discover.evaluate import Evaluator, Scope, defaults
from pytest_session_guard._controls.discover.libraries import HOMES, NO_DATA, PROGRAMS
from pytest_session_guard._controls.discover.sources import Source, read_sources
from pytest_session_guard._controls.discover.traces import Trace, Traces
from pytest_session_guard._core.syntax import FUNCTIONS, Function, assigned, top_level

Kind = Literal["constant", "default", "environment", "call"]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place that leads to users' data.

    :param kind: ``constant`` (a module's or class's name), ``default`` (of a parameter), ``environment`` (a variable
        that names a path) or ``call`` (a path made anew in each call, out of reach of a redirect by name).
    :param target: ``module:ATTR``, ``env:NAME``, or ``module:function`` for what is no target.
    :param path: where it leads without the environment: ``~/.app/sessions``, or ``""`` when only the environment says.
    :param overrides: the environment variables that are asked before.
    """

    file: str
    line: int
    kind: Kind
    target: str
    path: str = ""
    source: str = ""
    overrides: tuple[str, ...] = ()


def discover(path_or_module: str, home: str) -> list[Finding]:
    """The constants, defaults, environment variables and calls of an application that lead below the home directory.

    The source is read, not run: what is computed in ways that reading does not follow (a name looked up by text, a
    configuration file, another library's function) is missed.

    :param path_or_module: a file, a directory or the name of an importable module.
    :param home: the home directory, absolute.
    :returns: in the order of the files and lines, each target once.
    :raises ConfigurationError: there is no Python source to read.
    """
    sources = read_sources(path_or_module)
    evaluator = Evaluator(sources, home)
    first: dict[tuple[str, str, str], Finding] = {}
    for source in sources.values():
        for finding in find_in(source, evaluator):
            first.setdefault((finding.kind, finding.target, finding.path), finding)
    return sorted(with_fallback(finding, evaluator.fallbacks) for finding in first.values())


def with_fallback(finding: Finding, fallbacks: Mapping[str, str]) -> Finding:
    """A variable's finding with the path that stands in for it."""
    if finding.kind != "environment":
        return finding
    return replace(finding, path=fallbacks.get(finding.target.removeprefix("env:"), ""))


def find_in(source: Source, evaluator: Evaluator) -> Iterator[Finding]:
    """The findings of one module."""
    scope = Scope(source)
    yield from constants(source.names, "", scope, evaluator)
    for function in source.functions.values():
        yield from calls(function, function.name, scope, evaluator)
    for owner in source.classes.values():
        inner, names = Scope(source, owner=owner), assigned(owner.body)
        yield from constants(names, owner.name + ".", Scope(source, names, owner), evaluator)
        for method in owner.body:
            if isinstance(method, FUNCTIONS):
                yield from calls(method, f"{owner.name}.{method.name}", inner, evaluator)


def constants(
    names: Mapping[str, list[ast.expr]], prefix: str, scope: Scope, evaluator: Evaluator
) -> Iterator[Finding]:
    """The names of a module or class that hold a path, alone or in a container."""
    for name, values in names.items():
        for value in values:
            for part, traces in leading_parts(value, scope, evaluator):
                target = f"{scope.source.module}:{prefix}{name}"
                yield from variables(traces, part, scope)
                yield from found("constant", target, traces, part, scope)


def leading_parts(value: ast.expr, scope: Scope, evaluator: Evaluator) -> Iterator[tuple[ast.expr, Traces]]:
    """The parts of an assigned expression that may lead somewhere: its elements, or what an unknown call is given."""
    for part in elements(value):
        traces = evaluator.traces(part, scope)
        if traces or not isinstance(part, ast.Call):
            yield part, traces
            continue
        held = [part.func.value] if isinstance(part.func, ast.Attribute) else []
        for argument in [*held, *part.args, *(keyword.value for keyword in part.keywords)]:
            yield from leading_parts(argument, scope, evaluator)


def elements(value: ast.expr) -> Iterator[ast.expr]:
    """An expression, or those in a container's display."""
    match value:
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            for item in items:
                yield from elements(item)
        case ast.Dict(values=items):
            for item in items:
                yield from elements(item)
        case ast.Lambda():
            return
        case _:
            yield value


def calls(function: Function, name: str, outer: Scope, evaluator: Evaluator) -> Iterator[Finding]:
    """The defaults of a function, and the paths that its body makes."""
    for parameter, default in defaults(function):
        traces = evaluator.traces(default, outer)
        yield from variables(traces, default, outer)
        target = f"{outer.source.module}:{name}({parameter}=)"
        yield from found("default", target, frozenset(t for t in traces if not t.constant), default, outer)
    scope = evaluator.inside(function, outer)
    returned = {trace.text: trace.overrides for trace in evaluator.returned(function, outer)}
    for statement in top_level(function.body):
        if isinstance(statement, FUNCTIONS):
            yield from calls(statement, f"{name}.{statement.name}", scope, evaluator)
            continue
        for child in ast.iter_child_nodes(statement):
            for finding in made(child, f"{scope.source.module}:{name}", scope, evaluator):
                # ``if the variable is set: return it`` stands apart from the path that is made when it is not.
                names = {*finding.overrides, *returned.get(finding.path, ())}
                yield replace(finding, overrides=tuple(sorted(names))) if finding.kind == "call" else finding


def made(node: ast.AST, target: str, scope: Scope, evaluator: Evaluator) -> Iterator[Finding]:
    """The paths that an expression makes: the largest part of it that is one, else those in its parts."""
    if isinstance(node, ast.stmt | ast.Lambda):
        return
    if isinstance(node, ast.Call | ast.BinOp | ast.Subscript | ast.JoinedStr | ast.BoolOp | ast.IfExp):
        traces = evaluator.traces(node, scope)
        own = frozenset(trace for trace in traces if trace.pathy and not trace.constant)
        out = [*variables(traces, node, scope), *found("call", target, own, node, scope)]
        if out:
            yield from out
            return
    for child in ast.iter_child_nodes(node):
        yield from made(child, target, scope, evaluator)


def found(kind: Kind, target: str, traces: Traces, node: ast.expr, scope: Scope) -> Iterator[Finding]:
    """The traces that lead below the home directory."""
    for trace in sorted(traces, key=lambda one: one.text):
        if trace.is_below_home and not is_prose(trace):
            names = tuple(sorted(trace.overrides))
            yield Finding(scope.source.file, node.lineno, kind, target, trace.text, scope.source.segment(node), names)


def variables(traces: Traces, node: ast.expr, scope: Scope) -> Iterator[Finding]:
    """The environment variables that name a path, where they are read."""
    for trace in traces:
        name = trace.variable
        if trace.constant or not is_name(name) or name in NO_DATA or name in HOMES or name.endswith(PROGRAMS):
            continue
        if trace.pathy or looks_like_place(name) or any(one.is_below_home for one in traces):
            yield Finding(scope.source.file, node.lineno, "environment", f"env:{name}", "", scope.source.segment(node))


def is_name(text: str) -> bool:
    """Whether a text may be a variable's name."""
    return text.replace("_", "").isalnum() and text.isupper()


def looks_like_place(name: str) -> bool:
    """Whether a variable's name says that it holds a place on disk."""
    return name.endswith(("_HOME", "_DIR", "_PATH", "_ROOT", "_DIRECTORY", "_FOLDER", "DIR", "_DATA", "_DB", "_CACHE"))


def is_prose(trace: Trace) -> bool:
    """Whether a text that starts like a path is a sentence."""
    return not trace.pathy and (" " in trace.text or "\n" in trace.text)
