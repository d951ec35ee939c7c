"""What runs at start: put back what an accident took, from what is still there.

Nothing is guessed. A session comes back from its ``.bak`` or from the state database, a deleted one does not, and a
store in which nothing is wrong is left byte for byte as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from chatstore import files, index, models, paths, state, store
from chatstore.errors import CorruptSessionError
from chatstore.locks import store_lock
from chatstore.models import Session


@dataclass
class Recovered:
    """What one start had to mend: ids."""

    from_backup: list[str] = field(default_factory=list)
    from_state: list[str] = field(default_factory=list)
    into_state: list[str] = field(default_factory=list)
    index_rebuilt: bool = False


def recover() -> Recovered:
    """Mend the store. Running it a second time changes nothing."""
    done = Recovered()
    with store_lock():
        store.SESSIONS.clear()
        known = state.known_ids()
        for backup in sorted(paths.SESSION_DIR.glob("*.json.bak")):
            session_id = backup.name.removesuffix(".json.bak")
            if session_id[0] not in "._" and _restore(session_id, known):
                done.from_backup.append(session_id)
        done.from_state = [session_id for session_id in sorted(known or ()) if rebuild_from_state(session_id)]
        done.into_state = _tell_state(known or set())
        done.index_rebuilt = _mend_index()
    return done


def rebuild_from_state(session_id: str) -> bool:
    """Make a lost session file again from the state database.

    :returns: whether it was made. A file that is there, or that appears while we work, is never written over.
    :raises UnknownSessionError: the database has no such session.
    """
    path = paths.session_file(session_id)
    if path.exists():
        return False
    session = state.get(session_id)
    try:
        files.create_atomic(path, models.encode(session))
    except FileExistsError:
        return False
    index.update(session)
    return True


def _restore(session_id: str, known: set[str] | None) -> bool:
    """Put the ``.bak`` of a session in its place, if that is what it is for."""
    path, backup = paths.session_file(session_id), paths.backup_file(session_id)
    kept, live = _read(backup), _read(path)
    if kept is None:
        return False
    if not path.exists():
        if known is not None and session_id not in known:
            # The delete took the row first and was cut short. Nobody wants this session back.
            return False
        files.create_atomic(path, backup.read_bytes())
        return True
    if live is not None and (live.shortened_on_purpose or len(live.messages) >= len(kept.messages)):
        return False
    # They change places, so that what was said after the accident is not lost either.
    short = path.read_bytes()
    files.write_atomic(path, backup.read_bytes())
    files.write_atomic(backup, short)
    return True


def _tell_state(known: set[str]) -> list[str]:
    told = []
    for path in index.session_files():
        session = _read(path)
        if session is not None and session.session_id not in known:
            state.put(session)
            told.append(session.session_id)
    return told


def _mend_index() -> bool:
    rows = index.read_rows()
    there = {path.stem for path in index.session_files() if _read(path) is not None}
    if rows is not None and {row["session_id"] for row in rows} == there:
        return False
    if rows is None and not there:
        return False
    index.rebuild()
    return True


def _read(path: Path) -> Session | None:
    """The session in a file, ``None`` where there is none to be had: one bad file must not stop the others."""
    try:
        return models.decode(path.read_bytes())
    except (FileNotFoundError, CorruptSessionError):
        return None
