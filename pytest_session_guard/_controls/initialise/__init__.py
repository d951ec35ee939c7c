"""Writing options into a project's own configuration file, every other byte of it kept as it is.

A plan is made first and shown; nothing here writes to disk.
"""

from __future__ import annotations

import difflib
import os
import re
from typing import Final

from pytest_session_guard._controls.initialise.ini import Options, edit_ini
from pytest_session_guard._controls.initialise.toml import NATIVE_TABLE, TABLE, edit_toml, toml_spans
from pytest_session_guard._core.values import dataclass

__all__ = ["Plan", "plan_init"]

INI_SECTIONS: Final = {"pytest.ini": "pytest", ".pytest.ini": "pytest", "tox.ini": "pytest", "setup.cfg": "tool:pytest"}


OWN_FILES: Final = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")


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
        lines = difflib.unified_diff(
            self.old.splitlines(), self.new.splitlines(), f"{name} now", f"{name} then", lineterm=""
        )
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
        return Plan(file, old, edit_toml(old, options, file))
    return Plan(file, old, edit_ini(old, INI_SECTIONS[os.path.basename(file)], options))


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
    for name in OWN_FILES:
        path = os.path.join(rootdir, name)
        if os.path.isfile(path):
            return path, name.rpartition(".")[2]
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
