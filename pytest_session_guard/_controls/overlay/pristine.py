"""Copy-on-write views of the real data, put on top of a process's namespace for one test and taken away with its changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain

from ..._host import mounts
from .base import Base
from .construction import Builder, UpperPlace
from .disk_store import Store, remove_all
from .layout import Layout, OverlayPlan, lay_out


class PristineViews:
    """The views that stand at the moment, in all namespaces of the run.

    :param base: where the real data is seen.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._stores: dict[str, list[Store | None]] = {}

    def show(self, path: str, plan: OverlayPlan, place: UpperPlace, namespace_fd: int, root_fd: int) -> None:
        """Put a fresh overlay of the real data on `path` in another namespace.

        :raises OSError: the kernel refused.
        """
        os.stat(path)
        builder = Builder(plan, self._layout_of(path, plan), place)
        with builder.holding(), self._base.left_for(namespace_fd, root_fd):
            built = builder.assemble()
        for layer in built.layers:
            layer.close()
        self._stores.setdefault(path, []).append(built.store)
        if built.shortfalls:
            self.hide(path, namespace_fd, root_fd)
            raise OSError(0, built.shortfalls[0][1], path)

    def _layout_of(self, path: str, plan: OverlayPlan) -> Layout:
        """The mounts of the plan at and below `path`, with an overlay on `path` itself."""
        beneath = path.rstrip("/") + "/"
        inner = OverlayPlan(
            tuple(place for place in plan.writable if place.startswith(beneath)),
            (path, *(root for root in plan.overlaid if root.startswith(beneath))),
            plan.scratch,
        )
        layout = lay_out(inner, self._base.survey())
        return Layout(tuple(step for step in layout.steps if step.path == path or step.path.startswith(beneath)))

    def hide(self, path: str, namespace_fd: int, root_fd: int) -> None:
        """Take the overlay that `show` put on `path` away, with all that was changed in it.

        :raises OSError: there is none.
        """
        store = self._stores[path].pop()
        with self._base.left_for(namespace_fd, root_fd):
            mounts.detach(path)
        remove_all((store,))

    def holds(self, path: str) -> bool:
        """Whether a view stands on a path, or above it, in any namespace of the run."""
        shown = (place for place, stores in self._stores.items() if stores)
        return any(path == place or path.startswith(place.rstrip("/") + "/") for place in shown)

    def stores(self) -> Iterator[Store | None]:
        """Their upper layers on the disk."""
        return chain.from_iterable(self._stores.values())
