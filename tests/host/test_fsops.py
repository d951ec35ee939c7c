"""The only writer: all or nothing, never over what stands there, never through a symlink."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_session_guard._host import fsops
from pytest_session_guard._host.fsops import (
    CACHEDIR_TAG,
    OwnPath,
    Raw,
    clock_ns,
    closing,
    create_file,
    make_directory,
    make_state_directory,
    open_for_append,
    read_file,
    replace_file,
    stamp_clock_ns,
    write_all,
)

ROOT = Path(__file__).parents[2]
BIG = b"x" * 100_000


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """A full disk, as far as single files go: writing beyond the limit fails with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_new_file_has_its_content_and_is_private(tmp_path: Path) -> None:
    create_file(f"{tmp_path}/new", b"content")

    assert (tmp_path / "new").read_bytes() == b"content"
    assert mode_of(tmp_path / "new") == 0o600


@pytest.mark.parametrize("link", [False, True], ids=["file", "dangling-link"])
def test_new_file_never_takes_the_place_of_another(tmp_path: Path, link: bool) -> None:
    if link:
        (tmp_path / "a").symlink_to("nowhere")
    else:
        (tmp_path / "a").write_text("old")

    with pytest.raises(FileExistsError):
        create_file(f"{tmp_path}/a", b"new")

    assert names(tmp_path) == ["a"]
    assert link or (tmp_path / "a").read_text() == "old"


def test_new_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with files_limited_to(10), pytest.raises(OSError, match="File too large"):
        create_file(f"{tmp_path}/a", BIG)

    assert names(tmp_path) == []


@pytest.mark.parametrize("durable", [False, True])
def test_replacing_is_all_or_nothing(tmp_path: Path, durable: bool) -> None:
    (tmp_path / "a").write_text("old")

    with files_limited_to(10), pytest.raises(OSError, match="File too large"):
        replace_file(f"{tmp_path}/a", BIG, durable=durable)
    assert (names(tmp_path), (tmp_path / "a").read_text()) == (["a"], "old")

    replace_file(f"{tmp_path}/a", b"new", 0o640, durable=durable)
    assert (names(tmp_path), (tmp_path / "a").read_text()) == (["a"], "new")
    assert mode_of(tmp_path / "a") == 0o640 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_replacing_makes_what_was_not_there(tmp_path: Path) -> None:
    replace_file(f"{tmp_path}/a", b"new")

    assert (names(tmp_path), mode_of(tmp_path / "a")) == (["a"], 0o600)


def test_replacing_what_cannot_be_replaced_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)

    with pytest.raises(OSError, match="directory"):
        replace_file(f"{tmp_path}/a", b"new")

    assert names(tmp_path) == ["a"]


def test_replacing_a_link_replaces_the_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "a").symlink_to("target")

    replace_file(f"{tmp_path}/a", b"new")

    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "target").read_text() == "old"


def test_reading_from_the_start_and_from_later(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) + 17)
    (tmp_path / "a").write_bytes(content)

    assert read_file(f"{tmp_path}/a") == content
    assert read_file(f"{tmp_path}/a", (1 << 20) - 1) == content[(1 << 20) - 1 :]
    assert read_file(f"{tmp_path}/a", len(content) + 5) == b""


def test_reading_opens_regular_files_only_and_no_link(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "file").write_text("x")

    for name in ("pipe", ".", "link", "none"):
        with pytest.raises(OSError, match=r"regular file|symbolic links|No such file"):
            read_file(f"{tmp_path}/{name}")
    with pytest.raises(OSError, match="not a regular file"):
        read_file("/dev/zero")


def test_descriptors_do_not_leak(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = os.listdir("/proc/self/fd")

    for action in (
        lambda: create_file(f"{tmp_path}/a", b"x"),
        lambda: create_file(f"{tmp_path}/a", b"x"),
        lambda: replace_file(f"{tmp_path}/b", b"x", durable=True),
        lambda: read_file(f"{tmp_path}/pipe"),
        lambda: clock_ns(str(tmp_path)),
    ):
        try:
            action()
        except OSError:
            continue

    assert os.listdir("/proc/self/fd") == before


def test_journal_is_new_private_and_only_grows(tmp_path: Path) -> None:
    fd = open_for_append(f"{tmp_path}/journal")

    with closing(fd):
        write_all(fd, b"one\n")
        os.lseek(fd, 0, os.SEEK_SET)
        write_all(fd, b"two\n")
        assert not os.get_inheritable(fd)
        with pytest.raises(FileExistsError):
            open_for_append(f"{tmp_path}/journal")

    assert (tmp_path / "journal").read_bytes() == b"one\ntwo\n"
    assert mode_of(tmp_path / "journal") == 0o600
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_journal_is_never_opened_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "journal").symlink_to("elsewhere")

    with pytest.raises(FileExistsError):
        open_for_append(f"{tmp_path}/journal")

    assert names(tmp_path) == ["journal"]


def test_write_all_goes_on_where_the_kernel_takes_less() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # reads slowly, so that the pipe is full again and again
        os.close(writing)
        total = 0
        while piece := os.read(reading, 7000):
            total += len(piece)
        os._exit(0 if total == len(BIG) * 3 else 1)
    os.close(reading)
    os.set_blocking(writing, True)

    write_all(writing, BIG * 3)

    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0


def test_directory_is_made_with_its_parents_and_is_private(tmp_path: Path) -> None:
    make_directory(f"{tmp_path}/a/b/c")

    assert [mode_of(tmp_path / path) for path in ("a", "a/b", "a/b/c")] == [0o700] * 3
    make_directory(f"{tmp_path}/a/b/c")


def test_directory_may_stand_there_already_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "to_dir").symlink_to(".")
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("none")

    make_directory(f"{tmp_path}/to_dir")
    for name in ("file", "dangling", "file/x"):
        with pytest.raises(OSError, match=r"exists|directory"):
            make_directory(f"{tmp_path}/{name}")


def test_state_directory_is_labelled(tmp_path: Path) -> None:
    make_state_directory(f"{tmp_path}/state")

    state = tmp_path / "state"
    assert names(tmp_path) == ["state"]
    assert names(state) == [".gitignore", "CACHEDIR.TAG", "README.md", "runs"]
    assert (state / ".gitignore").read_text().endswith("\n*\n")
    assert (state / "CACHEDIR.TAG").read_bytes() == CACHEDIR_TAG
    assert CACHEDIR_TAG.startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    assert mode_of(state) == 0o700


def test_state_directory_that_is_there_is_kept_as_it_is(tmp_path: Path) -> None:
    make_state_directory(f"{tmp_path}/state")
    (tmp_path / "state/runs/r1").mkdir()

    make_state_directory(f"{tmp_path}/state")

    assert names(tmp_path / "state/runs") == ["r1"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_state_directory_is_no_file_and_no_link(tmp_path: Path, kind: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        (tmp_path / "state").touch()
    else:
        (tmp_path / "state").symlink_to("elsewhere")

    with pytest.raises(NotADirectoryError, match="no directory of ours"):
        make_state_directory(f"{tmp_path}/state")

    assert names(tmp_path / "elsewhere") == []


def test_state_directory_of_another_user_is_not_used(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "state").mkdir()
        os.chown(tmp_path / "state", 12345, -1)
        owned = tmp_path / "state"
    else:
        owned = next(path for path in (Path("/proc/1"), Path("/lost+found"), Path("/")) if path.exists())
        if owned.stat().st_uid in (0, os.geteuid()):
            make_state_directory(str(owned))  # root's may be used: root may do anything anyway
            return

    with pytest.raises(PermissionError, match="belongs to another user"):
        make_state_directory(str(owned))


def test_state_directory_survives_a_race_of_several_makers(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pytest_session_guard._host.fsops import make_state_directory\n"
        "sys.stdin.read()\n"
        "make_state_directory(sys.argv[2])\n"
    )
    command = [sys.executable, "-c", script, str(ROOT), f"{tmp_path}/state"]
    makers = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]

    said = [maker.communicate("")[1] for maker in makers]

    assert (said, [maker.returncode for maker in makers]) == (["", "", ""], [0, 0, 0])
    assert names(tmp_path) == ["state"]
    assert names(tmp_path / "state") == [".gitignore", "CACHEDIR.TAG", "README.md", "runs"]


def test_clock_is_that_of_the_file_system(tmp_path: Path) -> None:
    before = clock_ns(str(tmp_path))
    (tmp_path / "a").touch()
    made = (tmp_path / "a").stat().st_mtime_ns
    after = clock_ns(str(tmp_path))

    assert before <= made <= after
    assert names(tmp_path) == ["a"]


def test_clock_without_nameless_files_leaves_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")

    now = clock_ns(str(tmp_path))

    assert abs(now - time.time_ns()) < 60 * 10**9
    assert names(tmp_path) == []


def test_clock_of_a_place_that_takes_no_files_at_all() -> None:
    with pytest.raises(FileNotFoundError):
        clock_ns("/nowhere/at/all")


def test_nothing_made_after_the_stamp_bears_an_earlier_time(tmp_path: Path) -> None:
    for number in range(50):
        stamp = stamp_clock_ns()
        (tmp_path / str(number)).touch()
        assert (tmp_path / str(number)).stat().st_mtime_ns >= stamp


def test_own_path_is_a_path_like_any_other(tmp_path: Path) -> None:
    create_file(OwnPath(f"{tmp_path}/a"), b"x")

    assert os.path.samefile(OwnPath(f"{tmp_path}/a"), tmp_path / "a")
    assert type(str(OwnPath("a"))) is str


@pytest.mark.parametrize("name", [name for name in vars(Raw) if not name.startswith("__")])
def test_primitives_are_what_the_system_offers(name: str) -> None:
    assert callable(getattr(Raw, name))


def test_primitives_are_not_replaced_with_the_module_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("the module's function was called")

    for name in ("open", "close", "write", "rename", "unlink", "mkdir", "lstat", "stat", "fstat", "getpid"):
        monkeypatch.setattr(os, name, refuse)
    try:
        create_file(f"{tmp_path}/a", b"x")
        replace_file(f"{tmp_path}/a", b"y")
        make_directory(f"{tmp_path}/b/c")
        content = read_file(f"{tmp_path}/a")
    finally:
        monkeypatch.undo()

    assert content == b"y"
    assert names(tmp_path) == ["a", "b"]


def test_writing_goes_through_paths_that_the_hook_knows() -> None:
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pytest_session_guard._core.events import intents_of\n"
        "from pytest_session_guard._host.fsops import *\n"
        "foreign = []\n"
        "def hook(event, args):\n"
        "    for intent in intents_of(event, args):\n"
        "        if type(intent.path) is not OwnPath: foreign.append((event, repr(intent.path)))\n"
        "import tempfile; base = tempfile.mkdtemp()\n"
        "sys.addaudithook(hook)\n"
        "create_file(base + '/a', b'x'); replace_file(base + '/a', b'y'); make_directory(base + '/b/c')\n"
        "os.close(open_for_append(base + '/j')); make_state_directory(base + '/s'); clock_ns(base)\n"
        "found = list(foreign)\n"
        "import shutil; shutil.rmtree(base)\n"
        "print(found)\n"
    )

    done = subprocess.run([sys.executable, "-c", script, str(ROOT)], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.fixture
def merciless_umask() -> Iterator[None]:
    before = os.umask(0o777)
    yield
    os.umask(before)


def test_own_files_stay_usable_under_a_umask_that_takes_everything(tmp_path: Path, merciless_umask: None) -> None:
    make_directory(f"{tmp_path}/d/e")
    create_file(f"{tmp_path}/d/a", b"x")
    replace_file(f"{tmp_path}/d/b", b"x", 0o644)
    os.close(open_for_append(f"{tmp_path}/d/j"))
    make_state_directory(f"{tmp_path}/d/s")

    modes = {name: mode_of(tmp_path / "d" / name) & 0o700 for name in (".", "e", "a", "b", "j", "s", "s/runs")}
    assert modes == {".": 0o700, "e": 0o700, "a": 0o600, "b": 0o600, "j": 0o600, "s": 0o700, "s/runs": 0o700}


class NoFunctions:
    """The ``os`` module as a fake file system leaves it: constants are there, every function is another."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(os, name)
        if callable(value):
            raise AssertionError(f"os.{name} was used through the module")
        return value


def test_nothing_goes_through_the_os_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsops, "os", NoFunctions())

    create_file(f"{tmp_path}/a", b"x")
    replace_file(f"{tmp_path}/a", b"yz")
    make_state_directory(f"{tmp_path}/s")
    os.close(open_for_append(f"{tmp_path}/j"))

    assert read_file(f"{tmp_path}/a", 1) == b"z"
    assert clock_ns(str(tmp_path)) > 0
