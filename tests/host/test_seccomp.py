"""The filter and its listener: which calls are told, that they go on, and what happens when nobody listens any more."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from capabilities import narrow_call, narrow_calls

from pytest_session_guard._host import namespaces, seccomp
from pytest_session_guard._host.support import tried_in_child


def gain_the_right() -> None:
    """The right to filter; an ordinary user has it in a user namespace of their own."""
    if os.geteuid() != 0:
        uid, gid = os.geteuid(), os.getegid()
        namespaces.unshare(namespaces.USERS)
        namespaces.map_own_ids(uid, gid)


RED = 3  # an end of which nobody is told


def heard_while(action: Callable[[], None], status: int = RED) -> list[str]:
    """The names of the calls that are told while a child acts and ends."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        reached = 1
        try:
            gain_the_right()
            listener = seccomp.listen()
            socket.send_fds(theirs, [b"x"], [listener])
            os.close(listener)
            theirs.recv(1)
            action()
            reached = status
        finally:
            os._exit(reached)
    theirs.close()
    with ours:
        _, (listener, *_), _, _ = socket.recv_fds(ours, 1, 1)
        ours.send(b"x")
    heard = []
    while (told := next_of(listener)) is not None:
        assert told.thread == child
        assert seccomp.still_waits(listener, told)
        seccomp.let_go_on(listener, told)
        assert not seccomp.still_waits(listener, told)
        heard.append(told.name)
    _, ended = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended) == status & 0xFF
    os.close(listener)
    return heard


def next_of(listener: int) -> seccomp.Notification | None:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    ((_, events),) = poll.poll(10_000)
    return seccomp.receive(listener) if events & select.POLLIN else None


def test_calls_are_told_and_go_on(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")

    def act() -> None:
        os.rename(tmp_path / "a", tmp_path / "b")
        os.link(tmp_path / "b", tmp_path / "c")
        os.setxattr(tmp_path / "c", "user.x", b"1")
        os.unlink(tmp_path / "b")

    heard = heard_while(act)

    assert [name.removesuffix("at") for name in heard] == ["rename", "link", "setxattr"]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert os.getxattr(tmp_path / "c", "user.x") == b"1"


def test_of_ioctl_only_file_flags_are_told(tmp_path: Path) -> None:
    file = os.open(tmp_path, os.O_RDONLY)
    flags = bytearray(8)
    get_flags = 0x80086601

    def act() -> None:
        fcntl.ioctl(file, get_flags, flags)
        fcntl.ioctl(file, seccomp.FS_IOC_SETFLAGS, flags)

    assert heard_while(act) == ["ioctl"]


def test_who_asks_for_a_ring_is_told() -> None:
    assert heard_while(lambda: libc_call(425, 0, 0)) == ["io_uring_setup"]


def test_who_tells_a_ring_to_begin_is_told_and_who_waits_for_it_is_not() -> None:
    def act() -> None:
        libc_call(426, -1, 1, 0, 0, 0, 0)
        libc_call(426, -1, 0, 1, 1, 0, 0)

    assert heard_while(act) == ["io_uring_enter"]


def test_what_is_common_is_not_told(tmp_path: Path) -> None:
    def act() -> None:
        (tmp_path / "new").write_text("new")
        os.unlink(tmp_path / "new")
        os.mkdir(tmp_path / "directory", 0o700)
        os.chmod(tmp_path / "directory", 0o755)
        assert os.listdir(tmp_path) == ["directory"]

    assert heard_while(act) == []


@pytest.mark.parametrize(
    ("status", "expected"), [(0, ["exit_group"]), (5, ["exit_group"]), (256, ["exit_group"]), (1, []), (2, [])]
)
def test_of_ends_only_green_ones_are_told(status: int, expected: list[str]) -> None:
    assert heard_while(lambda: None, status) == expected


EXIT = {"x86_64": 60, "aarch64": 93}.get(platform.machine(), 0)


@pytest.mark.skipif(not EXIT, reason="the number of the call is not known here")
@pytest.mark.parametrize("status", [0, 3])
def test_end_of_a_thread_is_told_where_it_asks_for_it(status: int) -> None:
    assert heard_while(lambda: libc_call(EXIT, status), status) == ["exit"]


def libc_call(number: int, *arguments: int) -> None:
    ctypes.CDLL(None).syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))


def test_thread_that_ends_as_ever_is_not_told() -> None:
    def act() -> None:
        threads = [threading.Thread(target=str) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert heard_while(act) == []


def test_end_of_a_thread_is_not_told_where_its_place_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_mapping_of", lambda address: (0, memoryview(b"")))

    assert heard_while(lambda: libc_call(EXIT, 0), 0) == []


@pytest.mark.skipif(not narrow_calls(), reason="no 32-bit system calls here")
def test_calls_of_32_bit_programs_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    a, b, c = (os.fsencode(tmp_path / name) for name in "abc")

    def act() -> None:
        narrow_call(38, a, b)  # rename
        narrow_call(303, -100, b, -100, c, 0)  # linkat
        narrow_call(212, c, os.getuid(), -1)  # chown32
        narrow_call(226, c, b"user.x", b"1", 1, 0)  # setxattr
        narrow_call(54, -1, seccomp.FS_IOC32_SETFLAGS, 0)  # ioctl
        narrow_call(10, b)  # unlink
        narrow_call(252, 0)  # exit_group

    assert heard_while(act, 0) == ["rename", "linkat", "chown", "setxattr", "ioctl", "exit_group"]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert os.getxattr(tmp_path / "c", "user.x") == b"1"


def test_all_that_can_be_heard_fits_a_filter() -> None:
    for machine in seccomp._MACHINES.values():
        assert len(seccomp._program(machine, frozenset())) // 8 < 4096


def test_without_a_listener_the_calls_fail(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")

    def trial() -> str:
        gain_the_right()
        os.close(seccomp.listen())
        try:
            os.rename(tmp_path / "a", tmp_path / "b")
        except OSError as problem:
            return errno.errorcode[problem.errno or 0]
        return "renamed"

    assert tried_in_child(trial) == "ENOSYS"


def test_second_listener_is_refused() -> None:
    def trial() -> str:
        gain_the_right()
        first = seccomp.listen()
        try:
            seccomp.listen()
        except OSError as problem:
            return errno.errorcode[problem.errno or 0]
        finally:
            os.close(first)
        return "accepted"

    assert tried_in_child(trial) == "EBUSY"


def test_without_the_right_there_is_no_listener() -> None:
    def trial() -> str:
        namespaces.set_capabilities(namespaces.Capabilities(0, 0, 0, 0, 0))
        try:
            seccomp.listen()
        except OSError as problem:
            return errno.errorcode[problem.errno or 0]
        return "accepted"

    assert tried_in_child(trial) == "EACCES"


def test_unknown_machine_has_no_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = os.uname_result(("Linux", "host", "6.0", "#1", "pdp11"))
    monkeypatch.setattr(os, "uname", lambda: unknown)

    with pytest.raises(OSError, match="not known for pdp11") as caught:
        seccomp.listen()

    assert caught.value.errno == errno.ENOSYS


def test_old_kernel_gets_a_listener_without_the_newest_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def old(number: int, operation: int, flags: int, header: ctypes.Array[ctypes.c_char]) -> int:
        given.append(flags)
        if len(given) == 1:
            raise OSError(errno.EINVAL, "")
        return 7

    monkeypatch.setattr(seccomp, "syscall", old)

    assert seccomp.listen() == 7
    assert given[0] & ~given[1] == 1 << 5
