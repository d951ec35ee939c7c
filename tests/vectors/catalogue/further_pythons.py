"""More of Python itself: modules run as programs, options of pytest, the interpreter's own files, databases."""

from __future__ import annotations

import argparse
import asyncio
import compileall
import concurrent.futures
import ctypes
import dbm.dumb
import gzip
import importlib
import io
import logging
import logging.handlers
import multiprocessing
import os
import pickle
import posix
import py_compile
import queue
import shelve
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable

import pytest

from ..vector import Act, Scene, vector
from .interpreters import make_subinterpreter, run_in_subinterpreter
from .natives import AT_FDCWD, libc


def _run(s: Scene, *words: str, **options: object) -> None:
    settings: dict[str, object] = {"check": False, "capture_output": True, "stdin": subprocess.DEVNULL, "timeout": 30}
    subprocess.run([sys.executable, *words], **{**settings, **options})  # type: ignore[call-overload]


def _with_bytecode() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@vector("pychild")
def python_module_cprofile(s: Scene) -> None:
    (s.tmp / "x.py").write_text("")
    _run(s, "-m", "cProfile", "-o", str(s.prot / "profile"), str(s.tmp / "x.py"))


@vector("pychild")
def python_module_gzip(s: Scene) -> None:
    _run(s, "-m", "gzip", str(s.notes))


@vector("pychild")
def python_module_pydoc_write(s: Scene) -> None:
    _run(s, "-m", "pydoc", "-w", "this", cwd=s.prot)


@vector("pychild", needs=("module:pip",))
def python_pip_install_target(s: Scene) -> None:
    with zipfile.ZipFile(s.tmp / "tiny-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        wheel.writestr(
            "tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("tiny-1.dist-info/RECORD", "")
    pip = ["-m", "pip", "--no-cache-dir", "--disable-pip-version-check", "install", "-q", "--no-index", "--no-deps"]
    _run(s, *pip, "--target", str(s.prot / "site"), str(s.tmp / "tiny-1-py3-none-any.whl"))


@vector("pychild")
def fork_handler_of_child(s: Scene) -> None:
    state = {"armed": True}
    os.register_at_fork(after_in_child=lambda: state["armed"] and os.remove(s.notes))
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    state["armed"] = False


@vector("pychild")
def process_pool_initializer(s: Scene) -> None:
    context = multiprocessing.get_context("forkserver")
    with concurrent.futures.ProcessPoolExecutor(1, context, os.remove, (str(s.notes),)) as pool:
        pool.submit(os.getpid).result()


@vector("stdlib")
def py_compile_beside(s: Scene) -> None:
    py_compile.compile(str(s.prot / "tool.py"))


@vector("stdlib")
def compileall_beside(s: Scene) -> None:
    compileall.compile_dir(s.prot, quiet=2)


@vector("pychild")
def python_module_compileall_beside(s: Scene) -> None:
    _run(s, "-m", "compileall", "-q", str(s.prot))


@vector("stdlib")
def argparse_file_type(s: Scene) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=argparse.FileType("w"))
    parser.parse_args(["--output", str(s.notes)])


@vector("stdlib", needs=("readline",))
def readline_write_history_default_name(s: Scene) -> None:
    import readline

    readline.add_history("secret")
    readline.write_history_file()


@vector("stdlib", needs=("readline",))
def readline_history_of_interactive_hook(s: Scene) -> None:
    """What ``site`` arranges for an interactive session: the history is written at exit."""
    import readline

    sys.__interactivehook__()  # type: ignore[attr-defined]
    readline.add_history("secret")


@vector("stdlib", needs=("readline",))
def readline_history_at_exit(s: Scene) -> None:
    import atexit
    import readline

    readline.add_history("secret")
    atexit.register(readline.write_history_file, str(s.notes))


@vector("stdlib")
def pickle_reduce_remove(s: Scene) -> None:
    class Reduces:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.remove, (str(s.notes),)

    pickle.loads(pickle.dumps(Reduces()))


@vector("stdlib")
def logging_queue_listener(s: Scene) -> None:
    records: queue.Queue[logging.LogRecord] = queue.Queue()
    listener = logging.handlers.QueueListener(records, logging.FileHandler(s.prot / "app.log", delay=True))
    logging.raiseExceptions = False
    listener.start()
    records.put(logging.makeLogRecord({"msg": "noise"}))
    listener.stop()


@vector("stdlib")
def multiprocessing_listener(s: Scene) -> None:
    from multiprocessing.connection import Listener

    os.chdir(s.prot)
    listener = Listener("mp-socket", "AF_UNIX")
    os.link("mp-socket", "kept-socket")
    listener.close()


@vector("archive")
def tarfile_hard_link_then_write(s: Scene) -> None:
    entry = tarfile.TarInfo("twin")
    entry.type, entry.linkname = tarfile.LNKTYPE, "../home/.prot/notes.txt"
    with tarfile.open(s.tmp / "link.tar", "w") as archive:
        archive.addfile(entry)
    with tarfile.open(s.tmp / "link.tar") as archive:
        archive.extractall(s.tmp, filter="fully_trusted")
    (s.tmp / "twin").write_text("gone")


@vector("archive")
def tarfile_symlink_then_file(s: Scene) -> None:
    pointer, entry = tarfile.TarInfo("pointer"), tarfile.TarInfo("pointer/notes.txt")
    pointer.type, pointer.linkname, entry.size = tarfile.SYMTYPE, str(s.prot), 4
    with tarfile.open(s.tmp / "link.tar", "w") as archive:
        archive.addfile(pointer)
        archive.addfile(entry, io.BytesIO(b"gone"))
    with tarfile.open(s.tmp / "link.tar") as archive:
        archive.extractall(s.tmp, filter="fully_trusted")


@vector("os")
def posix_mkfifo(s: Scene) -> None:
    posix.mkfifo(str(s.prot / "pipe"))


@vector("os")
def posix_mknod(s: Scene) -> None:
    posix.mknod(str(s.prot / "node"))


@vector("os")
def posix_open_relative_to_directory(s: Scene) -> None:
    directory = posix.open(str(s.prot), os.O_RDONLY)
    posix.close(posix.open("notes.txt", os.O_WRONLY | os.O_TRUNC, dir_fd=directory))


@vector("os")
def os_remove_directory_entry(s: Scene) -> None:
    for entry in os.scandir(s.prot):
        if entry.name == "notes.txt":
            os.remove(entry)


@vector("os")
def os_fwalk_unlink(s: Scene) -> None:
    for _, _, names, directory in os.fwalk(s.prot, topdown=False):
        for name in names:
            os.unlink(name, dir_fd=directory)


@vector("os")
def os_truncate_to_same_size(s: Scene) -> None:
    os.ftruncate(os.open(s.notes, os.O_RDWR), s.notes.stat().st_size)


def _hot_journal(s: Scene) -> None:
    """What a crashed writer left: whoever opens the database next rolls it back."""
    child = os.fork()
    if child == 0:
        connection = sqlite3.connect(s.database, isolation_level=None)
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO message VALUES (?, ?)", ((n, "x" * 4000) for n in range(100, 160)))
        os._exit(0)
    os.waitpid(child, 0)


@vector("sqlite", setup=_hot_journal)
def sqlite_select_rolls_back(s: Scene) -> None:
    sqlite3.connect(s.database).execute("SELECT count(*) FROM message").fetchall()


@vector("sqlite", setup=_hot_journal)
def sqlite_select_rolls_back_in_program(s: Scene) -> None:
    script = "import ctypes.util, sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM message')"
    _run(s, "-S", "-c", script, str(s.database))


def _cache(s: Scene) -> None:
    for name in ("v", "d"):
        (s.prot / name).mkdir()
        (s.prot / name / "data.txt").write_text("real\n")


def _nothing(s: Scene) -> None:
    assert s.prot.name == ".prot"


def _option(name: str, arguments: Callable[[Scene], list[str]], act: Act = _nothing, setup: Act | None = None) -> None:
    def run(s: Scene) -> None:
        act(s)

    run.__name__ = name
    vector("option", arguments=arguments, setup=setup)(run)


def _temporary(s: Scene) -> None:
    s.held["request"].getfixturevalue("tmp_path")


def _arguments(s: Scene) -> None:
    (s.tmp / "arguments").write_text(f"--junitxml={s.notes}\n")


def _link(s: Scene) -> None:
    os.symlink(s.prot, s.tmp / "pointer")


_option(
    "option_cache_clear", lambda s: ["-p", "cacheprovider", "--cache-clear", "-o", f"cache_dir={s.prot}"], setup=_cache
)
_option("option_cache_dir_variable", lambda s: ["-p", "cacheprovider", "-o", "cache_dir=$HOME/.prot/cache"])
_option("option_basetemp_relative", lambda s: ["--basetemp=../home/.prot"], _temporary)
_option("option_basetemp_below_symlink", lambda s: [f"--basetemp={s.tmp}/pointer/sub"], _temporary, _link)
_option("option_junitxml_through_symlink", lambda s: [f"--junitxml={s.tmp}/pointer/notes.txt"], setup=_link)
_option("option_log_file_relative", lambda s: ["--log-file=../home/.prot/app.log"])
_option("option_from_arguments_file", lambda s: [f"@{s.tmp}/arguments"], setup=_arguments)
_option("option_debug_separate_word", lambda s: ["--debug", str(s.notes)])
_option("option_override_ini_basetemp", lambda s: ["-o", f"addopts=--basetemp={s.prot}"], _temporary)


@vector("option", project_files=lambda s: {"tox.ini": f"[pytest]\naddopts = --junitxml={s.notes}\n"})
def tox_ini_addopts_junitxml(s: Scene) -> None:
    _nothing(s)


@vector(
    "option",
    project_files=lambda s: {"pytest.toml": f'[pytest]\naddopts = ["--junitxml={s.notes}"]\n'},
    needs=("pytest:9",),
)
def pytest_toml_addopts_junitxml(s: Scene) -> None:
    _nothing(s)


def _conftest(hook: str, statement: str) -> Callable[[Scene], dict[str, str]]:
    """A conftest whose hook runs one statement, in which ``PROT`` is the protected tree."""

    def files(s: Scene) -> dict[str, str]:
        body = f"@pytest.hookimpl(tryfirst=True)\ndef {hook}:\n    {statement}\n"
        return {"pytest.ini": "[pytest]\n", "conftest.py": f"import pytest\n\nPROT = {str(s.prot)!r}\n\n{body}"}

    return files


@vector("option", project_files=_conftest("pytest_configure(config)", "config.option.basetemp = PROT"))
def conftest_sets_basetemp(s: Scene) -> None:
    _temporary(s)


@vector("option", project_files=_conftest("pytest_configure(config)", "config.option.xmlpath = PROT + '/notes.txt'"))
def conftest_sets_junitxml(s: Scene) -> None:
    _nothing(s)


@vector(
    "option",
    project_files=_conftest(
        "pytest_sessionstart(session)",
        "session.config.pluginmanager.get_plugin('logging-plugin').set_log_path(PROT + '/notes.txt')",
    ),
)
def conftest_sets_log_path(s: Scene) -> None:
    _nothing(s)


@vector("option")
def logging_plugin_set_log_path(s: Scene) -> None:
    s.held["request"].config.pluginmanager.get_plugin("logging-plugin").set_log_path(str(s.prot / "app.log"))


@vector("option")
def inner_pytest_main_then_remove(s: Scene) -> None:
    """A session inside the session, with the guard's plugin named; what it takes down must not be the outer guard."""
    (s.tmp / "test_inner.py").write_text("def test_inner(): pass\n")
    pytest.main(["-q", "-p", "no:cacheprovider", "-p", "pytest_session_guard", str(s.tmp / "test_inner.py")])
    os.remove(s.notes)


@vector("option")
def inner_pytest_main_guard_off(s: Scene) -> None:
    (s.tmp / "test_inner.py").write_text(f"import os\ndef test_inner(): os.remove({str(s.notes)!r})\n")
    options = ["-q", "-p", "no:cacheprovider", "-p", "pytest_session_guard", "--session-guard=off"]
    if "session_guard_session" not in dict(s.held["request"].config.pluginmanager.list_name_plugin()):
        options = options[:3]
    pytest.main([*options, str(s.tmp / "test_inner.py")])


@vector("option")
def inner_pytest_child_in_the_tree(s: Scene) -> None:
    """The inner run takes the protected tree for its rootdir, with its cache and its byte code."""
    script = 'cd "$0" && echo "def test_inner(): pass" > "$1/test_inner.py" && "$2" -m pytest -q --rootdir="$0" "$1"'
    subprocess.run(["sh", "-c", script, str(s.prot), str(s.tmp), sys.executable], check=False, capture_output=True)


@vector("option")
def inner_pytest_main_cache(s: Scene) -> None:
    (s.tmp / "test_inner.py").write_text("def test_inner(): pass\n")
    pytest.main(["-q", "-p", "cacheprovider", f"--rootdir={s.prot}", str(s.tmp / "test_inner.py")])


@vector("option")
def inner_pytest_child_guard_off(s: Scene) -> None:
    (s.tmp / "test_inner.py").write_text(f"import os\ndef test_inner(): os.remove({str(s.notes)!r})\n")
    environment = {**os.environ, "SESSION_GUARD": "off"}
    _run(s, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(s.tmp / "test_inner.py"), env=environment, cwd=s.tmp)


@vector("option", arguments=lambda s: ["-p", "pytester"])
def pytester_run_inprocess_basetemp(s: Scene) -> None:
    pytester = s.held["request"].getfixturevalue("pytester")
    pytester.makepyfile("def test_inner(tmp_path): pass")
    pytester.runpytest_inprocess(f"--basetemp={s.prot}")


@vector("option", arguments=lambda s: ["-p", "pytester"])
def pytester_run_subprocess_junitxml(s: Scene) -> None:
    pytester = s.held["request"].getfixturevalue("pytester")
    pytester.makepyfile("def test_inner(): pass")
    pytester.runpytest_subprocess(f"--junitxml={s.notes}")


@vector("option", environment=lambda s: {"HOME": f"{s.base}/./home//"})
def variable_home_spelled_oddly(s: Scene) -> None:
    subprocess.run(["rm", str(s.notes)], check=False)


@vector("option", environment=lambda s: {"XDG_CACHE_HOME": str(s.prot)})
def variable_cache_home_in_the_tree(s: Scene) -> None:
    s.notes.write_text("gone")


def _keep(make: Callable[[Scene], object]) -> Act:
    def before(s: Scene) -> None:
        s.held["object"] = make(s)

    return before


@vector("earlier", before=_keep(lambda s: make_subinterpreter()), needs=("subinterpreters",))
def earlier_subinterpreter(s: Scene) -> None:
    run_in_subinterpreter(s.held["object"], f"import os; os.remove({str(s.notes)!r})")


@vector("earlier", before=_keep(lambda s: os.open(s.notes, os.O_WRONLY | os.O_NONBLOCK)))
def earlier_wakeup_descriptor(s: Scene) -> None:
    previous = signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.set_wakeup_fd(s.held["object"])
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, previous)


@vector("earlier", before=_keep(lambda s: gzip.GzipFile(s.notes, "w")))
def earlier_gzip_close(s: Scene) -> None:
    s.held["object"].write(b"gone")
    s.held["object"].close()


def _shelf(s: Scene) -> shelve.Shelf[str]:
    """As Python keeps it where no library does: its index is written out, by name, when it is closed."""
    return shelve.Shelf(dbm.dumb.open(str(s.prot / "shelf"), "c"))


def _make_shelf(s: Scene) -> None:
    with _shelf(s) as shelf:
        shelf["old"] = "words"


@vector("earlier", setup=_make_shelf, before=_keep(_shelf))
def earlier_shelf_sync(s: Scene) -> None:
    s.held["object"]["a"] = "b"
    s.held["object"].close()


@vector("earlier", before=_keep(lambda s: multiprocessing.get_context("fork").Pool(1)))
def earlier_multiprocessing_pool(s: Scene) -> None:
    s.held["object"].apply(os.remove, (str(s.notes),))


def _transaction(s: Scene) -> None:
    connection = sqlite3.connect(s.database, check_same_thread=False)
    connection.execute("INSERT INTO message VALUES (77, 'noise')")
    s.held["object"] = connection


@vector("earlier", before=_transaction)
def earlier_sqlite_commit(s: Scene) -> None:
    s.held["object"].commit()


@vector("earlier", before=_keep(lambda s: os.remove))
def earlier_function_kept(s: Scene) -> None:
    s.held["object"](s.notes)


@vector("earlier", before=_keep(lambda s: posix.mkfifo))
def earlier_function_without_event(s: Scene) -> None:
    s.held["object"](str(s.prot / "pipe"))


def _loop_in_thread(s: Scene) -> None:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    s.held["object"] = loop


@vector("earlier", before=_loop_in_thread)
def earlier_event_loop_thread(s: Scene) -> None:
    loop = s.held["object"]

    async def remove() -> None:
        await (await asyncio.create_subprocess_exec("rm", str(s.notes))).wait()

    asyncio.run_coroutine_threadsafe(remove(), loop).result(20)


@vector("native", needs=("xattr",))
def ctypes_removexattr(s: Scene) -> None:
    libc().removexattr(bytes(s.data), b"user.origin")


@vector("native")
def ctypes_lchown(s: Scene) -> None:
    libc().fchownat(AT_FDCWD, bytes(s.prot / "link"), os.getuid(), os.getgid(), 0x100)


@vector("native", beyond="the mode set is the mode it had: a copy without a difference is no change")
def ctypes_chmod_noop(s: Scene) -> None:
    libc().chmod(bytes(s.notes), s.notes.stat().st_mode & 0o7777)


@vector("native")
def ctypes_mkstemp(s: Scene) -> None:
    libc().mkstemp(ctypes.create_string_buffer(bytes(s.prot / "XXXXXX")))


@vector("native", needs=("chattr",))
def ctypes_ioctl_flags(s: Scene) -> None:
    flags = ctypes.c_long(0x40 | 0x80000)
    libc().ioctl(os.open(s.notes, os.O_RDONLY), ctypes.c_ulong(0x40086602), ctypes.byref(flags))


@vector("native")
def ctypes_nameless_then_linked(s: Scene) -> None:
    functions = libc()
    descriptor = functions.open(bytes(s.prot), os.O_TMPFILE | os.O_WRONLY, 0o644)
    functions.write(descriptor, b"came from nowhere", 17)
    functions.linkat(AT_FDCWD, b"/proc/self/fd/%d" % descriptor, AT_FDCWD, bytes(s.prot / "appeared"), 0x400)


@vector("native", needs=("x86_64",))
def ctypes_openat2(s: Scene) -> None:
    how = (ctypes.c_uint64 * 3)(os.O_WRONLY | os.O_TRUNC, 0, 0)
    libc().syscall(437, AT_FDCWD, bytes(s.notes), how, 24)


@vector("native")
def ctypes_mapping_times_restored(s: Scene) -> None:
    functions = libc()
    before = s.data.stat()
    descriptor = functions.open(bytes(s.data), os.O_RDWR)
    functions.pwrite(descriptor, b"gone", 4, 0)
    times = (ctypes.c_long * 4)(*divmod(before.st_atime_ns, 10**9), *divmod(before.st_mtime_ns, 10**9))
    functions.futimens(descriptor, times)


@vector("native")
def ctypes_bind_socket(s: Scene) -> None:
    os.chdir(s.prot)
    functions = libc()
    functions.bind(functions.socket(1, 1, 0), b"\x01\x00native-socket\x00", 16)


@vector("native")
def ctypes_fallocate_keeps_size(s: Scene) -> None:
    functions = libc()
    descriptor = functions.open(bytes(s.notes), os.O_RDWR)
    functions.fallocate(descriptor, 1, ctypes.c_long(0), ctypes.c_long(1 << 20))


@vector("native", needs=("sqlite_library",))
def ctypes_sqlite_library(s: Scene) -> None:
    library = ctypes.CDLL("libsqlite3.so.0")
    handle = ctypes.c_void_p()
    library.sqlite3_open(bytes(s.database), ctypes.byref(handle))
    library.sqlite3_exec(handle, b"DELETE FROM message", None, None, None)
    library.sqlite3_close(handle)


@vector("shutil", needs=("module:setuptools",))
def distutils_remove_tree(s: Scene) -> None:
    remove_tree = importlib.import_module("setuptools._distutils.dir_util").remove_tree
    remove_tree(str(s.prot / "sub"))


@vector("later")
def asyncio_call_later_after_test(s: Scene) -> None:
    def work() -> None:
        async def main() -> None:
            asyncio.get_running_loop().call_later(0.3, os.remove, str(s.notes))
            await asyncio.sleep(0.6)

        asyncio.run(main())

    threading.Thread(target=work).start()


@vector("later")
def thread_local_dies_at_exit(s: Scene) -> None:
    class Dies:
        remove, path = staticmethod(os.remove), str(s.notes)

        def __del__(self) -> None:
            self.remove(self.path)

    holder = threading.local()
    holder.kept = Dies()
    s.held["local"] = holder


@vector("later")
def shell_in_a_thread_left_waiting(s: Scene) -> None:
    threading.Thread(target=subprocess.run, args=(["sh", "-c", 'sleep 0.8; rm "$0"', str(s.notes)],)).start()
    time.sleep(0)
