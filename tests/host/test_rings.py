"""What a ring is told is read from outside before it is done, whatever layout the ring was asked to have."""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import ring
from capabilities import rings as gives_rings
from ring import Ring

from pytest_session_guard._host import rings
from pytest_session_guard._host.memory import memory_of
from pytest_session_guard._host.support import tried_in_child

pytestmark = pytest.mark.skipif(not gives_rings(), reason="the kernel gives no ring here")

LAYOUTS = {
    "plain": 0,
    "long-results": ring.LONG_RESULTS,
    "long-entries": ring.LONG_ENTRIES,
    "without-array": ring.NO_ARRAY,
    "without-array-long-results": ring.NO_ARRAY | ring.LONG_RESULTS,
    "own-memory": ring.OWN_MEMORY,
    "own-memory-without-array": ring.OWN_MEMORY | ring.NO_ARRAY,
}
KINDS = [
    pytest.param(kind, id=name, marks=pytest.mark.skipif(not ring.gives(kind), reason="no such ring here"))
    for name, kind in LAYOUTS.items()
    if gives_rings()
]


def read_by_another(one: Ring, count: int = 4, thread: int | None = None) -> list[str]:
    """What another process reads of a ring: the calls, with what their pointers lead to."""
    owner = thread or os.getpid()

    def trial() -> str:
        found = rings.entries(owner, one.fd, count, one.own_memory)
        return "\n".join(f"{entry.name} {_shown(owner, entry.arguments)}{entry.path}" for entry in found)

    return [line.rstrip() for line in tried_in_child(trial).splitlines()]


def _shown(owner: int, arguments: Sequence[int]) -> str:
    return " ".join(
        memory_of(owner, one, 64).partition(b"\0")[0].decode() if one > 1 << 32 else str(ctypes.c_int32(one).value)
        for one in arguments
    )


@pytest.mark.parametrize("kind", KINDS)
def test_entries_are_read_as_the_calls_that_do_the_same(kind: int) -> None:
    one = Ring(kind)
    one.put(ring.nothing(), ring.link("/a", "b", 5), ring.setxattr("/c", "user.x"), ring.unlink("d"))

    assert read_by_another(one) == ["linkat -100 /a 5 b 0", "setxattr /c user.x", "unlinkat -100 d 0"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_done_is_read_no_more(kind: int, tmp_path: Path) -> None:
    one = Ring(kind)

    assert one.tell(*(ring.mkdir(str(tmp_path / name)) for name in "abc")) == [0, 0, 0]
    one.put(ring.rename("/e", "/f"), ring.symlink("g", "/h"))

    assert read_by_another(one) == ["renameat2 -100 /e -100 /f 0", "symlinkat g -100 /h"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_only_what_it_is_told_now_is_read() -> None:
    one = Ring()
    one.put(ring.unlink("a"), ring.unlink("b"), ring.unlink("c"))

    assert read_by_another(one, 2) == ["unlinkat -100 a 0", "unlinkat -100 b 0"]


def test_openings_are_read() -> None:
    one = Ring()
    one.put(ring.open_to(os.O_WRONLY, "/a"), ring.open2_to(os.O_RDWR, "/b"), ring.mkdir("c"))

    assert [line.split()[:3] for line in read_by_another(one)] == [
        ["openat", "-100", "/a"],
        ["openat2", "-100", "/b"],
        ["mkdirat", "-100", "c"],
    ]


def test_what_is_listed_and_of_no_interest_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Ring()
    one.put(ring.nothing(), ring.unlink("/a"))
    monkeypatch.setattr(rings, "_memories", lambda *arguments: pytest.fail("was looked up"))

    assert rings.entries(os.getpid(), one.fd, 2, without={"unlinkat"}) == []


@pytest.mark.parametrize("kind", KINDS)
def test_calls_that_are_of_no_interest_are_not_read(kind: int) -> None:
    one = Ring(kind)
    one.put(ring.unlink("/a"), ring.link("/b", "/c"), ring.mkdir("/d"))

    found = rings.entries(os.getpid(), one.fd, 3, one.own_memory, {"unlinkat", "mkdirat"})

    assert [entry.name for entry in found] == ["linkat"]


def test_file_that_a_ring_knows_by_an_index_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.write_text("")
    one = Ring()
    one.register_file(os.open(path, os.O_RDONLY))
    one.put(ring.fsetxattr(0, flags=1), ring.fsetxattr(1, flags=1))

    assert read_by_another(one) == [f"fsetxattr 0 user.mood{path}"]


def test_rings_of_other_threads_are_read() -> None:
    one, ids, may_end = Ring(), list[int](), threading.Event()
    one.put(ring.link("/a", "/b"))
    ready = threading.Event()

    def live() -> None:
        ids.append(threading.get_native_id())
        ready.set()
        may_end.wait()

    thread = threading.Thread(target=live)
    thread.start()
    ready.wait()
    try:
        assert read_by_another(one, thread=ids[0]) == ["linkat -100 /a -100 /b 0"]
    finally:
        may_end.set()
        thread.join()


def test_thread_of_an_older_kernel_is_opened_by_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pidfd_open
    monkeypatch.setattr(os, "pidfd_open", lambda pid, flags=0: real(pid, flags) if not flags else real(-1))
    one = Ring()
    one.put(ring.link("/a", "/b"))

    assert [entry.name for entry in rings.entries(os.getpid(), one.fd, 1)] == ["linkat"]


def test_rings_of_a_process_are_found() -> None:
    one = Ring()

    assert one.fd in rings.rings_of(os.getpid())
    one.close()
    assert one.fd not in rings.rings_of(os.getpid())


def test_what_is_no_ring_is_told_nothing() -> None:
    with open(os.devnull) as file:
        assert rings.entries(os.getpid(), file.fileno(), 1) == []
    assert rings.entries(os.getpid(), 1_000_000, 1) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_ring_of_another_user_is_not_read() -> None:
    one = Ring()

    def trial() -> str:
        os.setresuid(12345, 12345, 12345)
        try:
            rings.entries(owner, one.fd, 1)
        except PermissionError:
            return "refused"
        return "read"

    owner = os.getpid()
    assert tried_in_child(trial) == "refused"


def test_ring_that_somebody_has_locked_all_the_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rings, "_QUEUE", re.compile(rb"never listed"))
    one = Ring()

    with pytest.raises(OSError, match="does not list"):
        rings.entries(os.getpid(), one.fd, 1)


def test_entries_in_memory_that_is_not_known_are_not_read() -> None:
    if not ring.gives(ring.OWN_MEMORY):
        pytest.skip("no such ring here")
    one = Ring(ring.OWN_MEMORY)
    one.put(ring.link("/a", "/b"))

    with pytest.raises(OSError, match=r"Invalid argument|Cannot allocate"):
        rings.entries(os.getpid(), one.fd, 1)
