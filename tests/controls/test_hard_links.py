"""Files with several names: one that comes back joins those that the run left alone, or it is said that it does not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from artifact_scene import Scene, ended

from pytest_session_guard._controls.ledger import read_run
from pytest_session_guard._core.records import Identity, parse_journal
from pytest_session_guard._core.restoring import CHANGED_SINCE, PARTED, preimages_of
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._run.recover import restore_run


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def names(scene: Scene, count: int) -> list[Path]:
    """One file under several names in the workspace."""
    paths = [scene.work / letter for letter in "abcd"[:count]]
    paths[0].write_bytes(b"there before")
    for path in paths[1:]:
        path.hardlink_to(paths[0])
    return paths


def remove(scene: Scene, *paths: Path) -> None:
    for path in paths:
        scene.keep(path, removal=True).unlink()


@pytest.mark.parametrize("gone", ["a", "b", "ab", "ac", "abc"])
def test_removed_names_of_a_file_are_names_of_that_very_file_again(scene: Scene, gone: str) -> None:
    paths = names(scene, 3)
    number = paths[0].stat().st_ino
    remove(scene, *(scene.work / letter for letter in gone))

    done = restore_run(ended(scene))

    assert {path.stat().st_ino for path in paths} == {number}
    assert (sorted(done.restored), done.kept) == ([str(scene.work / letter) for letter in gone], ())


def test_names_that_are_brought_back_one_at_a_time_are_one_file_again(scene: Scene) -> None:
    paths = names(scene, 3)
    remove(scene, paths[0], paths[1])
    run = ended(scene)

    kept = [restore_run(read_run(run.path), [str(path)]).kept for path in paths[:2]]

    assert kept == [(), ()]
    assert len({path.stat().st_ino for path in paths}) == 1


def test_a_name_that_the_run_replaced_joins_the_others_again(scene: Scene) -> None:
    one, other = names(scene, 2)
    scene.keep(one, removal=True)
    scene.create(scene.work / "fresh").replace(one)

    done = restore_run(ended(scene))

    assert one.samefile(other)
    assert [Path(place).read_bytes() for _, place in done.aside] == [b"made by the run"]
    assert done.kept == ()


def test_what_was_there_never_shares_a_file_with_a_name_that_the_run_gave_it(scene: Scene) -> None:
    one, other = names(scene, 2)
    made = scene.work / "made"
    scene.ownership.intend(str(made), False)
    made.hardlink_to(one)
    remove(scene, one)

    done = restore_run(ended(scene))

    assert made.samefile(other)
    assert not one.samefile(made)
    assert one.read_bytes() == b"there before"
    assert done.kept == ((str(one), PARTED),)


def test_a_file_renamed_by_a_link_had_one_name_alone_and_nothing_is_said_of_others(scene: Scene) -> None:
    [one] = names(scene, 1)
    made = scene.work / "made"
    scene.ownership.intend(str(made), False)
    made.hardlink_to(one)
    remove(scene, one)

    done = restore_run(ended(scene))

    assert not one.samefile(made)
    assert (done.restored, done.kept) == ((str(one),), ())


def test_a_name_that_was_renamed_away_stays_apart_and_that_is_said(scene: Scene) -> None:
    one, other = names(scene, 2)
    scene.keep(one, removal=True)
    moved = one.rename(scene.work / "moved")

    done = restore_run(ended(scene))

    assert moved.samefile(other)
    assert not one.samefile(other)
    assert done.kept == ((str(one), PARTED),)


def test_a_name_that_was_written_to_and_then_replaced_stays_apart_and_that_is_said(scene: Scene) -> None:
    one, other = names(scene, 2)
    scene.keep(one).write_bytes(b"changed")
    scene.keep(one, removal=True)
    scene.create(scene.work / "fresh").replace(one)

    done = restore_run(ended(scene))

    assert (one.read_bytes(), other.read_bytes()) == (b"there before", b"changed")
    assert done.kept == ((str(one), PARTED),)


@pytest.mark.parametrize("times", [["ab"], ["a", "b"]], ids=["at-once", "one-by-one"])
def test_names_in_a_directory_that_was_renamed_away_are_one_file_again(scene: Scene, times: list[str]) -> None:
    directory = scene.work / "package"
    directory.mkdir()
    one, other = directory / "a", directory / "b"
    one.write_bytes(b"there before")
    other.hardlink_to(one)
    scene.keep(directory, removal=True)
    moved = directory.rename(scene.work / "moved")
    run = ended(scene)

    kept = [
        restore_run(read_run(run.path), [str(path) for path in (one, other) if path.name in names]).kept
        for names in times
    ]

    assert one.samefile(other)
    assert not one.samefile(moved / "a")
    assert (other.read_bytes(), set(kept)) == (b"there before", {()})


def test_a_name_joins_no_file_that_its_owner_put_in_the_place_of_another(scene: Scene) -> None:
    one, other = names(scene, 2)
    remove(scene, one, other)
    run = ended(scene)
    other.write_bytes(b"by its owner")

    done = restore_run(run)

    assert (one.read_bytes(), other.read_bytes()) == (b"there before", b"by its owner")
    assert done.kept == ((str(other), CHANGED_SINCE),)


def test_a_name_that_could_only_be_kept_as_a_copy_stays_apart_and_that_is_said(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*arguments: object, **names: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    one, other = names(scene, 2)
    with monkeypatch.context() as full:
        full.setattr(Raw, "link", staticmethod(no_room))
        remove(scene, one)

    done = restore_run(ended(scene))

    assert (one.read_bytes(), one.samefile(other)) == (b"there before", False)
    assert done.kept == ((str(one), PARTED),)


def test_what_its_owner_changed_under_another_name_since_is_not_changed_back_with_it(scene: Scene) -> None:
    one, other = names(scene, 2)
    remove(scene, one)
    run = ended(scene)
    other.chmod(0o600)

    done = restore_run(run)

    assert other.stat().st_mode & 0o777 == 0o600
    assert one.stat().st_mode & 0o777 == 0o644
    assert done.kept == ((str(one), PARTED),)


def test_an_object_that_only_the_stores_of_two_runs_keep_comes_back_as_itself(scene: Scene) -> None:
    [one] = names(scene, 1)
    number = one.stat().st_ino
    scene.keep(one, removal=True)
    moved = one.rename(scene.work / "moved")
    ended(scene)
    scene.start()
    remove(scene, moved)

    done = restore_run(ended(scene))

    assert moved.stat().st_ino == number
    assert done.kept == ()


@pytest.mark.parametrize("births", [True, False], ids=["births", "no-births"])
def test_names_in_stores_are_not_counted_as_names_of_a_file(
    scene: Scene, births: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not births:
        monkeypatch.setattr(
            "pytest_session_guard._controls.preimages.identity_from_stat",
            lambda path, found: _without_birth(found),
        )
    [one] = names(scene, 1)
    scene.keep(one, removal=True)
    moved = one.rename(scene.work / "moved")
    ended(scene)
    scene.start()
    scene.keep(moved, removal=True)
    again = moved.rename(scene.work / "again")
    scene.keep(again)

    [image] = preimages_of(parse_journal(Path(scene.directory.path, scene.journal.name).read_bytes()).records)

    assert (image.path, image.names) == (str(moved), 1)


def _without_birth(found: os.stat_result) -> Identity:
    return Identity(found.st_dev, found.st_ino, None)
