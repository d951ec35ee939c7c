"""The scopes of a test file: what each binds, calls and stands in."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import field
from typing import Final

from pytest_session_guard._controls.lint.files import Text, parameters
from pytest_session_guard._core.syntax import FUNCTIONS, Function
from pytest_session_guard._core.values import dataclass

Around = tuple[ast.AST, ...]
LOOPS: Final = (ast.For, ast.AsyncFor)
COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)


@dataclass(frozen=True, slots=True)
class Binding:
    """One expression that a name may stand for; ``each``: for an element of it."""

    value: ast.expr
    each: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """A call, and the statements and comprehensions around it within its unit, outermost first."""

    call: ast.Call
    around: Around


@dataclass(eq=False)
class Unit:
    """A function, or a module's own statements; lambdas and class bodies belong to what is around them.

    :ivar bindings: what is assigned in it. ``self.x = …`` is kept by the class, in `Suite`.
    """

    text: Text
    node: Function | ast.Module
    owner: ast.ClassDef | None = None
    outer: Unit | None = None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)
    statements: list[tuple[ast.stmt, Around]] = field(default_factory=list)
    given: list[ast.expr] = field(default_factory=list)
    params: frozenset[str] = frozenset()
    inner: dict[str, Unit] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The function's name; ``""`` of a module."""
        return "" if isinstance(self.node, ast.Module) else self.node.name

    def bind(self, target: ast.expr, value: ast.expr, each: bool = False) -> None:
        """Note that a target may stand for a value."""
        match target:
            case ast.Name(id=name):
                self.bindings.setdefault(name, []).append(Binding(value, each))
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                pairs = (
                    value.elts if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(targets) else []
                )
                for index, one in enumerate(targets):
                    self.bind(one, pairs[index] if pairs and not each else value, each)
            case ast.Starred(value=inner):
                self.bind(inner, value, each)


@dataclass(eq=False)
class Class:
    """A class of a test file.

    :ivar attributes: what its body and ``self.x = …`` in its methods assign.
    """

    node: ast.ClassDef
    attributes: dict[str, list[tuple[Binding, Unit]]] = field(default_factory=dict)
    methods: dict[str, Unit] = field(default_factory=dict)


@dataclass(eq=False)
class Module:
    """A test file, taken apart."""

    text: Text
    top: Unit
    units: list[Unit] = field(default_factory=list)
    classes: dict[str, Class] = field(default_factory=dict)


def take_apart(text: Text) -> Module:
    """A file's units, classes and what they bind."""
    module = Module(text, Unit(text, text.tree))
    module.units.append(module.top)
    _Walker(module).body(text.tree.body, module.top, ())
    return module


class _Walker:
    def __init__(self, module: Module) -> None:
        self.module = module

    def body(self, statements: list[ast.stmt], unit: Unit, around: Around) -> None:
        for statement in statements:
            self.statement(statement, unit, around)

    def statement(self, node: ast.stmt, unit: Unit, around: Around) -> None:
        if isinstance(node, FUNCTIONS):
            self.function(node, unit)
        elif isinstance(node, ast.ClassDef):
            self.class_(node, unit, around)
        elif not is_main_block(node):
            unit.statements.append((node, around))
            self.bindings(node, unit)
            self.children(node, unit, around)

    def function(self, node: Function, outer: Unit, method_of: ast.ClassDef | None = None) -> None:
        unit = Unit(self.module.text, node, method_of or outer.owner, outer, params=frozenset(parameters(node)))
        self.module.units.append(unit)
        if method_of is None:
            outer.inner.setdefault(node.name, unit)
        else:
            self.module.classes[method_of.name].methods.setdefault(node.name, unit)
        for decorator in node.decorator_list:
            self.expression(decorator, unit, ())
        self.body(node.body, unit, ())

    def class_(self, node: ast.ClassDef, outer: Unit, around: Around) -> None:
        held = self.module.classes.setdefault(node.name, Class(node))
        for statement in node.body:
            if isinstance(statement, FUNCTIONS):
                self.function(statement, outer, method_of=node)
                continue
            for target, value in assignments(statement):
                if isinstance(target, ast.Name):
                    held.attributes.setdefault(target.id, []).append((Binding(value), outer))
            self.statement(statement, outer, around)

    def children(self, node: ast.AST, unit: Unit, around: Around) -> None:
        """All below a compound statement or expression, which stands around it."""
        inside = (*around, node) if isinstance(node, ast.stmt) else around
        for child in ast.iter_child_nodes(node):
            self.child(child, unit, inside)

    def child(self, child: ast.AST, unit: Unit, around: Around) -> None:
        if isinstance(child, ast.stmt):
            self.statement(child, unit, around)
        elif isinstance(child, ast.expr):
            self.expression(child, unit, around)
        else:
            # Handlers, cases, with-items, comprehensions' clauses, keywords: what they hold stands where they do.
            if isinstance(child, ast.withitem) and child.optional_vars is not None:
                unit.bind(child.optional_vars, child.context_expr)
            if isinstance(child, ast.ExceptHandler | ast.match_case):
                around = (*around, child)
            for inner in ast.iter_child_nodes(child):
                self.child(inner, unit, around)

    def expression(self, node: ast.expr, unit: Unit, around: Around) -> None:
        if isinstance(node, ast.Call):
            unit.sites.append(Site(node, around))
        elif isinstance(node, ast.NamedExpr):
            unit.bind(node.target, node.value)
        elif isinstance(node, ast.Yield) and node.value is not None:
            unit.given.append(node.value)
        elif isinstance(node, COMPREHENSIONS):
            for clause in node.generators:
                unit.bind(clause.target, clause.iter, each=True)
            around = (*around, node)
        for child in ast.iter_child_nodes(node):
            self.child(child, unit, around)

    def bindings(self, node: ast.stmt, unit: Unit) -> None:
        if isinstance(node, LOOPS):
            unit.bind(node.target, node.iter, each=True)
        elif isinstance(node, ast.Return) and node.value is not None:
            unit.given.append(node.value)
        for target, value in assignments(node):
            unit.bind(target, value)
            owner = self.module.classes.get(unit.owner.name) if unit.owner is not None else None
            if owner is not None:
                for name, part in own_attributes(target, value):
                    owner.attributes.setdefault(name, []).append((Binding(part), unit))


def assignments(node: ast.stmt) -> Iterator[tuple[ast.expr, ast.expr]]:
    """The targets of an assignment, each with its value."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield target, node.value
    elif isinstance(node, ast.AnnAssign | ast.AugAssign) and node.value is not None:
        yield node.target, node.value


def own_attributes(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """The names of ``self.x = …`` and ``cls.x = …``, alone or in a tuple."""
    match target:
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
            yield name, value
        case ast.Tuple(elts=targets):
            for one in targets:
                yield from own_attributes(one, value)


def is_main_block(node: ast.stmt) -> bool:
    """Whether a statement is ``if __name__ == "__main__":``, which pytest never runs."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.left, ast.Name)
        and node.test.left.id == "__name__"
    )


def words_of(node: ast.expr) -> Iterator[str]:
    """The texts in an expression."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
