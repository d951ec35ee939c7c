"""A store that keeps every rule of the contract, in steps that a subclass can spoil one at a time."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Conversation:
    """What the reference store calls a session."""

    session_id: str
    title: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    workspace: str = ""
    stream_id: str | None = None
    saved_at: float = 0.0
    is_stub: bool = False


class StubError(RuntimeError):
    """A stub was to be saved."""


class ReferenceStore:
    """Both the store and the adapter of it."""

    details: Mapping[str, object] | None = {"workspace": "/src/one"}
    hangs_on_errors = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sessions = root / "sessions"
        self.history = root / "history"
        self.database = root / "state.db"
        self.index_file = self.sessions / "_index.json"
        self.known: dict[str, Conversation] = {}
        self.threads = threading.RLock()
        self.numbers = itertools.count()

    # A session

    def make(self) -> Conversation:
        conversation = Conversation(f"s{os.getpid()}x{threading.get_ident()}x{next(self.numbers)}")
        self.known[conversation.session_id] = conversation
        return conversation

    def get(self, session: Conversation, name: str, /) -> Any:
        return getattr(session, name)

    def put(self, session: Conversation, name: str, value: Any, /) -> None:
        setattr(session, name, value)

    def find(self, session_id: str, /) -> Conversation:
        return self.known[session_id] if session_id in self.known else self.load(session_id)

    def load(self, session_id: str, /) -> Conversation:
        return self.decode(self.session_file(session_id).read_bytes())

    def load_metadata(self, session_id: str, /) -> Conversation:
        conversation = self.load(session_id)
        conversation.messages, conversation.is_stub = [], True
        return conversation

    def clear_stream(self, stub: Conversation, /) -> None:
        conversation = self.load(stub.session_id)
        conversation.stream_id = None
        self.save(conversation)

    def save(self, session: Conversation, /) -> None:
        self.refuse_stub(session)
        with self.lock():
            self.keep_backup(session)
            session.saved_at = time.time()
            self.write(self.session_file(session.session_id), json.dumps(asdict(session)).encode())
            self.write_state(session)
            self.write_history(session)
            self.update_index(session)

    def refuse_stub(self, session: Conversation) -> None:
        if session.is_stub:
            raise StubError(session.session_id)

    def keep_backup(self, session: Conversation) -> None:
        with suppress(FileNotFoundError):
            document = self.session_file(session.session_id).read_bytes()
            if len(self.decode(document).messages) > len(session.messages):
                self.write(self.backup_file(session.session_id), document)

    def decode(self, document: bytes) -> Conversation:
        return Conversation(**json.loads(document))

    # Files

    def session_file(self, session_id: str, /) -> Path:
        return self.sessions / f"{session_id}.json"

    def backup_file(self, session_id: str, /) -> Path:
        return self.sessions / f"{session_id}.json.bak"

    def history_file(self, session_id: str, /) -> Path:
        return self.history / f"session_{session_id}.jsonl"

    def meta_file(self, session_id: str, /) -> Path:
        return self.history / f"session_{session_id}.meta.json"

    def prepared_name(self, path: Path) -> Path:
        return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")

    def write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        prepared = self.prepared_name(path)
        prepared.write_bytes(content)
        prepared.replace(path)

    def create(self, path: Path, content: bytes) -> None:
        prepared = self.prepared_name(path)
        prepared.write_bytes(content)
        try:
            os.link(prepared, path)
        finally:
            prepared.unlink()

    @contextmanager
    def lock(self) -> Iterator[None]:
        self.sessions.mkdir(parents=True, exist_ok=True)
        with self.threads, self.process_lock():
            yield

    @contextmanager
    def process_lock(self) -> Iterator[None]:
        with open(self.sessions / "_lock", "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # The index

    def list_ids(self) -> list[str]:
        return [row["session_id"] for row in self.present(self.rows())]

    def session_ids(self) -> list[str]:
        return [path.stem for path in sorted(self.sessions.glob("*.json")) if not path.name.startswith(("_", "."))]

    def rows(self) -> list[dict[str, Any]]:
        try:
            rows = json.loads(self.index_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return self.rows_of_files()
        whole = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
        return self.in_order(rows) if whole else self.rows_of_files()

    def rows_of_files(self) -> list[dict[str, Any]]:
        rows = []
        for session_id in self.session_ids():
            with suppress(ValueError, TypeError):
                rows.append(self.row(self.load(session_id)))
        return self.in_order(rows)

    def row(self, session: Conversation) -> dict[str, Any]:
        return {"session_id": session.session_id, "saved_at": session.saved_at}

    def in_order(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: float(row["saved_at"]), reverse=True)

    def present(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in rows if self.session_file(row["session_id"]).exists()]

    def update_index(self, session: Conversation) -> None:
        others = [row for row in self.present(self.rows()) if row["session_id"] != session.session_id]
        self.write_index([self.row(session), *others])

    def write_index(self, rows: list[dict[str, Any]]) -> None:
        self.write(self.index_file, json.dumps(self.in_order(rows)).encode())

    def start_saving(self, count: int) -> subprocess.Popen[str]:
        script = (
            "import pathlib, sys, faulty_stores\n"
            "store = getattr(faulty_stores, sys.argv[1])(pathlib.Path(sys.argv[2]))\n"
            "for _ in range(int(sys.argv[3])):\n"
            "    session = store.make()\n"
            "    store.save(session)\n"
            "    print(session.session_id)\n"
        )
        command = [sys.executable, "-c", script, type(self).__name__, str(self.root), str(count)]
        return subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)

    # The state database

    def write_state(self, session: Conversation) -> None:
        with closing(sqlite3.connect(self.database)) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS state (id PRIMARY KEY, title, messages, saved_at, workspace)")
            row = [session.session_id, session.title, json.dumps(session.messages), session.saved_at, session.workspace]
            database.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?, ?)", row)

    def read_state(self, query: str, session_id: str) -> Any:
        with closing(sqlite3.connect(self.database)) as database:
            return database.execute(query, [session_id]).fetchone()

    def forget_in_state(self, session_id: str) -> None:
        with closing(sqlite3.connect(self.database)) as database, database:
            database.execute("DELETE FROM state WHERE id = ?", [session_id])

    def age_state(self) -> None:
        with closing(sqlite3.connect(self.database)) as database, database:
            database.execute("ALTER TABLE state DROP COLUMN workspace")

    def workspace_in_state(self, session_id: str) -> str:
        try:
            return str(self.read_state("SELECT workspace FROM state WHERE id = ?", session_id)[0])
        except sqlite3.OperationalError:
            return ""

    def rebuild(self, session_id: str) -> None:
        row = self.read_state("SELECT title, messages, saved_at FROM state WHERE id = ?", session_id)
        workspace = self.workspace_in_state(session_id)
        session = Conversation(session_id, row[0], json.loads(row[1]), workspace, saved_at=row[2])
        with suppress(FileExistsError):
            self.create(self.session_file(session_id), json.dumps(asdict(session)).encode())

    # Recovery

    def recover(self) -> None:
        self.known.clear()
        restored = [backup for backup in self.backups() if self.restore(backup)]
        if restored:
            self.write_index(self.rows_of_files())

    def backups(self) -> list[Path]:
        return [path for path in sorted(self.sessions.glob("*.json.bak")) if not path.name.startswith("_")]

    def restore(self, backup: Path) -> bool:
        path = backup.with_suffix("")
        kept, live = self.count(backup), self.count(path)
        if kept <= live or (not path.exists() and not self.is_wanted(path.stem)):
            return False
        self.write(path, backup.read_bytes())
        return True

    def count(self, path: Path) -> int:
        try:
            return len(self.decode(path.read_bytes()).messages)
        except (FileNotFoundError, ValueError, TypeError):
            return -1

    def is_wanted(self, session_id: str) -> bool:
        return bool(self.read_state("SELECT 1 FROM state WHERE id = ?", session_id))

    # History

    def write_history(self, session: Conversation) -> None:
        self.history.mkdir(exist_ok=True)
        with open(self.history_file(session.session_id), "ab") as file:
            file.write(json.dumps([session.session_id, session.title, session.messages]).encode() + b"\n")
        self.write_meta(session.session_id)

    def write_meta(self, session_id: str) -> None:
        lines = self.history_file(session_id).read_bytes().splitlines()
        _, title, messages = json.loads(lines[-1])
        self.write(self.meta_file(session_id), json.dumps({"title": title, "messages": len(messages)}).encode())

    def regenerate(self) -> None:
        for path in sorted(self.history.glob("session_*.jsonl")):
            self.write_meta(path.stem.removeprefix("session_"))
