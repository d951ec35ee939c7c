"""Groups 1 to 4: a new session, the first save, a session without its messages, a save that shrinks."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from pytest_session_guard.contracts._observe import differences, in_thread, tree_of
from pytest_session_guard.contracts._rules import Check, Rules, count_on_disk, id_of, messages, save_with, saved

NEW: Final = Rules(1)
FIRST_SAVE: Final = Rules(2)
METADATA: Final = Rules(3)
BACKUP: Final = Rules(4)
LONG: Final = 1000


@NEW.add("a new session writes nothing to disk until it has something to keep")
def new_sessions_write_nothing(store: Any, check: Check) -> None:
    before = tree_of(store.root)

    made = [store.make() for _ in range(5)]

    check.expect(len({id_of(store, session) for session in made}) == 5, "five new sessions do not have five ids")
    check.expect_unchanged(differences(before, tree_of(store.root)), "after five new sessions")


@NEW.add("an unsaved session is found by its id and is not listed")
def unsaved_session_is_found_and_not_listed(store: Any, check: Check) -> None:
    kept = id_of(store, saved(store, 1))
    session_id = id_of(store, store.make())

    found = check.attempt("finding an unsaved session", partial(store.find, session_id))

    check.expect(found is not None and id_of(store, found) == session_id, f"{session_id} was made and is not found")
    check.expect(list(store.list_ids()) == [kept], f"the list is {list(store.list_ids())} where only {kept} was saved")


@FIRST_SAVE.add("the first save makes the file, with its content")
def first_save_makes_the_file(store: Any, check: Check) -> None:
    session = store.make()
    path = store.session_file(id_of(store, session))
    store.put(session, "title", "a first title")
    store.put(session, "messages", messages(3))

    store.save(session)

    check.expect(path.is_file(), f"{path.name!r} is not there after the first save")
    _expect_content(store, check, id_of(store, session), "a first title", 3)
    check.expect(id_of(store, session) in store.list_ids(), "the saved session is not listed")


@FIRST_SAVE.add("a save in the background, of a session found by its id whose title and messages were set, persists")
def background_save_persists(store: Any, check: Check) -> None:
    session_id = id_of(store, store.make())
    failures: list[Exception] = []

    def answer() -> None:
        try:
            session = store.find(session_id)
            store.put(session, "title", "named in the background")
            store.put(session, "messages", messages(2))
            store.save(session)
        except Exception as error:
            failures.append(error)

    in_thread(answer).join(30)

    check.expect(not failures, f"the save in a thread raised {failures}")
    check.expect(store.session_file(session_id).is_file(), "the save in a thread made no file")
    _expect_content(store, check, session_id, "named in the background", 2)


@METADATA.add("a session loaded as metadata only refuses to be saved, before any byte is written", "metadata")
def session_without_its_messages_refuses_to_be_saved(store: Any, check: Check) -> None:
    session_id = id_of(store, saved(store, LONG))
    before = tree_of(store.root)
    stub = store.load_metadata(session_id)
    store.put(stub, "title", "renamed from a list")

    refused = _refuses(store, stub)

    count = count_on_disk(store, session_id)
    check.expect(count == LONG, f"{LONG} messages became {count}")
    check.expect(refused, "the save of a session without its messages did not raise")
    check.expect_unchanged(differences(before, tree_of(store.root)), "after the refused save")


@METADATA.add(
    "clearing stale stream state on a session without its messages keeps them, and clears it", "metadata", "stream"
)
def clearing_a_stream_keeps_the_messages(store: Any, check: Check) -> None:
    session = store.make()
    store.put(session, "stream_id", "stream-of-a-dead-process")
    save_with(store, session, LONG)
    session_id = id_of(store, session)

    check.attempt("clearing the stream", lambda: store.clear_stream(store.load_metadata(session_id)))

    count = count_on_disk(store, session_id)
    check.expect(count == LONG, f"{LONG} messages became {count}")
    stream = store.get(store.load(session_id), "stream_id")
    check.expect(not stream, f"the stream is still {stream!r}")


@BACKUP.add("a save that shrinks the messages leaves the previous file as its backup", "backup")
def shrinking_save_leaves_a_backup(store: Any, check: Check) -> None:
    session = saved(store, 5)
    session_id = id_of(store, session)
    previous = store.session_file(session_id).read_bytes()

    save_with(store, session, 2)

    backup = store.backup_file(session_id)
    check.expect(backup.is_file(), "5 messages became 2 and there is no backup")
    check.expect(backup.read_bytes() == previous, "the backup is not the previous file, byte for byte")
    check.expect(count_on_disk(store, session_id) == 2, "the save did not write what it was given")


@BACKUP.add("a save that grows the messages leaves the backup alone", "backup")
def growing_save_leaves_no_backup(store: Any, check: Check) -> None:
    session = saved(store, 2)
    backup = store.backup_file(id_of(store, session))
    save_with(store, session, 5)
    check.expect(not backup.exists(), "2 messages became 5 and there is a backup")
    save_with(store, session, 1)
    longest = backup.read_bytes()

    save_with(store, session, 3)

    check.expect(backup.read_bytes() == longest, "1 message became 3 and the backup of 5 was written over")


def _expect_content(store: Any, check: Check, session_id: str, title: str, count: int) -> None:
    session = store.load(session_id)
    found = store.get(session, "messages")
    check.expect(store.get(session, "title") == title, f"the file has the title {store.get(session, 'title')!r}")
    check.expect(list(found) == messages(count), f"the file has {len(found)} messages where {count} were saved")


def _refuses(store: Any, session: Any) -> bool:
    try:
        store.save(session)
    except Exception:
        # Any error of the store's own is a refusal; what it must not do is save.
        return True
    return False
