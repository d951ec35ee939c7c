"""What this machine and this user can do, each tried for real and never guessed from a name."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import platform
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest


def is_available(name: str, *, as_root: bool) -> bool:
    """Say whether the capability is there for a run as root, or as an ordinary user.

    :param name: a name in ``PROBES``, or ``tool:NAME``, ``module:NAME``, ``python:MAJOR.MINOR``, ``pytest:MAJOR``, ``root``.
    :raises KeyError: there is no such capability, so a vector would silently never run.
    """
    if name == "root":
        return as_root
    kind, _, value = name.partition(":")
    if kind == "tool":
        return shutil.which(value) is not None
    if kind == "module":
        return _has_module(value)
    if kind == "python":
        return sys.version_info >= tuple(int(part) for part in value.split("."))
    if kind == "pytest":
        return pytest.version_tuple >= (int(value),)
    return PROBES[name]()


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _succeeds(script: str) -> bool:
    """Whether a shell script works in an empty directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(["sh", "-ec", script], cwd=directory, capture_output=True, timeout=20, check=False)
    return done.returncode == 0


@functools.cache
def has_attributes() -> bool:
    """Whether the temporary file system keeps ``user.`` attributes."""
    with tempfile.NamedTemporaryFile() as stream:
        try:
            os.setxattr(stream.name, "user.probe", b"1")
        except OSError:
            return False
    return True


@functools.cache
def has_acl() -> bool:
    """Whether the temporary file system keeps POSIX ACLs."""
    with tempfile.NamedTemporaryFile() as stream:
        entries = ((1, 6), (2, 6), (4, 4), (16, 6), (32, 4))
        packed = (2).to_bytes(4, "little") + b"".join(
            tag.to_bytes(2, "little")
            + mode.to_bytes(2, "little")
            + (4321 if tag == 2 else 0xFFFFFFFF).to_bytes(4, "little")
            for tag, mode in entries
        )
        try:
            os.setxattr(stream.name, "system.posix_acl_access", packed)
        except OSError:
            return False
    return True


@functools.cache
def has_chattr() -> bool:
    """Whether the temporary file system keeps the flags of ``chattr``."""
    return _succeeds("touch f && chattr +d f")


@functools.cache
def has_gcc() -> bool:
    """Whether a shared library can be compiled."""
    return _succeeds("echo 'int f(void){return 0;}' > f.c && gcc -shared -fPIC -o f.so f.c")


@functools.cache
def has_static_libc() -> bool:
    """Whether a program can be linked statically."""
    return _succeeds("echo 'int main(void){return 0;}' > f.c && gcc -static -o f f.c && ./f")


@functools.cache
def has_python_headers() -> bool:
    """Whether ``Python.h`` of this interpreter is there."""
    return Path(sysconfig.get_path("include"), "Python.h").is_file()


@functools.cache
def has_io_uring() -> bool:
    """Whether the kernel gives a ring to this process."""
    if platform.machine() != "x86_64" or not Path("/usr/include/linux/io_uring.h").is_file():
        return False
    facts = ctypes.create_string_buffer(120)
    descriptor = ctypes.CDLL(None).syscall(425, 4, facts)
    if descriptor >= 0:
        os.close(descriptor)
    return bool(descriptor >= 0)


@functools.cache
def has_narrow_calls() -> bool:
    """Whether the kernel takes the system calls of 32-bit programs, also from a 64-bit one."""
    program = 'int main(void){int n=20;__asm__ volatile("int $0x80":"+a"(n)::"r8","r9","r10","r11");return n<=0;}'
    return platform.machine() == "x86_64" and _succeeds(f"echo '{program}' > f.c && gcc -o f f.c && ./f")


@functools.cache
def has_fchmodat2() -> bool:
    """Whether the kernel knows the system call 452."""
    with tempfile.NamedTemporaryFile() as stream:
        return bool(ctypes.CDLL(None).syscall(452, -100, os.fsencode(stream.name), 0o600, 0) == 0)


@functools.cache
def has_whiteout() -> bool:
    """Whether a rename may leave a whiteout behind on the temporary file system."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "a").write_text("")
        source, target = os.fsencode(f"{directory}/a"), os.fsencode(f"{directory}/b")
        return bool(ctypes.CDLL(None).renameat2(-100, source, -100, target, 4) == 0)


@functools.cache
def has_user_namespaces() -> bool:
    """Whether a user namespace can be had and something mounted in it."""
    return _succeeds("unshare -rm mount -t tmpfs none /mnt")


@functools.cache
def has_mount() -> bool:
    """Whether this process may mount in a namespace of its own."""
    return _succeeds("unshare -m mount -t tmpfs none /mnt")


@functools.cache
def has_core_dumps() -> bool:
    """Whether the kernel writes core dumps as files into the working directory, and this process may ask for them."""
    pattern = Path("/proc/sys/kernel/core_pattern")
    allowed = resource.getrlimit(resource.RLIMIT_CORE)[1]
    return pattern.is_file() and pattern.read_text().strip() == "core" and allowed != 0


@functools.cache
def has_sqlite_library() -> bool:
    """Whether SQLite's own library can be loaded by its usual name."""
    try:
        ctypes.CDLL("libsqlite3.so.0")
    except OSError:
        return False
    return True


@functools.cache
def has_punch_hole() -> bool:
    """Whether the temporary file system takes holes."""
    return _succeeds("dd if=/dev/zero of=f bs=4096 count=1 status=none && fallocate -p -o 0 -l 4096 f")


PROBES: Final[dict[str, Callable[[], bool]]] = {
    "acl": has_acl,
    "chattr": has_chattr,
    "core_dumps": has_core_dumps,
    "dbm.gnu": lambda: _has_module("_gdbm"),
    "dbm.ndbm": lambda: _has_module("_dbm"),
    "fchmodat2": has_fchmodat2,
    "gcc": has_gcc,
    "io_uring": has_io_uring,
    "mount": has_mount,
    "narrow_calls": has_narrow_calls,
    "open_by_handle": lambda: os.geteuid() == 0,
    "punch_hole": has_punch_hole,
    "python_headers": has_python_headers,
    "readline": lambda: _has_module("readline"),
    "sqlite_library": has_sqlite_library,
    "static_libc": has_static_libc,
    "subinterpreters": lambda: _has_module("_interpreters") or _has_module("_xxsubinterpreters"),
    "user_namespaces": has_user_namespaces,
    "whiteout": has_whiteout,
    "x86_64": lambda: platform.machine() == "x86_64",
    "xattr": has_attributes,
}
