"""Seeing the end of every import, at the price of one Python call for each.

The loaders' own ``exec_module`` is wrapped: it is what an import, a reload and a load by path (``module_from_spec``,
then ``exec_module``) have in common. A finder in front of `sys.meta_path` would miss the last of these, and lose its
place to whoever inserts before it. Loaders that are finders as well (pytest's assertion rewriter) are met there.
Whatever neither sees is found when `sys.modules` has grown.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader, SourceFileLoader, SourcelessFileLoader
from typing import Any, Final

FILE_LOADERS: Final = (SourceFileLoader, SourcelessFileLoader, ExtensionFileLoader)
ABSENT: Final = object()


class ImportWatch:
    """Calls back when the code of a module has run.

    :param ended: gets the module; runs in the importing thread, before the import statement goes on. No import lock is
        taken for it (the import system's own lock of that one module is held, as it is for the module's code).
    """

    def __init__(self, ended: Callable[[Any], None]) -> None:
        self.ended = ended
        self.wrapped: list[tuple[type, Any, Any]] = []

    def start(self) -> None:
        """Wrap the loaders that are there now; again for those that came since."""
        done = {loader for loader, _, _ in self.wrapped}
        for loader in (*FILE_LOADERS, *self._loading_finders()):
            if loader not in done:
                self._wrap(loader)

    def _loading_finders(self) -> list[type]:
        kinds = (finder if isinstance(finder, type) else type(finder) for finder in sys.meta_path)
        return [kind for kind in kinds if "exec_module" in vars(kind) and not kind.__module__.startswith("_frozen")]

    def _wrap(self, loader: type) -> None:
        own = vars(loader).get("exec_module", ABSENT)
        if own is not ABSENT and not callable(own):
            return  # a static or class method: a finder that loads without instances has no file of the project's
        run = loader.exec_module  # type: ignore[attr-defined]
        watch = self

        @functools.wraps(run)
        def exec_module(self: Any, module: Any) -> None:
            __tracebackhide__ = True
            run(self, module)
            watch.ended(module)

        loader.exec_module = exec_module  # type: ignore[attr-defined]
        self.wrapped.append((loader, own, exec_module))

    def stop(self) -> None:
        """Take the wrappers off; where somebody wrapped ours, it stays and only calls through."""
        self.ended = ignore
        for loader, own, ours in reversed(self.wrapped):
            if vars(loader).get("exec_module") is not ours:
                continue
            if own is ABSENT:
                del loader.exec_module
            else:
                loader.exec_module = own
        self.wrapped.clear()


def ignore(module: Any) -> None:
    """Nothing to do any more."""
