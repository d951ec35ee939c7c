"""Another host, as a pytest-xdist controller sees one: reached over a socket, with an environment, a home and a disk of its own.

It is execnet's own socket server, started outside the guarded run; it shares nothing with the run but the machine.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from project import Facts, Project, snapshot

# What `python -m execnet.script.socketserver` does, on a port of the kernel's choice.
SERVER = """\
import sys

from execnet.gateway_base import get_execmodel
from execnet.script import socketserver

socketserver.execmodel = get_execmodel(sys.argv[1])
listening = socketserver.bind_and_listen(("127.0.0.1", 0), socketserver.execmodel)
print("listening on port", listening.getsockname()[1], flush=True)
socketserver.startserver(listening, loop=True)
"""
START_LIMIT_S = 30
# What a worker's interpreter needs at least.
LIBRARIES = ("pytest", "_pytest", "py.py", "execnet", "pluggy", "iniconfig", "packaging", "pygments")


@dataclass
class FarHost:
    """The far end: a checkout (``root``), a home and a temp directory of its own, those of a `Project`."""

    place: Project
    process: subprocess.Popen[bytes]
    port: int

    @property
    def tx(self) -> tuple[str, ...]:
        """Pytest's arguments for one worker there, in the far checkout."""
        return ("--tx", f"socket=127.0.0.1:{self.port}//chdir={self.place.root}", "--dist=load")

    def kill(self) -> None:
        """The host is gone, as with its power."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)


@contextmanager
def far_host(
    place: Project, env: Mapping[str, str] | None = None, python: str = "", threads: str = "thread"
) -> Iterator[FarHost]:
    """A socket server in a project's checkout, with the project's environment and account.

    :param threads: execnet's name for where tests run: "thread", as the server does by itself, takes another thread than the
        main one where that is not free yet, "main_thread_only" waits for it.
    """
    account = place.account
    output = place.base / "server-output"
    with output.open("wb") as writing:
        process = subprocess.Popen(
            [python or account.python, "-u", "-c", SERVER, threads],
            cwd=place.root,
            env=place.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=account.uid,
            group=account.uid,
            extra_groups=None if account.uid is None else [],
        )
    host = FarHost(place, process, _port(process, output))
    try:
        yield host
    finally:
        if process.poll() is None:
            host.kill()


def _port(process: subprocess.Popen[bytes], output: Path) -> int:
    deadline = time.monotonic() + START_LIMIT_S
    while not (found := re.search(r"listening on port (\d+)", output.read_text())):
        assert time.monotonic() < deadline, output.read_text()
        assert process.poll() is None, output.read_text()
        time.sleep(0.02)
    return int(found[1])


def runs_of(place: Project) -> list[Path]:
    """The run directories of a checkout's ledger, oldest first."""
    runs = place.root / ".session_guard" / "runs"
    return sorted(runs.iterdir()) if runs.is_dir() else []


def home_of(place: Project) -> dict[str, Facts]:
    """Everything in the far home."""
    return snapshot(place.home)


def libraries(place: Path) -> Path:
    """A directory with what a worker needs, and without this plugin."""
    site = Path(sys.modules["pytest"].__file__ or "").parents[1]
    place.mkdir()
    for name in LIBRARIES:
        (place / name).symlink_to(site / name)
    return place


def base_interpreter() -> str:
    """The interpreter that the virtual environment was made from; it has none of its packages."""
    base: Any = vars(sys).get("_base_executable")
    return str(base or sys.executable)
