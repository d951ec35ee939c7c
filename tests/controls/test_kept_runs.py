"""Runs that are over: what is listed of them, and how long they are kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from artifact_scene import Scene, ended, put, tree

from pytest_session_guard._controls.ledger import note_closed
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._run.past import find_run, list_runs, unfinished_runs
from pytest_session_guard._run.recover import (
    clean_all,
    restore_run,
)
from pytest_session_guard._run.tidying import prunable_runs, prune, tidy


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_runs_are_listed_with_their_state(scene: Scene) -> None:
    first = scene.directory.path
    scene.die()
    scene.start()

    assert [(run.path, run.state) for run in list_runs(scene.state)] == [
        (first, "killed"),
        (scene.directory.path, "alive"),
    ]
    assert [run.path for run in unfinished_runs(scene.state)] == [first]
    clean_all(scene.state)
    assert [run.state for run in list_runs(scene.state)] == ["ended", "alive"]
    assert list_runs(str(scene.root / "nothing")) == []


@pytest.mark.parametrize("primitive", ["lstat", "listdir", "scandir", "open"])
@pytest.mark.parametrize("act", [list_runs, tidy, prunable_runs, lambda state: find_run(state, "latest")])
def test_a_run_that_somebody_deletes_while_it_is_looked_at_stands_in_nobodys_way(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, primitive: str, act: Callable[[str], object]
) -> None:
    for _ in range(3):
        note_closed(scene.directory.path)
        scene.die()
        scene.start()
    scene.die()
    function, copy = getattr(Raw, primitive), scene.root / "copy"
    is_reached, number = True, 0
    while is_reached:
        shutil.copytree(scene.state, copy)
        victim, number, left = min((copy / "runs").iterdir()), number + 1, iter(range(number, -1, -1))

        def after_a_while(
            *arguments: object, _left: Iterator[int] = left, _victim: Path = victim, **names: object
        ) -> object:
            if next(_left, 1) == 0:
                shutil.rmtree(_victim)
            return function(*arguments, **names)

        with monkeypatch.context() as patch:
            patch.setattr(Raw, primitive, staticmethod(after_a_while))
            assert act(str(copy)) != ["earlier runs could not be tidied up after: No such file or directory"]
        is_reached = not victim.exists()
        shutil.rmtree(copy)


def test_a_run_is_found_by_the_beginning_of_its_id(scene: Scene) -> None:
    run_id = scene.directory.run_id

    assert find_run(scene.state, run_id[:-2]).run_id == run_id
    assert find_run(scene.state, "latest").run_id == run_id
    with pytest.raises(LedgerError, match="no run whose id begins with 'x'"):
        find_run(scene.state, "x")
    scene.start()
    with pytest.raises(LedgerError, match="2 runs"):
        find_run(scene.state, "2")


def test_old_runs_go_with_their_preimages_and_the_newest_stay(scene: Scene) -> None:
    paths = []
    for _ in range(4):
        scene.keep(put(scene.work / "a")).write_bytes(b"changed")
        restore_run(ended(scene))
        paths.append(scene.directory.path)
        scene.start()
    assert [run.path for run in prunable_runs(scene.state, keep_runs=3)] == sorted(paths)[:2]

    gone = prune(scene.state, keep_runs=3)

    assert [f"{scene.state}/runs/{run_id}" for run_id in gone] == sorted(paths)[:2]
    assert not os.path.exists(min(paths))
    assert len(list_runs(scene.state)) == 3
    assert (scene.work / "a").read_bytes() == b"there before"


def test_old_runs_go_when_they_take_too_much_room_but_never_the_newest(scene: Scene) -> None:
    for name in "ab":
        scene.keep(put(scene.work / name, b"x" * 100_000)).write_bytes(b"changed")
        ended(scene)
        if name == "a":
            scene.start()

    assert len(prune(scene.state, keep_bytes=1)) == 1
    assert [run.path for run in list_runs(scene.state)] == [scene.directory.path]


@pytest.mark.parametrize("what", ["alive", "killed", "quarantine", "strange", "strange-directory", "deep"])
def test_a_run_that_something_depends_on_is_not_pruned(scene: Scene, what: str) -> None:
    run = Path(scene.directory.path)
    if what == "quarantine":
        put(Path(scene.directory.directory("quarantine")) / "1-2-3")
    elif what == "strange":
        put(run / "notes.txt")
    elif what == "strange-directory":
        (run / "d").mkdir()
    elif what == "deep":
        (run / "preimages" / "d").mkdir()
    if what == "killed":
        scene.die()
    elif what != "alive":
        ended(scene)
    before = tree(run)

    assert prune(scene.state, keep_runs=0) == []
    assert tree(run) == before
