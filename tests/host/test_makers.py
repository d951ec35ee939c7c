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
from pytest_session_guard._host.makers import Makers


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
