"""What Python on Windows lacks, taken away from this interpreter, and the names that tell the platform.

Loaded as `sitecustomize`. Paths stay those of the machine that plays: nothing is tested here but the way a run ends before
it begins.
"""

from __future__ import annotations

# Before the platform's name changes: these choose by it what they are made of.
import ctypes  # noqa: F401
import io
import os
import pathlib
import shutil
import subprocess  # noqa: F401
import sys
import sysconfig
import tempfile

sysconfig.get_config_vars()

MISSING_MODULES = ("fcntl", "grp", "posix", "pwd", "readline", "resource", "termios", "tty", "pty", "syslog")
MISSING = (
    "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_NOATIME", "O_PATH", "O_TMPFILE", "O_SYNC", "O_NOCTTY",
    "chown", "chroot", "fchdir", "fchmod", "fchown", "fork", "forkpty", "getegid", "geteuid", "getgid", "getgroups",
    "getpgid", "getuid", "getxattr", "initgroups", "killpg", "lchown", "listxattr", "mkfifo", "mknod", "memfd_create",
    "openpty", "posix_spawn", "removexattr", "sched_getaffinity", "setgid", "setuid", "setxattr", "statvfs", "sync",
    "uname", "unshare", "setns", "wait3", "wait4", "waitid", "SEEK_DATA", "SEEK_HOLE",
)  # fmt: skip

for name in MISSING:
    if hasattr(os, name):
        delattr(os, name)
os.supports_dir_fd.clear()
os.supports_fd.clear()
for name in MISSING_MODULES:
    sys.modules[name] = None  # type: ignore[assignment]
for module in (pathlib, sys.modules.get("pathlib._local")):  # the second in CPython 3.13
    if module is not None:
        module.WindowsPath = pathlib.PosixPath  # type: ignore[attr-defined,misc,assignment]
shutil._use_fd_functions = False  # type: ignore[attr-defined]
tempfile._O_TMPFILE_WORKS = False  # type: ignore[attr-defined]
io._WindowsConsoleIO = type("_WindowsConsoleIO", (), {})  # type: ignore[attr-defined]
os.name = "nt"
sys.platform = "win32"
