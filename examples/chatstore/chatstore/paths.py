"""Where the store lies on disk.

Constants read once, at import, as most applications do it. Every other module asks for them as ``paths.NAME`` at the
moment of use, so that there is one place to point somewhere else.
"""

from __future__ import annotations

import os
from pathlib import Path

CHATSTORE_HOME: Path = Path(os.environ.get("CHATSTORE_HOME") or Path.home() / ".chatstore")
SESSION_DIR: Path = CHATSTORE_HOME / "sessions"
SESSION_INDEX_FILE: Path = SESSION_DIR / "_index.json"
HISTORY_DIR: Path = CHATSTORE_HOME / "history"
STATE_DB: Path = CHATSTORE_HOME / "state.db"


def session_file(session_id: str) -> Path:
    """The file that holds one session.

    :raises ValueError: the id could name a file that is not a session's: another directory, ``_index``, a hidden file.
    """
    if not session_id or session_id[0] in "._" or not session_id.replace("-", "").replace("_", "").isalnum():
        raise ValueError(
            f"a session id has letters, digits, '-' and '_' and starts with none of '._', got {session_id!r}"
        )
    return SESSION_DIR / f"{session_id}.json"


def backup_file(session_id: str) -> Path:
    """The last longer version of a session, kept by a save that shrank it."""
    return session_file(session_id).with_suffix(".json.bak")


def history_file(session_id: str) -> Path:
    """The append-only history of a session."""
    return HISTORY_DIR / f"session_{session_id}.jsonl"


def meta_file(session_id: str) -> Path:
    """What lies beside the history so that a list of conversations need not read them all."""
    return HISTORY_DIR / f"session_{session_id}.meta.json"
