"""The state database after accidents of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from chatstore import errors, paths, recovery, state, store

DIE_WRITING = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN IMMEDIATE")
database.execute("DELETE FROM messages")
database.executemany("INSERT INTO messages VALUES ('other', ?, ?)", [(at, "x" * 4000) for at in range(200)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_half_written_database_is_rolled_back() -> None:
    session = store.new_session("the tax form")
    session.say("user", "When is it due?")
    store.save(session)
    subprocess.run([sys.executable, "-c", DIE_WRITING, str(paths.STATE_DB)], check=False)
    assert paths.STATE_DB.with_name("state.db-journal").stat().st_size > 0

    recovery.recover()

    assert state.get(session.session_id).messages == session.messages


def test_database_without_tables_tells_nothing_and_is_filled() -> None:
    session = store.new_session("the tax form")
    store.save(session)
    paths.STATE_DB.write_bytes(b"")
    assert state.known_ids() is None
    with pytest.raises(errors.UnknownSessionError):
        state.get(session.session_id)

    recovery.recover()

    assert state.known_ids() == {session.session_id}
