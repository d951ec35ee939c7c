"""A session's life: made, saved, loaded, listed, shortened, deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from chatstore import errors, paths, recovery, store
from chatstore.models import Session


def saved(title: str, messages: int) -> Session:
    session = store.new_session(title)
    for number in range(messages):
        session.say("user", f"message {number}")
    store.save(session)
    return session


def test_store_of_a_test_is_its_own(session_dir: Path, session_index: Path) -> None:
    assert session_dir == paths.SESSION_DIR
    assert session_index == paths.SESSION_INDEX_FILE
    assert list(session_dir.iterdir()) == []
    assert store.SESSIONS == {}


def test_saved_session_is_loaded_as_it_was(session_index: Path) -> None:
    session = saved("the tax form", messages=3)

    assert store.load(session.session_id) == session
    assert session_index.exists()


def test_list_has_the_newest_first() -> None:
    first, second = saved("first", 1), saved("second", 1)
    store.save(first)
    assert store.list_ids() == [first.session_id, second.session_id]


def test_truncate_survives_the_next_start() -> None:
    session = saved("the tax form", messages=5)
    store.truncate(session, 2)

    recovery.recover()

    assert len(store.load(session.session_id).messages) == 2
    assert paths.backup_file(session.session_id).exists()


def test_truncate_refuses_a_session_without_its_messages() -> None:
    stub = store.load_metadata(saved("the tax form", messages=5).session_id)
    with pytest.raises(errors.MetadataOnlyError, match="without its 5 messages"):
        store.truncate(stub, 2)


def test_deleted_session_leaves_nothing(session_dir: Path) -> None:
    kept, session = saved("kept", 1), saved("deleted", 5)
    session.messages.clear()
    store.save(session)

    store.delete_session(session.session_id)

    assert store.list_ids() == [kept.session_id]
    assert not list(session_dir.parent.rglob(f"*{session.session_id}*"))
    with pytest.raises(errors.UnknownSessionError):
        store.get_session(session.session_id)


@pytest.mark.parametrize("session_id", ["", "_index", ".hidden", "../up", "a/b", "a.b"])
def test_id_that_is_no_session_is_refused(session_id: str) -> None:
    with pytest.raises(ValueError, match="a session id has"):
        store.load(session_id)
