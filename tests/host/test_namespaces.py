"""Capabilities and threads; whatever would change this process is done in a child."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from pytest_session_guard._host import namespaces
from pytest_session_guard._host.namespaces import Capabilities

FULL = Capabilities(0b1111, 0b1111, 0b1, 0b11111, 0b1)


def test_without_takes_a_capability_out_of_every_set() -> None:
    assert FULL.without([0, 2]) == Capabilities(0b1010, 0b1010, 0, 0b11010, 0)


def test_handed_down_adds_to_what_children_get() -> None:
    assert Capabilities(0, 0, 0, 0, 0).handed_down([1]) == Capabilities(0, 0b10, 0b10, 0b10, 0b10)


def test_capabilities_are_those_of_this_thread() -> None:
    with open("/proc/thread-self/status") as table:
        lines = dict(line.split(":\t") for line in table.read().splitlines() if line.startswith("Cap"))

    own = namespaces.capabilities()

    assert [f"{mask:016x}" for mask in (own.effective, own.permitted, own.bounding)] == [
        lines["CapEff"], lines["CapPrm"], lines["CapBnd"],
    ]  # fmt: skip


def test_thread_count_counts_threads() -> None:
    before = namespaces.thread_count()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()

    assert namespaces.thread_count() == before + 1
    stop.set()
    thread.join()


IN_A_USER_NAMESPACE = """
import os, subprocess, sys
from dataclasses import replace
from pytest_session_guard._host import namespaces
uid, gid = os.geteuid(), os.getegid()
namespaces.unshare(namespaces.USERS)
namespaces.map_own_ids(uid, gid)
full = namespaces.capabilities()
show = "import re;print(re.search('CapEff:(.*)', open('/proc/self/status').read())[1].strip())"
{body}
print(subprocess.run([sys.executable, "-c", show], capture_output=True, text=True).stdout.strip())
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("namespaces.set_capabilities(full.without(range(64)))", "0", id="all-dropped"),
        pytest.param(
            "none = full.without(range(64))\n"
            "namespaces.set_capabilities(replace(none, bounding=full.bounding).handed_down([18, 21]))\n"
            "assert namespaces.capabilities().effective == 0",
            "240000",
            id="handed-down-only",
        ),
        pytest.param(
            "none = full.without(range(64))\n"
            "namespaces.set_capabilities(replace(none, bounding=full.bounding).handed_down([21]))\n"
            "namespaces.use_permitted_capabilities()\n"
            "assert namespaces.has_capability(21)\n"
            "namespaces.set_capabilities(none)\n"
            "assert not namespaces.has_capability(21)",
            "0",
            id="used-and-dropped",
        ),
    ],
)
def test_set_capabilities_reaches_children(body: str, expected: str) -> None:
    import os

    options = {"user": 12345, "group": 12345, "extra_groups": []} if os.geteuid() == 0 else {}
    python = sys.executable if not options else "/usr/bin/python3"
    done = subprocess.run(
        [python, "-B", "-c", IN_A_USER_NAMESPACE.format(body=body)],
        capture_output=True, text=True, cwd=os.path.dirname(os.path.dirname(namespaces.__file__)) + "/..", **options,
    )  # fmt: skip

    assert (done.stdout.strip().lstrip("0") or "0", done.stderr) == (expected, "")
