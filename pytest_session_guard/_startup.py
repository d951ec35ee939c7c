"""Guards the Python children of a run, from the start of the interpreter.

A ``.pth`` file beside the package imports this module when ``SESSION_GUARD_RUN`` is in the environment, so it reaches
children that ignore ``PYTHON*`` variables too (``-E``, ``-I``); not those started with ``-S`` or with an emptied
environment: the kernel layers hold these.

It must cost a child next to nothing: only `sys` and the hook. Policy and ledger are read at the child's first attempt to
write anything.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# The names of `_core.events.EVENTS`, spelled out because importing that module costs more than this whole file; a test
# compares the two. The flags are those of `_core.events.WRITE_FLAGS`.
WATCHED = frozenset(
    (
        "os.remove", "os.rmdir", "os.rename", "os.mkdir", "os.mkfifo", "os.mknod", "os.chroot", "os.truncate", "os.link", "os.symlink",
        "os.chmod", "os.chown", "os.utime", "os.setxattr", "os.removexattr", "os.chflags", "sqlite3.connect", "mmap.__new__",
        "fcntl.ioctl", "socket.bind", "_thread.start_new_thread", "_thread.start_joinable_thread",
    )
)  # fmt: skip
_os = sys.modules["os"]
WRITE_FLAGS = _os.O_WRONLY | _os.O_RDWR | _os.O_CREAT | _os.O_TRUNC | _os.O_APPEND


class Startup:
    """The hook of a child: asleep until something is written, gone when the plugin takes over."""

    judge: Callable[[str, tuple[Any, ...]], None] | None = None
    loading = False
    retired = False


def wake() -> Callable[[str, tuple[Any, ...]], None]:
    """Read the run's policy and open a journal; what the imports write meanwhile is let through."""
    Startup.loading = True
    try:
        from pytest_session_guard._run.child import join_as_child

        Startup.judge = join_as_child(_os.environ).judge
    finally:
        Startup.loading = False
    return Startup.judge


def hook(
    event: str,
    args: tuple[Any, ...],
    *,
    # Its own: a test may clear this module, and the interpreter does at its end. An error in here would refuse the call,
    # and nobody would hear of it.
    _state: type[Startup] = Startup,
    _watched: frozenset[str] = WATCHED,
    _write_flags: int = WRITE_FLAGS,
    _wake: Callable[[], Callable[[str, tuple[Any, ...]], None]] = wake,
) -> None:
    """The audit hook."""
    if event == "open":
        if not args[2] & _write_flags:
            return
    elif event not in _watched:
        return
    if _state.retired or _state.loading:
        return
    judge = _state.judge
    if judge is None:
        if event.startswith("_thread."):
            return
        judge = _wake()
    judge(event, args)


def retire() -> None:
    """The plugin guards this process from now on (it is a worker, or the run's own pytest)."""
    Startup.retired = True


sys.addaudithook(hook)
