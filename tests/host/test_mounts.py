"""Reading the mount table, and names in it that are no plain text."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_session_guard._host import mounts

MOUNT_IN_A_NAMESPACE = """
import os, sys
from pytest_session_guard._host import mounts, namespaces
uid, gid = os.geteuid(), os.getegid()
namespaces.unshare(namespaces.MOUNTS | (0 if uid == 0 else namespaces.USERS))
if uid:
    namespaces.map_own_ids(uid, gid)
mounts.make_private("/")
name = os.fsdecode(bytes.fromhex(sys.argv[2]))
path = os.path.join(sys.argv[1], name)
os.mkdir(path)
mounts.mount("x", path, "tmpfs", mounts.NODEV, "")
print(path in mounts.mount_points())
mounts.freeze(path)
try:
    os.mkdir(path + "/x")
except OSError as problem:
    print(problem.errno)
tree = mounts.clone_tree(path)
mounts.detach(path)
print(path in mounts.mount_points())
mounts.attach_tree(tree, path)
print(path in mounts.mount_points())
"""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"plain", id="plain"),
        pytest.param(b"a blank", id="blank"),
        pytest.param(b"tab\tand\nnewline", id="tab-and-newline"),
        pytest.param(rb"back\slash\040", id="backslash"),
        pytest.param(b"caf\xe9", id="no-utf8"),
        pytest.param("żółw".encode(), id="utf8"),
    ],
)
def test_mount_points_have_their_real_names(tmp_path, name: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MOUNT_IN_A_NAMESPACE, str(tmp_path), name.hex()], capture_output=True, text=True
    )

    assert (done.stdout.split(), done.stderr) == (["True", "30", "False", "True"], "")


def test_mount_points_of_this_process_hold_the_root() -> None:
    assert {"/", "/proc"} <= mounts.mount_points()


@pytest.mark.parametrize(
    ("call", "number"),
    [
        pytest.param(lambda: mounts.detach("/no/such/mount"), 2, id="detach"),
        pytest.param(lambda: mounts.clone_tree("/no/such/tree"), 2, id="clone"),
    ],
)
def test_refused_calls_name_their_path(call, number: int) -> None:
    with pytest.raises(OSError, match="/no/such") as caught:
        call()

    # A user without the right is told that first.
    assert caught.value.errno in (number, 1)
