"""Names changed relative to an open directory: nothing on the way is followed, nothing taken is overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_session_guard._host import directories
from pytest_session_guard._host.directories import OpenDirectory, is_directory
from pytest_session_guard._host.handles import file_handle
from pytest_session_guard._host.identity import identity_of, look


def test_a_symlink_on_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")

    with pytest.raises(NotADirectoryError) as caught:
        OpenDirectory(str(tmp_path / "link" / "inner"))

    assert caught.value.filename == str(tmp_path / "link" / "inner")


def test_a_directory_renamed_after_it_was_opened_is_still_the_one_that_changes(tmp_path: Path) -> None:
    place, trap = tmp_path / "place", tmp_path / "trap"
    for directory in (place, trap):
        directory.mkdir()
        (directory / "a").write_bytes(directory.name.encode())
    with OpenDirectory(str(place)) as opened:
        place.rename(tmp_path / "moved")
        place.symlink_to(trap)

        opened.unlink("a")

    assert (trap / "a").read_bytes() == b"trap"
    assert list((tmp_path / "moved").iterdir()) == []


def test_what_is_there_is_seen(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    with OpenDirectory(str(tmp_path)) as opened, opened.enter("d") as inner:
        assert opened.names() == {"d", "link"}
        assert inner.names() == frozenset()
        assert (is_directory(opened.look("d")), is_directory(opened.look("link"))) == (True, False)
        assert opened.look("d").identity == identity_of(str(tmp_path / "d"))
        with pytest.raises(FileNotFoundError):
            opened.look("nothing")
        with pytest.raises(NotADirectoryError):
            opened.enter("link")


def test_one_look_tells_what_lstat_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    os.utime(path, ns=(1, -5_000_000_001))
    found = path.lstat()

    seen = look(str(path))

    assert (seen.mode, seen.mtime_ns, seen.ctime_ns) == (found.st_mode, found.st_mtime_ns, found.st_ctime_ns)
    assert (seen.identity.device, seen.identity.inode) == (found.st_dev, found.st_ino)
    from pytest_session_guard._host import identity

    monkeypatch.setattr(identity, "_statx", lambda: None)
    without_birth = type(seen.identity)(found.st_dev, found.st_ino, None, file_handle(str(path)))
    assert look(str(path)) == seen._replace(identity=without_birth)


@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "fifo"])
def test_a_name_moves_only_to_where_nothing_is(tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    path = source / "a"
    if kind == "file":
        path.write_bytes(b"x")
    elif kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to("nowhere")
    else:
        os.mkfifo(path)
    (target / "taken").write_bytes(b"kept")
    with OpenDirectory(str(source)) as here, OpenDirectory(str(target)) as there:
        before = here.look("a").identity
        with pytest.raises(FileExistsError):
            here.move_if_free("a", there, "taken")
        here.move_if_free("a", there, "free")

        assert there.look("free").identity == before
    assert list(source.iterdir()) == []
    assert (target / "taken").read_bytes() == b"kept"


def test_two_names_change_places(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with OpenDirectory(str(tmp_path)) as opened:
        opened.exchange("a", "b")
        assert Path(opened.through("a")).read_bytes() == b"b"

    assert (tmp_path / "b").read_bytes() == b"a"


def test_without_calls_relative_to_a_descriptor_paths_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "HAS_DIR_FD", False)
    (tmp_path / "d").mkdir()
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "link").symlink_to("d")
    with OpenDirectory(str(tmp_path)) as opened, opened.enter("d") as inner:
        assert opened.fd is None
        opened.rename("a", inner, "b")
        assert inner.names() == {"b"}
        assert opened.through("d") == str(tmp_path / "d")
        inner.move_if_free("b", opened, "c")
        with pytest.raises(OSError, match="renameat2"):
            opened.exchange("c", "d")
        opened.unlink("c")
        opened.rmdir("d")
    with pytest.raises(NotADirectoryError):
        OpenDirectory(str(tmp_path / "link" / "x"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["link"]
