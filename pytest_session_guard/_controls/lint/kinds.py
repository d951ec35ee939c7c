"""Where a path may lie, as far as a test's source tells, and the names from which that is told."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final


class Kind(Enum):
    """One thing that is known of a path. Nothing known is no kind at all, and nothing is said of it."""

    TEMPORARY = "a temporary directory"
    HOME = "the user's home"
    XDG = "a directory that an XDG variable names before the home does"
    STORE = "a place that the application names"
    HERE = "the checkout"
    CWD = "the working directory"
    TILDE = "a text that expanduser makes a path below the home"
    LISTED = "what a listing gave"
    UNIQUE = "a name that was made for this process"


Kinds = frozenset[Kind]
NOTHING: Final[Kinds] = frozenset()
TEMPORARY: Final[Kinds] = frozenset({Kind.TEMPORARY})
LASTING: Final[tuple[Kind, ...]] = (Kind.HOME, Kind.XDG, Kind.STORE, Kind.HERE, Kind.CWD)

# Fixtures of pytest, of this plugin and of widely used others that give a place of the test's own.
TEMPORARY_FIXTURES: Final = frozenset(
    {"tmp_path", "tmp_path_factory", "tmpdir", "tmpdir_factory", "pytester", "testdir", "session_guard", "session_dir",
     "session_index", "datadir", "shared_datadir", "lazy_datadir", "lazy_shared_datadir", "fs"}
)  # fmt: skip
FAKE_DISKS: Final = frozenset({"fs", "fs_class", "fs_module", "fs_session", "mock_fs", "fake_filesystem"})
HOME_VARIABLES: Final = re.compile(r"HOME|USERPROFILE|HOMEPATH")
# They go before the home: who moves the home alone has not moved them.
XDG_VARIABLES: Final = re.compile(r"XDG_\w+_HOME|APPDATA|LOCALAPPDATA")
PLACE_VARIABLES: Final = re.compile(r"(\w+_)?(HOME|DIR|PATH|ROOT|DIRECTORY|FOLDER|USERPROFILE|APPDATA|LOCALAPPDATA)")
# Variables that name places where programs are looked for; nothing is written there on their word.
SEARCH_PATHS: Final = frozenset(
    {"PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "MANPATH", "JAVA_HOME", "PYTHONHOME", "DYLD_LIBRARY_PATH", "NODE_PATH",
     "TMPDIR", "GIT_EXEC_PATH", "R_HOME", "SPARK_HOME", "CUDA_HOME", "PKG_CONFIG_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH"}
)  # fmt: skip
PLACE_NAME: Final = re.compile(
    r"(_?([A-Z0-9]+_)*(DIR|DIRS|PATH|FILE|FOLDER|HOME|ROOT|DB|STORE|DATABASE|DIRECTORY)|\w+_(dir|path|file|folder|home|directory))"
)
STORE_FUNCTION: Final = re.compile(
    r"(get_|default_|user_|data_|config_|app_|session_|cache_|state_)\w*(dir|home|folder|directory|path)"
)
HOME_TEXT: Final = re.compile(r"(/home/|/Users/|/root(/|$)|[A-Za-z]:[\\/]Users[\\/])")
TEMPORARY_TEXT: Final = re.compile(r"(/private)?(/tmp|/var/tmp|/dev|/proc|/nonexist\w*)(/|$)")
FLAG_TEXT: Final = re.compile(r"|[01]|true|false|yes|no|on|off", re.IGNORECASE)
TEST_NAME: Final = re.compile(r"(^|\.)(tests?|testing|conftest|test_\w+|\w+_tests?|testutils?|helpers?)(\.|$)")


def of_text(text: str) -> Kinds:
    """What a text is, taken for a path."""
    if text.startswith("~"):
        return frozenset({Kind.TILDE})
    if HOME_TEXT.match(text):
        return frozenset({Kind.HOME})
    if TEMPORARY_TEXT.match(text):
        return TEMPORARY
    # An absolute path elsewhere, a URL, SQLite's :memory: are none of the places that are known.
    if not text or text[0] in "/\\:<" or re.match(r"[A-Za-z]:[\\/]|\w+:", text):
        return NOTHING
    return frozenset({Kind.CWD})


def joined(parts: Sequence[Kinds]) -> Kinds:
    """What a path is that is put together: it lies where its first part does, unless a later one is absolute."""
    if not parts:
        return NOTHING
    listed = frozenset().union(*parts) & {Kind.LISTED, Kind.UNIQUE}
    for strong in (Kind.TEMPORARY, Kind.HOME, Kind.XDG):
        if any(strong in part for part in parts):
            return listed | frozenset().union(*parts) & (
                {strong} if strong is Kind.TEMPORARY else {Kind.HOME, Kind.XDG}
            )
    return listed | parts[0]


def either(choices: Iterable[Kinds]) -> Kinds:
    """What one of several alternatives is."""
    return frozenset().union(*choices)


def expanded(kinds: Kinds) -> Kinds:
    """A path after ``expanduser``."""
    return kinds - {Kind.TILDE} | {Kind.HOME} if Kind.TILDE in kinds else kinds


def gives_a_store(name: str) -> bool:
    """Whether a function of this dotted name gives a place of the application, and makes no new one."""
    last = name.rpartition(".")[2]
    return names_a_store(name) and STORE_FUNCTION.fullmatch(last) is not None


def names_a_store(name: str) -> bool:
    """Whether a dotted name is that of a place which an application (no standard module, no test's helper) names."""
    head, _, last = name.rpartition(".")
    top = head.partition(".")[0]
    return (
        bool(top)
        and top not in sys.stdlib_module_names
        and top not in ("self", "cls", "pytest", "_pytest")
        and PLACE_NAME.fullmatch(last) is not None
        and not TEST_NAME.search(name)
    )
