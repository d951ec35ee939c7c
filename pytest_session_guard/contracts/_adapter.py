"""What a store must be able to do for the contract to look at it, and what it may be able to do besides."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

ABILITIES: Final[Mapping[str, tuple[str, ...]]] = {
    "metadata": ("load_metadata",),
    "stream": ("clear_stream",),
    "backup": ("backup_file",),
    "recovery": ("recover",),
    "state": ("forget_in_state",),
    "rebuild": ("rebuild",),
    "details": ("details",),
    "old-schema": ("age_state",),
    "index": ("index_file",),
    "processes": ("start_saving",),
    "history": ("history_file", "meta_file", "regenerate"),
    "fork": (),
}
"""What a store may be able to do → the members of its adapter that say so. ``fork`` is the platform's."""


class StoreAdapter(Protocol):
    """The eight things that every store can do, in the contract's words.

    A session is whatever the store calls one. The contract reads and changes its fields ``session_id``, ``title``,
    ``messages`` (a list of dicts) and, for the ability ``stream``, ``stream_id``, through ``get`` and ``put``.

    An ability of :data:`ABILITIES` is there when the adapter has its members:

    - ``load_metadata(session_id)`` gives the session without its messages, which must then refuse to be saved;
    - ``clear_stream(session)`` forgets the stream that a dead process left in a session, given such a stub of it;
    - ``backup_file(session_id)`` is the path of the last longer version;
    - ``recover()`` drops every cache and does what a start of the application does;
    - ``forget_in_state(session_id)`` takes the row of a session out of the state database, as a deletion begins;
    - ``rebuild(session_id)`` makes a lost session file again from the state database;
    - ``details`` names fields (workspace, worktree) and the values to try, which rebuilding has to keep;
    - ``age_state()`` brings the state database to its oldest schema, without the columns of ``details``;
    - ``index_file`` is the path of the index, a text in which the ids of the sessions can be read;
    - ``start_saving(count)`` starts a process that saves so many new sessions and prints their ids, one a line, to a
      pipe, as text;
    - ``history_file(session_id)``, ``meta_file(session_id)`` and ``regenerate()``, which writes every such metadata
      file again from the history beside it.
    """

    @property
    def root(self) -> Path:
        """The directory that holds everything the store writes; below the private directory of the test."""

    def make(self) -> Any:
        """A new session."""

    def get(self, session: Any, field: str, /) -> Any:
        """A field of a session."""

    def put(self, session: Any, field: str, value: Any, /) -> None:
        """Change a field of a session in memory."""

    def find(self, session_id: str, /) -> Any:
        """The session with this id, as the application finds it: in memory, else on disk."""

    def load(self, session_id: str, /) -> Any:
        """The session as its file has it, past every cache; raises where there is no such file."""

    def save(self, session: Any, /) -> None:
        """Write a session to disk."""

    def list_ids(self) -> Sequence[str]:
        """The ids of the saved sessions as the application lists them, the one saved last first."""

    def session_file(self, session_id: str, /) -> Path:
        """The path of the file that holds one session."""


@dataclass(frozen=True, kw_only=True)
class FunctionAdapter:
    """An adapter put together from the functions that a store has, a line each; see :class:`StoreAdapter`."""

    root: Path
    make: Callable[[], Any]
    find: Callable[[str], Any]
    load: Callable[[str], Any]
    save: Callable[[Any], object]
    list_ids: Callable[[], Sequence[str]]
    session_file: Callable[[str], Path]
    get: Callable[[Any, str], Any] = getattr
    put: Callable[[Any, str, Any], object] = setattr
    load_metadata: Callable[[str], Any] | None = None
    clear_stream: Callable[[Any], object] | None = None
    backup_file: Callable[[str], Path] | None = None
    recover: Callable[[], object] | None = None
    forget_in_state: Callable[[str], object] | None = None
    rebuild: Callable[[str], object] | None = None
    details: Mapping[str, object] | None = None
    age_state: Callable[[], object] | None = None
    index_file: Path | None = None
    start_saving: Callable[[int], subprocess.Popen[str]] | None = None
    history_file: Callable[[str], Path] | None = None
    meta_file: Callable[[str], Path] | None = None
    regenerate: Callable[[], object] | None = None


def missing_members(store: object, ability: str) -> tuple[str, ...]:
    """What the adapter lacks to have ``ability``; empty when it has it.

    :raises ValueError: there is no such ability.
    """
    if ability not in ABILITIES:
        raise ValueError(f"unknown ability {ability!r}; there are {', '.join(ABILITIES)}")
    if ability == "fork":
        return () if hasattr(os, "fork") else ("os.fork",)
    return tuple(member for member in ABILITIES[ability] if getattr(store, member, None) is None)
