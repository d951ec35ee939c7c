"""Resolving ``module:ATTR`` and ``module:Class.attr`` to the slot that it names, without importing or running anything."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from pytest_session_guard._controls.redirect.slots import MISSING, Attribute, Entry, Member, Slot, is_a


def namespace_of(module: Any) -> dict[str, Any] | None:
    """The namespace of a module; ``None`` for what stands in `sys.modules` and is no module.

    A lazy module is not woken: its class's ``__getattribute__`` is not asked.
    """
    if not is_a(module, ModuleType):
        return None
    namespace: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return namespace


def split(target: str) -> tuple[str, str]:
    """The module and the attribute of ``module:ATTR``."""
    module, _, attribute = target.partition(":")
    return module, attribute


def resolve(target: str) -> Slot | None:
    """The slot that a target names; ``None`` while its module is not loaded, or has no such attribute yet."""
    module, attribute = split(target)
    namespace = namespace_of(sys.modules.get(module))
    if namespace is None:
        return None
    first, *rest = attribute.split(".")
    slot: Slot = Entry(namespace, first)
    for name in rest:
        owner = slot.get()
        if owner is MISSING:
            return None
        slot = member(owner, name)
    return None if slot.get() is MISSING else slot


def member(owner: Any, name: str) -> Slot:
    """The slot of an attribute: of the class in the ``__mro__`` that has it, of a module, of an instance."""
    namespace = namespace_of(owner)
    if namespace is not None:
        return Entry(namespace, name)
    if not is_a(owner, type):
        return Member(owner, name)
    holder = next((kind for kind in type.__getattribute__(owner, "__mro__") if name in vars(kind)), owner)
    return Attribute(holder, name)
