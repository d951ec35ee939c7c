"""What is true of a scene's data, so that two moments can be compared: names, kinds, modes, contents, rows."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

FREE_NAMES: Final = frozenset({"__pycache__", ".pytest_cache", ".session_guard"})
"""Directories that a run may write wherever it stands: caches, and the guard's own state."""

OBJECTS: Final = ".git/objects"
"""Loose git objects are no harm by themselves; refs, index and configuration that point to them are."""

Facts = Mapping[str, object]
"""Path from its place on (``home/.bashrc``), or ``server`` things, to whatever must stay equal."""


def read_facts(places: Mapping[str, Path]) -> dict[str, object]:
    """Describe everything below each place, by the place's name, without opening anything but regular files."""
    facts: dict[str, object] = {}
    for name, path in places.items():
        _describe_tree(path, name, facts)
    return facts


def _describe_tree(directory: Path, name: str, facts: dict[str, object]) -> None:
    if not directory.is_dir():
        return
    facts[f"{name}/"] = ("directory", stat.S_IMODE(directory.lstat().st_mode))
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.name in FREE_NAMES or f"{name}/{entry.name}".endswith(OBJECTS):
            continue
        if entry.is_dir(follow_symlinks=False):
            _describe_tree(Path(entry.path), f"{name}/{entry.name}", facts)
        else:
            facts[f"{name}/{entry.name}"] = _describe_leaf(Path(entry.path))


def _describe_leaf(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return ("link", os.readlink(path))
    if not stat.S_ISREG(status.st_mode):
        return ("node", stat.S_IFMT(status.st_mode), mode)
    if path.suffix == ".db":
        return ("database", mode, _read_rows(path))
    return ("file", mode, status.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())


def _read_rows(path: Path) -> tuple[tuple[str, tuple[tuple[object, ...], ...]], ...]:
    """Give every table with its rows, read from a copy so that the reading leaves no side file by the original."""
    with tempfile.TemporaryDirectory() as scratch:
        for sibling in path.parent.glob(f"{path.name}*"):
            shutil.copy2(sibling, scratch)
        connection = sqlite3.connect(Path(scratch, path.name))
        try:
            names = [
                row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")
            ]
            return tuple((name, tuple(connection.execute(f'SELECT * FROM "{name}" ORDER BY 1'))) for name in names)
        finally:
            connection.close()


def list_differences(before: Facts, after: Facts, bystanders: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Name what changed, sorted: ``gone X``, ``new X`` or ``changed X``; a whole tree that went or came is one name."""
    differences: list[str] = []
    for name in sorted(before.keys() | after.keys()):
        if name in bystanders or _is_below_listed(name, differences):
            continue
        if name not in after:
            differences.append(f"gone {name}")
        elif name not in before:
            differences.append(f"new {name}")
        elif before[name] != after[name]:
            differences.append(f"changed {name}")
    return tuple(sorted(differences))


def _is_below_listed(name: str, differences: list[str]) -> bool:
    return any(
        kind != "changed" and listed.endswith("/") and name.startswith(listed)
        for kind, listed in (difference.split(" ", 1) for difference in differences)
    )
