"""Checkouts that are moved or copied with their ledgers: a copy's lock says nothing, and paths lead where the files are now."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from artifact_scene import Scene, tree

from pytest_session_guard._controls.ledger import note_closed, read_run
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.runs import PastRun
from pytest_session_guard._run.past import list_runs, unfinished_runs
from pytest_session_guard._run.recover import clean_run, plan_clean, restore_run
from pytest_session_guard._run.tidying import prunable_runs, tidy


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def change(scene: Scene) -> Path:
    """The run changes a file that was there."""
    path = scene.work / "conf"
    path.write_bytes(b"there before")
    scene.keep(path).write_bytes(b"left by the run")
    return path


def copied(scene: Scene) -> tuple[Path, PastRun]:
    """The checkout copied as ``cp -a`` does, and the run as it is found there."""
    place = scene.root / "copy"
    shutil.copytree(scene.work, place, symlinks=True)
    [run] = list_runs(str(place / ".session_guard"))
    return place, run


def test_a_run_that_lives_is_not_cleaned_up_after_by_a_copy_of_its_checkout(scene: Scene) -> None:
    artifact = scene.create(scene.store / "a.json")
    place, run = copied(scene)

    assert run.state == "copied"
    assert tidy(str(place / ".session_guard")) == []
    assert unfinished_runs(str(place / ".session_guard")) == []
    assert plan_clean(run).removal.kept == ((str(artifact), run.obstacle),)
    with pytest.raises(LedgerError, match="is a copy"):
        clean_run(run)
    assert artifact.exists()


def test_disarmed_a_copy_takes_the_run_for_killed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = scene.create(scene.store / "a.json")
    monkeypatch.setattr("pytest_session_guard._core.relocation.Birthplace.is_of", lambda *arguments: True)
    place, _ = copied(scene)

    tidy(str(place / ".session_guard"))

    assert not artifact.exists()


def test_a_header_of_an_older_version_says_nothing_of_copies(scene: Scene) -> None:
    header = Path(scene.directory.path, "run.json")
    header.write_text(
        json.dumps({name: said for name, said in json.loads(header.read_text()).items() if name != "directory"})
    )

    assert copied(scene)[1].state == "killed"


def test_a_header_whose_directory_is_garbage_is_damage(scene: Scene) -> None:
    header = Path(scene.directory.path, "run.json")
    header.write_text(
        json.dumps({**json.loads(header.read_text()), "directory": {"path": "/x", "identity": ["garbage"]}})
    )
    scene.die()

    assert "run.json" in read_run(scene.directory.path).obstacle


@pytest.mark.parametrize("over", [True, False], ids=["ended", "unfinished"])
def test_restore_in_a_copy_changes_the_copy_alone(scene: Scene, over: bool) -> None:
    path = change(scene)
    if over:
        note_closed(scene.directory.path)
    place, run = copied(scene)

    restore_run(run, force=True)

    assert (path.read_bytes(), (place / "conf").read_bytes()) == (b"left by the run", b"there before")


def test_restore_in_a_moved_checkout_brings_back_what_is_there_and_makes_nothing_at_the_old_place(scene: Scene) -> None:
    change(scene)
    (scene.work / "link").symlink_to(scene.work / "conf")
    scene.keep(scene.work / "link", removal=True).unlink()
    scene.preimages.note_left()
    note_closed(scene.directory.path)
    scene.die()
    place = scene.root / "moved"
    scene.work.rename(place)

    done = restore_run(list_runs(str(place / ".session_guard"))[0])

    assert sorted(done.restored) == [str(place / "conf"), str(place / "link")]
    assert (place / "conf").read_bytes() == b"there before"
    assert os.readlink(place / "link") == str(scene.work / "conf")  # its content, which is no path of the ledger's
    assert not scene.work.exists()


def test_a_killed_run_of_a_moved_checkout_is_finished_where_its_files_are_now(scene: Scene) -> None:
    artifact = scene.create(scene.store / "a.json")
    scene.die()
    scene.work.rename(scene.root / "moved")
    [run] = list_runs(str(scene.root / "moved" / ".session_guard"))

    assert run.state == "killed"
    assert clean_run(run).removed.removed == (str(artifact),)


def test_a_shared_place_in_a_moved_checkout_moves_with_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    zones = [{"zone": "workspace", "path": str(scene.work)}, {"zone": "shared", "path": str(scene.work / "store")}]
    scene.directory.write_header({"zones": zones, "rootdir": str(scene.work)})
    (scene.work / "store").mkdir()
    scene.create(scene.work / "store" / "a.json")
    scene.die()
    place = scene.root / "moved"
    scene.work.rename(place)
    [run] = unfinished_runs(str(place / ".session_guard"))

    assert clean_run(run).removed.removed == (str(place / "store" / "a.json"),)
    assert tree(place / "store") == {}


def test_a_quarantine_in_a_moved_checkout_gives_back_to_where_the_files_are_now(scene: Scene) -> None:
    other = scene.work / "somebodys"
    other.write_bytes(b"real")
    quarantine = Path(scene.directory.directory("quarantine"))
    scene.journal.append({"kind": "quarantine", "directory": str(quarantine), "moves": [[str(other), "0-0"], "newer"]})
    other.rename(quarantine / "0-0")
    scene.die()
    place = scene.root / "moved"
    scene.work.rename(place)

    clean_run(list_runs(str(place / ".session_guard"))[0])

    assert (place / "somebodys").read_bytes() == b"real"


def test_a_copy_in_the_originals_place_brings_back_and_removes_nothing(scene: Scene) -> None:
    artifact = scene.create(scene.store / "a.json")
    path = change(scene)
    place, _ = copied(scene)
    scene.work.rename(scene.root / "original")
    place.rename(scene.work)
    [run] = list_runs(scene.state)

    restore_run(run, force=True)
    tidy(scene.state)

    assert path.read_bytes() == b"there before"
    assert (scene.root / "original" / "conf").read_bytes() == b"left by the run"
    assert artifact.exists()


def test_a_copied_ledger_that_tells_of_another_checkout_is_foreign(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.directory.write_header({"zones": [], "rootdir": str(scene.store)})
    path = change(scene)
    _, run = copied(scene)

    assert run.state == "foreign"
    with pytest.raises(LedgerError, match="is a copy"):
        restore_run(run, force=True)
    assert path.read_bytes() == b"left by the run"


def test_copied_records_of_runs_that_had_ended_are_let_go_of(scene: Scene) -> None:
    note_closed(scene.directory.path)
    place, run = copied(scene)

    assert run.state == "ended"
    assert prunable_runs(str(place / ".session_guard"), keep_runs=0) == [read_run(run.path)]


def test_another_start_of_the_machine_may_number_its_devices_anew(scene: Scene) -> None:
    header = Path(scene.directory.path, "run.json")
    said = json.loads(header.read_text())
    said["directory"]["identity"][0] += 1
    scene.die()
    states = []
    for boot in (said["boot"], "another"):
        header.write_text(json.dumps({**said, "boot": boot}))
        states.append(read_run(scene.directory.path).state)

    assert states == ["copied", "killed"]
