"""What the table of audit events makes of real operations, under every interpreter that is to be had here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_session_guard._core.events import (
    CHANGING_IOCTLS,
    EVENTS,
    NOTHING,
    Intent,
    intents_of,
    open_intents,
    sqlite_path,
    sqlite_target,
)
from pytest_session_guard._core.zones import Action

# A loaded machine is no fault of the code's.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

CHILD = Path(__file__).with_name("events_child.py")
ROOT = Path(__file__).parents[2]
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")

# What an operation is about to change, in the words of the child: action, path, then what is special about it.
# Paths and descriptors have the child's names; "in ?" is a dir_fd that the event hides.
MEANT: Mapping[str, list[str]] = {
    "open r": [],
    "open rb": [],
    "open w": ["change f creates"],
    "open wb bytes": ["change b'f' creates"],
    "open a": ["change f creates"],
    "open x": ["create new nofollow creates"],
    "open r+": ["change f"],
    "open non-utf8": ["change b'n\\xff' creates"],
    "open Path": ["change f creates"],
    "open Custom": ["change f creates"],
    "open DirEntry": ["change ./f creates"],
    "open descriptor": ["change FILE creates"],
    "open null byte": [],
    "open opener": ["change f creates", "change f in ? creates"],
    "open_code": [],
    "FileIO": ["change f creates"],
    "FileIO Custom": ["change <Custom> creates"],
    "Path.touch old": ["change f"],
    "Path.touch new": ["change new", "change new in ? creates"],
    "Path.write_text": ["change f creates"],
    "os.open read": [],
    "os.open write": ["change f in ?"],
    "os.open truncate": ["change f in ?"],
    "os.open lock": ["create f in ? creates"],
    "os.open append": [],
    "os.open create": ["change new in ? creates"],
    "os.open exclusive": ["create new in ? nofollow creates"],
    "os.open nofollow": ["change f in ? nofollow"],
    "os.open dir_fd": ["change f in ?"],
    "os.open directory": [],
    "os.open O_PATH": [],
    "os.open O_TMPFILE": ["create . in ? creates nameless"],
    "os.open Path": ["change f in ?"],
    "os.remove": ["delete f nofollow"],
    "os.unlink dir_fd": ["delete b'f' in DIR nofollow"],
    "os.remove Custom": ["delete f nofollow"],
    "os.remove DirEntry": ["delete ./f nofollow"],
    "Path.unlink": ["delete f nofollow"],
    "os.rmdir": ["delete empty nofollow"],
    "os.rmdir dir_fd": ["delete empty in DIR nofollow"],
    "os.rename": ["delete f nofollow", "delete g nofollow creates replaces"],
    "os.rename dir_fds": ["delete f in DIR nofollow", "delete g in DIR nofollow creates replaces"],
    "os.rename dst_dir_fd": ["delete b'f' nofollow", "delete g in DIR nofollow creates replaces"],
    "os.replace": ["delete f nofollow", "delete g nofollow creates replaces"],
    "os.mkdir": ["create d nofollow creates directory"],
    "os.mkdir dir_fd": ["create d in DIR nofollow creates directory"],
    "os.link": ["change f nofollow", "create h nofollow creates"],
    "os.link src_dir_fd": ["change f in DIR", "create h nofollow creates"],
    "os.link dst_dir_fd": ["change f", "create h in DIR nofollow creates"],
    "os.link symlink": ["change link nofollow", "create h nofollow creates"],
    "os.symlink": ["create new nofollow creates"],
    "os.symlink dir_fd": ["create b'new' in DIR nofollow creates"],
    "os.truncate": ["change f"],
    "os.truncate descriptor": ["change FILE"],
    "os.ftruncate": ["change FILE"],
    "os.chmod": ["change f"],
    "os.chmod dir_fd": ["change f in DIR"],
    "os.chmod descriptor": ["change FILE"],
    "os.fchmod": ["change READING"],
    "os.chown": ["change f"],
    "os.chown dir_fd": ["change f in DIR"],
    "os.lchown": ["change link"],
    "os.fchown": ["change FILE"],
    "os.utime": ["change f"],
    "os.utime ns dir_fd": ["change b'f' in DIR"],
    "os.utime descriptor": ["change FILE"],
    "os.setxattr": ["change f"],
    "os.setxattr descriptor": ["change FILE"],
    "os.removexattr": ["change f", "change f"],
    "mmap": ["change FILE needs_writable"],
    "mmap write": ["change FILE needs_writable"],
    "mmap read": [],
    "mmap copy": [],
    "mmap prot": [],
    "mmap private": ["change READING needs_writable"],
    "mmap nothing": [],
    "ioctl read": [],
    "ioctl flags": ["change FILE"],
    "ioctl clone": ["change FILE"],
    "sqlite": ["change new.db creates"],
    "sqlite bytes": ["change b'new.db' creates"],
    "sqlite Path": ["change new.db creates"],
    "sqlite Custom": ["change <Custom> creates"],
    "sqlite keyword": ["change new.db creates"],
    "sqlite Connection": ["change new.db creates"],
    "sqlite memory": [],
    "sqlite temporary": [],
    "sqlite uri": ["change b'new.db' creates"],
    "sqlite uri Path": ["change b'new.db' creates"],
    "sqlite uri absolute": ["change b'HERE/n\\xc3\\xa9w.db' creates"],
    "sqlite uri ro": [],
    "sqlite uri rw": ["change b'new.db'"],
    "sqlite uri rwc": ["change b'new.db' creates"],
    "sqlite uri escaped ro": ["change b'new.db' creates"],
    "sqlite uri memory": [],
    "sqlite uri memdb": [],
    "sqlite uri immutable": ["create b'new.db' creates"],
    "sqlite uri null": ["change b'new.db' creates"],
    "sqlite uri fragment": ["change b'new.db' creates"],
    "bind": ["create sock nofollow creates"],
    "bind bytes": ["create b'sock' nofollow creates"],
    "bind bytearray": ["create b'sock' nofollow creates"],
    "bind null": ["create sock nofollow creates"],
    "bind abstract": [],
    "bind unnamed": [],
    "bind inet": [],
    "shutil.copyfile": ["change new creates"],
    "shutil.move": ["delete f nofollow", "delete new nofollow creates replaces"],
    "shutil.rmtree": ["delete empty nofollow"],
    "os.makedirs": ["create d nofollow creates directory", "create d/e nofollow creates directory"],
    "os.mkfifo": [],
    "os.mknod": [],
    "os.write": [],
    "os.pwrite": [],
    "os.posix_fallocate": [],
}
# CPython raises nothing for these; wrappers and kernel layers stand in.
WITHOUT_EVENT = {"os.mkfifo", "os.mknod", "os.write", "os.pwrite", "os.posix_fallocate"}


def interpreters() -> dict[str, str]:
    """The supported versions of CPython that run here, this one among them."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    for version in SUPPORTED:
        path = shutil.which(f"python{version}")
        if path and version not in found:
            ask = subprocess.run([path, "-c", "import sqlite3, mmap"], capture_output=True, check=False)
            if ask.returncode == 0:
                found[version] = path
    return found


@pytest.fixture(scope="module", params=[pytest.param(path, id=name) for name, path in interpreters().items()])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the child saw under one interpreter, by operation."""
    here = tmp_path_factory.mktemp("events")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([request.param, CHILD], cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout.replace(os.path.realpath(here), "HERE"))
    return found


def test_every_operation_is_performed(seen: dict[str, Any]) -> None:
    assert set(seen) == set(MEANT)


@pytest.mark.parametrize("operation", MEANT)
def test_operation_means_what_the_table_says(seen: dict[str, Any], operation: str) -> None:
    assert seen[operation]["intents"] == MEANT[operation]


@pytest.mark.parametrize("operation", MEANT)
def test_operation_that_changes_something_is_seen(seen: dict[str, Any], operation: str) -> None:
    assert not seen[operation]["changed"] or bool(seen[operation]["intents"]) is (operation not in WITHOUT_EVENT)


def decoded(arg: Any) -> Any:
    match arg:
        case {"bytes": str() as text}:
            return text.encode("latin-1")
        case {"bytearray": str() as text}:
            return bytearray(text.encode("latin-1"))
        case {"path": str() as text}:
            return Path(text)
        case {"object": str() as kind}:
            return type(kind, (), {})()
    return arg


def test_events_as_raised_mean_the_same_here(seen: dict[str, Any]) -> None:
    # The same table in this process, where its coverage can be seen.
    for name, facts in seen.items():
        intents = [
            intent for event, *args in facts["events"] for intent in intents_of(event, tuple(map(decoded, args)))
        ]

        assert [f"{intent.action}" for intent in intents] == [said.split()[0] for said in MEANT[name]], name


def test_operations_that_only_read_are_not_seen(seen: dict[str, Any]) -> None:
    reading = {name for name in seen if not MEANT[name]} - WITHOUT_EVENT

    assert not any(seen[name]["changed"] for name in reading)
    assert len(reading) > 15


def test_operations_without_an_event_did_change_something(seen: dict[str, Any]) -> None:
    assert {name: seen[name]["changed"] for name in WITHOUT_EVENT} == dict.fromkeys(WITHOUT_EVENT, True)


def test_every_event_of_the_table_is_exercised_or_raised_by_a_wrapper() -> None:
    words = {name.split()[0] for name in MEANT}
    exercised = {"ioctl": "fcntl.ioctl", "mmap": "mmap.__new__", "bind": "socket.bind", "sqlite": "sqlite3.connect"}
    known = words | {exercised[word] for word in words & set(exercised)}

    # os.chflags is macOS's; its shape is that of os.chmod without dir_fd. os.chroot is our own wrapper's.
    assert set(EVENTS) - known == {"os.chflags", "os.chroot"}


@pytest.mark.parametrize(
    ("event", "args", "expected"),
    [
        pytest.param("os.chroot", ("p",), Intent(Action.CHANGE, "/"), id="chroot"),
        pytest.param("os.mkfifo", ("p", 0, 5), Intent(Action.CREATE, "p", 5, follows=False, creates=True), id="mkfifo"),
        pytest.param("os.mknod", ("p", 0, -1), Intent(Action.CREATE, "p", follows=False, creates=True), id="mknod"),
        pytest.param("os.chflags", ("p", 2), Intent(Action.CHANGE, "p"), id="chflags"),
    ],
)
def test_events_that_this_interpreter_does_not_raise(event: str, args: tuple[Any, ...], expected: Intent) -> None:
    assert intents_of(event, args) == (expected,)


@pytest.mark.parametrize(
    "event", ["import", "os.listdir", "os.scandir", "subprocess.Popen", "shutil.rmtree", "os.chdir"]
)
def test_event_that_is_not_in_the_table_changes_nothing(event: str) -> None:
    assert intents_of(event, ("anything", 1, None)) == NOTHING


@pytest.mark.parametrize(
    ("event", "args"), [("os.remove", ()), ("os.rename", ("a",)), ("open", ("a",)), ("os.mkdir", ("a", 1, 2, 3))]
)
def test_event_of_another_shape_is_an_error_and_not_a_pass(event: str, args: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        intents_of(event, args)


FLAGS = {
    "O_RDONLY": os.O_RDONLY, "O_WRONLY": os.O_WRONLY, "O_RDWR": os.O_RDWR, "O_CREAT": os.O_CREAT, "O_EXCL": os.O_EXCL,
    "O_TRUNC": os.O_TRUNC, "O_APPEND": os.O_APPEND, "O_DIRECTORY": os.O_DIRECTORY, "O_NOFOLLOW": os.O_NOFOLLOW,
    "O_CLOEXEC": os.O_CLOEXEC, "O_TMPFILE": os.O_TMPFILE, "O_PATH": os.O_PATH, "O_NONBLOCK": os.O_NONBLOCK,
}  # fmt: skip


@UNHURRIED
@given(st.sets(st.sampled_from(sorted(FLAGS)), max_size=5), st.sampled_from(["w", None]))
def test_open_is_seen_exactly_when_its_flags_can_write_or_create(names: set[str], mode: str | None) -> None:
    flags = 0
    for name in names:
        flags |= FLAGS[name]

    found = open_intents("p", mode, flags)

    writing = names & {"O_WRONLY", "O_RDWR", "O_TRUNC", "O_CREAT"} or ("O_TMPFILE" in names and flags & 3)
    assert bool(found) is (bool(writing) and "O_PATH" not in names)
    for intent in found:
        assert intent.dir_fd == (-1 if mode else None)
        assert intent.nameless is ("O_TMPFILE" in names)
        assert intent.creates is ("O_CREAT" in names or "O_TMPFILE" in names)
        link_is_meant = {"O_CREAT", "O_EXCL"} <= names or "O_NOFOLLOW" in names
        assert intent.follows is (intent.nameless or not link_is_meant)


@pytest.mark.parametrize(
    ("request_number", "changes"),
    [
        *(pytest.param(number, True, id=hex(number)) for number in sorted(CHANGING_IOCTLS)),
        pytest.param(0x40086602 - 2**32, True, id="negative-as-python-may-give-it"),
        pytest.param(0x80086601, False, id="reading-flags"),
        pytest.param(0x5413, False, id="terminal-size"),
    ],
)
def test_ioctl_changes_by_its_request(request_number: int, changes: bool) -> None:
    assert intents_of("fcntl.ioctl", (3, request_number, 0)) == ((Intent(Action.CHANGE, 3),) if changes else ())


URI_FILES = [
    ("file:a.db", b"a.db"),
    ("file:/x/a.db", b"/x/a.db"),
    ("file:///x/a.db", b"/x/a.db"),
    ("file://localhost/x/a.db", b"/x/a.db"),
    ("file:a%20b%3f.db?mode=rwc", b"a b?.db"),
    (b"file:%ff.db", b"\xff.db"),
    ("file:caf\udce9.db", b"caf\xe9.db"),
    ("file:a.db?immutable=0", b"a.db"),
    ("file:a.db?mode", b"a.db"),
    ("file:a.db?&&mode=rw&", b"a.db"),
    ("file:a.db%00?mode=ro#", None),
    ("file:a.db?mode=ro", None),
    ("file:a.db?cache=shared&mode=ro&psow=0", None),
    ("file:a.db?mode=memory", None),
    ("file::memory:?cache=shared", None),
    ("file:", None),
    ("file:?mode=rwc", None),
    ("file:%00a", None),
    ("file:/a?vfs=memdb", None),
    (":memory:", None),
    (b":memory:", None),
    ("", None),
    (b"", None),
    ("plain.db", "plain.db"),
    (b"plain.db", b"plain.db"),
    ("plain.db?mode=ro", "plain.db?mode=ro"),
    ("a%20b.db", "a%20b.db"),
    ("FILE:a.db", "FILE:a.db"),
    (Path("/x/plain.db"), "/x/plain.db"),
    (Path("file:a%20b.db"), b"a b.db"),
]


@pytest.mark.parametrize(
    ("database", "path"), [pytest.param(*row, id=f"{number}-{row[0]!r}") for number, row in enumerate(URI_FILES)]
)
def test_sqlite_path_is_the_file_that_is_meant(database: object, path: object) -> None:
    assert sqlite_path(database) == path


def test_sqlite_path_leaves_objects_with_code_of_their_own_alone() -> None:
    class Odd(type(Path())):  # type: ignore[misc]
        def __str__(self) -> str:
            raise AssertionError("called")

    odd = Odd("a.db")

    assert sqlite_path(odd) is odd


def test_sqlite_options_are_those_of_the_uri() -> None:
    assert sqlite_target("file:a?mode=rw&cache=shared") == (b"a", {b"mode": b"rw", b"cache": b"shared"})
    assert sqlite_target("a?mode=rw") == ("a?mode=rw", {})


@pytest.mark.parametrize("word", ["1", "true", "YES", "on"])
def test_immutable_database_is_only_ever_made(word: str) -> None:
    assert intents_of("sqlite3.connect", (f"file:a?immutable={word}",)) == (Intent(Action.CREATE, b"a", creates=True),)
