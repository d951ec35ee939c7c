"""The reference store with one fault each, and which check has to find it.

Every class is one accident: the docstring says what its author believed.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reference_store import Conversation, ReferenceStore

FAULTS: list[tuple[type[ReferenceStore], str]] = []
"""A faulty store and the name of the check that must fail on it."""


def found_by(*checks: str) -> Any:
    """Enter the decorated store in :data:`FAULTS`."""

    def enter(store: type[ReferenceStore]) -> type[ReferenceStore]:
        FAULTS.extend((store, check) for check in checks)
        return store

    return enter


@found_by("new-sessions-write-nothing")
class WritesNewSession(ReferenceStore):
    """A session had better be on disk at once."""

    def make(self) -> Conversation:
        session = super().make()
        self.save(session)
        return session


@found_by("new-sessions-write-nothing")
class GivesTheSameId(ReferenceStore):
    """There is one new session at a time."""

    def make(self) -> Conversation:
        return self.known.setdefault("new", Conversation("new"))


@found_by("unsaved-session-is-found-and-not-listed")
class ListsUnsaved(ReferenceStore):
    """The list is what we have in hand, then what is on disk."""

    def list_ids(self) -> list[str]:
        saved = super().list_ids()
        return [session_id for session_id in self.known if session_id not in saved] + saved


@found_by("unsaved-session-is-found-and-not-listed")
class LosesUnsaved(ReferenceStore):
    """Whoever wants a session finds its file."""

    def find(self, session_id: str, /) -> Conversation:
        return self.load(session_id)


@found_by("first-save-makes-the-file")
class SkipsFirstSave(ReferenceStore):
    """The first save has nothing to compare with, so nothing has changed."""

    def save(self, session: Conversation, /) -> None:
        if session.saved_at:
            super().save(session)
        session.saved_at = time.time()


@found_by("first-save-makes-the-file")
class SavesEmptyFile(ReferenceStore):
    """The messages are filled in by the second save."""

    def save(self, session: Conversation, /) -> None:
        messages = session.messages
        if not session.saved_at:
            session.messages = []
        super().save(session)
        session.messages = messages


@found_by("background-save-persists")
class DropsBackgroundSave(ReferenceStore):
    """Only the thread of the user interface saves."""

    def save(self, session: Conversation, /) -> None:
        if threading.current_thread() is threading.main_thread():
            super().save(session)


@found_by("session-without-its-messages-refuses-to-be-saved")
class SavesStub(ReferenceStore):
    """A session is a session."""

    def refuse_stub(self, session: Conversation) -> None:
        """Let it pass."""


@found_by("session-without-its-messages-refuses-to-be-saved")
class IgnoresStub(ReferenceStore):
    """Nobody needs to hear of a save that was not made."""

    def save(self, session: Conversation, /) -> None:
        with suppress(RuntimeError):
            super().save(session)


@found_by("session-without-its-messages-refuses-to-be-saved")
class RefusesStubTooLate(ReferenceStore):
    """The check belongs to the end, when all is written."""

    def save(self, session: Conversation, /) -> None:
        self.keep_backup(session)
        super().save(session)


@found_by("clearing-a-stream-keeps-the-messages")
class ClearsStreamWithMessages(ReferenceStore):
    """The stub has all that the file needs."""

    def clear_stream(self, stub: Conversation, /) -> None:
        stub.stream_id, stub.is_stub = None, False
        self.save(stub)


@found_by("clearing-a-stream-keeps-the-messages")
class KeepsStream(ReferenceStore):
    """A stub must not be saved, so there is nothing to do."""

    def clear_stream(self, stub: Conversation, /) -> None:
        stub.stream_id = None


@found_by("shrinking-save-leaves-a-backup")
class KeepsNoBackup(ReferenceStore):
    """Who shortens a conversation wants it short."""

    def keep_backup(self, session: Conversation) -> None:
        """Keep nothing."""


@found_by("shrinking-save-leaves-a-backup")
class KeepsBackupOfTheNew(ReferenceStore):
    """A backup is a copy of what was saved."""

    def keep_backup(self, session: Conversation) -> None:
        self.write(self.backup_file(session.session_id), json.dumps(asdict(session)).encode())


@found_by("growing-save-leaves-no-backup")
class AlwaysKeepsBackup(ReferenceStore):
    """One backup more cannot hurt; it is the long one that it writes over."""

    def keep_backup(self, session: Conversation) -> None:
        with suppress(FileNotFoundError):
            self.write(self.backup_file(session.session_id), self.session_file(session.session_id).read_bytes())


@found_by("shorter-live-file-is-restored")
class TrustsLiveFile(ReferenceStore):
    """What is there is right."""

    def restore(self, backup: Path) -> bool:
        return not backup.with_suffix("").exists() and super().restore(backup)


@found_by("orphan-backup-is-restored")
class ForgetsOrphan(ReferenceStore):
    """A backup belongs to a file."""

    def restore(self, backup: Path) -> bool:
        return backup.with_suffix("").exists() and super().restore(backup)


@found_by("orphan-backup-is-indexed")
class RestoresBesideTheIndex(ReferenceStore):
    """The index will learn of it with the next save."""

    def recover(self) -> None:
        for backup in self.backups():
            self.restore(backup)


@found_by("forgotten-session-stays-away")
class RaisesTheDead(ReferenceStore):
    """Every backup is wanted."""

    def is_wanted(self, session_id: str) -> bool:
        return True


@found_by("clean-store-is-left-alone")
class RewritesIndexAtStart(ReferenceStore):
    """A fresh index at every start; the time of the file is nobody's business."""

    def recover(self) -> None:
        super().recover()
        self.write_index(self.rows_of_files())


@found_by("underscore-files-are-skipped")
class RestoresUnderscore(ReferenceStore):
    """What ends in .json.bak is a session's."""

    def backups(self) -> list[Path]:
        return sorted(self.sessions.glob("*.json.bak"))

    def is_wanted(self, session_id: str) -> bool:
        return session_id.startswith("_") or super().is_wanted(session_id)


@found_by("underscore-files-are-skipped")
class StumblesOverLists(ReferenceStore):
    """Every JSON file beside the sessions is a session, so it is an object."""

    def recover(self) -> None:
        for path in self.sessions.glob("*.json"):
            with suppress(ValueError):
                json.loads(path.read_bytes()).get("messages")
        super().recover()


@found_by("malformed-file-does-not-stop-the-rest")
class StopsAtMalformed(ReferenceStore):
    """The loop is in a try."""

    def recover(self) -> None:
        with suppress(Exception):
            for path in self.backups():
                json.loads(path.read_bytes())
            super().recover()


@found_by("malformed-file-does-not-stop-the-rest")
class RaisesAtMalformed(ReferenceStore):
    """A file that cannot be read is an error."""

    def count(self, path: Path) -> int:
        return len(self.decode(path.read_bytes()).messages) if path.exists() else -1


@found_by("second-recovery-changes-nothing")
class RestoresEveryTime(ReferenceStore):
    """To write the same bytes again changes nothing."""

    def restore(self, backup: Path) -> bool:
        if self.count(backup) >= self.count(backup.with_suffix("")) >= 0:
            self.write(backup.with_suffix(""), backup.read_bytes())
        return super().restore(backup)


@found_by("rebuilt-session-keeps-its-messages")
class RebuildsEmpty(ReferenceStore):
    """The database is for the list."""

    def write_state(self, session: Conversation) -> None:
        super().write_state(Conversation(**asdict(session) | {"messages": []}))


@found_by("rebuilt-session-keeps-its-details", "rebuilt-session-round-trips")
class ForgetsWorkspace(ReferenceStore):
    """Where the session worked is known to the session."""

    def workspace_in_state(self, session_id: str) -> str:
        return ""


@found_by("old-schema-is-enough-to-rebuild")
class NeedsNewSchema(ReferenceStore):
    """Every database has all columns by now."""

    def workspace_in_state(self, session_id: str) -> str:
        return str(self.read_state("SELECT workspace FROM state WHERE id = ?", session_id)[0])


@found_by("rebuilt-session-round-trips")
class RebuildsStub(ReferenceStore):
    """Nobody saves a rebuilt session."""

    def rebuild(self, session_id: str) -> None:
        super().rebuild(session_id)
        path = self.session_file(session_id)
        self.write(path, json.dumps(asdict(self.load(session_id)) | {"is_stub": True}).encode())


@found_by("live-file-that-appears-is-kept")
class RebuildsOverAnything(ReferenceStore):
    """Who rebuilds knows that the file is gone."""

    def create(self, path: Path, content: bytes) -> None:
        self.write(path, content)


@found_by("live-file-that-appears-is-kept")
class ChecksThenRenames(ReferenceStore):
    """There is a check; and after it a gap."""

    def create(self, path: Path, content: bytes) -> None:
        if not path.exists():
            self.write(path, content)


@found_by("threads-do-not-share-temporary-names")
class NamesByProcess(ReferenceStore):
    """One process, one writer."""

    def prepared_name(self, path: Path) -> Path:
        return path.with_name(f".{path.name}.{os.getpid()}")


@found_by("processes-do-not-share-temporary-names")
class NamesByThread(ReferenceStore):
    """One thread, one writer; a fork has the same one."""

    def prepared_name(self, path: Path) -> Path:
        return path.with_name(f".{path.name}.{threading.get_ident()}")


@found_by("threads-do-not-share-temporary-names", "processes-do-not-share-temporary-names")
class NamesByNothing(ReferenceStore):
    """A temporary file is called .tmp."""

    def prepared_name(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.tmp")


@found_by("update-keeps-the-other-rows")
class IndexesTheSavedOnly(ReferenceStore):
    """An update writes what was updated."""

    def update_index(self, session: Conversation) -> None:
        self.write_index([self.row(session)])


@found_by("update-keeps-the-other-rows")
class IndexesInOrderOfIds(ReferenceStore):
    """Any order is an order."""

    def in_order(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: str(row["session_id"]))


@found_by("row-without-a-file-is-not-listed")
class ListsTheGone(ReferenceStore):
    """The index is written carefully; reading needs no care."""

    def list_ids(self) -> list[str]:
        return [row["session_id"] for row in self.rows()]


@found_by("row-without-a-file-is-not-written")
class WritesTheGone(ReferenceStore):
    """The list is read carefully; writing needs no care."""

    def update_index(self, session: Conversation) -> None:
        others = [row for row in self.rows() if row["session_id"] != session.session_id]
        self.write_index([self.row(session), *others])


@found_by("broken-index-is-rebuilt-on-read")
class ListsNothingWhenBroken(ReferenceStore):
    """No index, no sessions."""

    def list_ids(self) -> list[str]:
        try:
            return [row["session_id"] for row in self.present(self.in_order(json.loads(self.index_file.read_bytes())))]
        except (FileNotFoundError, ValueError, TypeError):
            return []


@found_by("broken-index-is-rebuilt-on-write")
class StartsIndexAnew(ReferenceStore):
    """A broken index is replaced by a good one: of the session at hand."""

    def update_index(self, session: Conversation) -> None:
        try:
            json.loads(self.index_file.read_bytes())
        except (FileNotFoundError, ValueError):
            self.write_index([self.row(session)])
        else:
            super().update_index(session)


@found_by("no-temporary-file-is-left")
class LeavesTemporary(ReferenceStore):
    """The system tidies up."""

    def write(self, path: Path, content: bytes) -> None:
        super().write(path, content)
        path.with_name(f".{path.name}.{time.monotonic_ns()}").write_bytes(content)


@found_by("threads-lose-no-row")
class LocksNothing(ReferenceStore):
    """Read, change, write: a thread will hardly come in between."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        self.sessions.mkdir(parents=True, exist_ok=True)
        yield


@found_by("processes-lose-no-row")
class LocksThreadsOnly(ReferenceStore):
    """There is one server process."""

    def process_lock(self) -> Any:
        return nullcontext()


@found_by("unreadable-index-does-not-hang")
class KeepsLockOnError(ReferenceStore):
    """The lock is given back at the end, and the end is always reached."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        self.sessions.mkdir(parents=True, exist_ok=True)
        self.threads.acquire()
        yield
        self.threads.release()


@found_by("unreadable-index-does-not-hang")
class RetriesForEver(ReferenceStore):
    """It will be readable in a moment."""

    def rows(self) -> list[dict[str, Any]]:
        while True:
            try:
                return super().rows()
            except IsADirectoryError:
                time.sleep(0.05)


@found_by("metadata-is-regenerated-from-the-history-alone")
class RegeneratesFromSessions(ReferenceStore):
    """The session file knows best."""

    def regenerate(self) -> None:
        for session_id in self.session_ids():
            self.write_meta(session_id)


@found_by("metadata-is-regenerated-from-the-history-alone", "regenerating-leaves-the-history-alone")
class RegeneratesMissingTitle(ReferenceStore):
    """A title can be made up again."""

    def regenerate(self) -> None:
        super().regenerate()
        for meta in self.history.glob("*.meta.json"):
            self.write(meta, json.dumps(json.loads(meta.read_bytes()) | {"title": "Untitled"}).encode())


@found_by("regenerating-leaves-the-history-alone")
class RegeneratesTheMissingOnly(ReferenceStore):
    """What is there is right."""

    def regenerate(self) -> None:
        for path in self.history.glob("session_*.jsonl"):
            session_id = path.stem.removeprefix("session_")
            if not self.meta_file(session_id).exists():
                self.write_meta(session_id)


@found_by("regenerating-leaves-the-history-alone")
class TidiesHistory(ReferenceStore):
    """Only the last line counts."""

    def regenerate(self) -> None:
        super().regenerate()
        for path in self.history.glob("session_*.jsonl"):
            self.write(path, path.read_bytes().splitlines(keepends=True)[-1])
