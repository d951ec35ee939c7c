"""A child does it out of the hook's sight, and then something makes the run look green, or takes the guard's means away."""

from __future__ import annotations

import os
import posix
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..vector import Scene, vector
from .natives import libc


def _shell_remove(s: Scene) -> None:
    subprocess.run(["rm", "-f", str(s.notes)], check=False, stderr=subprocess.DEVNULL)


def _register(s: Scene, plugin: object) -> None:
    s.held["request"].config.pluginmanager.register(plugin)


@vector("outcome")
def exit_status_set_in_sessionfinish(s: Scene) -> None:
    class Plugin:
        @pytest.hookimpl(trylast=True)
        def pytest_sessionfinish(self, session: Any) -> None:
            session.exitstatus = 0

    _register(s, Plugin())
    _shell_remove(s)


@vector("outcome")
def exit_status_set_around_sessionfinish(s: Scene) -> None:
    class Plugin:
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_sessionfinish(self, session: Any) -> Iterator[None]:
            yield
            session.exitstatus = 0
            session.testsfailed = 0

    _register(s, Plugin())
    _shell_remove(s)


@vector("outcome")
def pytest_exit_zero_in_teardown(s: Scene) -> None:
    class Plugin:
        def pytest_runtest_teardown(self, item: object) -> None:
            pytest.exit("enough", returncode=0)

    _register(s, Plugin())
    _shell_remove(s)


@vector("outcome")
def pytest_exit_zero_in_sessionfinish(s: Scene) -> None:
    class Plugin:
        def pytest_sessionfinish(self) -> None:
            pytest.exit("enough", returncode=0)

    _register(s, Plugin())
    _shell_remove(s)


@vector("outcome")
def system_exit_in_unconfigure(s: Scene) -> None:
    class Plugin:
        @pytest.hookimpl(tryfirst=True)
        def pytest_unconfigure(self) -> None:
            raise SystemExit(0)

    _register(s, Plugin())
    _shell_remove(s)


@vector("outcome")
def report_turned_into_passed(s: Scene) -> None:
    class Plugin:
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(self, item: object) -> Any:
            report = yield
            report.outcome, report.longrepr = "passed", None
            return report

    _register(s, Plugin())
    _shell_remove(s)


@vector("outcome")
def test_marked_as_expected_to_fail(s: Scene) -> None:
    s.held["request"].node.add_marker(pytest.mark.xfail(strict=False))
    _shell_remove(s)


@vector("outcome")
def test_skipped_afterwards(s: Scene) -> None:
    class Plugin:
        def pytest_runtest_teardown(self, item: object) -> None:
            pytest.skip("not today")

    _register(s, Plugin())
    _shell_remove(s)


@vector("outcome")
def guard_unregistered(s: Scene) -> None:
    manager = s.held["request"].config.pluginmanager
    for plugin in list(manager.get_plugins()):
        module = getattr(plugin, "__name__", "") + type(plugin).__module__
        if "session_guard" in module:
            manager.unregister(plugin)
    _shell_remove(s)


@vector(
    "outcome", arguments=lambda s: ["-qqq", "--no-summary", "--no-header", "-r", "N", "--tb=no", "--show-capture=no"]
)
def everything_quiet(s: Scene) -> None:
    _shell_remove(s)


@vector("outcome")
def children_killed(s: Scene) -> None:
    """A test that cleans up all processes below it, whoever started them."""
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    _shell_remove(s)


@vector("outcome")
def descriptors_closed(s: Scene) -> None:
    """A test of code that makes a daemon of itself, as far as closing everything that it inherited."""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2 and not _is_of_capture(number):
            try:
                os.close(number)
            except OSError:
                continue
    _shell_remove(s)


def _is_of_capture(number: int) -> bool:
    try:
        target = os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return True
    return "(deleted)" in target or target in ("/dev/null", "/dev/pts/0") or target.endswith("output.txt")


@vector("outcome")
def posix_exit_after_shell_remove(s: Scene) -> None:
    _shell_remove(s)
    posix._exit(0)


@vector("outcome")
def ctypes_exit_after_shell_remove(s: Scene) -> None:
    _shell_remove(s)
    libc()._exit(0)


@vector("outcome")
def ctypes_exit_handlers_after_shell_remove(s: Scene) -> None:
    _shell_remove(s)
    libc().exit(0)


@vector("outcome")
def ctypes_execl_after_shell_remove(s: Scene) -> None:
    _shell_remove(s)
    libc().execl(b"/bin/true", b"true", None)


@vector("outcome")
def ctypes_exit_of_wide_status_after_shell_remove(s: Scene) -> None:
    """Of a status the kernel takes the lowest byte, which is green here."""
    _shell_remove(s)
    libc()._exit(256)


@vector("outcome", needs=("x86_64",))
def ctypes_thread_exit_after_shell_remove(s: Scene) -> None:
    _shell_remove(s)
    libc().syscall(60, 0)


@vector("outcome")
def terminated_after_shell_remove(s: Scene) -> None:
    _shell_remove(s)
    os.kill(os.getpid(), signal.SIGTERM)


@vector("outcome")
def interrupted_after_shell_remove(s: Scene) -> None:
    class Plugin:
        def pytest_runtest_teardown(self, item: object) -> None:
            raise KeyboardInterrupt

    _register(s, Plugin())
    _shell_remove(s)


@vector("outcome")
def memory_limited(s: Scene) -> None:
    import resource

    path = str(s.notes)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use, limits[1]))
    try:
        os.remove(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@vector("outcome")
def processes_limited(s: Scene) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, limits[1]))
    try:
        os.remove(s.notes)
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, limits)
