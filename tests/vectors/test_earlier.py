"""Each way that uses something from before the guard: the header lists what was there, by kind, path and process."""

from __future__ import annotations

import re
from typing import Final

import pytest

from .catalogue import load_all
from .conftest import Tries
from .layers import Form
from .selection import select

NOTES, DATA, DATABASE, LOG = (rf"'/\S*/\.prot/{name}'" for name in ("notes.txt", "data.bin", "state.db", "app.log"))
WRITABLE: Final = r"(?<!directory )descriptor \d+ was open for writing before: "
READABLE: Final = r"descriptor \d+ was open before, for reading, and /proc lets it be opened for writing: "
DIRECTORY: Final = r"directory descriptor \d+ was open before: '/\S*/\.prot'"
MAPPING: Final = f"{WRITABLE}{DATA}.*a shared mapping was made before: {DATA}"
THREAD: Final = r"threads? w(as|ere) running before"
CHILD: Final = r"a child was running before: \d+ "

LISTED: Final = {
    "earlier_audit_hook_writes": WRITABLE + NOTES,
    "earlier_dirfd_fchdir_shell": DIRECTORY,
    "earlier_dirfd_native_unlinkat": DIRECTORY,
    "earlier_dirfd_open": DIRECTORY,
    "earlier_dirfd_unlink": DIRECTORY,
    "earlier_event_loop_thread": THREAD,
    "earlier_faulthandler_file": WRITABLE + NOTES,
    "earlier_fd_child_stdout": WRITABLE + NOTES,
    "earlier_fd_duplicate_write": WRITABLE + NOTES,
    "earlier_fd_fdopen": WRITABLE + NOTES,
    "earlier_fd_ftruncate": WRITABLE + NOTES,
    "earlier_fd_mmap_now": WRITABLE + NOTES,
    "earlier_fd_over_socket": WRITABLE + NOTES,
    "earlier_fd_pwrite": WRITABLE + NOTES,
    "earlier_fd_sendfile": WRITABLE + NOTES,
    "earlier_fd_splice": WRITABLE + NOTES,
    "earlier_fd_truncate": WRITABLE + NOTES,
    "earlier_fd_write": WRITABLE + NOTES,
    "earlier_fd_writev": WRITABLE + NOTES,
    "earlier_fork_server": CHILD + r"\S*python\S* .*multiprocessing.forkserver",
    "earlier_forked_helper": r"a fork of this process was running before: \d+ \S*python\S* ",
    "earlier_gzip_close": WRITABLE + NOTES,
    "earlier_io_uring_polled_ring": THREAD,
    "earlier_log_handler_emit": WRITABLE + LOG,
    "earlier_mapping_dirty_write": MAPPING,
    "earlier_mapping_write": MAPPING,
    "earlier_multiprocessing_pool": r"a fork of this process was running before: \d+ ",
    "earlier_native_thread": THREAD,
    "earlier_o_path_dirfd_mkdir": DIRECTORY,
    "earlier_process_pool_fork": r"a fork of this process was running before: \d+ ",
    "earlier_process_pool_spawn": CHILD + r"\S*python\S* .*multiprocessing.spawn",
    "earlier_readonly_fd_fchmod": READABLE + NOTES,
    "earlier_readonly_fd_fsetxattr": READABLE + NOTES,
    "earlier_readonly_fd_futimens": READABLE + NOTES,
    "earlier_readonly_fd_reopened": READABLE + NOTES,
    "earlier_readonly_fd_reopened_by_shell": READABLE + NOTES,
    "earlier_shell_on_a_timer": CHILD + r'sh -c sleep 1.2; rm "\$0" /\S*/notes.txt',
    "earlier_shell_told_now": CHILD + "sh",
    "earlier_sqlite_commit": WRITABLE + DATABASE,
    "earlier_sqlite_connection_insert": WRITABLE + DATABASE,
    "earlier_stream_flushed_at_exit": WRITABLE + NOTES,
    "earlier_stream_json_dump": WRITABLE + NOTES,
    "earlier_stream_pickle_dump": WRITABLE + DATA,
    "earlier_stream_truncate_method": WRITABLE + NOTES,
    "earlier_stream_write": WRITABLE + NOTES,
    "earlier_thread_native": THREAD,
    "earlier_thread_remove": THREAD,
    "earlier_thread_shell": THREAD,
    "earlier_wakeup_descriptor": WRITABLE + NOTES,
}
# What they made before leads to no file, or goes by path and is held.
NOTHING_TO_LIST: Final = frozenset(
    (
        "earlier_cwd_relative_remove",
        "earlier_cwd_relative_shell",
        "earlier_exit_handler",
        "earlier_function_kept",
        "earlier_function_without_event",
        "earlier_io_uring_ring",
        "earlier_native_function",
        "earlier_shelf_sync",
        "earlier_sqlite_connection_attach",
        "earlier_subinterpreter",
    )
)
# Processes from before, and a buffer that is written out as the interpreter ends: listed, and nobody sees them act.
UNSEEN: Final = frozenset(
    ("earlier_forked_helper", "earlier_shell_on_a_timer", "earlier_shell_told_now", "earlier_stream_flushed_at_exit")
)
AUTO: Final = Form.parse("auto")
CASES = [pytest.param(name, AUTO, id=name) for name in select(AUTO)[0] if name in LISTED]


def test_every_way_from_before_is_judged_here() -> None:
    names = {name for name, vector in load_all().items() if name.startswith("earlier_") and vector.before is not None}

    assert names == LISTED.keys() | NOTHING_TO_LIST


@pytest.mark.vectors
@pytest.mark.parametrize(("name", "form"), CASES)
def test_what_was_there_before_is_in_the_header(name: str, form: Form, tries: Tries) -> None:
    outcome = tries.outcome(name, form)

    header = next(line for line in outcome.output.splitlines() if line.startswith("session-guard: "))
    assert re.search(LISTED[name], header), header


@pytest.mark.vectors
@pytest.mark.parametrize(("name", "form"), [case for case in CASES if case.id not in UNSEEN])
def test_damage_through_what_was_there_before_is_never_green(name: str, form: Form, tries: Tries) -> None:
    outcome = tries.outcome(name, form)

    assert outcome.status == 1, outcome.output
    assert outcome.naming in ("named", "path"), outcome.output
