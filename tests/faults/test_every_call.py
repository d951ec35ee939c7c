"""Death and failure at every single call by which this package, or the run that it looks after, changes the disk.

The calls go through one place, `fsops.Raw` (and `os` for the run's own work), so a forked child can die before or after its
N-th call, or have it fail, without a tracer; `test_strace.py` does the same from outside, for real.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_points import chosen
from small_run import SmallRun, before, prepare, verdict

from pytest_session_guard._host import copying
from pytest_session_guard._host.fsops import Raw

CHANGES = ("open", "write", "mkdir", "unlink", "rmdir", "rename", "link", "symlink", "chmod", "utime", "fsync")
COPIES = ("truncate", "copy_range", "setxattr")
Interfere = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
tell = os.write


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead process loses nothing that was written, synced or not; syncing a thousand times over is what takes long."""
    monkeypatch.setattr(Raw, "fsync", staticmethod(lambda fd: None))


class Countdown:
    """Counts calls, and interferes with the N-th."""

    def __init__(self, at: int, interfere: Interfere) -> None:
        self.at = at
        self.count = 0
        self.interfere = interfere

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **names: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                return self.interfere(call, arguments, names)
            return call(*arguments, **names)

        return counted

    def take_over(self) -> None:
        """Everything that changes the disk in this process goes through here from now on."""
        for name in CHANGES:
            wrapped = self.wrap(getattr(Raw, name))
            setattr(Raw, name, staticmethod(wrapped))
            setattr(os, name, wrapped)
        for name in COPIES:
            setattr(copying._Primitives, name, staticmethod(self.wrap(getattr(copying._Primitives, name))))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_before(call: Callable[..., Any], arguments: tuple[Any, ...], names: dict[str, Any]) -> Any:
    die()


def die_after(call: Callable[..., Any], arguments: tuple[Any, ...], names: dict[str, Any]) -> Any:
    call(*arguments, **names)
    die()


def write_half_and_die(call: Callable[..., Any], arguments: tuple[Any, ...], names: dict[str, Any]) -> Any:
    if getattr(call, "__name__", "") == "write":
        call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
    die()


def fail_with(number: int) -> Interfere:
    def fail(call: Callable[..., Any], arguments: tuple[Any, ...], names: dict[str, Any]) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def live_in_a_child(root: Path, at: int, interfere: Interfere) -> tuple[int, int]:
    """The run lives in a forked child; returns its wait status, and how many calls it made if it lived to the end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 9
        try:
            countdown = Countdown(at, interfere)
            run = SmallRun(root)
            countdown.take_over()
            run.live()
            tell(writing, str(countdown.count).encode())
            status = 0
        except BaseException as problem:  # whatever it is, the parent must not go on in this process
            tell(2, f"call {at}: the run itself broke: {problem!r}\n".encode())
        finally:
            os._exit(status)
    os.close(writing)
    count = os.read(reading, 99)
    os.close(reading)
    return os.waitpid(pid, 0)[1], int(count or b"0")


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many calls the small run makes when nothing interferes."""
    root = tmp_path_factory.mktemp("whole")
    prepare(root)
    status, count = live_in_a_child(root, 0, die_before)
    assert status == 0
    assert count > 100
    return count


def test_when_nothing_interferes_everything_is_as_it_was(tmp_path: Path) -> None:
    prepare(tmp_path)
    known = before(tmp_path)
    live_in_a_child(tmp_path, 0, die_before)

    assert sorted(entry.name for entry in (tmp_path / "store").iterdir()) == ["_index.json", "real.json"]
    assert verdict(tmp_path, known) == []


def test_without_preimages_the_same_run_loses_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path)
    known = before(tmp_path)
    monkeypatch.setattr(SmallRun, "change", lambda run, path, act, *, removal: run.attempt(lambda: act(path)))

    live_in_a_child(tmp_path, 0, die_before)

    assert {Path(line.partition(":")[0]).name for line in verdict(tmp_path, known)} >= {"edited.py", "deleted.py"}


def test_without_a_ledger_the_same_death_leaves_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path)
    known = before(tmp_path)
    monkeypatch.setattr(SmallRun, "_hear", lambda run, event, arguments: None)
    monkeypatch.setattr(SmallRun, "end", lambda run: os.kill(os.getpid(), signal.SIGKILL))

    live_in_a_child(tmp_path, 0, die_before)

    assert any("neither removed nor named" in line for line in verdict(tmp_path, known))


@pytest.mark.parametrize(
    "interfere",
    [
        pytest.param(die_before, id="killed-before-the-call"),
        pytest.param(die_after, id="killed-after-the-call"),
        pytest.param(write_half_and_die, id="killed-in-the-middle-of-a-write"),
        pytest.param(fail_with(errno.ENOSPC), id="disk-full"),
        pytest.param(fail_with(errno.EDQUOT), id="over-quota"),
        pytest.param(fail_with(errno.EIO), id="input-output-error"),
        pytest.param(fail_with(errno.EACCES), id="permission-denied"),
        pytest.param(fail_with(errno.EROFS), id="read-only-disk"),
        pytest.param(fail_with(errno.EMFILE), id="out-of-descriptors"),
    ],
)
def test_nothing_real_is_lost_and_every_proven_artifact_goes(tmp_path: Path, calls: int, interfere: Interfere) -> None:
    wrong: dict[int, list[str]] = {}
    for at in chosen(range(1, calls + 1), 25):
        root = tmp_path / str(at)
        root.mkdir()
        prepare(root)
        known = before(root)

        status, _ = live_in_a_child(root, at, interfere)

        found = verdict(root, known) + verdict(root, known)  # recovery can be repeated
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
            found.append("the run itself broke")
        if found:
            wrong[at] = found
        shutil.rmtree(root)

    assert wrong == {}


def test_recovery_itself_can_be_killed_at_every_call(tmp_path: Path, calls: int) -> None:
    wrong: dict[tuple[int, int], list[str]] = {}
    for at, recovery_at in chosen(list(itertools.product(range(calls // 3, calls), range(1, 90))), 18, most=1_000):
        root = tmp_path / f"{at}-{recovery_at}"
        root.mkdir()
        prepare(root)
        known = before(root)
        live_in_a_child(root, at, die_after)
        recover_in_a_child(root, known, recovery_at)

        found = verdict(root, known)

        if found:
            wrong[at, recovery_at] = found
        shutil.rmtree(root)

    assert wrong == {}


def recover_in_a_child(root: Path, known: dict[str, Any], at: int) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            Countdown(at, die_after).take_over()
            verdict(root, known)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
