"""The ledger: what the run created and touched, on disk before it counts.

``.session_guard/runs/<run id>/`` holds ``run.json`` (what the run is), ``lock`` (held by the controller for as long as it
lives) and one append-only journal a process, ``journal-<label>-<pid>-<time>.jsonl``. The label is ``main`` or the worker's
name; children carry the label of the worker that started them, so each worker reads its own children's journals only.
No lock is taken to append: one `write` on an ``O_APPEND`` descriptor that was opened before the first test.
"""

from __future__ import annotations

from pytest_session_guard._controls.ledger.directory import RunDirectory, machine_id, new_run_id, note_closed
from pytest_session_guard._controls.ledger.journal import Journal, JournalReader
from pytest_session_guard._controls.ledger.past import holding, is_alive, is_closed, read_run, room_bytes, run_paths

__all__ = [
    "Journal",
    "JournalReader",
    "RunDirectory",
    "holding",
    "is_alive",
    "is_closed",
    "machine_id",
    "new_run_id",
    "note_closed",
    "read_run",
    "room_bytes",
    "run_paths",
]
