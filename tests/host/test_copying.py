"""Copies that are whole: content, holes, attributes, and the ways round what a platform lacks."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_session_guard._host import copying
from pytest_session_guard._host.copying import (
    copy_content,
    listed_xattrs,
    overwrite_content,
    put_metadata,
    same_content,
)

CONTENT = bytes(range(256)) * 9_000


@pytest.fixture(
    params=[
        pytest.param(lambda patch: None, id="in-the-kernel"),
        pytest.param(lambda patch: patch.setattr(copying._Primitives, "copy_range", None), id="by-hand"),
        pytest.param(lambda patch: patch.setattr(copying._Primitives, "copy_range", _refusing), id="kernel-will-not"),
        pytest.param(lambda patch: patch.delattr(os, "SEEK_HOLE"), id="no-holes-to-be-found"),
    ]
)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    apply: Callable[[pytest.MonkeyPatch], None] = request.param
    apply(monkeypatch)


def _refusing(*arguments: object) -> int:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


@pytest.mark.usefixtures("_way")
def test_a_copy_has_the_same_bytes(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(CONTENT)
    target.write_bytes(b"x" * len(CONTENT) * 2)

    before, after = copy_content(str(source), str(target))

    assert target.read_bytes() == CONTENT
    assert before.st_size == after.st_size == len(CONTENT)
    assert same_content(str(source), str(target))


@pytest.mark.usefixtures("_way")
def test_overwriting_keeps_the_object(tmp_path: Path) -> None:
    source, target, alias = tmp_path / "source", tmp_path / "target", tmp_path / "alias"
    source.write_bytes(CONTENT)
    target.write_bytes(b"x" * 9_000_000)
    alias.hardlink_to(target)

    overwrite_content(str(source), str(target), target.stat())

    assert alias.read_bytes() == CONTENT
    assert alias.samefile(target)


@pytest.mark.usefixtures("_way")
def test_an_empty_file_is_copied(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"")

    copy_content(str(tmp_path / "source"), str(tmp_path / "target"))

    assert (tmp_path / "target").read_bytes() == b""


def test_a_file_that_shrinks_meanwhile_is_seen_to_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    extents = copying._extents

    def extents_of_what_shrinks(fd: int, size: int) -> object:
        source.write_bytes(b"short")
        return extents(fd, size)

    monkeypatch.setattr(copying, "_extents", extents_of_what_shrinks)

    before, after = copy_content(str(source), str(tmp_path / "target"))

    assert (before.st_size, after.st_size) == (len(CONTENT), 5)


def test_an_error_of_the_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(copying._Primitives, "copy_range", fail)
    (tmp_path / "source").write_bytes(CONTENT)

    with pytest.raises(OSError, match="Input/output"):
        copy_content(str(tmp_path / "source"), str(tmp_path / "target"))


def test_a_copy_can_be_read_under_a_umask_that_takes_everything(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    before = os.umask(0o777)
    try:
        copy_content(str(tmp_path / "source"), str(tmp_path / "target"))
    finally:
        os.umask(before)

    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o600


def test_of_holes_no_byte_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, middle in (("one", b"middle"), ("same", b"middle"), ("other", b"Middle"), ("hole", b"")):
        with (tmp_path / name).open("wb") as file:
            file.seek(1 << 32)
            file.write(middle)
            file.truncate(1 << 40)
    read: list[int] = []
    original = copying.Raw.read

    def counting(fd: int, count: int) -> bytes:
        read.append(count)
        return original(fd, count)

    monkeypatch.setattr(copying.Raw, "read", counting)

    same = {name: same_content(str(tmp_path / "one"), str(tmp_path / name)) for name in ("same", "other", "hole")}

    assert same == {"same": True, "other": False, "hole": False}
    assert sum(read) < 1 << 20
    assert not same_content(str(tmp_path / "hole"), str(tmp_path / "one"))


def test_where_holes_cannot_be_asked_for_everything_is_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(copying._Primitives, "lseek", fail)

    assert list(copying._extents(0, 7)) == [(0, 7)]


@pytest.mark.parametrize("kind", ["fifo", "directory", "symlink"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "special"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(__file__)

    with pytest.raises(OSError, match=r"regular|symbolic|Is a directory"):
        copy_content(str(path), str(tmp_path / "target"))
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(b"abc", b"abc", True, id="equal"),
        pytest.param(b"abc", b"abd", False, id="other-byte"),
        pytest.param(b"abc", b"abcd", False, id="longer"),
        pytest.param(b"", b"", True, id="empty"),
    ],
)
def test_contents_are_compared(tmp_path: Path, one: bytes, other: bytes, same: bool) -> None:
    (tmp_path / "one").write_bytes(one)
    (tmp_path / "other").write_bytes(other)

    assert same_content(str(tmp_path / "one"), str(tmp_path / "other")) is same


def test_a_fifo_has_no_content_to_compare(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"")

    assert same_content(str(tmp_path / "file"), str(tmp_path / "file"))
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    assert not same_content(str(tmp_path / "file"), str(tmp_path / "fifo"))
    os.close(reader)


def test_metadata_is_put_and_what_is_too_much_goes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"")
    os.setxattr(path, "user.old", b"1")
    os.setxattr(path, "user.changed", b"1")

    missed = put_metadata(
        str(path),
        mode=0o640,
        uid=os.getuid(),
        gid=os.getgid(),
        atime_ns=1_000_000_007,
        mtime_ns=2_000_000_009,
        xattrs={"user.changed": b"2", "user.new": b"3"},
    )

    found = path.stat()
    assert missed == []
    assert (found.st_mode & 0o777, found.st_atime_ns, found.st_mtime_ns) == (0o640, 1_000_000_007, 2_000_000_009)
    assert listed_xattrs(str(path)) == {"user.changed": b"2", "user.new": b"3"}


def test_metadata_that_cannot_be_put_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"")
    found = path.stat()

    missed = put_metadata(
        str(path),
        mode=0o644,
        uid=found.st_uid,
        gid=found.st_gid,
        atime_ns=0,
        mtime_ns=0,
        xattrs={"nonsense": b"1"},
    )

    assert missed == ["nonsense"]


def test_a_symlink_gets_its_own_times(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"")
    link.symlink_to(target)
    before = target.stat().st_mtime_ns

    put_metadata(str(link), mode=0, uid=os.getuid(), gid=os.getgid(), atime_ns=1, mtime_ns=2_000_000_009, xattrs={})

    assert (link.lstat().st_mtime_ns, target.stat().st_mtime_ns) == (2_000_000_009, before)


def test_no_attributes_where_there_are_none_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed_xattrs(str(tmp_path / "nothing")) == {}
    monkeypatch.setattr(copying._Primitives, "listxattr", None)
    assert listed_xattrs(str(tmp_path)) == {}


def test_an_attribute_that_is_listed_and_cannot_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **names: object) -> bytes:
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))

    (tmp_path / "a").write_bytes(b"")
    os.setxattr(tmp_path / "a", "user.a", b"1")
    monkeypatch.setattr(copying._Primitives, "getxattr", fail)

    assert listed_xattrs(str(tmp_path / "a")) == {}
