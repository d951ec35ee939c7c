"""``python -m chatstore``, in a process of its own, as a user calls it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from chatstore import paths, store


def chatstore(*arguments: str) -> str:
    environment = os.environ | {"CHATSTORE_HOME": str(paths.STATE_DB.parent)}
    command = [sys.executable, "-m", "chatstore", *arguments]
    checkout = Path(store.__file__).parents[1]
    return subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True, text=True).stdout


def test_sample_saves_what_list_shows() -> None:
    ids = chatstore("sample", "3").split()
    assert [line.split()[0] for line in chatstore("list").splitlines()] == ids[::-1]


def test_regenerate_brings_back_index_and_metadata() -> None:
    session = store.new_session("the tax form")
    session.say("user", "When is it due?")
    store.save(session)
    lost = [paths.SESSION_INDEX_FILE, paths.meta_file(session.session_id)]
    before = [path.read_bytes() for path in lost]
    for path in lost:
        path.unlink()

    said = chatstore("regenerate")

    assert said.startswith("1 metadata files, 1 index rows in ")
    assert [path.read_bytes() for path in lost] == before


def test_recover_says_what_it_restored() -> None:
    session = store.new_session("the tax form")
    session.say("user", "When is it due?")
    store.save(session)
    session.messages.clear()
    store.save(session)
    lost = store.new_session("lost")
    store.save(lost)
    paths.session_file(lost.session_id).unlink()

    said = chatstore("recover").splitlines()

    assert said == [
        f"{session.session_id}  restored from its backup",
        f"{lost.session_id}  rebuilt from the state database",
    ]
    assert len(store.load(session.session_id).messages) == 1
    assert chatstore("recover") == ""


@pytest.mark.parametrize("after_sessions", [1, 4])
def test_store_of_a_killed_process_is_whole_after_recovery(after_sessions: int) -> None:
    environment = os.environ | {"CHATSTORE_HOME": str(paths.STATE_DB.parent)}
    command = [sys.executable, "-m", "chatstore", "sample", "1000"]
    checkout = Path(store.__file__).parents[1]
    with subprocess.Popen(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(after_sessions)]
        process.send_signal(signal.SIGKILL)

    chatstore("recover")

    assert set(told) <= set(store.list_ids())
    assert all(store.load(session_id).messages for session_id in store.list_ids())
