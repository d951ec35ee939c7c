"""What the store raises. Each class is also the built-in one that a caller would guess."""

from __future__ import annotations


class ChatstoreError(Exception):
    """Anything that the store itself refuses or cannot do."""


class UnknownSessionError(ChatstoreError, LookupError):
    """There is no session with this id, on disk or in memory."""


class CorruptSessionError(ChatstoreError, ValueError):
    """A session file is there and does not hold a session."""


class MetadataOnlyError(ChatstoreError, RuntimeError):
    """A session that was loaded without its messages was about to be saved, which would have emptied it."""
