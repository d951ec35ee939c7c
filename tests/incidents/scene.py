"""The throw-away world of one run: a fake home, a checkout, a place elsewhere on the disk, a temporary directory."""

from __future__ import annotations

import importlib.metadata
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .facts import read_facts
from .incident import Fifo, Incident, Link, Rows, Seed, text

PLACES: Final = ("home", "checkout", "elsewhere")
GUARD: Final = "session_guard"
IDENTITY: Final = ("-c", "user.name=Owner", "-c", "user.email=owner@example.org", "-c", "commit.gpgsign=false")


@dataclass
class Scene:
    """Directories of one run; two runs never share one.

    :param places: by name: ``home``, ``checkout``, ``tmp`` and ``bin`` below ``base``; ``elsewhere`` may lie outside it.
    """

    base: Path
    incident: Incident
    places: Mapping[str, Path]
    tokens: dict[str, str]

    @property
    def home(self) -> Path:
        """The user's home."""
        return self.places["home"]

    @property
    def checkout(self) -> Path:
        """The project whose suite runs."""
        return self.places["checkout"]

    @property
    def elsewhere(self) -> Path:
        """A place on the disk that is neither."""
        return self.places["elsewhere"]

    @property
    def tmp(self) -> Path:
        """The temporary directory."""
        return self.places["tmp"]

    def resolve(self, name: str) -> Path:
        """Give the path of a seed or fact: its first part is a place."""
        place, _, rest = name.partition("/")
        return self.places[place] / rest

    def fill(self, content: str) -> str:
        """Replace ``@home@`` and the like by the places of this scene."""
        for name, value in self.tokens.items():
            content = content.replace(f"@{name}@", value)
        return content

    def watched(self) -> tuple[str, ...]:
        """Name the places whose state counts: the temporary directory only where a case puts data of the user there."""
        inside_tmp = {"/".join(name.split("/")[:2]) for name in self.incident.seeds if name.startswith("tmp/")}
        return (*PLACES, *sorted(inside_tmp))

    def facts(self) -> dict[str, object]:
        """Describe all that a run could harm on the disk."""
        return read_facts({name: self.resolve(name) for name in self.watched()})

    def run_git(self, *arguments: str, directory: Path | None = None) -> None:
        """Run git as the owner of the scene, before the run under test."""
        command = ["git", *IDENTITY, *arguments]
        subprocess.run(command, cwd=directory or self.checkout, env=self.environment(), check=True, capture_output=True)

    def environment(self) -> dict[str, str]:
        """Give a shell's environment with nothing of the real user's in it."""
        return {
            "PATH": f"{self.places['bin']}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
        }


@contextmanager
def scratch_elsewhere(incident: Incident, base: Path) -> Iterator[Path]:
    """Give a new directory outside home and temporary directories, where the case needs one; removed afterwards.

    The temporary directories of the machine, where tests live, are free: data that stands for the rest of the disk must not lie there.
    """
    if not is_elsewhere_needed(incident):
        unused = base / "elsewhere"
        unused.mkdir()
        yield unused
        return
    with tempfile.TemporaryDirectory(prefix="pytest-session-guard-incident-", dir=find_outside()) as directory:
        yield Path(directory)


def is_elsewhere_needed(incident: Incident) -> bool:
    """Whether the case keeps data outside home and checkout."""
    return any(difference.split(" ", 1)[1].startswith("elsewhere/") for difference in incident.harmed)


def find_outside() -> Path:
    """Give a directory that we may write and that is neither a home nor a temporary directory nor below one.

    :raises LookupError: there is none on this machine.
    """
    inside = [Path(place).resolve() for place in ("/tmp", "/var/tmp", tempfile.gettempdir(), os.path.expanduser("~"))]
    repository = str(Path(__file__).parents[2])
    for candidate in (os.environ.get("XDG_RUNTIME_DIR", ""), "/srv", "/opt", "/var/lib", repository):
        path = Path(candidate).resolve()
        if candidate and os.access(path, os.W_OK | os.X_OK) and not any(path.is_relative_to(place) for place in inside):
            return path
    raise LookupError("no writable directory outside homes and temporary directories")


def build_scene(incident: Incident, base: Path, elsewhere: Path) -> Scene:
    """Set up everything that was there before the run.

    :param base: a new directory; nothing outside it and ``elsewhere`` is ever named to the suite.
    """
    places = {name: base / name for name in ("home", "checkout", "tmp", "bin")} | {"elsewhere": elsewhere}
    for path in places.values():
        path.mkdir(exist_ok=True)
    tokens = {name: str(path) for name, path in places.items()} | {"python": sys.executable}
    scene = Scene(base, incident, places, tokens)
    _write(scene, "checkout/pytest.ini", "[pytest]\n")
    for name, content in incident.project.items():
        _write(scene, name if name.startswith("bin/") else f"checkout/{name}", text(content))
    if incident.git:
        scene.run_git("init", "-q", "-b", "main")
        scene.run_git("add", "-A")
        scene.run_git("commit", "-q", "-m", "what the owner committed")
    for name, seed in incident.seeds.items():
        _plant(scene, name, seed)
    if incident.prepare is not None:
        incident.prepare(scene)
    return scene


def _write(scene: Scene, name: str, content: str | bytes) -> None:
    path = scene.resolve(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else scene.fill(content).encode())
    if name.startswith("bin/"):
        path.chmod(0o755)


def _plant(scene: Scene, name: str, seed: Seed) -> None:
    path = scene.resolve(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    match seed:
        case Rows():
            _fill_database(path, seed.tables)
        case Link():
            path.symlink_to(scene.fill(seed.target))
        case Fifo():
            os.mkfifo(path)
        case _:
            _write(scene, name, seed)


def _fill_database(path: Path, tables: Mapping[str, tuple[str, ...]]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, rows in tables.items():
            connection.execute(f'CREATE TABLE "{table}" (value TEXT)')
            connection.executemany(f'INSERT INTO "{table}" VALUES (?)', [(row,) for row in rows])


def list_blocked_plugins(wanted: tuple[str, ...]) -> list[str]:
    """Give the ``-p no:…`` arguments that keep every installed pytest plugin out but ours and those wanted."""
    names = {entry.name for entry in importlib.metadata.entry_points(group="pytest11")}
    blocked = sorted(names - {GUARD, *wanted})
    return [argument for name in blocked for argument in ("-p", f"no:{name}")]
