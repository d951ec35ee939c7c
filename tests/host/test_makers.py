"""Who made a name in a watched directory: this process in whichever thread, or another one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("fanotify is Linux's", allow_module_level=True)

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


def test_names_that_others_make_are_told_and_none_of_our_own(makers: Makers, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    makers.watch(str(tmp_path))
    (tmp_path / "own").mkdir()
    thread = threading.Thread(target=(tmp_path / "by_a_thread").touch)
    thread.start()
    thread.join()
    script = 'mkdir directory; touch file inner/deeper; mv file moved; ln -s x link; touch "$1"'
    subprocess.run(["sh", "-ec", script, "-", b"\xff\n" + b"n" * 253], cwd=tmp_path, check=True)

    told = makers.others()

    expected = {"directory", "file", "moved", "link", os.fsdecode(b"\xff\n" + b"n" * 253)}
    assert {name for name, _ in told} == expected
    assert {makers.leads_to(handle, str(tmp_path)) for _, handle in told} == {True}
    assert {makers.leads_to(handle, str(inner)) for _, handle in told} <= {False}
    assert makers.others() == []


def test_nothing_is_told_through_a_descriptor_that_a_test_closed(makers: Makers, tmp_path: Path) -> None:
    makers.watch(str(tmp_path))
    subprocess.run(["touch", tmp_path / "a"], check=True)
    os.close(makers._fd)

    assert makers.others() == []


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
    arrivals.expect(str(places[1] / "a"))
    assert not arrivals.is_by_another(str(places[1] / "a"))
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
