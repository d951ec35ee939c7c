"""Who made a name in a watched directory: this process in whichever thread, or another one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("fanotify is Linux's", allow_module_level=True)

from pytest_session_guard._host import arrivals as arrivals_module
from pytest_session_guard._host import makers as makers_module
from pytest_session_guard._host.arrivals import Arrivals
from pytest_session_guard._host.makers import Makers, Openers


def makers_or_none() -> Makers | None:
    try:
        return Makers()
    except OSError:
        return None


@pytest.fixture
def makers() -> Iterator[Makers]:
    made = makers_or_none()
    if made is None:
        pytest.skip("no fanotify to be had here")
    yield made
    made.close()


def test_names_are_told_and_which_of_them_we_made(makers: Makers, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    makers.watch(str(tmp_path))
    (tmp_path / "own").mkdir()
    thread = threading.Thread(target=(tmp_path / "by_a_thread").touch)
    thread.start()
    thread.join()
    (inner / "moved_by_us").touch()
    (inner / "moved_by_us").rename(tmp_path / "moved_by_us")
    script = 'mkdir directory; touch file inner/deeper; mv file moved; ln -s x link; touch "$1"'
    subprocess.run(["sh", "-ec", script, "-", b"\xff\n" + b"n" * 253], cwd=tmp_path, check=True)

    told = makers.told()

    others = {"directory", "file", "moved", "link", os.fsdecode(b"\xff\n" + b"n" * 253)}
    expected = {(name, False) for name in others} | {("own", True), ("by_a_thread", True), ("moved_by_us", False)}
    assert told is not None
    assert set(told) == {(f"{tmp_path}/{name}", is_ours) for name, is_ours in expected}
    assert makers.told() == []


def test_more_than_the_kernel_keeps_is_told_to_be_incomplete(makers: Makers, tmp_path: Path) -> None:
    makers.watch(str(tmp_path))
    for number in range(int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text()) + 1):
        os.symlink("x", tmp_path / str(number))

    assert makers.told() is None
    assert makers.told() == []


def test_nothing_is_told_through_a_descriptor_that_a_test_closed(makers: Makers, tmp_path: Path) -> None:
    makers.watch(str(tmp_path))
    subprocess.run(["touch", tmp_path / "a"], check=True)
    os.close(makers._fd)

    assert makers.told() is None


def test_a_place_that_cannot_be_watched_is_an_error(makers: Makers, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        makers.watch(str(tmp_path / "none"))


@pytest.mark.parametrize("tells_makers", [True, False])
def test_an_announced_name_is_told_apart_from_the_same_name_elsewhere(tmp_path: Path, tells_makers: bool) -> None:
    arrivals = Arrivals(lambda path: True, tells_makers=tells_makers)
    places = [tmp_path / "here", tmp_path / "there"]
    for place in places:
        place.mkdir()
        arrivals.expect(str(place / "a"))
    (places[0] / "a").touch()
    subprocess.run(["touch", places[1] / "a"], check=True)
    arrivals.take()

    is_told = tells_makers and arrivals._makers is not None
    assert [arrivals.is_by_another(str(place / "a")) for place in places] == [False, is_told]
    assert [arrivals.is_by_us(str(place / "a")) for place in places] == [is_told, False]
    for place in places:
        arrivals.expect(str(place / "a"))
        assert not arrivals.is_by_another(str(place / "a"))
        assert not arrivals.is_by_us(str(place / "a"))
    arrivals.end()


def make_arrivals() -> Arrivals:
    arrivals = Arrivals(lambda path: True, tells_makers=True)
    arrivals.expect("/")
    if arrivals._makers is None:
        pytest.skip("no fanotify to be had here")
    return arrivals


def test_what_another_process_makes_again_is_not_ours(tmp_path: Path) -> None:
    arrivals = make_arrivals()
    arrivals.expect(str(tmp_path / "a"))
    (tmp_path / "a").touch()
    arrivals.take()
    assert arrivals.is_by_us(str(tmp_path / "a"))
    subprocess.run(["sh", "-c", "rm a; touch a"], cwd=tmp_path, check=True)
    arrivals.take()

    assert not arrivals.is_by_us(str(tmp_path / "a"))
    arrivals.end()


def test_what_we_made_is_told_although_directories_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals = make_arrivals()
    paths = [tmp_path / str(number) / "a" for number in range(7)]
    for path in paths:
        path.parent.mkdir()
        arrivals.expect(str(path))
    for path in (paths[0], paths[5], paths[6]):
        path.touch()
    subprocess.run(["sh", "-c", "rm a; touch a"], cwd=paths[6].parent, check=True)
    monkeypatch.setattr(arrivals_module, "MOST_DIRECTORIES", 6)

    arrivals.expect(str(tmp_path / "b"))

    # Of the first nobody would know from now on that another one took its name.
    assert [arrivals.is_by_us(str(paths[number])) for number in (0, 5, 6)] == [False, True, False]
    subprocess.run(["sh", "-c", "rm a; touch a"], cwd=paths[5].parent, check=True)
    paths[4].touch()
    arrivals.take()
    assert [arrivals.is_by_us(str(paths[number])) for number in (4, 5)] == [True, False]
    arrivals.end()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EPERM])
def test_what_was_used_up_is_asked_for_again_and_what_is_forbidden_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused() -> Makers:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(makers_module, "Makers", refused)
        arrivals = Arrivals(lambda path: True, tells_makers=True)
        arrivals.expect(str(tmp_path / "a"))
        (tmp_path / "a").touch()
        arrivals.take()
        assert not arrivals.is_by_us(str(tmp_path / "a"))
    if makers_or_none() is None:
        pytest.skip("no fanotify to be had here")
    arrivals.expect(str(tmp_path / "b"))
    (tmp_path / "b").touch()
    arrivals.take()

    assert arrivals.is_by_us(str(tmp_path / "b")) is (number == errno.EMFILE)
    arrivals.end()


@pytest.mark.parametrize("lose", ["closed", "overflow"])
def test_what_was_not_heard_is_not_ours_and_what_comes_later_is(tmp_path: Path, lose: str) -> None:
    arrivals = make_arrivals()
    arrivals.expect(str(tmp_path / "a"))
    (tmp_path / "a").touch()
    assert arrivals._makers is not None
    if lose == "closed":
        os.close(arrivals._makers._fd)
    else:
        for number in range(int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text()) + 1):
            os.symlink("x", tmp_path / str(number))
    arrivals.take()
    assert not arrivals.is_by_us(str(tmp_path / "a"))
    arrivals.expect(str(tmp_path / "b"))
    (tmp_path / "b").touch()
    arrivals.take()

    assert arrivals.is_by_us(str(tmp_path / "b"))
    arrivals.end()


def test_a_fork_is_told_of_its_own(tmp_path: Path) -> None:
    arrivals = make_arrivals()
    arrivals.expect(str(tmp_path / "a"))
    pid = os.fork()
    if pid == 0:
        arrivals.expect(str(tmp_path / "b"))
        (tmp_path / "b").touch()
        (tmp_path / "a").touch()
        arrivals.take()
        os._exit(0 if arrivals.is_by_us(str(tmp_path / "b")) else 1)

    assert os.waitpid(pid, 0)[1] == 0
    arrivals.take()
    assert arrivals.is_by_another(str(tmp_path / "a"))
    arrivals.end()


@pytest.fixture
def openers(makers: Makers) -> Iterator[Openers]:
    made = Openers()
    yield made
    made.close()


def test_what_was_made_as_it_was_opened_is_told_though_others_read_it(openers: Openers, tmp_path: Path) -> None:
    openers.watch(str(tmp_path))
    with (tmp_path / "own").open("w"):
        subprocess.run(["cat", tmp_path / "own"], check=True)
        assert openers.is_made_by_opener(str(tmp_path / "own"))
        assert not openers.is_made_by_opener(str(tmp_path / "never"))


@pytest.mark.parametrize("ends", [True, False])
def test_what_another_had_made_when_it_was_opened_is_told(openers: Openers, tmp_path: Path, ends: bool) -> None:
    openers.watch(str(tmp_path))
    script = "exec 3> a; echo; " + ("exec 3>&-" if ends else "read line")
    with subprocess.Popen(["sh", "-c", script], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.read(1)
        if ends:
            other.wait()
        with (tmp_path / "a").open("a"):
            assert not openers.is_made_by_opener(str(tmp_path / "a"))
        other.kill()


def test_who_reads_it_just_then_is_waited_for(openers: Openers, tmp_path: Path) -> None:
    openers.watch(str(tmp_path))
    script = "exec < a; echo; exec < /dev/null; read line"
    with (
        (tmp_path / "a").open("w"),
        subprocess.Popen(["sh", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE) as other,
    ):
        assert other.stdout is not None
        other.stdout.read(1)
        assert openers._waiting() == 2
        assert openers.is_made_by_opener(str(tmp_path / "a"))
        assert openers._waiting() == 0


def test_what_happened_before_is_forgotten(openers: Openers, tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    openers.watch(str(tmp_path / "here"))
    with (tmp_path / "here" / "a").open("w"):
        openers.forget()
        assert not openers.is_made_by_opener(str(tmp_path / "here" / "a"))
    openers.watch(str(tmp_path / "there"))
    with (tmp_path / "here" / "b").open("w"), (tmp_path / "there" / "c").open("w"):
        assert not openers.is_made_by_opener(str(tmp_path / "here" / "b"))
        assert openers.is_made_by_opener(str(tmp_path / "there" / "c"))


def test_after_an_overflow_nothing_is_told_until_it_is_forgotten(openers: Openers, tmp_path: Path) -> None:
    openers.watch(str(tmp_path))
    most = int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text())
    for number in range(most + 1):
        os.close(os.open(tmp_path / str(number), os.O_CREAT | os.O_WRONLY))
    with (tmp_path / "a").open("w"):
        assert not openers.is_made_by_opener(str(tmp_path / "a"))
    openers.forget()
    openers.watch(str(tmp_path))
    with (tmp_path / "b").open("w"):
        assert openers.is_made_by_opener(str(tmp_path / "b"))
