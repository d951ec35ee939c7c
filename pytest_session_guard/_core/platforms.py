"""On which platforms the guard works at all."""

from __future__ import annotations

from typing import Final

from pytest_session_guard._core.errors import LayerUnavailableError

NOT_YET: Final = (
    "session-guard does not work on Windows yet, so nothing was started and nothing was changed; to run without it: "
    "-p no:session_guard or --session-guard=off (also in PYTEST_ADDOPTS), or session_guard = off in the ini file"
)


def is_supported(system: str) -> bool:
    """Whether the guard works on a system, by the word of `os.name` for it.

    Zones, ledger and hook know paths that begin with ``/``; on Windows none does, so a run would look guarded and not be.
    """
    return system != "nt"


def insist_on_platform(system: str) -> None:
    """Stop at once where the guard does not work, before anything of it that the system has not is imported.

    :raises LayerUnavailableError: it does not.
    """
    if not is_supported(system):
        raise LayerUnavailableError("hook", NOT_YET)
