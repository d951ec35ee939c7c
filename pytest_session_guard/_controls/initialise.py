"""Writing options into a project's own configuration file, every other byte of it kept as it is.

A plan is made first and shown; nothing here writes to disk.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pytest_session_guard._core.errors import ConfigurationError

Options = Mapping[str, Sequence[str]]

INI_SECTIONS: Final = {"pytest.ini": "pytest", ".pytest.ini": "pytest", "tox.ini": "pytest", "setup.cfg": "tool:pytest"}
TABLE: Final = ("tool", "pytest", "ini_options")
NATIVE_TABLE: Final = ("tool", "pytest")
LISTS: Final = frozenset({"session_guard_redirect", "session_guard_reset"})


@dataclass(frozen=True, slots=True)
class Plan:
    """A change of one file.

    :param file: absolute path; it may not exist yet.
    :param old: its content now, ``""`` when there is none.
    """

    file: str
    old: str
    new: str

    @property
    def diff(self) -> str:
        """The change for people; empty when there is nothing to change."""
        name = os.path.basename(self.file)
        lines = difflib.unified_diff(self.old.splitlines(), self.new.splitlines(), f"{name} now", f"{name} then", lineterm="")
        return "\n".join(lines)


def plan_init(rootdir: str, options: Options) -> Plan:
    """What is to be written, and where: the file that pytest reads its options from, as pytest itself picks it.

    A line that is there already is not written again, a word option (``session_guard_home``) is set.

    :param options: lines by ini name.
    :raises ConfigurationError: the file's form is one that cannot be edited without touching the rest of it.
    """
    file, kind = choose_file(rootdir)
    old = read_text(file)
    if kind == "toml":
        new = edit_toml(old, options, file)
    else:
        new = edit_ini(old, INI_SECTIONS[os.path.basename(file)], options)
    return Plan(file, old, new)


def read_text(file: str) -> str:
    """The content of a file with its own line endings, ``""`` when there is none."""
    try:
        with open(file, encoding="utf-8", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def choose_file(rootdir: str) -> tuple[str, str]:
    """The configuration file, and whether it is ``ini`` or ``toml``."""
    paths = {name: os.path.join(rootdir, name) for name in (*INI_SECTIONS, "pyproject.toml")}
    for name in ("pytest.ini", ".pytest.ini"):
        if os.path.isfile(paths[name]):
            return paths[name], "ini"
    pyproject = read_text(paths["pyproject.toml"])
    if any(span.table == TABLE or span.table == NATIVE_TABLE for span in toml_spans(pyproject)):
        return paths["pyproject.toml"], "toml"
    for name in ("tox.ini", "setup.cfg"):
        section = re.escape(INI_SECTIONS[name])
        if re.search(rf"^\[{section}\]", read_text(paths[name]), re.MULTILINE):
            return paths[name], "ini"
    if pyproject:
        return paths["pyproject.toml"], "toml"
    return paths["pytest.ini"], "ini"


def newline_of(text: str) -> str:
    """The line ending that a text uses."""
    return "\r\n" if "\r\n" in text else "\n"


# INI


def edit_ini(text: str, section: str, options: Options) -> str:
    """An INI file with the options in its section, which is added when it is missing."""
    end = newline_of(text)
    lines = text.splitlines(keepends=True)
    start = next((number for number, line in enumerate(lines) if line.startswith(f"[{section}]")), None)
    if start is None:
        gap = [end] if lines and lines[-1].strip() else []
        lines = [*terminated(lines, end), *gap, f"[{section}]{end}"]
        start = len(lines) - 1
    for name, values in options.items():
        lines = set_ini(lines, start, name, values, end)
    return "".join(lines)


def set_ini(lines: list[str], start: int, name: str, values: Sequence[str], end: str) -> list[str]:
    """The lines with one option set in the section whose header is at ``start``."""
    stop = next((at for at in range(start + 1, len(lines)) if lines[at].startswith("[")), len(lines))
    key = next((at for at in range(start + 1, stop) if re.match(rf"{re.escape(name)}\s*[=:]", lines[at])), None)
    if key is None:
        at = last_content(lines, start, stop) + 1
        head = f"{name} ={end}" if name in LISTS else f"{name} = {' '.join(values)}{end}"
        added = [head, *(f"    {value}{end}" for value in values)] if name in LISTS else [head]
        return [*terminated(lines[:at], end), *added, *lines[at:]]
    at = key + 1
    while at < stop and (lines[at][:1] in (" ", "\t") and lines[at].strip()):
        at += 1
    if name not in LISTS:
        comment = re.match(r"[^=:]*[=:]\s*", lines[key])
        assert comment is not None, "unreachable because the line was found by this form"
        return [*lines[:key], f"{comment[0].rstrip()} {' '.join(values)}{end}", *lines[at:]]
    held = {line.strip() for line in (re.sub(r"^[^=:]*[=:]", "", lines[key], count=1), *lines[key + 1 : at])}
    indent = next((line[: len(line) - len(line.lstrip())] for line in lines[key + 1 : at]), "    ")
    added = [f"{indent}{value}{end}" for value in values if value not in held]
    return [*terminated(lines[:at], end), *added, *lines[at:]] if added else lines


def last_content(lines: Sequence[str], start: int, stop: int) -> int:
    """The last line of a section that is not blank."""
    return max((at for at in range(start, stop) if lines[at].strip()), default=start)


def terminated(lines: Sequence[str], end: str) -> list[str]:
    """The lines, the last one with a line ending."""
    out = list(lines)
    if out and not out[-1].endswith(("\n", "\r")):
        out[-1] += end
    return out


# TOML


@dataclass(frozen=True, slots=True)
class Span:
    """A table header (``key`` is empty) or one ``key = value`` of a TOML file, with its place in the text."""

    table: tuple[str, ...]
    key: tuple[str, ...]
    start: int
    value_start: int
    end: int


HEADER: Final = re.compile(r"[ \t]*(\[\[?)([^\]\n]+)\]\]?[ \t]*(?:#[^\n]*)?")
KEY: Final = re.compile(r"[ \t]*((?:\"[^\"\n]*\"|'[^'\n]*'|[A-Za-z0-9_-]+)(?:[ \t]*\.[ \t]*(?:\"[^\"\n]*\"|'[^'\n]*'|[A-Za-z0-9_-]+))*)[ \t]*=[ \t]*")
PIECE: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[{]|[\]}]|\n|[^"\'#\[\]{}\n]+', re.DOTALL
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


def value_end(text: str, start: int) -> int:
    """Where the value that starts at ``start`` ends; comments and white space after it are not part of it."""
    depth, at, end = 0, start, start
    while at < len(text):
        piece = PIECE.match(text, at)
        assert piece is not None, "unreachable because every character belongs to some piece"
        if piece[0] == "\n" and depth == 0:
            break
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(piece[0], 0)
        if piece[0].strip() and not piece[0].startswith("#"):
            end = at + len(piece[0].rstrip())
        at = piece.end()
    return end


def edit_toml(text: str, options: Options, file: str) -> str:
    """``pyproject.toml`` with the options in the table that pytest reads.

    :raises ConfigurationError: the file is no TOML, or holds the table in a form without a header of its own.
    """
    before = parse_toml(text, file)
    table = chosen_table(before)
    new = text
    for name, values in options.items():
        new = set_toml(new, table, name, values)
    if parse_toml(new, file) != merged(before, table, options):
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


def merged(document: dict[str, Any], table: tuple[str, ...], options: Options) -> dict[str, Any]:
    """What the document has to be afterwards."""
    if not table:
        out = dict(document)
        for name, values in options.items():
            if name in LISTS:
                held = lines_in(out.get(name, []))
                fresh = [value for value in values if value not in held]
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
    fresh = [value for value in values if value not in present]
    if not fresh:
        return text
    return text[: held.value_start] + extended(text[held.value_start : held.end], present, fresh, end) + text[held.end :]


def extended(value: str, present: Sequence[str], fresh: Sequence[str], end: str) -> str:
    """A list with more elements, its comments and layout kept; a text becomes a list."""
    if not value.startswith("["):
        return array([*present, *fresh], end)
    body = value[:-1].rstrip()
    last = body.splitlines()[-1] if end in body else ""
    if not present or not last:
        return array([*present, *fresh], end)
    indent = last[: len(last) - len(last.lstrip())] or "    "
    without_comment = value_end(body, body.rfind(last) + len(indent))
    comma = "" if body[:without_comment].endswith(",") else ","
    added = "".join(f"{end}{indent}{json.dumps(line, ensure_ascii=False)}," for line in fresh)
    return body[:without_comment] + comma + body[without_comment:] + added + end + "]"


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
