"""The end of another thread's call: what it answered, and that the thread notices nothing of it."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("ptrace is another one elsewhere", allow_module_level=True)

from capabilities import narrow_call, narrow_calls
from test_seccomp import gain_the_right

from pytest_session_guard._host import seccomp, tracing
from pytest_session_guard._host.tracing import CallEnds

pytestmark = pytest.mark.skipif(not seccomp.waits_to_the_end(), reason="the kernel is older than 5.19")

CALLS = frozenset({"mkdir", "mkdirat", "openat", "symlink", "symlinkat"})


def answers_while(action: Callable[[], None]) -> list[int | None]:
    """What the calls of a child answer that it makes while it acts; it is asserted to come to the end of that."""
    return [answer for answer, _ in seen_while(action, lambda thread: "")]


def seen_while(action: Callable[[], None], between: Callable[[int], str]) -> list[tuple[int | None, str]]:
    """The answers, and what is found while each call is held at its end.

    Who follows has one thread: another one would be given the signals.
    """
    result, told = os.pipe()
    follower = os.fork()
    if follower == 0:
        try:
            with open(told, "w") as file:
                json.dump(followed_while(action, between), file)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(told)
    with open(result) as file:
        content = file.read()
    assert os.waitpid(follower, 0)[1] == 0
    return [(answer, found) for answer, found in json.loads(content)]


def followed_while(action: Callable[[], None], between: Callable[[int], str]) -> list[tuple[int | None, str]]:
    ours, theirs = socket.socketpair()
    middle = os.fork()
    if middle == 0:
        if os.fork() != 0:
            os._exit(0)  # so that its end is not told as a child's
        try:
            gain_the_right()
            listener = seccomp.listen(CALLS)
            socket.send_fds(theirs, [b"x"], [listener])
            os.close(listener)
            theirs.recv(1)
            action()
            theirs.send(b"done")
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    theirs.close()
    os.waitpid(middle, 0)
    _, (listener, *_), _, _ = socket.recv_fds(ours, 1, 1)
    ours.send(b"x")
    seen = list(follow_all(listener, between))
    assert ours.recv(4) == b"done"
    return seen


def follow_all(listener: int, between: Callable[[int], str]) -> Iterator[tuple[int | None, str]]:
    ends = CallEnds()
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(ends.fd, select.POLLIN)
    while True:
        ready = dict(poll.poll(20_000))
        assert ready
        if ends.fd in ready:
            yield from ((answer, between(thread)) for thread, answer in ends.ended())
        if ready.get(listener, 0) & select.POLLIN:
            told = seccomp.receive(listener)
            if told.name in CALLS:
                ends.attach(told.thread)
                ends.hold(told.thread)
                assert seccomp.still_waits(listener, told)
            seccomp.let_go_on(listener, told)
        elif listener in ready:
            return


def state_of(thread: int) -> str:
    return Path(f"/proc/{thread}/stat").read_text().rpartition(")")[2].split()[0]


def fails(number: int, act: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is looked at
        act()
    assert caught.value.errno == number


def test_what_a_call_answered_is_told(tmp_path: Path) -> None:
    def action() -> None:
        os.mkdir(tmp_path / "a")
        fails(errno.EEXIST, lambda: os.mkdir(tmp_path / "a"))
        fails(errno.ENAMETOOLONG, lambda: os.symlink("x" * 5000, tmp_path / "b"))
        os.close(os.open(tmp_path / "c", os.O_CREAT | os.O_WRONLY))

    *answers, opened = answers_while(action)

    assert answers == [0, -errno.EEXIST, -errno.ENAMETOOLONG]
    assert opened is not None
    assert opened > 2


def test_thread_is_held_until_it_has_been_looked_at(tmp_path: Path) -> None:
    def between(thread: int) -> str:
        return f"{state_of(thread)} {sorted(os.listdir(tmp_path))}"

    def action() -> None:
        for name in "abc":
            os.mkdir(tmp_path / name)

    assert seen_while(action, between) == [(0, "t ['a']"), (0, "t ['a', 'b']"), (0, "t ['a', 'b', 'c']")]


def test_threads_programs_and_signals_are_as_without(tmp_path: Path) -> None:
    def action() -> None:
        came = []
        signal.signal(signal.SIGALRM, lambda *_: came.append(1))
        # A call that waits to be heard may be ended by a signal, by itself: this handler has it made again.
        signal.siginterrupt(signal.SIGALRM, False)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        threads = [threading.Thread(target=os.mkdir, args=(tmp_path / f"d{number}",)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        script = "for i in 1 2 3 4 5 6 7 8 9; do mkdir p$i & : > f$i; done; wait; kill -STOP $$; mkdir last"
        program = subprocess.Popen(["sh", "-ec", script], cwd=tmp_path)
        assert os.WIFSTOPPED(os.waitpid(program.pid, os.WUNTRACED)[1])
        program.send_signal(signal.SIGCONT)
        assert program.wait() == 0
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert came

    answers = answers_while(action)

    expected = {f"d{number}" for number in range(20)} | {f"{kind}{number}" for kind in "pf" for number in range(1, 10)}
    assert set(os.listdir(tmp_path)) == {*expected, "last"}
    assert None not in answers
    assert len([answer for answer in answers if answer is not None and answer >= 0]) >= len(expected) + 1


@pytest.mark.skipif(not narrow_calls(), reason="no 32-bit calls here")
def test_answers_of_32_bit_calls_and_programs_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "program"
    program.write_bytes(small_32_bit_program())
    program.chmod(0o700)

    def action() -> None:
        made = [narrow_call(_MKDIR, b"own", 0o700) for _ in range(2)]
        assert made == [0, -errno.EEXIST], made
        assert subprocess.run([program], check=False).returncode == 0

    assert answers_while(action) == [0, -errno.EEXIST] * 2


_MKDIR = 39


def small_32_bit_program() -> bytes:
    """An ELF file for x86 that makes the directory ``a`` twice, and ends."""
    start, head = 0x10000, 52 + 32
    number = struct.Struct("<I").pack
    twice = b"\xb8" + number(_MKDIR) + b"\xcd\x80"  # mov eax, mkdir; int 0x80
    code = b"\xb9" + number(0o700) + twice * 2 + b"\xb8" + number(1) + b"\x31\xdb\xcd\x80"  # ... exit(0)
    name = start + head + 5 + len(code)
    code = b"\xbb" + number(name) + code + b"a\0"  # mov ebx, name
    size = head + len(code)
    header = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 2, 3, 1, start + head, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    return header + struct.pack("<8I", 1, 0, start, start, size, size, 5, 0x1000) + code


def test_who_is_killed_while_it_is_held_is_gone(tmp_path: Path) -> None:
    def between(thread: int) -> str:
        with suppress(ProcessLookupError):  # its end is told as well
            os.kill(thread, signal.SIGKILL)
        return ""

    def action() -> None:
        program = subprocess.Popen(["mkdir", tmp_path / "a"])
        assert program.wait() == -signal.SIGKILL

    assert seen_while(action, between)[0] == (0, "")


def test_who_is_killed_in_its_call_is_told_of_without_an_answer(tmp_path: Path) -> None:
    def action() -> None:
        program = subprocess.Popen(["sh", "-c", "kill -9 $$ & mkdir a; mkdir b; mkdir c; mkdir d"], cwd=tmp_path)
        assert program.wait() in (0, -signal.SIGKILL)

    assert set(answers_while(action)) <= {0, None}


def test_whom_somebody_follows_is_not_followed_again(tmp_path: Path) -> None:
    def who_is_followed(thread: int) -> str:
        try:
            CallEnds().attach(thread)
        except OSError as problem:
            return errno.errorcode[problem.errno]
        return "attached"

    def action() -> None:
        os.mkdir(tmp_path / "a")
        fails(errno.ESRCH, lambda: CallEnds().attach(2**30))

    # The follower itself follows it already.
    assert seen_while(action, who_is_followed) == [(0, "EPERM")]


def test_of_an_unknown_architecture_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_ANSWERS", {})

    assert answers_while(lambda: os.mkdir(tmp_path / "a")) == [None]
    assert (tmp_path / "a").is_dir()


@pytest.mark.parametrize("number", sorted({-512, -513, -514, -516}))
def test_call_that_will_be_made_again_has_no_answer(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(name: str, request: int, thread: int, kind: int, where: ctypes.Array[ctypes.c_char]) -> int:
        content, _ = struct.unpack("@PN", where.raw)
        ctypes.memmove(content + 80, number.to_bytes(8, "little", signed=True), 8)
        where.raw = struct.pack("@PN", content, 27 * 8)
        return 0

    monkeypatch.setattr(tracing, "call", read)

    assert tracing._answer(1) is None
