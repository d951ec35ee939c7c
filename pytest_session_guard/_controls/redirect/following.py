"""Keeping track of every copy of a target's value: what it is called, where it is held, what it is now."""

from __future__ import annotations

import enum
import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePath
from types import ModuleType
from typing import Any

from pytest_session_guard._controls.redirect.environment import Environment
from pytest_session_guard._controls.redirect.holders import Holders
from pytest_session_guard._controls.redirect.names import namespace_of, resolve, split
from pytest_session_guard._controls.redirect.places import PATH_STARTS, Atlas, Spot, Target, path_text
from pytest_session_guard._controls.redirect.project import Project
from pytest_session_guard._controls.redirect.resets import Resets
from pytest_session_guard._controls.redirect.scan import Scan
from pytest_session_guard._controls.redirect.slots import MISSING, Entry, Slot
from pytest_session_guard._controls.redirect.table import Table
from pytest_session_guard._controls.redirect.values import Fixed, Values
from pytest_session_guard._core.zones import is_within


class Following:
    """The targets of a run and all slots that hold a value of theirs.

    Its methods expect `lock` to be held, but for `binder` and `import_ended`, which take it: an import may end in any
    thread.
    """

    def __init__(self, sink: str, project: Project, atlas: Atlas, resets: Resets) -> None:
        self.project, self.atlas, self.resets = project, atlas, resets
        self.values = Values(sink)
        self.table = Table(self._settle)
        self.environment = Environment(atlas)
        self.holders = Holders(self.is_governed, self._is_named)
        self.targets: list[Target] = []
        self.by_attribute: dict[str, Target] = {}
        self.identities: dict[int, tuple[Any, Target]] = {}  # with the object, so that its id stays its own
        self.held: dict[tuple[object, ...], Any] = {}
        self.seen: dict[str, int] = {}
        self.loaded = self.sought = 0
        self.unswept = True
        self.in_test = False
        self.lock = threading.RLock()

    def renew_lock(self) -> None:
        """In a forked child: the thread that held the lock may not exist there."""
        self.lock = threading.RLock()

    def enlist(self, target: Target, rootdir: str) -> None:
        """Make a target known; what an attribute really holds is learnt when its module is there."""
        self.targets.append(target)
        self.atlas.add_place(target)
        redirect = target.redirect
        if redirect.kind == "root":
            real = self.atlas.expand(redirect.target.replace("{rootdir}", rootdir))
            self.atlas.add_real(target, real)
            # A run with a home of its own: what the application computes from it stands for the real one.
            moved = self.environment.environ.get("HOME", "")
            if moved and is_within(real, self.atlas.home):
                self.atlas.add_real(target, moved + real[len(self.atlas.home) :])
        elif redirect.kind == "environment":
            self.environment.name(target, self.values.base)
        else:
            self.by_attribute[redirect.target] = target
            self.project.name(split(redirect.target)[0])

    def move(self, base: str) -> None:
        """Point every slot and variable to another base."""
        self.table.move(*self.values.move(base))
        for name, namespace in self.table.living():
            self._apply(self._scan().module(name, namespace))
        self.environment.move(base)

    def refresh(self) -> None:
        """Point every slot and variable to its target's place, which has changed."""
        self.table.move(*self.values.refresh())
        self.environment.move(self.values.base)

    def notice(self) -> None:
        """Follow what was imported since the last look; nearly always one comparison."""
        if self.unswept or len(sys.modules) != self.loaded:
            self.sweep(thorough=False)

    def sweep(self, thorough: bool = True) -> None:
        """Look at every module: what was learnt since the last look may live on in an older one.

        :param thorough: look into everything, and at the modules of others, although nothing was learnt since.
        """
        modules = sys.modules.copy()
        self.table.drop_unnamed(modules)
        self._learn(self.by_attribute)
        self._look_at(modules, thorough or len(self.identities) != self.sought)
        self.sought = len(self.identities)
        self.environment.follow(self.values.base)
        self.resets.follow()
        self.unswept = False

    def _look_at(self, modules: dict[str, Any], thorough: bool) -> None:
        self.loaded = len(modules)
        scan = self._scan()
        for name, module in modules.items():
            new = thorough or self.seen.get(name) != id(module)
            self.seen[name] = id(module)
            namespace = namespace_of(module) if new or self.unswept else None
            if namespace is None:
                continue
            if self.project.owns_namespace(name, namespace):
                self._follow(name, module, scan.module(name, namespace, shallow=not new))
            elif self.identities and new:
                self._follow(name, module, self._plain_aliases(name, namespace))

    def _follow(self, name: str, module: Any, found: Sequence[tuple[Slot, int]]) -> None:
        if found:
            self._apply(self.table.group(name, module).merge(found))
            self.table.stale = True

    def _scan(self) -> Scan:
        return Scan(self, self.project.owns, self.holders)

    def _plain_aliases(self, name: str, namespace: dict[str, Any]) -> list[tuple[Slot, int]]:
        """A module of others is left alone but for names bound to the very object that a target's attribute held."""
        found: list[tuple[Slot, int]] = []
        for attribute, value in namespace.copy().items():
            if id(value) in self.identities:
                index = self.index_of(value, f"{name}:{attribute}")
                if index is not None:
                    found.append((Entry(namespace, attribute), index))
        return found

    def _apply(self, found: Sequence[tuple[Slot, int]]) -> None:
        for slot, index in found:
            try:
                if slot.get() is not self.values.now[index]:
                    slot.put(self.values.now[index])
            except (TypeError, AttributeError, ValueError) as problem:
                self.holders.note(f"{type(slot.owner).__qualname__}: {problem}", type(slot.owner))

    def _learn(self, names: Sequence[str] | dict[str, Target]) -> None:
        """Find the slots that `module:ATTR` lines name, and the paths that they really hold."""
        for name in names:
            slot = resolve(name)
            if slot is not None:
                self._learn_slot(self.by_attribute[name], slot)

    def _learn_slot(self, target: Target, slot: Slot) -> None:
        name = split(target.redirect.target)[0]
        value, group = slot.get(), self.table.group(name, sys.modules[name])
        text = path_text(value)
        if text is None:
            return
        pinned = group.pinned.get(slot.key)
        if pinned is not None and (value is self.values.now[pinned] or (self.in_test and not self.is_governed(value))):
            return  # as it should be, or a test's own patch
        index = self._learn_value(target, value, text)
        group.pin(slot, index)
        self._apply([(slot, index)])
        self.table.stale = self.unswept = True

    def _learn_value(self, target: Target, value: Any, text: str) -> int:
        if text[:1] in ("/", "~", "$"):
            self.atlas.add_real(target, text)
        index = self.values.leaf(Spot(target, ""), type(value))
        for known in (value, self.values.sink[index]):
            self.identities.setdefault(id(known), (known, target))
        return index

    def binder(self, module: ModuleType) -> Callable[[str, Any], Any] | None:
        """What redirects values in the statement that binds them, for a module of the project; see `imports`."""
        namespace = namespace_of(module)
        name = module_name(module)
        if namespace is None or not self.targets or not self.project.owns_namespace(name, namespace):
            return None
        return partial(self._bind, name)

    def _bind(self, module: str, attribute: str, value: Any) -> Any:
        where = f"{module}:{attribute}"
        target = self.by_attribute.get(where)
        with self.lock:
            text = path_text(value) if target is not None else None
            if target is not None and text is not None:
                index: int | None = self._learn_value(target, value, text)
                self.unswept = True
            else:
                index = self.index_of(value, where)
            return value if index is None else self.values.now[index]

    def import_ended(self, module: ModuleType) -> None:
        """Follow what a module has bound; see `imports`."""
        namespace = namespace_of(module)
        name = module_name(module)
        if namespace is None or not self.project.owns_namespace(name, namespace):
            return
        with self.lock:
            if sys.modules.get(name) is module:
                self._learn([one for one in self.by_attribute if split(one)[0] == name])
            self._follow(name, module, self._scan().module(name, namespace))
            self.resets.follow(name)
            self.unswept = True

    def index_of(self, value: Any, where: str) -> int | None:
        """The index of a value that some target governs, else ``None``; see `scan.Knowledge`."""
        spot = self._spot(value, where)
        if spot is None:
            return None
        try:
            return self.values.leaf(spot, type(value))
        except Exception:  # whatever the constructor of the application's own path type raises
            self.holders.note(where, type(value))
            return None

    def known_container(self, value: Any) -> int | None:
        """See `scan.Knowledge`."""
        return self.values.known_container(value)

    def container(self, value: Any, parts: tuple[int | Fixed, ...]) -> int:
        """See `scan.Knowledge`."""
        return self.values.container(value, parts)

    def _spot(self, value: Any, where: str) -> Spot | None:
        kind = type(value)
        if kind is str and value[:1] not in PATH_STARTS and id(value) not in self.identities:
            return None
        text = path_text(value)
        if text is None or issubclass(kind, enum.Enum):
            return None
        spot = self.atlas.find(text, sentence=issubclass(kind, (str, bytes)))
        if spot is None and id(value) in self.identities:
            target = self.identities[id(value)][1]
            # Short texts are shared by the interpreter, so a relative one is an alias under its own name only.
            name = split(target.redirect.target)[1].rpartition(".")[2]
            if issubclass(kind, PurePath) or os.path.isabs(text) or where.endswith((f":{name}", f".{name}")):
                spot = Spot(target, "")
        return spot

    def is_governed(self, value: Any) -> bool:
        """Whether a value is a path that some target governs."""
        return self._spot(value, "") is not None

    def _is_named(self, where: str) -> bool:
        return where in self.by_attribute

    def _settle(self, slot: Slot, value: Any) -> bool:
        """Decide about a slot that does not hold what it was given.

        :returns: whether the slot is still one.
        """
        held = slot.get()
        if slot.elastic:
            return held is not MISSING and self._settle_element(slot, held)
        key = slot.key
        if key in self.held:
            if held is self.held[key]:
                return True
            del self.held[key]
        slot.put(value)
        return True

    def _settle_element(self, slot: Slot, held: Any) -> bool:
        """The application has put something else into its container: followed when a target governs it."""
        spot = self._spot(held, "")
        if spot is not None:
            # Built aside: what an application puts there test after test must not pile up among the known values.
            slot.put(self.values.maker(type(held), spot)(spot.below(self.values.base)))
        return True

    def hold(self) -> Callable[[], None]:
        """Remember what slots and variables hold before a wider fixture is set up.

        :returns: to be called after it: what it changed, but not to a governed path, is its own until it undoes it.
        """
        before = {slot.key: slot.get() for slot, _ in self.table.slots() if not slot.elastic}
        compare = self.environment.hold(self.values.base)

        def hold_changed() -> None:
            for slot, index in self.table.slots():
                value = slot.get()
                changed = value is not before.get(slot.key, value) and value is not self.values.now[index]
                if changed and not self.is_governed(value):
                    self.held[slot.key] = value
            compare()

        return hold_changed


def module_name(module: ModuleType) -> str:
    """The name that a module is imported by, else the one that it gives itself."""
    namespace = namespace_of(module) or {}
    name = getattr(namespace.get("__spec__"), "name", None) or namespace.get("__name__")
    return name if isinstance(name, str) else ""
