"""Random trees of directories, files and symlinks, and random ways to write a path in them (hypothesis strategies)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from hypothesis import reject
from hypothesis import strategies as st

NAMES: Final = st.sampled_from(["a", "b", "c", "caf\udce9"])
STEPS: Final = st.one_of(NAMES, NAMES, NAMES, st.sampled_from(["..", ".", ""]))
ROUTES: Final = st.lists(STEPS, min_size=1, max_size=4).map("/".join)


@dataclass(frozen=True)
class Plant:
    """One object of a tree.

    :param path: relative to the tree, and maybe through links planted earlier.
    :param target: where a symlink points; ``""`` otherwise. ``{base}`` is the tree.
    """

    kind: str
    path: str
    target: str = ""


@dataclass(frozen=True)
class Spelling:
    """A way to write a path.

    :param start: ``relative``, ``absolute``, ``dir_fd``, ``proc-fd`` or ``proc-cwd``.
    :param directory: relative to the tree; where ``dir_fd`` and ``proc-fd`` start.
    """

    start: str
    directory: str
    route: str
    trailing: str
    as_bytes: bool


PATHS: Final = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TARGETS: Final = st.one_of(ROUTES, ROUTES, PATHS.map(lambda path: "{base}/" + path))
PLANTS: Final = st.one_of(
    st.builds(Plant, st.just("directory"), PATHS),
    st.builds(Plant, st.just("file"), PATHS),
    st.builds(Plant, st.just("link"), PATHS, TARGETS),
)
TREES: Final = st.lists(PLANTS, min_size=2, max_size=9)
SPELLINGS: Final = st.builds(
    Spelling,
    st.sampled_from(["relative", "relative", "absolute", "dir_fd", "proc-fd", "proc-cwd"]),
    st.one_of(st.just("."), PATHS),
    ROUTES,
    st.sampled_from(["", "", "", "/", "//"]),
    st.booleans(),
)


@contextmanager
def planted(plants: list[Plant], above: str) -> Iterator[str]:
    """The tree in a fresh directory below ``above``, which is the working directory meanwhile; its real path.

    It lies some levels down, so that a few ``..`` lead out of the tree and not out of the scratch directory.
    """
    top = os.path.realpath(tempfile.mkdtemp(dir=above))
    base = os.path.join(top, "1", "2", "3", "4")
    os.makedirs(base)
    before = os.getcwd()
    os.chdir(base)
    try:
        for plant in plants:
            plant_one(plant, base)
        yield base
    finally:
        os.chdir(before)
        shutil.rmtree(top)


def top_of(base: str) -> str:
    """The scratch directory of a tree; nothing outside of it may be touched."""
    return base.removesuffix("/1/2/3/4")


def plant_one(plant: Plant, base: str) -> None:
    """Put one object in its place; what cannot stand there (a name taken, a loop on the way) is left out."""
    if not os.path.realpath(plant.path).startswith(top_of(base) + "/"):
        return
    try:
        if plant.kind == "directory":
            os.makedirs(plant.path, exist_ok=True)
        elif plant.kind == "file":
            os.close(os.open(plant.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        else:
            os.symlink(plant.target.replace("{base}", base) or ".", plant.path)
    except OSError:
        return


@contextmanager
def spelled(spelling: Spelling, base: str) -> Iterator[tuple[str | bytes, int | None]]:
    """The path and the ``dir_fd`` that a caller would hand over; ``None`` for no ``dir_fd``.

    Paths that leave the scratch directory are rejected: the tests really remove and rename.
    """
    route = spelling.route.lstrip("/") + spelling.trailing or "."
    start = spelling.directory if os.path.isdir(spelling.directory) else "."
    fd = None
    if spelling.start in ("dir_fd", "proc-fd"):
        fd = os.open(start, os.O_RDONLY | os.O_DIRECTORY)
    path = {
        "absolute": f"{base}/{route}",
        "proc-cwd": f"/proc/self/cwd/{route}",
        "proc-fd": f"/proc/self/fd/{fd}/{route}",
    }
    text = path.get(spelling.start, route)
    try:
        written = os.path.join(start if fd is not None else base, route)
        for reached in (written, os.path.dirname(written.rstrip("/"))):
            if not os.path.realpath(reached).startswith(top_of(base) + "/"):
                reject()
        yield os.fsencode(text) if spelling.as_bytes else text, fd if spelling.start == "dir_fd" else None
    finally:
        if fd is not None:
            os.close(fd)


def paths_in(top: str) -> set[str]:
    """The paths of all objects below a directory, its own among them."""
    walk = os.walk(top)
    return {top, *(os.path.join(directory, name) for directory, names, files in walk for name in names + files)}


def objects_in(top: str) -> set[tuple[int, int]]:
    """The objects below a directory, by device and inode."""
    return {(found.st_dev, found.st_ino) for path in paths_in(top) for found in [os.lstat(path)]}
