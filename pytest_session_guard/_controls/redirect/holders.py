"""What holds a redirected path and cannot be rebound: found, named, left as it is.

An instance has drawn its own conclusions from the path it was given (a lock, a cache, an open file), so changing one
attribute of it would leave it in two minds. It is named with where it lives instead; whoever wants an attribute of it
redirected names that attribute (``module:STORE.directory``).
"""

from __future__ import annotations

import _thread
import enum
import functools
import gc
import io
import logging
import re
import sys
import types
import typing
from collections import deque
from collections.abc import Callable, Iterator
from types import MemberDescriptorType, ModuleType
from typing import Any, Final

from pytest_session_guard._controls.redirect.slots import is_a
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._host.fsops import Raw

DEEPEST: Final = 4
MOST_OBJECTS: Final = 2_000  # of one module; beyond that a graph of objects is no longer a place that one can name
FILES: Final = (io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.FileIO)
# Types whose values neither are nor hold a path of the application; exact types, so one look-up settles most values.
IGNORED: Final = frozenset(
    {
        int, float, complex, bool, type(None), type(...), type(NotImplemented), range, slice, object, memoryview,
        ModuleType, re.Pattern, re.Match, logging.Logger, logging.Manager, _thread.LockType, _thread.RLock,
        types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType,
        types.GetSetDescriptorType, types.MemberDescriptorType, types.MethodWrapperType, types.CodeType, types.FrameType,
        types.TracebackType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, types.GenericAlias,
        types.UnionType, typing.TypeVar, typing.ParamSpec, typing.ForwardRef,
        *(type(form) for form in vars(typing).values() if type(form).__module__ == "typing"),
    }
)  # fmt: skip
PASSED_OVER: Final = (ModuleType, type, logging.Logger, logging.Manager)


@dataclass(frozen=True, slots=True)
class Missed:
    """A place that keeps a redirected path.

    :param where: in words that lead there (``api.store:STORE.directory``).
    :param what: what kind of holder it is.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class Holders:
    """Collects what cannot be rebound.

    :param governed: whether a value is a path that some target governs.
    :param named: whether a person named this place as a target, so that it is no miss.
    """

    def __init__(self, governed: Callable[[Any], bool], named: Callable[[str], bool]) -> None:
        self.governed, self.named = governed, named
        self.missed: dict[Missed, None] = {}
        self.budget = MOST_OBJECTS

    def note(self, where: str, kind: type, what: str = "") -> None:
        """Write a miss down."""
        if not self.named(where):
            self.missed.setdefault(Missed(where, what or description(kind)))

    def instance(self, value: Any, where: str) -> None:
        """Look for redirected paths in an object and in what it holds, without running code of its class."""
        self.budget = MOST_OBJECTS
        self._walk(value, where, 0, set())

    def _walk(self, value: Any, where: str, depth: int, seen: set[int]) -> None:
        self.budget -= 1
        if depth > DEEPEST or self.budget < 0 or id(value) in seen or is_a(value, PASSED_OVER):
            return
        seen.add(id(value))
        if type(value) in FILES or is_database(value):
            self._open_file(value, where)
            return
        for name, item in parts(value):
            if type(item) in IGNORED or is_a(item, enum.Enum) or callable(item):
                continue
            place = f"{where}.{name}" if name[:1] != "[" else where + name
            if self.governed(item):
                self.note(place, type(value))
            elif not is_a(item, (str, bytes)):
                self._walk(item, place, depth + 1, seen)

    def _open_file(self, value: Any, where: str) -> None:
        name = database_path(value) if is_database(value) else getattr(value, "name", None)
        if is_a(name, (str, bytes)) and name and not getattr(value, "closed", False) and self.governed(name):
            self.note(where, type(value), f"an open {type(value).__module__}.{type(value).__qualname__}")

    def wrapped(self, value: Any) -> Any:
        """The function that a decorator's object stands for, as `functools.update_wrapper` leaves it."""
        return next((item for name, item in instance_items(value) if name == "__wrapped__"), None)

    def results(self, value: Any, where: str) -> None:
        """Look through what an ``lru_cache`` has kept."""
        if type(value) is not functools._lru_cache_wrapper:
            return
        # A bounded cache shows its results to the collector, an unbounded one keeps them in a dict.
        kept = self.referents(value)
        kept += [item for held in kept if type(held) is dict for item in held.values()]
        if any(self.governed(item) for item in kept):
            self.note(where, type(value), "a result kept by lru_cache (name it in session_guard_reset)")

    def referents(self, value: Any) -> list[Any]:
        """What an object refers to, as the garbage collector knows it."""
        return gc.get_referents(value)

    def log_handlers(self) -> None:
        """Look at the handlers of every logger."""
        loggers: list[tuple[str, Any]] = [("root", logging.root), *sorted(logging.root.manager.loggerDict.items())]
        for name, logger in loggers:
            for handler in logger.handlers if is_a(logger, logging.Logger) else ():
                path = instance_dict(handler).get("baseFilename")
                if is_a(path, str) and self.governed(path):
                    kind = type(handler).__qualname__
                    self.note(
                        f"logging.getLogger({name!r})", type(handler), f"a log handler ({kind}) that has its file"
                    )

    def descriptors(self) -> None:
        """Look at the open files of the process, whoever opened them (Linux)."""
        try:
            numbers = Raw.listdir("/proc/self/fd")
        except OSError:
            return  # another platform: objects that hold files are found all the same
        for number in numbers:
            try:
                path = Raw.readlink(f"/proc/self/fd/{number}")
            except OSError:
                continue  # the descriptor of the listing itself
            if self.governed(path):
                self.note(f"file descriptor {number}", int, f"open on {path!r}")


def description(kind: type) -> str:
    """A kind of holder in words."""
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return "a closure that assigns it" if name == "cell" else f"an instance of {name}"


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, by name: attributes of an instance, elements of a container."""
    if is_a(value, dict):
        yield from ((f"[{name!r}]" if type(name) is str else "[…]", item) for name, item in dict.copy(value).items())
    elif is_a(value, (list, tuple, set, frozenset, deque)):
        base: Any = next(kind for kind in (list, tuple, set, frozenset, deque) if is_a(value, kind))
        yield from ((f"[{position}]", item) for position, item in enumerate(list(base.__iter__(value))))
    yield from instance_items(value)


def instance_items(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes that an instance itself keeps, in its ``__dict__`` and its slots."""
    yield from instance_dict(value).copy().items()
    for kind in type(value).__mro__:
        for name, member in vars(kind).items() if "__slots__" in vars(kind) else ():
            if is_a(member, MemberDescriptorType):
                try:
                    yield name, member.__get__(value)
                except AttributeError:
                    continue  # an empty slot


def instance_dict(value: Any) -> dict[str, Any]:
    """The ``__dict__`` of an instance, past any ``__getattribute__`` of its class; empty when it has none."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except (AttributeError, TypeError):
        return {}
    return found if is_a(found, dict) else {}


def is_database(value: Any) -> bool:
    """Whether this is a connection of `sqlite3`; the module is not imported to find out."""
    sqlite = sys.modules.get("sqlite3")
    connection: Any = getattr(sqlite, "Connection", None)
    return is_a(connection, type) and is_a(value, connection)


def database_path(connection: Any) -> str:
    """The file of a connection, or ``""`` when it cannot be asked (closed, or of another thread)."""
    sqlite: Any = sys.modules["sqlite3"]
    try:
        cursor = sqlite.Connection.cursor(connection)
        cursor.row_factory = None
        row = cursor.execute("PRAGMA database_list").fetchone()
    except sqlite.Error:
        return ""
    return str(row[2]) if row else ""
