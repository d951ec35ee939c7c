"""The words of an incident: where its data lies, what its suite is, what must come out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from textwrap import dedent
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .scene import Scene
    from .stand_ins import StandIn

TOKENS: Final = ("home", "checkout", "elsewhere", "tmp", "bin", "python", "port")
"""Places that the texts of a case name as ``@home@``, ``@checkout@`` and so on."""


class Reach(StrEnum):
    """How far the plugin reaches: what the guarded runs of an incident are held to."""

    ZERO = "zero"
    """Nothing but the plugin installed: the data stays as it was."""
    LINE = "line"
    """One line of configuration prevents it; without that line the harm can at most be undone."""
    OUT = "out"
    """No file system guard can hold it; the harm is measured all the same."""


class Signal(StrEnum):
    """How a person learns of it from an enforced run that prevented the damage."""

    RED = "red"
    """The run fails and names the culprit and the path."""
    DISARMED = "disarmed"
    """The cause is taken away at the start (an inherited variable): the suite passes and touches nothing."""


@dataclass(frozen=True)
class Rows:
    """A SQLite database as seed: table name to its rows, all of them text."""

    tables: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Link:
    """A symlink as seed; the target may hold tokens."""

    target: str


@dataclass(frozen=True)
class Fifo:
    """A named pipe as seed: the stand-in for a device node."""


Seed = str | bytes | Rows | Link | Fifo
Prepare = Callable[["Scene"], None]
Start = Callable[["Scene"], AbstractContextManager["StandIn"]]


@dataclass(frozen=True, kw_only=True)
class Incident:
    """One public accident, reduced to the smallest suite that repeats it.

    Texts of ``project``, ``seeds``, ``arguments`` and ``environment`` may name places by ``TOKENS``. Paths of seeds and of ``harmed``
    start with the place: ``home/.config/app.toml``.
    """

    id: str
    url: str
    year: int
    happened: str
    """One sentence, in our own words."""
    mechanism: str
    data: str
    """Where the harmed data lies: home, checkout, elsewhere, system, server or process."""
    harmed: tuple[str, ...]
    """Every difference that the unguarded run makes, as ``facts.list_differences`` words it."""
    culprit: str
    """What an enforced run must print to be of use: the test, or the file where there is no test."""
    named_path: str
    """The path that must be printed with it, from its place on."""
    variant: str = ""
    """Name of a second way to the same harm; the rows of the table are per id."""
    seeds: Mapping[str, Seed] = field(default_factory=dict)
    project: Mapping[str, str] = field(default_factory=dict)
    git: bool = False
    """Whether the checkout is a repository with the project as its one commit (seeds stay untracked)."""
    prepare: Prepare | None = None
    """What else is set up before the run, after the seeds."""
    stand_in: Start | None = None
    """What lives beside the run: a server, a process, a program that writes."""
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    working_directory: str = "@checkout@"
    command: tuple[str, ...] = ()
    """Started instead of ``python -m pytest`` (a runner that starts pytest itself); empty for pytest."""
    interpreter: str = ""
    """The Python that runs pytest, where the case needs an environment of its own."""
    plugins: tuple[str, ...] = ()
    """Entry points of pytest plugins that the suite needs; all others are blocked."""
    kill_at: str = ""
    """Name of a file in the temporary directory: once it is there, pytest gets SIGKILL."""
    bystanders: tuple[str, ...] = ()
    """Facts that a live program changes during the run: they are not the suite's."""
    reach: Reach = Reach.ZERO
    signal: Signal = Signal.RED
    line: str = ""
    """The line of configuration that prevents it, where one is needed."""
    lost: tuple[str, ...] = ()
    """What is gone for good without that line: no pre-image is kept in a free place."""
    reason: str = ""
    """Why a line is needed, or why it is out of reach."""
    needs_kernel: bool = False
    """Whether only a kernel layer sees it: native code, or a child that is no Python."""

    @property
    def key(self) -> str:
        """Name of the case in the test ids and in ``outcomes.json``."""
        return f"{self.id}+{self.variant}" if self.variant else self.id


def text(content: str) -> str:
    """Give an indented block as the text of a file."""
    return dedent(content).lstrip("\n")
