"""Every operation that the hook refuses, as a line of a test, with what it would hit.

Each operation gets a protected directory of its own (``d`` in its code), laid out as `LAYOUT`, so that one run of pytest tries
them all and a run without the guard shows the damage of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import indent
from typing import Final

from capabilities import user_xattrs
from project import SQLITE

LAYOUT: Final[Mapping[str, object]] = {
    "notes.txt": "notes of a person\n",
    "other.txt": "other notes\n",
    "sub/deep.txt": "deep\n",
    "empty": None,
    "state.db": SQLITE,
    "link": "->notes.txt",
    "out": "->../../../tmp",
    "byte-\udcff.txt": "not UTF-8\n",
}


@dataclass(frozen=True)
class Operation:
    """One way to change something.

    :param act: the line that must be refused; it is the test's last line.
    :param event: the audit event that the touch names.
    :param hits: the path that the touch names, relative to ``d``.
    :param before: harmless lines that lead up to it.
    """

    name: str
    act: str
    event: str
    hits: str = "notes.txt"
    before: Sequence[str] = ()

    @property
    def lines(self) -> list[str]:
        """The test's body."""
        return [f"d = PROTECTED / {self.name!r}", *self.before, self.act]


DIRECTORY_FD: Final = ("fd = os.open(d, os.O_RDONLY | os.O_DIRECTORY)",)
READ_FD: Final = ("fd = os.open(d / 'notes.txt', os.O_RDONLY)",)
INSIDE: Final = ("monkeypatch.chdir(d / 'sub')",)
PARENT_LINK: Final = ("(tmp_path / 'way').symlink_to(d)",)
LEAF_LINK: Final = ("(tmp_path / 'leaf').symlink_to(d / 'notes.txt')",)

ALL: Final = (
    # open, in all its forms
    Operation("open_w", "open(d / 'notes.txt', 'w')", "open"),
    Operation("open_a", "open(d / 'notes.txt', 'a').write('x')", "open"),
    Operation("open_r_plus", "open(d / 'notes.txt', 'r+').write('x')", "open"),
    Operation("open_x", "open(d / 'new.txt', 'x')", "open", "new.txt"),
    Operation("open_bytes", "open(os.fsencode(d / 'notes.txt'), 'wb')", "open"),
    Operation("open_not_utf8", r"open(os.fsencode(d) + b'/byte-\xff.txt', 'wb')", "open", "byte-\udcff.txt"),
    Operation("open_str", "open(str(d / 'notes.txt'), 'w')", "open"),
    Operation("open_dotdot", "open(f'{d}/sub/../notes.txt', 'w')", "open"),
    Operation("open_slashes", "open(f'{d}//sub///deep.txt', 'w')", "open", "sub/deep.txt"),
    Operation("open_relative", "open('../notes.txt', 'w')", "open", before=INSIDE),
    Operation("open_symlink", "open(d / 'link', 'w')", "open"),
    Operation("open_symlinked_parent", "open(tmp_path / 'way' / 'notes.txt', 'w')", "open", before=PARENT_LINK),
    Operation("open_symlink_outside", "open(tmp_path / 'leaf', 'w')", "open", before=LEAF_LINK),
    Operation(
        "open_dangling_symlink",
        "open(tmp_path / 'dangling', 'w')",
        "open",
        "new.txt",
        before=("(tmp_path / 'dangling').symlink_to(d / 'new.txt')",),
    ),
    Operation("io_fileio", "io.FileIO(d / 'notes.txt', 'w')", "open"),
    Operation("os_open_trunc", "os.open(d / 'notes.txt', os.O_WRONLY | os.O_TRUNC)", "open"),
    Operation("os_open_rdonly_trunc", "os.open(d / 'notes.txt', os.O_RDONLY | os.O_TRUNC)", "open"),
    Operation("os_open_creat", "os.open(d / 'new.txt', os.O_WRONLY | os.O_CREAT | os.O_EXCL)", "open", "new.txt"),
    Operation("os_open_rdwr", "os.write(os.open(d / 'notes.txt', os.O_RDWR), b'x')", "open"),
    Operation(
        "os_open_dir_fd", "os.open('notes.txt', os.O_WRONLY | os.O_TRUNC, dir_fd=fd)", "open", before=DIRECTORY_FD
    ),
    Operation(
        "os_open_dir_fd_dotdot",
        "os.open('../notes.txt', os.O_WRONLY | os.O_TRUNC, dir_fd=fd)",
        "open",
        before=("fd = os.open(d / 'sub', os.O_RDONLY | os.O_DIRECTORY)",),
    ),
    Operation(
        "open_opener",
        "open('notes.txt', 'w', opener=lambda path, flags: os.open(path, flags, dir_fd=fd))",
        "open",
        before=DIRECTORY_FD,
    ),
    Operation(
        "reopen_by_fd", "open(f'/proc/self/fd/{fd}', 'w')", "open", before=READ_FD
    ),
    Operation("path_write_text", "(d / 'notes.txt').write_text('x')", "open"),
    Operation("path_touch_new", "(d / 'new.txt').touch()", "open", "new.txt"),
    Operation("json_dump", "json.dump({}, open(d / 'notes.txt', 'w'))", "open"),
    Operation("gzip_open", "gzip.open(d / 'notes.txt', 'wb')", "open"),
    Operation("logging_handler", "logging.FileHandler(d / 'notes.txt', mode='w')", "open"),
    Operation("zipfile", "zipfile.ZipFile(d / 'notes.txt', 'w')", "open"),
    Operation("dbm_dumb", "dbm.dumb.open(str(d / 'new'), 'n')", "open", "new.dat"),
    Operation("tempfile_inside", "tempfile.NamedTemporaryFile(dir=d, delete=False)", "open", "*"),
    # names go
    Operation("remove", "os.remove(d / 'notes.txt')", "os.remove"),
    Operation("unlink_dir_fd", "os.unlink('notes.txt', dir_fd=fd)", "os.remove", before=DIRECTORY_FD),
    Operation("unlink_symlink", "os.unlink(d / 'link')", "os.remove", "link"),
    Operation("path_unlink", "(d / 'notes.txt').unlink()", "os.remove"),
    Operation("rmdir", "os.rmdir(d / 'empty')", "os.rmdir", "empty"),
    Operation("rmdir_slash", "os.rmdir(f'{d}/empty/')", "os.rmdir", "empty"),
    Operation("rmdir_dir_fd", "os.rmdir('empty', dir_fd=fd)", "os.rmdir", "empty", before=DIRECTORY_FD),
    Operation("rmtree", "shutil.rmtree(d / 'sub')", "os.remove", "sub/deep.txt"),
    Operation("rmtree_ignore_errors", "shutil.rmtree(d / 'sub', ignore_errors=True)", "os.remove", "sub/deep.txt"),
    # names move
    Operation("rename_within", "os.rename(d / 'notes.txt', d / 'new.txt')", "os.rename"),
    Operation("rename_away", "os.rename(d / 'notes.txt', tmp_path / 'taken')", "os.rename"),
    Operation(
        "replace_over",
        "os.replace(tmp_path / 'mine', d / 'notes.txt')",
        "os.rename",
        before=("(tmp_path / 'mine').write_text('mine')",),
    ),
    Operation(
        "rename_into",
        "os.rename(tmp_path / 'mine', d / 'new.txt')",
        "os.rename",
        "new.txt",
        before=("(tmp_path / 'mine').write_text('mine')",),
    ),
    Operation(
        "rename_dir_fds",
        "os.rename('notes.txt', 'new.txt', src_dir_fd=fd, dst_dir_fd=fd)",
        "os.rename",
        before=DIRECTORY_FD,
    ),
    Operation("rename_itself", "os.rename(d, tmp_path / 'taken')", "os.rename", ""),
    Operation("shutil_move", "shutil.move(d / 'notes.txt', tmp_path)", "os.rename"),
    Operation("copyfile_over", "shutil.copyfile(d / 'other.txt', d / 'notes.txt')", "open"),
    Operation("copy2_into", "shutil.copy2(d / 'other.txt', d / 'new.txt')", "open", "new.txt"),
    Operation("copytree_into", "shutil.copytree(d / 'sub', d / 'twin')", "os.mkdir", "twin"),
    Operation("make_archive", "shutil.make_archive(str(d / 'new'), 'tar', d / 'sub')", "open", "new.tar"),
    # names come
    Operation("mkdir", "os.mkdir(d / 'new')", "os.mkdir", "new"),
    Operation("mkdir_dir_fd", "os.mkdir('new', dir_fd=fd)", "os.mkdir", "new", before=DIRECTORY_FD),
    Operation("makedirs", "os.makedirs(d / 'new' / 'deeper')", "os.mkdir", "new"),
    Operation("mkdtemp", "tempfile.mkdtemp(dir=d)", "os.mkdir", "*"),
    Operation("symlink", "os.symlink('notes.txt', d / 'new')", "os.symlink", "new"),
    Operation("symlink_dir_fd", "os.symlink('notes.txt', 'new', dir_fd=fd)", "os.symlink", "new", before=DIRECTORY_FD),
    Operation("link_into", "os.link(d / 'notes.txt', d / 'new')", "os.link"),
    Operation("link_out", "os.link(d / 'notes.txt', tmp_path / 'alias')", "os.link"),
    Operation(
        "link_dir_fds", "os.link('notes.txt', 'new', src_dir_fd=fd, dst_dir_fd=fd)", "os.link", before=DIRECTORY_FD
    ),
    Operation("mkfifo", "os.mkfifo(d / 'new')", "os.mkfifo", "new"),
    Operation("mkfifo_dir_fd", "os.mkfifo('new', dir_fd=fd)", "os.mkfifo", "new", before=DIRECTORY_FD),
    Operation("mknod", "os.mknod(d / 'new')", "os.mknod", "new"),
    Operation("unix_socket", "socket.socket(socket.AF_UNIX).bind('new')", "socket.bind", "new", before=("monkeypatch.chdir(d)",)),
    # what is there changes
    Operation("truncate", "os.truncate(d / 'notes.txt', 0)", "os.truncate"),
    Operation("chmod", "os.chmod(d / 'notes.txt', 0o600)", "os.chmod"),
    Operation("chmod_dir_fd", "os.chmod('notes.txt', 0o600, dir_fd=fd)", "os.chmod", before=DIRECTORY_FD),
    Operation("chmod_directory", "os.chmod(d, 0o700)", "os.chmod", ""),
    Operation("fchmod", "os.fchmod(fd, 0o600)", "os.chmod", before=READ_FD),
    Operation("chown", "os.chown(d / 'notes.txt', -1, os.getgid())", "os.chown"),
    Operation("fchown", "os.fchown(fd, -1, os.getgid())", "os.chown", before=READ_FD),
    Operation("lchown", "os.lchown(d / 'link', -1, os.getgid())", "os.chown", "link"),
    Operation("utime", "os.utime(d / 'notes.txt', (1, 1))", "os.utime"),
    Operation("utime_fd", "os.utime(fd, (1, 1))", "os.utime", before=READ_FD),
    Operation("utime_link_itself", "os.utime(d / 'link', (1, 1), follow_symlinks=False)", "os.utime", "link"),
    Operation("utime_link_that_leads_out", "os.utime(d / 'out', (1, 1), follow_symlinks=False)", "os.utime", "out"),
    Operation("path_touch", "(d / 'notes.txt').touch()", "os.utime|open"),
    Operation("setxattr", "os.setxattr(d / 'notes.txt', 'user.mark', b'x')", "os.setxattr"),
    Operation("setxattr_fd", "os.setxattr(fd, 'user.mark', b'x')", "os.setxattr", before=READ_FD),
    Operation("removexattr", "os.removexattr(d / 'notes.txt', 'user.standing')", "os.removexattr"),
    Operation("copystat", "shutil.copystat(d / 'sub', d / 'notes.txt')", "os.utime|os.chmod"),
    # sqlite
    Operation(
        "sqlite_connect",
        "sqlite3.connect(d / 'state.db').execute('delete from talk').connection.commit()",
        "sqlite3.connect",
        "state.db",
    ),
    Operation("sqlite_new", "sqlite3.connect(str(d / 'new.db')).execute('create table t (x)')", "sqlite3.connect", "new.db"),
    Operation(
        "sqlite_uri",
        "sqlite3.connect(f'file:{d}/st%61te.db?mode=rw', uri=True).execute('delete from talk').connection.commit()",
        "sqlite3.connect",
        "state.db",
    ),
)  # fmt: skip

OPERATIONS: Final = tuple(op for op in ALL if user_xattrs() or "xattr" not in op.name)

NO_CHANGE_UNGUARDED: Final = frozenset({"chown", "fchown", "lchown"})
"""A file given to the group that it has already: nothing but its status time would differ."""

IMPORTS: Final = """\
import dbm.dumb, gzip, io, json, logging, os, shutil, socket, sqlite3, tempfile, zipfile
from pathlib import Path

PROTECTED = Path.home() / ".chat"
"""


def home_for(operations: Sequence[Operation]) -> dict[str, object]:
    """A home with a protected directory for each operation."""
    return {f".chat/{op.name}/{name}": content for op in operations for name, content in LAYOUT.items()}


def suite_of(operations: Sequence[Operation]) -> tuple[str, dict[str, int]]:
    """A test file with one test for each operation, and the line of each act."""
    text, acts = IMPORTS, {}
    for op in operations:
        text += f"\n\ndef test_{op.name}(tmp_path, monkeypatch):\n" + indent("\n".join(op.lines), "    ")
        acts[op.name] = text.count("\n") + 1
    return text + "\n", acts
