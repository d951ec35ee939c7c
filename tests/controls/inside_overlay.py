# What is imported here serves the functions of the test modules, which run in this module's namespace.
# ruff: noqa: F401
"""The child's side of the kernel tests: a fake home, and the guard's layers entered in a process that may be spoilt.

Standard library only: it also runs under interpreters that have no pytest.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from dataclasses import asdict

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from pytest_session_guard._controls import overlay, seal
from pytest_session_guard._core.errors import LayerUnavailableError
from pytest_session_guard._host import landlock, mounts, namespaces


class Inside:
    """Paths below the scratch base, and short ways to do what the tests do again and again."""

    def __init__(self, base):
        self.base = base
        self.home, self.tmp, self.scratch = (os.path.join(base, name) for name in ("home", "tmp", "scratch"))
        self.project = os.path.join(self.home, "src", "project")
        self.overlay = None

    def enter(self, writable=(), overlaid=(), for_workers=False, **options):
        plan = overlay.OverlayPlan((self.tmp, self.project, *writable), (self.home, *overlaid), self.scratch, **options)
        self.overlay = overlay.enter(plan, for_workers)
        return self.overlay

    def changes(self):
        """The new changes, by path below the base."""
        start = len(self.base) + 1
        return {change.path[start:]: change.kind for change in self.overlay.changes()}

    def shell(self, script, **options):
        return subprocess.run(["/bin/sh", "-c", script], cwd=self.home, capture_output=True, text=True, **options)

    def libc(self):
        return ctypes.CDLL(None, use_errno=True)

    def narrow_call(self, number, *arguments):
        sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        import capabilities

        return capabilities.narrow_call(number, *arguments)

    def rings(self):
        """The module of rings."""
        sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        import ring

        return ring

    def put(self, path, text="text"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    def get(self, path):
        with open(path) as file:
            return file.read()

    def refusal(self, function, *arguments, **keywords):
        """The name of the errno that a call fails with; `None` when it works."""
        try:
            function(*arguments, **keywords)
        except OSError as problem:
            return errno.errorcode[problem.errno]
        return None

    def forbid(self, number, error, argument=None):
        """Have the kernel answer a system call with an error, for this process and its children; x86-64 only.

        :param argument: index and value (32 bits) of an argument that the call must have for that.
        """
        load, equal, give = 0x20, 0x15, 0x06
        rules = [(load, 0, 0, 0), (equal, 0, 1 if argument is None else 3, number)]
        if argument is not None:
            rules += [(load, 0, 0, 16 + 8 * argument[0]), (equal, 0, 1, argument[1])]
        rules += [(give, 0, 0, 0x50000 | error), (give, 0, 0, 0x7FFF0000)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
        program = struct.pack("=HxxxxxxQ", len(rules), ctypes.addressof(code))
        libc = self.libc()
        libc.prctl(38, 1, 0, 0, 0)
        assert libc.prctl(22, 2, program, 0, 0) == 0, "the filter was not accepted"

    def attempt(self, **options):
        """Try to enter; says why not, what was entered, and whether the disk can be written as before."""
        names = ("mnt", "user")
        before = [os.readlink(f"/proc/self/ns/{name}") for name in names]
        probed = overlay.probe()
        try:
            self.enter(**options)
        except LayerUnavailableError as problem:
            after = [os.readlink(f"/proc/self/ns/{name}") for name in names]
            return {
                "reason": problem.reason,
                "must_stop": problem.entered,
                "moved": [name for name, old, new in zip(names, before, after, strict=True) if old != new],
                "writable": self.refusal(os.mkdir, self.base + "/writable") is None,
                "probed": probed.reason,
            }
        return {"reason": None, "status": self.overlay.status, "said": self.overlay.reason}

    def unshare_mounts(self):
        """A mount namespace to prepare a scene in; for root, or for a user in a user namespace."""
        if os.geteuid() == 0:
            namespaces.unshare(namespaces.MOUNTS)
        else:
            uid, gid = os.geteuid(), os.getegid()
            namespaces.unshare(namespaces.USERS | namespaces.MOUNTS)
            namespaces.map_own_ids(uid, gid)
        mounts.make_private("/")


def main():
    scene = Inside(sys.argv[1])
    space = dict(globals())
    source = sys.stdin.read()
    exec(compile(source, "<inside>", "exec"), space)
    result = space[sys.argv[2]](scene, *json.loads(sys.argv[3]))
    sys.stdout.write("\n" + json.dumps(result, default=asdict))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
