"""All files that were read, as one: who is called, which fixture is meant, what a class inherits."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence

from pytest_session_guard._controls.lint.files import is_test_file
from pytest_session_guard._controls.lint.units import Binding, Class, Module, Site, Unit, words_of


def dotted(node: ast.AST, imports: dict[str, str]) -> str:
    """The dotted name of an expression, its first part as it was imported; ``""`` when it is none."""
    match node:
        case ast.Name(id=name):
            return imports.get(name, name)
        case ast.Attribute(value=value, attr=attr):
            held = dotted(value, imports)
            return f"{held}.{attr}" if held else ""
    return ""


class Suite:
    """The modules of a suite, and how their names lead from one to another."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.modules = modules
        self.of_unit = {unit: module for module in modules for unit in module.units}
        self.by_name: dict[str, list[Module]] = {}
        for module in modules:
            for name in _endings(module.text.name):
                self.by_name.setdefault(name, []).append(module)
        self.conftests = {
            os.path.dirname(os.path.abspath(module.text.file)): module
            for module in modules
            if os.path.basename(module.text.file) == "conftest.py"
        }
        self._above: dict[str, list[Module]] = {}
        self._callers = {id(module): _calls_by_name(module) for module in modules}
        self._fixtures = {id(module): _fixtures_by_name([module]) for module in modules}
        # Fixtures of plain modules reach tests by ``pytest_plugins`` or an import in a conftest.
        self._fixtures_elsewhere = _fixtures_by_name([module for module in modules if not is_collected(module)])
        self._autouse = {id(module): [unit for unit in module.units if is_autouse(unit)] for module in modules}

    def name_of(self, node: ast.AST, unit: Unit) -> str:
        """The dotted name of an expression."""
        return dotted(node, unit.text.imports)

    def above(self, unit: Unit) -> list[Module]:
        """The unit's own module, then the conftests that count for it, nearest first."""
        directory = os.path.dirname(os.path.abspath(unit.text.file))
        if directory not in self._above:
            self._above[directory] = list(self._conftests(directory))
        module = self.of_unit[unit]
        return [module, *(one for one in self._above[directory] if one is not module)]

    def _conftests(self, directory: str) -> Iterator[Module]:
        while True:
            if directory in self.conftests:
                yield self.conftests[directory]
            directory, name = os.path.split(directory)
            if not name:
                return

    def fixture(self, name: str, unit: Unit) -> Unit | None:
        """The fixture that a parameter of this name means, when it was read."""
        near = (self._fixtures[id(module)] for module in self.above(unit))
        for known in (*near, self._fixtures_elsewhere):
            for one in known.get(name, ()):
                if one is not unit:
                    return one
        return None

    def asked_for(self, unit: Unit) -> list[str]:
        """The fixtures of a unit by name: its parameters, and what ``usefixtures`` names for it, its class or its module."""
        top = self.of_unit[unit].top
        marks = [one for _, held in self.classes(unit) for one in held.node.decorator_list]
        calls = [site.call for one in {unit: 0, top: 0} for site in one.sites]
        out = sorted(unit.params)
        for call in [*calls, *(mark for mark in marks if isinstance(mark, ast.Call))]:
            if isinstance(call.func, ast.Attribute) and call.func.attr == "usefixtures":
                out += words_of(call)
        return out

    def autouse(self, unit: Unit) -> Iterator[Unit]:
        """The fixtures that come unasked, and the set-up functions of the module and the class."""
        for module in self.above(unit):
            yield from (one for one in self._autouse[id(module)] if one is not unit and one.owner is None)
        for _, held in self.classes(unit):
            yield from (one for one in held.methods.values() if one is not unit and is_autouse(one))
        methods = [self.method(name, unit) for name in ("setUp", "setup_method", "setUpClass", "setup_class")]
        functions = [
            self.of_unit[unit].top.inner.get(name) for name in ("setUpModule", "setup_module", "setup_function")
        ]
        yield from (one for one in (*methods, *functions) if one is not None and one is not unit)

    def classes(self, unit: Unit) -> Iterator[tuple[Module, Class]]:
        """The class around a unit and those that it inherits from, when they were read."""
        waiting = [(self.of_unit[unit], unit.owner.name)] if unit.owner is not None else []
        seen: set[tuple[int, str]] = set()
        while waiting:
            module, name = waiting.pop(0)
            held = module.classes.get(name)
            if held is None or (id(module), name) in seen:
                continue
            seen.add((id(module), name))
            yield module, held
            for base in held.node.bases:
                found = self.find(dotted(base, module.text.imports), module)
                if found is not None:
                    waiting.append(found)

    def method(self, name: str, unit: Unit) -> Unit | None:
        """A method of the class around a unit."""
        return next((held.methods[name] for _, held in self.classes(unit) if name in held.methods), None)

    def find(self, name: str, module: Module) -> tuple[Module, str] | None:
        """The module that a dotted name leads to, and what is left of the name."""
        if "." not in name:
            return module, name
        head, _, last = name.rpartition(".")
        for ending in _endings(head):
            if ending in self.by_name:
                return max(self.by_name[ending], key=lambda other: _nearness(other, module)), last
        return None

    def function(self, name: str, unit: Unit) -> Unit | None:
        """The function that a call of this dotted name means, when it was read."""
        if name.startswith(("self.", "cls.")):
            return self.method(name.partition(".")[2], unit)
        scope: Unit | None = unit
        while scope is not None:
            if name in scope.inner:
                return scope.inner[name]
            scope = scope.outer
        found = self.find(name, self.of_unit[unit])
        return found[0].top.inner.get(found[1]) if found is not None else None

    def constant(self, name: str, unit: Unit) -> tuple[list[Binding], Unit] | None:
        """What a module of the suite assigns to a dotted name."""
        found = self.find(name, self.of_unit[unit])
        if found is None or found[1] not in found[0].top.bindings:
            return None
        return found[0].top.bindings[found[1]], found[0].top

    def callers(self, unit: Unit) -> list[tuple[Site, Unit]]:
        """The calls of a function in its own module."""
        return self._callers[id(self.of_unit[unit])].get(unit.name, [])


def is_collected(module: Module) -> bool:
    """Whether pytest imports a file by itself: a test file or a conftest."""
    return is_test_file(os.path.basename(module.text.file))


def _endings(name: str) -> Iterator[str]:
    """``a.b.c``, ``b.c`` and ``c``: which directory imports start from is known to pytest alone."""
    while name:
        yield name
        name = name.partition(".")[2]


def _nearness(one: Module, other: Module) -> int:
    """How much of their paths two files share."""
    return len(os.path.commonpath([os.path.abspath(one.text.file), os.path.abspath(other.text.file)]))


def _calls_by_name(module: Module) -> dict[str, list[tuple[Site, Unit]]]:
    out: dict[str, list[tuple[Site, Unit]]] = {}
    for unit in module.units:
        for site in unit.sites:
            name = dotted(site.call.func, {}).removeprefix("self.").removeprefix("cls.")
            if name and "." not in name:
                out.setdefault(name, []).append((site, unit))
    return out


def _fixtures_by_name(modules: Sequence[Module]) -> dict[str, list[Unit]]:
    out: dict[str, list[Unit]] = {}
    for module in modules:
        for unit in module.units:
            for name in fixture_names(unit):
                out.setdefault(name, []).append(unit)
    return out


def fixture_decorator(unit: Unit) -> ast.expr | None:
    """The decorator that makes a function a fixture."""
    if isinstance(unit.node, ast.Module):
        return None
    for decorator in unit.node.decorator_list:
        held = decorator.func if isinstance(decorator, ast.Call) else decorator
        if dotted(held, unit.text.imports).rpartition(".")[2] in ("fixture", "yield_fixture"):
            return decorator
    return None


def fixture_names(unit: Unit) -> list[str]:
    """The names under which a function is a fixture; none when it is no fixture."""
    decorator = fixture_decorator(unit)
    if decorator is None:
        return []
    for keyword in decorator.keywords if isinstance(decorator, ast.Call) else []:
        if keyword.arg == "name":
            return list(words_of(keyword.value)) or [unit.name]
    return [unit.name]


def is_autouse(unit: Unit) -> bool:
    """Whether a fixture comes unasked."""
    decorator = fixture_decorator(unit)
    return isinstance(decorator, ast.Call) and any(
        keyword.arg == "autouse" and isinstance(keyword.value, ast.Constant) and bool(keyword.value.value)
        for keyword in decorator.keywords
    )
