"""Which names a file has besides the one that comes back: it joins those that the run left alone, and no others."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from pytest_session_guard._core.records import Identity, iter_kind
from pytest_session_guard._core.restoring import Preimage, preimages_of
from pytest_session_guard._host.copying import same_content
from pytest_session_guard._host.fsops import lstat_or_none
from pytest_session_guard._host.stores import links_in_store, links_in_stores


class HardLinks:
    """What is known of the names of the files that one run changed.

    :param store: the directory that holds the run's pre-images.
    :param records: all of its ledger, whatever is brought back.
    """

    def __init__(self, store: str, records: Sequence[Mapping[str, Any]]) -> None:
        self._store = store
        self._records = records

    # Most files have one name: then nobody asks.
    @cached_property
    def _touched(self) -> dict[Identity, list[str]]:
        """The names that the run changed or took from each object."""
        touched: dict[Identity, list[str]] = {}
        for image in preimages_of(self._records):
            touched.setdefault(image.identity, []).append(image.path)
        return touched

    @cached_property
    def _announced(self) -> frozenset[str]:
        """Where the run was about to make something, maybe another name of a file that was there."""
        return frozenset(str(record.get("path")) for record in iter_kind(self._records, "intent"))

    def is_shared(self, image: Preimage) -> bool:
        """The same object still, with other names, or kept by an earlier run: only writing to it reaches them all."""
        if image.how != "copy":
            return False
        found = lstat_or_none(image.path)
        if found is None or not _is_original(image, found) or found.st_nlink < 2:
            return False
        in_stores = links_in_stores(self._store, image.copy, found)
        return image.names > 1 or in_stores > links_in_store(self._store, image.copy, found)

    def is_free(self, image: Preimage) -> bool:
        """Whether the object that is kept by name has no other name, outside of stores: nobody would share it."""
        if image.how != "link":
            return False
        found = lstat_or_none(f"{self._store}/{image.copy}")
        if found is None or not stat.S_ISREG(found.st_mode):
            return True
        return found.st_nlink == 1 or found.st_nlink == links_in_stores(self._store, image.copy, found)

    def place_to_join(self, image: Preimage) -> str:
        """A name of the object of which ``image`` is to be a name again, or ``""``.

        A name that the run gave it must not become one of a file that was there: whoever writes to it would change both.
        Nor may one whose owner has changed the object since.
        """
        stored = f"{self._store}/{image.copy}"
        if image.names < 2:
            return ""
        places = [stored] if image.how == "link" else []
        for place in (*places, *self._siblings(image)):
            found = lstat_or_none(place)
            if found is None or not _is_as_it_was(image, found) or not self._has_known_names_alone(image, found):
                continue
            if place == stored or same_content(stored, place):
                return place
        return ""

    def is_parted(self, image: Preimage) -> bool:
        """Whether a file that came back as another object had names that lead elsewhere now."""
        here = lstat_or_none(image.path)
        if image.names < 2 or here is None or _is_original(image, here):
            return False
        for sibling in self._siblings(image):
            found = lstat_or_none(sibling)
            if found is not None and (found.st_dev, found.st_ino) != (here.st_dev, here.st_ino):
                return True
        others = self._untouched(image)
        found = lstat_or_none(f"{self._store}/{image.copy}") if image.how == "link" else None
        if found is not None:
            others = min(others, found.st_nlink - links_in_stores(self._store, image.copy, found))
        return others > self._names_made(image)

    def _siblings(self, image: Preimage) -> Iterator[str]:
        return (path for path in self._touched.get(image.identity, ()) if path != image.path)

    def _untouched(self, image: Preimage) -> int:
        """How many names the object had that the run left alone, or that it made before it came to the first of the others."""
        return max(image.names - len(self._touched.get(image.identity, (image.path,))), 0)

    def _names_made(self, image: Preimage) -> int:
        before = self._touched.get(image.identity, ())
        return _count(self._announced.difference(before), image.identity.device, image.identity.inode)

    def _has_known_names_alone(self, image: Preimage, found: os.stat_result) -> bool:
        names = found.st_nlink - links_in_stores(self._store, image.copy, found)
        known = _count(self._siblings(image), found.st_dev, found.st_ino)
        if not _is_original(image, found):
            return names == known
        return names == known + self._untouched(image) and self._names_made(image) == 0


def _is_original(image: Preimage, found: os.stat_result) -> bool:
    return (found.st_dev, found.st_ino) == (image.identity.device, image.identity.inode)


def _is_as_it_was(image: Preimage, found: os.stat_result) -> bool:
    now = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns)
    return stat.S_ISREG(found.st_mode) and now == (image.mode, image.uid, image.gid, image.size, image.mtime_ns)


def _count(paths: Iterable[str], device: int, inode: int) -> int:
    found = (lstat_or_none(path) for path in paths)
    return sum(one is not None and (one.st_dev, one.st_ino) == (device, inode) for one in found)
