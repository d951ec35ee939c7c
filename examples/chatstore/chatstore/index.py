"""``_index.json``: one row a session, newest first, so that the list need not open every file.

The index is a cache of the session files. Whatever is wrong with it is mended from them, and no session is lost with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chatstore import files, models, paths
from chatstore.errors import CorruptSessionError
from chatstore.locks import store_lock
from chatstore.models import Session

Row = dict[str, Any]


def row_of(session: Session) -> Row:
    """What the index says about a session."""
    return {
        "session_id": session.session_id,
        "title": session.title,
        "message_count": session.message_count,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
    }


def session_files() -> list[Path]:
    """Every file that should hold a session; files whose name starts with ``_`` are the store's own."""
    return sorted(path for path in paths.SESSION_DIR.glob("*.json") if path.name[0] not in "._")


def read_rows() -> list[Row] | None:
    """The rows as they are on disk; ``None`` where the index is missing or is not one."""
    try:
        rows = json.loads(paths.SESSION_INDEX_FILE.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return rows if isinstance(rows, list) and all(_is_row(row) for row in rows) else None


def list_rows() -> list[Row]:
    """The rows of the sessions that are there, newest first; mends the index when there is none to read."""
    rows = read_rows()
    return rebuild() if rows is None else _present(rows)


def update(session: Session) -> None:
    """Bring the row of one session up to date; every other row stays, unless its file is gone."""
    with store_lock():
        rows = read_rows()
        if rows is None:
            rebuild()
            return
        others = [row for row in _present(rows) if row["session_id"] != session.session_id]
        _write([row_of(session), *others])


def drop(session_id: str) -> None:
    """Take the row of a deleted session out."""
    with store_lock():
        _write([row for row in list_rows() if row["session_id"] != session_id])


def rebuild() -> list[Row]:
    """Write the index anew from the session files and return it; a file that holds no session is left out."""
    with store_lock():
        rows = []
        for path in session_files():
            try:
                rows.append(row_of(models.decode(path.read_bytes())))
            except (CorruptSessionError, FileNotFoundError):
                continue
        return _write(rows)


def _is_row(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("session_id"), str) and isinstance(row.get("updated_at"), float)


def _present(rows: Iterable[Row]) -> list[Row]:
    present = {path.stem for path in session_files()}
    return [row for row in rows if row["session_id"] in present]


def _write(rows: Iterable[Row]) -> list[Row]:
    newest_first = sorted(rows, key=lambda row: float(row["updated_at"]), reverse=True)
    files.write_atomic(paths.SESSION_INDEX_FILE, json.dumps(newest_first, ensure_ascii=False, indent=1).encode())
    return newest_first
