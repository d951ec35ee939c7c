"""The test's side: who acts, on which fake home, and what the disk looks like before and after."""

from __future__ import annotations

import functools
import inspect
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

INSIDE = Path(__file__).with_name("inside_overlay.py")
USER_ID = 12345


@dataclass(frozen=True)
class Actor:
    """A user, and an interpreter that this user can start."""

    name: str
    python: str
    uid: int

    def options(self) -> dict[str, Any]:
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.uid, "extra_groups": []}


def can_run(python: str, uid: int) -> bool:
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([python, "-c", check], user=uid, group=uid, extra_groups=[]).returncode == 0
    except OSError:
        return False


@functools.cache
def actors() -> tuple[Actor, ...]:
    """Root and an ordinary user when root runs the tests, else the user who does."""
    if os.geteuid() != 0:
        return (Actor("user", sys.executable, os.geteuid()),)
    reachable = [python for python in (sys.executable, "/usr/bin/python3") if can_run(python, USER_ID)]
    return (Actor("root", sys.executable, 0), *(Actor("user", python, USER_ID) for python in reachable[:1]))


EVERY_ACTOR = [pytest.param(actor, id=actor.name) for actor in actors()]
ROOT_ALONE = [pytest.param(actor, id=actor.name) for actor in actors() if actor.uid == 0]


class Scene:
    """A base directory with a home, a temporary directory and a scratch directory, all of one actor."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        # Not below tmp_path: that is closed to other users.
        self.base = Path(tempfile.mkdtemp(prefix="session-guard-scene-"))
        for name in ("home/src/project/.git", "home/app/data", "tmp", "scratch"):
            (self.base / name).mkdir(parents=True)
        self.home = self.base / "home"
        for name in ("notes.txt", "app/config", "app/data/one", "app/data/two", "src/project/.git/HEAD"):
            (self.home / name).write_text(f"real {name}")
        (self.home / "link").symlink_to("notes.txt")
        os.setxattr(self.home / "notes.txt", "user.kept", b"yes")
        self.give(self.base)

    def give(self, top: Path) -> None:
        """Make everything the actor's own, and old enough that a new time stamp shows."""
        for directory, names, files in os.walk(top, topdown=False):
            for entry in (*names, *files, "."):
                path = os.path.join(directory, entry)
                os.chown(path, self.actor.uid, self.actor.uid, follow_symlinks=False)
                os.utime(path, ns=(10**18, 10**18), follow_symlinks=False)

    def run(self, function: Callable[..., object], *arguments: object, check: bool = True, **options: Any) -> Any:
        """Call a function of the test's module in a child, with an `Inside` first; its result as JSON brings it."""
        completed = self.start(function, *arguments, **options)
        assert completed.returncode == 0 or not check, completed.stderr + completed.stdout
        return json.loads(completed.stdout.rpartition("\n")[2]) if check else completed

    def start(
        self, function: Callable[..., object], *arguments: object, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.actor.python, "-B", str(INSIDE), str(self.base), function.__name__, json.dumps(arguments)],
            input=inspect.getsource(function),
            capture_output=True,
            text=True,
            cwd=options.pop("cwd", self.home),
            timeout=60,
            env={**os.environ, "TMPDIR": str(self.base / "tmp"), **options.pop("env", {})},
            **{**self.actor.options(), **options},
        )

    def remove(self) -> None:
        deadline = time.monotonic() + 30
        while self.base.exists():
            assert time.monotonic() < deadline, f"{self.base} cannot be removed"
            # A keeper that just lost its run may be removing its layers at this moment.
            shutil.rmtree(self.base, ignore_errors=True)


def snapshot(top: Path) -> dict[str, tuple[object, ...]]:
    """Everything about a tree that a test may not change."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(top):
        for entry in (*names, *files, "."):
            path = os.path.normpath(os.path.join(directory, entry))
            status = os.lstat(path)
            content = b""
            if stat.S_ISREG(status.st_mode):
                content = Path(path).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.fsencode(os.readlink(path))
            attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in _xattr_names(path)}
            found[os.path.relpath(path, top)] = (
                status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns,
                status.st_ctime_ns, content, attributes,
            )  # fmt: skip
    return found


def _xattr_names(path: str) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A scene of the actor that the test is parametrized with (indirectly)."""
    made = Scene(request.param)
    yield made
    made.remove()


by_everyone = pytest.mark.parametrize("scene", EVERY_ACTOR, indirect=True)
by_user = pytest.mark.parametrize(
    "scene", [pytest.param(actor, id=actor.name) for actor in actors() if actor.uid != 0], indirect=True
)
by_root = pytest.mark.parametrize("scene", ROOT_ALONE, indirect=True)
