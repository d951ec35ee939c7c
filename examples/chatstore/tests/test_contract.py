"""The store keeps every rule that any session store should keep."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from chatstore import history, paths, recovery, state, store

from pytest_session_guard.contracts import ABILITIES, FunctionAdapter, SessionStoreContract

DETAILS = {"workspace": "/src/bread", "worktree_path": "/src/bread/.trees/rye", "worktree_branch": "rye"}


class TestChatstore(SessionStoreContract):
    required = ABILITIES

    @pytest.fixture
    def store(self, session_guard: Any) -> FunctionAdapter:
        return FunctionAdapter(
            root=Path(session_guard.path),
            make=store.new_session,
            find=store.get_session,
            load=store.load,
            load_metadata=store.load_metadata,
            save=store.save,
            list_ids=store.list_ids,
            clear_stream=lambda stub: store.clear_stream(stub.session_id),
            session_file=paths.session_file,
            backup_file=paths.backup_file,
            index_file=paths.SESSION_INDEX_FILE,
            history_file=paths.history_file,
            meta_file=paths.meta_file,
            regenerate=history.regenerate,
            recover=recovery.recover,
            rebuild=recovery.rebuild_from_state,
            forget_in_state=state.forget,
            details=DETAILS,
            age_state=age_state,
            start_saving=start_saving,
        )


def age_state() -> None:
    with closing(sqlite3.connect(paths.STATE_DB)) as database, database:
        for column in DETAILS:
            database.execute(f"ALTER TABLE sessions DROP COLUMN {column}")


def start_saving(count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "chatstore", "sample", str(count)]
    environment = os.environ | {"CHATSTORE_HOME": str(paths.STATE_DB.parent)}
    checkout = Path(store.__file__).parents[1]
    return subprocess.Popen(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True)
