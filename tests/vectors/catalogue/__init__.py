"""The ways, one module for each family. ``load_all`` imports them and gives the registry."""

from __future__ import annotations

import importlib
import pkgutil

from ..vector import REGISTRY, Vector


def load_all() -> dict[str, Vector]:
    """Import every module of the catalogue and give its vectors by name, in the order of the modules."""
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")
    return dict(REGISTRY)


def load_one(module: str, name: str) -> Vector:
    """Give the vector ``name`` after importing its module alone: a try pays for nothing else.

    :raises KeyError: the module has no such vector.
    """
    importlib.import_module(f"{__name__}.{module}")
    return REGISTRY[name]
