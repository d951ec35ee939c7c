"""Rules about deletions and writes: by pattern, by age, whole trees, real places, and refusals that are swallowed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from pytest_session_guard._controls.lint.deeds import Deed, deeds_of
from pytest_session_guard._controls.lint.kinds import Kind, Kinds
from pytest_session_guard._controls.lint.reading import Reading, finding, place, source
from pytest_session_guard._controls.lint.rules import BY_AGE, BY_PATTERN, REAL_PLACE, SWALLOWED, TREE, Finding
from pytest_session_guard._controls.lint.surroundings import Moved
from pytest_session_guard._controls.lint.units import COMPREHENSIONS, LOOPS, Unit

REAL: Final = (Kind.HOME, Kind.XDG, Kind.STORE)
AGES: Final = frozenset(
    {"st_mtime", "st_ctime", "st_atime", "st_mtime_ns", "st_ctime_ns", "st_birthtime", "getmtime", "getctime"}
)
BROAD: Final = frozenset({"OSError", "Exception", "BaseException", "PermissionError", "IOError", "EnvironmentError"})


def find_changes(unit: Unit, reading: Reading) -> Iterator[Finding]:
    """The findings about what a unit changes on disk."""
    for deed in deeds_of(unit, reading.suite, reading.origins):
        kinds = reading.lasting(deed.kinds, unit)
        if deed.act == "write":
            yield from written(deed, kinds, unit)
        else:
            yield from removed(deed, kinds, unit, reading)


def written(deed: Deed, kinds: Kinds, unit: Unit) -> Iterator[Finding]:
    """A change that is no removal: only the home and the application's own store are nobody's scratch places."""
    if not kinds.isdisjoint(REAL):
        yield finding(REAL_PLACE, unit, deed.call, f"changes {place(kinds)}: {source(deed.call)}")


def removed(deed: Deed, kinds: Kinds, unit: Unit, reading: Reading) -> Iterator[Finding]:
    """A removal, by the gravest of the rules that fit."""
    told = source(deed.call)
    if may_be_real(deed, unit, reading) and goes_by_age(deed, unit):
        yield finding(BY_AGE, unit, deed.call, f"takes young or old files for the tests' own: {told}")
    elif not kinds:
        return
    elif Kind.LISTED in deed.kinds:
        yield finding(BY_PATTERN, unit, deed.call, f"removes whatever a listing finds in {place(kinds)}: {told}")
    elif not kinds.isdisjoint(REAL):
        yield finding(REAL_PLACE, unit, deed.call, f"removes from {place(kinds)}: {told}")
    elif deed.act == "remove-tree" and Kind.UNIQUE not in deed.kinds and not is_made_here(deed, unit, reading):
        yield finding(TREE, unit, deed.call, f"removes a directory of {place(kinds)} with all that is in it: {told}")
    else:
        return
    if swallows(deed):
        yield finding(SWALLOWED, unit, deed.call, f"nobody hears it when this removal is refused: {told}")


def may_be_real(deed: Deed, unit: Unit, reading: Reading) -> bool:
    """Whether nothing says that a path is temporary."""
    if deed.kinds - {Kind.LISTED}:
        return bool(reading.lasting(deed.kinds, unit))
    return Moved.DISK not in reading.surroundings.moved(unit)


def goes_by_age(deed: Deed, unit: Unit) -> bool:
    """Whether a removal depends on a comparison with a file's times."""
    return any(is_about_age(test, unit) for around in deed.around for test in tests_in(around))


def tests_in(around: ast.AST) -> Iterator[ast.expr]:
    """The conditions that a statement or comprehension sets for what stands in it."""
    if isinstance(around, ast.If | ast.IfExp):
        yield around.test
    elif isinstance(around, COMPREHENSIONS):
        yield from (test for clause in around.generators for test in clause.ifs)
    elif isinstance(around, LOOPS):
        # ``if it is too old: continue`` stands before the removal, not around it.
        yield from (
            one.test for one in around.body if isinstance(one, ast.If) and isinstance(one.body[-1], ast.Continue)
        )


def is_about_age(test: ast.expr, unit: Unit) -> bool:
    """Whether a condition compares a file's times, also by way of a name."""
    return any(
        names_age(side, unit)
        for part in ast.walk(test)
        if isinstance(part, ast.Compare)
        for side in (part.left, *part.comparators)
    )


def names_age(side: ast.expr, unit: Unit, deep: bool = True) -> bool:
    """Whether an expression holds a file's time."""
    for part in ast.walk(side):
        if (isinstance(part, ast.Attribute) and part.attr in AGES) or (isinstance(part, ast.Name) and part.id in AGES):
            return True
        held = unit.bindings.get(part.id, ()) if deep and isinstance(part, ast.Name) else ()
        if any(names_age(one.value, unit, deep=False) for one in held if not one.each):
            return True
    return False


def is_made_here(deed: Deed, unit: Unit, reading: Reading) -> bool:
    """Whether the same file makes this directory with a call that fails where there is one already."""
    wanted = bare(deed.what)
    return any(
        bare(made) == wanted
        for one in reading.suite.of_unit[unit].units
        for site in one.sites
        for made in fresh(site.call, reading.name_of(site.call.func, one))
        if not any(isinstance(around, ast.If) and "exist" in ast.unparse(around.test) for around in site.around)
    )


def bare(node: ast.expr) -> str:
    """A path's source without what only writes the same path in another way."""
    while isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("resolve", "absolute", "as_posix"):
            node = node.func.value
        elif len(node.args) == 1 and ast.unparse(node.func) in ("str", "Path", "pathlib.Path", "os.path.abspath"):
            node = node.args[0]
        else:
            break
    return ast.unparse(node)


def fresh(call: ast.Call, name: str) -> Iterator[ast.expr]:
    """The directories that a call makes, none of which can have been there."""
    if any(word.arg in ("exist_ok", "dirs_exist_ok") for word in call.keywords):
        return
    if name in ("os.mkdir", "os.makedirs") and call.args:
        yield call.args[0]
    elif name == "shutil.copytree" and len(call.args) > 1:
        yield call.args[1]
    elif isinstance(call.func, ast.Attribute) and call.func.attr == "mkdir":
        yield call.func.value


def swallows(deed: Deed) -> bool:
    """Whether the error of a refused removal goes unheard."""
    for word in deed.call.keywords:
        if word.arg == "ignore_errors" and isinstance(word.value, ast.Constant) and word.value.value:
            return True
    if len(deed.call.args) > 1 and isinstance(deed.call.args[1], ast.Constant) and deed.call.args[1].value is True:
        return deed.act == "remove-tree"
    return any(suppresses(around, deed.call) for around in deed.around)


def suppresses(around: ast.AST, call: ast.Call) -> bool:
    """Whether a statement throws the errors of a call in it away."""
    if isinstance(around, ast.With):
        held = [item.context_expr for item in around.items if isinstance(item.context_expr, ast.Call)]
        return any(ast.unparse(one.func).endswith("suppress") and is_broad(*one.args) for one in held)
    if not isinstance(around, ast.Try) or not any(part is call for one in around.body for part in ast.walk(one)):
        return False
    return any(is_empty(handler.body) and is_broad(handler.type) for handler in around.handlers)


def is_broad(*types: ast.expr | None) -> bool:
    """Whether one of some exception types takes a refusal in."""
    for one in types:
        if one is None or (isinstance(one, ast.Tuple) and is_broad(*one.elts)):
            return True
        if ast.unparse(one).rpartition(".")[2] in BROAD:
            return True
    return False


def is_empty(body: list[ast.stmt]) -> bool:
    """Whether a block does nothing."""
    return all(
        isinstance(one, ast.Pass | ast.Continue) or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        for one in body
    )
