"""Real paths by the kernel's word, the same by hand, and which object stands at a path."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from random_trees import SPELLINGS, TREES, Plant, Spelling, planted, spelled

from pytest_session_guard._core.records import Identity
from pytest_session_guard._host import identity
from pytest_session_guard._host.identity import (
    birth_ns,
    creatable_target,
    identity_of,
    is_file_at,
    is_writable,
    look,
    real_directory,
    real_path_of_fd,
    real_target,
    resolve_missing,
)

EXAMPLES = int(os.environ.get("SESSION_GUARD_EXAMPLES", "40"))
UNHURRIED = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    real = Path(os.path.realpath(tmp_path))
    (real / "d/e").mkdir(parents=True)
    (real / "d/file").write_text("x")
    (real / "to_d").symlink_to("d")
    (real / "to_file").symlink_to(real / "d/file")
    (real / "dangling").symlink_to("d/../d/new")
    (real / "far").symlink_to("none/../more")
    (real / "loop").symlink_to("loop2")
    (real / "loop2").symlink_to("loop")
    monkeypatch.chdir(real)
    return real


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def opened(path: str | Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


# Path, what it leads to, and the directory that it is (None: it is none).
REAL = [
    pytest.param("d", "d", "d", id="directory"),
    pytest.param("d/", "d", "d", id="trailing-slash"),
    pytest.param("d/.", "d", "d", id="dot"),
    pytest.param("to_d", "d", "d", id="link"),
    pytest.param("to_d/e/..", "d", "d", id="dot-dot"),
    pytest.param("to_d/../to_d/e", "d/e", "d/e", id="dot-dot-after-a-link"),
    pytest.param("d/file", "d/file", None, id="file"),
    pytest.param("to_file", "d/file", None, id="link-to-a-file"),
    pytest.param("d/file/", None, None, id="file-as-a-directory"),
    pytest.param("d/file/..", None, None, id="dot-dot-behind-a-file"),
    pytest.param("to_file/.", None, None, id="dot-behind-a-link-to-a-file"),
    pytest.param("d/none", None, None, id="missing"),
    pytest.param("none/..", None, None, id="dot-dot-behind-nothing"),
    pytest.param("dangling", None, None, id="dangling-link"),
    pytest.param("loop", None, None, id="loop"),
    pytest.param("", None, None, id="empty"),
    pytest.param(".", "", "", id="here"),
    pytest.param("x" * 300, None, None, id="name-too-long"),
]


@pytest.mark.parametrize(("path", "target", "directory"), REAL)
@pytest.mark.parametrize("kind", [str, os.fsencode], ids=["str", "bytes"])
@pytest.mark.parametrize("way", ["kernel", "no-descriptors", "no-proc"])
def test_real_path(
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    target: str | None,
    directory: str | None,
    kind: Any,
    way: str,
) -> None:
    expected = tuple(None if part is None else str(tree / part) for part in (target, directory))

    if way == "no-descriptors":
        with no_descriptors_left():
            found = real_target(kind(path)), real_directory(kind(path))
    else:
        if way == "no-proc":
            monkeypatch.setattr(identity, "HAS_PROC_FD", False)
        found = real_target(kind(path)), real_directory(kind(path))

    assert found == expected


def test_real_path_starts_from_a_dir_fd(tree: Path) -> None:
    with opened("d") as fd:
        assert real_directory("e", fd) == f"{tree}/d/e"
        assert real_target("../to_file", fd) == f"{tree}/d/file"
        assert real_target(f"{tree}/to_d", fd) == f"{tree}/d"
        with no_descriptors_left():
            assert real_directory("e", fd) == f"{tree}/d/e"
            assert real_target(f"{tree}/to_d", fd) == f"{tree}/d"
    assert real_directory("e", fd) is None


def test_real_path_by_hand_knows_no_directory_behind_a_pipe(tree: Path) -> None:
    reading, writing = os.pipe()

    with no_descriptors_left():
        found = real_target("e", reading)

    os.close(reading)
    os.close(writing)
    assert found is None


def test_disk_itself() -> None:
    for path in ("/", "//", "/..", "/../.."):
        assert (real_target(path), real_directory(path), resolve_missing(path)) == ("/", "/", "/")
        with no_descriptors_left():
            assert real_target(path) == "/"


def test_path_of_a_descriptor(tree: Path) -> None:
    reading, writing = os.pipe()
    with opened("to_file") as file, opened("to_d") as directory, socket.socket() as sock:
        found = [real_path_of_fd(fd) for fd in (file, directory, reading, sock.fileno())]
    os.close(reading)
    os.close(writing)

    assert found == [f"{tree}/d/file", f"{tree}/d", None, None]
    assert real_path_of_fd(reading) is None


def test_path_of_a_descriptor_is_unknown_where_neither_proc_nor_the_kernel_tells(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "HAS_PROC_FD", False)

    with opened("d/file") as fd:
        assert real_path_of_fd(fd) is None  # F_GETPATH is macOS's
        assert is_writable(fd)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("d/file", "d/file", id="existing"),
        pytest.param("to_d/new", "d/new", id="missing-behind-a-link"),
        pytest.param("to_d/a/b/c", "d/a/b/c", id="several-missing"),
        pytest.param("to_d/a//b/./c/", "d/a/b/c", id="odd-slashes"),
        pytest.param("dangling", "d/new", id="dangling-link"),
        pytest.param("dangling/x", "d/new/x", id="below-a-dangling-link"),
        pytest.param("to_d/a/../b", "d/b", id="dot-dot-behind-nothing"),
        pytest.param("a/../../x", "../x", id="dot-dot-out-of-the-tree"),
        pytest.param("far", "more", id="link-with-dot-dot-behind-nothing"),
        pytest.param("d/file/x", "d/file/x", id="below-a-file"),
    ],
)
def test_resolve_missing(tree: Path, path: str, expected: str) -> None:
    assert resolve_missing(f"{tree}/{path}") == os.path.normpath(tree / expected)


def test_resolve_missing_of_a_loop_stays_in_its_directory(tree: Path) -> None:
    for path in ("loop", "to_d/../loop"):
        found = resolve_missing(f"{tree}/{path}")
        assert os.path.dirname(found) == str(tree)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("dangling", "d/new", id="dangling-link"),
        pytest.param("d/new", "d/new", id="no-link-at-all"),
        pytest.param("d/file", "d/file", id="it-appeared-since"),
        pytest.param("loop", None, id="loop"),
        pytest.param("far", None, id="no-such-directory"),
        pytest.param("d/new/x", None, id="two-missing"),
        pytest.param("d/file/x", None, id="below-a-file"),
        pytest.param("x" * 300, None, id="name-too-long"),
    ],
)
def test_creatable_target(tree: Path, path: str, expected: str | None) -> None:
    assert creatable_target(f"{tree}/{path}") == (expected and f"{tree}/{expected}")


@UNHURRIED
@given(plants=TREES, spelling=SPELLINGS)
def test_real_path_by_hand_is_the_kernels(above: str, plants: list[Plant], spelling: Spelling) -> None:
    with planted(plants, above) as base, spelled(spelling, base) as (path, fd):
        for find in (real_target, real_directory):
            expected = find(path, fd)
            with no_descriptors_left():
                assert find(path, fd) == expected


def test_a_symlink_that_leads_to_itself_past_what_is_missing_has_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("missing/../a")

    assert resolve_missing(f"{tmp_path}/a/x") == f"{tmp_path}/a/x"


@UNHURRIED
@example(
    plants=[Plant("directory", "a"), Plant("link", "b", "a")], spelling=Spelling("relative", ".", "c/../b", "", False)
)
@given(plants=TREES, spelling=SPELLINGS)
def test_resolve_missing_agrees_with_realpath(above: str, plants: list[Plant], spelling: Spelling) -> None:
    with planted(plants, above) as base:
        path = f"{base}/{spelling.route}{spelling.trailing}"
        found = resolve_missing(path)

        try:
            os.stat(path)
        except FileNotFoundError:
            expected = os.path.realpath(path)
            if any(map(os.path.islink, (expected, *map(str, Path(expected).parents)))):
                expected = os.path.normpath(found)  # a loop past what is missing: again only the form
            assert found == expected
        except OSError:
            assert os.path.normpath(found) == found  # a loop, or below a file: only the form is promised
        else:
            assert found == os.path.realpath(path)


@pytest.fixture(scope="module")
def above(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("trees"))


@pytest.mark.parametrize(
    ("flags", "expected"), [(os.O_RDONLY, False), (os.O_WRONLY, True), (os.O_RDWR, True), (os.O_PATH, False)]
)
def test_descriptor_is_writable_by_the_way_it_was_opened(tree: Path, flags: int, expected: bool) -> None:
    with opened("d/file", flags) as fd:
        assert is_writable(fd) is expected
    assert is_writable(fd)  # unknown, so yes


def test_identity_is_of_what_stands_there(tree: Path) -> None:
    link, file = identity_of("to_file"), identity_of("d/file")

    found = os.lstat("d/file")
    assert (file.device, file.inode) == (found.st_dev, found.st_ino)
    assert link != file
    assert identity_of(os.fsencode(tree / "d/file")) == file
    with opened("d/file") as fd, opened("d") as directory:
        assert identity_of(fd) == file
        assert identity_of("file", directory) == file
    os.rename("d/file", "moved")
    assert identity_of("moved") == file


def test_identity_of_nothing_is_an_error(tree: Path) -> None:
    with pytest.raises(FileNotFoundError):
        identity_of("none")


def test_birth_is_when_the_object_was_made_and_does_not_change(tree: Path) -> None:
    before = os.stat("d").st_ctime_ns
    Path("new").touch()
    born = birth_ns("new", os.lstat("new"))
    os.utime("new", ns=(1, 1))
    os.chmod("new", 0o600)

    assert born is not None
    assert born >= before
    assert birth_ns("new", os.lstat("new")) == born
    with opened("new") as fd, opened(".") as here:
        assert birth_ns(fd, os.fstat(fd)) == born
        assert birth_ns(b"new", os.lstat("new"), here) == born


def test_birth_tells_an_object_from_a_later_one_of_the_same_number(tree: Path) -> None:
    Path("new").touch()
    first = identity_of("new")
    for _ in range(50):
        os.unlink("new")
        Path("new").touch()

    assert identity_of("new") != first


def test_birth_is_unknown_where_the_file_system_keeps_none() -> None:
    assert birth_ns("/proc/self/status", os.stat("/proc/self/status")) is None


def test_birth_is_unknown_when_nothing_stands_there_any_more(tree: Path) -> None:
    assert birth_ns("none", os.lstat("d")) is None


def test_birth_is_unknown_without_the_system_call(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    def no_library(*_args: object, **_kwargs: object) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(identity, "_statx_cache", [])
    monkeypatch.setattr(ctypes, "CDLL", no_library)

    assert [birth_ns("d", os.lstat("d")), identity_of("d").birth_ns] == [None, None]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param({"st_birthtime": 1.5}, 1_500_000_000, id="seconds"),
        pytest.param({"st_birthtime": 1.5, "st_birthtime_ns": 1_500_000_001}, 1_500_000_001, id="nanoseconds"),
    ],
)
def test_birth_is_taken_from_stat_where_that_has_it(facts: dict[str, Any], expected: int) -> None:
    found: Any = SimpleNamespace(**facts)

    assert birth_ns("/nowhere", found) == expected


@pytest.mark.parametrize("has_statx", [True, False])
def test_file_at_a_path_is_told_from_any_other_object(
    tree: Path, monkeypatch: pytest.MonkeyPatch, has_statx: bool
) -> None:
    if not has_statx:
        monkeypatch.setattr(identity, "_statx_cache", [None])
    file, directory = look("d/file").identity, look("d").identity
    here = os.open("d", os.O_RDONLY)
    try:
        assert is_file_at("file", file, here)
    finally:
        os.close(here)
    assert is_file_at("d/file", file)
    assert not is_file_at("d", directory)
    for field in ("device", "inode", "birth_ns"):
        assert not is_file_at("d/file", file._replace(**{field: 7})), field
    with pytest.raises(FileNotFoundError):
        is_file_at("none", file)


def test_symlink_at_a_path_is_a_file_of_its_own(tree: Path) -> None:
    assert is_file_at("to_d", look("to_d").identity)
    assert not is_file_at("to_d", look("d").identity)


def test_identity_survives_json() -> None:
    assert Identity.parse(Identity(1, 2, None).to_json()) == Identity(1, 2, None)


class NoFunctions:
    """The ``os`` module as a fake file system leaves it: constants are there, every function is another."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(os, name)
        if callable(value):
            raise AssertionError(f"os.{name} was used through the module")
        return value


def test_nothing_goes_through_the_os_module(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "os", NoFunctions())

    assert real_directory("to_d") == f"{tree}/d"
    assert resolve_missing(f"{tree}/dangling") == f"{tree}/d/new"
    assert identity_of("d").inode > 0
    with no_descriptors_left():
        assert real_target("to_file") == f"{tree}/d/file"
