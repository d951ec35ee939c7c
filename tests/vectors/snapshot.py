"""The view from outside: everything below a directory, by every fact that a change could alter."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

FS_IOC_GETFLAGS: Final = 0x80086601
UNREADABLE: Final = -1


class Facts(NamedTuple):
    """What is compared of one name. The access time is left out: reading is no change."""

    kind: int
    mode: int
    owner: tuple[int, int]
    content: str
    identity: tuple[int, int]
    modified_ns: int
    changed_ns: int
    links: int
    attributes: tuple[tuple[str, bytes], ...]
    flags: int


def take(root: str, leave_out: Iterable[str]) -> dict[str, Facts]:
    """Give the facts of every name below ``root``, by path relative to it; nothing is followed and no fifo is opened.

    :param leave_out: names directly in ``root`` that are not looked at.
    """
    seen: dict[str, Facts] = {}
    skipped = set(leave_out)

    def visit(directory: int, prefix: str) -> None:
        for name in sorted(os.listdir(directory)):
            if prefix or name not in skipped:
                seen[prefix + name] = _facts(directory, name)
                if stat.S_ISDIR(seen[prefix + name].kind):
                    child = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
                    try:
                        visit(child, f"{prefix}{name}/")
                    finally:
                        os.close(child)

    descriptor = os.open(root, os.O_RDONLY)
    try:
        visit(descriptor, "")
    finally:
        os.close(descriptor)
    return seen


def _facts(directory: int, name: str) -> Facts:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    kind = stat.S_IFMT(status.st_mode)
    content, flags = "", 0
    attributes: tuple[tuple[str, bytes], ...] = ()
    if kind == stat.S_IFLNK:
        content = os.readlink(name, dir_fd=directory)
    elif kind == stat.S_IFREG:
        content, attributes, flags = _inner_facts(directory, name)
    return Facts(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        owner=(status.st_uid, status.st_gid),
        content=content or str(status.st_rdev),
        identity=(status.st_dev, status.st_ino),
        modified_ns=status.st_mtime_ns,
        changed_ns=status.st_ctime_ns,
        links=status.st_nlink,
        attributes=attributes,
        flags=flags,
    )


def _inner_facts(directory: int, name: str) -> tuple[str, tuple[tuple[str, bytes], ...], int]:
    """Digest, extended attributes and flags of a regular file."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except PermissionError:
        # An ordinary user who took its own read permission away: the mode tells it.
        return "unreadable", (), UNREADABLE
    try:
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return digest, _attributes(descriptor), _flags(descriptor)
    finally:
        os.close(descriptor)


def _attributes(descriptor: int) -> tuple[tuple[str, bytes], ...]:
    try:
        return tuple((name, os.getxattr(descriptor, name)) for name in sorted(os.listxattr(descriptor)))
    except OSError:
        return ()


def _flags(descriptor: int) -> int:
    try:
        answer = fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, struct.pack("l", 0))
    except OSError:
        return UNREADABLE
    # The extents and index flags of ext4 follow the size of the file and say nothing of their own.
    return int(struct.unpack("l", answer)[0]) & 0xFFFF & ~0x1000


def compare(before: dict[str, Facts], after: dict[str, Facts]) -> dict[str, list[str]]:
    """Give what differs: for each path the effects, as words; an empty dict means that all is as it was.

    A directory's times follow its entries, so of them only a step back in time counts.
    """
    changes = {path: ["appeared"] for path in after.keys() - before.keys()}
    changes |= {path: ["vanished"] for path in before.keys() - after.keys()}
    for path in before.keys() & after.keys():
        effects = _effects(before[path], after[path])
        if effects:
            changes[path] = effects
    return changes


def abridge(changes: dict[str, list[str]]) -> dict[str, list[str]]:
    """Keep every kind of effect and enough of the paths to find them: a removed tree would fill a page."""
    short: dict[str, list[str]] = {}
    for path in sorted(changes, key=lambda name: (tuple(changes[name]), name)):
        if len(short) < 12 or changes[path] not in short.values():
            short[path[:160]] = changes[path]
    return short


def _effects(old: Facts, new: Facts) -> list[str]:
    if old.kind != new.kind:
        return ["kind"]
    directory = stat.S_ISDIR(old.kind)
    checks = {
        "replaced": old.identity != new.identity,
        "content": old.content != new.content,
        "mode": old.mode != new.mode,
        "owner": old.owner != new.owner,
        "links": not directory and old.links != new.links,
        "attributes": old.attributes != new.attributes,
        "flags": old.flags != new.flags,
        "times": new.modified_ns < old.modified_ns if directory else old.modified_ns != new.modified_ns,
    }
    found = [word for word, differs in checks.items() if differs]
    if not found and not directory and old.changed_ns != new.changed_ns:
        return ["status time"]
    return found
