"""The history of a conversation, and what is derived from it."""

from __future__ import annotations

import json

from chatstore import history, paths, store


def test_history_tells_the_session_again() -> None:
    session = store.new_session("a trip to Turin")
    session.say("user", "When?")
    store.save(session)
    session.title = "a trip to Rome"
    session.say("assistant", "In May.")
    store.save(session)
    del session.messages[0]
    store.save(session)

    state = history.replay(paths.history_file(session.session_id))

    assert (state.title, state.messages) == ("a trip to Rome", session.messages)


def test_torn_line_costs_that_line_only() -> None:
    session = store.new_session()
    session.say("user", "one")
    store.save(session)
    path = paths.history_file(session.session_id)
    path.write_bytes(path.read_bytes() + b'{"event": "mess')
    session.say("user", "two")

    store.save(session)

    assert [message["content"] for message in history.replay(path).messages] == ["one", "two"]


def test_meta_counts_what_the_history_has() -> None:
    session = store.new_session()
    session.say("user", "one")
    store.save(session)
    meta = json.loads(paths.meta_file(session.session_id).read_bytes())
    assert (meta["session_id"], meta["message_count"]) == (session.session_id, 1)
