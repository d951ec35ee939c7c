"""What is told of watched directories: every kind of change by whichever process, at once; silence when nothing happens."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("inotify is Linux's", allow_module_level=True)

from pytest_session_guard._host.notices import Notices


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("x")
    (tmp_path / "inner").mkdir()
    return tmp_path


@pytest.fixture
def notices(place: Path) -> Iterator[Notices]:
    made = Notices()
    made.watch(str(place))
    yield made
    made.close()


CHANGES: list[object] = [
    pytest.param(lambda place: (place / "new").touch(), id="created"),
    pytest.param(lambda place: (place / "file").unlink(), id="deleted"),
    pytest.param(lambda place: (place / "file").rename(place / "other"), id="renamed"),
    pytest.param(lambda place: (place / "file").write_text("y"), id="written"),
    pytest.param(lambda place: (place / "file").chmod(0o600), id="mode-of-a-file"),
    pytest.param(lambda place: place.chmod(0o700), id="own-mode"),
    pytest.param(lambda place: os.utime(place, (1, 1)), id="own-times"),
    pytest.param(lambda place: place.rename(f"{place}-away"), id="moved-away"),
    pytest.param(
        lambda place: subprocess.run([sys.executable, "-Sc", "import os, sys; os.mkdir(sys.argv[1])", place / "d"]),
        id="by-a-child",
    ),
]


@pytest.mark.parametrize("change", CHANGES)
def test_change_is_news_until_it_is_cleared(notices: Notices, place: Path, change: Callable[[Path], object]) -> None:
    before = notices.has_news()
    change(place)
    after = notices.has_news()

    assert (before, after) == (False, True)
    assert notices.clear()
    assert not notices.has_news()


def test_reading_is_no_news(notices: Notices, place: Path) -> None:
    (place / "file").read_text()
    os.listdir(place)
    os.stat(place)

    assert not notices.has_news()


def test_what_happens_deeper_is_no_news(notices: Notices, place: Path) -> None:
    (place / "inner" / "deep").touch()

    assert not notices.has_news()


def test_directory_without_a_path_is_watched_by_its_descriptor(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    notices = Notices()

    notices.watch(f"/proc/self/fd/{descriptor}")
    (place / "new").touch()

    assert notices.has_news()
    notices.close()
    os.close(descriptor)


def test_what_cannot_be_watched_is_an_error(notices: Notices, place: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        notices.watch(f"{place}/missing")


def test_closed_by_a_test_it_says_that_there_may_be_news_and_that_it_works_no_more(notices: Notices) -> None:
    os.close(notices._fd)

    assert notices.has_news()
    assert not notices.clear()


def test_what_stands_under_its_number_later_is_not_read(notices: Notices) -> None:
    theirs, end = os.pipe()
    os.dup2(theirs, notices._fd)
    os.write(end, b"not ours")

    assert notices.has_news()
    assert not notices.clear()
    notices.close()
    assert os.read(theirs, 100) == b"not ours"
    for descriptor in (theirs, end, notices._fd):
        os.close(descriptor)
