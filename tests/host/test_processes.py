"""Who is below a process, what it has open, and whether it merely waits for somebody."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_session_guard._host import processes

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="there is no /proc here")


@contextmanager
def running(*command: str, stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=stdin)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


def test_parent_of_a_process_whose_name_looks_like_more_fields() -> None:
    with running("sh", "-c", "printf ') 1 2' > /proc/self/comm; echo; read x", stdin=subprocess.PIPE) as process:
        comm = Path(f"/proc/{process.pid}/comm")
        assert eventually(lambda: comm.read_text() == ") 1 2\n")
        assert processes.parent_of(process.pid) == os.getpid()
    assert processes.parent_of(process.pid) == 0


def eventually(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_so()


def eventually_says_what_it_waits_for(pid: int) -> bool:
    """Whether this kernel has a word for it; a running process waits for nothing."""
    with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
        return eventually(lambda: file.seek(0) == 0 and file.read() not in ("", "0"))


def own_pipes() -> set[str]:
    return {name for name in processes.open_files("self", stat.S_IWUSR) if name.startswith("pipe:")}


def test_child_that_another_thread_started_is_a_child_too() -> None:
    started: list[subprocess.Popen[bytes]] = []
    done = threading.Event()

    def work() -> None:
        started.append(subprocess.Popen(["sleep", "20"]))
        done.wait(20)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert eventually(lambda: bool(started))
        assert started[0].pid in processes.children()
    finally:
        done.set()
        thread.join()
        started[0].kill()
        started[0].wait()


def test_descendants_are_children_and_theirs() -> None:
    with running("sh", "-c", "sleep 20; true") as shell:
        assert eventually(lambda: bool(processes.children(shell.pid)))
        (sleep,) = processes.children(shell.pid)

        assert {shell.pid, sleep} <= set(processes.descendants())
        os.kill(sleep, 9)


def test_filter_at_our_pipe_waits_for_us_and_a_sleeper_with_the_same_pipe_does_not() -> None:
    sleeper = "import time; time.sleep(20)"
    with (
        running("cat", stdin=subprocess.PIPE) as waiting,
        running(sys.executable, "-S", "-c", sleeper, stdin=subprocess.PIPE) as working,
        running("sleep", "20") as alone,
    ):
        assert eventually(lambda: processes.waits_at_one_of(waiting.pid, own_pipes()))
        assert not processes.waits_at_one_of(waiting.pid, set())
        assert not processes.waits_at_one_of(alone.pid, own_pipes())
        if eventually_says_what_it_waits_for(working.pid):
            assert eventually(lambda: not processes.waits_at_one_of(working.pid, own_pipes()))


def test_process_that_has_ended_tells_nothing() -> None:
    with running("true") as process:
        process.wait()
        gone = process.pid

    assert processes.mount_namespace(gone) == ""
    assert processes.program_of(gone) == ""
    assert processes.environment_of(gone) == []
    assert list(processes.open_files(gone, stat.S_IRUSR)) == []
    assert processes.children(gone) == []
    assert gone not in processes.process_ids()


def test_namespace_and_program_are_those_of_this_process() -> None:
    with running(sys.executable, "-S", "-c", "import time; time.sleep(20)") as process:
        assert processes.mount_namespace(process.pid) == processes.mount_namespace()
        assert eventually(lambda: processes.program_of(process.pid) == processes.program_of())
        assert os.getpid() not in processes.process_ids()
        assert process.pid in processes.process_ids()
        assert os.getppid() in processes.ancestors()
        assert not {os.getpid(), process.pid} & processes.ancestors()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("command", "is_so"),
    [
        pytest.param("import signal; signal.pause()", True, id="waits"),
        pytest.param("import time\nfor _ in range(9): time.sleep(.01)\ntime.sleep(20)", False, id="has-waited"),
        pytest.param("while True: pass", False, id="runs"),
    ],
)
def test_how_long_a_process_sleeps_that_never_slept_before(command: str, is_so: bool) -> None:
    before = time.monotonic()
    # A fork, which reads no files as it begins.
    pid = os.fork()
    if pid == 0:
        exec(command)
    try:
        time.sleep(0.5)
        asleep_s = processes.asleep_s(pid)
        assert (0 < asleep_s <= time.monotonic() - before) if is_so else asleep_s == 0
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert processes.asleep_s(pid) == 0
