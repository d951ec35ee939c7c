"""Let an ordinary user reach the interpreter and these tests where they lie below somebody's private directory.

A root-owned clone or interpreter often lies below ``/root``, which nobody else may enter. In a mount namespace of this
process alone, each closed directory on the way is covered by an open one that holds just what is needed, so that a run
under another user id starts the very same interpreter. Outside, nothing changes.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from pathlib import Path
from typing import Final

CLONE_NEWNS: Final = 0x00020000
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18

libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [word.encode() if word is not None else None for word in (source, target, kind, options)]
    _check(libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), f"mount {source} on {target}")


def needed_paths() -> list[Path]:
    """The directories that a run reads: interpreter, packages, and the tree that holds these tests."""
    found = {
        Path(sys.prefix),
        Path(sys.base_prefix),
        Path(sys.executable).resolve().parents[1],
        Path(__file__).parents[2],
    }
    return sorted(path.resolve() for path in found)


def closed_ancestor(path: Path) -> Path | None:
    """The topmost directory on the way to ``path`` that others may not enter, or None."""
    for directory in [*reversed(path.parents), path]:
        if not directory.stat().st_mode & stat.S_IXOTH:
            return directory
    return None


def open_the_way(paths: list[Path]) -> None:
    """Enter a private mount namespace in which every user can reach ``paths``.

    :raises OSError: this process may not make mount namespaces.
    """
    closed: dict[Path, list[Path]] = {}
    for path in paths:
        ancestor = closed_ancestor(path)
        if ancestor is not None:
            closed.setdefault(ancestor, []).append(path)
    _check(libc.unshare(CLONE_NEWNS), "unshare")
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    for ancestor, below in closed.items():
        _cover(ancestor, below)


def _cover(ancestor: Path, below: list[Path]) -> None:
    held = {path: os.open(path, os.O_PATH) for path in below}
    _mount("none", str(ancestor), "tmpfs", 0, "mode=755")
    done: list[Path] = []
    for path in sorted(below):
        if not any(path.is_relative_to(other) for other in done):
            path.mkdir(parents=True, exist_ok=True)
            _mount(f"/proc/self/fd/{held[path]}", str(path), None, MS_BIND | MS_REC)
            done.append(path)
    for descriptor in held.values():
        os.close(descriptor)
