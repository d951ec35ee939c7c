"""The state database: which sessions there are, and enough to make a lost session file again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from chatstore import files, paths
from chatstore.errors import UnknownSessionError
from chatstore.models import Session

_COLUMNS = {
    "session_id": "TEXT PRIMARY KEY",
    "title": "TEXT NOT NULL DEFAULT ''",
    "created_at": "REAL NOT NULL DEFAULT 0",
    "updated_at": "REAL NOT NULL DEFAULT 0",
    # The first version ended here.
    "workspace": "TEXT NOT NULL DEFAULT ''",
    "worktree_path": "TEXT NOT NULL DEFAULT ''",
    "worktree_branch": "TEXT NOT NULL DEFAULT ''",
}


def put(session: Session) -> None:
    """Make the database say what ``session`` says, in one transaction."""
    names = list(_COLUMNS)
    turns = [(session.session_id, at, json.dumps(message)) for at, message in enumerate(session.messages)]
    with _writing() as database:
        marks = ", ".join("?" * len(names))
        row = [getattr(session, name) for name in names]
        database.execute(f"INSERT OR REPLACE INTO sessions ({', '.join(names)}) VALUES ({marks})", row)
        database.execute("DELETE FROM messages WHERE session_id = ?", [session.session_id])
        database.executemany("INSERT INTO messages VALUES (?, ?, ?)", turns)


def forget(session_id: str) -> None:
    """Take a session out. From here on nothing at start brings it back."""
    with _writing() as database:
        database.execute("DELETE FROM sessions WHERE session_id = ?", [session_id])
        database.execute("DELETE FROM messages WHERE session_id = ?", [session_id])


def known_ids() -> set[str] | None:
    """The ids that have a row; ``None`` where there is no database that could tell."""
    if not paths.STATE_DB.exists():
        return None
    with _reading() as database:
        if not _columns_there(database):
            return None
        return {session_id for (session_id,) in database.execute("SELECT session_id FROM sessions")}


def get(session_id: str) -> Session:
    """The session as its row and its messages tell it.

    A database written by an older version lacks columns; the fields of those keep their default.

    :raises UnknownSessionError: no database, or no such row.
    """
    if not paths.STATE_DB.exists():
        raise UnknownSessionError(session_id)
    with _reading() as database:
        names = [name for name in _COLUMNS if name in _columns_there(database)]
        if not names:
            raise UnknownSessionError(session_id)
        query = f"SELECT {', '.join(names)} FROM sessions WHERE session_id = ?"
        row = database.execute(query, [session_id]).fetchone()
        if row is None:
            raise UnknownSessionError(session_id)
        bodies = database.execute("SELECT body FROM messages WHERE session_id = ? ORDER BY position", [session_id])
        messages = [json.loads(body) for (body,) in bodies]
    return Session(**dict(zip(names, row, strict=True)), messages=messages)


@contextmanager
def _writing() -> Iterator[sqlite3.Connection]:
    paths.STATE_DB.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(paths.STATE_DB, timeout=30)) as database, database:
        if not files.DURABLE:
            database.execute("PRAGMA synchronous = OFF")
        # From here on all or nothing, the tables included: by itself the module would commit those one at a time.
        database.execute("BEGIN IMMEDIATE")
        columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
        database.execute(f"CREATE TABLE IF NOT EXISTS sessions ({columns})")
        database.execute("CREATE TABLE IF NOT EXISTS messages (session_id TEXT, position INTEGER, body TEXT)")
        database.execute("CREATE INDEX IF NOT EXISTS message_session ON messages (session_id)")
        for name in _COLUMNS.keys() - _columns_there(database):
            database.execute(f"ALTER TABLE sessions ADD COLUMN {name} {_COLUMNS[name]}")
        yield database


@contextmanager
def _reading() -> Iterator[sqlite3.Connection]:
    # Never creates, and writes nothing where nothing is wrong. But not "mode=ro": what a killed writer left half done has
    # to be rolled back before anybody can read, and a read-only connection fails there.
    with closing(sqlite3.connect(f"{paths.STATE_DB.as_uri()}?mode=rw", uri=True, timeout=30)) as database:
        yield database


def _columns_there(database: sqlite3.Connection) -> set[str]:
    return {row[1] for row in database.execute("PRAGMA table_info(sessions)")}
