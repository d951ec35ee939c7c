"""Classes of plain fields, made as `dataclasses` makes them at a tenth of its price.

Python 3.11 writes and compiles seven methods for each frozen class with slots, which takes half a millisecond, and a run
imports some fifty of them before its first test. Here only ``__init__`` is compiled; the other methods are functions that
serve any class. So that a value is not changed after it was made is for the type checker to see: nothing raises, and a value
is made in a quarter of the time.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass

    _Class = TypeVar("_Class", bound=type[Any])
else:

    def dataclass(
        cls: type[Any] | None = None,
        /,
        *,
        frozen: bool = False,
        slots: bool = False,
        eq: bool = True,
        kw_only: bool = False,
    ) -> Any:
        """As `dataclasses.dataclass`, of which these are the options that have a use here."""

        def made(cls: type[Any]) -> type[Any]:
            return _equipped(dataclasses.dataclass(cls, eq=False, repr=False, slots=slots, kw_only=kw_only), eq, frozen)

        return made if cls is None else made(cls)


def _equipped(cls: _Class, eq: bool, frozen: bool) -> _Class:
    """Give a class the methods that it did not define itself."""
    fields, own = dataclasses.fields(cls), frozenset(vars(cls))
    methods: dict[str, Callable[..., object] | None] = {
        "__repr__": _represent([one.name for one in fields if one.repr])
    }
    if eq:
        values = _values_of([one.name for one in fields if one.compare])
        methods["__eq__"] = _equals(values)
        methods["__hash__"] = _hashes(values) if frozen else None
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    return cls


def _values_of(names: list[str]) -> Callable[[object], object]:
    return attrgetter(*names) if names else lambda value: ()


def _represent(names: list[str]) -> Callable[[object], str]:
    def represent(value: object) -> str:
        shown = ", ".join(f"{name}={getattr(value, name)!r}" for name in names)
        return f"{type(value).__qualname__}({shown})"

    return represent


def _equals(values: Callable[[object], object]) -> Callable[[object, object], bool]:
    def equals(value: object, other: object) -> bool:
        return values(value) == values(other) if other.__class__ is value.__class__ else NotImplemented

    return equals


def _hashes(values: Callable[[object], object]) -> Callable[[object], int]:
    return lambda value: hash(values(value))
