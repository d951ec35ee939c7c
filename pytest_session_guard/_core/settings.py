"""The option table, and the one place where values become `Settings`.

Adapters loop over `OPTIONS` for the command line, the ini file, ``--help`` and the README's table; nothing else knows
an option's name. A wrong value fails here, naming the option, where the value came from and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Final, Literal

from pytest_session_guard._core.errors import ConfigurationError
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Zone

MODES: Final = ("off", "report", "enforce")  # weakest first
LAYERS: Final = ("hook", "overlay", "seal", "manifest")
ENVIRONMENT_MODE: Final = "SESSION_GUARD"

# By how many bits a number of each is shifted to be one of bytes.
UNITS: Final = {"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30}

Kind = Literal["word", "lines", "path"]


@dataclass(frozen=True, slots=True)
class Option:
    """One option, in every form that it has.

    :param ini: its name in the ini file, or ``""`` when it has none.
    :param flag: its name on the command line, or ``""``; a ``lines`` option's flag may be given repeatedly.
    :param allowed: what a value may be, in the words of error messages and of the documentation.
    """

    ini: str
    flag: str
    kind: Kind
    metavar: str
    default: str
    allowed: str
    help: str

    @property
    def dest(self) -> str:
        """The attribute that argparse stores the flag in."""
        return self.flag.lstrip("-").replace("-", "_")

    @property
    def name(self) -> str:
        """The name that people know the option by."""
        return self.ini or self.flag


OPTIONS: Final = (
    Option("session_guard", "--session-guard", "word", "MODE", "enforce", "enforce, report or off",
           "refuse touches of real data (enforce), keep the data and only report them (report), or do nothing (off)"),
    Option("session_guard_protect", "--session-guard-protect", "lines", "PATH", "", "absolute paths, ~/... or {rootdir}/...",
           "protect PATH too, also inside the rootdir"),
    Option("session_guard_share", "--session-guard-share", "lines", "PATH", "", "absolute paths, ~/... or {rootdir}/...",
           "let the run create files in PATH; they are removed at the end and nothing else there may change"),
    Option("session_guard_free", "--session-guard-free", "lines", "PATH", "",
           "absolute paths, ~/..., {rootdir}/..., or globs of these or of names",
           "let the run do anything in PATH (a path or a glob), unrecorded"),
    Option("session_guard_workspace", "--session-guard-workspace", "word", "ZONE", "workspace",
           "free, workspace, shared or protected", "zone of the rootdir"),
    Option("session_guard_home", "--session-guard-home", "word", "WHAT", "keep", "keep or redirect",
           "give the run a home of its own (redirect), or the real one to read (keep)"),
    Option("session_guard_redirect", "", "lines", "TARGET = PLACE", "", "lines of TARGET = PLACE",
           "send TARGET (module:ATTR, env:NAME or a real path) to PLACE in each test's private directory"),
    Option("session_guard_reset", "", "lines", "MODULE:ATTR", "", "lines of module:ATTR",
           "start every test with this container or cache empty, or this value as it was"),
    Option("session_guard_layers", "--session-guard-layers", "word", "LIST", "auto",
           "auto, or a comma list of hook, overlay, seal, manifest", "layers to use"),
    Option("session_guard_require", "--session-guard-require", "word", "LIST", "",
           "a comma list of hook, overlay, seal, manifest", "layers without which the run stops at once, exit status 4"),
    Option("session_guard_tag", "", "lines", "GLOB", "", "globs",
           "tag files of shared zones that match GLOB as artifacts by themselves"),
    Option("session_guard_preimage_limit", "--session-guard-preimage-limit", "word", "SIZE", "256 MiB",
           "a number of bytes, KiB, MiB or GiB, such as 64 MiB",
           "let the run change files of the rootdir in place up to this SIZE, of which a copy is kept first"),
    Option("session_guard_dir", "--session-guard-dir", "path", "PATH", ".session_guard", "a path, relative to the rootdir or absolute",
           "directory of the ledger"),
    Option("", "--session-guard-json", "path", "PATH", "", "a path", "write the report as JSON to PATH"),
    Option("", "--session-guard-html", "path", "PATH", "", "a path", "write the report as a web page to PATH"),
)  # fmt: skip

BY_NAME: Final = {option.name: option for option in OPTIONS}


@dataclass(frozen=True, slots=True)
class Value:
    """A raw value and where it came from (``command line``, ``pyproject.toml``, ``environment``, ``default``)."""

    raw: Any
    source: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list option, with its source."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """One line of ``session_guard_redirect``, taken apart.

    :param kind: ``attribute`` (`module:ATTR`), ``environment`` (`env:NAME`) or ``root`` (a real path).
    :param place: relative to the private directory; stays inside it.
    """

    kind: Literal["attribute", "environment", "root"]
    target: str
    place: str
    source: str = "default"


@dataclass(frozen=True, slots=True)
class Settings:
    """All options of a run, checked; each list keeps its lines' sources."""

    mode: str = "enforce"
    mode_source: str = "default"
    protect: tuple[Line, ...] = ()
    share: tuple[Line, ...] = ()
    free: tuple[Line, ...] = ()
    workspace: Zone = Zone.WORKSPACE
    workspace_source: str = "default"
    home: str = "keep"
    redirects: tuple[Redirect, ...] = ()
    resets: tuple[Line, ...] = ()
    layers: tuple[str, ...] = ("auto",)
    require: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    preimage_limit_bytes: int = 256 << 20
    directory: str = ".session_guard"
    directory_source: str = "default"
    json_path: str = ""
    html_path: str = ""
    notes: tuple[str, ...] = field(default=())


def merge(raw: Mapping[str, Sequence[Value]]) -> Settings:
    """Check raw values and merge them.

    :param raw: option name (see `Option.name`) to its values, strongest source first; options that nobody set may
        be missing. ``lines`` options add up over their sources, of the others the first counts.
    :raises ConfigurationError: a value is not allowed.
    """
    unknown = set(raw) - set(BY_NAME)
    assert not unknown, f"unreachable because adapters loop over OPTIONS, got {unknown}"
    pick = _Picker(raw)
    mode, mode_source, notes = _mode(pick)
    workspace, workspace_source = pick.word("session_guard_workspace", tuple(Zone))
    home, _ = pick.word("session_guard_home", ("keep", "redirect"))
    directory, directory_source = pick.path("session_guard_dir")
    if not has_name(directory):
        raise pick.wrong("session_guard_dir", pick.first("session_guard_dir"), "is no directory of its own")
    return Settings(
        mode=mode,
        mode_source=mode_source,
        protect=pick.paths("session_guard_protect"),
        share=pick.paths("session_guard_share"),
        free=pick.paths("session_guard_free", globs=True),
        workspace=Zone(workspace),
        workspace_source=workspace_source,
        home=home,
        redirects=tuple(parse_redirect(line) for line in pick.lines("session_guard_redirect")),
        resets=tuple(_check_reset(line) for line in pick.lines("session_guard_reset")),
        layers=pick.layers("session_guard_layers", auto=True),
        require=pick.layers("session_guard_require", auto=False),
        tag=tuple(line.text for line in pick.globs("session_guard_tag")),
        preimage_limit_bytes=pick.size("session_guard_preimage_limit"),
        directory=directory,
        directory_source=directory_source,
        json_path=pick.path("--session-guard-json")[0],
        html_path=pick.path("--session-guard-html")[0],
        notes=notes,
    )


class _Picker:
    """Reads raw values by option name; every complaint names option and source."""

    def __init__(self, raw: Mapping[str, Sequence[Value]]) -> None:
        self.raw = raw

    def values(self, name: str) -> Sequence[Value]:
        return self.raw.get(name, ())

    def first(self, name: str) -> Value:
        values = [value for value in self.values(name) if value.source != ENVIRONMENT_MODE]
        return values[0] if values else Value(BY_NAME[name].default, "default")

    def wrong(self, name: str, value: Value, problem: str) -> ConfigurationError:
        return ConfigurationError(name, value.source, f"{problem}, got {value.raw!r}", BY_NAME[name].allowed)

    def word(self, name: str, allowed: Sequence[str]) -> tuple[str, str]:
        value = self.first(name)
        word = str(value.raw).strip()
        if word not in allowed:
            raise self.wrong(name, value, "is not one of the words it takes")
        return word, value.source

    def size(self, name: str) -> int:
        """Bytes."""
        value = self.first(name)
        said = re.fullmatch(r"\s*(\d{1,15})\s*(|B|KiB|MiB|GiB)\s*", str(value.raw), re.ASCII)
        if said is None:
            raise self.wrong(name, value, "is no size")
        return int(said[1]) << UNITS[said[2]]

    def lines(self, name: str) -> tuple[Line, ...]:
        out: dict[str, Line] = {}
        for value in self.values(name):
            rows = value.raw.splitlines() if isinstance(value.raw, str) else value.raw
            for row in rows:
                text = str(row).strip()
                if not text and isinstance(value.raw, str) and len(rows) > 1:
                    continue
                out.setdefault(text, Line(text, value.source))
        return tuple(out.values())

    def path(self, name: str) -> tuple[str, str]:
        value = self.first(name)
        path = str(value.raw)
        if value.source != "default" and not path.strip():
            raise self.wrong(name, value, "is empty")
        if "\0" in path:
            raise self.wrong(name, value, "holds a null byte")
        return path, value.source

    def paths(self, name: str, globs: bool = False) -> tuple[Line, ...]:
        return tuple(check_path(name, line, globs=globs) for line in self.lines(name))

    def globs(self, name: str) -> tuple[Line, ...]:
        return tuple(_check_text(name, line) for line in self.lines(name))

    def layers(self, name: str, auto: bool) -> tuple[str, ...]:
        value = self.first(name)
        words = tuple(word.strip() for word in str(value.raw).split(",") if word.strip())
        if auto and words in {(), ("auto",)}:
            return ("auto",)
        for word in words:
            if word not in LAYERS:
                raise self.wrong(name, value, f"holds the unknown layer {word!r}")
        return words


def _mode(pick: _Picker) -> tuple[str, str, tuple[str, ...]]:
    """The mode; the environment's is a floor that ini, conftest and command line may tighten but not weaken."""
    word, source = pick.word("session_guard", MODES)
    floor = next((value for value in pick.values("session_guard") if value.source == ENVIRONMENT_MODE), None)
    if floor is None or not str(floor.raw).strip():
        return word, source, ()
    least = str(floor.raw).strip()
    if least not in MODES:
        raise ConfigurationError(
            ENVIRONMENT_MODE,
            "environment",
            f"is not one of the words it takes, got {least!r}",
            "enforce, report or off",
        )
    if MODES.index(word) >= MODES.index(least):
        return word, source, ()
    note = f"SESSION_GUARD={least} in the environment outranks {word!r} ({source})"
    return least, "environment: SESSION_GUARD", (note,)


def check_path(option: str, line: Line, *, globs: bool = False) -> Line:
    """A declared path, wherever it comes from: the ini file, the command line, a conftest or a mark.

    :param globs: globs are fine too: anchored ones, names, and ``**/...``.
    :raises ConfigurationError: it is empty, relative, or a glob.
    """
    text = _check_text(option, line).text
    if globs and is_glob(text):
        if not is_anchored(text) and "/" in text and not text.startswith("**/"):
            raise _wrong_line(option, line, "is a relative glob")
    elif not is_anchored(text):
        raise _wrong_line(option, line, "is a relative path")
    elif "*" in text or "?" in text:
        # A bracket alone is a letter in many real names.
        raise _wrong_line(option, line, "is a glob")
    return line


def _check_text(option: str, line: Line) -> Line:
    if not line.text:
        raise _wrong_line(option, line, "is empty")
    if "\0" in line.text:
        raise _wrong_line(option, line, "holds a null byte")
    return line


def _wrong_line(option: str, line: Line, problem: str) -> ConfigurationError:
    allowed = BY_NAME[option].allowed if option in BY_NAME else BY_NAME["session_guard_protect"].allowed
    return ConfigurationError(option, line.source, f"{problem}, got {line.text!r}", allowed)


def is_anchored(path: str) -> bool:
    """Whether a configured path has a fixed start, so that it means the same from every working directory."""
    return path.startswith(("/", "~")) or re.match(r"(\{rootdir\}|[A-Za-z]:)[\\/]|\{rootdir\}$", path) is not None


def is_glob(path: str) -> bool:
    """Whether a configured path is a glob."""
    return any(sign in path for sign in "*?[")


def has_name(path: str) -> bool:
    """Whether a configured directory has a name of its own: ``.``, ``..``, ``/`` and ``~`` are directories of something else."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    return bool(parts) and parts[-1] not in ("..", "~", "{rootdir}")


def parse_redirect(line: Line) -> Redirect:
    """Take one ``TARGET = PLACE`` line apart.

    :raises ConfigurationError: it has another shape, or its place leaves the private directory.
    """
    complain: Callable[[str], ConfigurationError] = lambda problem: ConfigurationError(  # noqa: E731
        "session_guard_redirect",
        line.source,
        f"{problem}, got {line.text!r}",
        "module:ATTR = PLACE, env:NAME = PLACE or ~/real/path = PLACE, with PLACE relative to the test's private directory",
    )
    # Paths may hold "="; the sign that stands free is the one that is meant.
    spaced = line.text.partition(" = ")
    target, sign, place = (part.strip() for part in (spaced if spaced[1] else line.text.rpartition("=")))
    if not sign or not target or not place:
        raise complain("is no TARGET = PLACE line")
    if not is_inside_place(place):
        raise complain("has a place that leaves the private directory")
    if target.startswith("env:"):
        if not re.fullmatch(r"[^=\s]+", target[4:]):
            raise complain("names no environment variable")
        return Redirect("environment", target[4:], place, line.source)
    if is_anchored(target):
        return Redirect("root", target, place, line.source)
    if not is_attribute(target):
        raise complain("has a target that is neither module:ATTR nor env:NAME nor an absolute path")
    return Redirect("attribute", target, place, line.source)


def is_inside_place(place: str) -> bool:
    """Whether a place stays inside the private directory: relative, not empty, and never above its start."""
    parts = place.replace("\\", "/").split("/")
    return bool(place) and not is_anchored(place) and ".." not in parts and "\0" not in place


def is_attribute(target: str) -> bool:
    """Whether ``target`` has the form ``package.module:ATTR`` or ``package.module:Class.attr``."""
    return re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", target) is not None


def _check_reset(line: Line) -> Line:
    if not is_attribute(line.text):
        raise ConfigurationError(
            "session_guard_reset", line.source, f"is not of the form it takes, got {line.text!r}", "module:ATTR"
        )
    return line
