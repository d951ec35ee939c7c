"""Group 8: what lies beside a history is derived from it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from pytest_session_guard.contracts._rules import Check, Rules, id_of, save_with, saved

HISTORY: Final = Rules(8)


@HISTORY.add("metadata beside history files can be regenerated from the history alone", "history")
def metadata_is_regenerated_from_the_history_alone(store: Any, check: Check) -> None:
    histories = _histories(store)
    metas = {store.meta_file(session_id): session_id for session_id in histories}
    check.expect(all(meta.is_file() for meta in metas), "a save wrote no metadata beside the history")
    wanted = {meta: meta.read_bytes() for meta in metas}
    _leave_only(store.root, {*histories.values()})

    check.attempt("regenerating", store.regenerate)

    for meta, content in wanted.items():
        check.expect(meta.is_file(), f"{meta.name!r} was not regenerated")
        check.expect(meta.read_bytes() == content, f"{meta.name!r} is {meta.read_bytes()!r} where it was {content!r}")


@HISTORY.add("regenerating writes over wrong metadata and leaves the history byte for byte", "history")
def regenerating_leaves_the_history_alone(store: Any, check: Check) -> None:
    histories = _histories(store)
    before = {path: path.read_bytes() for path in histories.values()}
    wanted = {store.meta_file(session_id): store.meta_file(session_id).read_bytes() for session_id in histories}
    for meta in wanted:
        meta.write_bytes(b"{torn")

    check.attempt("regenerating", store.regenerate)

    wrong = [meta.name for meta, content in wanted.items() if meta.read_bytes() != content]
    check.expect(not wrong, f"wrong metadata was left as it was: {wrong}")
    changed = [path.name for path, content in before.items() if not path.is_file() or path.read_bytes() != content]
    check.expect(not changed, f"regenerating changed {changed}")


def _histories(store: Any) -> dict[str, Path]:
    """Three conversations, one of which grew and shrank; id → the file of its history."""
    sessions = [saved(store, count, title=f"conversation of {count}") for count in (1, 4, 6)]
    save_with(store, sessions[1], 5)
    save_with(store, sessions[2], 2)
    return {id_of(store, session): store.history_file(id_of(store, session)) for session in sessions}


def _leave_only(root: Path, kept: set[Path]) -> None:
    """Delete everything below ``root`` that is not one of ``kept`` or on the way to one.

    ``root`` is below the private directory of the test: the suite has seen to that before it called any check.
    """
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir() and not any(path in file.parents for file in kept):
            shutil.rmtree(path)
        elif path.is_file() and path not in kept:
            path.unlink()
