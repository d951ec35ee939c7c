"""Which checkout a directory belongs to, and what it has configured for pytest: on every platform, with no layer in reach."""

from __future__ import annotations

import os
from typing import Any, Final

from pytest_session_guard._core.errors import ConfigurationError
from pytest_session_guard._core.settings import BY_NAME

OPTION: Final = BY_NAME["session_guard_dir"]
# Configuration files in pytest's order, and the table in each that is pytest's.
INI_FILES: Final = (
    ("pytest.ini", "pytest"),
    (".pytest.ini", "pytest"),
    ("tox.ini", "pytest"),
    ("setup.cfg", "tool:pytest"),
)
TOML_FILES: Final = (
    ("pytest.toml", (("pytest",),)),
    (".pytest.toml", (("pytest",),)),
    ("pyproject.toml", (("tool", "pytest", "ini_options"), ("tool", "pytest"))),
)
# What says that a directory is a project of its own, though pytest has no configuration there.
PROJECT_SIGNS: Final = ("pyproject.toml", "setup.py", "setup.cfg", ".git")


def find_rootdir(start: str) -> str:
    """The checkout around ``start``: the nearest directory, upwards, that holds a ledger or pytest's configuration.

    A ledger above a project of its own is another checkout's, such as one of a run in the home directory; configuration above
    it is what pytest goes by. Where there is neither, the project, else ``start``.
    """
    here = os.path.realpath(start)
    candidate, project = here, ""
    while True:
        has_ledger = os.path.isdir(f"{candidate}/{OPTION.default}/runs")
        if (has_ledger and not project) or configuration(candidate) is not None:
            return candidate
        if not project and any(os.path.exists(f"{candidate}/{sign}") for sign in PROJECT_SIGNS):
            project = candidate
        above = os.path.dirname(candidate)
        if above == candidate:
            return project or here
        candidate = above


def configuration(rootdir: str) -> dict[str, Any] | None:
    """Pytest's own table in a directory's configuration files, or ``None`` when no file has one.

    :raises ConfigurationError: a file cannot be read.
    """
    for name, tables in TOML_FILES:
        found = _from_toml(f"{rootdir}/{name}", tables)
        if found is not None:
            return found
    for name, section in INI_FILES:
        found = _from_ini(f"{rootdir}/{name}", section)
        if found is not None:
            return found
    return None


def _from_toml(path: str, tables: tuple[tuple[str, ...], ...]) -> dict[str, Any] | None:
    # Imported here and below: a run has its configuration from pytest, and need not pay for readers of its own.
    import tomllib

    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        raise _unreadable(path, problem) from problem
    for names in tables:
        table: Any = content
        for name in names:
            table = table.get(name) if isinstance(table, dict) else None
        if isinstance(table, dict):
            return table
    return None


def _from_ini(path: str, section: str) -> dict[str, Any] | None:
    import configparser

    # Raw: a percent sign is no interpolation to pytest either.
    parser = configparser.RawConfigParser(strict=False)
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, configparser.Error) as problem:
        raise _unreadable(path, problem) from problem
    if parser.has_section(section):
        return dict(parser.items(section))
    return {} if os.path.basename(path) in ("pytest.ini", ".pytest.ini") else None


def _unreadable(path: str, problem: Exception) -> ConfigurationError:
    return ConfigurationError(OPTION.ini, path, f"cannot be read: {problem}", f"a readable file, or {OPTION.flag}=PATH")
