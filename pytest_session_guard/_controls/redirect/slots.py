"""Places in a live program that hold a value, and how each is written without running the program's own code.

A *slot* is one such place: a name of a module, an attribute of a class, a default of a function, an argument of a
partial, an element of a container. Containers that can change are changed in place, so that everybody who holds them
sees it; what cannot change (a tuple) is built anew and put into the slot that holds it.
"""

from __future__ import annotations

import functools
from collections import deque
from types import CellType, FunctionType
from typing import Any, Final, Protocol

MISSING: Final = object()


class Slot(Protocol):
    """A place that holds a value.

    `elastic` says that the application moves its values about by itself (elements of containers): what is no longer
    there has been taken out and is not put back.
    """

    @property
    def elastic(self) -> bool:
        """Whether the application may take the value away."""

    @property
    def owner(self) -> Any:
        """The object that is written to."""

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this slot from every other while its holder lives."""

    def get(self) -> Any:
        """The value now, or `MISSING`."""

    def put(self, value: Any) -> None:
        """Make the slot hold ``value``.

        :raises Exception: the holder does not take it.
        """


class Entry:
    """A value of a dict: a module's namespace, keyword defaults, a dict that the application keeps."""

    __slots__ = ("elastic", "mapping", "name")

    def __init__(self, mapping: dict[Any, Any], name: Any, elastic: bool = False) -> None:
        self.mapping, self.name, self.elastic = mapping, name, elastic

    @property
    def owner(self) -> Any:
        return self.mapping

    @property
    def key(self) -> tuple[object, ...]:
        return "entry", id(self.mapping), self.name

    def get(self) -> Any:
        return dict.get(self.mapping, self.name, MISSING)

    def put(self, value: Any) -> None:
        dict.__setitem__(self.mapping, self.name, value)


class Attribute:
    """An attribute of a class; a metaclass's own ``__setattr__`` is not asked."""

    __slots__ = ("name", "owner", "view")
    elastic = False

    def __init__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name
        self.view = type.__getattribute__(owner, "__dict__")

    @property
    def key(self) -> tuple[object, ...]:
        return "attribute", id(self.owner), self.name

    def get(self) -> Any:
        return self.view.get(self.name, MISSING)

    def put(self, value: Any) -> None:
        type.__setattr__(self.owner, self.name, value)


class Member:
    """An attribute of an instance, for a target that names one and for the fields of a dataclass."""

    __slots__ = ("name", "owner")
    elastic = False

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name

    @property
    def key(self) -> tuple[object, ...]:
        return "member", id(self.owner), self.name

    def get(self) -> Any:
        try:
            return object.__getattribute__(self.owner, self.name)
        except AttributeError:
            return MISSING

    def put(self, value: Any) -> None:
        object.__setattr__(self.owner, self.name, value)


class Default:
    """A default of a positional parameter."""

    __slots__ = ("function", "position")
    elastic = False

    def __init__(self, function: FunctionType, position: int) -> None:
        self.function, self.position = function, position

    @property
    def owner(self) -> Any:
        return self.function

    @property
    def key(self) -> tuple[object, ...]:
        return "default", id(self.function), self.position

    def get(self) -> Any:
        defaults = self.function.__defaults__ or ()
        return defaults[self.position] if self.position < len(defaults) else MISSING

    def put(self, value: Any) -> None:
        defaults = self.function.__defaults__ or ()
        self.function.__defaults__ = (*defaults[: self.position], value, *defaults[self.position + 1 :])


class Cell:
    """A variable that a closure keeps."""

    __slots__ = ("cell",)
    elastic = False

    def __init__(self, cell: CellType) -> None:
        self.cell = cell

    @property
    def owner(self) -> Any:
        return self.cell

    @property
    def key(self) -> tuple[object, ...]:
        return "cell", id(self.cell)

    def get(self) -> Any:
        try:
            return self.cell.cell_contents
        except ValueError:
            return MISSING

    def put(self, value: Any) -> None:
        self.cell.cell_contents = value


class Argument:
    """A positional argument of a `functools.partial`, changed in place by the protocol that unpickling uses."""

    __slots__ = ("partial", "position")
    elastic = False

    def __init__(self, partial: functools.partial[Any], position: int) -> None:
        self.partial, self.position = partial, position

    @property
    def owner(self) -> Any:
        return self.partial

    @property
    def key(self) -> tuple[object, ...]:
        return "argument", id(self.partial), self.position

    def get(self) -> Any:
        return self.partial.args[self.position]

    def put(self, value: Any) -> None:
        state: Any = functools.partial.__reduce__(self.partial)[2]
        function, args, keywords, namespace = state
        args = (*args[: self.position], value, *args[self.position + 1 :])
        functools.partial.__setstate__(self.partial, (function, args, keywords, namespace))  # type: ignore[attr-defined]


class Element:
    """An element of a list or deque. It moves when the application inserts before it; it is found again by identity."""

    __slots__ = ("held", "kind", "position", "sequence")
    elastic = True

    def __init__(self, sequence: Any, position: int) -> None:
        self.sequence, self.position = sequence, position
        self.kind: Any = list if isinstance(sequence, list) else deque
        self.held: Any = self.kind.__getitem__(sequence, position)

    @property
    def owner(self) -> Any:
        return self.sequence

    @property
    def key(self) -> tuple[object, ...]:
        return "element", id(self.sequence), self.position

    def get(self) -> Any:
        length = self.kind.__len__(self.sequence)
        if self.position < length and self.kind.__getitem__(self.sequence, self.position) is self.held:
            return self.held
        for position in range(length):
            if self.kind.__getitem__(self.sequence, position) is self.held:
                self.position = position
                return self.held
        return MISSING

    def put(self, value: Any) -> None:
        self.kind.__setitem__(self.sequence, self.position, value)
        self.held = value


class Part:
    """A member of a set, or a key of a dict.

    :param entry: the slot of the value at that key, which goes by the new key from then on.
    """

    __slots__ = ("container", "entry", "held")
    elastic = True

    def __init__(self, container: set[Any] | dict[Any, Any], held: Any, entry: Entry | None = None) -> None:
        self.container, self.held, self.entry = container, held, entry

    @property
    def owner(self) -> Any:
        return self.container

    @property
    def key(self) -> tuple[object, ...]:
        return "part", id(self.container), id(self.held)

    def get(self) -> Any:
        return self.held if self.held in self.container else MISSING

    def put(self, value: Any) -> None:
        if isinstance(self.container, set):
            set.discard(self.container, self.held)
            set.add(self.container, value)
        else:
            # In place and in order: whoever holds the dict keeps it, whoever iterates sees the order that was.
            pairs = [(value if name == self.held else name, item) for name, item in dict.items(self.container)]
            dict.clear(self.container)
            dict.update(self.container, pairs)
        if self.entry is not None:
            self.entry.name = value
        self.held = value


def is_a(value: Any, kinds: type | tuple[type, ...]) -> bool:
    """Whether the type of a value is one of these; `isinstance` would ask a proxy's ``__class__`` as well."""
    return issubclass(type(value), kinds)
