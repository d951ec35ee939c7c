"""Group 6: a lost session file made again from the state database."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any, Final

from pytest_session_guard.contracts._observe import in_fork, in_thread, run_stepwise, temporary_names
from pytest_session_guard.contracts._rules import Check, Rules, count_on_disk, id_of, save_with, saved

REBUILD: Final = Rules(6)


@REBUILD.add("a session file made again from the state database keeps the message count", "rebuild")
def rebuilt_session_keeps_its_messages(store: Any, check: Check) -> None:
    session_id = _lost(store)

    check.attempt("rebuilding", partial(store.rebuild, session_id))

    count = count_on_disk(store, session_id)
    check.expect(count == 7, f"7 messages became {count}")
    check.expect(session_id in store.list_ids(), "the session is not listed")


@REBUILD.add("a session file made again from the state database keeps workspace and worktree", "rebuild", "details")
def rebuilt_session_keeps_its_details(store: Any, check: Check) -> None:
    session_id = _lost(store)

    check.attempt("rebuilding", partial(store.rebuild, session_id))

    _expect_details(store, check, session_id)


@REBUILD.add("rebuilding works with an older state database that lacks columns", "rebuild", "old-schema")
def old_schema_is_enough_to_rebuild(store: Any, check: Check) -> None:
    session_id = _lost(store)
    store.age_state()

    check.attempt("rebuilding from the oldest schema", partial(store.rebuild, session_id))

    count = count_on_disk(store, session_id)
    check.expect(count == 7, f"7 messages became {count}")


@REBUILD.add("a rebuilt session round-trips through load and save", "rebuild")
def rebuilt_session_round_trips(store: Any, check: Check) -> None:
    session_id = _lost(store)
    check.attempt("rebuilding", partial(store.rebuild, session_id))
    title = store.get(store.load(session_id), "title")

    check.attempt("saving the rebuilt session", lambda: store.save(store.load(session_id)))

    check.expect(title == "lost", f"the title 'lost' became {title!r}")
    check.expect(count_on_disk(store, session_id) == 7, "saving the rebuilt session changed its messages")
    _expect_details(store, check, session_id)


@REBUILD.add("rebuilding never writes over a live file, also not over one that appears meanwhile", "rebuild")
def live_file_that_appears_is_kept(store: Any, check: Check) -> None:
    for moment in itertools.count():
        # Moment 0 is before rebuilding begins, moment n right before its n-th file operation.
        operations, appeared, kept = _rebuild_as_a_file_appears(store, moment)
        when = f"before file operation {moment} of the rebuild" if moment else "before the rebuild"
        check.expect(kept or not appeared, f"a live file that appeared {when} was written over")
        if moment > operations:
            return


@REBUILD.add("temporary names cannot be shared by two threads", "rebuild")
def threads_do_not_share_temporary_names(store: Any, check: Check) -> None:
    session_id = _lost(store)
    ours = _names_used(store, session_id)
    theirs: set[str] = set()

    in_thread(lambda: theirs.update(_names_used(store, session_id))).join(30)

    check.expect(not ours & theirs, f"two threads would both write to {_shown(ours & theirs)}")


@REBUILD.add("temporary names cannot be shared by two processes", "rebuild", "fork")
def processes_do_not_share_temporary_names(store: Any, check: Check) -> None:
    session_id = _lost(store)

    # Both begin with the same thread identity and the same counters: only the process can tell them apart.
    theirs = in_fork(partial(_names_used, store, session_id))
    ours = _names_used(store, session_id)

    check.expect(not ours & theirs, f"two processes would both write to {_shown(ours & theirs)}")


def _lost(store: Any, count: int = 7) -> str:
    """A session that the state database knows and whose file is gone."""
    session = store.make()
    store.put(session, "title", "lost")
    for field, value in (getattr(store, "details", None) or {}).items():
        store.put(session, field, value)
    save_with(store, session, count)
    session_id = id_of(store, session)
    store.session_file(session_id).unlink()
    return session_id


def _expect_details(store: Any, check: Check, session_id: str) -> None:
    session = store.load(session_id)
    for field, value in (getattr(store, "details", None) or {}).items():
        found = store.get(session, field)
        check.expect(found == value, f"{field} {value!r} became {found!r}")


def _rebuild_as_a_file_appears(store: Any, moment: int) -> tuple[int, bool, bool]:
    """Rebuild a session; its file appears at ``moment``.

    :returns: the number of file operations, whether the file appeared, whether it is still what it was.
    """
    session = saved(store, 9, title="live")
    session_id = id_of(store, session)
    path: Path = store.session_file(session_id)
    live = path.read_bytes()
    save_with(store, session, 7)
    path.unlink()
    appeared = False

    def appear(now: int) -> None:
        nonlocal appeared
        if now == moment and not path.exists():
            path.write_bytes(live)
            appeared = True

    def rebuild() -> None:
        try:
            store.rebuild(session_id)
        except Exception:
            # To refuse is as good as to return: what counts is the file.
            return

    appear(0)
    operations = run_stepwise(rebuild, appear)
    return operations, appeared, path.exists() and path.read_bytes() == live


def _names_used(store: Any, session_id: str) -> set[str]:
    """The temporary names that one rebuild and one save of a session go through."""
    store.session_file(session_id).unlink(missing_ok=True)
    names = temporary_names(store.root, partial(store.rebuild, session_id))
    session = store.load(session_id)
    return names | temporary_names(store.root, partial(store.save, session))


def _shown(names: set[str]) -> str:
    return ", ".join(sorted(repr(Path(name).name) for name in names))
