"""What a test's fixtures, set-up and patches have moved out of the way before its body runs."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterable, Iterator
from enum import Flag, auto
from typing import Final

from pytest_session_guard._controls.lint.kinds import (
    FAKE_DISKS,
    HOME_VARIABLES,
    LASTING,
    NOTHING,
    TEMPORARY,
    XDG_VARIABLES,
    Kind,
    Kinds,
)
from pytest_session_guard._controls.lint.origins import Origins
from pytest_session_guard._controls.lint.suite import Suite, fixture_names
from pytest_session_guard._controls.lint.units import Unit, words_of


class Moved(Flag):
    """What leads elsewhere than it would outside the tests."""

    NOTHING = 0
    HOME = auto()
    XDG = auto()
    CWD = auto()
    STORE = auto()  # a variable or an attribute of the application
    DISK = auto()  # the whole disk is a fake one


Configured = Callable[[str], Moved]
MOVES: Final = {Kind.HOME: Moved.HOME, Kind.XDG: Moved.XDG, Kind.CWD: Moved.CWD, Kind.STORE: Moved.STORE | Moved.HOME}
CHANGES_DIRECTORY: Final = re.compile(
    r"(.*_)?(chdir|cd|pushd|cwd|as_cwd|isolated_filesystem|change_dir|in_dir|inside_dir|working_directory|use_dir|in_tmpdir)"
)
HOME_FUNCTION: Final = re.compile(r"(.*\.)?(Path\.home|expanduser|user_\w+_(dir|path))")
SETTERS: Final = re.compile(
    r"setenv|setattr|setitem|patch|object|dict|update|setdefault|EnvironmentVarGuard|override(_settings)?|modify_settings|multiple"
)
HOME_FIXTURE: Final = re.compile(r"(.*_)?(home|homedir|home_dir|isolated_\w+|isolation|sandbox)(_.*)?")
# A fixture of such a name is taken at its word: it gives the application a place of the test's own.
SAYS_TEMPORARY: Final = re.compile(r"(^|_)(te?mp|isolated|fake|mock(ed)?)(_|$)|tmpdir|tempdir")


class Surroundings:
    """Answers what is moved away where a unit's body runs.

    :param configured: what the configuration for a directory's tests sends elsewhere.

    """

    def __init__(self, suite: Suite, origins: Origins, configured: Configured) -> None:
        self.suite, self.origins, self.configured = suite, origins, configured
        self._own: dict[Unit, Moved] = {}
        self._whole: dict[Unit, Moved] = {}
        self._open: set[Unit] = set()

    def lasting(self, kinds: Kinds, unit: Unit) -> Kinds:
        """What of a path's kinds is somebody's real data in this unit; nothing when it is temporary or unknown."""
        if Kind.TEMPORARY in kinds:
            return NOTHING
        moved = self.moved(unit)
        if Moved.DISK in moved:
            return NOTHING
        away = {kind for kind, flag in MOVES.items() if moved & flag}
        return frozenset(kind for kind in kinds if kind in LASTING and kind not in away)

    def moved(self, unit: Unit) -> Moved:
        """What is moved away in a unit: by itself, its fixtures and set-up, the module, and whoever calls it."""
        if unit in self._whole:
            return self._whole[unit]
        if unit in self._open:
            return self.own(unit)
        self._open.add(unit)
        try:
            out = self.own(unit)
            for one in self._before(unit):
                out |= self.moved(one)
            out |= self._of_callers(unit)
        finally:
            self._open.discard(unit)
        self._whole[unit] = out
        return out

    def _before(self, unit: Unit) -> Iterator[Unit]:
        for name in self.suite.asked_for(unit):
            fixture = self.suite.fixture(name, unit)
            if fixture is not None:
                yield fixture
        if unit.outer is not None:
            yield unit.outer
            yield from self.suite.autouse(unit)
        for module in self.suite.above(unit):
            if module.top is not unit:
                yield module.top

    def _of_callers(self, unit: Unit) -> Moved:
        """What is moved wherever a helper is called; a test or fixture is called by nobody."""
        callers = {caller for _, caller in self.suite.callers(unit) if caller is not unit}
        if not callers or fixture_names(unit) or unit.name.startswith("test"):
            return Moved.NOTHING
        out = ~Moved.NOTHING
        for caller in sorted(callers, key=lambda one: getattr(one.node, "lineno", 0)):
            out &= self.moved(caller)
        return out

    def own(self, unit: Unit) -> Moved:
        """What a unit itself moves, and the functions of the suite that it calls."""
        if unit not in self._own:
            self._own[unit] = Moved.NOTHING  # for a function that calls itself
            self._own[unit] = self._find(unit)
        return self._own[unit]

    def _find(self, unit: Unit) -> Moved:
        out = self._by_fixtures(unit)
        calls = [site.call for site in unit.sites]
        if unit.owner is not None:
            calls += [mark for mark in unit.owner.decorator_list if isinstance(mark, ast.Call)]
        for call in calls:
            out |= self._by_call(call, unit)
            called = self.suite.function(self.suite.name_of(call.func, unit), unit)
            if called is not None and called is not unit:
                out |= self.own(called)
        for statement, _ in unit.statements:
            out |= self._by_assignment(statement, unit)
        return out

    def _by_fixtures(self, unit: Unit) -> Moved:
        out = self.configured(os.path.dirname(os.path.abspath(unit.text.file)))
        if not unit.params.isdisjoint(FAKE_DISKS):
            out |= Moved.DISK
        for name in self.suite.asked_for(unit):
            if name in ("pytester", "testdir"):
                out |= Moved.CWD | Moved.HOME
            elif fixture_like(unit):
                out |= Moved.STORE if SAYS_TEMPORARY.search(name) else Moved.NOTHING
                out |= self._by_unread_fixture(name, unit)
        return out

    def _by_unread_fixture(self, name: str, unit: Unit) -> Moved:
        """What a fixture of a plugin moves, as far as its name tells."""
        out = Moved.NOTHING
        if self.suite.fixture(name, unit) is None:
            out |= Moved.CWD if CHANGES_DIRECTORY.fullmatch(name) else Moved.NOTHING
            out |= Moved.HOME | Moved.XDG if HOME_FIXTURE.fullmatch(name) else Moved.NOTHING
        return out

    def _by_call(self, call: ast.Call, unit: Unit) -> Moved:
        name = self.suite.name_of(call.func, unit) or getattr(call.func, "attr", "")
        last = name.rpartition(".")[2]
        if CHANGES_DIRECTORY.fullmatch(last) and self._leads_away(call, unit):
            return Moved.CWD
        if name.endswith("session_guard.redirect"):
            return Moved.STORE
        if last == "Patcher" or name.endswith("fake_filesystem_unittest.Patcher"):
            return Moved.DISK
        return self._by_setter(call, name, unit) if SETTERS.fullmatch(last) else Moved.NOTHING

    def _leads_away(self, call: ast.Call, unit: Unit) -> bool:
        """Whether a change of directory leads out of the checkout, or may."""
        if not call.args:
            return True
        kinds = self.origins.of(call.args[0], unit)
        return Kind.TEMPORARY in kinds or kinds.isdisjoint((Kind.HERE, Kind.CWD, Kind.HOME))

    def _by_setter(self, call: ast.Call, name: str, unit: Unit) -> Moved:
        arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
        words = [word for argument in arguments for word in words_of(argument)]
        words += [keyword.arg for keyword in call.keywords if keyword.arg]
        words += [self.suite.name_of(argument, unit) for argument in call.args]
        out = by_variables(words)
        if any(HOME_FUNCTION.fullmatch(word) for word in words):
            out |= Moved.HOME
        if "home" in words and any(word.endswith("Path") for word in words):
            out |= Moved.HOME
        if any(Kind.TEMPORARY in self.origins.of(argument, unit) for argument in _parts(arguments)):
            out |= Moved.STORE
        if "getcwd" in words or any(word.endswith((".getcwd", ".cwd")) for word in words):
            out |= Moved.CWD
        return out

    def _by_assignment(self, statement: ast.stmt, unit: Unit) -> Moved:
        """``os.environ["HOME"] = …`` and ``application.PLACE = tmp_path``."""
        if not isinstance(statement, ast.Assign):
            return Moved.NOTHING
        out = Moved.NOTHING
        for target in statement.targets:
            if isinstance(target, ast.Subscript) and self.suite.name_of(target.value, unit) == "os.environ":
                out |= by_variables(words_of(target.slice))
                out |= Moved.STORE if self.origins.of(statement.value, unit) >= TEMPORARY else Moved.NOTHING
            elif isinstance(target, ast.Attribute) and self.origins.of(statement.value, unit) >= TEMPORARY:
                out |= Moved.STORE
        return out


def by_variables(names: Iterable[str]) -> Moved:
    """What is moved when variables of these names are set."""
    out = Moved.NOTHING
    for name in names:
        out |= Moved.HOME if HOME_VARIABLES.fullmatch(name) else Moved.NOTHING
        out |= Moved.XDG if XDG_VARIABLES.fullmatch(name) else Moved.NOTHING
    return out


def fixture_like(unit: Unit) -> bool:
    """Whether a unit's parameters are fixtures."""
    return bool(fixture_names(unit)) or unit.name.startswith("test")


def _parts(arguments: Iterable[ast.expr]) -> Iterator[ast.expr]:
    """The arguments, and the values of those that are written as dictionaries."""
    for argument in arguments:
        yield argument
        if isinstance(argument, ast.Dict):
            yield from argument.values
