"""Children for what cannot be taken back, or needs another user than ours: interpreters that an ordinary user can reach."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from project import Account

import pytest_session_guard

ORDINARY_UID: Final = 12345
NEEDED: Final = ("pytest-session-guard", "pytest-xdist")
PROBE: Final = (
    "import pytest, xdist, pytest_session_guard.plugin, importlib.metadata as m; m.distribution('pytest-session-guard')"
)


@contextmanager
def ordinary_account() -> Iterator[tuple[Account, Path]]:
    """An account without privileges, and a directory that it owns; both are gone afterwards.

    The user of the suite itself when that is an ordinary one already. Root lends its interpreter to a user of its own; where
    that user cannot reach it (a home of mode 0700 on the way, no read permission on a checkout), a copy of what is needed.
    """
    place = Path(tempfile.mkdtemp(prefix="session-guard-ordinary-"))
    try:
        if os.geteuid() != 0:
            yield Account(), place
            return
        place.chmod(0o755)
        work = place / "work"
        work.mkdir()
        os.chown(work, ORDINARY_UID, ORDINARY_UID)
        if reaches(sys.executable):
            yield Account(sys.executable, ORDINARY_UID), work
            return
        python = copy_interpreter(place / "python")
        # A shared libpython is found by a path built into the executable, which leads back to where nobody else gets in.
        yield Account(os.fspath(python), ORDINARY_UID, os.fspath(place / "python" / "lib")), work
    finally:
        shutil.rmtree(place, ignore_errors=True)


def reaches(python: str) -> bool:
    """Whether the ordinary user can run an interpreter and import all that a run needs."""
    if not is_reachable(python):
        return False  # not even a PermissionError to catch: exec would fail in the child
    done = subprocess.run(
        [python, "-c", PROBE],
        user=ORDINARY_UID,
        group=ORDINARY_UID,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def is_reachable(path: str) -> bool:
    """Whether all directories on the way, symlinks resolved, let everybody through."""
    return all(parent.stat().st_mode & 0o001 for parent in Path(path).resolve().parents)


def copy_interpreter(target: Path) -> Path:
    """Copy the interpreter, its standard library and the distributions that a run needs; returns the copy's executable."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = target / "lib" / version
    executable = target / "bin" / version
    executable.parent.mkdir(parents=True)
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    shutil.copy2(base, executable)
    unwanted = shutil.ignore_patterns("test", "tests", "idlelib", "tkinter", "ensurepip", "site-packages", "config-*")
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=unwanted)
    site = library / "site-packages"
    site.mkdir()
    for name in sorted(closure(NEEDED)):
        copy_distribution(name, site)
    package = Path(pytest_session_guard.__file__).parent
    # Compiled files go along and stay valid: a copy keeps the times of its source.
    shutil.copytree(package, site / package.name, dirs_exist_ok=True)
    for shared in Path(sysconfig.get_config_var("LIBDIR") or "/nonexistent").glob(f"lib{version}*.so*"):
        shutil.copy2(shared, target / "lib")
    return executable


def closure(names: tuple[str, ...]) -> set[str]:
    """Distributions and all that they require, as far as installed here."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # required elsewhere only (another platform, an extra)
        if name not in found:
            found.add(name)
            wanted = [need for need in distribution.requires or () if "extra ==" not in need]
            pending += [re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0] for need in wanted]
    return found


def copy_distribution(name: str, site: Path) -> None:
    """Copy a distribution's files, its metadata included, into a site-packages directory."""
    for file in importlib.metadata.distribution(name).files or ():
        source = Path(str(file.locate()))
        if ".." not in file.parts and source.is_file() and source.suffix != ".pth":
            destination = site / str(file)
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, destination)
