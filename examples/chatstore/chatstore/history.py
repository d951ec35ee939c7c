"""The history of a conversation: ``session_<id>.jsonl``, to which lines are only ever added.

Beside it lies ``session_<id>.meta.json``. It says nothing that the history does not say, so it can be lost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatstore import files, paths
from chatstore.models import Message, Session

Event = dict[str, Any]


@dataclass
class Replay:
    """Where a conversation stands after every line of its history."""

    session_id: str = ""
    title: str = ""
    messages: list[Message] = field(default_factory=list)
    created_at: float = 0.0
    updated_at: float = 0.0

    def apply(self, event: Event) -> None:
        """Take one line of the history into account."""
        self.updated_at = event["time"]
        if event["event"] == "session":
            self.session_id, self.created_at = event["session_id"], event["created_at"]
        elif event["event"] == "title":
            self.title = event["title"]
        elif event["event"] == "keep":
            del self.messages[event["count"] :]
        elif event["event"] == "message":
            self.messages.append(event["message"])

    def meta(self) -> dict[str, Any]:
        """What the file beside the history holds."""
        return {
            "session_id": self.session_id,
            "title": self.title,
            "message_count": len(self.messages),
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


def replay(path: Path) -> Replay:
    """Read a history from its first line to its last; a missing one is an empty one.

    A line that a crash tore is passed over: the ones before and after it are whole.
    """
    state = Replay()
    lines = path.read_bytes().splitlines() if path.exists() else []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        state.apply(event)
    return state


def record(session: Session) -> None:
    """Add what is new in ``session`` to its history, and bring the file beside it up to date."""
    path = paths.history_file(session.session_id)
    known = replay(path)
    content = b"".join(json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in _news(known, session))
    if content:
        # A torn last line has no end; without one of our own the first new line would be torn with it.
        files.append(path, content if _ends_with_newline(path) else b"\n" + content)
    write_meta(path)


def write_meta(path: Path) -> None:
    """Write the file beside one history, from that history alone."""
    state = replay(path)
    files.write_atomic(paths.meta_file(state.session_id), json.dumps(state.meta(), ensure_ascii=False).encode())


def regenerate() -> list[str]:
    """Write the file beside every history anew.

    :returns: the ids of the conversations, in the order of their names.
    """
    histories = sorted(paths.HISTORY_DIR.glob("session_*.jsonl"))
    for path in histories:
        write_meta(path)
    return [replay(path).session_id for path in histories]


def _news(known: Replay, session: Session) -> Iterator[Event]:
    now = time.time()
    if not known.session_id:
        created = {"session_id": session.session_id, "created_at": session.created_at}
        yield {"event": "session", "time": now, **created}
    if known.title != session.title:
        yield {"event": "title", "time": now, "title": session.title}
    same = _common_length(known.messages, session.messages)
    if same < len(known.messages):
        yield {"event": "keep", "time": now, "count": same}
    for message in session.messages[same:]:
        yield {"event": "message", "time": now, "message": message}


def _common_length(first: list[Message], second: list[Message]) -> int:
    differing = (at for at, (one, other) in enumerate(zip(first, second, strict=False)) if one != other)
    return next(differing, min(len(first), len(second)))


def _ends_with_newline(path: Path) -> bool:
    return not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
