"""What a session is, and the JSON document that it is kept as. No file is touched here."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

from chatstore.errors import CorruptSessionError

Message = dict[str, Any]
"""One turn: ``role``, ``content``, and whatever else the application hangs on it."""


def new_session_id() -> str:
    """An id that sorts by day and that two processes will not both pick."""
    return f"{time.strftime('%Y%m%d')}-{uuid4().hex[:12]}"


@dataclass
class Session:
    """One conversation.

    A session loaded for a list has ``metadata_only`` set: its ``messages`` are empty because nobody read them, not
    because there are none, and ``message_count`` still tells how many there are.
    """

    session_id: str = field(default_factory=new_session_id)
    title: str = "Untitled"
    messages: list[Message] = field(default_factory=list)
    workspace: str = ""
    worktree_path: str = ""
    worktree_branch: str = ""
    stream_id: str | None = None
    created_at: float = field(default_factory=time.time)
    updated_at: float = field(default_factory=time.time)
    shortened_on_purpose: bool = False
    metadata_only: bool = False
    unread_count: int = 0

    @property
    def message_count(self) -> int:
        """How many messages the conversation has, whether they were read or not."""
        return self.unread_count if self.metadata_only else len(self.messages)

    def say(self, role: str, content: str) -> None:
        """Add one turn at the end; nothing is written until the session is saved."""
        self.messages.append({"role": role, "content": content, "time": time.time()})


def encode(session: Session) -> bytes:
    """The document of a session as its file holds it."""
    fields = asdict(session)
    del fields["metadata_only"], fields["unread_count"]
    return json.dumps(fields, ensure_ascii=False, indent=1).encode()


def decode(document: bytes) -> Session:
    """The session in a document.

    Keys that this version does not know are dropped, keys that it misses get their default: older and newer versions
    of the application read each other's files.

    :raises CorruptSessionError: the bytes are not JSON, or not a session.
    """
    try:
        fields = json.loads(document)
    except ValueError as error:
        raise CorruptSessionError(f"not JSON: {error}") from error
    if not isinstance(fields, dict) or not fields.get("session_id") or not isinstance(fields.get("messages"), list):
        raise CorruptSessionError("not a session: needs an object with 'session_id' and a list 'messages'")
    known = Session.__dataclass_fields__.keys() - {"metadata_only", "unread_count"}
    return Session(**{key: value for key, value in fields.items() if key in known})


def without_messages(session: Session) -> Session:
    """The same session as a list needs it: a stub that :func:`chatstore.store.save` refuses."""
    fields = vars(session) | {"messages": [], "metadata_only": True, "unread_count": len(session.messages)}
    return Session(**fields)
