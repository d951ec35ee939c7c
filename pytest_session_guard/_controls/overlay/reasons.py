"""Why the overlay cannot be had, in clauses that a user can act on."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from typing import Final

ENTERING: Final = "making a mount namespace"
MOUNTING: Final = "mounting in the new namespace"
BUILDING: Final = "building the overlay"

ALONE: Final = "start each session in a process of its own"
UNHEARD_SINCE: Final = "shared places are held in Python alone: an earlier session of this process had none to be heard"

NO_PROC: Final = "/proc is not mounted, and nothing tells what this process is allowed to do"

APPARMOR: Final = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
DEBIAN: Final = "/proc/sys/kernel/unprivileged_userns_clone"
LIMITS: Final = ("/proc/sys/user/max_user_namespaces", "/proc/sys/user/max_mnt_namespaces")


def threads_clause(count: int) -> str:
    """For a process that has threads besides its first."""
    others = count - 1
    running = "1 other thread runs" if others == 1 else f"{others} other threads run"
    return f"{running} already, and a process with threads cannot enter a user namespace; start with session-guard run"


def outside_threads_clause(count: int) -> str:
    """For root, who enters nevertheless, but alone."""
    others = count - 1
    return "1 thread that ran before stays outside" if others == 1 else f"{others} threads that ran before stay outside"


def hidden_clause(path: str) -> str:
    """For a later session of a process, when something that it is to write stands in a throw-away layer."""
    return f"an earlier session of this process left {path!r} behind its walls, where what is written is lost; {ALONE}"


def resumption_clause(problem: OSError) -> str:
    """For a later session of a process, when its places cannot be put on top of the earlier ones."""
    return f"the walls of an earlier session of this process cannot follow this one ({problem.strerror}); {ALONE}"


def rights_clause() -> str:
    """For a later session of a process that wants workers."""
    return f"an earlier session of this process gave up the right to build layers for workers; {ALONE}"


def kept_rights_clause(problem: OSError) -> str:
    """For a process that stands inside and cannot give up what could undo the walls."""
    return (
        f"the right to mount cannot be given up ({problem.strerror}); a seccomp filter or a security module forbids it"
    )


def setting(path: str) -> str:
    """What a file below ``/proc/sys`` says; nothing where there is no such file."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def failure_clause(step: str, number: int, text: str, setting: Callable[[str], str] = setting) -> str:
    """Why a step failed.

    :param number: the errno, 0 for none.
    :param text: what the failing call said.
    :param setting: how to read a kernel setting.
    """
    name = errno.errorcode.get(number, "")
    if step == ENTERING:
        return _entering_clause(number, name, text, setting)
    if step == MOUNTING and number in (errno.EPERM, errno.EACCES):
        if setting(APPARMOR) == "1":
            return f"AppArmor refuses mounts in user namespaces ({name}): {_dotted(APPARMOR)} is 1; set it to 0 with sysctl"
        return f"mounts are refused in the new namespace ({name}): a security module or a container forbids them"
    if number == errno.ENOSYS:
        return f"{step} needs Linux 5.12 or newer ({name})"
    if number == errno.ENOSPC:
        return f"{step} failed: no space for the upper layer ({text})"
    if number == errno.EINVAL and step == MOUNTING:
        return "the root directory is not the root of a mount: the process runs under chroot in a plain directory"
    return f"{step} failed: {text}{f' ({name})' if name else ''}"


def _entering_clause(number: int, name: str, text: str, setting: Callable[[str], str]) -> str:
    if number in (errno.ENOSPC, errno.EUSERS):
        exhausted = " and ".join(_dotted(path) for path in LIMITS if setting(path) == "0")
        return (
            f"{exhausted} is 0 ({name}); raise it with sysctl" if exhausted else f"too many namespaces exist ({name})"
        )
    if number in (errno.EPERM, errno.EACCES):
        if setting(DEBIAN) == "0":
            return f"{_dotted(DEBIAN)} is 0 ({name}); set it to 1 with sysctl"
        return f"user namespaces are refused ({name}): a seccomp filter, as in a container, or a chroot forbids them"
    if number in (errno.ENOSYS, errno.EINVAL):
        return f"this kernel has no user namespaces ({name})"
    return f"no namespace can be made: {text}"


def _dotted(path: str) -> str:
    return path.removeprefix("/proc/sys/").replace("/", ".")


def shortfall_clause(
    shortfalls: Sequence[tuple[str, str]], uncovered: Sequence[str], loose: Sequence[tuple[str, str]] = ()
) -> str:
    """What the overlay does not do of its plan; empty when there is nothing."""
    clauses = [f"{path} is read-only instead of overlaid ({why})" for path, why in shortfalls]
    clauses += [f"{path} does not exist and lies in a writable place, so nothing holds it" for path in uncovered]
    clauses += [f"{path} is a symlink in a writable place and can be replaced ({why})" for path, why in loose]
    return "; ".join(clauses)


def described(answer: Mapping[str, object]) -> str:
    """The clause for a keeper's message that it failed."""
    number = answer.get("errno")
    return failure_clause(
        str(answer.get("step", BUILDING)), number if isinstance(number, int) else 0, str(answer["error"])
    )
