"""The rule about an application's paths that are patched by hand."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from typing import Final

from pytest_session_guard._controls.lint.kinds import PLACE_NAME
from pytest_session_guard._controls.lint.reading import Reading, finding
from pytest_session_guard._controls.lint.rules import PATCHED, Finding
from pytest_session_guard._controls.lint.units import Module, Unit

FEW: Final = 3  # patches that a file may have before it is worth a line
SHOWN: Final = 4


def find_patches(module: Module, reading: Reading) -> Iterator[Finding]:
    """At most one finding for a file, at its first patch."""
    found = [(one, call, unit) for unit in module.units for call, one in patches(unit, reading)]
    if len(found) < FEW:
        return
    counts = Counter(target for target, _, _ in found)
    lines = [f"{target} = {place_for(target)}" for target, _ in sorted(counts.items())]
    _, first, unit = min(found, key=lambda one: (one[1].lineno, one[1].col_offset))
    more = f" (and {len(lines) - SHOWN} more)" if len(lines) > SHOWN else ""
    fix = f"session_guard_redirect = {'; '.join(lines[:SHOWN])}{more}"
    told = f"patches {len(counts)} path{'s' * (len(counts) != 1)} of the application {len(found)} times in this file"
    yield finding(PATCHED, unit, first, told, fix)


def patches(unit: Unit, reading: Reading) -> Iterator[tuple[ast.Call, str]]:
    """The patches of path constants in a unit, with what they patch as ``module:ATTR``."""
    for site in unit.sites:
        name = reading.name_of(site.call.func, unit)
        dotted = patched_name(site.call, name, unit, reading)
        owner, _, last = dotted.rpartition(".")
        if owner and last.isupper() and PLACE_NAME.fullmatch(last) and not owner.startswith(("os", "self.")):
            yield site.call, target(owner, last)


def patched_name(call: ast.Call, name: str, unit: Unit, reading: Reading) -> str:
    """The dotted name of what a call patches; ``""`` when it patches nothing, or nothing that was imported."""
    first = call.args[0] if call.args else None
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return first.value if name.endswith((".setattr", "patch")) else ""
    if first is None or not name.endswith((".setattr", "patch.object")) or len(call.args) < 2:
        return ""
    attribute = call.args[1]
    root = first
    while isinstance(root, ast.Attribute):
        root = root.value
    imported = isinstance(root, ast.Name) and root.id in unit.text.imports
    if not imported or not isinstance(attribute, ast.Constant) or not isinstance(attribute.value, str):
        return ""
    return f"{reading.name_of(first, unit)}.{attribute.value}"


def target(owner: str, attribute: str) -> str:
    """``module:ATTR``, or ``module:Class.ATTR`` where the last part of the owner looks like a class."""
    module, _, last = owner.rpartition(".")
    return f"{module}:{last}.{attribute}" if module and last[:1].isupper() else f"{owner}:{attribute}"


def place_for(target: str) -> str:
    """A place to send a target to: its own name, small."""
    return target.rpartition(":")[2].rpartition(".")[2].strip("_").lower()
