"""Changing what a name means between the look at it and the use of it."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from pathlib import Path

from ..vector import Scene, vector
from .natives import AT_FDCWD, RENAME_EXCHANGE, libc


def _swap_for_ever(first: Path, second: Path, done: threading.Event) -> threading.Thread:
    swap = libc().renameat2

    def work() -> None:
        while not done.is_set():
            swap(AT_FDCWD, bytes(first), AT_FDCWD, bytes(second), RENAME_EXCHANGE)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def _race(first: Path, second: Path, name: Path) -> None:
    done, until = threading.Event(), time.monotonic() + 1.5
    thread = _swap_for_ever(first, second, done)
    try:
        while time.monotonic() < until:
            try:
                with open(name, "a") as stream:
                    stream.write("more")
            except OSError:
                continue
    finally:
        done.set()
        thread.join()


@vector("race")
def race_symlink_swapped(s: Scene) -> None:
    (s.tmp / "harmless").write_text("")
    os.symlink(s.tmp / "harmless", s.tmp / "pointer")
    os.symlink(s.notes, s.tmp / "other")
    _race(s.tmp / "pointer", s.tmp / "other", s.tmp / "pointer")


@vector("race")
def race_directory_swapped_for_symlink(s: Scene) -> None:
    (s.tmp / "work").mkdir()
    os.symlink(s.prot, s.tmp / "other")
    _race(s.tmp / "work", s.tmp / "other", s.tmp / "work" / "notes.txt")


@vector("race")
def garbage_collector_callback_removes(s: Scene) -> None:
    path = str(s.notes)

    def collected(phase: str, _: object) -> None:
        if phase == "start":
            os.remove(path)

    limits = gc.get_threshold()
    gc.callbacks.append(collected)
    gc.set_threshold(1)
    try:
        with open(s.tmp / "busy", "w"):
            pass
        gc.collect()
    finally:
        gc.set_threshold(*limits)
        gc.callbacks.remove(collected)


@vector("race")
def del_while_hook_runs(s: Scene) -> None:
    class Cycle:
        def __init__(self, path: str) -> None:
            self.me, self.path, self.remove = self, path, os.remove

        def __del__(self) -> None:
            self.remove(self.path)

    limits = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(50):
            Cycle(str(s.notes))
            with open(s.tmp / f"busy{number}", "w"):
                pass
    finally:
        gc.set_threshold(*limits)


@vector("race")
def signal_handler_raises_in_hook(s: Scene) -> None:
    class LateError(Exception):
        pass

    def handler(*_: object) -> None:
        raise LateError

    previous = signal.signal(signal.SIGALRM, handler)
    until = time.monotonic() + 0.5
    try:
        while time.monotonic() < until:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00002)
                os.remove(s.notes)
            except (LateError, OSError):
                continue
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
