"""A scratch run without pytest: real directories, a real ledger, and creations told to it as the hook would tell them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_session_guard._controls.cleanup import Cleanup
from pytest_session_guard._controls.ledger import Journal, RunDirectory, note_closed, read_run
from pytest_session_guard._controls.markers import read_marker
from pytest_session_guard._controls.ownership import Ownership
from pytest_session_guard._controls.preimages import Preimages
from pytest_session_guard._core.runs import PastRun
from pytest_session_guard._core.zones import Policy, Rule, Zone

LIMIT_BYTES = 1 << 20
ORDINARY_UID = 12345


class Scene:
    """One run in ``root``: ``work/`` is its workspace, ``store/`` is shared and holds what others made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / "work"
        self.store = root / "store"
        self.work.mkdir(exist_ok=True)
        self.store.mkdir(exist_ok=True)
        self.state = str(self.work / ".session_guard")
        self.policy = Policy((Rule(Zone.WORKSPACE, str(self.work)), Rule(Zone.SHARED, str(self.store))))
        self.start()

    def start(self) -> None:
        """Begin a run, as the controller."""
        self.directory = RunDirectory.create(self.state)
        zones = [{"zone": str(rule.zone), "path": rule.prefix} for rule in self.policy.rules]
        self.directory.write_header({"zones": zones, "rootdir": str(self.work)})
        self.journal = Journal(self.directory.path, "main")
        self.ownership = Ownership(self.journal.append, list)
        self.preimages = Preimages(self.directory.directory("preimages"), LIMIT_BYTES, self.journal.append)
        self.cleanup = self.make_cleanup()

    def make_cleanup(self, **changes: Any) -> Cleanup:
        """A `Cleanup` of this run, with other ports where a test needs them."""
        ports: dict[str, Any] = {
            "run_id": self.directory.run_id,
            "started_ns": lambda path: self.directory.started_ns,
            "artifacts": self.ownership,
            "zone_of": lambda path: self.policy.rule_for(path).zone,
            "quarantine": f"{self.directory.path}/quarantine",
            "journal": self.journal.append,
            "forget": self.ownership.forget,
            "marker_of": read_marker,
        }
        return Cleanup(**{**ports, **changes})

    def die(self) -> None:
        """The controller is gone, as by ``kill -9``: its locks are free, nothing else is tidied."""
        self.journal.close()
        self.directory.release()

    def create(self, path: Path, content: bytes = b"made by the run") -> Path:
        """The run creates a file."""
        self.ownership.intend(str(path), False)
        path.write_bytes(content)
        self.ownership.settle()
        return path

    def mkdir(self, path: Path) -> Path:
        """The run creates a directory."""
        self.ownership.intend(str(path), True)
        path.mkdir()
        self.ownership.settle()
        return path

    def keep(self, path: Path, *, removal: bool = False) -> Path:
        """The run is about to change a file that was there before."""
        self.preimages.keep(str(path), path.lstat(), removal)
        return path


def tree(root: Path) -> dict[str, Any]:
    """Everything below a directory that an owner would miss: kinds, contents, modes, link targets."""
    found: dict[str, Any] = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = Path(directory, name)
            key = os.fsdecode(os.path.relpath(path, root))
            if path.is_symlink():
                found[key] = os.readlink(path)
            elif path.is_dir():
                found[key] = oct(path.stat().st_mode & 0o7777)
            elif path.is_file():
                found[key] = (oct(path.stat().st_mode & 0o7777), path.read_bytes())
            else:
                found[key] = oct(path.lstat().st_mode)
    return found


def put(path: Path, content: bytes = b"there before") -> Path:
    """A file that is there with this content."""
    path.write_bytes(content)
    return path


def ended(scene: Scene) -> PastRun:
    """The run as it is found when it has ended by itself."""
    scene.preimages.note_left()
    note_closed(scene.directory.path)
    scene.die()
    return read_run(scene.directory.path)


def killed(scene: Scene) -> PastRun:
    """The run as it is found after ``kill -9``."""
    scene.die()
    return read_run(scene.directory.path)


@contextmanager
def scene_of_an_ordinary_user() -> Iterator[Scene]:
    """A run of a user who is not root, as root may do everything."""
    was = os.geteuid(), os.getegid()
    with tempfile.TemporaryDirectory() as root:
        if was[0] == 0:
            os.chown(root, ORDINARY_UID, ORDINARY_UID)
            os.setegid(ORDINARY_UID)
            os.seteuid(ORDINARY_UID)
        try:
            yield Scene(Path(root))
        finally:
            os.seteuid(was[0])
            os.setegid(was[1])
