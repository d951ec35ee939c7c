"""Several workers side by side, each trying one vector at a time."""

from __future__ import annotations

import compileall
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest_session_guard

from .layers import Form
from .verdicts import Outcome

Request = tuple[str, Form]


class WorkerDiedError(RuntimeError):
    """A worker ended in the middle of a try, so that try has no verdict."""


class Pool:
    """Tries requests in the order in which they are handed in, on as many workers as there are processors.

    A worker is a process with one thread that forks and becomes a subreaper; the threads here only wait for it.
    """

    def __init__(self, size: int | None = None) -> None:
        self._requests: queue.SimpleQueue[tuple[Request, Future[Outcome]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._serve) for _ in range(size or os.cpu_count() or 1)]

    def __enter__(self) -> Self:
        # The tries write no byte code, which would be a change; without any, each would compile the plugin and all vectors.
        for package in (Path(pytest_session_guard.__file__).parent, Path(__file__).parent):
            compileall.compile_dir(package, quiet=1)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._drop_waiting()
        for _ in self._threads:
            self._requests.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, request: Request) -> Future[Outcome]:
        """Queue a try."""
        future: Future[Outcome] = Future()
        self._requests.put((request, future))
        return future

    def _drop_waiting(self) -> None:
        while not self._requests.empty():
            waiting = self._requests.get()
            if waiting is not None:
                waiting[1].cancel()

    def _serve(self) -> None:
        # The package is named as its tests folder sees it, so the folder is the working directory.
        package = __package__ or "vectors"
        home = Path(__file__).parents[len(package.split("."))]
        command = [sys.executable, "-m", f"{package}.worker"]
        with subprocess.Popen(command, cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdin is not None
            assert worker.stdout is not None
            while (waiting := self._requests.get()) is not None:
                (name, form), future = waiting
                print(json.dumps({"vector": name, "form": asdict(form)}), file=worker.stdin, flush=True)
                answer = worker.stdout.readline()
                if not answer:
                    future.set_exception(
                        WorkerDiedError(f"the worker died while trying {name!r} in form {form.label!r}")
                    )
                    self._drop_after_death()
                    break
                future.set_result(Outcome.parse(answer))

    def _drop_after_death(self) -> None:
        """Let the other workers go on; only where none is left would a waiting request hang."""
        self._threads = [thread for thread in self._threads if thread is not threading.current_thread()]
        if not self._threads:
            self._drop_waiting()


def try_all(
    requests: Sequence[Request], size: int | None = None, report: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """Try every request and give the outcomes in the same order.

    :param report: is called with each outcome as soon as its turn has come.
    """
    outcomes: list[Outcome] = []
    with Pool(size) as pool:
        for future in _all(pool, requests):
            outcomes.append(future.result())
            if report is not None:
                report(outcomes[-1])
    return outcomes


def _all(pool: Pool, requests: Iterable[Request]) -> list[Future[Outcome]]:
    return [pool.submit(request) for request in requests]
