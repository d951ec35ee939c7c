"""Names that the runs of a checkout give to the objects that they keep."""

from __future__ import annotations

import os
from typing import Final

from pytest_session_guard._host.fsops import Raw, lstat_or_none

# How a name in a store is made: of an object's number, of its path where nothing else tells it from a later one, and of an
# end where it is a copy and not another name of the object.
BY_PATH: Final = "-at-"
COPY: Final = ".copy"


def links_in_stores(store: str, name: str, found: os.stat_result) -> int:
    """How many of an object's hard links are names in stores, of this run and of those beside it.

    :param store: the directory of one run's store.
    :param name: of the object in it, which is that in every store, or what it begins with where the path is part of it.
    """
    run, _, room = store.rpartition("/")
    runs = run.rpartition("/")[0]
    return sum(links_in_store(f"{runs}/{one}/{room}", name, found) for one in _entries(runs))


def links_in_store(store: str, name: str, found: os.stat_result) -> int:
    """How many of an object's hard links are names in this store."""
    links = 0
    for known in _known_names(store, name.removesuffix(COPY)):
        seen = lstat_or_none(f"{store}/{known}")
        links += seen is not None and (seen.st_dev, seen.st_ino) == (found.st_dev, found.st_ino)
    return links


def _known_names(store: str, name: str) -> list[str]:
    number, by_path, _ = name.partition(BY_PATH)
    return [one for one in _entries(store) if one.startswith(number + by_path)] if by_path else [name]


def _entries(directory: str) -> list[str]:
    try:
        return Raw.listdir(directory)
    except OSError:
        return []
