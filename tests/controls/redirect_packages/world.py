"""A fake home, a sink, and a redirector over the packages of this directory."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from pytest_session_guard._controls.redirect import Redirector
from pytest_session_guard._core.settings import Line, parse_redirect

PACKAGES = Path(__file__).parent


class World:
    """Everything that a redirector needs, below one temporary directory.

    :ivar warned: the warnings so far, message and class.
    """

    def __init__(self, base: Path) -> None:
        self.home = base / "home"
        self.sink = base / "run" / "sink"
        self.private = base / "run" / "tests"
        self.sources = base / "sources"
        for directory in (self.home, self.sink, self.private, self.sources):
            directory.mkdir(parents=True)
        self.warned: list[tuple[str, type[Warning]]] = []
        self.running: list[Redirector] = []
        self.environment = dict(os.environ)
        self.modules = set(sys.modules)
        os.environ["HOME"] = str(self.home)
        sys.path[:0] = [str(PACKAGES), str(self.sources)]

    def close(self) -> None:
        """Undo what lies outside the temporary directory."""
        for redirector in self.running:
            redirector.stop()
        os.environ.clear()
        os.environ.update(self.environment)
        sys.path.remove(str(PACKAGES))
        sys.path.remove(str(self.sources))
        for name in set(sys.modules) - self.modules:
            if name.partition(".")[0] in ("loom", *(path.stem for path in self.sources.iterdir())):
                del sys.modules[name]

    def redirector(self, *lines: str, resets: Sequence[str] = (), start: bool = True, **options) -> Redirector:
        """A redirector with these lines, started."""
        redirector = Redirector(
            [parse_redirect(Line(line, "test")) for line in lines],
            resets,
            sink=str(self.sink),
            project_roots=[str(PACKAGES), str(self.sources)],
            home=str(self.home),
            warn=lambda message, kind: self.warned.append((message, kind)),
            **options,
        )
        if start:
            redirector.start()
            self.running.append(redirector)
        return redirector

    @contextmanager
    def test(self, redirector: Redirector, name: str = "test_0") -> Iterator[Path]:
        """One test, in a private directory of its own."""
        private = self.private / name
        redirector.enter_test(str(private))
        try:
            yield private
        finally:
            redirector.leave_test()

    def module(self, name: str, source: str = "") -> ModuleType:
        """Import a module, written from this source when there is one."""
        if source:
            path = self.sources.joinpath(*name.split(".")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
            importlib.invalidate_caches()
        return importlib.import_module(name)
