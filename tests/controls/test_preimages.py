"""Keeping what stands at a path before it changes: the whole of it, once, and refused where that cannot be."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from artifact_scene import LIMIT_BYTES, Scene, scene_of_an_ordinary_user

from pytest_session_guard._controls.preimages import Preimages, store_name
from pytest_session_guard._core.errors import LedgerError, PreimageError
from pytest_session_guard._core.records import Identity, parse_journal
from pytest_session_guard._core.restoring import Preimage, left_states, preimages_of


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def put(path: Path, content: bytes = b"there before") -> Path:
    path.write_bytes(content)
    return path


def records(scene: Scene) -> list[dict[str, object]]:
    return list(parse_journal(Path(scene.directory.path, scene.journal.name).read_bytes()).records)


def kept(scene: Scene) -> list[Preimage]:
    return preimages_of(records(scene))


def stored(scene: Scene, image: Preimage) -> Path:
    return Path(scene.preimages.directory, image.copy)


def test_a_file_to_be_removed_gets_a_second_name_and_no_byte_is_copied(scene: Scene) -> None:
    path = scene.keep(put(scene.work / "a"), removal=True)

    [image] = kept(scene)

    assert image.how == "link"
    assert stored(scene, image).samefile(path)


def test_a_file_to_be_written_is_copied(scene: Scene) -> None:
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed")

    [image] = kept(scene)

    assert (image.how, stored(scene, image).read_bytes()) == ("copy", b"there before")


def test_only_the_state_before_the_first_change_is_kept(scene: Scene) -> None:
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"first change")
    scene.keep(path)
    scene.keep(path, removal=True)

    [image] = kept(scene)

    assert stored(scene, image).read_bytes() == b"there before"
    assert sum(record["kind"] == "preimage" for record in records(scene)) == 1


def test_a_file_renamed_first_and_written_to_afterwards_is_kept_as_it_was(scene: Scene) -> None:
    path = put(scene.work / "a")
    path.chmod(0o600)
    before = path.stat()
    scene.keep(path, removal=True)
    moved = path.rename(scene.work / "b")
    scene.keep(moved)
    moved.write_bytes(b"changed")

    [image] = kept(scene)

    assert (image.path, image.mode, image.mtime_ns) == (str(path), 0o600, before.st_mtime_ns)
    assert stored(scene, image).read_bytes() == b"there before"


def test_a_second_name_of_the_same_object_shares_its_copy(scene: Scene) -> None:
    first = put(scene.work / "a")
    second = scene.work / "b"
    second.hardlink_to(first)
    scene.keep(first)
    first.write_bytes(b"changed")
    scene.keep(second, removal=True)

    assert [(image.path, image.how, image.size) for image in kept(scene)] == [
        (str(first), "copy", len(b"there before")),
        (str(second), "copy", len(b"there before")),
    ]
    assert len(list(Path(scene.preimages.directory).iterdir())) == 1


def test_another_process_of_the_run_finds_what_is_kept(scene: Scene) -> None:
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed by the first")
    worker = Preimages(scene.preimages.directory, LIMIT_BYTES, scene.journal.append)

    worker.keep(str(path), path.lstat(), False)

    [image] = kept(scene)
    assert stored(scene, image).read_bytes() == b"there before"
    assert image.size == len(b"there before")


def test_a_file_that_another_process_of_the_run_made_is_no_preimage(scene: Scene) -> None:
    path = scene.create(scene.work / "a")
    worker = Preimages(scene.preimages.directory, LIMIT_BYTES, scene.journal.append)

    worker.keep(str(path), path.lstat(), False)

    assert kept(scene) == []


def test_a_file_that_somebody_replaced_meanwhile_is_kept_again(scene: Scene) -> None:
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed by the run")
    put(scene.work / "newer", b"written by its owner meanwhile").replace(path)
    scene.keep(path)

    [image] = kept(scene)

    assert stored(scene, image).read_bytes() == b"written by its owner meanwhile"


def test_of_two_who_copy_at_once_the_first_copy_counts(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_session_guard._controls import preimages

    path = put(scene.work / "a")
    worker = Preimages(scene.preimages.directory, LIMIT_BYTES, scene.journal.append)
    copy_content = preimages.copy_content

    def copy_when_the_other_has_changed_it(source: str, target: str) -> tuple[os.stat_result, os.stat_result]:
        monkeypatch.setattr(preimages, "copy_content", copy_content)
        worker.keep(str(path), path.lstat(), False)
        path.write_bytes(b"changed by the other")
        return copy_content(source, target)

    monkeypatch.setattr(preimages, "copy_content", copy_when_the_other_has_changed_it)
    scene.keep(path)

    [image] = kept(scene)
    assert stored(scene, image).read_bytes() == b"there before"
    assert len(list(Path(scene.preimages.directory).iterdir())) == 1


def test_threads_that_keep_one_file_keep_it_once(scene: Scene) -> None:
    paths = [put(scene.work / str(number), b"there before") for number in range(30)]

    def work() -> None:
        for path in paths:
            scene.keep(path, removal=True)
            scene.keep(path)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [image.how for image in kept(scene)] == ["copy"] * 30
    assert {entry.suffix for entry in Path(scene.preimages.directory).iterdir()} <= {"", ".copy"}


def test_mode_times_owner_and_attributes_are_kept(scene: Scene) -> None:
    path = put(scene.work / "a")
    path.chmod(0o4755)
    os.setxattr(path, "user.mine", b"\0value")
    os.utime(path, ns=(1_000_000_007, 2_000_000_009))
    found = path.stat()

    scene.keep(path)

    [image] = kept(scene)
    assert (image.mode, image.mtime_ns, image.uid, image.gid) == (0o4755, 2_000_000_009, found.st_uid, found.st_gid)
    assert image.xattrs == {"user.mine": "AHZhbHVl"}


def test_holes_stay_holes(scene: Scene) -> None:
    path = scene.work / "sparse"
    with path.open("wb") as file:
        file.write(b"start")
        file.seek(1 << 32)
        file.write(b"end")
    assert path.stat().st_blocks * 512 < LIMIT_BYTES, "the file system keeps no holes"

    scene.keep(path)

    [image] = kept(scene)
    copy = stored(scene, image).stat()
    assert (copy.st_size, copy.st_blocks) == (path.stat().st_size, path.stat().st_blocks)


def test_a_hole_at_the_end_is_kept(scene: Scene) -> None:
    path = put(scene.work / "sparse", b"start")
    os.truncate(path, 1 << 30)

    scene.keep(path)

    [image] = kept(scene)
    assert stored(scene, image).stat().st_size == 1 << 30


def test_what_is_too_large_to_copy_is_refused_but_may_be_removed(scene: Scene) -> None:
    path = put(scene.work / "a", b"x" * (LIMIT_BYTES + 1))

    with pytest.raises(PreimageError, match=rf"more than session_guard_preimage_limit \({LIMIT_BYTES}\)"):
        scene.keep(path)
    scene.keep(path, removal=True)

    assert [image.how for image in kept(scene)] == ["link"]
    assert len(list(Path(scene.preimages.directory).iterdir())) == 1


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_a_special_file_is_kept_by_name_and_cannot_be_copied(scene: Scene, kind: str) -> None:
    import socket

    path = scene.work / "special"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))

    scene.keep(path, removal=True)

    assert [image.how for image in kept(scene)] == ["link"]
    other = scene.work / "other"
    os.mkfifo(other)
    with pytest.raises(PreimageError, match="no regular file"):
        scene.keep(other)


def test_a_symlink_is_kept_as_its_target(scene: Scene) -> None:
    path = scene.work / "link"
    path.symlink_to("some/where")

    scene.keep(path, removal=True)

    assert [(image.how, image.target) for image in kept(scene)] == [("symlink", "some/where")]


def test_a_directory_renamed_away_is_kept_with_all_in_it(scene: Scene) -> None:
    directory = scene.work / "d"
    (directory / "e").mkdir(parents=True)
    put(directory / "a")
    put(directory / "e" / "b")
    (directory / "link").symlink_to("a")

    scene.keep(directory, removal=True)

    assert [(os.path.relpath(image.path, scene.work), image.how) for image in kept(scene)] == [
        ("d", "directory"),
        ("d/a", "link"),
        ("d/e", "directory"),
        ("d/link", "symlink"),
        ("d/e/b", "link"),
    ]


def test_a_directory_whose_mode_changes_is_kept_alone(scene: Scene) -> None:
    directory = scene.work / "d"
    directory.mkdir()
    put(directory / "a")

    scene.keep(directory)

    assert [image.how for image in kept(scene)] == ["directory"]


def test_a_file_on_another_file_system_is_copied(scene: Scene, other_file_system: Path) -> None:
    path = scene.keep(put(other_file_system / "a"), removal=True)
    path.unlink()

    [image] = kept(scene)

    assert (image.how, stored(scene, image).read_bytes()) == ("copy", b"there before")


def test_what_went_by_itself_needs_no_preimage(scene: Scene) -> None:
    path = put(scene.work / "a")
    found = path.lstat()
    path.unlink()

    scene.preimages.keep(str(path), found, True)

    assert kept(scene) == []


@pytest.mark.parametrize("removal", [True, False])
def test_what_is_replaced_while_it_is_kept_is_refused(scene: Scene, removal: bool) -> None:
    path = put(scene.work / "a")
    found = path.lstat()
    put(scene.work / "b").replace(path)

    with pytest.raises(PreimageError, match="replaced while"):
        scene.preimages.keep(str(path), found, removal)
    assert list(Path(scene.preimages.directory).iterdir()) == []


def test_what_others_write_to_for_a_moment_is_kept(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_session_guard._controls import preimages

    path = put(scene.work / "a")
    copy_content, written = preimages.copy_content, []

    def write() -> None:
        started = time.monotonic()
        while time.monotonic() - started < 0.05:
            path.write_bytes(b"others")
            written.append(1)

    others = threading.Thread(target=write)

    def copy_while_others_begin(source: str, target: str) -> tuple[os.stat_result, os.stat_result]:
        before, after = copy_content(source, target)
        if not written:
            others.start()
            while not written:
                pass
            after = path.stat()
        return before, after

    monkeypatch.setattr(preimages, "copy_content", copy_while_others_begin)

    scene.keep(path)
    others.join()

    assert parts(scene) == {"a": "copy"}


def test_what_is_written_to_all_the_time_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_session_guard._controls import preimages

    path = put(scene.work / "a")
    copy_content = preimages.copy_content

    def copy_while_it_is_written(source: str, target: str) -> tuple[os.stat_result, os.stat_result]:
        before, _ = copy_content(source, target)
        with path.open("ab") as file:
            file.write(b"more")
        return before, path.stat()

    monkeypatch.setattr(preimages, "copy_content", copy_while_it_is_written)

    with pytest.raises(PreimageError, match="all the time"):
        scene.keep(path)
    assert list(Path(scene.preimages.directory).iterdir()) == []


def test_what_cannot_be_written_down_must_not_be_changed(scene: Scene) -> None:
    def full(record: object) -> None:
        raise LedgerError("journal", "no space left")

    preimages = Preimages(scene.preimages.directory, LIMIT_BYTES, full)
    path = put(scene.work / "a")

    with pytest.raises(OSError, match="no space left"):
        preimages.keep(str(path), path.lstat(), False)


def test_a_store_that_is_gone_refuses(scene: Scene) -> None:
    path = put(scene.work / "a")
    Path(scene.preimages.directory).rmdir()

    with pytest.raises(PreimageError, match="could not be copied"):
        scene.keep(path)


@pytest.mark.parametrize("above", ["preimages", ".session_guard"])
def test_a_ledger_that_was_swapped_gets_nothing(scene: Scene, tmp_path: Path, above: str) -> None:
    path = put(scene.work / "a")
    store = Path(scene.preimages.directory)
    swapped = next(place for place in (store, *store.parents) if place.name == above)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.joinpath(store.relative_to(swapped)).mkdir(parents=True)
    swapped.rename(tmp_path / "away")
    swapped.symlink_to(elsewhere)

    with pytest.raises(PreimageError, match="another directory stands where the ledger was"):
        scene.keep(path)
    assert [entry for entry in elsewhere.rglob("*") if not entry.is_dir()] == []


@pytest.fixture
def ordinary_scene() -> Iterator[Scene]:
    with scene_of_an_ordinary_user() as scene:
        yield scene


def test_what_cannot_be_read_is_refused(ordinary_scene: Scene) -> None:
    path = put(ordinary_scene.work / "a")
    path.chmod(0o200)

    with pytest.raises(PreimageError, match="Permission denied"):
        ordinary_scene.keep(path)


# Databases


def database(path: Path) -> sqlite3.Connection:
    """A database with one row in its main file and one that only its log has, as long as it is open."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE talk (words)")
    connection.execute("INSERT INTO talk VALUES ('old words')")
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("INSERT INTO talk VALUES ('newest words')")
    connection.commit()
    return connection


def parts(scene: Scene) -> dict[str, str]:
    return {os.path.basename(image.path): image.how for image in kept(scene)}


@pytest.mark.parametrize(("removal", "how"), [(False, "copy"), (True, "link")])
def test_a_database_is_kept_with_its_log(scene: Scene, removal: bool, how: str) -> None:
    connection = database(scene.work / "chat.db")
    log = (scene.work / "chat.db-wal").read_bytes()

    scene.keep(scene.work / "chat.db", removal=removal)
    connection.close()

    assert not (scene.work / "chat.db-wal").exists()
    assert parts(scene) == {"chat.db": how, "chat.db-journal": "absent", "chat.db-wal": "copy"}
    assert log in [stored(scene, image).read_bytes() for image in kept(scene) if image.path.endswith("-wal")]


def test_a_log_that_the_run_made_beside_a_database_is_no_preimage(scene: Scene) -> None:
    path = scene.work / "chat.db"
    database(path).close()
    scene.keep(path)
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO talk VALUES ('by the run')")
    connection.commit()

    for other in (scene.preimages, Preimages(scene.preimages.directory, LIMIT_BYTES, scene.journal.append)):
        other.keep(str(path), path.lstat(), False)

    assert parts(scene) == {"chat.db": "copy", "chat.db-journal": "absent", "chat.db-wal": "absent"}
    connection.close()


@pytest.mark.parametrize("content", [b"x" * 4096, b"SQLite format 3\0", b""])
def test_what_only_looks_like_a_database_is_kept_alone(scene: Scene, content: bytes) -> None:
    put(scene.work / "a-wal")
    scene.keep(put(scene.work / "a", content))

    assert parts(scene) == {"a": "copy"}


def test_a_database_whose_log_is_written_to_meanwhile_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_session_guard._controls import preimages

    connection = database(scene.work / "chat.db")
    copy_content = preimages.copy_content

    def copy_while_somebody_talks(source: str, target: str) -> tuple[os.stat_result, os.stat_result]:
        if source.endswith("-wal"):
            return copy_content(source, target)
        copied = copy_content(source, target)
        with (scene.work / "chat.db-wal").open("ab") as file:
            file.write(b"more")
        return copied

    monkeypatch.setattr(preimages, "copy_content", copy_while_somebody_talks)
    monkeypatch.setattr(preimages.Preimages, "_copy_at_rest", _log_first(preimages.Preimages._copy_at_rest))

    with pytest.raises(PreimageError, match="all the time"):
        scene.keep(scene.work / "chat.db")
    assert list(Path(scene.preimages.directory).iterdir()) == []
    connection.close()


def _log_first(copy: Any) -> Any:
    """The order in which a change between the two copies would go unseen if each were compared with itself alone."""

    def copy_reversed(self: Preimages, files: dict[str, os.stat_result], targets: dict[str, str]) -> Any:
        return copy(self, dict(reversed(files.items())), targets)

    return copy_reversed


def test_how_things_are_left_is_written_down(scene: Scene) -> None:
    changed = scene.keep(put(scene.work / "a"))
    gone = scene.keep(put(scene.work / "b"), removal=True)
    changed.write_bytes(b"changed")
    gone.unlink()

    scene.preimages.note_left()

    found = changed.stat()
    assert left_states(records(scene)) == {
        str(changed): (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns),
        str(gone): None,
    }


def test_names_in_the_store_tell_objects_apart() -> None:
    assert store_name("/a", Identity(1, 2, 3)) == store_name("/b", Identity(1, 2, 3))
    assert store_name("/a", Identity(1, 2, 3)) != store_name("/a", Identity(1, 2, 4))
    assert store_name("/a", Identity(1, 2, None, "h")) == store_name("/b", Identity(1, 2, None, "h"))
    assert store_name("/a", Identity(1, 2, None, "h")) != store_name("/a", Identity(1, 2, None, "i"))
    assert len(store_name("/a", Identity(1, 2, None, "h" * 260))) < 100
    # With neither birth time nor handle the same number may be another object: then each path has a name of its own.
    assert store_name("/a", Identity(1, 2)) != store_name("/b", Identity(1, 2))
