"""Tries that the walls refuse without a trace: each is heard, with its paths and its command line; nothing else is."""

# ruff: noqa: F811  a fixture that is imported has the name of an argument
from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import subprocess
import sys

import pytest
from capabilities import narrow_calls
from overlay_scene import Scene, by_everyone, scene, snapshot  # noqa: F401

from pytest_session_guard._controls import overlay


def tried(inside, script):
    """What a shell tried: operation, path and other path below the base, and the first word of the command line."""
    inside.enter()
    environ = {**os.environ, "T": inside.tmp, "H": inside.home, "PY": sys.executable}
    subprocess.run(["bash", "-c", script], cwd=inside.home, env=environ)
    start = len(inside.base) + 1
    return [
        [attempt.operation, attempt.path[start:], attempt.other[start:], attempt.command.split()[0]]
        for attempt in inside.overlay.tries()
    ]


@by_everyone
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param('ln "$H/notes.txt" "$T/out"', ["link", "home/notes.txt", "tmp/out", "ln"], id="hard-link-out"),
        pytest.param("ln notes.txt ../tmp/out", ["link", "home/notes.txt", "tmp/out", "ln"], id="relative-names"),
        pytest.param('ln "$T/own" "$H/in"', ["link", "home/in", "tmp/own", "ln"], id="hard-link-in"),
        pytest.param(
            """exec -a other "$PY" -c 'import os; os.setxattr("notes.txt", "user.mood", b"bad")'""",
            ["setxattr", "home/notes.txt", "", "other"],
            id="attribute",
        ),
        pytest.param(
            """exec -a other "$PY" -c 'import fcntl; fcntl.ioctl(open("notes.txt"), 0x40086602, bytearray(8))'""",
            ["ioctl", "home/notes.txt", "", "other"],
            id="file-flags",
        ),
        pytest.param(
            """exec -a other "$PY" -c 'import os; os.rename("app", "../tmp/app")'""",
            ["rename", "home/app", "tmp/app", "other"],
            id="rename-of-a-tree-out",
        ),
        pytest.param("chown $(id -u) notes.txt", ["chown", "home/notes.txt", "", "chown"], id="owner-that-it-had"),
        pytest.param(
            'chown -h $(id -u) "$H/../home/notes.txt"', ["chown", "home/notes.txt", "", "chown"], id="not-followed"
        ),
    ],
)
def test_try_is_heard(scene: Scene, script: str, expected: list[str]) -> None:
    (scene.base / "tmp" / "own").write_text("own")
    scene.give(scene.base / "tmp")
    before = snapshot(scene.home)

    assert expected in scene.run(tried, script)
    assert snapshot(scene.home) == before


@by_everyone
@pytest.mark.parametrize(
    "script",
    [
        pytest.param('echo x > "$T/a"; mv "$T/a" "$T/b"; ln "$T/b" "$T/c"', id="among-writable-places"),
        pytest.param('ln "$H/none" "$T/out"', id="source-that-is-not-there"),
        pytest.param("cat notes.txt; ls -lR .", id="reading"),
        pytest.param('ln -s "$H/notes.txt" "$T/l"; chown -h $(id -u) "$T/l"', id="owner-of-a-link-to-it"),
        pytest.param('touch "$T/a"; rm "$T/a"; mkdir "$T/d"; rmdir "$T/d"', id="removals"),
    ],
)
def test_what_hurts_nothing_is_not_heard(scene: Scene, script: str) -> None:
    assert scene.run(tried, script) == []


def try_narrowly(inside):
    inside.enter()
    notes, out = (os.fsencode(path) for path in (inside.home + "/notes.txt", inside.tmp + "/out"))
    calls = [(9, notes, out), (353, -100, notes, -100, out, 0), (198, notes, -1, -1)]  # link, renameat2, lchown32
    results = [inside.narrow_call(*call) for call in calls]
    tries = [[attempt.operation, os.path.basename(attempt.path)] for attempt in inside.overlay.tries()]
    return results, tries


@pytest.mark.skipif(not narrow_calls(), reason="no 32-bit system calls here")
@by_everyone
def test_calls_of_32_bit_programs_are_heard(scene: Scene) -> None:
    results, tries = scene.run(try_narrowly)

    assert results == [-errno.EXDEV, -errno.EXDEV, 0]
    assert tries == [["link", "notes.txt"], ["rename", "notes.txt"], ["chown", "notes.txt"]]


def try_natively(inside):
    inside.enter()
    inside.libc().link(os.fsencode(inside.home + "/notes.txt"), os.fsencode(inside.tmp + "/out"))
    return [[attempt.operation, attempt.pid == os.getpid()] for attempt in inside.overlay.tries()]


@by_everyone
def test_native_code_of_the_process_itself_is_heard(scene: Scene) -> None:
    assert scene.run(try_natively) == [["link", True]]


def try_without_listener(inside):
    inside.forbid(317, errno.EPERM)
    inside.enter()
    failed = inside.shell('ln notes.txt "$T/out"', env={**os.environ, "T": inside.tmp}).returncode != 0
    return failed, inside.overlay.tries(), inside.overlay.unheard, inside.overlay.status


@by_everyone
def test_without_a_listener_nothing_is_heard_and_the_walls_stand(scene: Scene) -> None:
    assert scene.run(try_without_listener) == [True, [], "no listener by seccomp: Operation not permitted", "enforced"]


def try_from_two_stacks(inside):
    inside.enter(for_workers=True)
    script = 'ln "$0" "$1/out"'
    worker = os.fork()
    if worker == 0:
        overlay_of_worker = overlay.attach(inside.overlay.address)
        overlay_of_worker.restack("gw0")
        subprocess.run(["sh", "-c", script, inside.home + "/app/config", inside.tmp])
        os._exit(0 if [attempt.path for attempt in overlay_of_worker.tries()] == [inside.home + "/app/config"] else 1)
    _, status = os.waitpid(worker, 0)
    inside.overlay.drop_rights()
    subprocess.run(["sh", "-c", script, inside.home + "/notes.txt", inside.tmp])
    return os.waitstatus_to_exitcode(status), [os.path.basename(attempt.path) for attempt in inside.overlay.tries()]


@by_everyone
def test_each_stack_is_told_of_its_own_tries(scene: Scene) -> None:
    assert scene.run(try_from_two_stacks) == [0, ["notes.txt"]]


def try_very_often(inside):
    inside.enter()
    libc, source, target = inside.libc(), os.fsencode(inside.home + "/notes.txt"), os.fsencode(inside.tmp + "/out")
    for _ in range(1100):
        libc.link(source, target)
    first = len(inside.overlay.tries())
    libc.link(source, target)
    return first, len(inside.overlay.tries()), len(inside.overlay.tries())


@by_everyone
def test_a_flood_of_tries_is_told_in_part_and_does_not_stop_the_telling(scene: Scene) -> None:
    assert scene.run(try_very_often) == [1000, 1, 0]


def try_at_the_end_of_memory(inside):
    inside.enter()
    path = os.fsencode(inside.home + "/notes.txt") + b"\0"
    pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    pages[mmap.PAGESIZE - len(path) : mmap.PAGESIZE] = path
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    libc = inside.libc()
    assert libc.munmap(ctypes.c_void_p(start + mmap.PAGESIZE), mmap.PAGESIZE) == 0
    libc.link(ctypes.c_void_p(start + mmap.PAGESIZE - len(path)), os.fsencode(inside.tmp + "/out"))
    libc.link(ctypes.c_void_p(8), os.fsencode(inside.tmp + "/out"))
    found = [os.path.basename(attempt.path) for attempt in inside.overlay.tries()]
    sys.stdout.write("\n" + json.dumps(found))
    sys.stdout.flush()
    os._exit(0)


@by_everyone
def test_path_at_the_end_of_memory_is_read_and_a_wild_pointer_does_no_harm(scene: Scene) -> None:
    assert scene.run(try_at_the_end_of_memory) == ["notes.txt"]
