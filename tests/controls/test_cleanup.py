"""Removing what the run made: everything that is not provably its own stays, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from artifact_scene import Scene, tree

from pytest_session_guard._controls.cleanup import Cleanup, Removed
from pytest_session_guard._controls.cleanup.removing import CHUNK
from pytest_session_guard._controls.markers import tag
from pytest_session_guard._core.errors import LedgerError, NotCreatedByRunError
from pytest_session_guard._core.records import Identity
from pytest_session_guard._core.removal import (
    ANOTHER_OBJECT,
    ANOTHER_USER,
    NOT_ITS_PLACE,
    NOT_RECORDED,
    NOT_TELLABLE,
    THROUGH_SYMLINK,
    UNREADABLE,
    RemovalPlan,
)
from pytest_session_guard._host.directories import OpenDirectory
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.identity import identity_of


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def reasons(removed: Removed | RemovalPlan) -> dict[str, str]:
    return {Path(path).name: reason for path, reason in removed.kept}


def test_clear_shared_removes_what_the_run_made_and_nothing_else(scene: Scene) -> None:
    (scene.store / "real.json").write_bytes(b"years of work")
    before = tree(scene.store)
    scene.create(scene.store / "a.json")
    scene.create(scene.mkdir(scene.store / "d") / "b.json")
    scene.create(scene.work / "stays.txt")

    removed = scene.cleanup.clear_shared()

    assert sorted(removed.removed) == [str(scene.store / name) for name in ("a.json", "d", "d/b.json")]
    assert removed.kept == ()
    assert tree(scene.store) == before
    assert (scene.work / "stays.txt").exists()
    assert list(Path(scene.directory.path, "quarantine").iterdir()) == []


def test_plan_changes_nothing(scene: Scene) -> None:
    scene.create(scene.store / "a.json")
    before = tree(scene.root)

    plan = scene.cleanup.plan_shared()

    assert plan.lines() == [f"remove {str(scene.store / 'a.json')!r}"]
    assert tree(scene.root) == before


def test_more_files_than_one_chunk_all_go(scene: Scene) -> None:
    for number in range(CHUNK + 1):
        scene.create(scene.store / str(number))

    assert len(scene.cleanup.clear_shared().removed) == CHUNK + 1
    assert list(scene.store.iterdir()) == []


def test_a_file_that_a_live_application_replaced_stays(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    fresh = scene.store / "fresh"
    fresh.write_bytes(b"written by the application")
    fresh.replace(path)

    removed = scene.cleanup.clear_shared()

    assert reasons(removed) == {"a.json": ANOTHER_OBJECT}
    assert path.read_bytes() == b"written by the application"


def test_a_file_deleted_and_made_again_by_somebody_else_stays_whatever_its_inode_number(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    number = path.stat().st_ino
    for _ in range(50):
        path.unlink()
        path.write_bytes(b"somebody else's")
        if path.stat().st_ino == number:
            break

    removed = scene.cleanup.clear_shared()

    assert reasons(removed) == {"a.json": ANOTHER_OBJECT}
    assert path.read_bytes() == b"somebody else's"


def test_a_file_without_a_birth_time_stays_unless_it_carries_the_marker(scene: Scene) -> None:
    for name in ("bare.json", "tagged.json"):
        path = scene.store / name
        path.write_bytes(b"{}")
        if name == "tagged.json":
            tag(str(path), scene.directory.run_id, "t", scene.directory.started_ns)
        found = path.lstat()
        scene.ownership.claim(str(path), Identity(found.st_dev, found.st_ino))

    class Blind:
        """The ledger on a file system that keeps no birth times."""

        paths, lent = scene.ownership.paths, scene.ownership.lent
        settle = scene.ownership.settle

        def is_own(self, identity: Identity) -> bool | None:
            known = {(own.device, own.inode) for own in self.paths.values()}
            return None if (identity.device, identity.inode) in known else False

    removed = scene.make_cleanup(artifacts=Blind()).clear_shared()

    assert reasons(removed) == {"bare.json": NOT_TELLABLE}
    assert [path.name for path in scene.store.iterdir()] == ["bare.json"]


def test_an_artifact_that_claims_to_be_older_than_the_run_stays(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    os.utime(path, ns=(0, scene.directory.started_ns - 86_400 * 10**9))

    removed = scene.cleanup.clear_shared()

    assert reasons(removed) == {"a.json": "its modification time is before the start of the run"}
    assert path.exists()


def test_a_directory_swapped_for_a_symlink_leads_nowhere(scene: Scene) -> None:
    directory = scene.mkdir(scene.store / "d")
    path = scene.create(directory / "a.json")
    real = scene.root / "real"
    directory.rename(real)
    directory.symlink_to(real)

    removed = scene.cleanup.clear_shared()

    assert reasons(removed) == {"a.json": THROUGH_SYMLINK, "d": ANOTHER_OBJECT}
    assert (real / "a.json").exists()
    assert path.exists()


class Users:
    """Root, and directories that belong to others, whoever runs the tests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.owners: dict[str, int] = {}
        self.lstat = Raw.lstat
        monkeypatch.setattr(Raw, "geteuid", lambda: 0)
        monkeypatch.setattr(Raw, "lstat", self.look)

    def look(self, path: str) -> os.stat_result:
        found = self.lstat(path)
        return os.stat_result([*found[:4], self.owners.get(path, 0), *found[5:]])

    def give(self, path: Path, uid: int) -> None:
        self.owners[str(path)] = uid


@pytest.mark.parametrize(
    ("owners", "stays"),
    [
        pytest.param({}, False, id="all-roots"),
        pytest.param({"store/theirs/inner": 1000}, True, id="the-directory"),
        pytest.param({"store/theirs": 1000}, True, id="one-above"),
        pytest.param({"store": 1000, "store/theirs": 1000, "store/theirs/inner": 1000}, False, id="one-users-place"),
        pytest.param({"store": 1000, "store/theirs/inner": 1000}, False, id="the-users-and-roots"),
        pytest.param({"store": 1000, "store/theirs": 1001}, True, id="another-users-in-it"),
        pytest.param({"": 1000}, False, id="above-the-place"),
    ],
)
def test_root_does_not_clean_up_in_another_users_directory(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, owners: dict[str, int], stays: bool
) -> None:
    inner = scene.store / "theirs" / "inner"
    inner.mkdir(parents=True)
    path = scene.create(inner / "a.json")
    users = Users(monkeypatch)
    for name, owner in owners.items():
        users.give(scene.root / name, owner)

    removed = scene.cleanup.clear_shared()

    assert reasons(removed) == ({"a.json": ANOTHER_USER} if stays else {})
    assert path.exists() == stays
    # An ordinary user needs no rule: the kernel asks who owns what.
    monkeypatch.setattr(Raw, "geteuid", lambda: 1000)
    assert scene.cleanup.plan_shared().kept == ()


def test_root_cleans_up_in_a_directory_that_the_run_made_for_another_user(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = scene.mkdir(scene.store / "made")
    scene.create(directory / "a.json")
    Users(monkeypatch).give(directory, 1000)

    removed = scene.cleanup.clear_shared()

    assert (removed.kept, len(removed.removed)) == ((), 2)


def test_a_directory_that_went_while_its_owner_is_asked_for_is_nobodys_place(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.create(scene.store / "a.json")
    users = Users(monkeypatch)
    monkeypatch.setattr(Raw, "lstat", lambda path: users.look(path) if path != str(scene.store) else users.look("/no"))

    assert reasons(scene.cleanup.plan_shared()) == {"a.json": ANOTHER_USER}


def test_a_directory_goes_only_when_everything_in_it_goes(scene: Scene) -> None:
    directory = scene.mkdir(scene.store / "d")
    scene.create(directory / "own.json")
    (directory / "foreign.json").write_bytes(b"somebody else's")

    removed = scene.cleanup.clear_shared()

    assert [Path(path).name for path in removed.removed] == ["own.json"]
    assert reasons(removed) == {"d": f"it holds 'foreign.json', which stays: {NOT_RECORDED}"}
    assert tree(directory).keys() == {"foreign.json"}


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no permissions to take away")
def test_a_directory_that_cannot_be_listed_stays(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = scene.mkdir(scene.store / "d")
    fact = next(iter(scene.cleanup.inspection.facts([str(directory)])))
    shutil.rmtree(directory)
    directory.write_bytes(b"a file now: what was a directory when it was looked at cannot be listed")

    from pytest_session_guard._controls.cleanup.inspection import _entries

    with OpenDirectory(str(scene.store)) as parent:
        assert fact.entries == frozenset()
        assert _entries(parent, "d") is None
    assert UNREADABLE == "what is in it cannot be listed"


JOURNAL_OF_SQLITE = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7 left by somebody"


def test_what_sqlite_made_beside_a_database_goes_with_it(scene: Scene) -> None:
    import sqlite3

    directory = scene.mkdir(scene.store / "d")
    users = []
    for path in (scene.store / "the-chat.db", directory / "my-own-chat.db"):
        scene.ownership.intend(str(path), False)
        user = sqlite3.connect(path)
        user.execute("PRAGMA journal_mode=wal")
        user.execute("CREATE TABLE messages (text)")
        user.commit()
        users.append(user)
    scene.ownership.settle()
    (scene.store / "other-wal").write_bytes(b"somebody else's, of nothing that is there")

    assert {path.name for path in directory.iterdir()} == {
        "my-own-chat.db",
        "my-own-chat.db-wal",
        "my-own-chat.db-shm",
    }
    assert len(scene.cleanup.remove(str(directory)).removed) == 4
    scene.cleanup.clear_shared()

    assert tree(scene.store).keys() == {"other-wal"}
    for user in users:
        user.close()


def test_what_lay_beside_a_database_before_the_run_stays(scene: Scene) -> None:
    side = scene.store / "chat.db-journal"
    side.write_bytes(JOURNAL_OF_SQLITE)
    scene.directory.started_ns = side.stat().st_mtime_ns + 1
    os.utime(scene.create(scene.store / "chat.db"))

    removed = scene.make_cleanup(started_ns=lambda path: scene.directory.started_ns).clear_shared()

    assert "chat.db-journal" in reasons(removed)
    assert side.read_bytes() == JOURNAL_OF_SQLITE


def make_file_beside(path: Path) -> None:
    path.write_bytes(b"somebody else's")


@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
@pytest.mark.parametrize(
    "make", [make_file_beside, Path.touch, Path.mkdir, os.mkfifo], ids=["file", "empty", "dir", "fifo"]
)
def test_what_only_has_the_name_of_a_side_file_stays_and_is_in_nobodys_way(
    scene: Scene, make: Callable[[Path], None], suffix: str
) -> None:
    path = scene.create(scene.store / "notes")
    beside = scene.store / f"notes{suffix}"
    make(beside)

    assert scene.cleanup.remove(str(path)).removed == (str(path),)
    assert beside.exists()
    assert reasons(scene.cleanup.plan([str(beside)])) == {beside.name: NOT_RECORDED}


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist"])
def test_the_journal_of_a_transaction_goes_with_its_database(scene: Scene, mode: str) -> None:
    import sqlite3

    path = scene.store / "chat.db"
    scene.ownership.intend(str(path), False)
    user = sqlite3.connect(path)
    user.execute(f"PRAGMA journal_mode={mode}")
    user.execute("CREATE TABLE messages (text)")
    user.commit()
    scene.ownership.settle()
    user.execute("INSERT INTO messages VALUES (1)")

    assert len(scene.cleanup.clear_shared().removed) == 2
    assert tree(scene.store).keys() == set()
    user.close()


# Races between plan and application


def test_a_file_replaced_after_the_plan_is_put_back(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    plan = scene.cleanup.plan_shared()
    path.unlink()
    path.write_bytes(b"somebody else's")

    removed = scene.cleanup.apply(plan)

    assert removed == Removed((), ((str(path), "another object stands there by now"),))
    assert path.read_bytes() == b"somebody else's"
    assert list(Path(scene.directory.path, "quarantine").iterdir()) == []


def test_without_the_second_look_a_file_replaced_after_the_plan_would_be_lost(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scene.create(scene.store / "a.json")
    plan = scene.cleanup.plan_shared()
    path.unlink()
    path.write_bytes(b"somebody else's")
    monkeypatch.setattr(OpenDirectory, "holds_file", lambda opened, name, identity: True)

    scene.cleanup.apply(plan)

    assert not path.exists()


def test_a_directory_in_place_of_a_file_after_the_plan_is_put_back(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    plan = scene.cleanup.plan_shared()
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(b"somebody else's")

    removed = scene.cleanup.apply(plan)

    assert removed.kept == ((str(path), "another object stands there by now"),)
    assert (path / "inside").read_bytes() == b"somebody else's"


def test_what_cannot_go_back_because_its_name_is_taken_stays_in_quarantine_and_is_named(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scene.create(scene.store / "a.json")
    plan = scene.cleanup.plan_shared()
    path.unlink()
    path.write_bytes(b"first stranger")
    original = OpenDirectory.holds_file

    def look_while_another_takes_the_name(opened: OpenDirectory, name: str, identity: Identity) -> bool:
        path.write_bytes(b"second stranger")
        return original(opened, name, identity)

    monkeypatch.setattr(OpenDirectory, "holds_file", look_while_another_takes_the_name)
    removed = scene.cleanup.apply(plan)

    [(kept, reason)] = removed.kept
    assert kept == str(path)
    assert "another object stood there, now at" in reason
    assert "(File exists)" in reason
    assert path.read_bytes() == b"second stranger"
    [stored] = Path(scene.directory.path, "quarantine").iterdir()
    assert stored.read_bytes() == b"first stranger"
    assert str(stored) in reason


def test_what_went_by_itself_is_said_to_have_gone(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    directory = scene.mkdir(scene.store / "d")
    plan = scene.cleanup.plan_shared()
    path.unlink()
    directory.rmdir()

    removed = scene.cleanup.apply(plan)

    assert reasons(removed) == {"a.json": "it went by itself", "d": "it went by itself"}
    assert removed.removed == ()


def test_a_directory_replaced_or_filled_after_the_plan_stays(scene: Scene) -> None:
    replaced = scene.mkdir(scene.store / "replaced")
    filled = scene.mkdir(scene.store / "filled")
    plan = scene.cleanup.plan_shared()
    replaced.rmdir()
    replaced.mkdir()
    (filled / "new").write_bytes(b"somebody else's")

    removed = scene.cleanup.apply(plan)

    assert reasons(removed) == {
        "replaced": "another directory stands there by now",
        "filled": "something is in it that is not removed",
    }
    assert tree(scene.store).keys() == {"replaced", "filled", "filled/new"}


def test_a_parent_swapped_for_a_symlink_after_the_plan_leads_nowhere(scene: Scene) -> None:
    directory = scene.mkdir(scene.store / "d")
    scene.create(directory / "a.json")
    plan = scene.cleanup.plan_shared()
    directory.rename(scene.root / "real")
    directory.symlink_to(scene.root / "real")

    removed = scene.cleanup.apply(plan)

    assert removed.removed == ()
    assert "it cannot be removed" in reasons(removed)["a.json"]
    assert (scene.root / "real" / "a.json").exists()


def test_a_directory_whose_parent_was_swapped_for_a_symlink_after_the_plan_stays(scene: Scene) -> None:
    parent = scene.mkdir(scene.store / "d")
    scene.mkdir(parent / "inner")
    plan = scene.cleanup.plan_shared()
    # The very object of the plan, reached over a symlink.
    parent.rename(scene.root / "real")
    parent.symlink_to(scene.root / "real")

    removed = scene.cleanup.apply(plan)

    assert removed.removed == ()
    assert "it cannot be removed" in reasons(removed)["inner"]
    assert (scene.root / "real" / "inner").exists()


def test_a_place_that_cannot_be_reached_hides_no_other(scene: Scene) -> None:
    gone, swapped, there = (scene.mkdir(scene.store / name) for name in ("gone", "swapped", "there"))
    paths = [scene.create(directory / "a.json") for directory in (gone, swapped, there)]
    (gone / "a.json").unlink()
    gone.rmdir()
    swapped.rename(scene.root / "real")
    swapped.symlink_to(scene.root / "real")

    plan = scene.cleanup.plan(map(str, paths))

    assert plan.lines() == [f"remove {str(paths[2])!r}", f"keep   {str(paths[1])!r}: {THROUGH_SYMLINK}"]


def test_the_start_stamp_is_that_of_the_file_system_of_each_directory(scene: Scene) -> None:
    asked: list[str] = []
    paths = [scene.create(scene.mkdir(scene.store / name) / "a.json") for name in "de"]

    def started_ns(path: str) -> int:
        asked.append(path)
        return scene.directory.started_ns

    scene.make_cleanup(started_ns=started_ns).plan(map(str, paths))

    assert asked == [str(path) for path in paths]


def test_two_processes_that_clean_up_at_once_do_not_meet_in_quarantine(scene: Scene) -> None:
    seen: list[str] = []
    for name in "ab":
        records: list[dict[str, Any]] = []
        scene.create(scene.store / name)
        scene.make_cleanup(journal=records.append).clear_shared()
        seen += [quarantined for record in records for _, quarantined in record.get("moves", ())]

    assert len(seen) == len(set(seen)) == 2


def test_directories_that_went_are_written_down_and_forgotten(scene: Scene) -> None:
    records: list[dict[str, Any]] = []
    directory = scene.mkdir(scene.store / "d")

    scene.make_cleanup(journal=records.append).clear_shared()

    assert records == [{"kind": "removed", "paths": [str(directory)]}]
    assert scene.ownership.paths == {}


@pytest.mark.parametrize("spelling", ["{d}/", "{d}/.", "{d}/inner/..", "{d}//inner/../"])
def test_a_directory_is_removed_however_it_is_spelled(scene: Scene, spelling: str) -> None:
    directory = scene.mkdir(scene.store / "d")
    scene.mkdir(directory / "inner")

    removed = scene.cleanup.remove(spelling.format(d=directory))

    assert sorted(removed.removed) == [str(directory), str(directory / "inner")]


def test_paths_that_overlap_are_removed_once_and_those_after_them_too(scene: Scene) -> None:
    directory = scene.mkdir(scene.store / "d")
    inner, other = scene.create(directory / "a"), scene.create(scene.store / "b")

    removed = scene.cleanup.remove(str(directory), str(inner), str(scene.store / "gone"), str(inner), str(other))

    assert sorted(removed.removed) == sorted(map(str, (directory, inner, other)))


# Names


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"line\nbreak", id="newline"),
        pytest.param(b"\xff\xfe not utf-8", id="not-utf-8"),
        pytest.param(b"x" * 255, id="255-bytes"),
        pytest.param(b"-rf", id="leading-dash"),
        pytest.param(b" ", id="space"),
        pytest.param("é".encode(), id="utf-8"),
    ],
)
def test_names_of_every_kind_go(scene: Scene, name: bytes) -> None:
    path = scene.create(scene.store / os.fsdecode(name))
    inside = scene.mkdir(scene.store / "d") / os.fsdecode(name)
    scene.create(inside)

    removed = scene.cleanup.clear_shared()

    assert {str(path), str(inside)} <= set(removed.removed)
    assert list(scene.store.iterdir()) == []


@pytest.mark.parametrize("kind", ["fifo", "socket", "symlink", "dangling"])
def test_special_files_go_and_what_symlinks_lead_to_stays(scene: Scene, kind: str) -> None:
    import socket

    real = scene.store / "real"
    real.write_bytes(b"years of work")
    path = scene.store / "special"
    scene.ownership.intend(str(path), False)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    else:
        path.symlink_to(real if kind == "symlink" else scene.store / "nowhere")
    scene.ownership.settle()

    assert scene.cleanup.clear_shared().removed == (str(path),)
    assert real.read_bytes() == b"years of work"


def test_a_hard_link_that_somebody_made_keeps_its_content(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    os.link(path, scene.root / "kept")

    assert scene.cleanup.clear_shared().removed == (str(path),)
    assert (scene.root / "kept").read_bytes() == b"made by the run"


def test_a_hard_link_that_the_run_made_to_a_real_file_is_not_its_artifact(scene: Scene) -> None:
    real = scene.store / "real.json"
    real.write_bytes(b"years of work")
    alias = scene.store / "alias.json"
    scene.ownership.intend(str(alias), False)
    alias.hardlink_to(real)
    scene.ownership.settle()

    assert scene.cleanup.clear_shared() == Removed()
    assert alias.exists()


# remove and sweep: all or nothing


def test_remove_takes_a_whole_tree_of_the_runs_own(scene: Scene) -> None:
    directory = scene.mkdir(scene.store / "d")
    scene.create(directory / "a")
    scene.create(scene.mkdir(directory / "e") / "b")

    removed = scene.cleanup.remove(str(directory), str(directory / "a"), str(scene.store / "not there"))

    assert len(removed.removed) == 4
    assert list(scene.store.iterdir()) == []


def test_remove_refuses_everything_when_one_path_is_not_the_runs(scene: Scene) -> None:
    own = scene.create(scene.store / "own.json")
    directory = scene.mkdir(scene.store / "d")
    real = directory / "real.json"
    real.write_bytes(b"years of work")
    before = tree(scene.store)

    with pytest.raises(NotCreatedByRunError) as caught:
        scene.cleanup.remove(str(own), str(directory))

    assert dict(caught.value.refused)[str(real)] == NOT_RECORDED
    assert set(dict(caught.value.refused)) == {str(real), str(directory)}
    assert tree(scene.store) == before


def test_remove_takes_a_symlink_and_not_what_it_leads_to(scene: Scene) -> None:
    real = scene.mkdir(scene.store / "real")
    scene.create(real / "a")
    link = scene.store / "link"
    scene.ownership.intend(str(link), False)
    link.symlink_to(real)

    assert scene.cleanup.remove(str(link)).removed == (str(link),)
    assert (real / "a").exists()


def test_remove_goes_by_the_real_path(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scene.create(scene.store / "a.json")
    (scene.root / "short").symlink_to(scene.store)
    monkeypatch.chdir(scene.store)

    assert scene.cleanup.remove(str(scene.root / "short" / "a.json")).removed == (str(path),)
    scene.create(path)
    assert scene.cleanup.remove("a.json").removed == (str(path),)
    assert scene.cleanup.remove("no/such/place") == Removed()
    with pytest.raises(NotCreatedByRunError):
        scene.cleanup.remove("..")


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        pytest.param("*.json", ["a.json", "b.json"], id="names"),
        pytest.param("[ab].json", ["a.json", "b.json"], id="class"),
        pytest.param("d/*.json", ["d/c.json"], id="one-level-down"),
        pytest.param("**/*.json", ["a.json", "b.json", "d/c.json"], id="all-levels"),
        pytest.param("*.txt", [], id="nothing"),
        pytest.param("**", ["a.json", "b.json", "d/c.json", "d"], id="everything"),
    ],
)
def test_sweep_removes_what_matches(scene: Scene, pattern: str, matched: list[str]) -> None:
    for name in ("a.json", "b.json"):
        scene.create(scene.store / name)
    scene.create(scene.mkdir(scene.store / "d") / "c.json")

    removed = scene.cleanup.sweep(str(scene.store), pattern)

    assert removed == Removed(tuple(str(scene.store / name) for name in matched))


def test_sweep_that_meets_one_real_file_removes_nothing_and_names_it(scene: Scene) -> None:
    scene.create(scene.store / "session_1.meta.json")
    real = scene.store / "session_2.meta.json"
    real.write_bytes(b"touched a minute ago")
    before = tree(scene.store)

    with pytest.raises(NotCreatedByRunError) as caught:
        scene.cleanup.sweep(str(scene.store), "session_*.meta.json")

    assert caught.value.refused == ((str(real), NOT_RECORDED),)
    assert tree(scene.store) == before


def test_sweep_of_a_place_that_is_not_there_does_nothing(scene: Scene) -> None:
    assert scene.cleanup.sweep(str(scene.store / "nowhere"), "*") == Removed()


def test_remove_outside_the_runs_places_is_refused(scene: Scene) -> None:
    elsewhere = scene.create(scene.root / "elsewhere")

    with pytest.raises(NotCreatedByRunError) as caught:
        scene.cleanup.remove(str(elsewhere))

    assert caught.value.refused == ((str(elsewhere), NOT_ITS_PLACE),)
    assert elsewhere.exists()


def test_a_private_directory_needs_no_record_of_each_file(scene: Scene) -> None:
    private = scene.root / "private"
    private.mkdir()
    (private / "old.json").write_bytes(b"x")
    os.utime(private / "old.json", (0, 0))
    cleanup = scene.make_cleanup(is_private=lambda path: path.startswith(f"{private}/"))

    assert cleanup.sweep(str(private), "*").removed == (str(private / "old.json"),)
    with pytest.raises(NotCreatedByRunError):
        cleanup.remove(str(private))


def test_a_file_that_only_the_marker_knows_goes(scene: Scene) -> None:
    path = scene.store / "by-a-child.json"
    path.write_bytes(b"{}")
    tag(str(path), scene.directory.run_id, "t", scene.directory.started_ns)
    other = scene.store / "other-run.json"
    other.write_bytes(b"{}")
    tag(str(other), "another run", "t", scene.directory.started_ns)

    assert scene.cleanup.remove(str(path)).removed == (str(path),)
    with pytest.raises(NotCreatedByRunError):
        scene.cleanup.remove(str(other))


# The ledger


def test_each_chunk_is_written_down_before_and_after(scene: Scene) -> None:
    records: list[dict[str, object]] = []
    path = scene.create(scene.store / "a.json")

    scene.make_cleanup(journal=records.append).clear_shared()

    assert [record["kind"] for record in records] == ["quarantine", "removed"]
    assert records[0]["moves"][0][0] == str(path)  # type: ignore[index]
    assert records[0]["directory"] == f"{scene.directory.path}/quarantine"
    assert records[1]["paths"] == [str(path)]
    assert scene.ownership.paths == {}


def test_nothing_goes_when_it_cannot_be_written_down(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")

    def full(record: object) -> None:
        raise LedgerError("journal", "no space left")

    with pytest.raises(LedgerError):
        scene.make_cleanup(journal=full).clear_shared()
    assert path.exists()


def test_a_quarantine_replaced_by_a_symlink_is_not_used(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    cleanup = scene.make_cleanup()
    (scene.root / "trap").mkdir()
    Path(scene.directory.path, "quarantine").symlink_to(scene.root / "trap")

    with pytest.raises(LedgerError) as refused:
        cleanup.clear_shared()
    assert (refused.value.path, refused.value.reason) == (f"{scene.directory.path}/quarantine", "Not a directory")
    assert path.exists()


def test_another_file_system_is_quarantined_beside_the_file(scene: Scene, other_file_system: Path) -> None:
    from pytest_session_guard._core.zones import Zone

    path = scene.create(other_file_system / "a.json")
    replaced = scene.create(other_file_system / "b.json")
    cleanup = scene.make_cleanup(zone_of=lambda path: Zone.SHARED, started_ns=lambda path: 0)
    plan = cleanup.plan([str(path), str(replaced)])
    replaced.unlink()
    replaced.write_bytes(b"somebody else's")

    removed = cleanup.apply(plan)

    assert removed.removed == (str(path),)
    assert [entry.name for entry in other_file_system.iterdir()] == ["b.json"]
    assert replaced.read_bytes() == b"somebody else's"


def test_a_file_that_the_kernel_will_not_let_go_stays_and_says_why(scene: Scene, make_immutable: object) -> None:
    path = scene.create(scene.store / "a.json")
    assert callable(make_immutable)
    make_immutable(path)

    removed = scene.cleanup.clear_shared()

    assert reasons(removed) == {"a.json": "it cannot be removed (Operation not permitted)"}
    assert path.read_bytes() == b"made by the run"


def test_the_recorded_identity_is_that_of_the_object(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")

    assert scene.ownership.paths[str(path)] == identity_of(str(path))


def test_without_markers_and_listeners_the_ledger_alone_decides(scene: Scene) -> None:
    path, stranger = scene.create(scene.store / "a.json"), scene.store / "real.json"
    stranger.write_bytes(b"years of work")
    alone = Cleanup(
        run_id=scene.directory.run_id,
        started_ns=lambda path: scene.directory.started_ns,
        artifacts=scene.ownership,
        zone_of=lambda path: scene.policy.rule_for(path).zone,
        quarantine=f"{scene.directory.path}/quarantine",
        journal=scene.journal.append,
    )

    assert alone.remove(str(path)).removed == (str(path),)
    assert reasons(alone.plan([str(stranger)])) == {"real.json": NOT_RECORDED}


def test_a_side_file_whose_database_is_gone_stays(scene: Scene) -> None:
    path = scene.store / "gone.db-wal"
    path.write_bytes(b"somebody else's")

    assert reasons(scene.cleanup.plan([str(path)])) == {"gone.db-wal": NOT_RECORDED}


def test_in_a_directory_that_cannot_be_listed_side_files_stay_and_the_rest_goes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scene.create(scene.store / "a.db")
    (scene.store / "a.db-wal").write_bytes(b"made by SQLite")

    def refuse(directory: OpenDirectory) -> frozenset[str]:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(OpenDirectory, "names", refuse)

    assert scene.cleanup.clear_shared().removed == (str(path),)
    assert (scene.store / "a.db-wal").exists()


def test_a_directory_that_the_kernel_will_not_let_go_stays_and_says_why(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scene.mkdir(scene.store / "d")

    def busy(directory: OpenDirectory, name: str) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(OpenDirectory, "rmdir", busy)

    assert reasons(scene.cleanup.clear_shared()) == {"d": "it cannot be removed (Device or resource busy)"}
    assert path.exists()
