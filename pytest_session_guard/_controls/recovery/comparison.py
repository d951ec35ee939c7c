"""Whether what stands at a path is what stood there before the run, and whether its copy can be used."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Mapping

from pytest_session_guard._core.restoring import Now, Preimage, state_of
from pytest_session_guard._host.copying import listed_xattrs, same_content
from pytest_session_guard._host.fsops import Raw, lstat_or_none

from .moving import obstacle_above


def look(image: Preimage, store: str) -> Now:
    """What stands at a pre-image's path now, and whether its copy can be used.

    :param store: the directory that holds the pre-images.
    """
    stored = lstat_or_none(f"{store}/{image.copy}") if image.copy else None
    usable = not image.copy or (stored is not None and (image.how == "link" or stored.st_size == image.size))
    blocked = obstacle_above(image.path)
    # Behind a symlink stands what is somebody else's.
    found = None if blocked else lstat_or_none(image.path)
    if image.how == "absent":
        return Now(state_of(found), same=found is None)
    same = found is not None and _is_same(image, found, f"{store}/{image.copy}", stored)
    directory = found is not None and stat.S_ISDIR(found.st_mode)
    return Now(state_of(found), same, usable, _is_intact(image, stored), directory, blocked)


def _is_intact(image: Preimage, stored: os.stat_result | None) -> bool:
    """Whether a second name still leads to what it led to; whoever writes through the first one changes both."""
    if image.how != "link" or stored is None or not stat.S_ISREG(stored.st_mode):
        return True
    return (stored.st_size, stored.st_mtime_ns) == (image.size, image.mtime_ns)


def _is_same(image: Preimage, found: os.stat_result, stored_path: str, stored: os.stat_result | None) -> bool:
    if stat.S_IFMT(found.st_mode) != _kind_of(image, stored):
        return False
    if image.how == "symlink":
        return Raw.readlink(image.path) == image.target
    was = (image.mode, image.uid, image.gid, image.mtime_ns)
    if (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns) != was:
        return False
    if _encoded(listed_xattrs(image.path)) != dict(image.xattrs):
        return False
    if image.how == "directory":
        return True
    if stored is not None and (stored.st_dev, stored.st_ino) == (found.st_dev, found.st_ino):
        return True
    return found.st_size == image.size and stat.S_ISREG(found.st_mode) and same_content(stored_path, image.path)


def _kind_of(image: Preimage, stored: os.stat_result | None) -> int:
    if image.how == "directory":
        return stat.S_IFDIR
    if image.how == "symlink":
        return stat.S_IFLNK
    return stat.S_IFREG if stored is None else stat.S_IFMT(stored.st_mode)


def _encoded(xattrs: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(value).decode() for name, value in xattrs.items()}
