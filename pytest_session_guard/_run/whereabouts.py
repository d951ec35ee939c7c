"""Where the ledger of a checkout is, for commands that pytest does not start: nothing of pytest is imported."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Mapping
from typing import Final

from pytest_session_guard._core.errors import ConfigurationError
from pytest_session_guard._core.settings import BY_NAME, has_name
from pytest_session_guard._host.identity import resolve_missing
from pytest_session_guard._run.checkouts import configuration

OPTION: Final = BY_NAME["session_guard_dir"]


def state_directory(rootdir: str, given: str = "") -> str:
    """Where a checkout's ledger is: as given, as its configuration says, or ``.session_guard`` in it.

    :param given: what the command line says, absolute or relative to the rootdir.
    :raises ConfigurationError: the directory has no name of its own.
    """
    told = given or str((configuration(rootdir) or {}).get(OPTION.ini, "")) or OPTION.default
    if not has_name(told):
        source = f"command line: {OPTION.flag}" if given else "the checkout's configuration"
        raise ConfigurationError(OPTION.ini, source, f"is no directory of its own, got {told!r}", OPTION.allowed)
    return ledger_place(resolve_missing(os.path.abspath(rootdir)), told, os.environ)


def ledger_place(rootdir: str, told: str, environ: Mapping[str, str]) -> str:
    """The directory of a ledger. For a checkout on a read-only disk the default one is elsewhere, always at the same place.

    :param rootdir: absolute and real.
    :param told: what the configuration says, absolute or relative to the rootdir.
    """
    path = resolve_missing(os.path.join(rootdir, os.path.expanduser(told.replace("{rootdir}", rootdir))))
    if told != OPTION.default or may_hold_ledger(path):
        return path
    return ledger_elsewhere(rootdir, environ)


def may_hold_ledger(path: str) -> bool:
    """Whether a path lies on a disk that is not read-only; a missing permission is the user's to mend, not to be passed over."""
    place = path if os.path.isdir(path) else os.path.dirname(path)
    try:
        return not os.statvfs(place).f_flag & os.ST_RDONLY
    except (OSError, AttributeError):
        return True  # nobody can tell; whoever makes it will see


def ledger_elsewhere(rootdir: str, environ: Mapping[str, str]) -> str:
    """Where the ledger of a checkout on a read-only disk is: the user's runtime directory, else the temp directory."""
    runtime = environ.get("XDG_RUNTIME_DIR") or ""
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    usable = os.path.isabs(runtime) and os.access(runtime, os.W_OK | os.X_OK)
    place = runtime if usable else tempfile.gettempdir()
    return f"{resolve_missing(place).rstrip('/')}/pytest-session-guard-{owner}-{zlib.crc32(os.fsencode(rootdir)):08x}"
