"""Rules about what a test leaves behind in its process: variables that lead to users' data, the working directory."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from typing import Final

from pytest_session_guard._controls.lint.kinds import FLAG_TEXT, PLACE_VARIABLES, SEARCH_PATHS, TEMPORARY_FIXTURES, Kind
from pytest_session_guard._controls.lint.reading import Reading, finding, source
from pytest_session_guard._controls.lint.rules import CWD, ENVIRON, Finding
from pytest_session_guard._controls.lint.surroundings import Moved, fixture_like
from pytest_session_guard._controls.lint.units import Unit, words_of

TEARDOWNS: Final = (
    "tearDown",
    "teardown_method",
    "tearDownClass",
    "teardown_class",
    "asyncTearDown",
    "__exit__",
    "__aexit__",
)
SETUPS: Final = ("setUp", "setup_method", "setUpClass", "setup_class", "asyncSetUp", "__enter__", "__init__")
# How people call the directory that they come from.
KEPT: Final = re.compile(r"old|orig|prev|saved?|start|before|initial|cwd|back|curdir")
KEEPER: Final = re.compile(r"cwd|dir|env|home|isolat|sandbox|restor|save|clean")
ENVIRON_NAME: Final = "os.environ"


def find_leftovers(unit: Unit, reading: Reading) -> Iterator[Finding]:
    """The findings about what a unit does not put back."""
    if any(reading.name_of(site.call.func, unit) == "os.fork" for site in unit.sites):
        return  # what a forked child changes of itself ends with it
    if has_unread_keeper(unit, reading):
        return
    if Moved.DISK not in reading.surroundings.moved(unit):
        yield from variables(unit, reading)
    yield from directories(unit, reading)


def has_unread_keeper(unit: Unit, reading: Reading) -> bool:
    """Whether a test asks for a fixture that was not read, which by its name may put all of it back."""
    names = reading.suite.asked_for(unit) if fixture_like(unit) else []
    unread = (name for name in names if name not in TEMPORARY_FIXTURES and reading.suite.fixture(name, unit) is None)
    return any(KEEPER.search(name) for name in unread)


def variables(unit: Unit, reading: Reading) -> Iterator[Finding]:
    """Writes of variables that name places, and nothing that puts them back."""
    # A conftest's own statements run before anything else does, for the whole run: that is how a run is given its places.
    if not unit.name and os.path.basename(unit.text.file) == "conftest.py":
        return
    for node, name in environment_writes(unit, reading):
        if PLACE_VARIABLES.fullmatch(name) and name not in SEARCH_PATHS and not environ_comes_back(unit, name, reading):
            yield finding(ENVIRON, unit, node, f"sets {name} and does not put it back: {source(node)}")


def environment_writes(unit: Unit, reading: Reading) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    """The variables that a unit sets, with where."""
    for statement, _ in unit.statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        for target in targets:
            if isinstance(target, ast.Subscript) and reading.name_of(target.value, unit) == ENVIRON_NAME:
                if is_flag(getattr(statement, "value", None)):
                    continue
                yield from ((statement, word) for word in words_of(target.slice))
    for site in unit.sites:
        name = reading.name_of(site.call.func, unit)
        if name == "os.putenv":
            yield from ((site.call, word) for argument in site.call.args[:1] for word in words_of(argument))
        elif name == f"{ENVIRON_NAME}.update":
            yield from ((site.call, word.arg) for word in site.call.keywords if word.arg)
            yield from ((site.call, word) for argument in site.call.args for word in keys_of(argument))


def is_flag(value: ast.expr | None) -> bool:
    """Whether a value is a switch, so that the variable names no place whatever it is called."""
    return (
        isinstance(value, ast.Constant)
        and isinstance(value.value, str)
        and FLAG_TEXT.fullmatch(value.value) is not None
    )


def keys_of(node: ast.expr) -> Iterator[str]:
    """The keys of a dictionary as it is written."""
    if isinstance(node, ast.Dict):
        for key in node.keys:
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value


def environ_comes_back(unit: Unit, name: str, reading: Reading) -> bool:
    """Whether something puts a variable back: the unit, its tear-down, or what was set up before it."""
    return any(restores_environ(one, name, reading, twice=one is unit) for one in together(unit, reading))


def together(unit: Unit, reading: Reading) -> Iterator[Unit]:
    """A unit, those inside it, its class's set-up and tear-down, and the fixtures around it."""
    yield unit
    module = reading.suite.of_unit[unit]
    yield from (one for one in module.units if one.outer is unit and unit is not module.top)
    for name in (*TEARDOWNS, *SETUPS) if unit.owner is not None else ():
        method = reading.suite.method(name, unit)
        if method is not None and method is not unit:
            yield method
    for name in reading.suite.asked_for(unit):
        fixture = reading.suite.fixture(name, unit)
        if fixture is not None:
            yield from (fixture, *fixture.inner.values())
    if unit is not module.top:
        yield from (part for one in reading.suite.autouse(unit) for part in (one, *one.inner.values()))
        yield from (module.top.inner[one] for one in ("tearDownModule", "teardown_module") if one in module.top.inner)
    if unit.outer is not None and unit.outer is not module.top:
        # A function inside another has its counterpart beside it.
        yield from (unit.outer, *(one for one in unit.outer.inner.values() if one is not unit))


def restores_environ(unit: Unit, name: str, reading: Reading, twice: bool) -> bool:
    """Whether a unit puts a variable, or the whole environment, back.

    :param twice: it is the one that sets it: only a second change of the same variable puts it back.
    """
    changes = [word for _, word in environment_writes(unit, reading)].count(name)
    for site in unit.sites:
        called = reading.name_of(site.call.func, unit)
        words = set(words_of(site.call))
        if called in (f"{ENVIRON_NAME}.clear", f"{ENVIRON_NAME}.update") and not words and not site.call.keywords:
            return True
        if called.endswith("patch.dict") or (
            called.endswith(("setenv", "delenv", "setitem", "delitem")) and name in words
        ):
            return True
        handed = any(reading.name_of(argument, unit).startswith(ENVIRON_NAME) for argument in site.call.args)
        changes += name in words and (handed or called in (f"{ENVIRON_NAME}.pop", "os.unsetenv"))
    for statement, _ in unit.statements:
        if isinstance(statement, ast.Delete):
            changes += any(name in words_of(target) for target in statement.targets)
        elif isinstance(statement, ast.Assign):
            if any(reading.name_of(target, unit) == ENVIRON_NAME for target in statement.targets):
                return True
            changes += any(is_unknown_variable(target, unit, reading) for target in statement.targets)
    return changes > (1 if twice else 0)


def is_unknown_variable(target: ast.expr, unit: Unit, reading: Reading) -> bool:
    """``os.environ[name]`` with a name that only a running program knows: a loop that puts back what it kept."""
    return (
        isinstance(target, ast.Subscript)
        and reading.name_of(target.value, unit) == ENVIRON_NAME
        and not list(words_of(target.slice))
    )


def directories(unit: Unit, reading: Reading) -> Iterator[Finding]:
    """Changes of the working directory, and nothing that changes it back."""
    calls = [site.call for site in unit.sites if reading.name_of(site.call.func, unit) == "os.chdir"]
    if len(calls) != 1 or not calls[0].args or leads_back(calls[0].args[0], unit, reading):
        return
    if isinstance(calls[0].args[0], ast.Name) and calls[0].args[0].id in unit.params and not fixture_like(unit):
        return  # a helper goes where it is told to
    others = (one for one in together(unit, reading) if one is not unit)
    if not refers_to_chdir(unit, reading) and not any(mentions_chdir(one, reading) for one in others):
        yield finding(CWD, unit, calls[0], f"changes the working directory and stays there: {source(calls[0])}")


def leads_back(target: ast.expr, unit: Unit, reading: Reading) -> bool:
    """Whether a change of directory leads to one that was kept before: it puts back what another place changed."""
    name = target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""
    return bool(KEPT.search(name)) or (bool(name) and Kind.CWD in reading.origins.of(target, unit))


def mentions_chdir(unit: Unit, reading: Reading) -> bool:
    """Whether a unit changes the directory itself, by hand or by a fixture that puts it back."""
    called = (reading.name_of(site.call.func, unit) or "" for site in unit.sites)
    return any(
        name.rpartition(".")[2] in ("chdir", "as_cwd", "isolated_filesystem") for name in called
    ) or refers_to_chdir(unit, reading)


def refers_to_chdir(unit: Unit, reading: Reading) -> bool:
    """``addCleanup(os.chdir, before)``: the function is handed over."""
    for site in unit.sites:
        name = reading.name_of(site.call.func, unit)
        # monkeypatch remembers the directory at its first change, and goes back there.
        if name.endswith("monkeypatch.chdir") or any(
            reading.name_of(one, unit) == "os.chdir" for one in site.call.args
        ):
            return True
    return False
