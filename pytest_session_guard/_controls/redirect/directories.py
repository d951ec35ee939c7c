"""Places as text, and the directories that they lie in."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_session_guard._host.fsops import OwnPath, Raw


def tidy(place: str) -> str:
    """A place without doubled slashes and dots; ``""`` for the base itself."""
    return "/".join(part for part in place.replace("\\", "/").split("/") if part not in ("", "."))


def parents_of(places: Iterable[str]) -> list[str]:
    """The directories that places lie in, outermost first; ``""`` is the base."""
    out = {""}
    for place in places:
        parts = place.split("/")[:-1]
        out.update("/".join(parts[: count + 1]) for count in range(len(parts)))
    return sorted(out)


def make_parents(base: str, parents: Iterable[str]) -> None:
    """Make the directories that are not there yet.

    :raises OSError: what the kernel said.
    """
    for parent in parents:
        path = f"{base}/{parent}" if parent else base
        try:
            Raw.lstat(path)
        except FileNotFoundError:
            make_directory(path)


def make_directory(path: str) -> None:
    """Make a directory and those above it; one that is there already is fine.

    :raises OSError: what the kernel said.
    """
    try:
        Raw.mkdir(OwnPath(path))
    except FileExistsError:
        return
    except FileNotFoundError:
        make_directory(path.rpartition("/")[0])
        make_directory(path)
