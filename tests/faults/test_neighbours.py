"""Others at work in the same places: a second run, a clock that jumps, a ledger that is taken away."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from artifact_scene import Scene, tree
from fault_points import EVERYTHING

from pytest_session_guard._controls.ledger import read_run
from pytest_session_guard._core.errors import LedgerError, NotCreatedByRunError
from pytest_session_guard._host.identity import identity_of
from pytest_session_guard._run.past import list_runs
from pytest_session_guard._run.recover import clean_all, restore_run


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_two_runs_at_once_leave_each_others_artifacts_alone(scene: Scene, tmp_path: Path) -> None:
    other = Scene(tmp_path)
    first, second = scene.create(scene.store / "first.json"), other.create(other.store / "second.json")

    with pytest.raises(NotCreatedByRunError):
        scene.cleanup.sweep(str(scene.store), "*.json")
    assert scene.cleanup.clear_shared().removed == (str(first),)
    assert clean_all(scene.state) == []
    assert second.exists()
    assert other.cleanup.clear_shared().removed == (str(second),)


def test_the_next_run_cleans_up_after_the_dead_and_not_after_the_living(scene: Scene, tmp_path: Path) -> None:
    dead, alive = Scene(tmp_path), Scene(tmp_path)
    left, used = dead.create(dead.store / "left"), alive.create(alive.store / "used")
    dead.die()

    clean_all(scene.state)

    assert (left.exists(), used.exists()) == (False, True)
    assert [run.state for run in list_runs(scene.state)].count("alive") == 2


def test_when_the_clock_jumps_back_a_day_artifacts_stay_and_are_named(scene: Scene) -> None:
    # The jump as seen from here: the run began a day after now.
    scene.directory.started_ns += 86_400 * 10**9
    path = scene.create(scene.store / "a.json")

    removed = scene.cleanup.clear_shared()

    assert removed.kept == ((str(path), "its birth time is before the start of the run"),)
    assert path.exists()


def test_when_the_ledger_is_deleted_during_the_run_nothing_more_is_created_or_removed(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    source = scene.work / "source"
    source.write_bytes(b"years of work")
    shutil.rmtree(scene.state)

    for act in (
        lambda: scene.ownership.intend(str(scene.store / "b.json"), False),
        lambda: scene.keep(source),
        lambda: scene.cleanup.clear_shared(),
    ):
        with pytest.raises(OSError, match=r"deleted|No such file"):
            act()

    assert path.exists()
    assert source.read_bytes() == b"years of work"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_place_that_an_ordinary_user_may_not_write_to_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            from pytest_session_guard._controls.ledger import RunDirectory

            RunDirectory.create(str(tmp_path / "work" / ".session_guard"))
        except LedgerError as problem:
            os.write(writing, problem.reason.encode())
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 999).decode()
    os.close(reading)
    os.waitpid(pid, 0)

    assert said == "Permission denied"
    assert tree(tmp_path / "work") == {}


def test_a_child_that_was_forked_before_the_end_cleans_up_nothing_of_its_parents(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    pid = os.fork()
    if pid == 0:
        # Its exit handlers and its copy of the ledger are those of the parent; the journal it writes is its own.
        scene.ownership.intend(str(scene.store / "child"), False)
        os._exit(0)
    os.waitpid(pid, 0)

    assert path.exists()
    journals = [name for name in os.listdir(scene.directory.path) if name.startswith("journal-main-")]
    assert len(journals) == 2


def test_a_device_node_is_neither_opened_nor_lost(scene: Scene) -> None:
    path = scene.work / "device"
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("device nodes cannot be made here")
    scene.keep(path, removal=True)
    path.unlink()

    scene.preimages.note_left()
    scene.die()
    restore_run(read_run(scene.directory.path))

    assert path.is_char_device()


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="nothing here that fails with EIO by itself")
def test_when_the_journals_descriptor_fails_nothing_is_created_changed_or_removed(scene: Scene) -> None:
    path = scene.create(scene.store / "a.json")
    source = scene.work / "source"
    source.write_bytes(b"years of work")
    # Nothing is mapped at address 0: every write through this descriptor is a real EIO.
    failing = os.open("/proc/self/mem", os.O_RDWR)
    os.dup2(failing, scene.journal._fd)
    os.close(failing)
    scene.journal._counted = [0]  # it would be called cut short

    for act in (
        lambda: scene.ownership.intend(str(scene.store / "b.json"), False),
        lambda: scene.keep(source),
        lambda: scene.cleanup.clear_shared(),
    ):
        with pytest.raises(LedgerError, match="Input/output error"):
            act()

    assert path.exists()
    assert source.read_bytes() == b"years of work"


def in_a_child(act: Callable[[], str]) -> str:
    """What a function says in a process of its own."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, act().encode())
        except BaseException as problem:
            os.write(writing, repr(problem).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        answer = said.read()
    os.waitpid(pid, 0)
    return answer


def test_when_files_may_not_grow_what_cannot_be_recorded_is_not_created_and_no_later_line_is_ruined(
    scene: Scene,
) -> None:
    def fill() -> str:
        size = os.stat(f"{scene.directory.path}/{scene.journal.name}").st_size
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        # The child opens a journal of its own, which begins empty.
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 500, hard))
        said: list[str] = []
        for number in range(40):
            try:
                scene.ownership.intend(str(scene.store / str(number)), False)
            except LedgerError as problem:
                said.append(problem.reason)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        scene.create(scene.store / "after")
        return said[0]

    said = in_a_child(fill)
    scene.die()
    run = read_run(scene.directory.path)

    assert said == "File too large"
    assert (run.damaged, run.count("created")) == ((), 1)
    assert [path.name for path in scene.store.iterdir()] == ["after"]
    clean_all(scene.state)
    assert list(scene.store.iterdir()) == []


def test_a_hundred_thousand_artifacts_go_and_what_lies_between_them_stays(scene: Scene) -> None:
    count = 100_000 if EVERYTHING else 5_000
    for number in range(0, count, count // 50):
        (scene.store / f"{number:06}-real").write_bytes(b"years of work")
    for number in range(count):
        path = str(scene.store / f"{number:06}")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        scene.ownership.claim(path, identity_of(path))

    removed = scene.cleanup.clear_shared()

    assert (len(removed.removed), removed.kept) == (count, ())
    assert len(list(scene.store.iterdir())) == 50
