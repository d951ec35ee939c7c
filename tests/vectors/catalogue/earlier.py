"""What the process itself made before the guard was there: descriptors, mappings, threads, pools, connections, the cwd.

``before`` runs in a plugin module that is imported ahead of the guard. Under the launcher it runs guarded all the same.
"""

from __future__ import annotations

import concurrent.futures
import faulthandler
import json
import logging
import mmap
import multiprocessing
import os
import pickle
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from ..vector import Act, Scene, vector
from .natives import build_library, libc, library


def _keep(make: Callable[[Scene], object]) -> Act:
    """A ``before`` that keeps what ``make`` gives as ``held["object"]``."""

    def before(s: Scene) -> None:
        s.held["object"] = make(s)

    return before


_write_descriptor = _keep(lambda s: os.open(s.notes, os.O_RDWR))
_read_descriptor = _keep(lambda s: os.open(s.notes, os.O_RDONLY))
_directory = _keep(lambda s: os.open(s.prot, os.O_RDONLY))
_text_stream = _keep(lambda s: s.notes.open("r+"))
_binary_stream = _keep(lambda s: s.data.open("r+b"))


@vector("earlier", before=_write_descriptor)
def earlier_fd_write(s: Scene) -> None:
    os.write(s.held["object"], b"gone")


@vector("earlier", before=_write_descriptor)
def earlier_fd_pwrite(s: Scene) -> None:
    os.pwrite(s.held["object"], b"gone", 1)


@vector("earlier", before=_write_descriptor)
def earlier_fd_writev(s: Scene) -> None:
    os.writev(s.held["object"], [b"go", b"ne"])


@vector("earlier", before=_write_descriptor)
def earlier_fd_duplicate_write(s: Scene) -> None:
    os.write(os.dup(s.held["object"]), b"gone")


@vector("earlier", before=_write_descriptor)
def earlier_fd_fdopen(s: Scene) -> None:
    with os.fdopen(s.held["object"], "w") as stream:
        stream.write("gone")


@vector("earlier", before=_write_descriptor)
def earlier_fd_ftruncate(s: Scene) -> None:
    os.ftruncate(s.held["object"], 3)


@vector("earlier", before=_write_descriptor)
def earlier_fd_truncate(s: Scene) -> None:
    os.truncate(s.held["object"], 3)


@vector("earlier", before=_write_descriptor)
def earlier_fd_sendfile(s: Scene) -> None:
    (s.tmp / "source").write_bytes(b"foreign")
    os.sendfile(s.held["object"], os.open(s.tmp / "source", os.O_RDONLY), 0, 7)


@vector("earlier", before=_write_descriptor)
def earlier_fd_splice(s: Scene) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"foreign")
    os.splice(reader, s.held["object"], 7)


@vector("earlier", before=_write_descriptor)
def earlier_fd_mmap_now(s: Scene) -> None:
    with mmap.mmap(s.held["object"], 4) as mapping:
        mapping[0:4] = b"gone"


@vector("earlier", before=_write_descriptor)
def earlier_fd_child_stdout(s: Scene) -> None:
    subprocess.run(["echo", "gone"], stdout=s.held["object"], check=True)


@vector("earlier", before=_write_descriptor)
def earlier_fd_over_socket(s: Scene) -> None:
    left, right = socket.socketpair()
    socket.send_fds(left, [b"x"], [s.held["object"]])
    os.write(socket.recv_fds(right, 1, 1)[1][0], b"gone")


@vector("earlier", before=_read_descriptor)
def earlier_readonly_fd_fchmod(s: Scene) -> None:
    os.fchmod(s.held["object"], 0o600)


@vector("earlier", before=_read_descriptor)
def earlier_readonly_fd_futimens(s: Scene) -> None:
    os.utime(s.held["object"], (1, 1))


@vector("earlier", before=_read_descriptor, needs=("xattr",))
def earlier_readonly_fd_fsetxattr(s: Scene) -> None:
    os.setxattr(s.held["object"], "user.mood", b"bad")


@vector("earlier", before=_read_descriptor)
def earlier_readonly_fd_reopened(s: Scene) -> None:
    with open(f"/proc/self/fd/{s.held['object']}", "w") as stream:
        stream.write("gone")


@vector("earlier", before=_read_descriptor)
def earlier_readonly_fd_reopened_by_shell(s: Scene) -> None:
    descriptor = s.held["object"]
    subprocess.run(["sh", "-c", f"echo gone > /proc/self/fd/{descriptor}"], pass_fds=[descriptor], check=False)


@vector("earlier", before=_directory)
def earlier_dirfd_unlink(s: Scene) -> None:
    os.unlink("notes.txt", dir_fd=s.held["object"])


@vector("earlier", before=_directory)
def earlier_dirfd_open(s: Scene) -> None:
    os.close(os.open("notes.txt", os.O_WRONLY | os.O_TRUNC, dir_fd=s.held["object"]))


@vector("earlier", before=_directory)
def earlier_dirfd_fchdir_shell(s: Scene) -> None:
    os.fchdir(s.held["object"])
    subprocess.run(["rm", "notes.txt"], check=False)


@vector("earlier", before=_directory)
def earlier_dirfd_native_unlinkat(s: Scene) -> None:
    libc().unlinkat(s.held["object"], b"notes.txt", 0)


@vector("earlier", before=_keep(lambda s: os.open(s.prot, os.O_PATH)))
def earlier_o_path_dirfd_mkdir(s: Scene) -> None:
    os.mkdir("newdir", dir_fd=s.held["object"])


@vector("earlier", before=_text_stream)
def earlier_stream_write(s: Scene) -> None:
    s.held["object"].write("gone")
    s.held["object"].flush()


@vector("earlier", before=_text_stream)
def earlier_stream_json_dump(s: Scene) -> None:
    json.dump({"a": 1}, s.held["object"])
    s.held["object"].close()


@vector("earlier", before=_text_stream)
def earlier_stream_flushed_at_exit(s: Scene) -> None:
    s.held["object"].write("gone")


@vector("earlier", before=_text_stream)
def earlier_stream_truncate_method(s: Scene) -> None:
    s.held["object"].truncate(3)


@vector("earlier", before=_binary_stream)
def earlier_stream_pickle_dump(s: Scene) -> None:
    pickle.dump([1, 2], s.held["object"])
    s.held["object"].flush()


@vector("earlier", before=_keep(lambda s: mmap.mmap(os.open(s.data, os.O_RDWR), 0)))
def earlier_mapping_write(s: Scene) -> None:
    s.held["object"][0:4] = b"gone"


def _dirty_mapping(s: Scene) -> None:
    mapping = mmap.mmap(os.open(s.data, os.O_RDWR), 0)
    mapping[0:1] = mapping[0:1]
    s.held["object"] = mapping


@vector("earlier", before=_dirty_mapping)
def earlier_mapping_dirty_write(s: Scene) -> None:
    s.held["object"][8:12] = b"gone"


def _cwd_inside(s: Scene) -> None:
    s.held["rootdir"] = os.getcwd()
    os.chdir(s.prot)


@vector("earlier", before=_cwd_inside, arguments=lambda s: [str(s.rootdir), f"--rootdir={s.rootdir}"])
def earlier_cwd_relative_remove(s: Scene) -> None:
    os.remove("notes.txt")


@vector("earlier", before=_cwd_inside, arguments=lambda s: [str(s.rootdir), f"--rootdir={s.rootdir}"])
def earlier_cwd_relative_shell(s: Scene) -> None:
    subprocess.run(["rm", "notes.txt"], check=False)


@vector("earlier", before=_keep(lambda s: sqlite3.connect(s.database, check_same_thread=False)))
def earlier_sqlite_connection_insert(s: Scene) -> None:
    s.held["object"].execute("INSERT INTO message VALUES (99, 'noise')")
    s.held["object"].commit()


@vector("earlier", before=_keep(lambda s: sqlite3.connect(":memory:")))
def earlier_sqlite_connection_attach(s: Scene) -> None:
    s.held["object"].execute("ATTACH ? AS victim", (str(s.database),))
    s.held["object"].execute("DELETE FROM victim.message")
    s.held["object"].commit()


@vector("earlier", before=_keep(lambda s: logging.FileHandler(s.prot / "app.log")))
def earlier_log_handler_emit(s: Scene) -> None:
    s.held["object"].emit(logging.makeLogRecord({"msg": "noise"}))


def _waiting_thread(s: Scene) -> None:
    s.held["go"], s.held["done"] = threading.Event(), threading.Event()

    def work() -> None:
        s.held["go"].wait(20)
        try:
            s.held["task"]()
        finally:
            s.held["done"].set()

    threading.Thread(target=work, daemon=True).start()


def _hand_over(s: Scene, task: Callable[[], object]) -> None:
    s.held["task"] = task
    s.held["go"].set()
    s.held["done"].wait(20)


@vector("earlier", before=_waiting_thread)
def earlier_thread_remove(s: Scene) -> None:
    _hand_over(s, lambda: os.remove(s.notes))


@vector("earlier", before=_waiting_thread)
def earlier_thread_shell(s: Scene) -> None:
    _hand_over(s, lambda: subprocess.run(["rm", str(s.notes)], check=False))


@vector("earlier", before=_waiting_thread)
def earlier_thread_native(s: Scene) -> None:
    _hand_over(s, lambda: libc().unlink(bytes(s.notes)))


def _process_pool(method: str) -> Act:
    def before(s: Scene) -> None:
        context = multiprocessing.get_context(method)
        pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
        pool.submit(os.getpid).result()
        s.held["object"] = pool

    return before


@vector("earlier", before=_process_pool("fork"))
def earlier_process_pool_fork(s: Scene) -> None:
    s.held["object"].submit(os.remove, str(s.notes)).result(20)


@vector("earlier", before=_process_pool("spawn"))
def earlier_process_pool_spawn(s: Scene) -> None:
    s.held["object"].submit(os.remove, str(s.notes)).result(20)


@vector("earlier", before=_process_pool("forkserver"))
def earlier_fork_server(s: Scene) -> None:
    process = multiprocessing.get_context("forkserver").Process(target=os.remove, args=(str(s.notes),))
    process.start()
    process.join()


@vector("earlier", before=_keep(lambda s: subprocess.Popen(["sh"], stdin=subprocess.PIPE, text=True)))
def earlier_shell_told_now(s: Scene) -> None:
    s.held["object"].communicate(f"rm '{s.notes}'\n", timeout=20)


@vector("earlier", before=_keep(lambda s: subprocess.Popen(["sh", "-c", 'sleep 1.2; rm "$0"', str(s.notes)])))
def earlier_shell_on_a_timer(s: Scene) -> None:
    time.sleep(0)


def _forked_helper(s: Scene) -> None:
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(writer)
        if os.read(reader, 1):
            os.remove(s.notes)
        os._exit(0)
    os.close(reader)
    s.held["object"] = writer


@vector("earlier", before=_forked_helper)
def earlier_forked_helper(s: Scene) -> None:
    os.write(s.held["object"], b"x")
    os.wait()


def _bound_function(s: Scene) -> None:
    unlink = libc().unlink
    unlink(b"/nonexistent/name")
    s.held["object"] = unlink


@vector("earlier", before=_bound_function)
def earlier_native_function(s: Scene) -> None:
    s.held["object"](bytes(s.notes))


@vector(
    "earlier",
    before=_keep(lambda s: (library(s), library(s).ring_make(0))),
    setup=build_library,
    needs=("gcc", "io_uring"),
)
def earlier_io_uring_ring(s: Scene) -> None:
    rings, ring = s.held["object"]
    rings.ring_unlink(ring, bytes(s.notes))


@vector(
    "earlier",
    before=_keep(lambda s: (library(s), library(s).ring_make(1))),
    setup=build_library,
    needs=("gcc", "io_uring"),
)
def earlier_io_uring_polled_ring(s: Scene) -> None:
    rings, ring = s.held["object"]
    rings.ring_unlink(ring, bytes(s.notes))


@vector("earlier", before=lambda s: library(s).in_thread(bytes(s.notes), 900_000), setup=build_library, needs=("gcc",))
def earlier_native_thread(s: Scene) -> None:
    time.sleep(1.0)


@vector("earlier", before=_text_stream)
def earlier_faulthandler_file(s: Scene) -> None:
    faulthandler.dump_traceback(s.held["object"])


def _exit_handler(s: Scene) -> None:
    import atexit

    atexit.register(os.remove, str(s.notes))


@vector("earlier", before=_exit_handler)
def earlier_exit_handler(s: Scene) -> None:
    time.sleep(0)


def _audit_hook_writes(s: Scene) -> None:
    descriptor = os.open(s.notes, os.O_WRONLY)
    sys.addaudithook(lambda event, _: os.write(descriptor, b"gone") and None if event == "vector.go" else None)


@vector("earlier", before=_audit_hook_writes)
def earlier_audit_hook_writes(s: Scene) -> None:
    sys.audit("vector.go")


def _daemon_of_others(s: Scene) -> None:
    """Leave a process outside that removes the file when it finds a note in the free directory."""
    script = 'n=0; while [ $n -lt 100 ] && [ ! -e "$1" ]; do sleep 0.05; n=$((n+1)); done; [ -e "$1" ] && rm "$0"'
    subprocess.Popen(["sh", "-c", script, str(s.notes), str(s.tmp / "please")], start_new_session=True)


@vector("earlier", setup=_daemon_of_others, beyond="a process outside the run does it, asked by a file in a free place")
def outside_daemon_asked(s: Scene) -> None:
    (s.tmp / "please").write_text("")
    until = time.monotonic() + 2
    while s.notes.exists() and time.monotonic() < until:
        time.sleep(0.02)
