"""Past runs: bringing back what they changed."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from artifact_scene import Scene, ended, killed, put, tree

from pytest_session_guard._controls.ledger import Journal, read_run
from pytest_session_guard._controls.recovery import (
    Restorer,
    finish_restoring,
    moving,
    restorer,
)
from pytest_session_guard._controls.recovery.aside import BESIDE
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.restoring import AS_IT_WAS, CHANGED_SINCE, COPY_CHANGED, COPY_GONE
from pytest_session_guard._core.runs import PastRun
from pytest_session_guard._host.directories import OpenDirectory
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._run.recover import (
    REPLACED,
    clean_run,
    plan_restore_run,
    restore_run,
    undo_changes,
)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def facts(path: Path) -> tuple[object, ...]:
    found = path.lstat()
    return found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns, found.st_size


@pytest.mark.parametrize("end", [ended, killed])
def test_restore_brings_back_what_was_written_removed_renamed_and_replaced(scene: Scene, end: object) -> None:
    written, removed, renamed, replaced = (put(scene.work / name, name.encode()) for name in "abcd")
    written.chmod(0o640)
    os.setxattr(written, "user.mine", b"kept")
    os.utime(removed, ns=(1, 2_000_000_009))
    (scene.work / "link").symlink_to("a")
    before = tree(scene.work)
    times = {path.name: facts(path) for path in (written, removed, renamed, replaced)}
    scene.keep(written).write_bytes(b"changed")
    written.chmod(0o777)
    os.setxattr(written, "user.other", b"new")
    scene.keep(removed, removal=True).unlink()
    scene.keep(renamed, removal=True)
    renamed.rename(scene.work / "moved")
    scene.keep(replaced, removal=True)
    scene.create(scene.work / "fresh").replace(replaced)
    scene.keep(scene.work / "link", removal=True).unlink()
    run = end(scene)  # type: ignore[operator]

    done = restore_run(run)

    (scene.work / "moved").unlink()
    after = {key: value for key, value in tree(scene.work).items() if not key.startswith(".session_guard")}
    assert after == {key: value for key, value in before.items() if not key.startswith(".session_guard")}
    assert {path.name: facts(path) for path in (written, removed, renamed, replaced)} == times
    assert os.getxattr(written, "user.mine") == b"kept"
    assert os.listxattr(written) == ["user.mine"]
    assert sorted(Path(path).name for path in done.restored) == ["a", "b", "c", "d", "link"]
    assert done.kept == ()
    aside = {Path(path).name: Path(place).read_bytes() for path, place in done.aside}
    assert aside == {"a": b"changed", "d": b"made by the run"}


def test_restore_brings_a_removed_tree_back(scene: Scene) -> None:

    directory = scene.work / "d"
    (directory / "e").mkdir(parents=True)
    put(directory / "e" / "a")
    directory.chmod(0o750)
    os.utime(directory, ns=(1, 2_000_000_009))
    before = tree(scene.work / "d"), facts(directory)
    scene.keep(directory, removal=True)
    shutil.rmtree(directory)

    done = restore_run(ended(scene))

    assert (tree(directory), facts(directory)) == before
    assert done.kept == ()


def test_restore_twice_does_nothing_the_second_time(scene: Scene) -> None:
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed")
    restore_run(ended(scene))

    done = restore_run(read_run(scene.directory.path))

    assert (done.restored, done.aside, done.kept) == ((), (), ((str(path), AS_IT_WAS),))


def test_restore_never_goes_over_something_newer_without_saying_so(scene: Scene) -> None:
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed by the run")
    run = ended(scene)
    path.write_bytes(b"changed by its owner since")

    assert restore_run(run).kept == ((str(path), CHANGED_SINCE),)
    assert path.read_bytes() == b"changed by its owner since"
    done = restore_run(read_run(run.path), force=True)
    assert path.read_bytes() == b"there before"
    assert [Path(place).read_bytes() for _, place in done.aside] == [b"changed by its owner since"]


def test_a_killed_run_leaves_its_last_breath_to_decide(scene: Scene) -> None:
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed")
    run = killed(scene)
    early = PastRun(**{**{name: getattr(run, name) for name in PastRun.__dataclass_fields__}, "last_sign_ns": 0})

    assert plan_restore_run(run).lines() == [f"put back {str(path)!r}"]
    assert plan_restore_run(early).kept == ((str(path), CHANGED_SINCE),)


@pytest.mark.parametrize("change", ["written", "shortened", "removed"])
def test_a_huge_file_comes_back_with_its_holes_and_nobody_reads_those(scene: Scene, change: str) -> None:
    path = scene.work / "disk.img"
    with path.open("wb") as file:
        file.write(b"start")
        file.seek(1 << 32)
        file.write(b"middle")
        file.truncate(1 << 40)
    taken = path.stat().st_blocks
    scene.keep(path, removal=change == "removed")
    if change == "written":
        with path.open("r+b") as file:
            file.seek(1 << 36)
            file.write(b"by the run")
    elif change == "shortened":
        os.truncate(path, 3)
    else:
        path.unlink()

    # Reading a terabyte of zeros would take minutes.
    done = restore_run(ended(scene))

    assert done.restored == (str(path),)
    found = path.stat()
    assert (found.st_size, found.st_blocks) == (1 << 40, taken)
    with path.open("rb") as file:
        assert file.read(5) == b"start"
        file.seek(1 << 32)
        assert file.read(7) == b"middle\0"


def test_restore_of_one_path_leaves_the_others(scene: Scene) -> None:
    (scene.work / "d").mkdir()
    inside, outside = put(scene.work / "d" / "a"), put(scene.work / "dd")
    for path in (inside, outside):
        scene.keep(path).write_bytes(b"changed")
    run = ended(scene)

    done = restore_run(run, [str(scene.work / "d"), str(scene.work / "unknown")])

    assert done.restored == (str(inside),)
    assert outside.read_bytes() == b"changed"
    assert [Path(path).name for path, _ in done.kept] == ["unknown"]


def test_restore_plan_changes_nothing(scene: Scene) -> None:
    put(scene.work / "a")
    scene.keep(scene.work / "a").write_bytes(b"changed")
    run = ended(scene)
    before = tree(scene.root)

    assert plan_restore_run(run).lines() == [f"put back {str(scene.work / 'a')!r}"]
    assert tree(scene.root) == before


def test_an_alive_run_is_not_restored(scene: Scene) -> None:
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed")
    run = read_run(scene.directory.path)

    assert plan_restore_run(run).kept == ((str(path), "the run is alive"),)
    with pytest.raises(LedgerError, match="the run is alive"):
        restore_run(run)
    assert path.read_bytes() == b"changed"


def test_a_run_in_report_mode_takes_back_what_it_changed_itself(scene: Scene) -> None:
    path, other = put(scene.work / "a"), put(scene.work / "b")
    for changed in (path, other):
        scene.keep(changed).write_bytes(b"changed")

    done = undo_changes(read_run(scene.directory.path), [str(path)])

    assert done.restored == (str(path),)
    assert (path.read_bytes(), other.read_bytes()) == (b"there before", b"changed")


def test_a_run_in_report_mode_leaves_alone_what_another_program_put_there(scene: Scene) -> None:
    replaced, renamed_over, made_again = (put(scene.work / name) for name in ("a", "b", "c"))
    for path in (replaced, renamed_over, made_again):
        scene.keep(path, removal=path != replaced)
    replaced.write_bytes(b"by the run")
    put(scene.root / "newer", b"newer words").replace(replaced)
    put(scene.root / "free", b"from a free place, by the run").replace(renamed_over)
    scene.journal.append({"kind": "touch", "operation": "os.rename", "path": str(renamed_over)})
    made_again.unlink()
    scene.create(made_again, b"made again by the run")

    done = undo_changes(read_run(scene.directory.path), [str(path) for path in (replaced, renamed_over, made_again)])

    assert [path.read_bytes() for path in (replaced, renamed_over, made_again)] == [
        b"newer words", b"there before", b"there before",
    ]  # fmt: skip
    assert done.kept == ((str(replaced), REPLACED),)


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_preimage_that_is_gone_or_damaged_is_not_restored(scene: Scene, damage: str) -> None:
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed")
    run = ended(scene)
    [stored] = Path(scene.preimages.directory).iterdir()
    stored.unlink() if damage == "gone" else stored.write_bytes(b"the")

    assert restore_run(run).kept == ((str(path), COPY_GONE),)
    assert path.read_bytes() == b"changed"


def test_a_preimage_that_was_written_to_through_its_other_name_is_said_to_be_so(scene: Scene) -> None:
    path = put(scene.work / "a")
    scene.keep(path, removal=True)
    moved = path.rename(scene.work / "moved")
    run = ended(scene)
    moved.write_bytes(b"by a later run")

    assert restore_run(run).kept == ((str(path), COPY_CHANGED),)
    assert not path.exists()
    assert restore_run(run, force=True).restored == (str(path),)
    assert path.read_bytes() == b"by a later run"


def test_all_names_of_a_hard_linked_file_get_their_content_back(scene: Scene) -> None:
    path = put(scene.work / "a")
    alias = scene.work / "alias"
    alias.hardlink_to(path)
    scene.keep(path).write_bytes(b"changed")

    done = restore_run(ended(scene))

    assert (path.read_bytes(), alias.read_bytes()) == (b"there before", b"there before")
    assert path.samefile(alias)
    assert [Path(place).read_bytes() for _, place in done.aside] == [b"changed"]


@pytest.mark.parametrize("how", ["replaces", "writes"])
def test_what_an_application_saves_while_a_hard_linked_file_is_brought_back_stays(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path, alias = put(scene.work / "a"), scene.work / "alias"
    alias.hardlink_to(path)
    scene.keep(path).write_bytes(b"changed")
    run = ended(scene)
    copy_content = restorer.copy_content

    def copy_while_its_owner_saves(source: str, target: str) -> object:
        copied = copy_content(source, target)
        if how == "writes":
            path.write_bytes(b"newer")
        else:
            put(scene.work / "new", b"newer").replace(path)
        return copied

    monkeypatch.setattr(restorer, "copy_content", copy_while_its_owner_saves)

    done = restore_run(run)

    assert path.read_bytes() == b"newer"
    assert [reason for _, reason in done.kept] == ["could not be brought back (it is being changed by something else)"]
    assert [reason for _, reason in restore_run(read_run(run.path)).kept] == [CHANGED_SINCE]


def test_a_restore_that_was_killed_while_it_wrote_to_a_hard_linked_file_is_taken_up_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, alias = put(scene.work / "a"), scene.work / "alias"
    alias.hardlink_to(path)
    scene.keep(path).write_bytes(b"changed")
    run = ended(scene)

    def torn(source: str, target: str, seen: object) -> None:
        Path(target).write_bytes(b"")
        raise KeyboardInterrupt

    with monkeypatch.context() as killing:
        killing.setattr(restorer, "overwrite_content", torn)
        with pytest.raises(KeyboardInterrupt):
            restore_run(run)

    assert restore_run(read_run(run.path)).kept == ()
    assert (path.read_bytes(), alias.read_bytes()) == (b"there before", b"there before")
    path.write_bytes(b"newer")
    assert [reason for _, reason in restore_run(read_run(run.path)).kept] == [CHANGED_SINCE]


@pytest.mark.parametrize("end", [ended, killed])
@pytest.mark.parametrize("then", ["written to", "removed"])
def test_both_names_of_a_hard_linked_file_come_back_where_one_was_removed_before_the_other_was_changed(
    scene: Scene, end: object, then: str
) -> None:
    one, other = put(scene.work / "a"), scene.work / "b"
    other.hardlink_to(one)
    scene.keep(one, removal=True).unlink()
    if then == "removed":
        scene.keep(other, removal=True).unlink()
    else:
        scene.keep(other).write_bytes(b"changed")

    done = restore_run(end(scene))  # type: ignore[operator]

    assert (one.read_bytes(), other.read_bytes()) == (b"there before", b"there before")
    assert one.samefile(other)
    assert (sorted(done.restored), done.kept) == ([str(one), str(other)], ())


def talk(path: Path, words: str) -> sqlite3.Connection:
    """A database that has these words in its log, as long as it is open."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS talk (words)")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("INSERT INTO talk VALUES (?)", [words])
    connection.commit()
    return connection


def words_in(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [words for (words,) in connection.execute("SELECT words FROM talk")]
    finally:
        connection.close()


def leave_as_a_kill_would(connection: sqlite3.Connection, path: Path) -> None:
    """The files as they are now, whatever closing the connection does to them."""
    files = {name: name.read_bytes() for name in path.parent.glob(f"{path.name}*")}
    connection.close()
    for name, content in files.items():
        name.write_bytes(content)


def test_a_database_comes_back_with_what_only_its_log_had(scene: Scene) -> None:
    path = scene.work / "chat.db"
    leave_as_a_kill_would(talk(path, "a real conversation"), path)
    scene.keep(path)
    talk(path, "by the run").close()
    assert not (scene.work / "chat.db-wal").exists()

    restore_run(ended(scene))

    assert words_in(path) == ["a real conversation"]


def test_the_log_that_a_killed_run_left_is_not_taken_for_one_of_the_database_that_comes_back(scene: Scene) -> None:
    path = scene.work / "chat.db"
    talk(path, "a real conversation").close()
    scene.keep(path)
    leave_as_a_kill_would(talk(path, "by the run"), path)
    path.chmod(0o600)

    done = restore_run(killed(scene))

    assert [Path(one).name for one, _ in done.aside if one.endswith("-wal")] == ["chat.db-wal"]
    assert words_in(path) == ["a real conversation"]


@pytest.mark.parametrize("force", [False, True])
def test_a_database_with_a_newer_log_is_left_alone_as_a_whole(scene: Scene, force: bool) -> None:
    path = scene.work / "chat.db"
    talk(path, "a real conversation").close()
    scene.keep(path)
    talk(path, "by the run").close()
    run = ended(scene)
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO talk VALUES ('newer words')")
    connection.commit()

    done = restore_run(run, force=force)

    assert ("newer words" in words_in(path)) is not force
    connection.close()
    assert [(Path(one).name, why == CHANGED_SINCE) for one, why in done.kept] == (
        [] if force else [("chat.db", False), ("chat.db-wal", True)]
    )


def test_a_database_that_is_asked_for_comes_with_its_log(scene: Scene) -> None:
    path = scene.work / "chat.db"
    leave_as_a_kill_would(talk(path, "a real conversation"), path)
    other = scene.keep(put(scene.work / "other"))
    scene.keep(path)
    other.write_bytes(b"changed")
    talk(path, "by the run").close()

    restore_run(ended(scene), [str(path)])

    assert words_in(path) == ["a real conversation"]
    assert other.read_bytes() == b"changed"


def test_an_object_that_lives_on_under_another_name_is_copied_back(scene: Scene) -> None:
    path = put(scene.work / "a")
    scene.keep(path, removal=True)
    moved = path.rename(scene.work / "moved")

    restore_run(ended(scene))

    assert not path.samefile(moved)
    path.write_bytes(b"written later")
    assert moved.read_bytes() == b"there before"


def test_a_fifo_comes_back(scene: Scene) -> None:
    path = scene.work / "fifo"
    os.mkfifo(path)
    scene.keep(path, removal=True).unlink()

    assert restore_run(ended(scene)).restored == (str(path),)
    assert path.is_fifo()


def test_a_name_taken_by_something_of_another_kind_goes_aside(scene: Scene) -> None:
    path = put(scene.work / "a")
    scene.keep(path, removal=True).unlink()
    scene.ownership.intend(str(path), True)
    path.mkdir()
    put(path / "inside", b"newer")
    run = ended(scene)

    done = restore_run(run)

    assert path.read_bytes() == b"there before"
    assert [(Path(place) / "inside").read_bytes() for _, place in done.aside] == [b"newer"]


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_what_the_run_left_where_a_directory_was_goes_aside(scene: Scene, kind: str) -> None:
    directory = scene.work / "d"
    directory.mkdir()
    path = scene.keep(put(directory / "a"), removal=True)
    path.unlink()
    scene.keep(directory, removal=True).rmdir()
    (scene.root / "elsewhere").mkdir()
    put(scene.root / "elsewhere" / "a", b"somebody's")
    if kind == "file":
        scene.create(directory)
    else:
        directory.symlink_to(scene.root / "elsewhere")
    run = ended(scene)

    plan = plan_restore_run(run)
    done = restore_run(run)

    assert [(step.action, step.preimage.path) for step in plan.steps] == [
        ("replace", str(directory)),
        ("create", str(path)),
    ]
    assert (sorted(done.restored), done.kept) == ([str(directory), str(path)], ())
    assert path.read_bytes() == b"there before"
    assert [Path(place).is_symlink() for _, place in done.aside] == [kind == "symlink"]
    assert (scene.root / "elsewhere" / "a").read_bytes() == b"somebody's"


def test_a_newer_file_where_a_directory_was_is_left_with_all_that_was_in_it_and_the_plan_says_so(scene: Scene) -> None:
    directory = scene.work / "d"
    directory.mkdir()
    path = scene.keep(put(directory / "a"), removal=True)
    path.unlink()
    scene.keep(directory, removal=True).rmdir()
    run = ended(scene)
    put(directory, b"newer")

    plan = plan_restore_run(run)
    done = restore_run(run)

    assert plan.steps == done.restored == ()
    assert done.kept == plan.kept
    assert [Path(left).name for left, _ in done.kept] == ["d", "a"]
    assert directory.read_bytes() == b"newer"


def test_a_missing_parent_is_made_again(scene: Scene) -> None:
    directory = scene.work / "d"
    directory.mkdir()
    path = scene.keep(put(directory / "a"), removal=True)
    path.unlink()
    directory.rmdir()

    assert restore_run(ended(scene)).restored == (str(path),)
    assert path.read_bytes() == b"there before"


def test_a_parent_swapped_for_a_symlink_leads_nowhere(scene: Scene) -> None:
    directory = scene.work / "d"
    directory.mkdir()
    path = scene.keep(put(directory / "a"), removal=True)
    path.unlink()
    directory.rmdir()
    (scene.root / "elsewhere").mkdir()
    directory.symlink_to(scene.root / "elsewhere")

    done = restore_run(ended(scene))

    assert done.restored == ()
    assert list((scene.root / "elsewhere").iterdir()) == []


def test_restore_without_an_exchange_of_names(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_exchange(*arguments: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(OpenDirectory, "exchange", no_exchange)
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed")
    link = scene.work / "link"
    link.symlink_to("a")
    scene.keep(link, removal=True).unlink()
    link.symlink_to("b")

    done = restore_run(ended(scene))

    assert (path.read_bytes(), os.readlink(link)) == (b"there before", "a")
    assert len(done.aside) == 2


def test_restore_across_file_systems(scene: Scene, other_file_system: Path) -> None:
    path = scene.keep(put(other_file_system / "a"))
    path.write_bytes(b"changed")
    removed = scene.keep(put(other_file_system / "b"), removal=True)
    removed.unlink()

    done = restore_run(ended(scene))

    assert (path.read_bytes(), removed.read_bytes()) == (b"there before", b"there before")
    assert [Path(place).read_bytes() for _, place in done.aside] == [b"changed"]
    assert sorted(entry.name for entry in other_file_system.iterdir()) == ["a", "b"]


def test_a_file_that_goes_while_it_is_replaced_is_created(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed")
    exchange = OpenDirectory.exchange

    def exchange_after_it_went(opened: OpenDirectory, name: str, other: str) -> None:
        path.unlink()
        exchange(opened, name, other)

    monkeypatch.setattr(OpenDirectory, "exchange", exchange_after_it_went)

    assert restore_run(ended(scene)).aside == ()
    assert path.read_bytes() == b"there before"


def test_half_a_copy_does_not_stay_on_a_full_disk(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed")
    run = ended(scene)

    def no_room(source: str, target: str) -> None:
        put(Path(target), b"ther")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(restorer, "copy_content", no_room)

    done = restore_run(run)

    assert [reason for _, reason in done.kept] == ["could not be brought back (No space left on device)"]
    assert path.read_bytes() == b"changed"
    assert [name for name in os.listdir(scene.work) if name.startswith(BESIDE)] == []


def test_a_name_taken_meanwhile_is_not_overwritten(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scene.keep(put(scene.work / "a"), removal=True)
    path.unlink()
    prepare = Restorer._prepare

    def prepare_while_its_owner_writes(restorer: Restorer, *arguments: object) -> None:
        prepare(restorer, *arguments)  # type: ignore[arg-type]
        path.write_bytes(b"newer")

    monkeypatch.setattr(Restorer, "_prepare", prepare_while_its_owner_writes)

    done = restore_run(ended(scene))

    assert path.read_bytes() == b"newer"
    assert done.restored == ()
    assert [name for name in os.listdir(scene.work) if name.startswith(BESIDE)] == []


def test_a_copy_that_came_out_different_is_not_used(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed")
    run = ended(scene)
    monkeypatch.setattr(restorer, "same_content", lambda one, other: False)

    done = restore_run(run)

    assert [reason for _, reason in done.kept] == ["could not be brought back (the copy came out different)"]
    assert path.read_bytes() == b"changed"


def test_what_a_killed_restore_left_beside_a_file_goes_aside(scene: Scene) -> None:
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed")
    run = ended(scene)
    left = put(scene.work / f"{BESIDE}1-2-0", b"what lay there")
    strange = put(scene.work / "other", b"not ours")
    journal = Journal(run.path, "restore")
    for beside in (left.name, "gone", strange.name, f"{BESIDE}/../other"):
        journal.append({"kind": "restoring", "path": str(path), "beside": beside})

    restore_run(read_run(run.path))

    assert not left.exists()
    assert strange.read_bytes() == b"not ours"
    assert finish_restoring(read_run(run.path).records, f"{run.path}/aside") == ([], [])
    assert b"what lay there" in {entry.read_bytes() for entry in Path(run.path, "aside").iterdir()}


@pytest.mark.parametrize(
    ("number", "restored"), [pytest.param(1, True, id="not-permitted"), pytest.param(5, False, id="input-output-error")]
)
def test_an_object_that_cannot_be_linked_back_is_copied_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, number: int, restored: bool
) -> None:
    path = scene.keep(put(scene.work / "a"), removal=True)
    path.unlink()
    run = ended(scene)
    link = Raw.link

    def no_link(source: str, *arguments: object, **names: object) -> None:
        if source.startswith(scene.preimages.directory):
            raise OSError(number, os.strerror(number))
        link(source, *arguments, **names)  # type: ignore[arg-type]

    monkeypatch.setattr(Raw, "link", staticmethod(no_link))

    done = restore_run(run)

    assert path.exists() is restored
    assert bool(done.kept) is not restored


def test_what_stood_there_survives_a_disk_without_room_for_it_aside(
    scene: Scene, other_file_system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scene.keep(put(other_file_system / "a"))
    path.write_bytes(b"newer")
    run = ended(scene)
    copy_content = moving.copy_content

    def no_room_aside(source: str, target: str, *arguments: object) -> object:
        if os.path.realpath(os.path.dirname(target)) == f"{run.path}/aside":
            put(Path(target), b"ne")
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy_content(source, target)

    monkeypatch.setattr(moving, "copy_content", no_room_aside)

    done = restore_run(run)

    assert b"newer" in {entry.read_bytes() for entry in other_file_system.iterdir()}
    assert path.read_bytes() == b"newer"
    assert done.restored == ()
    assert [reason for _, reason in done.kept] == ["could not be brought back (No space left on device)"]
    assert sorted(entry.name for entry in other_file_system.iterdir()) == ["a"]
    assert list(Path(run.path, "aside").iterdir()) == []


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_what_has_no_bytes_to_copy_goes_aside_across_file_systems_or_stays(
    scene: Scene, other_file_system: Path, kind: str
) -> None:
    path = scene.keep(put(other_file_system / "a"), removal=True)
    path.unlink()
    if kind == "symlink":
        path.symlink_to("nowhere")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
        put(path / "inside", b"newer")
    before = tree(other_file_system)

    done = restore_run(ended(scene))

    if kind == "symlink":
        assert path.read_bytes() == b"there before"
        assert [os.readlink(place) for _, place in done.aside] == ["nowhere"]
    else:
        assert tree(other_file_system) == before
        assert [name for name, _ in done.kept] == [str(path)]


@pytest.mark.parametrize("what", ["file", "directory", "missing directory"])
def test_a_grandparent_swapped_for_a_symlink_leads_nowhere(scene: Scene, what: str) -> None:
    directory = scene.work / "d" / "inner"
    directory.mkdir(parents=True)
    if what == "file":
        path = scene.keep(put(directory / "a"), removal=True)
        path.unlink()
    else:
        scene.keep(directory, removal=what == "missing directory")
        directory.chmod(0o700)
    run = killed(scene)
    (scene.work / "d").rename(scene.work / "kept")
    elsewhere = scene.root / "elsewhere"
    elsewhere.mkdir()
    if what == "directory":
        (elsewhere / "inner").mkdir(mode=0o711)
    (scene.work / "d").symlink_to(elsewhere)
    before = tree(elsewhere)

    done = restore_run(run, force=True)

    assert tree(elsewhere) == before
    assert done.restored == ()
    assert len(done.kept) == 1


def test_without_an_exchange_of_names_nothing_that_came_meanwhile_is_overwritten(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_exchange(*arguments: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(OpenDirectory, "exchange", no_exchange)
    path = scene.keep(put(scene.work / "a"))
    path.write_bytes(b"changed")
    run = ended(scene)
    rename, is_saved = OpenDirectory.rename, []

    def rename_while_its_owner_saves(opened: OpenDirectory, *arguments: object) -> None:
        if not is_saved:
            is_saved.append(True)
            put(scene.work / "new", b"newer").replace(path)
        rename(opened, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(OpenDirectory, "rename", rename_while_its_owner_saves)

    done = restore_run(run)

    assert b"newer" in {path.read_bytes(), *(Path(place).read_bytes() for _, place in done.aside)}


def test_what_a_killed_restore_left_on_another_file_system_goes_aside(scene: Scene, other_file_system: Path) -> None:
    path = scene.keep(put(other_file_system / "a"))
    path.write_bytes(b"changed")
    left = put(other_file_system / f"{BESIDE}1-2-0", b"what lay there")
    journal = Journal(scene.directory.path, "restore")
    journal.append({"kind": "restoring", "path": str(path), "beside": left.name})
    run = killed(scene)

    assert clean_run(run).kept == ()

    assert not left.exists()
    assert b"what lay there" in {entry.read_bytes() for entry in Path(run.path, "aside").iterdir()}
