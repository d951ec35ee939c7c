"""Calls that change something on disk, and what they change."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final, Literal

from pytest_session_guard._controls.lint.kinds import Kind, Kinds
from pytest_session_guard._controls.lint.origins import Origins
from pytest_session_guard._controls.lint.suite import Suite
from pytest_session_guard._controls.lint.units import Around, Site, Unit
from pytest_session_guard._core.values import dataclass

Act = Literal["remove", "remove-tree", "write"]

# What changes which of its arguments.
FUNCTIONS: Final[dict[str, tuple[Act, tuple[int, ...]]]] = {
    "os.remove": ("remove", (0,)), "os.unlink": ("remove", (0,)), "os.rmdir": ("remove", (0,)), "os.removedirs": ("remove", (0,)),
    "shutil.rmtree": ("remove-tree", (0,)), "distutils.dir_util.remove_tree": ("remove-tree", (0,)),
    "os.mkdir": ("write", (0,)), "os.makedirs": ("write", (0,)), "os.rename": ("write", (0, 1)), "os.replace": ("write", (0, 1)),
    "os.renames": ("write", (0, 1)), "shutil.move": ("write", (0, 1)), "shutil.copy": ("write", (1,)), "shutil.copy2": ("write", (1,)),
    "shutil.copyfile": ("write", (1,)), "shutil.copytree": ("write", (1,)), "shutil.copymode": ("write", (1,)),
    "os.symlink": ("write", (1,)), "os.link": ("write", (1,)), "os.chmod": ("write", (0,)), "os.chown": ("write", (0,)),
    "shutil.chown": ("write", (0,)), "os.utime": ("write", (0,)), "os.truncate": ("write", (0,)), "sqlite3.connect": ("write", (0,)),
}  # fmt: skip
# Methods of paths; None: whatever the receiver is, else only where it is known for a path.
METHODS: Final[dict[str, Act]] = {
    "unlink": "remove", "rmdir": "remove", "rmtree": "remove-tree", "write_text": "write", "write_bytes": "write",
    "mkdir": "write", "touch": "write", "chmod": "write", "symlink_to": "write", "hardlink_to": "write", "rename": "write",
    "replace": "write", "remove": "remove",
}  # fmt: skip
# What calls a function that it is handed.
LATER: Final = re.compile(r"register|add\w*[cC]leanup|partial|callback|map|submit|to_thread|call_\w+|run_sync")
OPENERS: Final = frozenset({"open", "io.open", "codecs.open", "gzip.open", "bz2.open", "lzma.open"})


@dataclass(frozen=True, slots=True)
class Deed:
    """One change of something on disk.

    :param kinds: where it may lie.
    """

    act: Act
    call: ast.Call
    what: ast.expr
    kinds: Kinds
    around: Around


def deeds_of(unit: Unit, suite: Suite, origins: Origins) -> Iterator[Deed]:
    """The changes that a unit's calls make."""
    for site in unit.sites:
        name = suite.name_of(site.call.func, unit)
        handed = [suite.name_of(argument, unit) for argument in site.call.args[:1]]
        for act, what in (*_of_call(site, name), *_for_later(site.call, name, *handed)):
            kinds = origins.of(what, unit)
            method = site.call.func
            if isinstance(method, ast.Attribute) and what is method.value and not is_path(method.attr, what, kinds):
                continue
            yield Deed(act, site.call, what, kinds, site.around)


def _of_call(site: Site, name: str) -> Iterator[tuple[Act, ast.expr]]:
    call = site.call
    if name in FUNCTIONS:
        act, places = FUNCTIONS[name]
        yield from ((act, call.args[place]) for place in places if place < len(call.args))
        yield from ((act, word.value) for word in call.keywords if word.arg in ("path", "dst") and not call.args)
    elif name in OPENERS:
        if call.args and writes(call, 1):
            yield "write", call.args[0]
    elif isinstance(call.func, ast.Attribute):
        yield from _of_method(call, call.func)


def _for_later(call: ast.Call, name: str, handed: str = "") -> Iterator[tuple[Act, ast.expr]]:
    """``addCleanup(shutil.rmtree, place)``, ``atexit.register``, ``partial`` and the like: the deed is done at some other time."""
    if handed in FUNCTIONS and LATER.fullmatch(name.rpartition(".")[2]):
        act, places = FUNCTIONS[handed]
        yield from ((act, call.args[place + 1]) for place in places if place + 1 < len(call.args))


def _of_method(call: ast.Call, method: ast.Attribute) -> Iterator[tuple[Act, ast.expr]]:
    if method.attr == "open":
        if writes(call, 0):
            yield "write", method.value
        return
    act = METHODS.get(method.attr)
    # str.replace has two arguments, list.remove one.
    if (
        act is None
        or (method.attr in ("rename", "replace") and len(call.args) != 1)
        or (method.attr == "remove" and call.args)
    ):
        return
    yield act, method.value
    if method.attr in ("rename", "replace"):
        yield act, call.args[0]


def is_path(method: str, receiver: ast.expr, kinds: Kinds) -> bool:
    """Whether a method's receiver is a path: texts, lists and frames have methods of some of these names too."""
    if Kind.TILDE in kinds or isinstance(receiver, ast.Constant | ast.JoinedStr):
        return False
    return bool(kinds) or method not in ("open", "remove", "rename", "replace")


def writes(call: ast.Call, place: int) -> bool:
    """Whether the mode of an ``open`` changes the file."""
    modes = [*call.args[place : place + 1], *(word.value for word in call.keywords if word.arg == "mode")]
    return any(
        isinstance(mode, ast.Constant) and isinstance(mode.value, str) and set(mode.value) & set("wax+")
        for mode in modes
    )
