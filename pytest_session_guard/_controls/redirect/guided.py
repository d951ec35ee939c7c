"""Running a module's code so that a path is redirected in the statement that binds it.

Waiting for the end of the import would be too late for ``DIR = Path.home() / ".app"`` followed by ``DIR.mkdir()``, by
``STORE = Store(DIR)`` or by ``sqlite3.connect(DIR / "state.db")``. Python stores the names of a module through the
*locals* of its code; these are usually the module's namespace, but may be any mapping. Functions and classes see the
module's real namespace as always.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from types import CodeType
from typing import Any, Final

# Code that asks for its locals by one of these could tell the difference, so it runs the ordinary way.
FRAME_READERS: Final = frozenset({"locals", "vars", "dir", "_getframe", "currentframe", "exec"})


class Names(dict[str, Any]):
    """The locals of a module's code: reads come from the namespace, writes go there by way of `bind`.

    It is a dict with the same content for the few who look at a frame's locals and expect one.
    """

    __slots__ = ("bind", "namespace")

    def __init__(self, namespace: dict[str, Any], bind: Callable[[str, Any], Any]) -> None:
        super().__init__(namespace)
        self.namespace, self.bind = namespace, bind

    def __getitem__(self, name: str) -> Any:
        return self.namespace[name]

    def __setitem__(self, name: str, value: Any) -> None:
        kind = type(value)
        if issubclass(kind, (str, bytes, PurePath)) and name[:2] != "__":
            value = self.bind(name, value)
        self.namespace[name] = value
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        del self.namespace[name]
        super().pop(name, None)


def can_be_guided(code: CodeType) -> bool:
    """Whether a module's code asks for nothing that `Names` would show."""
    return FRAME_READERS.isdisjoint(code.co_names)


def run(code: CodeType, namespace: dict[str, Any], bind: Callable[[str, Any], Any]) -> None:
    """Run a module's code in its namespace.

    :param bind: gets the name and the value of each path-like binding, gives the value that is bound.
    :raises BaseException: what the code raises.
    """
    exec(code, namespace, Names(namespace, bind))
