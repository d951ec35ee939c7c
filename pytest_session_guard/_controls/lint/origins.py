"""Following an expression to where the path that it makes may lie."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Final

from pytest_session_guard._controls.lint.kinds import (
    HOME_VARIABLES,
    NOTHING,
    TEMPORARY,
    TEMPORARY_FIXTURES,
    XDG_VARIABLES,
    Kind,
    Kinds,
    either,
    expanded,
    gives_a_store,
    joined,
    names_a_store,
    of_text,
)
from pytest_session_guard._controls.lint.suite import Suite, fixture_names
from pytest_session_guard._controls.lint.units import Binding, Unit

DEEPEST: Final = 40
PATH_TYPE: Final = re.compile(r"pathlib\.(Pure)?(Posix|Windows)?Path|path\.Path|py\.path\.local|anyio\.Path")
# Functions that give a path, or paths, made of their arguments.
SAME: Final = frozenset(
    {"str", "bytes", "sorted", "list", "set", "tuple", "reversed", "iter", "next", "enumerate", "frozenset",
     "os.fspath", "os.fsencode", "os.fsdecode", "os.path.abspath", "os.path.realpath", "os.path.normpath", "os.path.join",
     "os.path.dirname", "os.path.relpath", "posixpath.join", "os.path.expandvars", "shlex.quote"}
)  # fmt: skip
ANY_OF: Final = frozenset({"map", "filter", "zip", "itertools.chain"})
LISTINGS: Final = frozenset({"os.listdir", "os.scandir", "os.walk", "os.fwalk", "glob.glob", "glob.iglob"})
LISTING_METHODS: Final = frozenset({"glob", "rglob", "iterdir", "listdir", "visit", "walk"})
SAME_METHODS: Final = frozenset(
    {"resolve", "absolute", "as_posix", "joinpath", "join", "with_name", "with_suffix", "with_stem", "strip", "rstrip", "lstrip",
     "__enter__", "dirpath", "encode", "decode", "__fspath__", "replace", "ensure", "format", "realpath", "copy"}
)  # fmt: skip
SAME_ATTRIBUTES: Final = frozenset({"parent", "parents", "path", "name", "strpath", "fspath", "stem"})
USER_DIRECTORY: Final = re.compile(
    r"((platformdirs|appdirs)\.user_\w+|(click|typer)\.get_app_dir|xdg\w*\.xdg_\w+_home)"
)
UNIQUE_NAMES: Final = frozenset({"os.getpid", "uuid.uuid1", "uuid.uuid4", "secrets.token_hex", "secrets.token_urlsafe"})
VARIABLE_READS: Final = frozenset({"os.getenv", "os.environ.get", "os.environ.setdefault", "os.environ.pop"})


class Origins:
    """Answers where the paths of a suite's expressions lie. Flow is not followed: a name is all that it is ever given."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.known: dict[int, Kinds] = {}
        self.open: set[int] = set()

    def of(self, node: ast.expr | None, unit: Unit) -> Kinds:
        """What an expression of a unit may be."""
        if node is None:
            return NOTHING
        if id(node) in self.known:
            return self.known[id(node)]
        if id(node) in self.open or len(self.open) > DEEPEST:
            return NOTHING
        self.open.add(id(node))
        try:
            out = self._by_form(node, unit)
        finally:
            self.open.discard(id(node))
        self.known[id(node)] = out
        return out

    def _all(self, nodes: Sequence[ast.expr], unit: Unit) -> list[Kinds]:
        return [self.of(node, unit) for node in nodes]

    def _by_form(self, node: ast.expr, unit: Unit) -> Kinds:
        match node:
            case ast.Constant(value=str() as text):
                return of_text(text)
            case ast.JoinedStr(values=pieces):
                return joined(self._all(pieces, unit))
            case (
                ast.FormattedValue(value=value)
                | ast.NamedExpr(value=value)
                | ast.Await(value=value)
                | ast.Starred(value=value)
            ):
                return self.of(value, unit)
            case ast.BoolOp(values=choices) | ast.List(elts=choices) | ast.Tuple(elts=choices) | ast.Set(elts=choices):
                return either(self._all(choices, unit))
            case ast.IfExp(body=body, orelse=orelse):
                return either(self._all([body, orelse], unit))
            case ast.BinOp(left=left, op=ast.Div() | ast.Add(), right=right):
                return joined(self._all([left, right], unit))
            case ast.BinOp(left=left, op=ast.Sub()):
                return self.of(left, unit)
            case ast.ListComp(elt=value) | ast.GeneratorExp(elt=value) | ast.SetComp(elt=value):
                return self.of(value, unit)
        return self._by_name(node, unit)

    def _by_name(self, node: ast.expr, unit: Unit) -> Kinds:
        match node:
            case ast.Name(id=name):
                return self._name(name, unit)
            case ast.Attribute():
                return self._attribute(node, unit)
            case ast.Subscript(value=value, slice=key):
                is_environ = self.suite.name_of(value, unit) == "os.environ"
                return self._variable([key]) if is_environ else self.of(value, unit)
            case ast.Call():
                return self._call(node, unit)
        return NOTHING

    def _name(self, name: str, unit: Unit) -> Kinds:
        if name == "__file__":
            return frozenset({Kind.HERE})
        scope: Unit | None = unit
        while scope is not None:
            if name in scope.bindings:
                return self._bound(scope.bindings[name], scope) | self._parameter(name, scope)
            if name in scope.params:
                return self._parameter(name, scope)
            scope = scope.outer
        return self._global(unit.text.imports.get(name, name), unit)

    def _bound(self, bindings: Sequence[Binding], unit: Unit) -> Kinds:
        return either(self.of(binding.value, unit) for binding in bindings)

    def _parameter(self, name: str, unit: Unit) -> Kinds:
        if name not in unit.params:
            return NOTHING
        if name in TEMPORARY_FIXTURES:
            return TEMPORARY
        if fixture_names(unit) or unit.name.startswith("test"):
            fixture = self.suite.fixture(name, unit)
            return self.given(fixture) if fixture is not None else NOTHING
        return self._passed(name, unit)

    def given(self, unit: Unit) -> Kinds:
        """What a function or fixture gives."""
        return either(self.of(value, unit) for value in unit.given)

    def _passed(self, name: str, unit: Unit) -> Kinds:
        """What the calls of a function in its own module pass for a parameter."""
        if isinstance(unit.node, ast.Module):
            return NOTHING
        names = [argument.arg for argument in (*unit.node.args.posonlyargs, *unit.node.args.args)]
        names = names[1:] if names[:1] in (["self"], ["cls"]) else names
        place = names.index(name) if name in names else len(names)
        out = [NOTHING]
        for site, caller in self.suite.callers(unit):
            named = [keyword.value for keyword in site.call.keywords if keyword.arg == name]
            out += self._all([*site.call.args[place : place + 1], *named], caller)
        return either(out)

    def _global(self, name: str, unit: Unit) -> Kinds:
        found = self.suite.constant(name, unit)
        if found is not None:
            return self._bound(*found)
        return frozenset({Kind.STORE}) if names_a_store(name) else NOTHING

    def _attribute(self, node: ast.Attribute, unit: Unit) -> Kinds:
        if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            return self._own(node.attr, unit)
        held = self.of(node.value, unit)
        if Kind.TEMPORARY in held or Kind.UNIQUE in held or node.attr in SAME_ATTRIBUTES:
            return held
        made = self.suite.name_of(node.value.func, unit) if isinstance(node.value, ast.Call) else ""
        if made.rpartition(".")[2] in ("PlatformDirs", "AppDirs") and node.attr.startswith("user_"):
            return frozenset({Kind.HOME})
        name = self.suite.name_of(node, unit)
        if node.attr in ("rootpath", "rootdir"):
            return frozenset({Kind.HERE})
        if _first_name(node) in unit.text.imports:
            return self._global(name, unit)
        return self._of_object(node, unit)

    def _of_object(self, node: ast.Attribute, unit: Unit) -> Kinds:
        """An attribute of a local object: a place of the application when that made the object, and was told no other."""
        if not isinstance(node.value, ast.Name):
            return NOTHING
        for binding in unit.bindings.get(node.value.id, ()):
            made = binding.value
            if (
                isinstance(made, ast.Call)
                and not made.args
                and not made.keywords
                and _first_name(made.func) in unit.text.imports
            ):
                name = self.suite.name_of(made.func, unit)
                if self.suite.function(name, unit) is None and names_a_store(f"{name}.{node.attr}"):
                    return frozenset({Kind.STORE})
        return NOTHING

    def _own(self, name: str, unit: Unit) -> Kinds:
        """An attribute of the object that the unit's class makes."""
        for _, held in self.suite.classes(unit):
            if name in held.attributes:
                return either(self.of(binding.value, where) for binding, where in held.attributes[name])
        return NOTHING

    def _variable(self, arguments: Sequence[ast.expr]) -> Kinds:
        match arguments[:1]:
            case [ast.Constant(value=str() as name)] if HOME_VARIABLES.fullmatch(name):
                return frozenset({Kind.HOME})
            case [ast.Constant(value=str() as name)] if XDG_VARIABLES.fullmatch(name):
                return frozenset({Kind.XDG})
        return NOTHING

    def _call(self, node: ast.Call, unit: Unit) -> Kinds:
        name = self.suite.name_of(node.func, unit)
        well_known = self._well_known(name, node)
        if well_known is not None:
            return well_known
        arguments = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg in ("root_dir", "top"))]
        if PATH_TYPE.fullmatch(name) or name in SAME:
            return joined(self._all(arguments, unit))
        if name in ANY_OF:
            return either(self._all(arguments, unit))
        if name == "os.path.expanduser":
            return expanded(joined(self._all(arguments, unit)))
        if name in LISTINGS:
            return joined(self._all(arguments, unit)) | {Kind.LISTED}
        if name in VARIABLE_READS:
            return self._variable(node.args) | either(self._all(node.args[1:], unit))
        return self._method(node, unit) or self._function(name, node, unit)

    def _well_known(self, name: str, node: ast.Call) -> Kinds | None:
        """What a function gives that needs no arguments for it."""
        owner, _, last = name.rpartition(".")
        if name.startswith("tempfile."):
            return TEMPORARY
        if name in UNIQUE_NAMES:
            return frozenset({Kind.UNIQUE})
        if name == "os.getcwd" or (PATH_TYPE.fullmatch(name) and not node.args):
            return frozenset({Kind.CWD})
        if PATH_TYPE.fullmatch(owner) and last in ("cwd", "home"):
            return frozenset({Kind.CWD if last == "cwd" else Kind.HOME})
        return frozenset({Kind.HOME}) if USER_DIRECTORY.fullmatch(name) else None

    def _method(self, node: ast.Call, unit: Unit) -> Kinds:
        if not isinstance(node.func, ast.Attribute):
            return NOTHING
        name, held = node.func.attr, self.of(node.func.value, unit)
        if name in LISTING_METHODS:
            return held | {Kind.LISTED} if held else NOTHING
        if name == "expanduser":
            return expanded(held)
        if Kind.TEMPORARY in held:
            return TEMPORARY
        return joined([held, *self._all(node.args, unit)]) if name in SAME_METHODS else NOTHING

    def _function(self, name: str, node: ast.Call, unit: Unit) -> Kinds:
        """What one of the suite's own functions gives; of others only whether they were handed something temporary."""
        own = self.suite.function(name, unit) if name else None
        if own is not None and own.given:
            return self.given(own)
        given = either(self._all([*node.args, *(keyword.value for keyword in node.keywords)], unit))
        if Kind.TEMPORARY in given:
            return TEMPORARY
        return (
            frozenset({Kind.STORE}) if gives_a_store(name) and _first_name(node.func) in unit.text.imports else NOTHING
        )


def _first_name(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
