"""Naming the target in a roundabout way: links, dots, descriptors in ``/proc``, odd bytes, ancestors and aliases."""

from __future__ import annotations

import glob
import io
import os
import shutil
import subprocess
from pathlib import Path

from ..vector import Scene, vector


def _spoil(path: str | bytes | Path) -> None:
    with open(path, "w") as stream:
        stream.write("gone")


NAMESPACE_REFUSED = "the kernel refuses the namespace or mount that it begins with, so no file is ever tried"


@vector("path")
def path_double_slash(s: Scene) -> None:
    _spoil(f"/{s.home}//.prot///notes.txt")


@vector("path")
def path_dot_components(s: Scene) -> None:
    _spoil(f"{s.prot}/./sub/../././notes.txt")


@vector("path")
def path_dotdot_from_tmp(s: Scene) -> None:
    _spoil(f"{s.tmp}/../home/.prot/notes.txt")


@vector("path")
def path_symlink_parent(s: Scene) -> None:
    os.symlink(s.prot, s.tmp / "alias")
    _spoil(s.tmp / "alias" / "notes.txt")


@vector("path")
def path_symlink_chain(s: Scene) -> None:
    os.symlink(s.home, s.tmp / "first")
    os.symlink("first/.prot", s.tmp / "second")
    os.symlink("second/notes.txt", s.tmp / "third")
    _spoil(s.tmp / "third")


@vector("path")
def path_symlink_then_dotdot(s: Scene) -> None:
    os.symlink(s.prot / "sub", s.tmp / "alias")
    (s.tmp / "notes.txt").write_text("harmless twin for a reader that drops 'alias/..' as text")
    _spoil(f"{s.tmp}/alias/../notes.txt")


@vector("path")
def path_symlink_inside_tree(s: Scene) -> None:
    _spoil(s.prot / "link")


@vector("path")
def path_dangling_symlink_creates(s: Scene) -> None:
    os.symlink(s.prot / "fresh.txt", s.tmp / "dangling")
    _spoil(s.tmp / "dangling")


@vector("path")
def path_relative_from_rootdir(s: Scene) -> None:
    _spoil(os.path.relpath(s.notes))


@vector("path")
def path_chdir_relative_remove(s: Scene) -> None:
    os.chdir(s.prot)
    os.remove("notes.txt")


@vector("path")
def path_chdir_parent_relative(s: Scene) -> None:
    os.chdir(s.prot / "sub")
    _spoil("../notes.txt")


@vector("path")
def path_fchdir_relative(s: Scene) -> None:
    os.fchdir(os.open(s.prot, os.O_RDONLY))
    _spoil("notes.txt")


@vector("path")
def path_proc_self_cwd(s: Scene) -> None:
    os.chdir(s.prot)
    _spoil("/proc/self/cwd/notes.txt")


@vector("path")
def path_proc_thread_self_cwd(s: Scene) -> None:
    os.chdir(s.prot)
    _spoil("/proc/thread-self/cwd/notes.txt")


@vector("path")
def path_proc_self_root(s: Scene) -> None:
    _spoil(f"/proc/self/root{s.notes}")


@vector("path")
def path_proc_child_root(s: Scene) -> None:
    child = subprocess.Popen(["sleep", "5"])
    try:
        _spoil(f"/proc/{child.pid}/root{s.notes}")
    finally:
        child.kill()
        child.wait()


@vector("path", needs=("root",))
def path_proc_parent_root(s: Scene) -> None:
    _spoil(f"/proc/{os.getppid()}/root{s.notes}")


@vector("path")
def path_proc_fd_directory(s: Scene) -> None:
    directory = os.open(s.prot, os.O_RDONLY)
    _spoil(f"/proc/self/fd/{directory}/notes.txt")


@vector("path")
def path_proc_pid_fd_directory(s: Scene) -> None:
    directory = os.open(s.prot, os.O_RDONLY)
    os.remove(f"/proc/{os.getpid()}/fd/{directory}/notes.txt")


@vector("path")
def path_case_variant(s: Scene) -> None:
    _spoil(s.prot / "NOTES.TXT")


@vector("path")
def path_non_utf8_bytes(s: Scene) -> None:
    _spoil(os.fsencode(s.prot) + b"/\xff\xfe")


@vector("path")
def path_surrogateescape(s: Scene) -> None:
    _spoil(f"{s.prot}/caf\udce9")


@vector("path")
def path_newline_and_escape(s: Scene) -> None:
    _spoil(f"{s.prot}/a\n\x1b[31mb")


@vector("path")
def path_long_name(s: Scene) -> None:
    _spoil(s.prot / ("n" * 255))


@vector("path")
def path_beyond_path_max(s: Scene) -> None:
    os.chdir(s.prot)
    for _ in range(25):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    _spoil("deep.txt")


@vector("path")
def path_trailing_slash_mkdir(s: Scene) -> None:
    os.mkdir(f"{s.prot}/newdir/")


@vector("path")
def path_trailing_slash_rmdir(s: Scene) -> None:
    os.rmdir(f"{s.prot}/emptydir///")


@vector("path")
def path_home_changed_first(s: Scene) -> None:
    os.environ["HOME"] = str(s.tmp)
    _spoil(s.notes)


@vector("path")
def path_bytes_remove_after_chdir_root(s: Scene) -> None:
    os.chdir("/")
    os.remove(os.fsencode(s.notes).lstrip(b"/"))


@vector("path")
def rename_ancestor_directory(s: Scene) -> None:
    os.rename(s.home, s.base / "elsewhere")


@vector("path")
def rename_ancestor_and_replace(s: Scene) -> None:
    os.rename(s.home, s.base / "elsewhere")
    os.mkdir(s.home)


@vector("path")
def rmtree_ancestor(s: Scene) -> None:
    shutil.rmtree(s.home)


@vector("path")
def move_away_change_move_back(s: Scene) -> None:
    os.rename(s.prot / "sub", s.tmp / "sub")
    _spoil(s.tmp / "sub" / "b.txt")
    os.rename(s.tmp / "sub", s.prot / "sub")


@vector("path")
def glob_through_symlink_remove(s: Scene) -> None:
    os.symlink(s.prot, s.tmp / "workspace")
    for name in glob.glob(f"{s.tmp}/workspace/*.txt"):
        os.remove(name)


@vector("path")
def rmtree_of_symlink_target(s: Scene) -> None:
    os.symlink(s.prot, s.tmp / "workspace")
    shutil.rmtree(os.path.realpath(s.tmp / "workspace"))


class _LyingStr(str):
    """Says it is somewhere else whenever Python code asks; the C code of ``os`` reads the real characters."""

    def __str__(self) -> str:
        return "/tmp/harmless"

    def __fspath__(self) -> str:
        return "/tmp/harmless"

    def startswith(self, *_: object) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 1


@vector("path")
def str_subclass_lies_remove(s: Scene) -> None:
    os.remove(_LyingStr(s.notes))


@vector("path")
def str_subclass_lies_open(s: Scene) -> None:
    with open(_LyingStr(s.notes), "w") as stream:
        stream.write("gone")


class _LyingBytes(bytes):
    """As the str that lies, for bytes."""

    def decode(self, *_: object) -> str:
        return "/tmp/harmless"

    def startswith(self, *_: object) -> bool:
        return False


@vector("path")
def bytes_subclass_lies_remove(s: Scene) -> None:
    os.remove(_LyingBytes(os.fsencode(s.notes)))


class _Fickle:
    """A path object that names a harmless file first and the real one from then on."""

    def __init__(self, first: Path, later: Path) -> None:
        self.answers = [str(first)]
        self.later = str(later)

    def __fspath__(self) -> str:
        return self.answers.pop() if self.answers else self.later


@vector("path")
def pathlike_fickle_open(s: Scene) -> None:
    target = _Fickle(s.tmp / "harmless", s.notes)
    os.fspath(target)
    with open(target, "w") as stream:
        stream.write("gone")


@vector("path")
def pathlike_plain_file_io(s: Scene) -> None:
    class Plain:
        def __fspath__(self) -> str:
            return str(s.notes)

    with io.FileIO(Plain(), "w") as stream:
        stream.write(b"gone")


@vector("path")
def pathlike_plain_remove(s: Scene) -> None:
    class Plain:
        def __fspath__(self) -> bytes:
            return os.fsencode(s.notes)

    os.remove(Plain())


@vector("path")
def hard_link_alias_made_now(s: Scene) -> None:
    os.link(s.notes, s.tmp / "alias.txt")
    _spoil(s.tmp / "alias.txt")


def _earlier_alias(s: Scene) -> None:
    os.link(s.notes, s.tmp / "alias.txt")


@vector(
    "path", setup=_earlier_alias, beyond="a hard link made earlier by others is the same file under a writable name"
)
def hard_link_alias_made_earlier(s: Scene) -> None:
    _spoil(s.tmp / "alias.txt")


@vector(
    "path", setup=_earlier_alias, beyond="a hard link made earlier by others is the same file under a writable name"
)
def hard_link_alias_made_earlier_shell(s: Scene) -> None:
    subprocess.run(["sh", "-c", 'echo gone > "$0"', str(s.tmp / "alias.txt")], check=False)


def _earlier_symlink(s: Scene) -> None:
    os.symlink(s.prot, s.tmp / "old-alias")


@vector("path", setup=_earlier_symlink)
def symlink_alias_made_earlier(s: Scene) -> None:
    _spoil(s.tmp / "old-alias" / "notes.txt")


@vector("path", setup=_earlier_symlink)
def symlink_alias_made_earlier_shell(s: Scene) -> None:
    subprocess.run(["rm", "-r", f"{s.tmp}/old-alias/"], check=False)
    subprocess.run(["rm", str(s.tmp / "old-alias" / "notes.txt")], check=False)


def _home_is_a_link(s: Scene) -> None:
    os.rename(s.home, s.base / "real-home")
    os.symlink("real-home", s.home)


@vector("path", setup=_home_is_a_link)
def home_is_a_symlink_real_path(s: Scene) -> None:
    _spoil(s.base / "real-home" / ".prot" / "notes.txt")


@vector("path", setup=_home_is_a_link)
def home_is_a_symlink_link_path(s: Scene) -> None:
    os.remove(s.notes)


@vector("path", setup=_home_is_a_link)
def home_is_a_symlink_shell(s: Scene) -> None:
    subprocess.run(["rm", str(s.notes)], check=False)


@vector("path", setup=_home_is_a_link)
def home_symlink_itself_replaced(s: Scene) -> None:
    os.mkdir(s.tmp / "new-home")
    os.remove(s.home)
    os.symlink(s.tmp / "new-home", s.home)


def _prot_is_a_link(s: Scene) -> None:
    os.rename(s.prot, s.base / "real-prot")
    os.symlink("../real-prot", s.prot)


@vector("path", setup=_prot_is_a_link, protects=lambda s: [str(s.prot)])
def protected_root_is_a_symlink(s: Scene) -> None:
    _spoil(s.base / "real-prot" / "notes.txt")


@vector("path", setup=_prot_is_a_link, protects=lambda s: [str(s.prot)])
def protected_root_is_a_symlink_shell(s: Scene) -> None:
    subprocess.run(["rm", str(s.notes)], check=False)


@vector("path", needs=("root", "mount"), beyond=NAMESPACE_REFUSED)
def bind_mount_made_now(s: Scene) -> None:
    os.mkdir(s.tmp / "bound")
    subprocess.run(["unshare", "-m", "sh", "-c", 'mount --bind "$0" "$1" && echo gone > "$1/notes.txt"', str(s.prot),
                    str(s.tmp / "bound")], check=False)  # fmt: skip


@vector("path", needs=("root", "mount"), beyond=NAMESPACE_REFUSED)
def unmount_everything_then_write(s: Scene) -> None:
    script = 'umount -l "$0"; umount -l "$0/.prot"; mount -o remount,rw,bind "$0"; echo gone > "$0/.prot/notes.txt"'
    subprocess.run(["unshare", "-m", "sh", "-c", script, str(s.home)], check=False, stderr=subprocess.DEVNULL)


@vector("path", needs=("user_namespaces",))
def nested_user_namespace_remount(s: Scene) -> None:
    script = 'mount -o remount,rw,bind / 2>/dev/null; umount -l "$0" 2>/dev/null; echo gone > "$0/.prot/notes.txt"'
    subprocess.run(["unshare", "-rm", "sh", "-c", script, str(s.home)], check=False, stderr=subprocess.DEVNULL)


@vector("path", needs=("root", "tool:nsenter"), beyond=NAMESPACE_REFUSED)
def nsenter_parent_mount_namespace(s: Scene) -> None:
    script = 'echo gone > "$0"'
    subprocess.run(["nsenter", f"--mount=/proc/{os.getppid()}/ns/mnt", "sh", "-c", script, str(s.notes)], check=False)
