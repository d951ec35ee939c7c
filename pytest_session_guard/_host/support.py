"""What a layer can be on this machine, found out by trying it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Final, Literal

from pytest_session_guard._core.values import dataclass

Status = Literal["enforced", "partial", "unavailable"]

# Elsewhere nothing of the kernel layers can even be imported: they are made of Linux's own calls and flags.
HAS_KERNEL_LAYERS: Final = sys.platform == "linux"
LINUX_ONLY: Final = f"only Linux has it, and this is {sys.platform}"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Whether a layer can be had here.

    :param reason: one clause that a user can act on; empty when there is nothing to say.
    :param abi: the version of the kernel's interface, where it has one.
    """

    status: Status
    reason: str = ""
    abi: int | None = None


def tried_in_child(trial: Callable[[], str]) -> str:
    """The answer that `trial` gives in a forked child of its own; ``error: …`` when the child died instead.

    What `trial` does to its process (namespaces, restrictions) goes with the child.

    :raises OSError: no child can be made.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(writing, trial().encode("utf-8", "surrogateescape"))
            code = 0
        finally:
            # Never let a forked test process run the parent's atexit handlers and finally clauses.
            os._exit(code)
    os.close(writing)
    with open(reading, "rb") as answer:
        text = answer.read().decode("utf-8", "surrogateescape")
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return f"error: the trial was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return text or "error: the trial ended without an answer"
