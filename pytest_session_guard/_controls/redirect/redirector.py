"""Redirects from the first conftest to the end of the process."""

from __future__ import annotations

import enum
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, Final

from pytest_session_guard._controls.redirect.environment import Environment
from pytest_session_guard._controls.redirect.holders import Holders, Missed
from pytest_session_guard._controls.redirect.imports import ImportWatch
from pytest_session_guard._controls.redirect.names import namespace_of, resolve, split
from pytest_session_guard._controls.redirect.places import Atlas, Spot, Target, text_of
from pytest_session_guard._controls.redirect.project import Project
from pytest_session_guard._controls.redirect.resets import Resets
from pytest_session_guard._controls.redirect.scan import Scan
from pytest_session_guard._controls.redirect.sink import LateWrite, Sink
from pytest_session_guard._controls.redirect.slots import MISSING, Entry, Slot
from pytest_session_guard._controls.redirect.table import Table
from pytest_session_guard._controls.redirect.values import Fixed, Values
from pytest_session_guard._core.errors import ConfigurationError, RedirectWarning
from pytest_session_guard._core.settings import Line, Redirect
from pytest_session_guard._host.fsops import OwnPath, Raw

SHOWN_MISSES: Final = 20


class Redirector:
    """Points every target to a private directory while a test runs, and to the run's sink at all other times.

    Once `start` has returned, no target is ever bound to its real path again while the process lives: late threads,
    exit handlers and `monkeypatch.undo` find the sink. Where a value was copied before (``from m import ATTR``, a
    default, a class attribute, a container), the copies follow.

    :param resets: lines of ``session_guard_reset``, with their source where it is known.
    :param sink: an existing directory of the run, absolute.
    :param project_roots: where the project's modules lie; the first stands for ``{rootdir}``.
    :param home: the real home, captured before anything was redirected.
    :param warn: called with a message and the warning's class.
    :param libraries: packages that are to be treated as the project's wherever they are installed.
    """

    def __init__(
        self,
        redirects: Sequence[Redirect],
        resets: Sequence[Line | str],
        *,
        sink: str,
        project_roots: Sequence[str],
        home: str,
        warn: Callable[[str, type[Warning]], None],
        libraries: Sequence[str] = (),
    ) -> None:
        self.sink, self.warn, self.rootdir = sink, warn, project_roots[0] if project_roots else ""
        self.private = ""
        self.reset_lines = [line if isinstance(line, Line) else Line(line, "configuration") for line in resets]
        named = [split(one.target)[0] for one in redirects if one.kind == "attribute"]
        named += [split(line.text)[0] for line in self.reset_lines]
        self.project = Project(project_roots, [*libraries, *named])
        self.atlas = Atlas(home, [*project_roots, sys.prefix, sys.base_prefix])
        self.atlas.bases = (sink,)
        self.values = Values(sink)
        self.table = Table(self._settle)
        self.environment = Environment(self.atlas)
        self.resets = Resets([line.text for line in self.reset_lines])
        self.holders = Holders(self._is_governed, self._is_named)
        self.imports = ImportWatch(self._import_ended)
        self.targets = [self._target(redirect) for redirect in redirects]
        self.declared = list(self.targets)
        self.parents = parents_of(self.targets)
        self.held: dict[tuple[object, ...], Any] = {}
        self.moved: dict[Target, str] = {}
        self.identities: dict[int, tuple[Any, Target]] = {}
        self.seen: dict[str, int] = {}
        self.loaded = 0
        self.unswept = True
        self.told: set[Missed] = set()
        self.lock = threading.RLock()
        self.sink_view: Sink | None = None

    def start(self) -> None:
        """Redirect the environment and what is already imported; from here on every import is followed.

        To be called before conftests are imported.
        """
        # A child that is forked while another thread holds the lock would wait for that thread for ever.
        os.register_at_fork(after_in_child=self._renew_lock)
        with self.lock:
            for target in self.targets:
                self._enlist(target)
            self._make_parents(self.sink)
            self.environment.follow(self.sink)
            self.imports.start()
            self._sweep()
        self.sink_view = Sink(self.sink)

    def check(self) -> None:
        """See that every target is there, importing the modules that the configuration names and nothing else.

        To be called when collection has ended. Gives one warning with all places that cannot be rebound.

        :raises ConfigurationError: a module or attribute does not exist, or holds no path.
        """
        for target in self.targets:
            if target.redirect.kind == "attribute":
                self._check_target(target)
        for line in self.reset_lines:
            self._require("session_guard_reset", line.source, line.text)
        with self.lock:
            self.imports.start()
            self._sweep()
            self.holders.log_handlers()
            self.holders.descriptors()
        self._tell()
        if self.sink_view is not None:
            self.sink_view.look()

    def enter_test(self, private: str) -> None:
        """Point every target to its place in the private directory of a test, before its fixtures are set up.

        The directory and the parents of places are made, the places themselves are not.

        :raises Exception: what a reset's own code raises, after everything has been redirected.
        """
        with self.lock:
            self.private = private
            self._notice()
            self.atlas.bases = (private, self.sink)
            self._make_parents(private)
            self._move(private)
        self._tell()
        self.resets.run()

    def leave_test(self) -> None:
        """Point every target to the sink again, whatever the test and its fixtures left behind.

        To be called when all function-scoped fixtures are torn down.

        :raises Exception: what a reset's own code raises, after everything has been redirected.
        """
        with self.lock:
            self._notice()
            for target, place in self.moved.items():
                target.place = place
            if self.moved:
                self.moved.clear()
                self.parents = parents_of(self.targets)
                self.table.move(*self.values.refresh())
            self._move(self.sink)
        self._tell()
        self.resets.run()

    def stop(self) -> None:
        """End of the run: targets stay on the sink for whatever still runs, imports are followed no more."""
        with self.lock:
            self._move(self.sink)
            self.imports.stop()

    def _move(self, base: str) -> None:
        before_base = self.values.base
        before, after = self.values.move(base)
        self.table.move(before, after)
        for name, namespace in self.table.living():
            self._apply(self._scan(name, namespace).found)
        self.environment.move(before_base, base)

    def add(self, redirect: Redirect) -> None:
        """Redirect one more target at once, in a running test.

        A target that is declared already moves to the new place for this test only. A new one stays in force: it
        points to the sink between tests and to its place in the tests that follow.

        :raises ConfigurationError: the module or attribute does not exist, or holds no path.
        """
        known = next((one for one in self.targets if same_target(one.redirect, redirect)), None)
        target = known or self._target(redirect)
        with self.lock:
            if known is not None:
                self.moved.setdefault(known, known.place)
                known.place = tidy(redirect.place)
                self.parents = parents_of(self.targets)
                self.atlas.add_place(known)
                self.table.move(*self.values.refresh())
                self.environment.move(self.values.base, self.values.base)
            elif redirect.kind != "attribute":
                self._join(target)
        if known is None and redirect.kind == "attribute":
            self._require("session_guard.redirect()", redirect.source, redirect.target)
            with self.lock:
                self._join(target)
            self._check_target(target)
        self._make_parents(self.values.base)
        self._tell()

    def _join(self, target: Target) -> None:
        self.targets.append(target)
        self.parents = parents_of(self.targets)
        if target.redirect.kind == "attribute":
            self.project.name(split(target.redirect.target)[0])
        self._enlist(target)
        self._make_parents(self.sink)
        self.environment.follow(self.values.base)
        self._sweep()

    def add_reset(self, target: str) -> None:
        """Reset one more target at once, and before and after every test from now on.

        :raises ConfigurationError: the module or attribute does not exist.
        """
        self._require("session_guard.reset()", "test", target)
        reset = self.resets.add(target)
        reset.follow()
        reset.run()

    def late_writes(self) -> list[LateWrite]:
        """What has landed in the sink since the last call (since `check`, the first time)."""
        changes = self.sink_view.look() if self.sink_view is not None else []
        out = []
        for path, change in changes:
            spot = self.atlas.find(path)
            real = min(spot.target.real, default="") if spot else ""
            line = f"{spot.target.redirect.target} = {spot.target.redirect.place}" if spot else ""
            out.append(LateWrite(path, change, line, real + spot.suffix if spot and real else ""))
        return out

    @contextmanager
    def wider_fixture(self) -> Iterator[None]:
        """To be put around the set-up of a fixture wider than one test.

        Where it patches a target to something of its own (not to the real path), that stays until it undoes it,
        instead of being taken for something that a test left behind.
        """
        before = {slot.key: slot.get() for slot, _ in self.table.slots() if not slot.elastic}
        compare = self.environment.hold(self.values.base)
        try:
            yield
        finally:
            with self.lock:
                for slot, index in self.table.slots():
                    value = slot.get()
                    old = before.get(slot.key, value)
                    if value is not old and value is not self.values.now[index] and not self._is_governed(value):
                        self.held[slot.key] = value
                compare()

    def _target(self, redirect: Redirect) -> Target:
        return Target(redirect, tidy(redirect.place))

    def _enlist(self, target: Target) -> None:
        """Make a target known to those who look for it; an attribute's real path is learnt when its module is there."""
        self.atlas.add_place(target)
        if target.redirect.kind == "root":
            text = target.redirect.target.replace("{rootdir}", self.rootdir)
            self.atlas.add_real(target, os.path.expanduser(text) if text[:1] == "~" and text[1:2] not in ("", "/") else text)
        elif target.redirect.kind == "environment":
            self.environment.name(target, self.values.base)

    def _make_parents(self, base: str) -> None:
        """Make the directories that places lie in."""
        for parent in self.parents:
            path = f"{base}/{parent}" if parent else base
            try:
                Raw.lstat(path)
            except FileNotFoundError:
                make_directory(path)

    def _notice(self) -> None:
        """Follow what was imported since the last look; nearly always one comparison."""
        if self.unswept:
            self._sweep()
        elif len(sys.modules) != self.loaded:
            self._look_at(sys.modules.copy(), only_new=True)

    def _sweep(self) -> None:
        """Look at every module: what was learnt since may live on in an older one."""
        modules = sys.modules.copy()
        self.unswept = False
        self.table.drop_unnamed(modules)
        self._learn()
        self._look_at(modules, only_new=False)
        self.environment.follow(self.values.base)
        self.resets.follow()
        self._learn()

    def _look_at(self, modules: dict[str, Any], only_new: bool) -> None:
        self.loaded = len(modules)
        for name, module in modules.items():
            if only_new and self.seen.get(name) == id(module):
                continue
            self.seen[name] = id(module)
            namespace = namespace_of(module)
            if namespace is None:
                continue
            if self.project.owns_namespace(name, namespace):
                self._follow(name, module, namespace)
            elif self.identities:
                self._follow_aliases(name, module, namespace)

    def _follow(self, name: str, module: Any, namespace: dict[str, Any]) -> None:
        found = self._scan(name, namespace).found
        if found:
            self._apply(self.table.group(name, module, namespace).merge(found))
            self.table.stale = True

    def _scan(self, name: str, namespace: dict[str, Any]) -> Scan:
        scan = Scan(self, self.project.owns, self.holders)
        scan.module(name, namespace)
        return scan

    def _follow_aliases(self, name: str, module: Any, namespace: dict[str, Any]) -> None:
        """A module of others is left alone but for names bound to the very object that a target's attribute holds."""
        identities = self.identities
        for attribute, value in namespace.copy().items():
            if id(value) in identities and type(attribute) is str:
                index = self.index_of(value, f"{name}:{attribute}")
                if index is not None:
                    self._apply(self.table.group(name, module, namespace).merge([(Entry(namespace, attribute), index)]))
                    self.table.stale = True

    def _apply(self, found: Sequence[tuple[Slot, int]]) -> None:
        for slot, index in found:
            try:
                if slot.get() is not self.values.now[index]:
                    slot.put(self.values.now[index])
            except (TypeError, AttributeError, ValueError):
                self.holders.note(f"{slot.owner!r}", type(slot.owner))

    def _learn(self, module: str = "") -> None:
        """Find the slots that `module:ATTR` lines name, and the paths that they really hold."""
        for target in self.targets:
            if target.redirect.kind != "attribute" or module not in ("", split(target.redirect.target)[0]):
                continue
            slot = resolve(target.redirect.target)
            if slot is not None:
                self._learn_slot(target, slot)

    def _learn_slot(self, target: Target, slot: Slot) -> None:
        name = split(target.redirect.target)[0]
        loaded = sys.modules[name]
        namespace = namespace_of(loaded)
        value = slot.get()
        text = path_text(value)
        if text is None or namespace is None:
            return
        group = self.table.group(name, loaded, namespace)
        known = group.slots.get(slot.key)
        if known is not None and (value is self.values.now[known[1]] or self._has_own_value(value)):
            return
        if text[:1] in ("/", "~"):
            self.atlas.add_real(target, text)
        if id(value) not in self.identities:
            self.identities[id(value)] = value, target
        index = self.values.leaf(Spot(target, ""), type(value))
        self.identities[id(self.values.sink[index])] = self.values.sink[index], target
        group.pin(slot, index)
        self._apply([(slot, index)])
        self.table.stale = self.unswept = True

    def _has_own_value(self, value: Any) -> bool:
        """Whether a test or a wider fixture has put something of its own there: no path that a target governs."""
        return bool(self.private) and not self._is_governed(value)

    def _import_ended(self, module: Any) -> None:
        namespace = namespace_of(module)
        name = getattr(getattr(module, "__spec__", None), "name", None) or (namespace or {}).get("__name__")
        if namespace is None or not isinstance(name, str):
            return
        if not self.project.owns_namespace(name, namespace):
            return
        with self.lock:
            self._learn(name)
            self._follow(name, module, namespace)
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
        text = path_text(value)
        if text is None or issubclass(kind, enum.Enum):
            return None
        spot = self.atlas.find(text, sentence=issubclass(kind, (str, bytes)))
        if spot is None and id(value) in self.identities:
            target = self.identities[id(value)][1]
            # Short texts are shared by the interpreter, so a relative one is an alias under its own name only.
            if issubclass(kind, PurePath) or text[:1] == "/" or where.endswith((":" + name_of(target), "." + name_of(target))):
                spot = Spot(target, "")
        return spot

    def _is_governed(self, value: Any) -> bool:
        return self._spot(value, "") is not None

    def _is_named(self, where: str) -> bool:
        return any(one.redirect.target == where for one in self.targets)

    def _settle(self, slot: Slot, index: int, value: Any) -> None:
        """Decide about a slot that does not hold what it was given."""
        held = slot.get()
        if slot.elastic:
            at = self.index_of(held, "") if held is not MISSING else None
            if at is not None:
                slot.put(self.values.now[at])
            return
        key = slot.key
        if key in self.held:
            if held is self.held[key]:
                return
            del self.held[key]
        slot.put(value)

    def _check_target(self, target: Target) -> None:
        redirect = target.redirect
        slot = self._require("session_guard_redirect", redirect.source, redirect.target)
        if path_text(slot.get()) is None:
            kind = type(slot.get()).__qualname__
            raise ConfigurationError(
                "session_guard_redirect",
                redirect.source,
                f"names an attribute that holds no path but a {kind}, got {redirect.target!r}",
                "an attribute that holds a Path, str, bytes or os.PathLike",
            )

    def _require(self, option: str, source: str, target: str) -> Slot:
        """The slot of a target, whose module is imported if need be.

        :raises ConfigurationError: it does not exist.
        """
        module, attribute = split(target)
        allowed = "module:ATTR or module:Class.attr of a module that can be imported"
        try:
            if module not in sys.modules:
                importlib.import_module(module)
        except Exception as error:  # the module's own code may raise anything
            problem = f"names a module that cannot be imported ({type(error).__name__}: {error}), got {target!r}"
            raise ConfigurationError(option, source, problem, allowed) from error
        slot = resolve(target)
        if slot is None:
            raise ConfigurationError(option, source, f"names no attribute {attribute!r} of {module}, got {target!r}", allowed)
        return slot

    def _tell(self) -> None:
        """Warn about the places that cannot be rebound, each once."""
        new = [missed for missed in self.holders.missed if missed not in self.told]
        if not new:
            return
        self.told.update(new)
        count = f"{len(new)} place{'s' if len(new) > 1 else ''}"
        lines = [f"  {missed}" for missed in new[:SHOWN_MISSES]]
        more = [f"  … and {len(new) - SHOWN_MISSES} more"] if len(new) > SHOWN_MISSES else []
        fix = "  fix:  name the attribute (session_guard_redirect: module:OBJECT.attribute = PLACE), or make the object in a fixture"
        head = f"a redirected path lives on in {count} that cannot be rebound"
        self.warn("\n".join([head, *lines, *more, fix, f"  [{RedirectWarning.slug}]"]), RedirectWarning)

    def _renew_lock(self) -> None:
        self.lock = threading.RLock()


def path_text(value: Any) -> str | None:
    """The path in a value of any type that is one, else ``None``."""
    text = text_of(value)
    if text is not None:
        return text
    method = next((vars(kind)["__fspath__"] for kind in type(value).__mro__ if "__fspath__" in vars(kind)), None)
    if method is None:
        return None
    try:
        return os.fsdecode(method(value))
    except Exception:  # the application's own __fspath__; what has no path now is no path
        return None


def name_of(target: Target) -> str:
    """The last name of an attribute target."""
    return split(target.redirect.target)[1].rpartition(".")[2]


def same_target(one: Redirect, other: Redirect) -> bool:
    """Whether two lines name the same target."""
    return (one.kind, one.target) == (other.kind, other.target)


def tidy(place: str) -> str:
    """A place without doubled slashes and dots; ``""`` for the base itself."""
    return "/".join(part for part in place.replace("\\", "/").split("/") if part not in ("", "."))


def ancestors(place: str) -> list[str]:
    """The directories above a place, outermost first, without the base."""
    parts = place.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def parents_of(targets: Sequence[Target]) -> list[str]:
    """The directories that places lie in, outermost first; ``""`` is the base."""
    return sorted({"", *(parent for one in targets for parent in ancestors(one.place))})


def make_directory(path: str) -> None:
    """Make a directory and those above it; one that is there already is fine.

    :raises OSError: what the kernel said.
    """
    try:
        Raw.mkdir(OwnPath(path))
    except FileExistsError:
        return
    except FileNotFoundError:
        make_directory(path.rpartition("/")[0])
        make_directory(path)
