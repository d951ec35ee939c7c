"""Seeing what a store does to its files, and stepping in between two of its steps."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

_OPERATION_NAMES: Final = (
    "open",
    "rename",
    "replace",
    "link",
    "unlink",
    "remove",
    "mkdir",
    "rmdir",
    "truncate",
    "fsync",
)
_OPERATIONS: Final = frozenset({io.open, *(getattr(os, name) for name in _OPERATION_NAMES if hasattr(os, name))})

Tree = dict[str, tuple[int, int, str]]
"""Name below the root → mode, time of change in nanoseconds, digest of the content."""


def tree_of(root: Path) -> Tree:
    """Every file below ``root``: a second save of the same bytes shows in the time."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): _facts(path) for path in files}


def differences(before: Tree, after: Tree) -> list[str]:
    """What became of the files, one clause each; empty when nothing did."""
    changes = [f"{name!r} is gone" for name in before if name not in after]
    changes += [f"{name!r} is new" for name in after if name not in before]
    return changes + [f"{name!r} was written" for name in before if name in after and before[name] != after[name]]


def run_stepwise(action: Callable[[], object], before_each: Callable[[int], object]) -> int:
    """Run ``action`` in this thread and call ``before_each`` with 1, 2, … right before each of its file operations.

    A profile function sees every call of a built-in, however it was imported, and can be taken off again; an audit
    hook could not be. What runs inside ``before_each`` is not seen.

    :returns: how many file operations there were.
    """
    seen = 0

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal seen
        if event == "c_call" and argument in _OPERATIONS:
            seen += 1
            before_each(seen)

    previous = sys.getprofile()
    sys.setprofile(watch)
    try:
        action()
    finally:
        sys.setprofile(previous)
    return seen


def temporary_names(root: Path, action: Callable[[], object]) -> set[str]:
    """The names under which ``action`` prepared the files that it then put in their places.

    A lock file or a database's journal comes and goes too; what tells a prepared file from those is that the very same
    object has another name afterwards.
    """
    seen: dict[str, tuple[int, int, int]] = {}

    def look(_: int) -> None:
        seen.update(_identities(root))

    before = _identities(root)
    run_stepwise(action, look)
    after = _identities(root)
    there = set(after.values())
    return {name for name, identity in seen.items() if name not in before and name not in after and identity in there}


def in_thread(action: Callable[[], object]) -> threading.Thread:
    """Start ``action`` in a thread that a hanging store cannot keep the interpreter alive with."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def in_fork(action: Callable[[], set[str]]) -> set[str]:
    """The set of names that ``action`` gives in a copy of this process, one with the same thread identity.

    :raises ChildProcessError: it could not say.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # CPython warns where other threads run. The child touches nothing of theirs: it saves and leaves.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(sorted(action())).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    if not told:
        raise ChildProcessError("the forked process ended without an answer")
    return set(json.loads(told))


def _facts(path: Path) -> tuple[int, int, str]:
    stat = path.stat()
    return stat.st_mode, stat.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()


def _identities(root: Path) -> dict[str, tuple[int, int, int]]:
    # The inode number alone is not enough: a file system gives out again at once what a deleted journal had.
    names: dict[str, tuple[int, int, int]] = {}
    for directory, _, files in os.walk(root):
        for name in files:
            path = os.path.join(directory, name)
            try:
                stat = os.lstat(path)
                names[path] = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            except FileNotFoundError:
                # Gone between the listing and the look: another thread of the store works here too.
                continue
    return names
