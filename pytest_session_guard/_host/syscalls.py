"""Raw system calls: the few that Python has no function for, and the errors they give.

Importing ctypes costs milliseconds, so whoever may do without kernel layers imports this only once they are wanted.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from typing import Final

AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EMPTY_PATH: Final = 0x1000
AT_RECURSIVE: Final = 0x8000

# Numbers from 424 on are the same on every architecture (include/uapi/asm-generic/unistd.h).
OPEN_TREE: Final = 428
MOVE_MOUNT: Final = 429
MOUNT_SETATTR: Final = 442
LANDLOCK_CREATE_RULESET: Final = 444
LANDLOCK_ADD_RULE: Final = 445
LANDLOCK_RESTRICT_SELF: Final = 446

_NUMBERS_ARE_LINUXS: Final = sys.platform == "linux"

Argument = int | bytes | None | ctypes.Array[ctypes.c_char]


@functools.cache
def libc() -> ctypes.CDLL:
    """The C library of this process, with errno kept for us."""
    return ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: Argument, subject: str | None = None) -> int:
    """The result of a system call.

    :param arguments: integers, byte strings (as pointers), buffers or ``None``.
    :param subject: the path that an error message names.
    :raises OSError: the kernel refused; ``errno`` is its own. On another kernel the number is another call's: nothing is made.
    """
    if not _NUMBERS_ARE_LINUXS:
        raise OSError(errno.ENOSYS, f"system call {number} is Linux's", subject)
    function = libc().syscall
    function.restype = ctypes.c_long
    # A bare int would be passed as 32 bits: the upper half of a register is undefined then.
    result = function(ctypes.c_long(number), *map(_widened, arguments))
    return _checked(result, subject)


def call(name: str, *arguments: Argument, subject: str | None = None) -> int:
    """The result of a function of the C library that reports by -1 and errno.

    :raises OSError: it reported an error, or this platform does not have it.
    """
    function = getattr(libc(), name, None)
    if function is None:
        raise OSError(errno.ENOSYS, f"no {name} here", subject)
    return _checked(function(*map(_widened, arguments)), subject)


def _widened(argument: Argument) -> object:
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def _checked(result: int, subject: str | None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), subject)
    return result
