"""Killed runs: what they left is removed, but for what is not proved to be theirs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from artifact_scene import Scene, killed, put, tree

from pytest_session_guard._controls.ledger import read_run
from pytest_session_guard._controls.markers import tag
from pytest_session_guard._controls.recovery import (
    QuarantinePlan,
    apply_quarantine,
    plan_quarantine,
)
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import encode_line
from pytest_session_guard._core.removal import ANOTHER_OBJECT, CHANGED_LATER
from pytest_session_guard._core.runs import ENDED_FILE, LAST_BREATH_NS
from pytest_session_guard._host.identity import identity_of
from pytest_session_guard._run.past import list_runs
from pytest_session_guard._run.recover import (
    UNCERTAIN,
    ZONES_UNKNOWN,
    clean_all,
    clean_run,
    plan_clean,
    restore_run,
)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_clean_of_a_quarantine_goes_by_what_is_there_when_it_is_done(scene: Scene) -> None:
    gone, changed, refused = (scene.create(scene.work / name) for name in ("gone", "changed", "refused"))
    own = {path: identity_of(str(path)) for path in (gone, changed, refused)}
    gone.unlink()
    fresh = put(scene.work / "fresh", b"somebody else's")
    fresh.replace(changed)
    plan = QuarantinePlan(removals=tuple((str(path), identity) for path, identity in own.items()))

    done = apply_quarantine(plan)

    assert [Path(path).name for path, _ in done.removals] == ["refused"]
    assert [(Path(path).name, reason) for path, reason in done.uncertain] == [
        ("gone", "cannot be removed (No such file or directory)")
    ]
    assert changed.read_bytes() == b"somebody else's"
    assert plan_quarantine(str(scene.root / "nothing"), {}, lambda identity: True) == QuarantinePlan()


def test_clean_removes_the_proven_artifacts_of_a_killed_run(scene: Scene) -> None:
    put(scene.store / "real.json", b"years of work")
    before = tree(scene.store)
    scene.create(scene.store / "a.json")
    scene.create(scene.mkdir(scene.store / "d") / "b.json")
    moved = scene.create(scene.store / "tmp")
    scene.ownership.moved(str(moved), str(scene.store / "final"))
    moved.rename(scene.store / "final")
    scene.create(scene.work / "output")
    run = killed(scene)
    assert len(plan_clean(run).lines()) == 4

    cleaned = clean_run(run)

    assert len(cleaned.removed.removed) == 4
    assert cleaned.kept == ()
    assert tree(scene.store) == before
    assert (scene.work / "output").exists()
    assert read_run(run.path).closed


def test_clean_twice_does_nothing_the_second_time(scene: Scene) -> None:
    scene.create(scene.store / "a.json")
    run = killed(scene)
    clean_all(scene.state)

    assert clean_all(scene.state) == []
    assert clean_run(run).removed.removed == ()


def test_clean_never_touches_what_the_run_only_announced(scene: Scene) -> None:
    path = scene.store / "a.json"
    scene.ownership.intend(str(scene.store / "never made"), False)
    scene.ownership.intend(str(path), False)
    path.write_bytes(b"the run's? a live application's? nobody saw")

    cleaned = clean_run(killed(scene))

    assert cleaned.kept == ((str(path), UNCERTAIN),)
    assert path.exists()
    kept = json.loads(Path(scene.directory.path, "closed.json").read_text())["kept"]
    assert kept == [[str(path), UNCERTAIN]]


def test_clean_takes_an_announced_file_that_carries_the_marker(scene: Scene) -> None:
    path = scene.store / "a.json"
    scene.ownership.intend(str(path), False)
    path.write_bytes(b"{}")
    tag(str(path), scene.directory.run_id, "t", scene.directory.started_ns)

    assert clean_run(killed(scene)).removed.removed == (str(path),)


def test_clean_keeps_what_somebody_put_in_an_artifacts_place(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    put(scene.store / "fresh", b"a live application's").replace(path)

    cleaned = clean_run(killed(scene))

    assert cleaned.kept == ((str(path), ANOTHER_OBJECT),)
    assert path.read_bytes() == b"a live application's"


def test_clean_keeps_what_was_worked_on_after_the_run(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    for name in os.listdir(scene.directory.path):
        old = Path(scene.directory.path, name).stat().st_mtime_ns - 2 * LAST_BREATH_NS
        os.utime(Path(scene.directory.path, name), ns=(old, old))

    cleaned = clean_run(killed(scene))

    assert cleaned.kept == ((str(path), CHANGED_LATER),)
    assert path.exists()


def test_clean_keeps_what_was_worked_on_a_moment_after_somebody_saw_the_run_go(scene: Scene) -> None:
    untouched, edited = (scene.create(scene.store / name) for name in ("untouched.json", "edited.json"))
    put(Path(scene.directory.path, ENDED_FILE), b"ended\n")
    edited.write_bytes(b"written by its owner a moment later")

    cleaned = clean_run(killed(scene))

    assert cleaned.removed.removed == (str(untouched),)
    assert cleaned.kept == ((str(edited), CHANGED_LATER),)


def test_clean_finishes_a_killed_removal(scene: Scene) -> None:
    own, foreign, taken = (scene.create(scene.store / name) for name in ("own", "foreign", "taken"))
    for path in (foreign, taken):
        path.unlink()
        path.write_bytes(b"somebody else's")
    quarantine = Path(scene.directory.directory("quarantine"))
    moves = [[str(path), f"1-2-{number}"] for number, path in enumerate((own, foreign, taken))]
    scene.journal.append({"kind": "quarantine", "directory": str(quarantine), "moves": moves})
    for number, path in enumerate((own, foreign, taken)):
        path.rename(quarantine / f"1-2-{number}")
    taken.write_bytes(b"and another one")
    put(quarantine / "stray", b"nobody knows")
    run = killed(scene)
    lines = plan_clean(run).lines()

    cleaned = clean_run(run)

    assert [line.split()[0] for line in lines[:4]] == ["remove", "return", "return", "keep"]
    assert not own.exists()
    assert foreign.read_bytes() == b"somebody else's"
    assert taken.read_bytes() == b"and another one"
    assert sorted(entry.read_bytes() for entry in quarantine.iterdir()) == [b"nobody knows", b"somebody else's"]
    assert {Path(path).name for path, _ in cleaned.quarantine.uncertain} == {"1-2-2", "stray"}


def test_clean_takes_the_second_name_from_what_a_killed_removal_had_all_but_given_back(scene: Scene) -> None:
    path = scene.create(scene.store / "a")
    quarantine = Path(scene.directory.directory("quarantine"))
    scene.journal.append({"kind": "quarantine", "directory": str(quarantine), "moves": [[str(path), "1-2-0"]]})
    put(scene.store / "new", b"of an application").replace(path)
    (quarantine / "1-2-0").hardlink_to(path)

    clean_run(killed(scene))

    assert (path.read_bytes(), path.stat().st_nlink) == (b"of an application", 1)
    assert list(quarantine.iterdir()) == []


def test_clean_finds_what_was_quarantined_beside_itself(scene: Scene, other_file_system: Path) -> None:
    zones = [{"zone": "shared", "path": str(other_file_system)}]
    scene.directory.write_header({"zones": zones})
    path = scene.create(other_file_system / "a.json")
    scene.journal.append({"kind": "quarantine", "directory": "q", "moves": [[str(path), "1-2-0"]]})
    path.rename(other_file_system / ".session-guard-quarantine-1-2-0")

    clean_run(killed(scene))

    assert list(other_file_system.iterdir()) == []


def test_an_alive_run_is_not_cleaned(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    run = read_run(scene.directory.path)

    assert plan_clean(run).lines() == [f"keep   {str(path)!r}: the run is alive"]
    with pytest.raises(LedgerError, match="the run is alive"):
        clean_run(run)
    assert clean_all(scene.state) == []
    assert path.exists()


def test_a_run_without_zones_is_not_cleaned(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    Path(scene.directory.path, "run.json").unlink()

    assert clean_run(killed(scene)).kept == ((str(path), ZONES_UNKNOWN),)
    assert path.exists()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda lines: [lines[0], b"garbage\n", *lines[1:]], id="garbage-line"),
        pytest.param(lambda lines: [lines[0][:-9] + b"\n", *lines[1:]], id="cut-line-in-the-middle"),
        pytest.param(lambda lines: [lines[0].replace(b"intent", b"intend"), *lines[1:]], id="changed-word"),
        pytest.param(lambda lines: [b"\0" * 64 + b"\n", *lines], id="zeros"),
    ],
)
def test_nothing_is_removed_on_the_word_of_a_damaged_journal(scene: Scene, damage: object) -> None:
    path = scene.create(scene.store / "a.json")
    journal = Path(scene.directory.path, scene.journal.name)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(damage(lines)))  # type: ignore[operator]
    run = killed(scene)

    [(kept, reason)] = plan_clean(run).removal.kept
    assert kept == str(path)
    assert reason.startswith("its ledger is damaged")
    assert journal.name in reason
    assert clean_all(scene.state) == []
    with pytest.raises(LedgerError, match="damaged"):
        clean_run(run)
    assert path.exists()


def test_a_torn_last_line_is_no_damage(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    with open(f"{scene.directory.path}/{scene.journal.name}", "ab") as journal:
        journal.write(encode_line({"kind": "intent", "path": str(scene.store / "b")})[:-5])

    assert clean_run(killed(scene)).removed.removed == (str(path),)


def test_a_newer_kind_of_record_removes_nothing(scene: Scene) -> None:
    path = put(scene.store / "real.json")
    scene.journal.append({"kind": "vaporised", "path": str(path)})
    scene.journal.append({"kind": "intent", "path": str(path), "directory": False, "shiny": True})

    assert clean_run(killed(scene)).kept == ((str(path), UNCERTAIN),)
    assert path.exists()


def test_a_journal_that_is_a_symlink_is_damage(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    journal = Path(scene.directory.path, scene.journal.name)
    journal.rename(scene.root / "journal")
    journal.symlink_to(scene.root / "journal")

    assert "damaged" in killed(scene).obstacle
    assert clean_all(scene.state) == []
    assert path.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("what", ["run", "journal"])
def test_a_ledger_of_another_user_is_not_trusted(scene: Scene, what: str) -> None:
    path = scene.create(scene.store / "a.json")
    os.chown(scene.directory.path if what == "run" else f"{scene.directory.path}/{scene.journal.name}", 12345, -1)
    run = killed(scene)

    assert "belongs to another user (uid 12345)" in run.obstacle
    with pytest.raises(LedgerError, match="belongs to another user"):
        clean_run(run)
    assert clean_all(scene.state) == []
    assert path.exists()


def test_a_run_directory_replaced_by_a_symlink_is_not_trusted(scene: Scene) -> None:
    scene.create(scene.store / "a.json")
    scene.die()
    os.rename(scene.directory.path, scene.root / "run")
    os.symlink(scene.root / "run", scene.directory.path)

    [run] = list_runs(scene.state)

    assert run.state == "foreign"
    assert clean_all(scene.state) == []
    with pytest.raises(LedgerError):
        restore_run(run)


def test_a_run_of_another_machine_is_left_alone(scene: Scene) -> None:
    header = json.loads(Path(scene.directory.path, "run.json").read_text())
    scene.create(scene.store / "a.json")
    Path(scene.directory.path, "run.json").write_text(json.dumps({**header, "machine": "f" * 32}))
    run = killed(scene)

    # Where this machine has no id of its own, runs of others cannot be told.
    assert run.foreign == ("is a run of another machine" if header["machine"] else "")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_header_that_cannot_be_read_is_damage(scene: Scene, content: bytes) -> None:
    Path(scene.directory.path, "run.json").write_bytes(content)

    assert "run.json" in killed(scene).obstacle
