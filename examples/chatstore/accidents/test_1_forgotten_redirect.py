"""A test that saves: right, passing, and aimed at the real store."""

from __future__ import annotations

from chatstore import store


def test_saved_session_is_listed() -> None:
    session = store.new_session("Untitled test")
    session.say("user", "test message")

    store.save(session)

    assert session.session_id in store.list_ids()
