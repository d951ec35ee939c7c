"""The rule about commands given to a shell or a child process."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Final

from pytest_session_guard._controls.lint.kinds import Kind, Kinds, either
from pytest_session_guard._controls.lint.reading import Reading, finding, source
from pytest_session_guard._controls.lint.rules import COMMAND, Finding
from pytest_session_guard._controls.lint.surroundings import Moved
from pytest_session_guard._controls.lint.units import Unit

RUNNERS: Final = frozenset(
    {"os.system", "os.popen", *(f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output", "Popen", "getoutput",
     "getstatusoutput"))}
)  # fmt: skip
# What changes a repository's history, index, configuration or files.
GIT: Final = frozenset(
    {"add", "am", "apply", "bisect", "checkout", "cherry-pick", "clean", "commit", "config", "filter-branch", "gc", "init", "merge",
     "mv", "pull", "push", "rebase", "reset", "restore", "revert", "rm", "stash", "switch", "update-index", "update-ref"}
)  # fmt: skip
READS: Final = frozenset(
    {"--get", "--list", "-l", "--get-all", "--get-regexp", "--dry-run", "-n", "--help", "list", "--global"}
)
GIT_PLACES: Final = ("-C", "--git-dir", "--work-tree")
PRUNES: Final = re.compile(r"(docker|podman)\b.*\bprune\b")
UNKNOWN: Final = "\0"  # a word that only a running program knows
SAFE_VARIABLE: Final = re.compile(r"\$\{\w+:\?")

Word = tuple[str, Kinds]


def find_commands(unit: Unit, reading: Reading) -> Iterator[Finding]:
    """The commands of a unit that delete or rewrite where it happens to stand."""
    for site in unit.sites:
        call = site.call
        if reading.name_of(call.func, unit) not in RUNNERS or not call.args:
            continue
        place = place_of(call, unit, reading)
        for words in commands_in(call.args[0], unit, reading):
            why = complaint(words, place)
            if why:
                yield finding(COMMAND, unit, call, f"{why}: {source(call)}")
                break


def place_of(call: ast.Call, unit: Unit, reading: Reading) -> str:
    """Where a command runs: ``away`` from real data (or nobody knows), or in what kind of place."""
    moved = reading.surroundings.moved(unit)
    if any(word.arg is None for word in call.keywords):
        return "away"
    given = next((word.value for word in call.keywords if word.arg == "cwd"), None)
    if given is None or (isinstance(given, ast.Constant) and given.value is None):
        return "away" if moved & (Moved.CWD | Moved.DISK) else "the working directory"
    kinds = reading.lasting(reading.origins.of(given, unit), unit)
    return next(iter(sorted(kind.value for kind in kinds - {Kind.LISTED})), "away")


def commands_in(node: ast.expr, unit: Unit, reading: Reading) -> Iterator[list[Word]]:
    """The commands that an argument holds, as words; in a text for the shell there may be several."""
    node = definition(node, unit)
    if isinstance(node, ast.List | ast.Tuple):
        yield [word(one, unit, reading) for one in node.elts]
        return
    text = "".join(pieces(node, unit))
    kinds = filled_in(node, unit, reading)
    for command in re.split(r"&&|\|\||[;|\n]", text):
        yield [(one.strip("\"'"), kinds if UNKNOWN in one else frozenset()) for one in command.split()]


def filled_in(node: ast.expr, unit: Unit, reading: Reading) -> Kinds:
    """Where the places lie that are filled into a text: temporary when one of them is."""
    parts = [part.value for part in ast.walk(node) if isinstance(part, ast.FormattedValue)]
    parts += [part.right for part in ast.walk(node) if isinstance(part, ast.BinOp)]
    kinds = either(reading.origins.of(part, unit) for part in parts)
    return kinds & {Kind.TEMPORARY} or reading.lasting(kinds, unit)


def definition(node: ast.expr, unit: Unit) -> ast.expr:
    """What a plain name is given in the same unit or its module."""
    scope: Unit | None = unit
    while isinstance(node, ast.Name) and scope is not None:
        held = scope.bindings.get(node.id, [])
        if held:
            return held[-1].value if not held[-1].each else node
        scope = scope.outer
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("split", "format"):
        return node.func.value
    return node


def pieces(node: ast.expr, unit: Unit) -> Iterator[str]:
    """A text's parts, with `UNKNOWN` for what is filled in."""
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.JoinedStr(values=parts):
            for part in parts:
                yield from pieces(part, unit)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield from pieces(left, unit)
            yield from pieces(right, unit)
        case _:
            yield UNKNOWN


def word(node: ast.expr, unit: Unit, reading: Reading) -> Word:
    """One word of a command, with where it lies if it is a path."""
    kinds = reading.origins.of(node, unit)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value, kinds
    lasting = reading.lasting(kinds, unit)
    return UNKNOWN, kinds & {Kind.TEMPORARY} or lasting


def complaint(words: Sequence[Word], place: str) -> str:
    """What is wrong with a command; ``""`` when nothing is."""
    texts = [text for text, _ in words]
    while texts[:1] and (texts[0] in ("sudo", "env", "exec", "command") or re.match(r"\w+=", texts[0])):
        texts, words = texts[1:], words[1:]
    if not texts or any(Kind.TEMPORARY in kinds for _, kinds in words):
        return ""
    if PRUNES.match(" ".join(texts)):
        return "prunes what others on this machine made"
    name = texts[0].rpartition("/")[2]
    if name == "git":
        return git_complaint(words[1:], place)
    if name == "rm" and any(re.match(r"-\w*[rRf]|--recursive|--force", text) for text in texts):
        return rm_complaint(words[1:], place)
    if (name == "rsync" and any(text.startswith("--delete") for text in texts)) or (
        name == "find" and "-delete" in texts
    ):
        return f"{name} removes in {place}" if place != "away" and UNKNOWN not in "".join(texts) else ""
    return ""


def git_complaint(words: Sequence[Word], place: str) -> str:
    """``git`` with a command that changes the repository in which the process stands."""
    texts = [text for text, _ in words]
    if place == "away" or any(text.startswith(GIT_PLACES) for text in texts):
        return ""
    # `-c name=value` stands before the command.
    own = [text for index, text in enumerate(texts) if not (text == "-c" or (index and texts[index - 1] == "-c"))]
    if not own or own[0] not in GIT or not READS.isdisjoint(own):
        return ""
    if own[0] == "init" and len([text for text in own[1:] if not text.startswith("-")]):
        return ""
    return f"git {own[0]} changes the repository around {place}"


def rm_complaint(words: Sequence[Word], place: str) -> str:
    """``rm`` of a path that an empty variable, the home or the working directory decides."""
    for text, kinds in words:
        if text.startswith("-"):
            continue
        if re.match(r"\"?\$", text) and not SAFE_VARIABLE.match(text.lstrip('"')):
            return f"rm of {text}, which is another place where the variable is empty"
        if text.startswith("~") or not kinds.isdisjoint((Kind.HOME, Kind.XDG, Kind.STORE, Kind.HERE)):
            return "rm of a place that lasts"
        if UNKNOWN not in text and text[:1] not in ("/", "$") and place != "away":
            return f"rm of a path relative to {place}"
    return ""
