"""Group 7: the index, alone and in company."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from pytest_session_guard.contracts._observe import in_thread, run_stepwise, tree_of
from pytest_session_guard.contracts._rules import Check, Rules, id_of, index_text, save_with, saved

INDEX: Final = Rules(7)
SAVERS: Final = 4
SAVES: Final = 5
PATIENCE_S: Final = 0.2
"""How long a neighbour may take who is probably waiting for our lock; too short makes the check weaker, never wrong."""
HANG_S: Final = 5.0
"""After this time a save is taken to hang."""
CORRUPTIONS: Final = (b"", b"{not json", b"{}", b"[1, null]", b"\xff\xfe\x00")


@INDEX.add("an update keeps the other rows and their order by time, and adds new ones", "index")
def update_keeps_the_other_rows(store: Any, check: Check) -> None:
    first = saved(store, 1)
    ids = [id_of(store, first), *(id_of(store, saved(store, 1)) for _ in range(2))]
    _expect_list(store, check, reversed(ids), "after three new sessions")

    save_with(store, first, 2)

    _expect_list(store, check, [ids[0], ids[2], ids[1]], "after the first was saved again")
    _expect_in_index(store, check, ids, "after the first was saved again")


@INDEX.add("a row whose file is gone is dropped when the list is read", "index")
def row_without_a_file_is_not_listed(store: Any, check: Check) -> None:
    gone, kept = (id_of(store, saved(store, 1)) for _ in range(2))

    store.session_file(gone).unlink()

    _expect_list(store, check, [kept], f"after the file of {gone} was deleted")


@INDEX.add("a row whose file is gone is dropped when the index is written", "index")
def row_without_a_file_is_not_written(store: Any, check: Check) -> None:
    gone, kept = (id_of(store, saved(store, 1)) for _ in range(2))
    store.session_file(gone).unlink()

    added = id_of(store, saved(store, 1))

    check.expect(gone not in index_text(store), "the index on disk still has the row of a deleted file")
    _expect_in_index(store, check, [kept, added], "after a row was dropped")


@INDEX.add("a missing or corrupt index is rebuilt when the list is read", "index")
def broken_index_is_rebuilt_on_read(store: Any, check: Check) -> None:
    ids = [id_of(store, saved(store, 1)) for _ in range(3)]
    for what, harm in _harms(store):
        harm()
        _expect_list(store, check, reversed(ids), f"with an index that is {what}")


@INDEX.add("a missing or corrupt index is rebuilt when it is written", "index")
def broken_index_is_rebuilt_on_write(store: Any, check: Check) -> None:
    ids = [id_of(store, saved(store, 1)) for _ in range(3)]
    for what, harm in _harms(store):
        harm()
        ids.append(id_of(store, saved(store, 1)))
        _expect_in_index(store, check, ids, f"after a save with an index that is {what}")


@INDEX.add("saves leave no temporary file behind", "index")
def no_temporary_file_is_left(store: Any, check: Check) -> None:
    session = saved(store, 1)
    before = set(tree_of(store.root))

    for count in (2, 3):
        save_with(store, session, count)

    left = sorted(set(tree_of(store.root)) - before)
    check.expect(not left, f"after two more saves of the same session there is {left}")


@INDEX.add("concurrent saves of threads lose no row", "index")
def threads_lose_no_row(store: Any, check: Check) -> None:
    moment = _moment_of_publishing(store)
    for before in range(max(1, moment - 2), moment + 1):
        ids = _save_while_another_saves(store, before)
        _expect_in_index(store, check, ids, "after one thread saved in the middle of another's save")
    ids = []
    threads = [
        in_thread(lambda: ids.extend(id_of(store, saved(store, 1)) for _ in range(SAVES))) for _ in range(SAVERS)
    ]
    for thread in threads:
        thread.join(60)
    check.expect(len(ids) == SAVERS * SAVES, f"{SAVERS} threads saved {len(ids)} of {SAVERS * SAVES} sessions")
    _expect_in_index(store, check, ids, f"after {SAVERS} threads saved {SAVES} sessions each")


@INDEX.add("concurrent saves of processes lose no row", "index", "processes")
def processes_lose_no_row(store: Any, check: Check) -> None:
    started = time.monotonic()
    ids = _printed(store.start_saving(1))
    patience_s = 4 * (time.monotonic() - started)
    moment = _moment_of_publishing(store)
    ids += _save_while_a_process_saves(store, moment, patience_s)
    _expect_in_index(store, check, ids, "after a process saved in the middle of our save")
    processes = [store.start_saving(SAVES) for _ in range(SAVERS)]
    ids += [id_of(store, saved(store, 1)) for _ in range(SAVES)]
    for process in processes:
        ids += _printed(process)
    check.expect(len(set(ids)) == len(ids), "two processes gave out the same id")
    check.expect(len(ids) == 3 + (SAVERS + 1) * SAVES, f"{SAVERS} processes and we saved {len(ids)} sessions only")
    _expect_in_index(store, check, ids, f"after {SAVERS} processes and we saved {SAVES} sessions each")


@INDEX.add("a failure to read the index ends the save, with or without an error, and keeps no lock", "index")
def unreadable_index_does_not_hang(store: Any, check: Check) -> None:
    session = saved(store, 1)
    over = threading.Event()
    store.index_file.unlink()
    # A directory cannot be read as a file by anybody, not even by root, whom permissions do not stop.
    store.index_file.mkdir()
    check.expect(_ends(store, session, over), f"a save with an unreadable index hangs for more than {HANG_S} s")
    if store.index_file.is_dir():
        store.index_file.rmdir()

    check.expect(_ends(store, session, over), "the next save hangs: the failed one kept a lock")

    over.set()
    _expect_in_index(store, check, [id_of(store, saved(store, 1)), id_of(store, session)], "after the failure")


def _expect_list(store: Any, check: Check, ids: Iterable[str], when: str) -> None:
    wanted, found = list(ids), list(store.list_ids())
    check.expect(found == wanted, f"{when}, the list is {found} where {wanted} was expected")


def _expect_in_index(store: Any, check: Check, ids: Iterable[str], when: str) -> None:
    text, listed = index_text(store), set(store.list_ids())
    lost = [session_id for session_id in ids if session_id not in text or session_id not in listed]
    check.expect(not lost, f"{when}, the index lacks {lost}")


def _harms(store: Any) -> list[tuple[str, Callable[[], object]]]:
    corrupt = [(f"{content!r}", partial(store.index_file.write_bytes, content)) for content in CORRUPTIONS]
    half: Callable[[], object] = lambda: store.index_file.write_bytes(store.index_file.read_bytes()[:40])  # noqa: E731
    return [("missing", store.index_file.unlink), *corrupt, ("cut off", half)]


def _moment_of_publishing(store: Any) -> int:
    """Which file operation of a save puts the new index in its place."""
    saved(store, 1)
    first, moment = _index_identity(store), 0

    def look(operation: int) -> None:
        nonlocal moment
        if _index_identity(store) == first:
            moment = operation

    run_stepwise(lambda: saved(store, 1), look)
    return moment


def _index_identity(store: Any) -> tuple[int, int, int]:
    stat = store.index_file.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _save_while_another_saves(store: Any, moment: int) -> list[str]:
    """Save a session; right before file operation ``moment`` another thread saves one, if our lock lets it."""
    ids: list[str] = []
    neighbours = []

    def save() -> None:
        ids.append(id_of(store, saved(store, 1)))

    def let_in(operation: int) -> None:
        if operation == moment:
            neighbours.append(in_thread(save))
            neighbours[0].join(PATIENCE_S)

    run_stepwise(save, let_in)
    for neighbour in neighbours:
        neighbour.join(HANG_S)
    return ids


def _save_while_a_process_saves(store: Any, moment: int, patience_s: float) -> list[str]:
    """Save a session; right before file operation ``moment`` a process saves one, if our lock lets it."""
    ids: list[str] = []
    neighbours: list[Any] = []

    def let_in(operation: int) -> None:
        if operation == moment:
            neighbours.append(store.start_saving(1))
            deadline = time.monotonic() + patience_s
            while neighbours[0].poll() is None and time.monotonic() < deadline:
                time.sleep(PATIENCE_S / 20)

    run_stepwise(lambda: ids.append(id_of(store, saved(store, 1))), let_in)
    return ids + [session_id for neighbour in neighbours for session_id in _printed(neighbour)]


def _printed(process: Any) -> list[str]:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, f"start_saving: the process ended with exit status {process.returncode}"
    return str(output).split()


def _ends(store: Any, session: Any, over: threading.Event) -> bool:
    """Whether a save in a thread of its own comes to an end; the thread lives on until all is ``over``."""
    saved_or_failed = threading.Event()

    def save() -> None:
        try:
            store.save(session)
        except Exception:
            # An error that says so is a good end.
            pass
        saved_or_failed.set()
        # The next thread would inherit the identity of a dead one, and with it a re-entrant lock that was kept.
        over.wait(2 * HANG_S)

    in_thread(save)
    return saved_or_failed.wait(HANG_S)
