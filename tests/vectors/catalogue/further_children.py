"""More programs, in a tree that makes it hard to see afterwards: odd names, locked directories, copies without a difference."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
from pathlib import Path

from ..vector import Scene, vector
from .natives import libc


def _shell(s: Scene, script: str) -> None:
    environment = {**os.environ, "P": str(s.prot), "T": str(s.tmp)}
    subprocess.run(
        ["bash", "-c", script],
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=20,
    )


def _shell_vector(name: str, script: str, *needs: str) -> None:
    def act(s: Scene) -> None:
        _shell(s, script)

    act.__name__ = name
    vector("child", needs=("tool:bash", *needs))(act)


for _name, _script, *_needs in [
    (
        "sh_same_size_times_restored",
        'cp -p "$P/notes.txt" "$T/n"; printf X | dd of="$P/notes.txt" conv=notrunc; touch -r "$T/n" "$P/notes.txt"',
    ),
    ("sh_same_bytes_written_again", 'cat "$P/notes.txt" > "$T/n"; cat "$T/n" > "$P/notes.txt"'),
    ("sh_replaced_by_an_equal_copy", 'cp -p "$P/notes.txt" "$T/n"; mv -f "$T/n" "$P/notes.txt"'),
    ("sh_removed_and_put_back", 'cp -p "$P/notes.txt" "$T/n"; rm "$P/notes.txt"; cp -p "$T/n" "$P/notes.txt"'),
    ("sh_touch_directory_back", 'touch -d @5 "$P/sub"'),
    ("sh_removed_in_locked_directory", 'rm "$P/sub/b.txt"; chmod 000 "$P/sub"'),
    ("sh_locked_root", 'rm "$P/sub/b.txt"; chmod 000 "$P"'),
    ("sh_directory_replaced_by_fresh_one", 'rm -r "$P/sub"; mkdir "$P/sub"'),
    ("sh_file_replaced_by_directory", 'rm "$P/notes.txt"; mkdir "$P/notes.txt"'),
    ("sh_directory_replaced_by_file", 'rm -r "$P/sub"; echo x > "$P/sub"'),
    ("sh_symlink_replaced_by_equal_file", 'rm "$P/link"; cp "$P/notes.txt" "$P/link"'),
    ("sh_name_of_newline", 'echo x > "$P/a\nb"'),
    ("sh_name_that_is_not_utf8", "echo x > \"$P/$(printf 'caf\\351')\""),
    ("sh_name_of_255_bytes", "echo x > \"$P/$(printf 'n%.0s' $(seq 255))\""),
    (
        "sh_deeper_than_path_max",
        'cd "$P"; d=$(printf "d%.0s" $(seq 200)); for i in $(seq 25); do mkdir $d; cd -P ./$d; done; echo x > deep.txt',
    ),
    ("sh_many_files", 'cd "$P/sub"; for i in $(seq 3000); do : > f$i; done'),
    ("sh_name_like_a_whiteout", 'echo x > "$P/.wh.notes.txt"'),
    ("sh_setfattr_remove", 'setfattr -x user.origin "$P/data.bin"', "tool:setfattr", "xattr"),
    ("sh_setfattr_of_overlay", 'setfattr -n user.overlay.opaque -v y "$P/sub"', "tool:setfattr", "xattr"),
    ("sh_chattr_version", 'chattr -v 7 "$P/notes.txt"', "tool:chattr", "chattr"),
    ("sh_touch_symlink_itself", 'touch -h -d @5 "$P/link"'),
    ("sh_unlink_through_proc", 'exec 3< "$P"; rm /proc/self/fd/3/notes.txt 2> /dev/null; rm "/proc/$$/fd/3/notes.txt"'),
    ("sh_through_proc_root", 'rm "/proc/self/root$P/notes.txt"'),
    ("sh_background_for_seconds", '(setsid sh -c \'sleep 3; rm "$0"\' "$P/notes.txt" &)'),
    (
        "sh_left_in_the_background_stopped",
        'setsid sh -c \'kill -STOP $$; rm "$0"\' "$P/notes.txt" & sleep 0.3; (sleep 1; kill -CONT $!) &',
    ),
    ("sh_history_written", 'HISTFILE="$P/history"; set -o history; history -s secret; history -w'),
    ("sh_gpg_home", "gpg --batch --list-keys", "tool:gpg"),
    ("sh_git_trace_file", 'GIT_TRACE="$P/trace" git --version', "tool:git"),
    ("sh_user_namespace_remove", 'unshare -r rm "$P/notes.txt"', "tool:unshare", "user_namespaces"),
    ("sh_mount_namespace_link_out", 'unshare -rm ln "$P/notes.txt" "$T/twin"', "tool:unshare", "user_namespaces"),
    ("sh_process_namespace_link_out", 'unshare -rpf ln "$P/notes.txt" "$T/twin"', "tool:unshare", "user_namespaces"),
    ("sh_process_namespace_remove", 'unshare -rpf --mount-proc rm "$P/notes.txt"', "tool:unshare", "user_namespaces"),
    ("sh_busy_home_renamed", 'mv -T "$HOME" "$T/home"'),
]:
    _shell_vector(_name, _script, *_needs)


def _empty_file(s: Scene) -> None:
    (s.prot / "empty").write_text("")


@vector("child", setup=_empty_file)
def sh_truncate_empty_file(s: Scene) -> None:
    _shell(s, ': > "$P/empty"')


def _bytecode(s: Scene) -> None:
    (s.prot / "__pycache__").mkdir()
    (s.prot / "__pycache__" / "tool.cpython-311.pyc").write_bytes(b"old")


@vector("child", setup=_bytecode)
def sh_bytecode_removed(s: Scene) -> None:
    _shell(s, 'rm -r "$P/__pycache__"')


@vector("child", setup=_bytecode)
def sh_notes_kept_in_bytecode_directory(s: Scene) -> None:
    _shell(s, 'echo x > "$P/__pycache__/notes.txt"')


@vector("child", needs=("core_dumps",))
def core_dump_into_working_directory(s: Scene) -> None:
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))
    try:
        subprocess.run([sys.executable, "-S", "-c", "import os; os.abort()"], cwd=s.prot, check=False)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, limits)


@vector("child")
def program_from_memory(s: Scene) -> None:
    program = os.memfd_create("rm", 0)
    os.write(program, Path("/bin/rm").read_bytes())
    child = os.fork()
    if child == 0:
        os.execve(f"/proc/self/fd/{program}", ["rm", str(s.notes)], {})
    os.waitpid(child, 0)


@vector("child")
def program_by_descriptor(s: Scene) -> None:
    child = os.fork()
    if child == 0:
        try:
            os.execve(os.open("/bin/rm", os.O_RDONLY), ["rm", str(s.notes)], {})
        finally:
            os._exit(1)
    os.waitpid(child, 0)


@vector("child")
def ctypes_posix_spawn(s: Scene) -> None:
    pid = ctypes.c_int()
    arguments = (ctypes.c_char_p * 3)(b"rm", bytes(s.notes), None)
    libc().posix_spawn(ctypes.byref(pid), b"/bin/rm", None, None, arguments, None)
    os.waitpid(pid.value, 0)


OUTSIDER_REFUSED = "the kernel refuses the way through a process outside the walls, so no file is ever tried"


def _outsider(s: Scene) -> None:
    outsider = subprocess.Popen(["sleep", "6"], start_new_session=True, cwd=s.prot, close_fds=True)
    (s.tmp / "outsider").write_text(str(outsider.pid))


@vector("path", setup=_outsider)
def path_of_an_outsiders_root(s: Scene) -> None:
    os.remove(f"/proc/{(s.tmp / 'outsider').read_text()}/root{s.notes}")


@vector("path", setup=_outsider)
def path_of_an_outsiders_thread_root(s: Scene) -> None:
    pid = (s.tmp / "outsider").read_text()
    os.remove(f"/proc/{pid}/task/{pid}/root{s.notes}")


@vector("path", setup=_outsider, beyond=OUTSIDER_REFUSED)
def path_of_an_outsiders_directory(s: Scene) -> None:
    os.remove(f"/proc/{(s.tmp / 'outsider').read_text()}/cwd/notes.txt")


@vector("path", setup=_outsider, beyond=OUTSIDER_REFUSED)
def path_of_an_outsiders_root_shell(s: Scene) -> None:
    _shell(s, 'rm "/proc/$(cat "$T/outsider")/root$P/notes.txt"')
