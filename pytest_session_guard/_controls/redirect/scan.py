"""Finding every place in a module that holds a redirected value.

Nothing of the program's own runs: namespaces are read as dicts, class attributes through the class's dict, so no
property, no ``__getattr__``, no descriptor and no metaclass is asked; nothing is imported.
"""

from __future__ import annotations

import dis
import enum
import functools
import sys
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from types import CellType, FunctionType, MappingProxyType, MemberDescriptorType, SimpleNamespace
from typing import Any, Final, Protocol

from pytest_session_guard._controls.redirect.holders import IGNORED, Holders, instance_items
from pytest_session_guard._controls.redirect.slots import (
    MISSING,
    Argument,
    Attribute,
    Cell,
    Default,
    Element,
    Entry,
    Member,
    Part,
    Slot,
    is_a,
)
from pytest_session_guard._controls.redirect.values import Fixed

DEEPEST: Final = 8
LARGEST: Final = 20_000  # elements of one container; a larger one is a table of data, not a list of places
NO_PATHS: Final = frozenset({dict, list, set, deque, FunctionType, type, functools.partial})  # looked into, never paths
KEPT_DUNDERS: Final = frozenset({"__dataclass_fields__"})


class Knowledge(Protocol):
    """What the scan asks about values."""

    def index_of(self, value: Any, where: str) -> int | None:
        """The index of a value that some target governs, else ``None``."""

    def known_container(self, value: Any) -> int | None:
        """The index of a tuple or frozenset that was rebuilt before, else ``None``."""

    def container(self, value: Any, parts: tuple[int | Fixed, ...]) -> int:
        """The index of what stands for a tuple or frozenset from now on."""


class Scan:
    """One pass over some modules; what several of them hold is looked into once, where it is met first.

    :param owns: whether a module of this name belongs to the project; what others define is left alone.
    """

    def __init__(self, values: Knowledge, owns: Callable[[str], bool], holders: Holders) -> None:
        self.values, self.owns, self.holders = values, owns, holders
        self.shallow = False
        self.found: list[tuple[Slot, int]] = []
        self.visited: set[int] = set()
        self.keep: list[Any] = []  # what `visited` knows by id must not die meanwhile

    def module(self, name: str, namespace: dict[str, Any], shallow: bool = False) -> list[tuple[Slot, int]]:
        """The slots of a module, each with the index of its value.

        The module's own dunders (``__file__``, ``__path__``) are not paths of the application.

        :param shallow: look at names and containers only: what else is there has been looked into, and a later import
            adds to containers and rebinds names.
        """
        self.found, self.shallow = [], shallow
        for attribute, value in namespace.copy().items():
            if type(value) not in IGNORED and type(attribute) is str and attribute[:2] != "__":
                self.visit(value, partial(Entry, namespace, attribute), f"{name}:{attribute}", 0)
        return self.found

    def visit(self, value: Any, slot: Callable[[], Slot], where: str, depth: int) -> None:
        """Look at a value: a path gets the slot that holds it, a container or a definition is looked into."""
        kind = type(value)
        if kind in IGNORED:
            return
        index = None if kind in NO_PATHS else self.values.index_of(value, where)
        if index is not None:
            self.found.append((slot(), index))
        elif issubclass(kind, (str, bytes)):
            return
        elif issubclass(kind, (tuple, frozenset)):
            self._rebuilt(value, slot, where, depth)
        elif self.shallow and not issubclass(kind, (dict, list, set, deque)):
            return
        elif depth <= DEEPEST and self._is_new(value):
            self._look_into(value, where, depth + 1)

    def _is_new(self, value: Any) -> bool:
        if id(value) in self.visited:
            return False
        self.visited.add(id(value))
        self.keep.append(value)
        return True

    def _rebuilt(self, value: Any, slot: Callable[[], Slot], where: str, depth: int) -> None:
        index = self._rebuild(value, where, depth)
        if index is None:
            return
        if is_plain(type(value)):
            self.found.append((slot(), index))
        else:
            self.holders.note(where, type(value))

    def _rebuild(self, value: Any, where: str, depth: int) -> int | None:
        """The index of a tuple or frozenset that holds something redirected, else ``None``."""
        known = self.values.known_container(value)
        if known is not None or depth > DEEPEST or len(value) > LARGEST:
            return known
        parts: list[int | Fixed] = []
        base: Any = tuple if is_a(value, tuple) else frozenset
        for position, item in enumerate(base.__iter__(value)):
            place = f"{where}[{position}]"
            index = self.values.index_of(item, where) if type(item) not in IGNORED else None
            if index is None and is_a(item, (tuple, frozenset)):
                index = self._rebuild(item, place, depth + 1)
            elif index is None:
                self.visit(item, no_slot, place, depth + 1)
            parts.append(Fixed(item) if index is None else index)
        return self.values.container(value, tuple(parts)) if any(type(part) is int for part in parts) else None

    def _look_into(self, value: Any, where: str, depth: int) -> None:
        kind = type(value)
        if issubclass(kind, FunctionType):
            self._function(value, where, depth)
        elif issubclass(kind, type):
            self._class(value, where, depth)
        elif issubclass(kind, dict):
            self._dict(value, where, depth)
        elif issubclass(kind, (list, deque)):
            self._sequence(value, where, depth)
        elif issubclass(kind, set):
            self._set(value, where)
        else:
            self._object(value, where, depth)

    def _dict(self, value: dict[Any, Any], where: str, depth: int, elastic: bool = True) -> None:
        if dict.__len__(value) > LARGEST:
            return
        for name, item in dict.copy(value).items():
            entry = Entry(value, name, elastic)
            self.visit(item, partial(same, entry), f"{where}[{shown(name)}]", depth)
            index = self.values.index_of(name, where) if type(name) not in IGNORED else None
            if index is not None:
                self.found.append((Part(value, name, entry), index))

    def _sequence(self, value: Any, where: str, depth: int) -> None:
        kind: Any = list if is_a(value, list) else deque
        for position, item in enumerate(kind.copy(value) if kind.__len__(value) <= LARGEST else ()):
            self.visit(item, partial(Element, value, position), f"{where}[{position}]", depth)

    def _set(self, value: set[Any], where: str) -> None:
        for item in set.copy(value) if set.__len__(value) <= LARGEST else ():
            index = self.values.index_of(item, where) if type(item) not in IGNORED else None
            if index is not None:
                self.found.append((Part(value, item), index))
            elif is_a(item, (tuple, frozenset)):
                self._rebuilt(item, partial(Part, value, item), f"{where}[…]", 0)

    def _function(self, function: FunctionType, where: str, depth: int) -> None:
        defined = str(function.__module__)
        if self.owns(defined) or defined not in sys.modules:  # generated code (a namedtuple's) names no real module
            for position, item in enumerate(function.__defaults__ or ()):
                self.visit(item, partial(Default, function, position), f"{where}(default {position})", depth)
            keywords = function.__kwdefaults__ or {}
            for name, item in keywords.items():
                self.visit(item, partial(Entry, keywords, name), f"{where}({name}=)", depth)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._cell(function, name, cell, f"{where}(closure {name})", depth)
        self._dict(vars(function), where, depth)

    def _cell(self, function: FunctionType, name: str, cell: CellType, where: str, depth: int) -> None:
        item = Cell(cell).get()
        if item is MISSING:
            return
        index = self.values.index_of(item, where) if type(item) not in IGNORED else None
        if index is None:
            self.visit(item, partial(Cell, cell), where, depth)
        elif is_assigned(function, name):
            # The function assigns the variable itself: a write from outside could undo one that it just made.
            self.holders.note(where, CellType)
        else:
            self.found.append((Cell(cell), index))

    def _class(self, owner: type, where: str, depth: int) -> None:
        view: Mapping[str, Any] = type.__getattribute__(owner, "__dict__")
        if not self.owns(str(view.get("__module__", ""))):
            return
        is_enum = issubclass(owner, enum.Enum)
        for name, item in list(view.items()):
            if type(item) in IGNORED:
                continue
            dunder = name[:2] == "__" and name[-2:] == "__"
            if dunder and name not in KEPT_DUNDERS and not is_a(item, (FunctionType, classmethod, staticmethod)):
                continue
            if name == "__dataclass_fields__":
                self._fields(item, where, depth)
            elif is_enum and is_a(item, owner):
                self._member(item, f"{where}.{name}")
            elif not (is_enum and name.startswith("_")):
                self._class_attribute(owner, name, item, f"{where}.{name}", depth)

    def _class_attribute(self, owner: type, name: str, item: Any, where: str, depth: int) -> None:
        if is_a(item, (classmethod, staticmethod)):
            item = item.__func__
        if is_a(item, property):
            for accessor in (item.fget, item.fset, item.fdel):
                self.visit(accessor, no_slot, where, depth)
        elif not is_a(item, MemberDescriptorType):
            self.visit(item, partial(Attribute, owner, name), where, depth)

    def _member(self, item: enum.Enum, where: str) -> None:
        if self.values.index_of(item._value_, where) is not None:
            self.holders.note(where, type(item))

    def _fields(self, fields: dict[str, Any], where: str, depth: int) -> None:
        for name, field in fields.items():
            for part in ("default", "default_factory"):
                slot = Member(field, part)
                self.visit(slot.get(), partial(same, slot), f"{where}.{name}({part})", depth)

    def _object(self, value: Any, where: str, depth: int) -> None:
        kind = type(value)
        if issubclass(kind, functools.partial):
            self.visit(value.func, no_slot, where, depth)
            for position, item in enumerate(value.args):
                self.visit(item, partial(Argument, value, position), f"{where}(argument {position})", depth)
            self._dict(value.keywords, where, depth, elastic=False)
        elif kind is MappingProxyType:
            for item in self.holders.referents(value):
                self.visit(item, no_slot, where, depth)
        elif kind is SimpleNamespace:
            self._dict(vars(value), where, depth, elastic=False)
        elif issubclass(kind, (functools.partialmethod, functools.cached_property)):
            for name, item in instance_items(value):
                self.visit(item, partial(Member, value, name), f"{where}({name})", depth)
        elif is_a(wrapped := self.holders.wrapped(value), FunctionType):
            self.visit(wrapped, no_slot, where, depth)
            self.holders.results(value, where)
        else:
            self.holders.instance(value, where)


def no_slot() -> Slot:
    """The slot of a value that is looked into but could not itself be replaced."""
    raise AssertionError("unreachable because a path or tuple is given a slot or taken by the tuple that holds it")


def is_plain(kind: type) -> bool:
    """Whether a tuple or frozenset type adds nothing to its making, as a namedtuple does not."""
    makers: tuple[object, ...] = (tuple.__new__, frozenset.__new__)
    return kind.__new__ in makers or any("_fields" in vars(one) for one in kind.__mro__)


def same(slot: Slot) -> Slot:
    """A slot that was made already."""
    return slot


def shown(name: Any) -> str:
    """A key of a dict for people; the ``__repr__`` of the program's own classes is not asked."""
    return repr(name) if type(name) in (str, bytes, int) else f"<{type(name).__name__}>"


@functools.lru_cache(maxsize=1024)
def assigned_names(code: Any) -> frozenset[str]:
    """The closure variables that a function's own code assigns or deletes."""
    return frozenset(
        step.argval for step in dis.get_instructions(code) if step.opname in ("STORE_DEREF", "DELETE_DEREF")
    )


def is_assigned(function: FunctionType, name: str) -> bool:
    """Whether a function assigns one of its closure variables (``nonlocal``)."""
    return name in assigned_names(function.__code__)
