"""What lives beside a run and is not its child: a database server, a daemon on a port, a program that keeps writing."""

from __future__ import annotations

import socketserver
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .scene import Scene

PULSE_S: Final = 0.02
DAEMON: Final = """
import os
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    with listener.accept()[0] as connection:
        connection.sendall(b"%d" % os.getpid())
"""


class StandIn(ABC):
    """Something outside the run whose state may be harmed."""

    tokens: Mapping[str, str] = {}
    """What the texts of the case may name of it."""

    @abstractmethod
    def facts(self) -> dict[str, object]:
        """Give its state, to be compared before and after."""


class Nothing(StandIn):
    """Nobody: most runs have no neighbour."""

    def facts(self) -> dict[str, object]:
        """Give nothing."""
        return {}


class DataServer(StandIn):
    """A server on a loopback port that keeps named rows and obeys whoever connects.

    It speaks one line per connection: ``LIST``, ``DROP name``, ``TRUNCATE name``, ``FLUSHDB``, ``LOAD name``, ``UNLOAD name``, and HTTP's
    ``DELETE /name``. It runs in the harness, so that nothing of it belongs to the run under test.
    """

    def __init__(self, tables: Mapping[str, tuple[str, ...]]) -> None:
        self._tables = dict(tables)
        server = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(server.obey(self.rfile.readline().decode()).encode())

        self._listener = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.tokens = {"port": str(self._listener.server_address[1])}

    def obey(self, line: str) -> str:
        """Carry out one command line and give the answer to send back."""
        verb, _, name = line.strip().partition(" ")
        if verb == "LIST":
            return " ".join(self._tables) + "\n"
        if verb == "FLUSHDB":
            self._tables.clear()
        elif verb in {"DROP", "UNLOAD"}:
            self._tables.pop(name, None)
        elif verb == "DELETE":
            self._tables.pop(name.split()[0].lstrip("/"), None)
            return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        elif verb == "TRUNCATE":
            self._tables[name] = ()
        elif verb == "LOAD":
            self._tables[name] = ("loaded by a test",)
        return "OK\n"

    def facts(self) -> dict[str, object]:
        """Give the rows of each table as ``server/<table>``."""
        return {f"server/{name}": rows for name, rows in self._tables.items()}

    @contextmanager
    def serving(self) -> Iterator[DataServer]:
        """Answer while the block lasts."""
        # The poll is what closing waits for, and dozens of cases close one.
        thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._listener.shutdown()
            self._listener.server_close()
            thread.join()


class Daemon(StandIn):
    """A process of its own that listens on a loopback port, as a user's live program does, and tells its number to whoever asks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.tokens = {"port": process.stdout.readline().strip()}

    def facts(self) -> dict[str, object]:
        """Give ``process/daemon`` while it runs."""
        return {"process/daemon": "running"} if self._process.poll() is None else {}


class Heartbeat(StandIn):
    """A live program that rewrites one file of the checkout all the time; it may do so, and nobody else may be blamed."""

    def __init__(self, scene: Scene, name: str) -> None:
        self._path = scene.resolve(name)
        self._stop = threading.Event()
        self.beats = 0

    def beat(self) -> None:
        """Write until stopped."""
        while not self._stop.wait(PULSE_S):
            self.beats += 1
            self._path.write_text(f'{{"beat": {self.beats}}}\n')

    def stop(self) -> None:
        """End ``beat`` after its present write."""
        self._stop.set()

    def facts(self) -> dict[str, object]:
        """Give nothing: its file is on the disk, and changes rightly."""
        return {}


def serve_tables(tables: Mapping[str, tuple[str, ...]], scene: Scene) -> AbstractContextManager[DataServer]:
    """Start a ``DataServer`` with these rows."""
    del scene
    return DataServer(tables).serving()


@contextmanager
def start_daemon(scene: Scene) -> Iterator[Daemon]:
    """Start a ``Daemon`` outside the run and end it afterwards, if it still lives."""
    command = [sys.executable, "-I", "-c", DAEMON]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=scene.base, env={}) as process:
        try:
            yield Daemon(process)
        finally:
            process.kill()


@contextmanager
def start_heartbeat(scene: Scene, name: str) -> Iterator[Heartbeat]:
    """Keep rewriting the file ``name`` of the scene while the block lasts."""
    heartbeat = Heartbeat(scene, name)
    thread = threading.Thread(target=heartbeat.beat, daemon=True)
    thread.start()
    try:
        yield heartbeat
    finally:
        heartbeat.stop()
        thread.join()
