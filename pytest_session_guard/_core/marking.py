"""The ``__test_artifact`` marker inside documents: bytes in, bytes out, everything else kept byte for byte.

Documents are spliced, never parsed and written again: numbers, escapes, key order, indentation and line ends of an
application's files stay exactly as the application wrote them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from json import JSONDecodeError
from typing import Any, Final, Protocol, runtime_checkable

from pytest_session_guard._core.records import MARKER_KEY
from pytest_session_guard._core.values import dataclass

Marker = Mapping[str, str | int]

_BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_SPACE: Final = " \t\n\r"
_DECODER: Final = json.JSONDecoder()


@runtime_checkable
class MarkerFormat(Protocol):
    """A kind of document that can carry the marker; the hook ``pytest_session_guard_marker_formats`` returns some.

    Formats are asked in order, those of the hook before the built-in ones; the first that matches is used.
    """

    def matches(self, path: str) -> bool:
        """Whether the document at ``path`` is of this kind; goes by the name, does not open it."""

    def tag(self, content: bytes, marker: Marker) -> bytes | None:
        """The same document with the marker in it, in place of an older marker.

        :returns: ``None`` when a document of this shape has no room for a marker; the file gets an extended attribute then.
        :raises ValueError: the content is no document of this kind.
        """

    def read(self, content: bytes) -> object:
        """The marker in a document, or ``None``.

        :raises ValueError: the content is no document of this kind.
        """


class JsonObject:
    """JSON: the marker is a key of the outermost object; a document that is an array or a number has no room for it."""

    def matches(self, path: str) -> bool:
        """Whether the name ends in ``.json``."""
        return path.endswith(".json")

    def tag(self, content: bytes, marker: Marker) -> bytes | None:
        """The document with the marker, everything else byte for byte."""
        bom, encoding, text = _decoded(content)
        if not isinstance(_loaded(text), dict):
            return None
        return bom + _spliced(text, marker).encode(encoding, "surrogatepass")

    def read(self, content: bytes) -> object:
        """The value of the marker's key."""
        document = _loaded(_decoded(content)[2])
        return document.get(MARKER_KEY) if isinstance(document, dict) else None


class JsonLines:
    """JSON lines: the marker is a key of the first record."""

    def matches(self, path: str) -> bool:
        """Whether the name ends in ``.jsonl`` or ``.ndjson``."""
        return path.endswith((".jsonl", ".ndjson"))

    def tag(self, content: bytes, marker: Marker) -> bytes | None:
        """The lines with the marker in the first record; all other lines byte for byte."""
        before, line, after = _first_record(content)
        if line is None:
            return None
        tagged = JsonObject().tag(line, marker)
        return None if tagged is None else before + tagged + after

    def read(self, content: bytes) -> object:
        """The value of the marker's key in the first record."""
        line = _first_record(content)[1]
        return None if line is None else JsonObject().read(line)


BUILT_IN: Final[tuple[MarkerFormat, ...]] = (JsonObject(), JsonLines())


def _decoded(content: bytes) -> tuple[bytes, str, str]:
    """Byte order mark, encoding and text. Lone surrogates pass, as they do through `json.loads`."""
    for bom, encoding in _BOMS:
        if content.startswith(bom):
            return bom, encoding, content[len(bom) :].decode(encoding, "surrogatepass")
    encoding = json.detect_encoding(content)
    return b"", encoding, content.decode(encoding, "surrogatepass")


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply to be read") from None


def _first_record(content: bytes) -> tuple[bytes, bytes | None, bytes]:
    """What is before the first line that is not blank, that line, and what is after it."""
    position = 0
    for line in content.splitlines(keepends=True):
        bare = line.strip(b" \t\r\n\xef\xbb\xbf" if position == 0 else b" \t\r\n")
        if bare:
            start = position + line.index(bare)
            return content[:start], bare, content[start + len(bare) :]
        position += len(line)
    return content, None, b""


@dataclass(frozen=True, slots=True)
class _Outline:
    """Where the parts of an object lie in a text: the brace, the first member, and the span of the marker's value."""

    brace: int
    first: int
    empty: bool
    value: tuple[int, int] | None


def _spliced(text: str, marker: Marker) -> str:
    """A JSON object's text with the marker as its first member, or in place of the older marker's value."""
    outline = _outline(text)
    value = json.dumps(dict(marker))
    if outline.value is not None:
        start, end = outline.value
        return text[:start] + value + text[end:]
    gap = text[outline.brace + 1 : outline.first]
    entry = f"{json.dumps(MARKER_KEY)}: {value}"
    if outline.empty:
        return f"{text[: outline.first]}{entry}{text[outline.first :]}"
    # The gap after the brace is the gap between members: a newline and an indent, or nothing on one line.
    return f"{text[: outline.first]}{entry},{gap or ' '}{text[outline.first :]}"


def _outline(text: str) -> _Outline:
    """Find the parts of an object that is known to be well formed."""
    brace = _past_space(text, 0)
    first = _past_space(text, brace + 1)
    if text[first] == "}":
        return _Outline(brace, first, empty=True, value=None)
    position, value = first, None
    while True:
        key, after_key = _DECODER.raw_decode(text, position)
        start = _past_space(text, _past_space(text, after_key) + 1)
        end = _DECODER.raw_decode(text, start)[1]
        if key == MARKER_KEY:
            value = (start, end)  # of two equal keys readers take the last
        position = _past_space(text, end)
        if text[position] == "}":
            return _Outline(brace, first, empty=False, value=value)
        position = _past_space(text, position + 1)


def _past_space(text: str, position: int) -> int:
    while text[position] in _SPACE:
        position += 1
    return position


def problem_of(error: Exception) -> str:
    """Why a document could not be read, as a clause for `MarkerError`."""
    if isinstance(error, JSONDecodeError):
        return f"is not JSON (line {error.lineno}, column {error.colno}: {error.msg.lower()})"
    if isinstance(error, UnicodeDecodeError):
        return f"is not text in {error.encoding} (byte {error.start})"
    return str(error)
