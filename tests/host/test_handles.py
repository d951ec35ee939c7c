"""File handles: the proof of identity where no birth time is kept."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_session_guard._core.records import Identity
from pytest_session_guard._host import handles, identity
from pytest_session_guard._host.handles import file_handle, lacks_generation
from pytest_session_guard._host.identity import identity_of, look

ATTEMPTS = 5_000


def handles_are_given(directory: Path) -> bool:
    probe = directory / "probe"
    probe.touch()
    given = file_handle(str(probe)) is not None
    probe.unlink()
    return given


@pytest.fixture(autouse=True)
def given(tmp_path: Path) -> None:
    if not handles_are_given(tmp_path):
        pytest.skip("the file system of the temporary directory gives no file handles")


@pytest.fixture
def no_birth_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that keeps none: the bit that stands for them is never set."""
    monkeypatch.setattr(identity, "STATX_BTIME", 0)


def until_the_number_comes_again(path: Path) -> None:
    """Replace a file by others until one has its inode number."""
    number = path.lstat().st_ino
    for _ in range(ATTEMPTS):
        path.unlink()
        path.touch()
        if path.lstat().st_ino == number:
            return
    pytest.skip(f"this file system did not give a number out again in {ATTEMPTS} attempts")


def test_handle_is_of_what_stands_there_and_not_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "second").hardlink_to(path)
    first = file_handle(str(path))

    directory, fd = os.open(tmp_path, os.O_RDONLY), os.open(path, os.O_RDONLY)
    try:
        seen = [file_handle(os.fsencode(path)), file_handle("file", directory), file_handle(fd)]
    finally:
        os.close(directory)
        os.close(fd)
    path.rename(tmp_path / "moved")

    assert first is not None
    assert {*seen, file_handle(str(tmp_path / "second")), file_handle(str(tmp_path / "moved"))} == {first}
    assert file_handle(str(tmp_path / "link")) not in (first, None)


def test_handle_tells_an_object_from_a_later_one_of_the_same_number(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    first, number = file_handle(str(path)), path.lstat().st_ino

    until_the_number_comes_again(path)

    assert path.lstat().st_ino == number
    assert file_handle(str(path)) not in (first, None)


def test_there_is_no_handle_where_the_file_system_gives_none(tmp_path: Path) -> None:
    assert file_handle("/proc/self/status") is None
    assert file_handle(str(tmp_path / "nothing")) is None


def test_there_is_no_handle_without_the_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(*_args: object, **_kwargs: object) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(handles, "_cache", [])
    monkeypatch.setattr(ctypes, "CDLL", no_library)

    assert file_handle(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("kind", "content", "lacking"),
    [
        pytest.param(0x01, "1000000000000000", True, id="number-and-no-generation"),
        pytest.param(0x01, "10000000db371337", False, id="number-and-generation"),
        pytest.param(0x81, "100000000000000000000000", True, id="long-number-and-no-generation"),
        pytest.param(0x81, "100000000000000001000000", False, id="long-number-and-generation"),
        pytest.param(0x01, "610e85dd0900000000000000", False, id="tmpfs-has-the-generation-first"),
        pytest.param(0x4D, "0000000000000000", False, id="a-kind-of-its-own"),
    ],
)
def test_a_generation_of_zero_is_none(kind: int, content: str, lacking: bool) -> None:
    assert lacks_generation(kind, bytes.fromhex(content)) is lacking


def test_a_handle_without_a_generation_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def give_number_alone(_start: int, _name: bytes, buffer: Any, _mount: Any, _flags: int) -> int:
        buffer[:16] = (8).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"\x10" + bytes(7)
        return 0

    call = handles._name_to_handle_at()
    assert call is not None
    monkeypatch.setattr(handles, "_cache", [(give_number_alone, *call[1:])])

    assert file_handle(str(tmp_path)) is None


@pytest.mark.usefixtures("no_birth_times")
def test_identity_has_the_handle_where_there_is_no_birth_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    found, handle = path.lstat(), file_handle(str(path))

    expected = Identity(found.st_dev, found.st_ino, None, handle)
    assert handle is not None
    assert [identity_of(str(path)), look(str(path)).identity] == [expected, expected]
    until_the_number_comes_again(path)
    assert identity_of(str(path)).is_same_object(expected) is False


def test_no_handle_is_asked_for_where_there_is_a_birth_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(identity, "file_handle", asked.append)

    found = [identity_of(str(tmp_path)), look(str(tmp_path)).identity]

    assert all(one.birth_ns is not None for one in found)
    assert asked == []
