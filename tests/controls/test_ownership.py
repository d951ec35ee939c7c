"""What counts as the run's own, and how it follows renames, removals and the work of other processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_session_guard._controls import ownership as ownership_module
from pytest_session_guard._controls.ownership import SETTLE_WINDOW_NS, Ownership
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import Identity, grain_ns
from pytest_session_guard._host import identity as identity_module
from pytest_session_guard._host.arrivals import Arrivals
from pytest_session_guard._host.directories import OpenDirectory
from pytest_session_guard._host.handles import file_handle
from pytest_session_guard._host.identity import identity_of


class Run:
    """An `Ownership` with its records, and those of another process to learn from."""

    def __init__(self, *, tells_makers: bool = True) -> None:
        self.records: list[Any] = []
        self.others: list[dict[str, Any]] = []
        self.arrivals = Arrivals(lambda path: True, tells_makers=tells_makers)
        self.ownership = Ownership(self.records.append, self._take_others, self.arrivals)

    def _take_others(self) -> list[dict[str, Any]]:
        taken, self.others = self.others, []
        return taken

    def create(self, path: Path, directory: bool = False) -> Path:
        self.ownership.intend(str(path), directory)
        if directory:
            path.mkdir()
        else:
            path.write_bytes(b"made")
        return path

    def owns(self, path: Path, ask_others: bool = False) -> bool:
        return self.ownership.owns(str(path), path.lstat(), ask_others)

    @property
    def kinds(self) -> list[str]:
        return [record["kind"] for record in self.records]


@pytest.fixture
def run() -> Run:
    return Run()


def test_an_intent_is_written_down_before_and_the_object_after(run: Run, tmp_path: Path) -> None:
    path = run.create(tmp_path / "a")

    assert run.kinds == ["intent"]
    run.ownership.settle()
    assert run.kinds == ["intent", "created"]
    assert run.records[1]["identity"] == identity_of(str(path)).to_json()
    assert run.owns(path)


def test_an_intent_that_came_to_nothing_is_nothing(run: Run, tmp_path: Path) -> None:
    run.ownership.intend(str(tmp_path / "a"), False)
    run.ownership.settle()

    assert run.ownership.paths == {}
    assert run.kinds == ["intent"]


def test_the_next_intent_settles_those_before_it(run: Run, tmp_path: Path) -> None:
    for name in "abc":
        run.create(tmp_path / name)

    assert run.kinds == ["intent", "created", "intent", "created", "intent"]


def test_what_a_fork_is_about_to_get_from_its_parent_is_the_parents_affair(run: Run, tmp_path: Path) -> None:
    run.ownership.intend(str(tmp_path / "a"), False)

    run.ownership.expect_nothing()
    (tmp_path / "a").touch()

    assert run.ownership.is_settled
    assert not run.owns(tmp_path / "a")


def test_an_intent_waits_for_a_thread_that_is_slow(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a"
    run.ownership.intend(str(path), False)
    run.ownership.settle()
    path.write_bytes(b"made a moment later")

    assert run.owns(path)


def test_an_intent_is_forgotten_after_a_while(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run.ownership.intend(str(tmp_path / "a"), False)
    later = ownership_module.stamp_clock_ns() + SETTLE_WINDOW_NS + 1
    monkeypatch.setattr(ownership_module, "stamp_clock_ns", lambda: later)
    run.ownership.settle()

    assert run.ownership._pending == {}


def test_an_object_that_was_there_before_the_intent_is_not_ours(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"there before")
    time.sleep(0.02)
    run.ownership.intend(str(path), False)

    assert not run.owns(path)


def test_an_object_born_long_after_the_intent_is_not_ours(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = ownership_module.stamp_clock_ns() - SETTLE_WINDOW_NS - 1_000_000_000
    monkeypatch.setattr(ownership_module, "stamp_clock_ns", lambda: long_ago)
    path = run.create(tmp_path / "a")

    assert not run.owns(path)


def replace_by_rename(path: Path) -> None:
    beside = path.with_name("beside")
    beside.write_bytes(b"somebody else's")
    beside.replace(path)


def replace_by_making_it_again(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"somebody else's")


def replace_its_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("old"))
    path.parent.mkdir()
    path.write_bytes(b"somebody else's")


def remove_its_directory(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    path.write_bytes(b"somebody else's")


needs_inotify = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what came to a name")
REPLACING = [
    pytest.param(replace_by_rename, id="renamed-over"),
    pytest.param(replace_by_making_it_again, id="deleted-and-made-again"),
    pytest.param(replace_its_directory, id="directory-renamed"),
    pytest.param(remove_its_directory, id="directory-deleted"),
]


@needs_inotify
@pytest.mark.parametrize("replace", REPLACING)
def test_what_replaced_a_fresh_artifact_before_anybody_looked_is_not_ours(
    run: Run, tmp_path: Path, replace: Callable[[Path], None]
) -> None:
    (tmp_path / "store").mkdir()
    path = run.create(tmp_path / "store" / "a")
    replace(path)

    assert not run.owns(path)
    assert run.kinds == ["intent"]


@needs_inotify
def test_what_was_moved_to_an_announced_name_instead_is_not_ours(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a"
    run.ownership.intend(str(path), False)
    replace_by_rename(path)

    assert not run.owns(path)


@pytest.mark.parametrize("replace", REPLACING)
def test_disarmed_what_replaced_a_fresh_artifact_is_taken_for_ours(
    tmp_path: Path, replace: Callable[[Path], None]
) -> None:
    run = Run()
    run.ownership = Ownership(run.records.append, list)
    (tmp_path / "store").mkdir()
    path = run.create(tmp_path / "store" / "a")
    replace(path)

    assert run.owns(path)


@needs_inotify
@pytest.mark.parametrize("tells_makers", [True, False], ids=["told", "disarmed"])
def test_what_another_process_made_where_a_call_failed_may_be_changed_and_is_not_ours(
    tmp_path: Path, tells_makers: bool
) -> None:
    run = Run(tells_makers=tells_makers)
    path = tmp_path / "a"
    run.ownership.intend(str(path), False)
    is_told = tells_makers and run.arrivals._makers is not None
    subprocess.run(["touch", path], check=True)

    # It may be one of the run's own that was faster.
    assert run.owns(path, ask_others=True)
    assert not run.owns(path)
    assert run.ownership.is_lent(identity_of(str(path)))
    assert run.ownership.paths == {}
    # Whose it is, if another one made it, that one writes down.
    assert run.kinds == (["intent"] if is_told else ["intent", "lent"])
    assert set(run.ownership.lent) == (set() if is_told else {str(path)})
    replace_by_rename(path)
    assert not run.owns(path, ask_others=True)


@needs_inotify
def test_disarmed_by_its_time_alone_what_another_process_made_is_taken_for_ours(tmp_path: Path) -> None:
    run = Run()
    run.ownership = Ownership(run.records.append, list)
    run.ownership.intend(str(tmp_path / "a"), False)
    subprocess.run(["touch", tmp_path / "a"], check=True)

    assert run.owns(tmp_path / "a")


@pytest.fixture
def untold() -> Run:
    """A run that is not told who makes what."""
    return Run(tells_makers=False)


def test_what_nobody_tells_who_made_it_is_lent_to_all_processes_of_the_run(
    untold: Run, run: Run, tmp_path: Path
) -> None:
    path, directory = untold.create(tmp_path / "a"), untold.create(tmp_path / "d", directory=True)
    untold.create(directory / "x")
    untold.ownership.settle()

    run.others = list(untold.records)

    assert (untold.ownership.paths, run.ownership.paths) == ({}, {})
    assert set(untold.ownership.lent) == {str(path), str(directory), str(directory / "x")}
    for one in (untold, run):
        assert one.owns(path, ask_others=True)
        assert one.owns(directory / "x", ask_others=True)
    assert run.ownership.lent == untold.ownership.lent
    assert run.ownership.uncertain == set()


def test_what_is_lent_is_followed_to_its_other_names(untold: Run, run: Run, tmp_path: Path) -> None:
    directory, path = untold.create(tmp_path / "d", directory=True), untold.create(tmp_path / "a")
    inner = untold.create(directory / "x")
    for source, target in ((directory, tmp_path / "e"), (path, tmp_path / "e" / "b")):
        assert untold.ownership.follows(str(source), source.lstat())
        untold.ownership.moved(str(source), str(target))
        source.rename(target)
    linked = tmp_path / "e" / "c"
    untold.ownership.named(str(linked), identity_of(str(tmp_path / "e" / "b")))
    linked.hardlink_to(tmp_path / "e" / "b")
    untold.ownership.removed(str(tmp_path / "e" / inner.name))
    (tmp_path / "e" / inner.name).unlink()
    untold.ownership.settle()
    run.ownership.learn(untold.records)

    for one in (untold, run):
        names = [str(tmp_path / name) for name in ("e", "e/b", "e/c")]
        assert one.ownership.lent == {name: identity_of(name) for name in names}
        assert one.owns(linked, ask_others=True)
    assert "created" not in untold.kinds


@needs_inotify
def test_further_name_of_our_own_is_ours_as_well(run: Run, tmp_path: Path) -> None:
    path, linked = run.create(tmp_path / "a"), tmp_path / "b"
    assert run.ownership.follows(str(path), path.lstat())
    linked.hardlink_to(path)
    run.ownership.named(str(linked), identity_of(str(path)))

    assert run.ownership.paths == {str(name): identity_of(str(path)) for name in (path, linked)}
    assert (run.ownership.lent, run.kinds[-1]) == ({}, "created")


def test_what_took_the_place_of_what_is_lent_is_not_followed(untold: Run, tmp_path: Path) -> None:
    path = untold.create(tmp_path / "a")
    assert untold.ownership.follows(str(path), path.lstat())
    subprocess.run(["sh", "-ec", "echo live > b; mv b a"], cwd=tmp_path, check=True)

    assert not untold.ownership.follows(str(path), path.lstat())
    assert not untold.ownership.follows(str(tmp_path / "other"), path.lstat())


def test_what_is_lent_and_comes_to_a_name_of_our_own_takes_its_place(untold: Run, tmp_path: Path) -> None:
    path, fresh = tmp_path / "a", untold.create(tmp_path / "fresh")
    path.touch()
    untold.ownership.claim(str(path), identity_of(str(path)))
    untold.ownership.settle()
    untold.ownership.moved(str(fresh), str(path))
    fresh.replace(path)
    untold.ownership.settle()

    assert (untold.ownership.paths, set(untold.ownership.lent)) == ({}, {str(path)})


def test_what_is_lent_removed_and_made_again_is_lent_again(untold: Run, tmp_path: Path) -> None:
    path = untold.create(tmp_path / "a")
    assert untold.ownership.follows(str(path), path.lstat())
    assert untold.owns(path, ask_others=True)
    untold.ownership.removed(str(path))
    path.unlink()
    untold.ownership.settle()
    assert untold.ownership.lent == {}
    untold.create(path)

    assert untold.owns(path, ask_others=True)
    assert untold.ownership.lent == {str(path): identity_of(str(path))}


def test_what_is_claimed_is_not_lent_any_more(untold: Run, run: Run, tmp_path: Path) -> None:
    path = untold.create(tmp_path / "a")
    untold.ownership.settle()
    untold.ownership.claim(str(path), identity_of(str(path)))
    run.ownership.learn(untold.records)
    # The journals of two processes are read one after the other.
    run.ownership.learn([record for record in untold.records if record["kind"] == "lent"])

    for one in (untold, run):
        assert (set(one.ownership.paths), one.ownership.lent) == ({str(path)}, {})


def test_what_somebody_else_lends_may_be_changed_and_is_not_listed(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    run.ownership.lend(identity_of(str(path)))

    assert run.owns(path, ask_others=True)
    assert not run.owns(path)
    assert run.ownership.is_lent(identity_of(str(path)))
    assert (run.ownership.lent, run.records) == ({}, [])


@needs_inotify
@pytest.mark.parametrize("is_replaced", [True, False])
def test_what_is_told_a_moment_after_it_shows_is_waited_for(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    path = run.create(tmp_path / "a")
    if run.arrivals._makers is None:
        pytest.skip("no fanotify to be had here")
    if is_replaced:
        subprocess.run(["sh", "-ec", "echo live > new; mv new a"], cwd=tmp_path, check=True)
    is_told: list[bool] = []
    for one in (run.arrivals._notices, run.arrivals._makers):
        take = one.take
        monkeypatch.setattr(one, "take", lambda take=take: take() if is_told else b"")
    catch_up = run.arrivals.catch_up
    monkeypatch.setattr(run.arrivals, "catch_up", lambda paths: (catch_up(paths), is_told.append(True)))

    assert run.owns(path) is not is_replaced
    assert is_told


@needs_inotify
def test_who_looks_for_another_name_waits_for_what_is_being_made_there(run: Run, tmp_path: Path) -> None:
    looked_for = []
    path = run.create(tmp_path / "a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_session_guard._host.arrivals.Raw.lstat", looked_for.append)
        run.arrivals.catch_up([str(path), str(tmp_path / "b")])
        run.arrivals.catch_up([str(path)])

    assert {os.path.dirname(name) for name in looked_for} == {str(tmp_path)}
    assert len(set(looked_for)) == 2


@needs_inotify
def test_what_is_made_in_a_directory_that_was_not_there_when_it_was_announced_is_not_ours(
    run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "store" / "a"
    run.ownership.intend(str(path), False)
    path.parent.mkdir()
    path.touch()

    assert not run.owns(path, ask_others=True)
    assert run.owns(run.create(path.with_name("b")))


@needs_inotify
def test_what_stands_there_after_more_than_the_kernel_keeps_may_be_changed_and_is_not_ours(
    run: Run, tmp_path: Path
) -> None:
    path = run.create(tmp_path / "a")
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    names = [tmp_path / "b", tmp_path / "c"]
    names[0].touch()
    for number in range(most // 2 + 10):
        names[number % 2].rename(names[1 - number % 2])

    assert run.owns(path, ask_others=True)
    assert not run.owns(path)
    assert run.kinds == ["intent", "lent"]
    assert run.owns(run.create(tmp_path / "d"))


OTHERS_REPLACE = {
    "renamed-over": "echo x > new; mv new a",
    "deleted-and-made-again": "rm a; echo x > a",
    "directory-renamed": "mv ../store ../old; mkdir ../store; echo x > ../store/a",
    "directory-deleted": "rm a; rmdir ../store; mkdir ../store; echo x > ../store/a",
}


@needs_inotify
@pytest.mark.parametrize("replace", OTHERS_REPLACE)
def test_what_another_process_put_in_its_place_is_not_ours_where_the_user_has_no_inotify_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: str
) -> None:
    from pytest_session_guard._host import notices

    def exhausted(*_arguments: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(notices, "Notices", exhausted)
    run = Run()
    (tmp_path / "store").mkdir()
    path = run.create(tmp_path / "store" / "a")
    if run.arrivals._makers is None:
        pytest.skip("no fanotify to be had here")
    subprocess.run(["sh", "-ec", OTHERS_REPLACE[replace]], cwd=path.parent, check=True)

    assert not run.owns(path)
    assert run.kinds == ["intent"]
    assert run.owns(run.create(path.with_name("b")))


@needs_inotify
def test_what_takes_its_place_while_it_is_looked_for_is_not_ours(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run.create(tmp_path / "a")
    take = run.arrivals.take

    def take_and_let_it_be_replaced() -> list[tuple[str, bool]]:
        told = take()
        replace_by_rename(path)
        return told

    with monkeypatch.context() as patch:
        patch.setattr(run.arrivals, "take", take_and_let_it_be_replaced)
        run.ownership.settle()

    assert not run.owns(path)


@needs_inotify
def test_a_name_that_is_announced_again_is_ours_again(run: Run, tmp_path: Path) -> None:
    path = run.create(tmp_path / "a")
    replace_by_rename(path)
    assert not run.owns(path)
    path.unlink()

    run.create(path)

    assert run.owns(path)


@needs_inotify
def test_what_is_made_removed_and_made_again_at_once_is_ours(run: Run, tmp_path: Path) -> None:
    run.create(tmp_path / "a").unlink()
    path = run.create(tmp_path / "a")

    assert run.owns(path)


def test_another_name_of_a_fresh_foreign_object_is_not_ours(run: Run, tmp_path: Path) -> None:
    real = tmp_path / "real"
    alias = tmp_path / "alias"
    run.ownership.intend(str(alias), False)
    real.write_bytes(b"a live application's, made this very moment")
    alias.hardlink_to(real)

    assert not run.owns(alias)


def test_another_name_of_an_own_object_is_ours(run: Run, tmp_path: Path) -> None:
    path = run.create(tmp_path / "a")
    assert run.owns(path)
    run.ownership.intend(str(tmp_path / "b"), False)
    (tmp_path / "b").hardlink_to(path)
    run.ownership.removed(str(path))
    path.unlink()

    assert run.owns(tmp_path / "b")
    assert set(run.ownership.paths) == {str(tmp_path / "b")}


@pytest.mark.parametrize(
    ("moment_ns", "grain"),
    [
        pytest.param(1_795_164_476_000_000_000, 2_000_000_000, id="seconds"),
        pytest.param(1_795_164_476_120_000_000, 10_000_000, id="hundredths"),
        pytest.param(1_795_164_476_123_456_000, 1_000, id="microseconds"),
        pytest.param(1_795_164_476_123_456_700, 0, id="finer"),
    ],
)
def test_the_grain_of_a_stamp_is_seen_in_its_zeros(moment_ns: int, grain: int) -> None:
    assert grain_ns(moment_ns) == grain


def test_on_a_file_system_with_one_second_times_creations_are_still_ours(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_seconds(path: str, found: os.stat_result, dir_fd: int | None = None) -> int:
        return found.st_ctime_ns // 1_000_000_000 * 1_000_000_000

    monkeypatch.setattr(identity_module, "birth_ns", in_seconds)
    path = run.create(tmp_path / "a")

    assert run.owns(path)


@pytest.fixture
def no_birth_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that keeps none: the bit that stands for them is never set."""
    monkeypatch.setattr(identity_module, "STATX_BTIME", 0)


def replace_until_the_number_comes_again(path: Path) -> None:
    number = path.stat().st_ino
    for _ in range(5_000):
        path.unlink()
        path.write_bytes(b"somebody else's")
        if path.stat().st_ino == number:
            return
    pytest.skip("this file system did not give a number out again")


@pytest.mark.usefixtures("no_birth_times")
def test_without_birth_times_the_file_handle_proves_the_object(run: Run, tmp_path: Path) -> None:
    path = run.create(tmp_path / "a")
    run.ownership.settle()

    assert run.owns(path)
    assert run.ownership.is_own(identity_of(str(path))) is True
    assert run.records[1]["identity"] == [*identity_of(str(path)).to_json()[:2], None, file_handle(str(path))]


@pytest.mark.usefixtures("no_birth_times")
def test_without_birth_times_an_inode_number_that_comes_again_is_not_ours(run: Run, tmp_path: Path) -> None:
    path = run.create(tmp_path / "a")
    run.ownership.settle()
    replace_until_the_number_comes_again(path)

    assert not run.owns(path)
    assert run.ownership.is_own(identity_of(str(path))) is False


@pytest.mark.usefixtures("no_birth_times")
def test_disarmed_an_inode_number_that_comes_again_is_taken_for_ours(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_module, "file_handle", lambda path, dir_fd=None: "1-the same for all")
    path = run.create(tmp_path / "a")
    run.ownership.settle()
    replace_until_the_number_comes_again(path)

    assert run.owns(path)
    assert run.ownership.is_own(identity_of(str(path))) is True


@pytest.mark.usefixtures("no_birth_times")
def test_without_birth_times_an_old_object_that_is_moved_to_an_announced_path_is_never_removed(
    run: Run, tmp_path: Path
) -> None:
    # Where the kernel does not tell what came to the name, either.
    run.ownership = Ownership(run.records.append, list)
    real, path = tmp_path / "real", tmp_path / "a"
    real.write_bytes(b"a live application's, from last year")
    os.utime(real, ns=(1, 1))
    run.ownership.intend(str(path), False)
    real.rename(path)
    run.ownership.settle()

    assert run.ownership.is_own(identity_of(str(path))) is None


@pytest.mark.usefixtures("no_birth_times")
def test_a_record_without_a_handle_neither_proves_nor_disproves(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"made by a version that knew no handles")
    found = path.lstat()
    run.ownership.learn([{"kind": "created", "path": str(path), "identity": [found.st_dev, found.st_ino, None]}])

    assert run.owns(path)
    assert run.ownership.is_own(identity_of(str(path))) is None
    run.ownership.moved(str(path), str(tmp_path / "no" / "where"))
    run.ownership.settle()
    assert set(run.ownership.paths) == {str(path)}


@pytest.mark.usefixtures("no_birth_times")
def test_without_birth_times_and_handles_the_ledger_cannot_tell_for_a_removal(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_module, "file_handle", lambda path, dir_fd=None: None)
    path = run.create(tmp_path / "a")
    found = path.lstat()

    assert run.owns(path)
    assert run.ownership.is_own(Identity(found.st_dev, found.st_ino)) is None
    assert run.ownership.is_own(Identity(found.st_dev, found.st_ino, 5)) is False
    run.ownership.removed(str(path))
    path.unlink()
    run.ownership.settle()
    assert run.ownership.is_own(Identity(found.st_dev, found.st_ino)) is False


def test_an_inode_number_that_comes_again_is_not_ours(run: Run, tmp_path: Path) -> None:
    path = run.create(tmp_path / "a")
    run.ownership.settle()
    number = path.stat().st_ino
    for _ in range(200):
        path.unlink()
        path.write_bytes(b"somebody else's")
        if path.stat().st_ino == number:
            break

    assert not run.owns(path)


def test_a_rename_takes_everything_below_along(run: Run, tmp_path: Path) -> None:
    directory = run.create(tmp_path / "d", directory=True)
    run.create(directory / "a")
    run.ownership.settle()
    run.ownership.moved(str(directory), str(tmp_path / "e"))
    directory.rename(tmp_path / "e")
    run.ownership.settle()

    assert set(run.ownership.paths) == {str(tmp_path / "e"), str(tmp_path / "e" / "a")}
    assert run.owns(tmp_path / "e" / "a")


def test_a_rename_that_failed_moves_nothing(run: Run, tmp_path: Path) -> None:
    path = run.create(tmp_path / "a")
    run.ownership.settle()
    run.ownership.moved(str(path), str(tmp_path / "no" / "where"))
    run.ownership.settle()

    assert set(run.ownership.paths) == {str(path)}


def test_a_removal_that_failed_forgets_nothing(run: Run, tmp_path: Path) -> None:
    directory = run.create(tmp_path / "d", directory=True)
    run.create(directory / "a")
    run.ownership.settle()
    run.ownership.removed(str(directory))
    with pytest.raises(OSError, match="not empty"):
        directory.rmdir()
    run.ownership.settle()

    assert str(directory) in run.ownership.paths


def test_a_removal_is_forgotten_and_memory_stays_flat(run: Run, tmp_path: Path) -> None:
    for _ in range(20):
        path = run.create(tmp_path / "a")
        assert run.owns(path)
        run.ownership.removed(str(path))
        path.unlink()
        run.ownership.settle()

    assert run.ownership.paths == {}


def test_a_path_used_again_after_a_rename_holds_the_new_object(run: Run, tmp_path: Path) -> None:
    first = run.create(tmp_path / "tmp")
    assert run.owns(first)
    run.ownership.moved(str(first), str(tmp_path / "final"))
    first.rename(tmp_path / "final")
    second = run.create(tmp_path / "tmp")
    assert run.owns(second)

    assert run.ownership.paths == {
        str(tmp_path / "tmp"): identity_of(str(second)),
        str(tmp_path / "final"): identity_of(str(tmp_path / "final")),
    }


def test_what_another_process_made_is_asked_for_only_when_it_matters(run: Run, tmp_path: Path) -> None:
    other = Run()
    path = other.create(tmp_path / "a")
    other.ownership.settle()
    run.others = list(other.records)

    assert not run.owns(path)
    assert run.owns(path, ask_others=True)
    assert run.owns(path)


def test_what_another_process_moved_and_removed_is_learned_in_order(run: Run, tmp_path: Path) -> None:
    other = Run()
    path = other.create(tmp_path / "tmp")
    assert other.owns(path)
    other.ownership.moved(str(path), str(tmp_path / "final"))
    path.rename(tmp_path / "final")
    again = other.create(tmp_path / "tmp")
    assert other.owns(again)
    gone = other.create(tmp_path / "gone")
    assert other.owns(gone)
    other.ownership.removed(str(gone))
    gone.unlink()
    batch = [other.create(tmp_path / name) for name in ("x", "y")]
    other.ownership.settle()
    other.records.append({"kind": "removed", "paths": [str(item) for item in batch]})
    for item in batch:
        item.unlink()

    run.ownership.learn(other.records)

    assert run.ownership.paths == {
        str(tmp_path / "tmp"): identity_of(str(again)),
        str(tmp_path / "final"): identity_of(str(tmp_path / "final")),
    }


def test_an_older_object_with_the_same_number_does_not_hide_the_one_that_stands(run: Run, tmp_path: Path) -> None:
    path = run.create(tmp_path / "a")
    assert run.owns(path)
    own = identity_of(str(path))
    # Journals of several processes are read one after the other, not in order of time.
    older = Identity(own.device, own.inode, (own.birth_ns or 0) - 1_000_000_000)

    run.ownership.learn([{"kind": "created", "path": str(tmp_path / "long gone"), "identity": older.to_json()}])

    assert run.owns(path)
    assert run.ownership.is_own(older) is True


def test_an_artifact_replaced_by_another_is_forgotten(run: Run, tmp_path: Path) -> None:
    path = run.create(tmp_path / "a")
    assert run.owns(path)
    first = identity_of(str(path))
    fresh = run.create(tmp_path / "fresh")
    assert run.owns(fresh)
    run.ownership.moved(str(fresh), str(path))
    fresh.replace(path)

    assert run.owns(path)
    assert run.ownership.is_own(first) is False
    assert set(run.ownership.paths) == {str(path)}


def exchange(one: Path, other: Path) -> None:
    with OpenDirectory(str(one.parent)) as opened:
        opened.exchange(one.name, other.name)


def test_two_artifacts_that_exchange_their_names_are_both_known(run: Run, tmp_path: Path) -> None:
    old, new = run.create(tmp_path / "document"), run.create(tmp_path / "beside")
    run.ownership.settle()
    identities = identity_of(str(old)), identity_of(str(new))
    run.ownership.moved(str(new), str(old))
    exchange(new, old)
    run.ownership.settle()

    assert run.ownership.paths == {str(new): identities[0], str(old): identities[1]}
    assert [run.ownership.is_own(identity) for identity in identities] == [True, True]


def test_an_exchange_in_a_process_that_was_killed_is_learned(run: Run, tmp_path: Path) -> None:
    other = Run()
    old, new = other.create(tmp_path / "document"), other.create(tmp_path / "beside")
    other.ownership.settle()
    other.ownership.moved(str(new), str(old))
    exchange(new, old)

    run.ownership.learn(other.records)

    assert run.ownership.paths == {str(new): identity_of(str(new)), str(old): identity_of(str(old))}


def test_directories_that_exchange_their_names_take_everything_below_along(run: Run, tmp_path: Path) -> None:
    one, other = run.create(tmp_path / "one", directory=True), run.create(tmp_path / "other", directory=True)
    run.create(one / "a")
    run.create(other / "b")
    run.ownership.settle()
    run.ownership.moved(str(one), str(other))
    exchange(one, other)
    run.ownership.settle()

    assert set(run.ownership.paths) == {str(path) for path in (one, one / "b", other, other / "a")}
    assert run.owns(one / "b")
    assert run.owns(other / "a")


def test_what_comes_to_a_name_that_was_given_up_is_no_exchange(run: Run, tmp_path: Path) -> None:
    fresh, path = run.create(tmp_path / "fresh"), run.create(tmp_path / "document")
    run.ownership.settle()
    run.ownership.moved(str(fresh), str(path))
    fresh.replace(path)
    fresh.write_bytes(b"somebody else's")
    run.ownership.settle()

    assert set(run.ownership.paths) == {str(path)}
    assert not run.owns(fresh)


def test_what_cannot_be_written_down_is_not_begun(tmp_path: Path) -> None:
    def full(record: object) -> None:
        raise LedgerError("journal", "no space left")

    ownership = Ownership(full, list)

    with pytest.raises(LedgerError):
        ownership.intend(str(tmp_path / "a"), False)
    ownership.settle()
    assert ownership.paths == {}


def test_threads_never_lose_sight_of_their_own_files(run: Run, tmp_path: Path) -> None:
    def work(number: int) -> None:
        for index in range(50):
            assert run.owns(run.create(tmp_path / f"{number}-{index}"))

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.ownership.settle()

    assert len(run.ownership.paths) == 200
    assert {record["path"] for record in run.records if record["kind"] == "created"} == set(run.ownership.paths)


def test_what_is_claimed_twice_is_forgotten_at_once(run: Run, tmp_path: Path) -> None:
    path = run.create(tmp_path / "a")
    assert run.owns(path)
    identity = identity_of(str(path))
    run.ownership.claim(str(path), identity)
    run.ownership.forget(str(path))

    assert run.ownership.is_own(identity) is False


def test_all_that_others_made_is_known_after_asking_them(run: Run, tmp_path: Path) -> None:
    other = Run()
    path = other.create(tmp_path / "a")
    other.ownership.settle()
    run.others = [{"kind": "intent", "path": str(tmp_path / "never"), "directory": False}, *other.records]
    mine = run.create(tmp_path / "b")

    run.ownership.ask_others()

    assert set(run.ownership.paths) == {str(path), str(mine)}
    assert run.ownership.uncertain == {str(tmp_path / "never")}


def test_a_record_of_a_kind_to_come_teaches_nothing(run: Run, tmp_path: Path) -> None:
    run.ownership.learn([{"kind": "vaporised", "path": str(tmp_path)}, {"kind": "created"}, {}])

    assert run.ownership.paths == {}


def test_what_another_thread_settled_meanwhile_is_settled(run: Run, tmp_path: Path) -> None:
    class TakenByAnother(deque[tuple[str, str]]):
        def popleft(self) -> tuple[str, str]:
            self.clear()
            return super().popleft()

    path = run.create(tmp_path / "a")
    run.ownership.settle()
    run.ownership._leaving = TakenByAnother([(str(path), "")])
    run.ownership.settle()

    assert set(run.ownership.paths) == {str(path)}


def test_what_another_thread_forgot_meanwhile_does_not_move(run: Run, tmp_path: Path) -> None:
    class ForgottenMeanwhile(dict[str, Identity]):
        def get(self, path: str, default: Any = None) -> Any:
            return None

    path = run.create(tmp_path / "a")
    run.ownership.settle()
    run.ownership.moved(str(path), str(tmp_path / "b"))
    path.rename(tmp_path / "b")
    run.ownership.paths = ForgottenMeanwhile(run.ownership.paths)
    run.ownership.settle()

    assert str(tmp_path / "b") not in run.ownership.paths


@pytest.mark.parametrize(
    ("moment_ns", "made"),
    [
        pytest.param(1_000_000_001, True, id="at-the-intent"),
        pytest.param(1_000_000_001 + SETTLE_WINDOW_NS, True, id="at-the-end-of-the-window"),
        pytest.param(1_000_000_002 + SETTLE_WINDOW_NS, False, id="after-the-window"),
        pytest.param(999_999_999, False, id="before-the-intent"),
        pytest.param(1_000_000_000, True, id="before-it-and-rounded-down"),
    ],
)
def test_what_is_just_made_lies_between_the_intent_and_the_end_of_the_window(moment_ns: int, made: bool) -> None:
    assert ownership_module.is_just_made(moment_ns, 1_000_000_001) is made


def test_an_old_object_that_is_touched_after_the_intent_is_not_ours(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"there before")
    time.sleep(0.02)
    run.ownership.intend(str(path), False)
    # Its times of change and modification are new now; its birth is not.
    path.chmod(0o600)
    os.utime(path)

    assert not run.owns(path)
    assert run.ownership._pending == {}, "that is settled: whatever comes to that path later is not ours either"
    path.unlink()
    path.write_bytes(b"made by somebody else a moment later")
    assert not run.owns(path)


def test_records_say_what_is_a_directory(run: Run, tmp_path: Path) -> None:
    directory, file = run.create(tmp_path / "d", directory=True), run.create(tmp_path / "f")
    run.ownership.intend(str(tmp_path / "said"), True)
    (tmp_path / "said").write_bytes(b"announced as a directory")
    run.ownership.settle()
    run.ownership.claim(str(tmp_path / "claimed"), identity_of(str(file)))

    said = [(record["kind"], Path(record["path"]).name, record["directory"]) for record in run.records]
    assert directory.is_dir()
    assert sorted(said) == [
        ("created", "claimed", False),
        ("created", "d", True),
        ("created", "f", False),
        ("created", "said", True),
        ("intent", "d", True),
        ("intent", "f", False),
        ("intent", "said", True),
    ]


def test_a_removal_that_failed_does_not_keep_the_next_from_being_forgotten(run: Run, tmp_path: Path) -> None:
    stays, goes = run.create(tmp_path / "stays"), run.create(tmp_path / "goes")
    run.ownership.settle()
    run.ownership.removed(str(stays))
    run.ownership.removed(str(goes))
    goes.unlink()
    run.ownership.settle()

    assert set(run.ownership.paths) == {str(stays)}


def test_nothing_is_left_of_what_was_forgotten(run: Run, tmp_path: Path) -> None:
    first = run.create(tmp_path / "a")
    assert run.owns(first)
    second, third = tmp_path / "b", tmp_path / "c"
    second.hardlink_to(first)
    run.ownership.claim(str(second), identity_of(str(first)))
    third.hardlink_to(first)
    run.ownership.claim(str(third), identity_of(str(first)))
    run.ownership.forget(str(first))
    run.ownership.forget(str(third))
    assert run.ownership.is_own(identity_of(str(second))) is True
    run.ownership.forget(str(second))
    run.ownership.forget(str(second))

    assert (run.ownership.paths, run.ownership._by_number) == ({}, {})


def test_others_are_not_asked_unless_that_is_wanted(run: Run, tmp_path: Path) -> None:
    other = Run()
    path = other.create(tmp_path / "a")
    other.ownership.settle()
    run.others = list(other.records)

    assert run.ownership.owns(str(path), path.lstat()) is False
    assert run.others != []
