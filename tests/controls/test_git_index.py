"""An index that git has only refreshed says what it said before; every other change of it shows."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_session_guard._controls.overlay.git_index import is_index, says_the_same

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")


class Checkout:
    """A checkout with a few files, and ways to git."""

    def __init__(self, root: Path, *init: str) -> None:
        self.root = root
        self.git("init", "-q", *init, ".")
        for name in ("a", "ab", "docs/a-rather-long-name.md", "src/code.py"):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(name)
        self.git("add", "-A")

    def git(self, *words: str) -> None:
        subprocess.run(
            ("git", "-c", "user.name=n", "-c", "user.email=e", *words),
            cwd=self.root,
            check=True,
            capture_output=True,
            env={"PATH": os.environ["PATH"], "HOME": os.fspath(self.root), "GIT_CONFIG_NOSYSTEM": "1"},
        )

    @property
    def index(self) -> bytes:
        return (self.root / ".git" / "index").read_bytes()

    def refresh(self) -> None:
        for path in self.root.rglob("*"):
            if path.is_file() and ".git" not in path.parts:
                os.utime(path, (5, 5))
        self.git("diff")


FORMATS = [
    pytest.param((), "2", id="2"),
    pytest.param((), "4", id="4"),
    pytest.param(("--object-format=sha256",), "2", id="long"),
]


@pytest.mark.parametrize(("init", "version"), FORMATS)
def test_refreshed_index_says_the_same(tmp_path: Path, init: tuple[str, ...], version: str) -> None:
    checkout = Checkout(tmp_path, *init)
    checkout.git("commit", "-qm", "one")
    checkout.git("update-index", f"--index-version={version}")
    before = checkout.index

    checkout.refresh()

    assert is_index(before)
    assert checkout.index != before
    assert says_the_same(before, checkout.index)


def stage(checkout: Checkout) -> None:
    (checkout.root / "a").write_text("b")
    checkout.git("add", "a")


CHANGES: dict[str, Callable[[Checkout], None]] = {
    "staged": stage,
    "removed": lambda checkout: checkout.git("rm", "-q", "--cached", "ab"),
    "renamed": lambda checkout: checkout.git("mv", "ab", "ac"),
    "mode": lambda checkout: checkout.git("update-index", "--chmod=+x", "a"),
    "assumed": lambda checkout: checkout.git("update-index", "--assume-unchanged", "a"),
    "skipped": lambda checkout: checkout.git("update-index", "--skip-worktree", "a"),
}


@pytest.mark.parametrize(("init", "version"), FORMATS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_index_says_something_else(
    tmp_path: Path, change: Callable[[Checkout], None], init: tuple[str, ...], version: str
) -> None:
    checkout = Checkout(tmp_path, *init)
    checkout.git("update-index", f"--index-version={version}")
    before = checkout.index

    change(checkout)

    assert not says_the_same(before, checkout.index)


@pytest.mark.parametrize(
    "content",
    [b"", b"DIRC", b"DIRC\0\0\0\x09\0\0\0\0", b"DIRC\0\0\0\x02\0\0\0\x05", b"DIRC\0\0\0\x04\0\0\0\x01" + b"\xff" * 80],
    ids=["empty", "cut", "version", "entries", "prefix"],
)
def test_what_cannot_be_read_says_nothing(content: bytes) -> None:
    assert not says_the_same(content, content)
