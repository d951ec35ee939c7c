"""The run's own place in the temp directory: the sink, private directories, and a home if it was asked for."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import MutableMapping
from typing import Final

from pytest_session_guard._host.fsops import OwnPath, Raw, make_directory

PREFIX: Final = "pytest-session-guard-"
FINISHED: Final = ".finished"
KEPT: Final = 3  # as many as pytest keeps of its own temporary directories

# Variables that lead to a home, and where in the run's own home they lead.
HOME_VARIABLES: Final = {
    "HOME": "",
    "USERPROFILE": "",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
    "XDG_CACHE_HOME": ".cache",
    "APPDATA": "AppData/Roaming",
    "LOCALAPPDATA": "AppData/Local",
}


class Retreat:
    """A directory of one run, below one that all runs of this user share.

    :ivar path: absolute; named after the run's id.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @classmethod
    def create(cls, name: str) -> Retreat:
        """The run's directory, made; what earlier runs left there beyond the newest few is removed.

        :raises OSError: the temp directory takes nothing.
        """
        base = _base()
        make_directory(base)
        state = Raw.lstat(base)
        if hasattr(os, "getuid") and (state.st_uid != os.getuid() or state.st_mode & 0o077 or os.path.islink(base)):
            # Somebody else's, or open to others: a directory with a name that nobody can guess serves as well.
            base = tempfile.mkdtemp(prefix=PREFIX)
        _prune(base)
        path = os.path.join(base, name)
        make_directory(path)
        return cls(path)

    @classmethod
    def find(cls, name: str) -> Retreat | None:
        """The run's directory, if another process of the run has made it."""
        path = os.path.join(_base(), name)
        return cls(path) if os.path.isdir(path) and not os.path.islink(path) else None

    def directory(self, *parts: str) -> str:
        """A directory in it, made if missing."""
        path = os.path.join(self.path, *parts)
        make_directory(path)
        return path

    def finish(self, keep: bool) -> None:
        """The run is over: remove it all, or keep it to be looked at until newer ones take its place."""
        if not keep:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        Raw.close(Raw.open(OwnPath(os.path.join(self.path, FINISHED)), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _base() -> str:
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    return os.path.join(os.path.realpath(tempfile.gettempdir()), f"{PREFIX}{owner}")


def _prune(base: str) -> None:
    """Remove what finished runs left, oldest first, but for the newest few. Run ids sort by time."""
    finished = sorted(name for name in Raw.listdir(base) if os.path.lexists(os.path.join(base, name, FINISHED)))
    for name in finished[:-KEPT]:
        shutil.rmtree(os.path.join(base, name), ignore_errors=True)


def move_home(environ: MutableMapping[str, str], home: str) -> None:
    """Give the run a home of its own: every variable that leads to one leads into ``home``."""
    for name, below in HOME_VARIABLES.items():
        path = os.path.join(home, below) if below else home
        make_directory(path)
        environ[name] = path
