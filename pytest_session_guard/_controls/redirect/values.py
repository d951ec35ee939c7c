"""The values that targets have at a moment: one object for each (target, suffix, type), built once for each base."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pytest_session_guard._controls.redirect.places import Spot, fast_path_maker, text_of

NATIVE_PATH: Final = type(Path())


@dataclass(frozen=True, slots=True)
class Fixed:
    """A part of a rebuilt container that no target governs."""

    value: Any


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A tuple or frozenset that holds redirected values, as the indices of those and its other parts."""

    kind: Any
    parts: tuple[int | Fixed, ...]

    def build(self, values: Sequence[Any]) -> Any:
        """The container around the values of a moment; a namedtuple stays one."""
        parts = [part.value if isinstance(part, Fixed) else values[part] for part in self.parts]
        return tuple.__new__(self.kind, parts) if issubclass(self.kind, tuple) else self.kind(parts)


class Values:
    """All redirected values, by index, in their form for the sink and for the moment.

    Aliases share an index, so that what was one object before is one object after.
    """

    def __init__(self, sink: str) -> None:
        self.sink_base = self.base = sink
        self.spots: list[tuple[Spot, type] | Rebuilt] = []
        self.recipes: list[tuple[Callable[[str], Any], str]] = []
        self.rebuilt: list[int] = []
        self.sink: list[Any] = []
        self.now = self.sink  # the same list for as long as the base is the sink
        self.by_spot: dict[tuple[int, str, type], int] = {}
        self.originals: dict[int, tuple[Any, int]] = {}  # with the object itself, so that its id stays its own
        self.make_path = fast_path_maker()

    def leaf(self, spot: Spot, kind: type) -> int:
        """The index of the value of this type at this spot.

        :raises Exception: the type cannot be built from a text (``TypeError``, or what its constructor raises).
        """
        found = self.by_spot.get((id(spot.target), spot.suffix, kind))
        if found is not None:
            return found
        maker = self.maker(kind, spot)
        recipe = maker, spot.below("")
        at_sink = maker(self.sink_base + recipe[1])
        now = at_sink if self.base == self.sink_base else maker(self.base + recipe[1])
        if type(at_sink) is not kind:
            raise TypeError(f"{kind.__qualname__}(text) gave a {type(at_sink).__qualname__}")
        return self._add((spot, kind), recipe, at_sink, now, (id(spot.target), spot.suffix, kind))

    def container(self, value: Any, parts: tuple[int | Fixed, ...]) -> int:
        """The index of what stands for a tuple or frozenset from now on."""
        made = Rebuilt(type(value), parts)
        index = self._add(made, (str, ""), made.build(self.sink), made.build(self.now), None)
        self.rebuilt.append(index)
        self.originals[id(value)] = value, index
        return index

    def known_container(self, value: Any) -> int | None:
        """The index of a tuple or frozenset that was rebuilt before, or that a rebuilding made."""
        if id(value) in self.originals:
            return self.originals[id(value)][1]
        return next((index for index in self.rebuilt if value is self.now[index] or value is self.sink[index]), None)

    def _add(self, what: Any, recipe: Any, at_sink: Any, now: Any, key: Any) -> int:
        index = len(self.spots)
        self.spots.append(what)
        self.recipes.append(recipe)
        self.sink.append(at_sink)
        if self.now is not self.sink:
            self.now.append(now)
        if key is not None:
            self.by_spot[key] = index
        return index

    def maker(self, kind: type, spot: Spot) -> Callable[[str], Any]:
        """How a value of a type is made from its text."""
        if kind is bytes:
            return os.fsencode
        clean = "//" not in spot.suffix and not spot.suffix.endswith("/")
        return self.make_path if kind is NATIVE_PATH and clean else kind

    def at(self, base: str) -> list[Any]:
        """Every value as it is in a base."""
        if base == self.sink_base:
            return self.sink
        values = [make(base + tail) for make, tail in self.recipes]
        for index in self.rebuilt:
            recipe = self.spots[index]
            assert isinstance(recipe, Rebuilt), "unreachable because only containers are in this list"
            values[index] = recipe.build(values)
        return values

    def move(self, base: str) -> tuple[list[Any], list[Any]]:
        """Point every value to another base.

        :returns: the values before and after.
        """
        before, self.base, self.now = self.now, base, self.at(base)
        return before, self.now

    def refresh(self) -> tuple[list[Any], list[Any]]:
        """Build all values anew because a target's place changed.

        :returns: the values before and after.
        """
        for index, what in enumerate(self.spots):
            if isinstance(what, tuple):
                self.recipes[index] = (self.recipes[index][0], what[0].below(""))
        base, self.base = self.base, ""
        fresh = [make(self.sink_base + tail) for make, tail in self.recipes]
        for index in self.rebuilt:
            what = self.spots[index]
            assert isinstance(what, Rebuilt), "unreachable because only containers are in this list"
            fresh[index] = what.build(fresh)
        self.sink = fresh
        return self.move(base)

    def text(self, index: int) -> str:
        """The text of a leaf now."""
        return text_of(self.now[index]) or os.fspath(self.now[index])
