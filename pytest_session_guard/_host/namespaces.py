"""Namespaces and capabilities of this process: leave, join, map, drop."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from .._core.values import dataclass
from .syscalls import call

SHARED_FS: Final = 0x200
MOUNTS: Final = 0x20000
USERS: Final = 0x10000000

CAP_SETPCAP: Final = 8
CAP_SYS_CHROOT: Final = 18
CAP_SYS_PTRACE: Final = 19
CAP_SYS_ADMIN: Final = 21
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_DROP: Final = 24
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION_3: Final = 0x20080522


def unshare(kinds: int) -> None:
    """Leave the namespaces of `kinds` (an or of this module's constants) for new ones.

    :raises OSError: EINVAL for `USERS` in a process with several threads; EPERM, ENOSPC, ENOSYS as the machine has it.
    """
    call("unshare", kinds)


def join(namespace_fd: int, kind: int) -> None:
    """Enter the namespace of an open ``/proc/…/ns/…`` file; a mount namespace puts cwd and root on its own root.

    :raises OSError: the right is missing, or the process's threads share what has to change.
    """
    call("setns", namespace_fd, kind)


def map_own_ids(uid: int, gid: int) -> None:
    """Map one uid and gid of the parent user namespace to themselves.

    :raises OSError: the kernel refused the map.
    """
    for name, content in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        # os.write, because a file object would hide the refusal in its destructor.
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, content.encode())
        finally:
            os.close(descriptor)


def make_dumpable() -> None:
    """Make this process its user's own again in ``/proc``.

    :raises OSError: the kernel refused.
    """
    call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)


def thread_count() -> int:
    """How many threads this process has, those that Python knows nothing of included.

    :raises OSError: ``/proc`` is not there.
    """
    return len(os.listdir("/proc/self/task"))


def mounts_of_threads() -> list[int]:
    """The inode numbers of the mount namespaces that the threads of this process are in, one each.

    :raises OSError: ``/proc`` is not there.
    """
    found = []
    for task in os.listdir("/proc/self/task"):
        with suppress(FileNotFoundError):  # it has ended meanwhile
            found.append(os.stat(f"/proc/self/task/{task}/ns/mnt").st_ino)
    return found


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The capability sets of the calling thread, as bit masks."""

    effective: int
    permitted: int
    inheritable: int
    bounding: int
    ambient: int

    def without(self, numbers: Iterable[int]) -> Capabilities:
        """The same sets less some capabilities."""
        mask = ~sum(1 << number for number in numbers)
        return Capabilities(
            self.effective & mask,
            self.permitted & mask,
            self.inheritable & mask,
            self.bounding & mask,
            self.ambient & mask,
        )

    def handed_down(self, numbers: Iterable[int]) -> Capabilities:
        """The same sets with capabilities added that programs started from here will have."""
        mask = sum(1 << number for number in numbers)
        return replace(
            self,
            permitted=self.permitted | mask,
            inheritable=self.inheritable | mask,
            bounding=self.bounding | mask,
            ambient=self.ambient | mask,
        )


def capabilities() -> Capabilities:
    """The capability sets of the calling thread.

    :raises OSError: ``/proc`` is not there.
    """
    with open("/proc/thread-self/status", "rb") as table:
        sets = {line[3:6]: int(line[8:], 16) for line in table if line.startswith(b"Cap")}
    return Capabilities(sets[b"Eff"], sets[b"Prm"], sets[b"Inh"], sets[b"Bnd"], sets.get(b"Amb", 0))


def set_capabilities(wanted: Capabilities) -> None:
    """Give the calling thread these sets, or less where it does not have so much.

    What is dropped is gone for good, for this thread and all that it starts from now on.

    :raises OSError: the kernel refused.
    """
    now = capabilities()
    # Bounding first: lowering it takes CAP_SETPCAP, which the next step may drop. Without it the set stays; it limits
    # what starting a program can bring back, and that is nothing unless one is root.
    if now.effective >> CAP_SETPCAP & 1:
        for number in _numbers(now.bounding & ~wanted.bounding):
            call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)
    permitted = wanted.permitted & now.permitted
    inheritable = wanted.inheritable & (now.inheritable | now.permitted)
    call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _store(wanted.effective & permitted, permitted, inheritable)
    for number in _numbers(wanted.ambient & permitted & inheritable):
        call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0)


def use_permitted_capabilities() -> None:
    """Make every capability that the calling thread is permitted effective.

    :raises OSError: the kernel refused.
    """
    now = capabilities()
    if now.effective != now.permitted:
        _store(now.permitted, now.permitted, now.inheritable)


def has_capability(number: int) -> bool:
    """Whether the calling thread may use a capability right now.

    :raises OSError: ``/proc`` is not there.
    """
    return bool(capabilities().effective >> number & 1)


def can_hand_down(number: int) -> bool:
    """Whether programs started from the calling thread can be given a capability, be it one that it has in reserve only.

    :raises OSError: ``/proc`` is not there.
    """
    return bool(capabilities().permitted >> number & 1)


def _store(effective: int, permitted: int, inheritable: int) -> None:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = (effective, permitted, inheritable)
    low, high = (s & 0xFFFFFFFF for s in sets), (s >> 32 for s in sets)
    # The kernel writes its own version into the header when it knows another, so that is a buffer of ours.
    call("capset", ctypes.create_string_buffer(header, 8), struct.pack("=6I", *low, *high))


def _numbers(mask: int) -> list[int]:
    return [number for number in range(mask.bit_length()) if mask >> number & 1]
