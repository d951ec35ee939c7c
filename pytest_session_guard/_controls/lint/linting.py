"""Reading a suite and putting all rules to it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import astuple
from typing import Final

from pytest_session_guard._controls.lint.answers import is_answered, unexplained
from pytest_session_guard._controls.lint.changes import find_changes
from pytest_session_guard._controls.lint.commands import find_commands
from pytest_session_guard._controls.lint.files import Text, Unread, find_files, read
from pytest_session_guard._controls.lint.leftovers import find_leftovers
from pytest_session_guard._controls.lint.patches import find_patches
from pytest_session_guard._controls.lint.reading import Reading
from pytest_session_guard._controls.lint.rules import Finding
from pytest_session_guard._controls.lint.surroundings import Configured
from pytest_session_guard._controls.lint.units import Module, take_apart
from pytest_session_guard._core.values import dataclass

TOO_DEEP: Final = "is nested too deeply to be followed"


@dataclass(frozen=True, slots=True)
class Linted:
    """What reading a suite gave.

    :param files: how many files were read.
    :param answered: how many findings a comment answers for.
    """

    files: int
    findings: tuple[Finding, ...]
    answered: int
    unread: tuple[Unread, ...]


def lint(paths: Sequence[str], slugs: Collection[str], configured: Configured) -> Linted:
    """Read the test files at or below some paths and say what in them can hurt real data.

    :param slugs: the rules that count.
    :param configured: what the configuration for a directory's tests sends elsewhere.
    """
    unread: list[Unread] = []
    modules: list[Module] = []
    for file in find_files(paths):
        text = read(file, wanted=file in paths) if isinstance(file, str) else file
        module = apart(text) if isinstance(text, Text) else text
        if isinstance(module, Module):
            modules.append(module)
        elif module is not None:
            unread.append(module)
    lines = {module.text.file: module.text.lines for module in modules}
    found: list[Finding] = []
    answered = 0
    for one in sorted(set(findings_of(Reading(modules, configured), unread)), key=astuple):
        if one.slug not in slugs:
            continue
        answer = is_answered(one, lines[one.file])
        answered += answer is True
        if not answer:
            found.append(one if answer is False else unexplained(one))
    return Linted(len(modules), tuple(found), answered, tuple(unread))


def apart(text: Text) -> Module | Unread:
    """A file's units, unless it is nested deeper than Python can follow."""
    try:
        return take_apart(text)
    except RecursionError:
        return Unread(text.file, TOO_DEEP)


def findings_of(reading: Reading, unread: list[Unread]) -> Iterator[Finding]:
    """What all rules find.

    :param unread: files that turn out to be nested too deeply are added to it.
    """
    for module in reading.suite.modules:
        try:
            yield from list(findings_in(module, reading))
        except RecursionError:
            unread.append(Unread(module.text.file, TOO_DEEP))


def findings_in(module: Module, reading: Reading) -> Iterator[Finding]:
    """What all rules find in one file."""
    for unit in module.units:
        yield from find_changes(unit, reading)
        yield from find_commands(unit, reading)
        yield from find_leftovers(unit, reading)
    yield from find_patches(module, reading)
