"""The outside view sees every kind of change, and nothing where there was none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from . import snapshot
from .capabilities import is_available


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "file").write_text("text")
    (tmp_path / "left" / "directory").mkdir()
    os.symlink("file", tmp_path / "left" / "link")
    return tmp_path / "left"


def _same_bytes_at_the_same_time(tree: Path) -> None:
    facts = (tree / "file").stat()
    (tree / "file").write_text("TEXT")
    os.utime(tree / "file", ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _replaced_by_a_copy(tree: Path) -> None:
    shutil.copy2(tree / "file", tree.parent / "copy")
    os.replace(tree.parent / "copy", tree / "file")


def _now_a_fifo(tree: Path) -> None:
    os.remove(tree / "file")
    os.mkfifo(tree / "file")


def _retargeted(tree: Path) -> None:
    os.remove(tree / "link")
    os.symlink("directory", tree / "link")


@pytest.mark.parametrize(
    ("change", "path", "effect"),
    [
        pytest.param(lambda t: (t / "new").write_text(""), "new", "appeared", id="created"),
        pytest.param(lambda t: os.remove(t / "file"), "file", "vanished", id="removed"),
        pytest.param(_same_bytes_at_the_same_time, "file", "content", id="rewritten-with-old-times"),
        pytest.param(_replaced_by_a_copy, "file", "replaced", id="replaced-by-a-copy"),
        pytest.param(_retargeted, "link", "content", id="link-retargeted"),
        pytest.param(lambda t: os.chmod(t / "file", 0o600), "file", "mode", id="mode"),
        pytest.param(lambda t: os.utime(t / "file", (1, 1)), "file", "times", id="times"),
        pytest.param(lambda t: os.utime(t / "directory", (1, 1)), "directory", "times", id="directory-set-back"),
        pytest.param(lambda t: os.link(t / "file", t.parent / "twin"), "file", "links", id="linked-from-outside"),
        pytest.param(
            lambda t: os.chown(t / "file", os.getuid(), os.getgid()), "file", "status time", id="owner-set-again"
        ),
        pytest.param(_now_a_fifo, "file", "kind", id="now-a-fifo"),
    ],
)
def test_compare_names_the_effect(change: Callable[[Path], object], path: str, effect: str, tree: Path) -> None:
    before = snapshot.take(str(tree), ())

    change(tree)

    assert effect in snapshot.compare(before, snapshot.take(str(tree), ()))[path]


@pytest.mark.parametrize(("attribute", "capability"), [pytest.param("user.mood", "xattr", id="user-attribute")])
def test_compare_names_a_changed_attribute(attribute: str, capability: str, tree: Path) -> None:
    before = snapshot.take(str(tree), ())

    if is_available(capability, as_root=os.geteuid() == 0):
        os.setxattr(tree / "file", attribute, b"bad")
        assert snapshot.compare(before, snapshot.take(str(tree), ())) == {"file": ["attributes"]}
    else:
        with pytest.raises(OSError, match=r".*"):
            os.setxattr(tree / "file", attribute, b"bad")


def test_compare_finds_nothing_after_reading_and_after_a_passing_temporary_file(tree: Path) -> None:
    before = snapshot.take(str(tree), ())

    (tree / "file").read_text()
    os.utime(tree / "directory")
    (tree / "passing").write_text("")
    (tree / "passing").unlink()

    assert snapshot.compare(before, snapshot.take(str(tree), ())) == {}


def test_take_leaves_out_names_of_the_top_alone(tree: Path) -> None:
    (tree / "directory" / "file").write_text("")

    assert set(snapshot.take(str(tree), ("file",))) == {"directory", "directory/file", "link"}


def test_abridge_keeps_every_kind_of_effect() -> None:
    many = {f"name{number:03}": ["vanished"] for number in range(100)} | {"odd": ["mode"]}

    short = snapshot.abridge(many)

    assert len(short) < 20
    assert short["odd"] == ["mode"]
