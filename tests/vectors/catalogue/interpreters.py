"""Trying it while the interpreter is not what it was: mocked functions, wiped modules, subinterpreters, no memory."""

from __future__ import annotations

import _thread
import builtins
import gc
import importlib
import io
import os
import posix
import posixpath
import sys
import threading
import time
import warnings
from typing import Any
from unittest import mock

from ..vector import Scene, vector


def _interpreters() -> Any:
    """The private module of subinterpreters, whatever this version calls it."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise LookupError("this interpreter has no subinterpreters, so the capability should have said so")


def run_in_subinterpreter(identity: Any, script: str) -> None:
    """Run ``script`` in the subinterpreter."""
    _interpreters().run_string(identity, script)


def make_subinterpreter() -> Any:
    """A new subinterpreter that may fork, load extensions and so on."""
    try:
        return _interpreters().create("legacy")
    except TypeError:
        return _interpreters().create(isolated=False)


@vector("interpreter", needs=("subinterpreters",))
def subinterpreter_remove(s: Scene) -> None:
    run_in_subinterpreter(make_subinterpreter(), f"import os; os.remove({str(s.notes)!r})")


@vector("interpreter", needs=("subinterpreters",))
def subinterpreter_open_w(s: Scene) -> None:
    run_in_subinterpreter(make_subinterpreter(), f"open({str(s.notes)!r}, 'w').close()")


@vector("interpreter", needs=("subinterpreters",))
def subinterpreter_shell(s: Scene) -> None:
    run_in_subinterpreter(make_subinterpreter(), f"import os; os.system('rm ' + {str(s.notes)!r})")


@vector("interpreter", needs=("module:_testcapi",))
def subinterpreter_testcapi(s: Scene) -> None:
    testcapi = importlib.import_module("_testcapi")
    testcapi.run_in_subinterp(f"import os; os.remove({str(s.notes)!r})")


@vector("interpreter")
def mock_os_path_functions(s: Scene) -> None:
    harmless, notes = str(s.tmp), str(s.notes)
    with mock.patch.multiple(posixpath, realpath=lambda *_, **__: harmless, abspath=lambda *_: harmless,
                             normpath=lambda *_: harmless, join=lambda *_: harmless):  # fmt: skip
        os.remove(notes)


@vector("interpreter")
def mock_os_stat_family(s: Scene) -> None:
    def fails(*_: object, **__: object) -> None:
        raise FileNotFoundError

    path = str(s.notes)
    with mock.patch.multiple(os, stat=fails, lstat=fails, readlink=fails, fspath=fails, getcwd=fails, scandir=fails):
        os.remove(path)


@vector("interpreter")
def mock_posix_functions(s: Scene) -> None:
    def fails(*_: object, **__: object) -> None:
        raise FileNotFoundError

    path = str(s.notes)
    with mock.patch.multiple(posix, stat=fails, lstat=fails, readlink=fails, getcwd=fails, open=fails, write=fails):
        posix.unlink(path)


@vector("interpreter")
def mock_os_write_and_open(s: Scene) -> None:
    with mock.patch.multiple(
        os, write=lambda *_: 0, open=lambda *_, **__: 99, close=lambda *_: None, fsync=lambda *_: None
    ):
        os.remove(s.notes)


@vector("interpreter")
def mock_builtins(s: Scene) -> None:
    remove, path = os.remove, str(s.notes)
    saved = {
        name: getattr(builtins, name) for name in ("isinstance", "len", "str", "bytes", "int", "type", "getattr", "any")
    }
    for name in saved:
        setattr(builtins, name, lambda *_: False)
    try:
        remove(path)
    finally:
        for name, value in saved.items():
            setattr(builtins, name, value)


@vector("interpreter")
def mock_builtin_errors(s: Scene) -> None:
    names = ("OSError", "PermissionError", "Exception", "BaseException")
    saved = {name: getattr(builtins, name) for name in names}
    remove, path = os.remove, str(s.notes)
    for name in names:
        setattr(builtins, name, KeyboardInterrupt)
    try:
        remove(path)
    finally:
        for name, value in saved.items():
            setattr(builtins, name, value)


@vector("interpreter")
def mock_builtin_open(s: Scene) -> None:
    with mock.patch.object(builtins, "open", return_value=io.StringIO()):
        os.truncate(s.notes, 0)


@vector("interpreter")
def mock_clock_and_identity(s: Scene) -> None:
    clock = mock.patch.multiple(time, time=lambda: 0.0, time_ns=lambda: 0, monotonic=lambda: 0.0)
    with clock, mock.patch.multiple(os, getpid=lambda: 1, getuid=lambda: 0):
        os.remove(s.notes)


@vector("interpreter")
def mock_threading_functions(s: Scene) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError

    with (
        mock.patch.multiple(threading, current_thread=fails, get_ident=fails, Lock=fails),
        mock.patch.object(_thread, "get_ident", fails),
    ):
        os.remove(s.notes)


@vector("interpreter")
def original_function_kept_before_mock(s: Scene) -> None:
    real = os.remove
    with mock.patch.object(os, "remove", return_value=None):
        real(s.notes)


@vector("interpreter")
def environment_cleared(s: Scene) -> None:
    os.environ.clear()
    os.remove(s.notes)


@vector("interpreter")
def modules_cleared(s: Scene) -> None:
    saved = dict(sys.modules)
    sys.modules.clear()
    try:
        os.remove(s.notes)
    finally:
        sys.modules.update(saved)


@vector("interpreter")
def guard_modules_removed(s: Scene) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pytest_session_guard"]:
        del sys.modules[name]
    gc.collect()
    os.remove(s.notes)


@vector("interpreter")
def guard_globals_wiped(s: Scene) -> None:
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "pytest_session_guard"]
    saved = [(module, dict(vars(module))) for module in modules]
    for module in modules:
        for name in [name for name in vars(module) if not name.startswith("__")]:
            delattr(module, name)
    try:
        os.remove(s.notes)
    finally:
        for module, names in saved:
            vars(module).update(names)


@vector("interpreter")
def modules_reloaded(s: Scene) -> None:
    importlib.reload(os)
    importlib.reload(posixpath)
    os.remove(s.notes)


@vector("interpreter")
def profiler_and_tracer_active(s: Scene) -> None:
    sys.settrace(lambda *_: None)
    sys.setprofile(lambda *_: None)
    try:
        os.remove(s.notes)
    finally:
        sys.settrace(None)
        sys.setprofile(None)


@vector("interpreter")
def second_audit_hook_raises(s: Scene) -> None:
    state = {"armed": True}

    def raises(event: str, _: tuple[object, ...]) -> None:
        if state["armed"] and event == "os.listdir":
            raise ValueError("not for the guard")

    sys.addaudithook(raises)
    try:
        os.remove(s.notes)
    finally:
        state["armed"] = False


@vector("interpreter")
def deep_recursion(s: Scene) -> None:
    path = str(s.notes)

    def dive() -> None:
        try:
            dive()
        except RecursionError:
            os.remove(path)

    dive()


@vector("interpreter")
def recursion_limit_sweep(s: Scene) -> None:
    path, usual = str(s.notes), sys.getrecursionlimit()
    for limit in range(20, 120):
        try:
            sys.setrecursionlimit(limit)
            os.remove(path)
        except (RecursionError, OSError):
            continue
        finally:
            sys.setrecursionlimit(usual)


@vector("interpreter")
def warnings_as_errors(s: Scene) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        os.remove(s.notes)


@vector("interpreter")
def garbage_collector_frozen(s: Scene) -> None:
    gc.disable()
    gc.freeze()
    try:
        os.remove(s.notes)
    finally:
        gc.enable()


@vector("interpreter")
def standard_streams_closed(s: Scene) -> None:
    with mock.patch.multiple(sys, stdout=None, stderr=None, __stderr__=None, __stdout__=None):
        os.remove(s.notes)


@vector("interpreter")
def descriptors_all_closed(s: Scene) -> None:
    child = os.fork()
    if child == 0:
        try:
            os.closerange(3, 256)
            os.remove(s.notes)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


@vector("interpreter")
def descriptors_used_up(s: Scene) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        os.remove(s.notes)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@vector("interpreter")
def file_size_limited(s: Scene) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        os.remove(s.notes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@vector("interpreter")
def working_directory_removed(s: Scene) -> None:
    (s.tmp / "gone").mkdir()
    os.chdir(s.tmp / "gone")
    os.rmdir(s.tmp / "gone")
    os.remove(s.notes)


@vector("interpreter", needs=("module:pyfakefs",))
def fake_file_system_paused(s: Scene) -> None:
    patcher = importlib.import_module("pyfakefs.fake_filesystem_unittest").Patcher()
    patcher.setUp()
    patcher.pause()
    try:
        os.remove(s.notes)
    finally:
        patcher.tearDown()
