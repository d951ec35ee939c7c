"""Make, load, save, list and delete sessions."""

from __future__ import annotations

import time

from chatstore import files, history, index, models, paths, state
from chatstore.errors import CorruptSessionError, MetadataOnlyError, UnknownSessionError
from chatstore.locks import store_lock
from chatstore.models import Session

SESSIONS: dict[str, Session] = {}
"""The sessions that this process has in hand, saved or not."""


def new_session(title: str = "Untitled") -> Session:
    """A session that can be found by its id at once, and that is on disk after its first save only."""
    session = Session(title=title)
    SESSIONS[session.session_id] = session
    return session


def get_session(session_id: str) -> Session:
    """The session in hand, else the one on disk.

    :raises UnknownSessionError: neither is there.
    """
    if session_id not in SESSIONS:
        SESSIONS[session_id] = load(session_id)
    return SESSIONS[session_id]


def load(session_id: str) -> Session:
    """The session as its file has it.

    :raises UnknownSessionError: there is no such file.
    :raises CorruptSessionError: the file holds no session.
    """
    try:
        return models.decode(paths.session_file(session_id).read_bytes())
    except FileNotFoundError:
        raise UnknownSessionError(session_id) from None


def load_metadata(session_id: str) -> Session:
    """The session without its messages, for lists and for reconnecting. It refuses to be saved.

    :raises UnknownSessionError: there is no such file.
    """
    return models.without_messages(load(session_id))


def save(session: Session) -> None:
    """Write the session, and everything that is derived from it, to disk.

    Where the file that is there has more messages, it stays beside the new one as ``.bak``.

    :raises MetadataOnlyError: the messages of ``session`` were never read; nothing has been written.
    """
    _save(session, on_purpose=False)


def truncate(session: Session, count: int) -> None:
    """Drop all but the first ``count`` messages, because the user asked for it, and save.

    The document says so. A later start can tell this from an accident and does not put the messages back.

    :raises MetadataOnlyError: the messages of ``session`` were never read; nothing has been written.
    """
    del session.messages[count:]
    _save(session, on_purpose=True)


def clear_stream(session_id: str) -> None:
    """Forget the stream that a dead process left in a session, without touching what was said.

    A reconnecting client has a stub in hand. The change is made on the whole session, read under the lock.
    """
    with store_lock():
        session = load(session_id)
        session.stream_id = None
        save(session)
        if session_id in SESSIONS:
            SESSIONS[session_id].stream_id = None


def list_ids() -> list[str]:
    """The ids of the saved sessions, the one saved last first."""
    return [row["session_id"] for row in index.list_rows()]


def delete_session(session_id: str) -> None:
    """Delete a session for good; one that is not there is fine."""
    with store_lock():
        SESSIONS.pop(session_id, None)
        # The row goes first: if we are killed after this line, the next start sees files without a row and lets them be.
        state.forget(session_id)
        for path in (paths.session_file(session_id), paths.backup_file(session_id)):
            files.remove(path)
        for path in (paths.meta_file(session_id), paths.history_file(session_id)):
            files.remove(path)
        index.drop(session_id)


def _save(session: Session, *, on_purpose: bool) -> None:
    if session.metadata_only:
        raise MetadataOnlyError(f"{session.session_id} was loaded without its {session.message_count} messages")
    with store_lock():
        longer = _longer_version(session)
        if longer is not None:
            files.write_atomic(paths.backup_file(session.session_id), longer)
            session.shortened_on_purpose = on_purpose
        session.updated_at = time.time()
        files.write_atomic(paths.session_file(session.session_id), models.encode(session))
        # What follows is derived from the file. A crash in between is mended at the next start.
        state.put(session)
        history.record(session)
        index.update(session)


def _longer_version(session: Session) -> bytes | None:
    """The document on disk, where saving ``session`` would lose messages that it has."""
    try:
        document = paths.session_file(session.session_id).read_bytes()
        return document if len(models.decode(document).messages) > len(session.messages) else None
    except FileNotFoundError:
        return None
    except CorruptSessionError:
        # Nobody can count in there, so it is kept: it may be all that is left of a conversation.
        return document
