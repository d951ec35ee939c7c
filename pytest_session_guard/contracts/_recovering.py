"""Group 5: what a start of the application puts back, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pytest_session_guard.contracts._observe import differences, tree_of
from pytest_session_guard.contracts._rules import Check, Rules, count_on_disk, id_of, index_text, save_with, saved

RECOVERY: Final = Rules(5)


@RECOVERY.add("at start, a live file with fewer messages than its backup is restored", "backup", "recovery")
def shorter_live_file_is_restored(store: Any, check: Check) -> None:
    session_id = _shrunk(store)

    check.attempt("recovery", store.recover)

    count = count_on_disk(store, session_id)
    check.expect(count == 6, f"the backup has 6 messages, the session has {count} after recovery")


@RECOVERY.add("at start, a backup whose file is gone is restored and is in the list at once", "backup", "recovery")
def orphan_backup_is_restored(store: Any, check: Check) -> None:
    session_id = _orphan(store)

    check.attempt("recovery", store.recover)

    check.expect(store.session_file(session_id).is_file(), "the file of the backup is not back")
    check.expect(count_on_disk(store, session_id) == 6, "the restored session has not the messages of its backup")
    check.expect(session_id in store.list_ids(), "the restored session is not listed")


@RECOVERY.add("at start, a restored backup is in the index at once", "backup", "recovery", "index")
def orphan_backup_is_indexed(store: Any, check: Check) -> None:
    session_id = _orphan(store)
    # The save of another session drops the row, as it should.
    saved(store, 1)

    check.attempt("recovery", store.recover)

    check.expect(session_id in index_text(store), "the index on disk does not name the restored session")


@RECOVERY.add(
    "at start, a backup whose row is absent from the state database is not brought back", "backup", "recovery", "state"
)
def forgotten_session_stays_away(store: Any, check: Check) -> None:
    saved(store, 1)
    session_id = _orphan(store)
    store.forget_in_state(session_id)

    check.attempt("recovery", store.recover)

    check.expect(not store.session_file(session_id).exists(), "a session that was being deleted is back")
    check.expect(session_id not in store.list_ids(), "a session that was being deleted is listed")


@RECOVERY.add("at start, a clean store is left byte for byte", "recovery")
def clean_store_is_left_alone(store: Any, check: Check) -> None:
    for count in (1, 4, 2):
        saved(store, count)
    before = tree_of(store.root)

    check.attempt("recovery", store.recover)

    check.expect_unchanged(differences(before, tree_of(store.root)), "after recovery of a clean store")


@RECOVERY.add("at start, the index (a list) and other files that begin with '_' are skipped", "backup", "recovery")
def underscore_files_are_skipped(store: Any, check: Check) -> None:
    session_id = id_of(store, saved(store, 6))
    path = store.session_file(session_id)
    own = {
        path.with_name("_notes.json"): b"[]",
        path.with_name("_settings.json"): b'{"theme": "dark"}',
        _backup_named(store, session_id, "_notes"): path.read_bytes(),
        _backup_named(store, session_id, "_gone"): path.read_bytes(),
    }
    for name, content in own.items():
        name.write_bytes(content)

    check.attempt("recovery", store.recover)

    touched = [name.name for name, content in own.items() if not name.is_file() or name.read_bytes() != content]
    check.expect(not touched, f"recovery changed {touched}")
    check.expect(not path.with_name("_gone.json").exists(), "recovery made a session of '_gone.json.bak'")
    check.expect(list(store.list_ids()) == [session_id], f"the list is {list(store.list_ids())}")


@RECOVERY.add("at start, one malformed file does not stop the rest", "backup", "recovery")
def malformed_file_does_not_stop_the_rest(store: Any, check: Check) -> None:
    session_id = _shrunk(store)
    path = store.session_file(session_id)
    for name in ("000", "zzz"):
        # One that sorts before the others and one after: a loop that gives up must meet it first.
        path.with_name(f"{name}{path.suffix}").write_bytes(b'{"session_id": "000", "mess')
        _backup_named(store, session_id, name).write_bytes(b"\xff\x00 not a session")
        _backup_named(store, session_id, f"{name}alone").write_bytes(b"[]")

    check.attempt("recovery", store.recover)

    count = count_on_disk(store, session_id)
    check.expect(count == 6, f"beside a malformed file, the backup of 6 messages was not restored: {count}")
    check.expect(list(store.list_ids()) == [session_id], f"the list is {list(store.list_ids())}")


@RECOVERY.add("at start, running recovery twice changes nothing", "backup", "recovery")
def second_recovery_changes_nothing(store: Any, check: Check) -> None:
    _shrunk(store)
    _orphan(store)
    check.attempt("recovery", store.recover)
    before = tree_of(store.root)

    check.attempt("a second recovery", store.recover)

    check.expect_unchanged(differences(before, tree_of(store.root)), "after a second recovery")


def _shrunk(store: Any) -> str:
    """A session of one message whose backup has six, however good the store is at keeping backups."""
    session = saved(store, 6)
    session_id = id_of(store, session)
    longer = store.session_file(session_id).read_bytes()
    save_with(store, session, 1)
    store.backup_file(session_id).write_bytes(longer)
    return session_id


def _orphan(store: Any) -> str:
    """A session of six messages of which the backup alone is left."""
    session_id = id_of(store, saved(store, 6))
    store.session_file(session_id).rename(store.backup_file(session_id))
    return session_id


def _backup_named(store: Any, session_id: str, name: str) -> Path:
    backup: Path = store.backup_file(session_id)
    return backup.with_name(backup.name.replace(session_id, name))
