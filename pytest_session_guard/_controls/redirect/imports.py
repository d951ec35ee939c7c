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
from types import ModuleType
from typing import Any, Final, Protocol

from pytest_session_guard._controls.redirect import guided

ABSENT: Final = object()
PLAIN: Final = SourceFileLoader.exec_module  # inherited: gets the code, runs it in the namespace, nothing else


class Follower(Protocol):
    """Who wants to know."""

    def binder(self, module: ModuleType) -> Callable[[str, Any], Any] | None:
        """What redirects the values that a module binds while it runs; ``None`` to let it run the ordinary way."""

    def import_ended(self, module: ModuleType) -> None:
        """A module's code has run; called in the importing thread, before its import statement goes on.

        The import system's lock of that one module is held, as it was for the module's code; none is taken.
        """


class ImportWatch:
    """Tells a follower of every module whose code has run."""

    def __init__(self, follower: Follower) -> None:
        self.follower: Follower | None = follower
        self.wrapped: list[tuple[Any, Any, Any]] = []

    def start(self) -> None:
        """Wrap the loaders that are there now; again for those that came since."""
        done = {loader for loader, _, _ in self.wrapped}
        for loader in (SourceFileLoader, SourcelessFileLoader, ExtensionFileLoader, *loading_finders()):
            if loader not in done:
                self._wrap(loader)

    def _wrap(self, loader: Any) -> None:
        own = vars(loader).get("exec_module", ABSENT)
        if own is not ABSENT and not callable(own):
            return  # a static or class method: a finder that loads without instances has no file of the project's
        run, watch = loader.exec_module, self

        @functools.wraps(run)
        def exec_module(self: Any, module: ModuleType) -> None:
            __tracebackhide__ = True
            follower = watch.follower
            if follower is None:
                run(self, module)
                return
            if run is not PLAIN or not run_guided(self, module, follower):
                run(self, module)
            follower.import_ended(module)

        loader.exec_module = exec_module
        self.wrapped.append((loader, own, exec_module))

    def stop(self) -> None:
        """Take the wrappers off; where somebody wrapped ours, it stays and only calls through."""
        self.follower = None
        for loader, own, ours in reversed(self.wrapped):
            if vars(loader).get("exec_module") is not ours:
                continue
            if own is ABSENT:
                del loader.exec_module
            else:
                loader.exec_module = own
        self.wrapped.clear()


def loading_finders() -> list[type]:
    """The finders that load modules themselves."""
    kinds = (finder if isinstance(finder, type) else type(finder) for finder in sys.meta_path)
    return [kind for kind in kinds if "exec_module" in vars(kind) and not kind.__module__.startswith("_frozen")]


def run_guided(loader: Any, module: ModuleType, follower: Follower) -> bool:
    """Run a module's code with its paths redirected as they are bound.

    :returns: whether it ran; if not, it is for the loader to run it.
    :raises BaseException: what the code raises.
    """
    __tracebackhide__ = True
    bind = follower.binder(module)
    if bind is None:
        return False
    code = loader.get_code(module.__name__)
    if code is None or not guided.can_be_guided(code):
        return False
    guided.run(code, vars(module), bind)
    return True
