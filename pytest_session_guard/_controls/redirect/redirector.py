"""Redirects from the first conftest to the end of the process."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from pytest_session_guard._controls.redirect.directories import make_parents, parents_of, tidy
from pytest_session_guard._controls.redirect.following import Following
from pytest_session_guard._controls.redirect.holders import Missed
from pytest_session_guard._controls.redirect.imports import ImportWatch
from pytest_session_guard._controls.redirect.names import resolve, split
from pytest_session_guard._controls.redirect.places import Atlas, Target, path_text
from pytest_session_guard._controls.redirect.project import Project
from pytest_session_guard._controls.redirect.resets import Resets
from pytest_session_guard._controls.redirect.sink import LateWrite, Sink
from pytest_session_guard._controls.redirect.slots import Slot
from pytest_session_guard._core.errors import ConfigurationError, RedirectWarning
from pytest_session_guard._core.settings import Line, Redirect

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
        self.redirects = tuple(redirects)
        self.reset_lines = [line if isinstance(line, Line) else Line(line, "configuration") for line in resets]
        named = [split(line.text)[0] for line in self.reset_lines]
        atlas = Atlas(home, [*project_roots, sys.prefix, sys.base_prefix])
        atlas.bases = (sink,)
        self.following = Following(
            sink, Project(project_roots, [*libraries, *named]), atlas, Resets([line.text for line in self.reset_lines])
        )
        self.imports = ImportWatch(self.following)
        self.parents: list[str] = []
        self.moved: dict[Target, str] = {}
        self.told: set[Missed] = set()
        self.sink_view: Sink | None = None

    def start(self) -> None:
        """Redirect the environment and what is already imported; from here on every import is followed.

        To be called before conftests are imported.
        """
        # A child that is forked while another thread holds the lock would wait for that thread for ever.
        os.register_at_fork(after_in_child=self.following.renew_lock)
        with self.following.lock:
            for redirect in self.redirects:
                self.following.enlist(Target(redirect, tidy(redirect.place)), self.rootdir)
            self._places_changed()
            self.imports.start()
            self.following.sweep()
        self.sink_view = Sink(self.sink)

    def check(self) -> None:
        """See that every target is there, importing the modules that the configuration names and nothing else.

        To be called when collection has ended. Gives one warning with all places that cannot be rebound.

        :raises ConfigurationError: a module or attribute does not exist, or holds no path.
        """
        for target in list(self.following.by_attribute.values()):
            require_path("session_guard_redirect", target.redirect)
        for line in self.reset_lines:
            require("session_guard_reset", line.source, line.text)
        with self.following.lock:
            self.imports.start()
            self.following.sweep()
            self.following.holders.log_handlers()
            self.following.holders.descriptors()
        self._tell()
        if self.sink_view is not None:
            self.sink_view.look()

    def enter_test(self, private: str) -> None:
        """Point every target to its place in the private directory of a test, before its fixtures are set up.

        The directory and the parents of places are made, the places themselves are not. A second call for the same
        test changes nothing: the test may have patched a target meanwhile.

        :raises Exception: what a reset's own code raises, after everything has been redirected.
        """
        following = self.following
        if following.in_test and following.values.base == private:
            return
        with following.lock:
            following.notice()
            following.in_test = True
            following.atlas.bases = (private, self.sink)
            make_parents(private, self.parents)
            following.move(private)
        self._tell()
        following.resets.run()

    def leave_test(self) -> None:
        """Point every target to the sink again, whatever the test and its fixtures left behind.

        To be called when all function-scoped fixtures are torn down.

        :raises Exception: what a reset's own code raises, after everything has been redirected.
        """
        following = self.following
        with following.lock:
            following.notice()
            following.in_test = False
            if self.moved:
                self._move_back()
            following.move(self.sink)
        self._tell()
        following.resets.run()

    def stop(self) -> None:
        """End of the run: targets stay on the sink for whatever still runs, imports are followed no more."""
        with self.following.lock:
            self.following.move(self.sink)
            self.imports.stop()

    def add(self, redirect: Redirect) -> None:
        """Redirect one more target at once, in a running test.

        A target that is declared already moves to the new place for this test only. A new one stays in force: it
        points to the sink between tests and to its place in the tests that follow.

        :raises ConfigurationError: the module or attribute does not exist, or holds no path.
        """
        if redirect.kind == "attribute":
            require_path("session_guard.redirect()", redirect)
        known = next((one for one in self.following.targets if is_same_target(one.redirect, redirect)), None)
        with self.following.lock:
            if known is None:
                self.following.enlist(Target(redirect, tidy(redirect.place)), self.rootdir)
                self._places_changed()
                self.following.sweep()
            else:
                self.moved.setdefault(known, known.place)
                known.place = tidy(redirect.place)
                self.following.atlas.add_place(known)
                self._places_changed()
                self.following.refresh()
        self._tell()

    def _move_back(self) -> None:
        for target, place in self.moved.items():
            target.place = place
        self.moved.clear()
        self._places_changed()
        self.following.refresh()

    def _places_changed(self) -> None:
        self.parents = parents_of(target.place for target in self.following.targets)
        make_parents(self.sink, self.parents)
        make_parents(self.following.values.base, self.parents)

    def add_reset(self, target: str) -> None:
        """Reset one more target at once, and before and after every test from now on.

        :raises ConfigurationError: the module or attribute does not exist.
        """
        require("session_guard.reset()", "test", target)
        reset = self.following.resets.add(target)
        reset.follow()
        reset.run()

    def late_writes(self, at_last: bool = False) -> list[LateWrite]:
        """What has landed in the sink since the last call (since `check`, the first time).

        :param at_last: the run is over: look, even where a sink full of files makes a look dear.
        """
        out = []
        for path, change in self.sink_view.look(at_last) if self.sink_view is not None else []:
            spot = self.following.atlas.find(path)
            real = next(iter(spot.target.real), "") if spot else ""
            line = f"{spot.target.redirect.target} = {spot.target.redirect.place}" if spot else ""
            out.append(LateWrite(path, change, line, real + spot.suffix if spot and real else ""))
        return out

    @contextmanager
    def wider_fixture(self) -> Iterator[None]:
        """To be put around the set-up of a fixture wider than one test.

        Where it patches a target to something of its own (not to the real path), that stays until it undoes it,
        instead of being taken for something that a test left behind.
        """
        with self.following.lock:
            hold_changed = self.following.hold()
        try:
            yield
        finally:
            with self.following.lock:
                hold_changed()

    def _tell(self) -> None:
        """Warn about the places that cannot be rebound, each once."""
        missed = self.following.holders.missed
        if len(missed) == len(self.told):
            return
        new = [one for one in missed if one not in self.told]
        self.told.update(new)
        self.warn(describe(new), RedirectWarning)


def describe(missed: Sequence[Missed]) -> str:
    """The warning about places that cannot be rebound."""
    count = f"{len(missed)} place{'s' if len(missed) > 1 else ''}"
    lines = [f"  {one}" for one in missed[:SHOWN_MISSES]]
    if len(missed) > SHOWN_MISSES:
        lines.append(f"  … and {len(missed) - SHOWN_MISSES} more")
    return "\n".join(
        [
            f"a redirected path lives on in {count} that cannot be rebound",
            *lines,
            "  fix:  name the attribute (session_guard_redirect: module:OBJECT.attribute = PLACE), or make the object in a fixture",
            f"  [{RedirectWarning.slug}]",
        ]
    )


def is_same_target(one: Redirect, other: Redirect) -> bool:
    """Whether two lines name the same target."""
    return (one.kind, one.target) == (other.kind, other.target)


def require(option: str, source: str, target: str) -> Slot:
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
        raise ConfigurationError(
            option, source, f"names no attribute {attribute!r} of {module}, got {target!r}", allowed
        )
    return slot


def require_path(option: str, redirect: Redirect) -> None:
    """See that an attribute target exists and holds a path.

    :raises ConfigurationError: it does not.
    """
    value = require(option, redirect.source, redirect.target).get()
    if path_text(value) is None:
        raise ConfigurationError(
            option,
            redirect.source,
            f"names an attribute that holds no path but a {type(value).__qualname__}, got {redirect.target!r}",
            "an attribute that holds a Path, str, bytes or os.PathLike",
        )
