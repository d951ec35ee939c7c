"""What was there before the guard: descriptors, shared mappings, threads and children that no kernel layer holds."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Iterator
from stat import S_ISDIR, S_ISREG, S_IWUSR
from typing import Final

from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Policy, Zone, is_within
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.identity import real_path_of_fd
from pytest_session_guard._host.processes import command_of

STANDARD_STREAMS: Final = (0, 1, 2)  # where the user's own shell sends them is the user's business
NO_DESCRIPTOR: Final = -1
# Descriptors of their directories lead to no file of anybody.
_FILELESS: Final = ("/proc", "/sys", "/dev")
_COMMAND_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Found:
    """One thing from before the guard.

    :param clause: what it is, for people.
    :param path: the protected file or directory that it leads to; ``""`` where nothing can be compared.
    :param fd: the descriptor that leads there, or `NO_DESCRIPTOR`.
    """

    clause: str
    path: str = ""
    fd: int = NO_DESCRIPTOR
    is_directory: bool = False


def inherited(policy: Policy, ledger: str, own: Collection[int] = (), processes: Iterable[int] = ()) -> list[Found]:
    """Each thing from before the guard that could still change what is protected.

    :param ledger: the guard's own place, where its own journal is open already.
    :param own: further descriptors of the guard's own.
    :param processes: the children, and all below them, that were there before the guard had any.
    """
    return [*_descriptors(policy, ledger, own), *_mappings(policy), *_threads(), *_processes(processes)]


def _descriptors(policy: Policy, ledger: str, own: Collection[int]) -> Iterator[Found]:
    streams = {state for fd in STANDARD_STREAMS if (state := _object(fd)) is not None}
    told: set[str] = set()
    for fd in sorted(map(int, _names("/proc/self/fd"))):
        state, path = _object(fd), real_path_of_fd(fd)
        if state is None or path is None or fd in own or is_within(path, ledger):
            continue
        is_protected = policy.rule_for(path).zone is Zone.PROTECTED
        if state in streams:
            # A copy of a standard stream, the guard's own included, is one too.
            if is_protected and path not in told and _is_open_for_writing(fd):
                told.add(path)
                yield Found(f"what is printed goes to {path!r}, as it was started")
            continue
        yield from _descriptor(fd, path, is_protected)


def _descriptor(fd: int, path: str, is_protected: bool) -> Iterator[Found]:
    try:
        mode = Raw.fstat(fd).st_mode
    except OSError:
        return  # it was the listing's own
    if S_ISDIR(mode) and not any(is_within(path, place) for place in _FILELESS):
        yield Found(f"directory descriptor {fd} was open before: {path!r}", path if is_protected else "", fd, True)
    if not S_ISREG(mode) or not is_protected:
        return
    if _is_open_for_writing(fd):
        yield Found(f"descriptor {fd} was open for writing before: {path!r}", path, fd)
    elif os.access(f"/proc/self/fd/{fd}", os.W_OK):
        yield Found(
            f"descriptor {fd} was open before, for reading, and /proc lets it be opened for writing: {path!r}", path, fd
        )


def _object(fd: int) -> tuple[int, int] | None:
    """Which regular file or directory a descriptor leads to."""
    try:
        found = Raw.fstat(fd)
    except OSError:
        return None
    is_file = (S_ISREG(found.st_mode) or S_ISDIR(found.st_mode)) and found.st_nlink
    return (found.st_dev, found.st_ino) if is_file else None


def _is_open_for_writing(fd: int) -> bool:
    try:
        # The link's permission bits are the descriptor's access mode (proc_pid_fd(5)).
        return bool(Raw.lstat(f"/proc/self/fd/{fd}").st_mode & S_IWUSR)
    except OSError:
        return False


def _mappings(policy: Policy) -> Iterator[Found]:
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.rstrip("\n").split(None, 5) for line in file]
    except OSError:
        return
    for path in sorted({row[5] for row in rows if len(row) == 6 and row[1].startswith("rw") and row[1][3] == "s"}):
        if path.startswith("/") and policy.rule_for(path.removesuffix(" (deleted)")).zone is Zone.PROTECTED:
            yield Found(f"a shared mapping was made before: {path!r}", path)


def _threads() -> Iterator[Found]:
    # Without /proc those that Python knows of.
    count = (len(_names("/proc/self/task")) or threading.active_count()) - 1
    if count > 0:
        names = sorted(thread.name for thread in threading.enumerate() if thread is not threading.current_thread())
        known = f": {', '.join(names)}" if names else ""
        yield Found(f"{count} {'threads were' if count > 1 else 'thread was'} running before{known}")


def _processes(pids: Iterable[int]) -> Iterator[Found]:
    own = command_of(os.getpid())
    for pid in pids:
        command = command_of(pid)
        if command:  # one without has ended, and waits to be asked for its status
            what = "a fork of this process" if command == own else "a child"
            yield Found(f"{what} was running before: {pid} {command[:_COMMAND_SHOWN]}")


def _names(path: str) -> list[str]:
    try:
        return Raw.listdir(path)
    except OSError:
        return []
