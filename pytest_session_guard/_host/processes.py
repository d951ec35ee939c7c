"""Processes: adopting orphans, waiting for what is left, telling who is who."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

PR_SET_CHILD_SUBREAPER: Final = 36
POLL_S: Final = 0.02
CHILDREN_LIMIT_S: Final = 1.0
THREADS_ASKED: Final = 8
TEST_VARIABLE: Final = b"PYTEST_CURRENT_TEST="
_FIRST_SLEEP: Final = {b"State:": b"S", b"Threads:": b"1", b"voluntary_ctxt_switches:": b"1"}
_TELL_OF_SLEEP: Final = tuple(_FIRST_SLEEP)


def adopt_orphans() -> bool:
    """Become the parent of every descendant whose own parent ends; ``False`` where the kernel has no such thing."""
    # Imported here: ctypes costs milliseconds that only the launcher has to pay.
    from pytest_session_guard._host import syscalls

    try:
        syscalls.call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (OSError, AttributeError):
        return False
    return True


def children(pid: int | str = "self") -> list[int]:
    """The living children of a process, zombies included, whichever of its threads started them."""
    found: list[int] = []
    for task in _names(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += [int(word) for word in file.read().split()]
        except OSError:
            continue  # the thread has ended meanwhile
    return found


def descendants(pid: int | str = "self") -> list[int]:
    """The children of a process and all below them, as far as no link of the chain has ended."""
    found = children(pid)
    for child in found:
        found += descendants(child)
    return found


def parent_of(pid: int) -> int:
    """The process that a process is a child of, or 0 for one that has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name before it is in parentheses, and may hold some itself (proc_pid_stat(5)).
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def process_of(thread: int) -> int:
    """The process that a thread is one of.

    :raises OSError: it is gone.
    """
    with open(f"/proc/{thread}/status", "rb") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(b"Tgid:"))


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits to be asked for its status."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except (OSError, IndexError):
        return True


def asleep_s(pid: int) -> float:
    """For how long, at the least, a process has been asleep that never slept before; 0 for any other.

    It went to sleep when it had been started, had run for as long as it did, and had waited for a processor.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            facts = dict(line.split(None, 2)[:2] for line in file if line.startswith(_TELL_OF_SLEEP))
        with open(f"/proc/{pid}/stat", "rb") as file:
            started = int(file.read().rpartition(b")")[2].split()[19])
        with open(f"/proc/{pid}/schedstat", "rb") as file:
            ran_ns, delayed_ns, _ = map(int, file.read().split())
    except (OSError, IndexError, ValueError):
        return 0.0
    if facts != _FIRST_SLEEP or not ran_ns:
        return 0.0
    # A tick of that clock has begun, and may have been over.
    since = (started + 1) / os.sysconf("SC_CLK_TCK") + (ran_ns + delayed_ns) / 1e9
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - since)


def run_time_ns(pid: int) -> int | None:
    """How long a process has run on a processor; -1 where that is not told, or it has many threads to ask.

    :returns: ``None`` for one that has ended.
    """
    if has_ended(pid):
        return None
    tasks = _names(f"/proc/{pid}/task")
    if len(tasks) > THREADS_ASKED:
        return -1
    total_ns = 0
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat", "rb") as file:
                total_ns += int(file.read().split()[0])
        except (OSError, IndexError, ValueError):
            return -1
    return total_ns


def ancestors() -> frozenset[int]:
    """The processes that this one descends from."""
    found: set[int] = set()
    pid = os.getppid()
    while pid > 0 and pid not in found:
        found.add(pid)
        pid = parent_of(pid)
    return frozenset(found)


def process_ids() -> Iterator[int]:
    """All processes that can be seen but this one."""
    own = os.getpid()
    yield from (pid for pid in map(int, filter(str.isdecimal, _names("/proc"))) if pid != own)


def mount_namespace(pid: int | str = "self") -> str:
    """A word for the mount namespace of a process; ``""`` for one that has ended, or that may not be looked at."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def program_of(pid: int | str = "self") -> str:
    """The file of the program that a process runs, or ``""``."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def environment_of(pid: int | str) -> list[bytes]:
    """The environment that a process's program was started with, ``NAME=value`` each; empty where it cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def test_in(environment: Iterable[bytes]) -> str:
    """The test that pytest names in an environment, without its phase, or ``""``."""
    named = (word.removeprefix(TEST_VARIABLE) for word in environment if word.startswith(TEST_VARIABLE))
    return next(named, b"").decode("utf-8", "replace").rpartition(" (")[0]


def open_files(pid: int | str, access: int) -> Iterator[str]:
    """What a process has open, by the kernel's words for it (a path, or ``pipe:[NUMBER]``).

    :param access: ``stat.S_IRUSR`` for what it may read, ``stat.S_IWUSR`` for what it may write.
    """
    for name in _names(f"/proc/{pid}/fd"):
        link = f"/proc/{pid}/fd/{name}"
        try:
            # The link's permission bits are the descriptor's access mode (proc_pid_fd(5)).
            if os.lstat(link).st_mode & access:
                yield os.readlink(link)
        except OSError:
            continue


def waits_at_one_of(pid: int, pipes: set[str]) -> bool:
    """Whether a process has nothing to do until something comes through one of some pipes, or they are closed.

    Where the kernel does not say what a process waits for, holding the reading end is taken for it.
    """
    if not pipes or pipes.isdisjoint(open_files(pid, stat.S_IRUSR)):
        return False
    try:
        with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
            place = file.read()
    except OSError:
        return True
    return place in ("", "0") or "pipe" in place or "poll" in place


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def command_of(pid: int) -> str:
    """A process's command line on one line, or ``""`` when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode("utf-8", "backslashreplace")


def wait_for_children(
    limit_s: float, ignore: frozenset[int] = frozenset(), look: Callable[[], object] = lambda: None
) -> list[int]:
    """Wait until no child is left, orphans adopted meanwhile included.

    :param limit_s: seconds after which the rest is given up on.
    :param ignore: children that are nobody's leftovers.
    :param look: called at each look that finds some left.
    :returns: the survivors.
    """
    deadline = time.monotonic() + limit_s
    while True:
        _reap()
        left = [pid for pid in children() if pid not in ignore]
        if not left or time.monotonic() >= deadline:
            return left
        look()
        time.sleep(POLL_S)


def _reap() -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def end_children(spared: frozenset[int] = frozenset()) -> None:
    """End the children of a process that is about to go without its exit handlers: pools and servers of its plugins.

    Nobody would ever end them afterwards; where the process is started again, so are they. A pool whose threads still run
    replaces what is ended here.

    :param spared: children that are somebody else's affair.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in children():
            if pid not in spared:
                os.kill(pid, number)
        if not wait_for_children(CHILDREN_LIMIT_S, spared):
            return
