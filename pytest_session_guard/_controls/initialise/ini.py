"""Setting options in an INI file, every other byte of it kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

Options = Mapping[str, Sequence[str]]

LISTS: Final = frozenset({"session_guard_redirect", "session_guard_reset"})


def newline_of(text: str) -> str:
    """The line ending that a text uses."""
    return "\r\n" if "\r\n" in text else "\n"


def not_yet(held: Iterable[str], lines: Sequence[str]) -> list[str]:
    """The lines about a target that no line is about yet: where the user sends it already, it stays."""
    known = {target_of(line) for line in held}
    return [line for line in lines if target_of(line) not in known]


def target_of(line: str) -> str:
    """What a line of a list option is about."""
    return line.partition("=")[0].strip().rstrip("/")


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
    added = [f"{indent}{value}{end}" for value in not_yet(held, values)]
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
