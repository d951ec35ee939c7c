"""Starting over, once, where something is there already that escapes the layers: threads, subinterpreters."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import MutableMapping, Sequence
from typing import Final

from pytest_session_guard._core.settings import Settings
from pytest_session_guard._host.processes import end_children
from pytest_session_guard._run.walls import wanted_layers

RELAUNCHED_VARIABLE: Final = "SESSION_GUARD_RELAUNCHED"


def relaunch_if_late(settings: Settings, worker: str, environ: MutableMapping[str, str]) -> None:
    """Replace this process by the launcher with the same command, where that lets the guard start first.

    Only when this is pytest's own process, and only once; an ``import numpy`` of some plugin is enough to need it. Nothing
    has been opened or started yet: no conftest is imported, no test collected.
    """
    if worker or environ.pop(RELAUNCHED_VARIABLE, "") or "SESSION_GUARD_LAUNCH" in environ:
        return
    if "overlay" not in wanted_layers(settings) or sys.platform != "linux":
        return
    if thread_count() < 2 and not has_subinterpreters():
        return
    if not is_pytest_command(sys.orig_argv):
        return
    end_children()
    command = [sys.executable, "-m", "pytest_session_guard", "run", "--", *sys.orig_argv]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, {**environ, RELAUNCHED_VARIABLE: "1"})


def thread_count() -> int:
    """How many threads this process has, native ones included; without ``/proc`` those that Python knows of."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def has_subinterpreters() -> bool:
    """Whether there are other interpreters in this process: no hook is in them, and a fork hangs for ever (CPython 3.11)."""
    names = ("_interpreters", "_xxsubinterpreters")
    modules = [sys.modules[name] for name in names if name in sys.modules]
    return any(len(module.list_all()) > 1 for module in modules)


def is_pytest_command(command: Sequence[str]) -> bool:
    """Whether a command starts pytest itself, so that it can be asked for its plan."""
    words = [os.path.basename(word) for word in command]
    if words and words[0].startswith("python"):
        words = words[1:]
        while words and words[0].startswith("-") and words[0] != "-m":
            words = words[2:] if words[0] in ("-W", "-X") else words[1:]
        if words[:1] == ["-m"]:
            return words[1:2] in (["pytest"], ["py.test"])
    return words[:1] in (["pytest"], ["py.test"], ["pytest.exe"])
