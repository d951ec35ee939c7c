"""Setting options in a TOML file, every other byte of it kept."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pytest_session_guard._controls.initialise.ini import LISTS, Options, newline_of, not_yet
from pytest_session_guard._core.errors import ConfigurationError
from pytest_session_guard._core.values import dataclass

TABLE: Final = ("tool", "pytest", "ini_options")
NATIVE_TABLE: Final = ("tool", "pytest")
OWN_TABLE: Final = ("pytest",)  # of pytest.toml


@dataclass(frozen=True, slots=True)
class Span:
    """A table header (``key`` is empty) or one ``key = value`` of a TOML file, with its place in the text."""

    table: tuple[str, ...]
    key: tuple[str, ...]
    start: int
    value_start: int
    end: int


HEADER: Final = re.compile(r"[ \t]*(\[\[?)([^\]\n]+)\]\]?[ \t]*(?:#[^\n]*)?")
NAME: Final = r"""(?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
KEY: Final = re.compile(rf"[ \t]*({NAME}(?:[ \t]*\.[ \t]*{NAME})*)[ \t]*=[ \t]*")
PIECE: Final = re.compile(
    r"""
    \"{3}(?:\\.|[^\\])*?\"{3,5} | '{3}.*?'{3,5} |  # texts of several lines
    "(?:\\.|[^"\\\n])*" | '[^'\n]*' |  # texts
    \#[^\n]* | [\[{] | [\]}] | \n | [^"'\#\[\]{}\n]+
    """,
    re.DOTALL | re.VERBOSE,
)


def toml_spans(text: str) -> Iterator[Span]:
    """The headers and keys of a TOML file in their order."""
    table: tuple[str, ...] = ()
    at = 0
    while at < len(text):
        header, key = HEADER.match(text, at), KEY.match(text, at)
        if header is not None:
            table = names_in(header[2])
            yield Span(table, (), at, header.end(), header.end())
            at = header.end()
        elif key is not None:
            end = value_end(text, key.end())
            yield Span(table, names_in(key[1]), at, key.end(), end)
            at = end
        line = text.find("\n", at)
        at = len(text) if line < 0 else line + 1


def names_in(dotted: str) -> tuple[str, ...]:
    """The parts of a dotted TOML key."""
    return tuple(part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", dotted) if part.strip())


def pieces(text: str, start: int) -> Iterator[tuple[int, str]]:
    """The texts, comments, brackets and line ends from ``start`` on, each with its place."""
    at = start
    while at < len(text):
        piece = PIECE.match(text, at)
        # A quote that nothing closes belongs to a file that is no TOML; its parser says so.
        found = piece[0] if piece is not None else text[at]
        yield at, found
        at += len(found)


def value_end(text: str, start: int) -> int:
    """Where the value that starts at ``start`` ends; comments and white space after it are not part of it."""
    depth, end = 0, start
    for at, piece in pieces(text, start):
        if piece == "\n" and depth == 0:
            break
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(piece, 0)
        if piece.strip() and not piece.startswith("#"):
            end = at + len(piece.rstrip())
    return end


def edit_toml(text: str, options: Options, file: str) -> str:
    """``pyproject.toml`` with the options in the table that pytest reads.

    :raises ConfigurationError: the file is no TOML, or holds the table in a form without a header of its own.
    """
    before = parse_toml(text, file)
    table = OWN_TABLE if os.path.basename(file).endswith("pytest.toml") else chosen_table(before)
    new = text
    for name, values in options.items():
        new = set_toml(new, table, name, values)
    if loaded(new) != merged(before, table, options):
        raise ConfigurationError(
            "init", file, f"holds [{'.'.join(table)}] in a form that cannot be edited in place",
            "a table with a header of its own: [tool.pytest.ini_options]",
        )  # fmt: skip
    return new


def chosen_table(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The table that pytest reads: ``tool.pytest`` itself where the project has pytest 9's native form."""
    held = document.get("tool", {}).get("pytest", {})
    return NATIVE_TABLE if held and "ini_options" not in held else TABLE


def parse_toml(text: str, file: str) -> dict[str, Any]:
    """The document in a text.

    :raises ConfigurationError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise ConfigurationError("init", file, f"is no TOML: {problem}", "a file that tomllib reads") from None


def loaded(text: str) -> dict[str, Any] | None:
    """What an edited text holds, or ``None`` where the edit made none that can be read: a table stood there in another form."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def merged(document: dict[str, Any], table: tuple[str, ...], options: Options) -> dict[str, Any]:
    """What the document has to be afterwards."""
    if not table:
        out = dict(document)
        for name, values in options.items():
            if name in LISTS:
                held = lines_in(out.get(name, []))
                fresh = not_yet(held, values)
                out[name] = [*held, *fresh] if fresh or name not in out else out[name]
            else:
                out[name] = " ".join(values)
        return out
    return {**document, table[0]: merged(document.get(table[0], {}), table[1:], options)}


def lines_in(value: object) -> list[str]:
    """The lines of an option, written as a list or as one text."""
    if isinstance(value, str):
        return [line.strip() for line in value.splitlines() if line.strip()]
    return [str(line) for line in value] if isinstance(value, list) else []


def set_toml(text: str, table: tuple[str, ...], name: str, values: Sequence[str]) -> str:
    """The text with one option set."""
    end = newline_of(text)
    spans = list(toml_spans(text))
    held = next((span for span in spans if span.table == table and span.key == (name,)), None)
    if held is None:
        value = array(values, end) if name in LISTS else json.dumps(" ".join(values), ensure_ascii=False)
        return insert_key(text, spans, table, f"{name} = {value}{end}")
    if name not in LISTS:
        value = json.dumps(" ".join(values), ensure_ascii=False)
        return text[: held.value_start] + value + text[held.end :]
    present = lines_in(tomllib.loads(f"x = {text[held.value_start : held.end]}")["x"])
    fresh = not_yet(present, values)
    if not fresh:
        return text
    return (
        text[: held.value_start] + extended(text[held.value_start : held.end], present, fresh, end) + text[held.end :]
    )


def extended(value: str, present: Sequence[str], fresh: Sequence[str], end: str) -> str:
    """A list with more elements, its comments and layout kept; a text becomes a list."""
    if not value.startswith("[") or not present:
        return array([*present, *fresh], end)
    inner = value[1:-1]
    last = max(
        at + len(piece.rstrip()) for at, piece in pieces(inner, 0) if piece.strip() and not piece.startswith("#")
    )
    comma = "" if inner[:last].endswith(",") else ","
    texts = [json.dumps(line, ensure_ascii=False) for line in fresh]
    if "\n" not in inner:
        return f"[{inner[:last]}{comma} {', '.join(texts)}{inner[last:]}]"
    line = inner[:last].rpartition("\n")[2]
    indent = line[: len(line) - len(line.lstrip())]
    rest = inner[last:].rstrip()
    return "[" + inner[:last] + comma + rest + "".join(f"{end}{indent}{text}," for text in texts) + end + "]"


def array(values: Sequence[str], end: str) -> str:
    """A list, an element to a line."""
    rows = "".join(f"    {json.dumps(value, ensure_ascii=False)},{end}" for value in values)
    return f"[{end}{rows}]"


def insert_key(text: str, spans: Sequence[Span], table: tuple[str, ...], line: str) -> str:
    """The text with a line at the end of a table, which is added when it is missing."""
    end = newline_of(text)
    inside = [span for span in spans if span.table == table]
    if not inside:
        gap = end if text.strip() else ""
        ended = text if not text or text.endswith("\n") else text + end
        return f"{ended}{gap}[{'.'.join(table)}]{end}{line}"
    # After the whole last line, a comment at its end included.
    at = text.find("\n", inside[-1].end)
    if at < 0:
        return text + end + line
    return text[: at + 1] + line + text[at + 1 :]
