"""What a git index says, apart from what git remembers of the working tree to be faster the next time.

``git diff`` and ``git describe --dirty`` write a new index where somebody touched a file since the last one was written,
also when they are told to take no optional lock. What such an index says is what the old one says.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import Final

_HEAD: Final = struct.Struct(">4sII")
_MAGIC: Final = b"DIRC"
_VERSIONS: Final = (2, 3, 4)
_PREFIXED: Final = 4
_EXTENDED: Final = 0x4000
# An entry begins with times, device and inode; then comes the mode; then owner, group and size.
_MODE: Final = slice(24, 28)
_KNOWN_OF_TREE_BYTES: Final = 40
# The caches among the extensions: trees, untracked files, the monitor's, and where in the index what begins.
_CACHES: Final = (b"TREE", b"UNTR", b"FSMN", b"EOIE", b"IEOT")
MOST_BYTES: Final = 1 << 24


def is_index(head: bytes) -> bool:
    """Whether a file that begins so is an index."""
    return head[:4] == _MAGIC


def says_the_same(one: bytes, other: bytes) -> bool:
    """Whether two indexes have the same entries; what cannot be read says nothing."""
    try:
        return list(_said(one)) == list(_said(other))
    except (ValueError, IndexError, struct.error):
        return False


def _said(content: bytes) -> Iterator[bytes]:
    _, version, count = _HEAD.unpack_from(content)
    if version not in _VERSIONS:
        raise ValueError(version)
    is_long = hashlib.sha256(content[:-32]).digest() == content[-32:]
    hash_bytes = 32 if is_long else 20
    position = _HEAD.size
    for _ in range(count):
        end = _end_of_entry(content, position, version, hash_bytes)
        entry = content[position:end]
        yield entry[_MODE] + entry[_KNOWN_OF_TREE_BYTES:]
        position = end
    while position < len(content) - hash_bytes:
        name, length = struct.unpack_from(">4sI", content, position)
        if name not in _CACHES:
            yield content[position : position + 8 + length]
        position += 8 + length


def _end_of_entry(content: bytes, start: int, version: int, hash_bytes: int) -> int:
    flags_at = start + _KNOWN_OF_TREE_BYTES + hash_bytes
    (flags,) = struct.unpack_from(">H", content, flags_at)
    position = flags_at + (4 if flags & _EXTENDED else 2)
    if version == _PREFIXED:
        while content[position] & 0x80:  # how much of the last name is left out, in as many bytes as it takes
            position += 1
        return content.index(b"\0", position + 1) + 1
    end = content.index(b"\0", position)
    # One to eight zeros follow.
    return start + (end - start + 8) // 8 * 8
