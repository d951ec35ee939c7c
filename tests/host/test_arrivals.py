"""What came to names that were about to be created: told in order, by whichever process, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("inotify is Linux's", allow_module_level=True)

from pytest_session_guard._host import arrivals as arrivals_module
from pytest_session_guard._host.arrivals import Arrivals


@pytest.fixture
def arrivals() -> Iterator[Arrivals]:
    made = Arrivals(lambda path: True)
    yield made
    made.end()


def test_what_is_made_and_what_is_moved_there_is_told_in_order(arrivals: Arrivals, tmp_path: Path) -> None:
    path = tmp_path / "a"
    arrivals.expect(str(path))
    path.write_text("x")
    path.write_text("y")
    path.unlink()
    path.mkdir()
    path.rmdir()
    subprocess.run(["mv", tmp_path / "b", path], check=False, stderr=subprocess.DEVNULL)
    (tmp_path / "b").write_text("x")
    subprocess.run(["mv", tmp_path / "b", path], check=True)

    told = arrivals.take()

    assert told == [(str(path), False), (str(path), False), (str(tmp_path / "b"), False), (str(path), True)]
    assert arrivals.take() == []


def test_a_name_of_any_bytes_is_told(arrivals: Arrivals, tmp_path: Path) -> None:
    path = os.fsdecode(bytes(tmp_path) + b"/\xff\n" + b"n" * 253)
    arrivals.expect(path)
    Path(path).touch()

    assert arrivals.take() == [(path, False)]


def test_a_directory_that_took_the_place_of_another_is_watched_in_its_turn(arrivals: Arrivals, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for name in ("old", "new"):
        store.mkdir()
        arrivals.expect(str(store / name))
        (store / name).touch()
        store.rename(tmp_path / f"was-{name}")

    assert arrivals.take() == [(str(store / "old"), False), (str(store / "new"), False)]


def test_nothing_is_watched_that_nobody_wants_to_know_of(tmp_path: Path) -> None:
    arrivals = Arrivals(lambda path: False)
    arrivals.expect(str(tmp_path / "a"))
    (tmp_path / "a").touch()

    assert arrivals.take() == []


def test_a_place_that_is_not_there_is_passed_over(arrivals: Arrivals, tmp_path: Path) -> None:
    arrivals.expect(str(tmp_path / "none" / "a"))

    assert arrivals.take() == []


def test_where_the_kernel_gives_no_watch_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_session_guard._host import notices

    def exhausted(*_arguments: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(notices, "Notices", exhausted)
    arrivals = Arrivals(lambda path: True)
    arrivals.expect(str(tmp_path / "a"))
    (tmp_path / "a").touch()

    assert arrivals.take() == []


def test_a_descriptor_that_a_test_closed_is_opened_again(arrivals: Arrivals, tmp_path: Path) -> None:
    arrivals.expect(str(tmp_path / "a"))
    assert arrivals._notices is not None
    os.close(arrivals._notices._fd)

    assert arrivals.take() == []
    arrivals.expect(str(tmp_path / "b"))
    (tmp_path / "b").touch()
    assert arrivals.take() == [(str(tmp_path / "b"), False)]


def test_a_forked_child_takes_nothing_away_from_its_parent(arrivals: Arrivals, tmp_path: Path) -> None:
    arrivals.expect(str(tmp_path / "a"))
    (tmp_path / "a").touch()
    pid = os.fork()
    if pid == 0:
        mine = arrivals.take()
        arrivals.expect(str(tmp_path / "b"))
        (tmp_path / "b").touch()
        os._exit(0 if (mine, arrivals.take()) == ([], [(str(tmp_path / "b"), False)]) else 1)

    assert os.waitpid(pid, 0)[1] == 0
    assert arrivals.take() == [(str(tmp_path / "a"), False), (str(tmp_path / "b"), False)]


def test_the_number_of_watches_stays_small(arrivals: Arrivals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals_module, "MOST_DIRECTORIES", 3)
    for number in range(8):
        (tmp_path / str(number)).mkdir()
        arrivals.expect(str(tmp_path / str(number) / "a"))
        assert len(arrivals._directories) <= 3
    (tmp_path / "7" / "a").touch()

    assert arrivals.take() == [(str(tmp_path / "7" / "a"), False)]


def test_what_is_waited_for_is_told_although_others_are_let_go(
    arrivals: Arrivals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals_module, "MOST_DIRECTORIES", 6)
    for number in range(6):
        (tmp_path / str(number)).mkdir()
        arrivals.expect(str(tmp_path / str(number) / "a"))
    for name in ("3", "4"):
        (tmp_path / name / "a").touch()
    (tmp_path / "4").rename(tmp_path / "old")
    (tmp_path / "4").mkdir()

    arrivals.expect(str(tmp_path / "a"))
    (tmp_path / "5" / "a").touch()

    assert arrivals.take() == [(str(tmp_path / name / "a"), False) for name in ("3", "4", "5")]
    assert [arrivals.is_elsewhere(str(tmp_path / name / "a")) for name in ("3", "4", "5")] == [False, True, False]
