"""Which paths a removal is about: named ones with all that is below them, or those that a pattern fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_session_guard._core.zones import compile_glob
from pytest_session_guard._host.directories import is_directory
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.identity import look, real_directory


def resolved(path: str) -> str:
    """An absolute path whose parent is real; the last component stays what it is."""
    full = path if path.startswith("/") else f"{Raw.getcwd()}/{path}"
    head, _, name = full.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        return real_directory(full) or full
    real = real_directory(head or "/")
    return full if real is None else f"{real.rstrip('/')}/{name}"


def with_contents(paths: Iterable[str]) -> Iterator[str]:
    """The paths and all that lies below them, symlinks not followed."""
    seen: set[str] = set()
    pending = list(paths)[::-1]
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        yield path
        try:
            if is_directory(look(path)):
                pending.extend(f"{path}/{name}" for name in Raw.listdir(path))
        except OSError:
            continue  # gone, or not to be listed: the plan says so


def matches(directory: str, pattern: str) -> list[str]:
    """What a pattern fits in a directory, in order.

    :raises OSError: the directory cannot be listed.
    """
    expression = compile_glob(pattern)
    if "/" not in pattern and "**" not in pattern:
        return [f"{directory}/{name}" for name in sorted(Raw.listdir(directory)) if expression.fullmatch(name)]
    start = len(directory) + 1
    return sorted(path for path in with_contents([directory]) if expression.fullmatch(path[start:]))
