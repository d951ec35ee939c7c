"""Which names a file has besides the one that comes back: it joins those that the run left alone, and no others."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pytest_session_guard._core.records import Identity, iter_kind
from pytest_session_guard._core.restoring import Preimage, preimages_of
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
    def _touched(self) -> dict[Identity, list[Preimage]]:
        touched: dict[Identity, list[Preimage]] = {}
        for image in preimages_of(self._records):
            touched.setdefault(image.identity, []).append(image)
        return touched

    @cached_property
    def _announced(self) -> frozenset[str]:
        """Where the run was about to make something, maybe another name of a file that was there."""
        return frozenset(str(record.get("path")) for record in iter_kind(self._records, "intent"))

    def is_shared(self, image: Preimage) -> bool:
        """The same object still, with other names, or kept by an earlier run: only writing to it reaches them all."""
        found = lstat_or_none(image.path)
        number = image.identity.device, image.identity.inode
        if image.how != "copy" or found is None or (found.st_dev, found.st_ino) != number or found.st_nlink < 2:
            return False
        in_stores = links_in_stores(self._store, image.copy, found)
        return image.names > 1 or in_stores > links_in_store(self._store, image.copy, found)

    def other_names(self, image: Preimage) -> int:
        """How many names the object that is kept for ``image`` has outside of stores."""
        found = self._kept_object(image)
        return 0 if found is None else found.st_nlink - links_in_stores(self._store, image.copy, found)

    def may_join(self, image: Preimage) -> bool:
        """Whether all other names of the object that is kept are those that the run left alone, or are back already.

        A name that the run gave it must not become one of a file that was there: whoever writes to it would change both.
        Nor may one whose owner has changed the object since.
        """
        found = self._kept_object(image)
        if found is None or not _is_as_it_was(image, found):
            return False
        touched = self._touched.get(image.identity, [image])
        untouched = max(touched[0].names - len(touched), 0)
        back = _count((one.path for one in touched), found.st_dev, found.st_ino)
        return self.other_names(image) == untouched + back and self._names_made(image) == 0

    def is_parted(self, image: Preimage) -> bool:
        """Whether a file that has come back as another object had names that lead to the one that it was."""
        if image.names < 2:
            return False
        # Of what is kept as a copy there is no more to know than how many names it had.
        others = self.other_names(image) if self._kept_object(image) is not None else image.names - 1
        return others > self._names_made(image)

    def _kept_object(self, image: Preimage) -> os.stat_result | None:
        found = lstat_or_none(f"{self._store}/{image.copy}") if image.how == "link" else None
        return found if found is not None and stat.S_ISREG(found.st_mode) else None

    def _names_made(self, image: Preimage) -> int:
        before = {one.path for one in self._touched.get(image.identity, [])}
        return _count(self._announced - before, image.identity.device, image.identity.inode)


def _is_as_it_was(image: Preimage, found: os.stat_result) -> bool:
    now = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns)
    return now == (image.mode, image.uid, image.gid, image.size, image.mtime_ns)


def _count(paths: Iterable[str], device: int, inode: int) -> int:
    found = (lstat_or_none(path) for path in paths)
    return sum(one is not None and (one.st_dev, one.st_ino) == (device, inode) for one in found)
