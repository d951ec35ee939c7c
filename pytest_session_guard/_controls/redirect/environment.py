"""Environment variables that lead to real data: pointed elsewhere with the targets, for children as well."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from pytest_session_guard._controls.redirect.places import Atlas, Spot, Target

# They say where the process is, not where an application keeps its data.
POSITION: Final = frozenset({"PWD", "OLDPWD", "_"})


class Environment:
    """The variables of `env:NAME` lines, and those whose value lies at or below a root line.

    :param atlas: knows which value lies below a root.
    """

    environ = os.environ  # tests replace `os.environ` by a dict; the process's own stays reachable here

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self.spots: dict[str, Spot] = {}
        self.held: dict[str, str | None] = {}

    def name(self, target: Target, base: str) -> None:
        """Point the variable of an `env:NAME` line to its place."""
        name = target.redirect.target
        real = self.environ.get(name)
        if real and real.startswith(("/", "~")):
            self.atlas.add_real(target, real)
        self.spots[name] = Spot(target, "")
        self.environ[name] = self.spots[name].below(base)

    def follow(self, base: str) -> None:
        """Find variables that lead below a root line, and point them to its place."""
        for name, value in self.environ.copy().items():
            if name in POSITION or name in self.spots:
                continue
            spot = self.atlas.find(value)
            if spot is not None and spot.target.redirect.kind == "root":
                self.spots[name] = spot
                self.environ[name] = spot.below(base)

    def move(self, base: str) -> None:
        """Point every variable to another base; one that a wider fixture holds is left to it."""
        for name, spot in self.spots.items():
            if self.held and self._is_held(name):
                continue
            self.environ[name] = spot.below(base)

    def _is_held(self, name: str) -> bool:
        if name not in self.held:
            return False
        if self.environ.get(name) == self.held[name]:
            return True
        del self.held[name]
        return False

    def hold(self, base: str) -> Callable[[], None]:
        """Remember the state before a wider fixture's setup.

        :returns: to be called after it: variables that it changed are its own until it undoes them.
        """
        before = {name: self.environ.get(name) for name in self.spots}

        def compare() -> None:
            for name in before.keys() & self.spots.keys():
                value = self.environ.get(name)
                real = value is not None and value in self.spots[name].target.real
                if value != before[name] and value != self.spots[name].below(base) and not real:
                    self.held[name] = value

        return compare
