"""A small run that does everything a run does to a disk, told to the ledger as the hook would tell it.

`SmallRun.live` is the life of the run; `verdict` is what must hold after any death of it. Run as a program
(``python small_run.py ROOT``, with this checkout and its ``tests`` on ``PYTHONPATH``) it lives once, for tools that kill
from outside.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from artifact_scene import Scene

from pytest_session_guard._controls.ledger import note_closed
from pytest_session_guard._controls.markers import tag, write_json
from pytest_session_guard._core.errors import MarkerError, NotCreatedByRunError
from pytest_session_guard._core.records import iter_kind, marker
from pytest_session_guard._host.fsops import OwnPath
from pytest_session_guard._run.past import list_runs
from pytest_session_guard._run.recover import clean_all, restore_run

HEARD = frozenset({"open", "os.mkdir", "os.rename", "os.link", "os.remove"})
REAL = {"real.json": b'{"id": "real"}', "_index.json": b'["real"]'}
SOURCES = {
    "edited.py": b"edited = 1\n",
    "deleted.py": b"deleted = 1\n",
    "renamed.py": b"renamed = 1\n",
    "moded.py": b"x",
    "linked.py": b"linked = 1\n",
}
ALIAS = "alias.py"  # another name of linked.py


def prepare(root: Path) -> None:
    """What was there before the run."""
    for name, content in REAL.items():
        (root / "store").mkdir(exist_ok=True)
        (root / "store" / name).write_bytes(content)
    (root / "work" / "package").mkdir(parents=True)
    for name, content in SOURCES.items():
        (root / "work" / name).write_bytes(content)
        (root / "work" / "package" / name).write_bytes(content)
    for directory in (root / "work", root / "work" / "package"):
        (directory / ALIAS).hardlink_to(directory / "linked.py")


def before(root: Path) -> dict[str, Any]:
    """The facts about what was there before the run, by path."""
    names = [*(root / "store" / name for name in REAL)]
    for directory in (root / "work", root / "work" / "package"):
        names += [directory / name for name in (*SOURCES, ALIAS)]
    return {str(path): _facts(path) for path in names}


def _facts(path: Path) -> tuple[object, ...] | None:
    if not path.exists():
        return None
    found = path.stat()
    return path.read_bytes(), found.st_mode, found.st_mtime_ns, found.st_uid


class SmallRun:
    """One run: what it cannot write down it does not do, like a test whose touch is refused.

    Hears its own audit events from now on, for ever: belongs into a process of its own.
    """

    def __init__(self, root: Path) -> None:
        self.scene = Scene(root)
        self.refused: list[OSError] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """What the hook tells the ledger, for plain paths below the run's places."""
        if event not in HEARD or type(arguments[0]) is OwnPath or not isinstance(arguments[0], str | Path):
            return
        path = str(arguments[0])
        if not path.startswith((f"{self.scene.store}/", f"{self.scene.work}/")):
            return
        ownership = self.scene.ownership
        if event == "open" and arguments[2] & os.O_CREAT and not os.path.lexists(path):
            ownership.intend(path, False)
        elif event == "os.mkdir":
            ownership.intend(path, True)
        elif event == "os.link":
            ownership.owns(path, os.lstat(path))
            ownership.intend(str(arguments[1]), False)
        elif event in ("os.rename", "os.remove") and ownership.owns(path, os.lstat(path)):
            if event == "os.remove":
                ownership.removed(path)
            else:
                ownership.moved(path, str(arguments[1]))

    def live(self) -> None:
        """Create, tag, change, rename and remove, then end as a run ends."""
        scene = self.scene
        for number in range(3):
            self.create(scene.store / f"session_{number}.json", b'{"id": 1}')
        self.attempt(lambda: self.tag(scene.store / "session_1.json"))
        self.attempt(lambda: os.mkdir(scene.store / "cache"))
        self.create(scene.store / "cache" / "blob", b"\0" * 100)
        self.create(scene.store / "session_2.tmp", b'{"id": 2}')
        self.attempt(lambda: os.rename(scene.store / "session_2.tmp", scene.store / "session_2.json"))
        self.attempt(lambda: self.write_json(scene.store / "written.json"))
        self.attempt(lambda: scene.cleanup.remove(str(scene.store / "session_0.json")))
        self.attempt(lambda: scene.cleanup.sweep(str(scene.store), "*.json"))
        self.change(scene.work / "edited.py", lambda path: path.write_bytes(b"edited = 2\n"), removal=False)
        self.change(scene.work / "deleted.py", os.unlink, removal=True)
        self.change(scene.work / "linked.py", os.unlink, removal=True)
        self.change(scene.work / "renamed.py", lambda path: path.rename(scene.work / "moved.py"), removal=True)
        self.change(scene.work / "moded.py", lambda path: path.chmod(0o777), removal=False)
        self.change(scene.work / "package", lambda path: path.rename(scene.work / "pack"), removal=True)
        self.end()

    def end(self) -> None:
        """The end of a run: shared places cleared, the state of things written down."""
        self.attempt(self.scene.ownership.settle)
        self.attempt(self.scene.preimages.note_left)
        removed = None
        try:
            removed = self.scene.cleanup.clear_shared()
        except OSError as problem:
            self.refused.append(problem)
        if removed is not None and not self.refused:
            note_closed(self.scene.directory.path, removed.kept)
        self.scene.die()

    def attempt(self, act: Any) -> None:
        """Do something that a test does in a ``try`` of its own."""
        try:
            act()
        except (OSError, MarkerError, NotCreatedByRunError) as problem:
            self.refused.append(problem)  # type: ignore[arg-type]

    def create(self, path: Path, content: bytes) -> None:
        def act() -> None:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                os.write(fd, content)
            finally:
                os.close(fd)

        self.attempt(act)

    def tag(self, path: Path) -> None:
        tag(str(path), self.scene.directory.run_id, "t", self.scene.directory.started_ns)

    def write_json(self, path: Path) -> None:
        run = self.scene.directory
        write_json(str(path), {"id": 3}, marker(run.run_id, "t", run.started_ns))

    def change(self, path: Path, act: Any, *, removal: bool) -> None:
        def preserve_first() -> None:
            self.scene.keep(path, removal=removal)
            act(path)

        self.attempt(preserve_first)


def verdict(root: Path, known: dict[str, Any]) -> list[str]:
    """What is wrong after the next run has tidied up and the user has restored; empty when all is as it must be."""
    state = str(root / "work" / ".session_guard")
    clean_all(state)
    named: set[str] = set()
    copied: set[str] = set()
    for run in list_runs(state):
        if not os.listdir(run.path):
            continue  # killed before it had locked its directory, so it counts as alive for a while
        named |= {path for path, _ in run.kept}
        copied |= {str(record["path"]) for record in iter_kind(run.records, "preimage") if record["how"] == "copy"}
        restore_run(run)
    wrong = [
        f"{path}: {_facts(Path(path))} instead of {facts}"
        for path, facts in known.items()
        if _facts(Path(path)) != facts
    ]
    for directory in (root / "work", root / "work" / "package"):
        names = [directory / name for name in ("linked.py", ALIAS)]
        # Where no link could be made a copy was kept; then it stays apart from a name of which nobody knows.
        if len({path.stat().st_ino for path in names if path.exists()}) > 1 and str(names[0]) not in copied:
            wrong += [f"{directory}: two names of one file lead to two files"]
    left = {str(path) for path in (root / "store").rglob("*")} - known.keys() - named
    return [*wrong, *(f"{path}: an artifact that is neither removed nor named" for path in sorted(left))]


if __name__ == "__main__":
    SmallRun(Path(sys.argv[1])).live()
