"""Performs operations in a scratch directory and prints, for each, what the table of events made of them.

Runs in a process of its own, under any interpreter: an audit hook cannot be taken off again. Prints one JSON object:
the operation's name to ``{"events": […], "intents": […], "error": …, "changed": …}``; intents with the names of `Scene`, events as raised.
"""

from __future__ import annotations

import fcntl
import io
import json
import mmap
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_session_guard._core.events import EVENTS, Intent, intents_of

FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FICLONE = 0x80086601, 0x40086602, 0x40049409


class Custom:
    """A path object with code of its own."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return self.path


class Scene:
    """The scratch directory, which is also the working directory, and descriptors with names."""

    def __init__(self) -> None:
        self.make()
        self.names: dict[int, str] = {}
        self.dir = self.named("DIR", os.open(".", os.O_RDONLY))
        self.file = self.named("FILE", os.open("f", os.O_RDWR))
        self.reading = self.named("READING", os.open("f", os.O_RDONLY))

    def make(self) -> None:
        for name in os.listdir("."):
            shutil.rmtree(name) if os.path.isdir(name) and not os.path.islink(name) else os.unlink(name)
        for name in ("f", "g"):
            with open(name, "w") as file:
                file.write("content")
        os.mkdir("empty")
        os.symlink("f", "link")

    def named(self, name: str, fd: int) -> int:
        self.names[fd] = name
        return fd

    def state(self) -> object:
        return [
            (name, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            for name in sorted(os.listdir("."))
            for found in [os.lstat(name)]
        ]

    def entry(self, name: str) -> os.DirEntry[str]:
        with os.scandir(".") as entries:
            return next(entry for entry in entries if entry.name == name)


class Recorder:
    """The audit hook; records intents only while an operation runs."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.found: list[str] | None = None
        self.events: list[list[Any]] = []
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if self.found is None:
            return
        if event == "open" or event in EVENTS:
            self.events.append([event, *(encoded(arg) for arg in args)])
        try:
            self.found += [self.shown(intent) for intent in intents_of(event, args)]
        except Exception as problem:
            self.found.append(f"{event}{args!r}: {problem!r}")

    def shown(self, intent: Intent) -> str:
        words = [str(intent.action), self.shown_path(intent.path)]
        if intent.dir_fd != -1:
            words.append(f"in {'?' if intent.dir_fd is None else self.scene.names.get(intent.dir_fd, 'OTHER')}")
        if not intent.follows:
            words.append("nofollow")
        words += [name for name in ("creates", "replaces", "directory", "nameless") if getattr(intent, name)]
        return " ".join([*words, "needs_writable"] if intent.needs_writable else words)

    def shown_path(self, path: Any) -> str:
        if isinstance(path, int):
            return self.scene.names.get(path, "OTHER")
        return repr(path) if isinstance(path, bytes) else path if isinstance(path, str) else f"<{type(path).__name__}>"


def encoded(arg: Any) -> Any:
    """An argument of an event as JSON; ``decoded`` of the test is its twin."""
    if isinstance(arg, bytes | bytearray):
        return {type(arg).__name__: arg.decode("latin-1")}
    if isinstance(arg, Path):
        return {"path": str(arg)}
    return arg if isinstance(arg, str | int | None) else {"object": type(arg).__name__}


def opened(path: Any, flags: int, **kwargs: Any) -> None:
    os.close(os.open(path, flags, **kwargs))


def bound(address: Any, family: int = socket.AF_UNIX) -> None:
    with socket.socket(family) as sock:
        sock.bind(address)


def connected(database: Any, **kwargs: Any) -> None:
    connection = sqlite3.connect(database, **kwargs)
    try:
        connection.execute("SELECT * FROM sqlite_master").fetchall()
    finally:
        connection.close()


def operations(s: Scene) -> dict[str, Callable[[], object]]:
    """Every operation by the name that the test's table knows it by."""
    create, excl, trunc = os.O_CREAT, os.O_EXCL, os.O_TRUNC
    read, write, both = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
    return {
        # open: built-in, FileIO, os.open
        "open r": lambda: open("f").close(),
        "open rb": lambda: open(b"f", "rb").close(),
        "open w": lambda: open("f", "w").close(),
        "open wb bytes": lambda: open(b"f", "wb").close(),
        "open a": lambda: open("f", "a").close(),
        "open x": lambda: open("new", "x").close(),
        "open r+": lambda: open("f", "r+").close(),
        "open non-utf8": lambda: open(b"n\xff", "w").close(),
        "open Path": lambda: Path("f").open("w").close(),
        "open Custom": lambda: open(Custom("f"), "w").close(),
        "open DirEntry": lambda: open(s.entry("f"), "w").close(),
        "open descriptor": lambda: open(s.file, "w", closefd=False).close(),
        "open null byte": lambda: open("a\0b", "w"),
        "open opener": lambda: open("f", "w", opener=lambda path, flags: os.open(path, flags, dir_fd=s.dir)).close(),
        "open_code": lambda: io.open_code(os.path.abspath("f")).close(),
        "FileIO": lambda: io.FileIO("f", "w").close(),
        "FileIO Custom": lambda: io.FileIO(Custom("f"), "w").close(),
        "Path.touch old": lambda: Path("f").touch(),
        "Path.touch new": lambda: Path("new").touch(),
        "Path.write_text": lambda: Path("f").write_text("x"),
        "os.open read": lambda: opened("f", read),
        "os.open write": lambda: opened("f", write),
        "os.open truncate": lambda: opened("f", read | trunc),
        "os.open lock": lambda: opened("f", read | create),
        "os.open append": lambda: opened("f", read | os.O_APPEND),
        "os.open create": lambda: opened("new", both | create, mode=0o600),
        "os.open exclusive": lambda: opened("new", write | create | excl),
        "os.open nofollow": lambda: opened("f", write | os.O_NOFOLLOW),
        "os.open dir_fd": lambda: opened("f", write, dir_fd=s.dir),
        "os.open directory": lambda: opened(".", read | os.O_DIRECTORY),
        "os.open O_PATH": lambda: opened("f", both | os.O_PATH),
        "os.open O_TMPFILE": lambda: opened(".", write | os.O_TMPFILE),
        "os.open Path": lambda: opened(PurePosixPath("f"), write),
        # names
        "os.remove": lambda: os.remove("f"),
        "os.unlink dir_fd": lambda: os.unlink(b"f", dir_fd=s.dir),
        "os.remove Custom": lambda: os.remove(Custom("f")),
        "os.remove DirEntry": lambda: os.remove(s.entry("f")),
        "Path.unlink": lambda: Path("f").unlink(),
        "os.rmdir": lambda: os.rmdir("empty"),
        "os.rmdir dir_fd": lambda: os.rmdir("empty", dir_fd=s.dir),
        "os.rename": lambda: os.rename("f", "g"),
        "os.rename dir_fds": lambda: os.rename("f", "g", src_dir_fd=s.dir, dst_dir_fd=s.dir),
        "os.rename dst_dir_fd": lambda: os.rename(b"f", Custom("g"), dst_dir_fd=s.dir),
        "os.replace": lambda: os.replace("f", "g"),
        "os.mkdir": lambda: os.mkdir("d"),
        "os.mkdir dir_fd": lambda: os.mkdir("d", 0o700, dir_fd=s.dir),
        "os.link": lambda: os.link("f", "h"),
        "os.link src_dir_fd": lambda: os.link("f", "h", src_dir_fd=s.dir),
        "os.link dst_dir_fd": lambda: os.link("f", "h", dst_dir_fd=s.dir),
        "os.link symlink": lambda: os.link("link", "h"),
        "os.symlink": lambda: os.symlink("f", "new"),
        "os.symlink dir_fd": lambda: os.symlink("f", b"new", dir_fd=s.dir),
        # content and attributes
        "os.truncate": lambda: os.truncate("f", 1),
        "os.truncate descriptor": lambda: os.truncate(s.file, 1),
        "os.ftruncate": lambda: os.ftruncate(s.file, 1),
        "os.chmod": lambda: os.chmod("f", 0o600),
        "os.chmod dir_fd": lambda: os.chmod(Custom("f"), 0o600, dir_fd=s.dir),
        "os.chmod descriptor": lambda: os.chmod(s.file, 0o600),
        "os.fchmod": lambda: os.fchmod(s.reading, 0o600),
        "os.chown": lambda: os.chown("f", os.getuid(), -1),
        "os.chown dir_fd": lambda: os.chown("f", os.getuid(), -1, dir_fd=s.dir),
        "os.lchown": lambda: os.lchown("link", os.getuid(), -1),
        "os.fchown": lambda: os.fchown(s.file, os.getuid(), -1),
        "os.utime": lambda: os.utime("f", (1, 1)),
        "os.utime ns dir_fd": lambda: os.utime(b"f", ns=(1, 1), dir_fd=s.dir),
        "os.utime descriptor": lambda: os.utime(s.file),
        "os.setxattr": lambda: os.setxattr("f", "user.x", b"1"),
        "os.setxattr descriptor": lambda: os.setxattr(s.file, "user.x", b"1"),
        "os.removexattr": lambda: [os.setxattr("f", "user.x", b"1"), os.removexattr("f", "user.x")],
        "mmap": lambda: mmap.mmap(s.file, 0).close(),
        "mmap write": lambda: mmap.mmap(s.file, 0, access=mmap.ACCESS_WRITE).close(),
        "mmap read": lambda: mmap.mmap(s.file, 0, access=mmap.ACCESS_READ).close(),
        "mmap copy": lambda: mmap.mmap(s.file, 0, access=mmap.ACCESS_COPY).close(),
        "mmap prot": lambda: mmap.mmap(s.reading, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ).close(),
        "mmap private": lambda: mmap.mmap(s.reading, 0, flags=mmap.MAP_PRIVATE).close(),
        "mmap nothing": lambda: mmap.mmap(-1, 10).close(),
        "ioctl read": lambda: fcntl.ioctl(s.file, FS_IOC_GETFLAGS, bytes(8)),
        "ioctl flags": lambda: fcntl.ioctl(s.file, FS_IOC_SETFLAGS, bytes(8)),
        "ioctl clone": lambda: fcntl.ioctl(s.file, FICLONE, s.reading),
        # SQLite
        "sqlite": lambda: connected("new.db"),
        "sqlite bytes": lambda: connected(b"new.db"),
        "sqlite Path": lambda: connected(Path("new.db")),
        "sqlite Custom": lambda: connected(Custom("new.db")),
        "sqlite keyword": lambda: sqlite3.connect(database="new.db").close(),
        "sqlite Connection": lambda: sqlite3.Connection("new.db").close(),
        "sqlite memory": lambda: connected(":memory:"),
        "sqlite temporary": lambda: connected(""),
        "sqlite uri": lambda: connected("file:new%2edb", uri=True),
        "sqlite uri Path": lambda: connected(Path("file:new%2edb"), uri=True),
        "sqlite uri absolute": lambda: connected(f"file://localhost{os.getcwd()}/n%C3%A9w.db?cache=private", uri=True),
        "sqlite uri ro": lambda: connected("file:new.db?mode=ro", uri=True),
        "sqlite uri rw": lambda: connected("file:new.db?mode=rw", uri=True),
        "sqlite uri rwc": lambda: connected("file:new.db?mode=rwc#ro", uri=True),
        "sqlite uri escaped ro": lambda: connected("file:new.db?mode=r%6F", uri=True),
        "sqlite uri memory": lambda: connected("file:shared?mode=memory&cache=shared", uri=True),
        "sqlite uri memdb": lambda: connected("file:/shared?vfs=memdb", uri=True),
        "sqlite uri immutable": lambda: connected("file:new.db?immutable=1", uri=True),
        "sqlite uri null": lambda: connected("file:new.db%00.bak", uri=True),
        "sqlite uri fragment": lambda: connected("file:new.db#?mode=ro", uri=True),
        # sockets
        "bind": lambda: bound("sock"),
        "bind bytes": lambda: bound(b"sock"),
        "bind bytearray": lambda: bound(bytearray(b"sock")),
        "bind null": lambda: bound("sock\0rest"),
        "bind abstract": lambda: bound(b"\0session-guard-%d" % os.getpid()),
        "bind unnamed": lambda: bound(""),
        "bind inet": lambda: bound(("127.0.0.1", 0), socket.AF_INET),
        # the standard library on top of these
        "shutil.copyfile": lambda: shutil.copyfile("f", "new"),
        "shutil.move": lambda: shutil.move("f", "new"),
        "shutil.rmtree": lambda: shutil.rmtree("empty"),
        "os.makedirs": lambda: os.makedirs("d/e"),
        # operations without an event
        "os.mkfifo": lambda: os.mkfifo("new"),
        "os.mknod": lambda: os.mknod("new"),
        "os.write": lambda: os.write(s.file, b"x"),
        "os.pwrite": lambda: os.pwrite(s.file, b"x", 0),
        "os.posix_fallocate": lambda: os.posix_fallocate(s.file, 0, 100),
    }


def main() -> None:
    """Run all operations in the working directory, which must be empty, and print what was seen."""
    scene = Scene()
    recorder = Recorder(scene)
    results: dict[str, object] = {}
    for name in operations(scene):
        for fd in scene.names:
            os.close(fd)
        fresh = Scene()
        scene.names, recorder.scene = fresh.names, fresh
        operation = operations(fresh)[name]
        before = fresh.state()
        recorder.found, recorder.events, error = [], [], ""
        try:
            operation()
        except Exception as problem:
            error = type(problem).__name__
        intents, recorder.found = recorder.found, None
        results[name] = {
            "events": recorder.events,
            "intents": intents,
            "error": error,
            "changed": fresh.state() != before,
        }
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
