"""A client comes back, and the handler saves what it has of the session: everything but the messages.

``store.save`` refuses that today. This is the handler as it was before, with a save of its own, and its test.
"""

from __future__ import annotations

from chatstore import index, models, paths, store


def reconnect(session_id: str) -> models.Session:
    """Forget the stream that the last connection left behind."""
    session = store.load_metadata(session_id)
    session.stream_id = None
    paths.session_file(session_id).write_bytes(models.encode(session))
    return session


def test_reconnect_clears_the_stale_stream() -> None:
    longest = max(index.list_rows(), key=lambda row: int(row["message_count"]))
    assert reconnect(longest["session_id"]).stream_id is None
