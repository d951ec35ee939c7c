"""Wrappers for what no event tells and only a kernel layer would hold: used where there is none.

They cost more, or show more, than those of `wrappers`: a connection's authorizer is asked for every statement, and
``sqlite3.connect`` is another object than it was.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, Final

Audit = Callable[..., None]
REPLACING: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class BlindSpots:
    """Puts the wrappers in place, each when its module is imported.

    :param audit: raises an event as CPython would have (`sys.audit`).
    """

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self.waiting = {"sqlite3": self._wrap_sqlite, "readline": self._wrap_readline}

    def start(self) -> None:
        """Wrap what is imported already, and `os.chroot`."""
        for name in list(self.waiting):
            if name in sys.modules:
                self.importing(name)
        if hasattr(os, "chroot"):
            chroot = self._wrap_chroot(os.chroot)
            chroot.__module__ = "os"
            setattr(os, "chroot", chroot)  # noqa: B010 - its type is narrower than a wrapper's

    def importing(self, name: str) -> None:
        """A module is about to be imported; the first time it is imported here and now, and wrapped."""
        wrap = self.waiting.pop(name, None)
        if wrap is not None:
            try:
                wrap(import_module(name))
            except ImportError:
                return  # whoever wanted it is told by its own import

    def _wrap_sqlite(self, module: Any) -> None:
        """ATTACH and VACUUM INTO open a database without an event; both ask the authorizer first."""
        original, audit = module.connect, self.audit

        def authorize(action: int, first: str | None, *_rest: Any) -> int:
            if action == module.SQLITE_ATTACH and first:
                try:
                    audit("sqlite3.connect", first)
                except PermissionError:
                    return int(module.SQLITE_DENY)
            return int(module.SQLITE_OK)

        @wraps(original)
        def connect(*args: Any, **kwargs: Any) -> Any:
            connection = original(*args, **kwargs)
            connection.set_authorizer(authorize)
            return connection

        connect.__module__ = "sqlite3"  # where a pickle finds it
        module.connect = connect
        import_module("sqlite3.dbapi2").connect = connect  # type: ignore[attr-defined]

    def _wrap_readline(self, module: Any) -> None:
        """The history is written by the C library (cpython#115322)."""
        for name in ("write_history_file", "append_history_file"):
            if hasattr(module, name):
                setattr(module, name, self._wrap_history(getattr(module, name)))

    def _wrap_history(self, original: Callable[..., None]) -> Callable[..., None]:
        audit = self.audit

        @wraps(original)
        def write(*args: Any) -> None:
            named = args[-1] if args and not isinstance(args[-1], int) and args[-1] is not None else None
            audit("open", named or os.path.expanduser("~/.history"), "w", REPLACING)
            original(*args)

        return write

    def _wrap_chroot(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        audit = self.audit

        @wraps(original)
        def chroot(path: Any) -> None:
            audit("os.chroot", path)
            original(path)

        return chroot
