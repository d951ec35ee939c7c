"""A vector is one way to hurt a file: a small function, and what has to be so before it can be tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

Act = Callable[["Scene"], object]
Host = Literal[
    "test",
    "test_module_import",
    "conftest_import",
    "configure",
    "collection_hook",
    "fixture_setup",
    "fixture_teardown",
    "session_fixture_teardown",
    "unittest_teardown_class",
    "runtest_logreport",
    "sessionfinish",
    "terminal_summary",
    "unconfigure",
]


@dataclass(frozen=True)
class Scene:
    """The scratch world of one try. Everything in it lies below ``base`` and is made new for each try.

    :param held: what ``before`` left open for the act, when it ran in the same process.
    """

    base: Path
    held: dict[str, Any] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The ``HOME`` of the run."""
        return self.base / "home"

    @property
    def prot(self) -> Path:
        """The tree that must stay as it is."""
        return self.home / ".prot"

    @property
    def notes(self) -> Path:
        """The text file that most ways go for."""
        return self.prot / "notes.txt"

    @property
    def data(self) -> Path:
        """4 KiB of binary data."""
        return self.prot / "data.bin"

    @property
    def database(self) -> Path:
        """A SQLite database with the table ``message``."""
        return self.prot / "state.db"

    @property
    def tmp(self) -> Path:
        """A free directory; it is the ``TMPDIR`` of the run."""
        return self.base / "tmp"

    @property
    def rootdir(self) -> Path:
        """The directory in which pytest runs, outside the home."""
        return self.base / "project"

    @property
    def out(self) -> Path:
        """Where the runner keeps output and reports."""
        return self.base / "out"


@dataclass(frozen=True)
class Vector:
    """One way, as the decorator recorded it.

    :param setup: runs outside and earlier, as the user, before the first snapshot: what others made.
    :param before: runs in the test process before the guard is imported: what the process itself made too early.
    :param needs: names in ``capabilities``; where one is absent the way is listed as not tried.
    :param protects: paths that the guarded forms declare with ``--session-guard-protect``.
    :param beyond: why no layer can hold it, or tell of it, or an empty string.
    """

    name: str
    family: str
    module: str
    act: Act
    setup: Act | None = None
    before: Act | None = None
    needs: tuple[str, ...] = ()
    host: Host = "test"
    arguments: Callable[[Scene], list[str]] | None = None
    environment: Callable[[Scene], dict[str, str]] | None = None
    project_files: Callable[[Scene], dict[str, str]] | None = None
    protects: Callable[[Scene], list[str]] | None = None
    beyond: str = ""


REGISTRY: Final[dict[str, Vector]] = {}


def vector(family: str, **facts: Any) -> Callable[[Act], Act]:
    """Register the decorated function under its own name.

    :param facts: further fields of ``Vector``.
    :raises ValueError: two functions have one name, so one would silently replace the other.
    """

    def register(act: Act) -> Act:
        name = act.__name__
        if name in REGISTRY:
            raise ValueError(f"vector names must differ, got {name!r} twice")
        REGISTRY[name] = Vector(name=name, family=family, module=act.__module__.rpartition(".")[2], act=act, **facts)
        return act

    return register
