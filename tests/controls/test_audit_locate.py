"""The locator finds the object that the kernel reaches, whatever the caller wrote: single cases."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from _pytest._py.path import LocalPath

from pytest_session_guard._controls.audit.locate import (
    DirFdHint,
    Locator,
    Target,
    UncheckableError,
    claimed,
    held_directories,
    plain,
    seen_from_outside,
)
from pytest_session_guard._core.events import Intent
from pytest_session_guard._core.zones import Action, Pattern, Policy, Rule, Zone
from pytest_session_guard._host.fsops import OwnDescriptor, OwnPath

CHANGE, CREATE, DELETE = Action.CHANGE, Action.CREATE, Action.DELETE


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a file and a directory, a free place beside it that is also the working directory, links both ways."""
    real = Path(os.path.realpath(tmp_path))
    (real / "home/data").mkdir(parents=True)
    (real / "home/data/a.json").write_text("{}")
    (real / "home/note").write_text("note")
    (real / "free/sub").mkdir(parents=True)
    (real / "free/mine").write_text("mine")
    (real / "free/to_data").symlink_to("../home/data")
    (real / "free/to_a").symlink_to(real / "home/data/a.json")
    (real / "free/to_new").symlink_to("../home/data/new.json")
    (real / "home/to_mine").symlink_to("../free/mine")
    monkeypatch.chdir(real / "free")
    return real


@pytest.fixture
def locator(tree: Path) -> Locator:
    rules = (Rule(Zone.PROTECTED, f"{tree}/home", "~"), Rule(Zone.FREE, f"{tree}/free"))
    return Locator(Policy(rules, (Pattern("__pycache__", f"{tree}/home"),)), DirFdHint())


@contextmanager
def opened(path: Path | str, flags: int = os.O_RDONLY) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def found(locator: Locator, path: Any, action: Action = CHANGE, dir_fd: int | None = -1, **kwargs: Any) -> list[Target]:
    return locator.targets(Intent(action, path, dir_fd, **kwargs))


def one(locator: Locator, path: Any, action: Action = CHANGE, dir_fd: int | None = -1, **kwargs: Any) -> Target:
    (target,) = found(locator, path, action, dir_fd, **kwargs)
    return target


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        pytest.param("{tree}/home/note", "home/note", id="absolute"),
        pytest.param("mine", "free/mine", id="relative"),
        pytest.param("./mine", "free/mine", id="dot"),
        pytest.param("sub/../mine", "free/mine", id="dot-dot"),
        pytest.param("../home/note", "home/note", id="up-and-over"),
        pytest.param("..//home///note", "home/note", id="doubled-slashes"),
        pytest.param("/{tree}/home/note", "home/note", id="leading-doubled-slash"),
        pytest.param("to_data/a.json", "home/data/a.json", id="through-a-linked-directory"),
        pytest.param("to_data/../note", "home/note", id="dot-dot-after-a-link-is-the-kernels"),
        pytest.param("to_a", "home/data/a.json", id="a-link-that-is-followed"),
        pytest.param("to_data", "home/data", id="a-link-to-a-directory"),
        pytest.param("to_data/", "home/data", id="a-link-with-a-trailing-slash"),
        pytest.param("to_data/.", "home/data", id="dot-behind-a-link"),
        pytest.param("to_data/..", "home", id="dot-dot-behind-a-link"),
        pytest.param(".", "free", id="the-working-directory"),
        pytest.param("..", "", id="its-parent"),
        pytest.param("/proc/self/cwd/mine", "free/mine", id="proc-cwd"),
        pytest.param("/proc/self/root{tree}/home/note", "home/note", id="proc-root"),
        pytest.param("/proc/thread-self/cwd/to_a", "home/data/a.json", id="proc-thread-and-a-link"),
    ],
)
@pytest.mark.parametrize("kind", [str, os.fsencode], ids=["str", "bytes"])
def test_target_is_what_the_kernel_reaches(
    tree: Path, locator: Locator, spelling: str, expected: str, kind: Any
) -> None:
    path = spelling.replace("{tree}", str(tree))

    target = one(locator, kind(path))

    assert target.path == str(tree / expected)
    assert target.found is not None
    assert os.path.samestat(target.found, os.stat(path))
    assert target.rule == locator.policy.rule_for(target.path)


def test_disk_itself(locator: Locator) -> None:
    for spelling in ("/", "//", "/.", "/..", "/proc/self/root"):
        assert one(locator, spelling).path == "/"


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        pytest.param("new", "free/new", id="new"),
        pytest.param("sub/new", "free/sub/new", id="in-a-subdirectory"),
        pytest.param("to_data/new", "home/data/new", id="through-a-linked-directory"),
        pytest.param("to_new", "home/data/new.json", id="where-a-dangling-link-points"),
        pytest.param("../home/data/__pycache__", "home/data/__pycache__", id="name-that-a-pattern-frees"),
    ],
)
def test_missing_file_is_located_where_it_would_appear(
    tree: Path, locator: Locator, spelling: str, expected: str
) -> None:
    target = one(locator, spelling, creates=True)

    assert (target.path, target.found) == (str(tree / expected), None)
    assert target.rule == locator.policy.rule_for(target.path)


@pytest.mark.parametrize("spelling", ["new/", "new//"])
def test_new_directory_may_be_written_with_a_trailing_slash(tree: Path, locator: Locator, spelling: str) -> None:
    new = f"{tree}/free/new"

    assert one(locator, spelling, CREATE, follows=False, creates=True, directory=True).path == new
    assert one(locator, spelling, DELETE, follows=False, creates=True, replaces=True).path == new
    assert found(locator, spelling, CREATE, follows=False, creates=True) == []


@pytest.mark.parametrize(
    "spelling",
    [
        "",
        "missing/x",
        "mine/x",
        "mine/",
        "mine/../mine",
        "missing/../mine",
        "missing/..",
        "mine/.",
        "to_a/",
        "to_new/",
        "x" * 300,
    ],
)
def test_operation_that_fails_by_itself_has_no_target(locator: Locator, spelling: str) -> None:
    assert found(locator, spelling, creates=True) == []


@pytest.mark.parametrize(
    "links",
    [
        pytest.param({"loop": "loop"}, id="itself"),
        pytest.param({"loop": "./loop"}, id="itself-through-dot"),
        pytest.param({"loop": "other", "other": "loop"}, id="two-links"),
        pytest.param({"loop": "../free/other", "other": "sub/../loop"}, id="roundabout"),
        pytest.param({"loop": "loop/x"}, id="growing"),
        pytest.param({"loop": "missing/x"}, id="to-a-file-in-no-directory"),
        pytest.param({"loop": "missing/../x"}, id="up-from-no-directory"),
        pytest.param({"loop": "new/"}, id="to-a-directory-that-is-not-there"),
        pytest.param({"loop": "mine/x"}, id="to-a-file-in-a-file"),
        pytest.param({"loop": "mine/"}, id="to-a-file-as-if-it-were-a-directory"),
    ],
)
def test_link_that_leads_nowhere_has_no_target(tree: Path, locator: Locator, links: dict[str, str]) -> None:
    for name, to in links.items():
        (tree / "free" / name).symlink_to(to)

    target = found(locator, "loop", creates=True)

    with pytest.raises(OSError, match="loop"):
        os.open("loop", os.O_WRONLY | os.O_CREAT)
    assert target == []


def test_chain_of_links_that_is_too_long_for_the_kernel_has_no_target(tree: Path, locator: Locator) -> None:
    names = ["mine", *(f"link{number}" for number in range(42))]
    for target, link in itertools.pairwise(names):
        (tree / "free" / link).symlink_to(target)

    assert one(locator, "link39").path == f"{tree}/free/mine"
    assert found(locator, "link41") == []


def test_link_itself_is_the_target_where_it_is_not_followed(tree: Path, locator: Locator) -> None:
    target = one(locator, "to_a", DELETE, follows=False)

    assert target.path == f"{tree}/free/to_a"
    assert target.found is not None
    assert os.path.samestat(target.found, os.lstat("to_a"))
    assert one(locator, "../home/to_mine", DELETE, follows=False).rule.zone is Zone.PROTECTED
    assert one(locator, "../home/to_mine").rule.zone is Zone.FREE


def test_hint_that_the_link_itself_is_meant_is_taken(tree: Path, locator: Locator) -> None:
    locator.hint.link_itself = True

    assert one(locator, "to_a").path == f"{tree}/free/to_a"


def test_relative_path_starts_from_its_dir_fd(tree: Path, locator: Locator) -> None:
    with opened(tree / "home") as fd:
        assert one(locator, "note", dir_fd=fd).path == f"{tree}/home/note"
        assert one(locator, "data/../to_mine", dir_fd=fd).path == f"{tree}/free/mine"
        assert one(locator, ".", dir_fd=fd).path == f"{tree}/home"
        assert one(locator, f"{tree}/free/mine", dir_fd=fd).path == f"{tree}/free/mine"
        assert one(locator, "new", dir_fd=fd, creates=True).path == f"{tree}/home/new"


def test_dir_fd_that_is_no_directory_has_no_target(tree: Path, locator: Locator) -> None:
    with opened(tree / "free/mine") as fd:
        assert found(locator, "x", dir_fd=fd, creates=True) == []
    assert found(locator, "x", dir_fd=fd, creates=True) == []


def test_hidden_dir_fd_is_the_one_that_the_wrapper_passed_on(tree: Path, locator: Locator) -> None:
    with opened(tree / "home") as fd:
        locator.hint.value = fd
        assert one(locator, "note", dir_fd=None).path == f"{tree}/home/note"
        locator.hint.value = -1
        assert one(locator, "mine", dir_fd=None).path == f"{tree}/free/mine"


def test_hidden_dir_fd_that_nobody_passed_on_may_be_any_directory_held_open(tree: Path, locator: Locator) -> None:
    with opened(tree / "home") as fd:
        assert fd in held_directories()
        paths = {target.path for target in found(locator, "note", dir_fd=None, creates=True)}

    assert {f"{tree}/home/note", f"{tree}/free/note"} <= paths


@pytest.mark.parametrize("kind", [str, os.fsencode], ids=["str", "bytes"])
def test_absolute_path_needs_no_dir_fd(tree: Path, locator: Locator, kind: Any) -> None:
    with opened(tree / "home"):
        assert one(locator, kind(f"{tree}/free/mine"), dir_fd=None).path == f"{tree}/free/mine"


def test_descriptor_leads_to_its_file(tree: Path, locator: Locator) -> None:
    with opened(tree / "free/to_a") as fd:
        target = one(locator, fd)

        assert target.path == f"{tree}/home/data/a.json"
        assert target.found is not None
        assert os.path.samestat(target.found, os.fstat(fd))
        assert one(locator, f"/proc/self/fd/{fd}").path == f"{tree}/home/data/a.json"
        assert one(locator, f"/dev/fd/{fd}").path == f"{tree}/home/data/a.json"
    assert found(locator, fd) == []


def test_descriptor_of_a_directory_leads_below_it(tree: Path, locator: Locator) -> None:
    with opened(tree / "home/data") as fd:
        assert one(locator, f"/proc/self/fd/{fd}/a.json").path == f"{tree}/home/data/a.json"
        assert one(locator, f"/proc/self/fd/{fd}/../note").path == f"{tree}/home/note"


def test_descriptor_follows_its_file_when_that_is_renamed(tree: Path, locator: Locator) -> None:
    with opened(tree / "home/note") as fd:
        os.rename(tree / "home/note", tree / "free/moved")

        assert one(locator, fd).path == f"{tree}/free/moved"


def test_descriptors_of_what_has_no_name_have_no_target(tree: Path, locator: Locator) -> None:
    reading, writing = os.pipe()
    with (
        socket.socket() as sock,
        opened(tree / "home", os.O_TMPFILE | os.O_RDWR) as nameless,
        opened("mine") as deleted,
    ):
        os.unlink("mine")
        memory = os.memfd_create("x")
        descriptors = (reading, writing, sock.fileno(), nameless, deleted, memory)

        assert [found(locator, fd) for fd in descriptors] == [[]] * len(descriptors)
    for fd in (reading, writing, memory):
        os.close(fd)


def test_pipe_behind_proc_is_no_file_anywhere_else(locator: Locator) -> None:
    reading, writing = os.pipe()

    paths = [target.path for target in found(locator, f"/proc/self/fd/{writing}", creates=True)]

    os.close(reading)
    os.close(writing)
    assert all(path.startswith("/proc/") for path in paths)


@pytest.mark.parametrize(("flags", "count"), [(os.O_RDONLY, 0), (os.O_WRONLY, 1), (os.O_RDWR, 1)])
def test_descriptor_open_for_reading_cannot_change_what_it_maps(
    tree: Path, locator: Locator, flags: int, count: int
) -> None:
    with opened(tree / "home/note", flags) as fd:
        assert len(found(locator, fd, needs_writable=True)) == count
        assert len(found(locator, fd)) == 1


def test_nameless_file_is_located_in_its_directory(tree: Path, locator: Locator) -> None:
    target = one(locator, "to_data", CREATE, creates=True, nameless=True)

    assert (target.path, target.found, target.rule.zone) == (f"{tree}/home/data/(nameless)", None, Zone.PROTECTED)
    assert found(locator, "missing", CREATE, creates=True, nameless=True) == []
    assert found(locator, "mine", CREATE, creates=True, nameless=True) == []


@pytest.mark.parametrize(
    "name", [b"caf\xe9", b"\xff\xfe", b"new\nline", b"\x1b[31m", "ü".encode(), b" ", b"...", b"-rf"]
)
def test_names_of_any_bytes(tree: Path, locator: Locator, name: bytes) -> None:
    path = os.path.join(os.fsencode(tree), b"home", name)
    with open(path, "wb"):
        pass

    for spelling in (path, os.fsdecode(path), b"../home//" + name):
        target = one(locator, spelling)
        assert os.fsencode(target.path) == path
        assert target.rule.zone is Zone.PROTECTED


def test_directory_that_moved_is_not_taken_for_what_it_was(tree: Path, locator: Locator) -> None:
    os.chdir("sub")
    assert one(locator, "x", creates=True).rule.zone is Zone.FREE

    subprocess.run(["mv", tree / "free/sub", tree / "home/sub"], check=True)

    target = one(locator, "x", creates=True)
    assert (target.path, target.rule.zone) == (f"{tree}/home/sub/x", Zone.PROTECTED)


def test_directory_behind_a_link_that_moved_is_not_taken_for_what_it_was(tree: Path, locator: Locator) -> None:
    (tree / "free/link").symlink_to("sub")
    assert one(locator, f"{tree}/free/link/x", creates=True).rule.zone is Zone.FREE

    script = "rm link && mv sub ../home/sub && ln -s ../home/sub link"
    subprocess.run(["sh", "-c", script], cwd=tree / "free", check=True)

    assert one(locator, f"{tree}/free/link/x", creates=True).path == f"{tree}/home/sub/x"


def test_directories_are_remembered_until_told_otherwise(tree: Path, locator: Locator) -> None:
    for number in range(3):
        assert one(locator, f"{tree}/free/{number}", creates=True).rule.zone is Zone.FREE

    locator.use(Policy((Rule(Zone.SHARED, f"{tree}/free"),)))
    assert one(locator, f"{tree}/free/x", creates=True).rule.zone is Zone.SHARED

    locator.policy = Policy(())
    assert one(locator, f"{tree}/free/x", creates=True).rule.zone is Zone.SHARED
    locator.forget()
    assert one(locator, f"{tree}/free/x", creates=True).rule.zone is Zone.PROTECTED


def test_memory_of_directories_does_not_grow_without_end(
    tree: Path, locator: Locator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_session_guard._controls.audit.locate.CACHE_LIMIT", 5)

    for number in range(20):
        os.mkdir(str(number))
        assert one(locator, f"{number}/x", creates=True).path == f"{tree}/free/{number}/x"

    assert len(locator._known) <= 6


def test_parents_that_may_not_be_entered_have_no_target(tree: Path, locator: Locator) -> None:
    # Root may enter anything; a process without that power may not.
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pytest_session_guard._controls.audit.locate import DirFdHint, Locator\n"
        "from pytest_session_guard._core.events import Intent\n"
        "from pytest_session_guard._core.zones import Action, Policy\n"
        "os.chmod('sub', 0); os.getuid() or os.setuid(65534)\n"
        "locator = Locator(Policy(()), DirFdHint())\n"
        "print(locator.targets(Intent(Action.CHANGE, 'sub/x', creates=True)))\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parents[2])], capture_output=True, text=True, check=False
    )

    (tree / "free/sub").chmod(0o755)
    assert (run.stdout, run.stderr) == ("[]\n", "")


class Liar(str):
    """A string that says something else to whoever asks it."""

    __slots__ = ()

    def __str__(self) -> str:
        return "/elsewhere"

    def rstrip(self, *_args: object) -> str:  # type: ignore[override]
        return "/elsewhere"

    def startswith(self, *_args: object) -> bool:  # type: ignore[override]
        return False


class LyingBytes(bytes):
    def __bytes__(self) -> bytes:
        return b"/elsewhere"

    def decode(self, *_args: object) -> str:  # type: ignore[override]
        return "/elsewhere"


class PlainSubclass(type(Path())):  # type: ignore[misc]
    pass


class OddPath(type(Path())):  # type: ignore[misc]
    def __fspath__(self) -> str:
        raise AssertionError("called")


class OddString(type(Path())):  # type: ignore[misc]
    def __str__(self) -> str:
        raise AssertionError("called")


class Custom:
    def __fspath__(self) -> str:
        raise AssertionError("called")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("a", "a", id="str"),
        pytest.param(b"a", b"a", id="bytes"),
        pytest.param(3, 3, id="descriptor"),
        pytest.param(True, 1, id="bool"),
        pytest.param(None, None, id="none"),
        pytest.param(OwnPath("/a"), None, id="our-own"),
        pytest.param(OwnDescriptor(3), None, id="our-own-descriptor"),
        pytest.param(Liar("/a"), "/a", id="lying-str"),
        pytest.param(LyingBytes(b"/a"), b"/a", id="lying-bytes"),
        pytest.param(bytearray(b"/a"), b"/a", id="bytearray"),
        pytest.param(memoryview(b"/a"), b"/a", id="memoryview"),
        pytest.param(Path("/a"), "/a", id="Path"),
        pytest.param(PurePosixPath("a"), "a", id="PurePosixPath"),
        pytest.param(PlainSubclass("/a"), "/a", id="subclass-that-adds-nothing"),
        pytest.param(LocalPath("/a"), "/a", id="py.path"),
    ],
)
def test_plain_path(path: Any, expected: object) -> None:
    found = plain(path)

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "path", [Custom(), OddPath("/a"), OddString("/a"), object(), 1.5], ids=lambda path: type(path).__name__
)
def test_path_that_only_its_own_code_can_explain_is_refused_without_running_it(path: Any) -> None:
    with pytest.raises(UncheckableError) as caught:
        plain(path)

    assert type(path).__name__ in str(caught.value)


def test_entry_of_a_directory_is_a_path(tree: Path, locator: Locator) -> None:
    for start in (tree / "home/data", os.fsencode(tree / "home/data")):
        with os.scandir(start) as entries:
            assert [one(locator, entry).path for entry in entries] == [f"{tree}/home/data/a.json"]


def test_own_paths_have_no_target(tree: Path, locator: Locator) -> None:
    assert found(locator, OwnPath(tree / "home/note")) == []


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        pytest.param(lambda path: "/home/u/notes", "/home/u/notes", id="text"),
        pytest.param(lambda path: b"/home/u/notes", "/home/u/notes", id="bytes"),
        pytest.param(lambda path: "notes", "", id="relative"),
        pytest.param(lambda path: 7, "", id="something-else"),
        pytest.param(lambda path: 1 / 0, "", id="fails"),
    ],
)
def test_what_an_object_says_of_itself_is_for_the_message_alone(says: Callable[[Any], object], expected: str) -> None:
    foreign = type("Foreign", (), {"__fspath__": says})()

    assert claimed(foreign) == expected
    with pytest.raises(UncheckableError):
        plain(foreign)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/proc/7/root/home/note", "/home/note"),
        ("/proc/7/task/8/root/home/note", "/home/note"),
        ("/proc/7/root", "/"),
        ("/proc/7/task/root", None),
        ("/proc/7/cwd/note", None),
        ("/home/7/root/note", None),
    ],
)
def test_way_through_the_root_of_another_process_is_seen_through(path: str, expected: str | None) -> None:
    assert seen_from_outside(path) == expected
