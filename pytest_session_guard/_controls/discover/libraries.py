"""What well-known functions and variables give, on Linux."""

from __future__ import annotations

import re
from typing import Final

# Directories that belong to all applications together: a root line names what lies in them, not them.
COMMON: Final = {
    "~/.config": "config",
    "~/.local/share": "data",
    "~/.local/state": "state",
    "~/.local/bin": "bin",
    "~/.local": "local",
    "~/.cache": "cache",
    "~/AppData/Roaming": "roaming",
    "~/AppData/Local": "local",
    "~/AppData": "appdata",
    "~/Library/Application Support": "data",
    "~/Library/Preferences": "config",
    "~/Library/Caches": "cache",
    "~/Library/Logs": "logs",
    "~/Library": "library",
    "~/Documents": "documents",
    "~/Downloads": "downloads",
}
HOMES: Final = {
    "HOME": "~",
    "USERPROFILE": "~",
    "XDG_CONFIG_HOME": "~/.config",
    "XDG_DATA_HOME": "~/.local/share",
    "XDG_STATE_HOME": "~/.local/state",
    "XDG_CACHE_HOME": "~/.cache",
    "APPDATA": "~/AppData/Roaming",
    "LOCALAPPDATA": "~/AppData/Local",
}
# Variables that point to programs, devices or other people's places.
NO_DATA: Final = frozenset(
    {"PATH", "PYTHONPATH", "PATHEXT", "EDITOR", "VISUAL", "PAGER", "SHELL", "TERM", "TMPDIR", "TEMP", "TMP", "PWD", "OLDPWD",
     "CONDA_PREFIX", "VIRTUAL_ENV", "PROGRAMDATA", "ProgramData", "PROGRAMFILES", "SYSTEMROOT", "WINDIR", "ALLUSERSPROFILE",
     "PKG_CONFIG_PATH", "LD_LIBRARY_PATH", "MANPATH", "R_HOME", "JAVA_HOME", "GOPATH", "CARGO_HOME", "RUSTUP_HOME", "NVM_DIR",
     "XDG_CONFIG_DIRS", "XDG_DATA_DIRS", "XDG_RUNTIME_DIR", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "CI", "USER", "LOGNAME"}
)  # fmt: skip
PROGRAMS: Final = ("_EXE", "_BIN", "_EXECUTABLE", "_COMMAND", "_CMD")  # a variable that names a program
APP_DIRS: Final = {
    "data": "~/.local/share",
    "config": "~/.config",
    "cache": "~/.cache",
    "state": "~/.local/state",
    "log": "~/.local/state",
    "documents": "~/Documents",
    "downloads": "~/Downloads",
}
DIRS_MODULES: Final = ("platformdirs", "appdirs", "xdg_base_dirs", "xdg")
PATH_TYPES: Final = frozenset(
    f"pathlib.{name}" for name in ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
)
SAME_PATH: Final = frozenset(
    {"str", "bytes", "os.fspath", "os.fsencode", "os.fsdecode", "os.path.abspath", "os.path.realpath", "os.path.normpath",
     "os.path.normcase", "os.path.expandvars"}
)  # fmt: skip
SAME_METHODS: Final = frozenset(
    {"resolve", "absolute", "expanduser", "as_posix", "rstrip", "strip", "lstrip", "encode", "decode", "__fspath__"}
)


def app_directory(function: str, app: str) -> str | None:
    """The path that a function of platformdirs, appdirs or click gives, or ``None`` for others.

    :param function: its dotted name.
    :param app: the application's name as it is passed, or ``""``.
    """
    module, _, name = function.rpartition(".")
    if module.partition(".")[0] in ("click", "typer") and name == "get_app_dir":
        return f"~/.config/{'-'.join(app.split()).lower()}"
    if module.partition(".")[0] not in DIRS_MODULES:
        return None
    if name.startswith("xdg_") and name.endswith("_home"):
        return APP_DIRS.get(name[4:-5])
    match = re.fullmatch(r"user_(\w+?)_(?:dir|path)", name)
    base = APP_DIRS.get(match[1]) if match else None
    if base is None:
        return None
    return f"{base}/{app}" if app and match and match[1] not in ("documents", "downloads") else base
