"""Which text is a path that a target governs, and where it stands instead. Pure but for the ``realpath`` of a root."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import field
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Final, cast

from pytest_session_guard._core.settings import Redirect
from pytest_session_guard._core.values import dataclass

PATH_STARTS: Final = frozenset("/~$")
LONGEST_PATH: Final = 4096
# A colon before a slash separates two paths (PATH, PYTHONPATH) or belongs to a URL; neither is one path.
LIST_OR_URL: Final = re.compile(r":[/~]|[\n\r\0]")
UNTIDY: Final = re.compile(r"//|/\.{1,2}(?:/|$)")


@dataclass(slots=True, eq=False)
class Target:
    """One redirect in force.

    :param place: where it points now, relative to the base, tidy (``""`` is the base itself); a test may move it.
    :param real: every text that it was seen to have, in that order: what a root line names, what a module bound.
    """

    redirect: Redirect
    place: str
    real: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spot:
    """A target, and what follows it: ``("~/.hermes" line, "/sessions")``. `suffix` is empty or starts with a slash."""

    target: Target
    suffix: str

    def below(self, base: str) -> str:
        """The text of this spot in the directory that targets point to at a moment."""
        place = self.target.place
        return f"{base}/{place}{self.suffix}" if place else base + self.suffix


class Atlas:
    """Every prefix that some target governs; the longest wins.

    A text counts as a path of a target when **the whole of it** is one: it starts with the prefix and ends there or
    goes on with a slash. So a URL (``https://host/home/u/.hermes``), a sentence (``/home/u/.hermes holds chats``), a
    neighbour (``/home/u/.hermes2``) and a list (``/home/u/.hermes/bin:/usr/bin``) do not. A ``str`` with white space
    below the prefix is a sentence unless something stands at that path. ``~/…``, ``$HOME/…`` and ``${HOME}/…`` are
    read as the shell reads them.

    :param home: the real home, as captured before anything was redirected.
    :param excluded: prefixes that belong to no target although a target may lie above them: the project's sources,
        the interpreter.
    """

    exists = staticmethod(os.path.lexists)
    realpath = staticmethod(cast("Callable[[str], str]", os.path.realpath))

    def __init__(self, home: str, excluded: Iterable[str]) -> None:
        self.home = home.rstrip("/") or "/"
        self.absolute: dict[str, Spot | None] = {prefix.rstrip("/"): None for prefix in excluded}
        self.relative: dict[str, Spot] = {}
        self.bases: tuple[str, ...] = ()

    def add_place(self, target: Target) -> None:
        """Know the target by its place below a base, so that what was derived from it is known too."""
        self.relative[target.place] = Spot(target, "")

    def add_real(self, target: Target, text: str) -> None:
        """Know the target by a path that it really has; below a base that is remembered without the base."""
        text = self.canonical(text)
        target.real.setdefault(text)
        inside = self.within_base(text)
        if inside is not None:
            self.relative.setdefault(inside, Spot(target, ""))
        elif text != "/":
            for form in {text, self.realpath(text)}:
                # What is excluded is the project itself: its own path is too common to stand for the target.
                self.absolute.setdefault(form, Spot(target, ""))

    def expand(self, text: str) -> str:
        """``text`` with a leading ``~``, ``~user`` or ``$HOME`` replaced by the home directory."""
        for sign in ("~", "$HOME", "${HOME}"):
            if text == sign or text.startswith(sign + "/"):
                return self.home + text[len(sign) :]
        return os.path.expanduser(text) if text[:1] == "~" else text

    def canonical(self, text: str) -> str:
        """The text by which a path is looked up: expanded, tidy, without a trailing slash."""
        text = self.expand(text)
        if UNTIDY.search(text):
            text = os.path.normpath(text)
            text = text[1:] if text.startswith("//") else text
        return text.rstrip("/") or "/"

    def within_base(self, text: str) -> str | None:
        """What follows the base in a text that lies in the sink or in this test's private directory, else ``None``."""
        for base in self.bases:
            if text.startswith(base) and text[len(base) : len(base) + 1] in ("", "/"):
                return text[len(base) + 1 :]
        return None

    def find(self, text: str, sentence: bool = False) -> Spot | None:
        """The spot that a text stands at, or ``None`` when no target governs it.

        :param sentence: the text may be prose, as a ``str`` may and a ``Path`` may not.
        """
        if text[:1] not in PATH_STARTS or len(text) > LONGEST_PATH or LIST_OR_URL.search(text):
            return None
        tail = "/" if text.endswith("/") else ""
        text = self.canonical(text)
        inside = self.within_base(text)
        spot = longest(self.absolute, text) if inside is None else longest(self.relative, inside)
        if spot is None:
            return None
        if sentence and any(sign.isspace() for sign in spot.suffix) and not self._stands(text, spot):
            return None
        return Spot(spot.target, spot.suffix + tail)

    def _stands(self, text: str, spot: Spot) -> bool:
        """Whether something is at a path, or at the real path that it stands for."""
        return self.exists(text) or any(self.exists(real + spot.suffix) for real in spot.target.real)


def longest(table: dict[str, Spot] | dict[str, Spot | None], text: str) -> Spot | None:
    """The entry of the longest prefix of ``text``, with what follows the prefix as its suffix."""
    prefix = text
    while True:
        if prefix in table:
            found, rest = table[prefix], text[len(prefix) :]
            return found and Spot(found.target, found.suffix + ("/" + rest if rest and not prefix else rest))
        if not prefix:
            return None
        prefix = prefix.rpartition("/")[0]


def text_of(value: Any) -> str | None:
    """The path in a value that holds one, without running code of the value's own class where a base class's will do."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if issubclass(kind, PurePath):
        return PurePath.__str__(value)
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, bytes):
        return os.fsdecode(bytes(value))
    return None


def path_text(value: Any) -> str | None:
    """The path in a value of any type that is one, else ``None``; only an `os.PathLike` of its own kind is asked."""
    text = text_of(value)
    if text is not None:
        return text
    for kind in type(value).__mro__:
        method = kind.__dict__.get("__fspath__")
        if method is not None:
            break
    else:
        return None
    try:
        return os.fsdecode(method(value))
    except Exception:  # the application's own __fspath__: what has no path now is no path
        return None


def fast_path_maker() -> Callable[[str], Path]:
    """A quicker ``Path(text)`` for clean absolute texts, where this Python's ``Path`` has the inside that it needs.

    Fifty targets mean fifty paths a test; ``Path`` itself costs 1 to 2 µs each. What it builds is compared with what
    ``Path`` builds, once, before it is used.
    """
    kind = type(Path())
    probe = "/tmp/a b/c.d/ü"
    for make in (partial(parsed_path, kind), partial(raw_path, kind)):
        try:
            if facts(make(probe)) == facts(kind(probe)):
                return make
        except (AttributeError, TypeError):
            continue  # another Python, another inside
    return kind


def parsed_path(kind: type[Path], text: str) -> Path:
    """A path as Python 3.11 keeps it: already split."""
    parts = text.split("/")
    parts[0] = "/"
    made: Path = kind._from_parsed_parts("", "/", parts)  # type: ignore[attr-defined]
    return made


def raw_path(kind: type[Path], text: str) -> Path:
    """A path as Python 3.12 and later keep it: the raw text, split when somebody asks."""
    made = object.__new__(kind)
    made._raw_paths = [text]  # type: ignore[attr-defined]
    return made


def facts(path: Path) -> tuple[object, ...]:
    """All that one can ask a path, and which of its slots are filled when one has."""
    asked = (
        str(path),
        path.parts,
        hash(path),
        path,
        path / "x",
        path.name,
        path.parent,
        path.with_suffix(".y"),
        repr(path),
    )
    names = (name for kind in type(path).__mro__ for name in vars(kind).get("__slots__", ()))
    return *asked, {name for name in names if hasattr(path, name)}
