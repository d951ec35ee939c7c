"""Containers, caches and values that start every test as they were, keeping their identity."""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from pytest_session_guard._controls.redirect.names import resolve, split
from pytest_session_guard._controls.redirect.slots import MISSING, Slot, is_a

CONTAINERS: Final = (dict, list, set, deque, bytearray)


class Reset:
    """One line of ``session_guard_reset``.

    A cache with ``cache_clear`` is cleared; a container (or whatever has ``clear``) is cleared and stays the same
    object, which is put back where a test bound another; a callable is called; any other value is put back.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.module = split(target)[0]
        self.loaded: Any = None
        self.slot: Slot | None = None
        self.value: Any = MISSING

    def follow(self, anew: bool = False) -> None:
        """Take the value as it is when its module is first seen, or seen anew after a reload."""
        module = sys.modules.get(self.module)
        if module is self.loaded and self.slot is not None and not anew:
            return
        slot = resolve(self.target)
        if slot is not None:
            self.loaded, self.slot, self.value = module, slot, slot.get()

    def run(self) -> None:
        """Bring the value to the state in which a test finds it.

        :raises Exception: what the value's own ``clear`` or the callable raises.
        """
        if self.slot is None:
            return
        if self.slot.get() is not self.value:
            self.slot.put(self.value)
        clear(self.value)


def clear(value: Any) -> None:
    """Clear a cache or container, call a callable, leave anything else.

    :raises Exception: what the value's own code raises.
    """
    kind = type(value)
    if kind in CONTAINERS:
        value.clear()
    elif has_method(value, "cache_clear"):
        value.cache_clear()
    elif not is_a(value, type) and has_method(value, "clear"):
        value.clear()
    elif callable(value):
        value()


def has_method(value: Any, name: str) -> bool:
    """Whether a value has a method of this name, without asking its ``__getattr__``."""
    return callable(inspect.getattr_static(value, name, None))


class Resets:
    """All of them, in the order of the lines."""

    def __init__(self, targets: Sequence[str]) -> None:
        self.all = [Reset(target) for target in dict.fromkeys(targets)]

    def add(self, target: str) -> Reset:
        """Reset one more from now on; the one there is when the target is known."""
        known = next((reset for reset in self.all if reset.target == target), None)
        if known is None:
            known = Reset(target)
            self.all.append(known)
        return known

    def follow(self, module: str = "") -> None:
        """Look at the modules that were loaded since, or at one whose import has just ended."""
        for reset in self.all:
            if module in ("", reset.module):
                reset.follow(anew=bool(module))

    def run(self) -> None:
        """Reset everything; one that fails keeps no other from its turn.

        :raises Exception: the first error of a value's own code, with a note that says which target it was.
        """
        first: Exception | None = None
        for reset in self.all:
            try:
                reset.run()
            except Exception as error:  # whatever the application's own clear() or callable raises
                error.add_note(f"raised by session_guard_reset of {reset.target}")
                first = first or error
        if first is not None:
            raise first
