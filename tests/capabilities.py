"""What this machine lets a test do, found out by trying it in a child process: skips ask here, never the platform's name."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
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
