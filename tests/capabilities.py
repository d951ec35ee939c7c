"""What this machine lets a test do, found out by trying it in a child process: skips ask here, never the platform's name."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import platform
import shutil
import subprocess
import sys
import tempfile

UNSHARE_MOUNTS = ("unshare", "--mount", "--propagation", "private")
# Inside a user namespace of its own a process may forbid what is below it further namespaces, and then drop its rights.
WITHOUT_NAMESPACES = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    "echo 0 > /proc/sys/user/max_user_namespaces && echo 0 > /proc/sys/user/max_mnt_namespaces && "
    'exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin "$@"',
    "sh",
)
UNSHARE_AS_USER = ("unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "--propagation", "private")


@functools.cache
def mount_namespace() -> tuple[str, ...]:
    """The command that runs another in a mount namespace where it may mount; empty where there is none to be had."""
    ways = (UNSHARE_MOUNTS, UNSHARE_AS_USER) if shutil.which("unshare") else ()
    return next((way for way in ways if _may_mount(way)), ())


def _may_mount(way: tuple[str, ...]) -> bool:
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run([*way, "mount", "-t", "tmpfs", "none", place], capture_output=True, check=False)
    return done.returncode == 0


@functools.cache
def user_xattrs() -> bool:
    """Whether the temp directory's file system takes ``user.*`` attributes."""
    with tempfile.NamedTemporaryFile() as file:
        try:
            os.setxattr(file.name, "user.session_guard_probe", b"x")
        except (OSError, AttributeError):
            return False
    return True


@functools.cache
def rings() -> bool:
    """Whether the kernel gives a ring (io_uring) to this process."""
    if sys.platform != "linux":
        return False
    descriptor: int = ctypes.CDLL(None).syscall(425, 4, ctypes.create_string_buffer(120))
    if descriptor >= 0:
        os.close(descriptor)
    return descriptor >= 0


@functools.cache
def narrow_calls() -> bool:
    """Whether a 64-bit program can make the system calls of 32-bit ones."""
    if platform.machine() != "x86_64":
        return False
    script = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import capabilities, os; "
    # Where it cannot, the kernel ends the process.
    script += "sys.exit(capabilities.narrow_call(20) != os.getpid())"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


def narrow_call(number: int, *arguments: int | bytes) -> int:
    """The result of a system call of a 32-bit program; a negative one is an error.

    :param arguments: at most five; text is put where 32 bits reach.
    """
    map_32bit = 0x40
    page = mmap.mmap(-1, 8192, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | map_32bit, 7)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    code, texts = b"\x53\xb8" + number.to_bytes(4, "little"), 4096
    # mov ebx, ecx, edx, esi, edi; int 0x80; ebx is the caller's.
    for register, argument in zip(b"\xbb\xb9\xba\xbe\xbf", arguments, strict=False):
        value = argument
        if isinstance(value, bytes):
            page[texts : texts + len(value) + 1] = value + b"\0"
            value, texts = start + texts, texts + len(value) + 1
        code += bytes([register]) + (value & 0xFFFFFFFF).to_bytes(4, "little")
    page[: len(code) + 4] = code + b"\xcd\x80\x5b\xc3"
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(start)())
