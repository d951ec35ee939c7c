"""The slots of all modules, and moving them from one base to another in a few microseconds."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from pytest_session_guard._controls.redirect.slots import MISSING, Entry, Slot


class Group:
    """The slots that were found in one module object, which may outlive its name in `sys.modules`."""

    def __init__(self, name: str, module: ModuleType, namespace: dict[str, Any]) -> None:
        self.name, self.module, self.namespace = name, module, namespace
        self.slots: dict[tuple[object, ...], tuple[Slot, int]] = {}
        self.pinned: dict[tuple[object, ...], int] = {}

    def merge(self, found: Iterable[tuple[Slot, int]]) -> list[tuple[Slot, int]]:
        """Take what a scan found; a slot that it could not see (a test has patched it) stays known.

        :returns: what was found, with the index that each is written from.
        """
        found = list(found)
        rescanned = {id(slot.owner) for slot, _ in found if slot.elastic}
        for key, (slot, _) in list(self.slots.items()):
            if slot.elastic and id(slot.owner) in rescanned:
                del self.slots[key]  # elements move about; the scan has seen where they are
        out = [(slot, self.pinned.get(slot.key, index)) for slot, index in found]
        self.slots.update((slot.key, (slot, index)) for slot, index in out)
        return out

    def pin(self, slot: Slot, index: int) -> None:
        """Take a slot that a person named: its value is the target's own, whatever its text may look like."""
        self.pinned[slot.key] = index
        self.slots[slot.key] = slot, index


class Retired:
    """A module object that lost its name (``del sys.modules[...]``), watched for as long as somebody holds on to it.

    Nothing of it is kept alive: its namespace is reached through the module or through any function defined in it.
    """

    def __init__(self, group: Group) -> None:
        self.name = group.name
        namespace = group.namespace
        self.module = weakref.ref(group.module)
        functions = (value for value in namespace.values() if type(value) is FunctionType)
        self.functions = [weakref.ref(one) for one in functions if one.__globals__ is namespace]

    def namespace(self) -> dict[str, Any] | None:
        """The namespace, or ``None`` when nobody holds it any more."""
        module = self.module()
        if module is not None:
            found: dict[str, Any] = object.__getattribute__(module, "__dict__")
            return found
        return next((one.__globals__ for ref in self.functions if (one := ref()) is not None), None)


class Table:
    """Every slot that is written when targets move.

    :param settle: is asked what to do with a slot that does not hold what it was given; says whether to keep it.
    """

    def __init__(self, settle: Callable[[Slot, Any], bool]) -> None:
        self.settle = settle
        self.groups: dict[int, Group] = {}
        self.retired: list[Retired] = []
        self.stale = True
        self.entries: list[tuple[dict[str, Any], list[tuple[str, int]]]] = []
        self.others: list[tuple[Slot, int]] = []

    def group(self, name: str, module: Any) -> Group:
        """The group of a module object."""
        namespace: dict[str, Any] = object.__getattribute__(module, "__dict__")
        group = self.groups.get(id(namespace))
        if group is None:
            group = self.groups[id(namespace)] = Group(name, module, namespace)
        return group

    def drop_unnamed(self, modules: dict[str, Any]) -> None:
        """Retire the groups of module objects that `sys.modules` does not name any more; what is empty is forgotten."""
        for key, group in list(self.groups.items()):
            if modules.get(group.name) is not group.module:
                del self.groups[key]
                self.stale = True
                if group.slots:
                    self.retired.append(Retired(group))

    def living(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The retired modules that somebody still holds."""
        for one in list(self.retired):
            namespace = one.namespace()
            if namespace is None:
                self.retired.remove(one)
            elif id(namespace) not in self.groups:
                yield one.name, namespace

    def slots(self) -> Iterator[tuple[Slot, int]]:
        """Every slot with the index of its value."""
        for group in self.groups.values():
            yield from group.slots.values()

    def flatten(self) -> None:
        """Lay the slots out for `move`: plain names first, they are nearly all."""
        self.others, self.stale = [], False
        plain: dict[int, tuple[dict[str, Any], list[tuple[str, int]]]] = {}
        for slot, index in self.slots():
            if type(slot) is Entry and not slot.elastic and type(slot.mapping) is dict:
                plain.setdefault(id(slot.mapping), (slot.mapping, []))[1].append((slot.name, index))
            else:
                self.others.append((slot, index))
        self.entries = list(plain.values())

    def move(self, before: list[Any], after: list[Any]) -> None:
        """Write the new values; a slot that holds something else than its value before goes to `settle`."""
        if self.stale:
            self.flatten()
        odd: list[tuple[Slot, int]] = []
        for mapping, names in self.entries:
            try:
                for name, index in names:
                    if mapping[name] is before[index]:
                        mapping[name] = after[index]
                    else:
                        odd.append((Entry(mapping, name), index))
            except KeyError:  # a name was deleted: all of this namespace one by one
                odd += [(Entry(mapping, key), at) for key, at in names if mapping.get(key, MISSING) is not after[at]]
        for slot, index in self.others:
            if slot.get() is before[index]:
                slot.put(after[index])
            else:
                odd.append((slot, index))
        gone = [slot for slot, index in odd if not self.settle(slot, after[index])]
        if gone:
            self._forget(gone)

    def _forget(self, gone: list[Slot]) -> None:
        """Drop slots whose value the application has taken away, so that they cost nothing more."""
        ids = {id(slot) for slot in gone}
        for group in self.groups.values():
            group.slots = {key: held for key, held in group.slots.items() if id(held[0]) not in ids}
        self.stale = True
