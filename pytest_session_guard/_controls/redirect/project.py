"""Which modules belong to the project, and are looked into; of the others only plain aliases are followed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pytest_session_guard._controls.redirect.names import namespace_of

INSTALLED: Final = ("/site-packages/", "/dist-packages/")
OURSELVES: Final = "pytest_session_guard"


class Project:
    """The modules below the project's roots, and those that a person named.

    A module belongs to the project when its file lies below one of the roots and not in ``site-packages``, when a
    target names its top-level package, or when it is the installed copy of a package that the roots hold
    (``ROOT/NAME/__init__.py`` or ``ROOT/src/NAME/__init__.py``), as under tox. Standard modules never do.

    :param named: top-level packages (or modules) that count as the project's wherever they lie.
    """

    isfile = staticmethod(os.path.isfile)

    def __init__(self, roots: Sequence[str], named: Iterable[str]) -> None:
        self.roots = tuple(root.rstrip("/") + "/" for root in roots)
        self.named = {name.partition(".")[0] for name in named}
        self.tops: dict[str, bool] = {OURSELVES: False}
        self.known: dict[str, tuple[object, bool]] = {}
        prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix}
        self.interpreters = tuple(
            f"{prefix}/" for prefix in prefixes if any(f"{prefix}/".startswith(root) for root in self.roots)
        )

    def name(self, module: str) -> None:
        """Count a module's top-level package as the project's from now on."""
        self.named.add(module.partition(".")[0])
        self.known.clear()

    def owns(self, module: str) -> bool:
        """Whether the loaded module of this name belongs to the project."""
        namespace = namespace_of(sys.modules.get(module))
        return namespace is not None and self.owns_namespace(module, namespace)

    def owns_namespace(self, module: str, namespace: dict[str, Any]) -> bool:
        """Whether a module with this namespace belongs to the project."""
        file = namespace.get("__file__")
        held = self.known.get(module)
        if held is None or held[0] is not file:
            held = self.known[module] = file, self._decide(module, file)
        return held[1]

    def _decide(self, module: str, file: object) -> bool:
        top = module.partition(".")[0]
        if top == OURSELVES or (top in sys.stdlib_module_names and top != "__main__"):
            return False
        return top in self.named or (isinstance(file, str) and self._has_file(file)) or self._is_copy(top)

    def _has_file(self, file: str) -> bool:
        return (
            file.startswith(self.roots)
            and not any(part in file for part in INSTALLED)
            and not file.startswith(self.interpreters)
        )

    def _is_copy(self, top: str) -> bool:
        if top not in self.tops:
            places = (f"{root}{part}{top}/__init__.py" for root in self.roots for part in ("", "src/"))
            self.tops[top] = any(self.isfile(place) for place in places)
        return self.tops[top]
