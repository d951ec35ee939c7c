"""Programs that are not Python: shells, core utilities, git, compilers' tools, and every way to start them."""

from __future__ import annotations

import _posixsubprocess
import asyncio
import os
import pty
import subprocess
import sys
import time

from ..vector import Scene, vector


def _shell(s: Scene, script: str) -> None:
    """Run ``script`` with the protected tree as ``$P`` and the free directory as ``$T``."""
    environment = {**os.environ, "P": str(s.prot), "T": str(s.tmp)}
    subprocess.run(["sh", "-c", script], env=environment, check=False, stdin=subprocess.DEVNULL, timeout=20)


def _shell_vector(name: str, script: str, *needs: str) -> None:
    """Register one shell script as a vector: most of this family differs in nothing else."""

    def act(s: Scene) -> None:
        _shell(s, script)

    act.__name__ = name
    vector("child", needs=needs)(act)


for _name, _script, *_needs in [
    ("sh_redirect", 'echo gone > "$P/notes.txt"'),
    ("sh_append", 'echo more >> "$P/notes.txt"'),
    ("sh_redirect_colon_truncates", ': > "$P/notes.txt"'),
    ("sh_redirect_read_write", 'exec 3<> "$P/notes.txt"; printf X >&3'),
    ("sh_here_document", 'cat > "$P/new.txt" <<END\nnew\nEND'),
    ("sh_cd_relative", 'cd "$P" && echo gone > notes.txt'),
    ("sh_home_variable", "echo gone > ~/.prot/notes.txt"),
    ("sh_rm", 'rm "$P/notes.txt"'),
    ("sh_rm_rf", 'rm -rf "$P"'),
    ("sh_rm_rf_glob", 'rm -rf "$P"/*'),
    ("sh_rm_rf_unset_variable", 'rm -rf "$HOME/$UNSET"/.prot'),
    ("sh_unlink", 'unlink "$P/notes.txt"'),
    ("sh_rmdir", 'rmdir "$P/emptydir"'),
    ("sh_mv_out", 'mv "$P/notes.txt" "$T/"'),
    ("sh_mv_in_over", 'echo new > "$T/n"; mv -f "$T/n" "$P/notes.txt"'),
    ("sh_mv_directory", 'mv "$P/sub" "$P/bus"'),
    ("sh_cp_over", 'echo new > "$T/n"; cp "$T/n" "$P/notes.txt"'),
    ("sh_cp_remove_destination", 'echo new > "$T/n"; cp --remove-destination "$T/n" "$P/notes.txt"'),
    ("sh_cp_archive_attributes_only", 'touch -d @1 "$T/n"; cp --attributes-only --preserve=all "$T/n" "$P/notes.txt"'),
    ("sh_cp_hard_link_out", 'cp -l "$P/notes.txt" "$T/twin"'),
    ("sh_install", 'echo new > "$T/n"; install -m 600 "$T/n" "$P/notes.txt"'),
    ("sh_tee", 'echo gone | tee "$P/notes.txt" > /dev/null'),
    ("sh_tee_append", 'echo more | tee -a "$P/notes.txt" > /dev/null'),
    ("sh_dd", 'dd if=/dev/zero of="$P/data.bin" bs=1 count=4 conv=notrunc status=none'),
    ("sh_dd_truncates", 'dd if=/dev/null of="$P/data.bin" status=none'),
    ("sh_truncate", 'truncate -s 3 "$P/notes.txt"'),
    ("sh_fallocate_punch_hole", 'fallocate -p -o 0 -l 4096 "$P/data.bin"', "tool:fallocate", "punch_hole"),
    ("sh_shred", 'shred -n 1 "$P/data.bin"'),
    ("sh_split", 'split -b 1000 "$P/data.bin" "$P/part-"'),
    ("sh_sed_in_place", 'sed -i s/a/b/ "$P/notes.txt"'),
    ("sh_sort_onto_itself", 'sort -r -o "$P/notes.txt" "$P/notes.txt"'),
    ("sh_awk_redirect", 'awk -v f="$P/notes.txt" \'BEGIN { print "gone" > f }\''),
    ("sh_ed", 'printf "1d\\nw\\nq\\n" | ed -s "$P/notes.txt"', "tool:ed"),
    ("sh_vim", 'vim -es -u NONE -N -c "normal dd" -c wq "$P/notes.txt"', "tool:vim"),
    ("sh_touch_existing", 'touch "$P/notes.txt"'),
    ("sh_touch_new", 'touch "$P/new.txt"'),
    ("sh_touch_date", 'touch -d "2001-01-01" "$P/notes.txt"'),
    ("sh_touch_access_time", 'touch -a -d "2001-01-01" "$P/notes.txt"'),
    ("sh_chmod", 'chmod 600 "$P/notes.txt"'),
    ("sh_chmod_recursive", 'chmod -R go= "$P"'),
    ("sh_chown", 'chown 12345 "$P/notes.txt"', "root"),
    ("sh_chattr", 'chattr +d "$P/notes.txt"', "tool:chattr", "chattr"),
    ("sh_chattr_immutable", 'chattr +i "$P/sub/b.txt"', "tool:chattr", "chattr", "root"),
    ("sh_setfattr", 'setfattr -n user.mood -v bad "$P/notes.txt"', "tool:setfattr", "xattr"),
    ("sh_setfacl", 'setfacl -m u:4321:rw "$P/notes.txt"', "tool:setfacl", "acl"),
    ("sh_mkdir", 'mkdir "$P/newdir"'),
    ("sh_mkdir_parents", 'mkdir -p "$P/a/b/c"'),
    ("sh_mkfifo", 'mkfifo "$P/pipe"'),
    ("sh_mknod_device", 'mknod "$P/null" c 1 3', "root"),
    ("sh_mktemp", 'mktemp "$P/XXXXXX"'),
    ("sh_ln_hard", 'ln "$P/notes.txt" "$P/twin"'),
    ("sh_ln_hard_out", 'ln "$P/notes.txt" "$T/twin"'),
    ("sh_ln_symbolic_force", 'ln -sf /dev/null "$P/notes.txt"'),
    ("sh_gzip", 'gzip "$P/notes.txt"'),
    (
        "sh_tar_extract_over",
        'echo new > "$T/notes.txt"; tar -C "$T" -cf "$T/n.tar" notes.txt; tar -C "$P" -xf "$T/n.tar"',
    ),
    ("sh_tar_create", 'tar -cf "$P/new.tar" -C "$P" notes.txt'),
    ("sh_tar_remove_files", 'tar --remove-files -C "$P" -cf "$T/n.tar" notes.txt'),
    ("sh_zip_move", 'cd "$P" && zip -qm "$T/n.zip" notes.txt', "tool:zip"),
    ("sh_find_delete", 'find "$P" -name "*.txt" -delete'),
    ("sh_find_exec", 'find "$P" -name "*.txt" -exec rm {} +'),
    ("sh_xargs_rm", 'printf "%s" "$P/notes.txt" | xargs rm'),
    ("sh_perl_in_place", 'perl -pi -e s/a/b/ "$P/notes.txt"', "tool:perl"),
    ("sh_perl_unlink", "perl -e 'unlink \"$ENV{P}/notes.txt\"'", "tool:perl"),
    ("sh_node_write", 'node -e \'require("fs").writeFileSync(process.env.P + "/notes.txt", "gone")\'', "tool:node"),
    ("sh_sqlite3", 'sqlite3 "$P/state.db" "DELETE FROM message"', "tool:sqlite3"),
    ("sh_curl_output", 'echo new > "$T/n"; curl -s -o "$P/notes.txt" "file://$T/n"', "tool:curl"),
    ("sh_rsync_delete", 'mkdir "$T/e"; rsync -r --delete "$T/e/" "$P/"', "tool:rsync"),
    ("sh_busybox_rm", 'busybox rm "$P/notes.txt"', "tool:busybox"),
    (
        "sh_make_clean",
        'printf "clean:\\n\\trm -f $P/notes.txt\\n" > "$T/Makefile"; make -s -f "$T/Makefile" clean',
        "tool:make",
    ),
    ("sh_gcc_output", 'echo "int main(){return 0;}" | gcc -x c -o "$P/a.out" -', "gcc"),
    (
        "sh_git_init_commit",
        'cd "$P" && git init -q && git add -A && git -c user.name=x -c user.email=x@y commit -qm x',
        "tool:git",
    ),
    ("sh_git_config_global", "git config --global user.name clobbered", "tool:git"),
    ("sh_empty_environment", 'env -i sh -c \'rm "$0"\' "$P/notes.txt"'),
    ("sh_setsid_background", 'setsid nohup sh -c \'sleep 0.3; rm "$0"\' "$P/notes.txt" > /dev/null 2>&1 &'),
    ("sh_flock_creates", 'flock "$P/.lock" true', "tool:flock"),
    ("sh_script_in_tmp", 'printf "#!/bin/sh\\nrm $P/notes.txt\\n" > "$T/x.sh"; chmod +x "$T/x.sh"; "$T/x.sh"'),
    ("sh_swallows_and_falls_back", 'rm "$P/notes.txt" || mv "$P/notes.txt" "$T" || echo gone > "$P/notes.txt" || true'),
]:
    _shell_vector(_name, _script, *_needs)


def _repository(s: Scene) -> None:
    """Make the protected tree a git work tree with one commit and one file that is not tracked."""
    _shell(
        s, 'cd "$P" && git init -q && git add notes.txt data.bin && git -c user.name=x -c user.email=x@y commit -qm one'
    )


@vector("child", setup=_repository, needs=("tool:git",))
def git_clean_untracked(s: Scene) -> None:
    _shell(s, 'git -C "$P" clean -fdxq')


@vector("child", setup=_repository, needs=("tool:git",))
def git_commit_all(s: Scene) -> None:
    _shell(s, 'cd "$P" && git add -A && git -c user.name=x -c user.email=x@y commit -qm two')


@vector("child", setup=_repository, needs=("tool:git",))
def git_dir_variable_commit(s: Scene) -> None:
    script = 'cd "$T" && GIT_DIR="$P/.git" git -c user.name=x -c user.email=x@y commit -q --allow-empty -m stray'
    _shell(s, script)


@vector("child", setup=_repository, needs=("tool:git",))
def git_stash_untracked(s: Scene) -> None:
    _shell(s, 'cd "$P" && git -c user.name=x -c user.email=x@y stash -qu')


@vector("child")
def subprocess_run_list(s: Scene) -> None:
    subprocess.run(["rm", str(s.notes)], check=True)


@vector("child")
def subprocess_shell_true(s: Scene) -> None:
    subprocess.run(f"rm '{s.notes}'", shell=True, check=True)


@vector("child")
def subprocess_cwd(s: Scene) -> None:
    subprocess.run(["rm", "notes.txt"], cwd=s.prot, check=True)


@vector("child")
def subprocess_stdout_open_w(s: Scene) -> None:
    with open(s.notes, "w") as stream:
        subprocess.run(["echo", "gone"], stdout=stream, check=True)


@vector("child")
def subprocess_pass_fds(s: Scene) -> None:
    descriptor = os.open(s.notes, os.O_WRONLY)
    script = f"import os; os.write({descriptor}, b'gone')"
    subprocess.run([sys.executable, "-c", script], pass_fds=[descriptor], check=True)


@vector("child")
def subprocess_stdin_script(s: Scene) -> None:
    subprocess.run(["sh"], input=f"rm '{s.notes}'\n", text=True, check=True)


@vector("child")
def subprocess_preexec_remove(s: Scene) -> None:
    subprocess.run(["true"], preexec_fn=lambda: os.remove(s.notes), check=False)


@vector("child")
def subprocess_left_running(s: Scene) -> None:
    s.held["child"] = subprocess.Popen(["sh", "-c", 'sleep 0.4; rm "$0"', str(s.notes)])


@vector("child")
def subprocess_new_session_left_running(s: Scene) -> None:
    s.held["child"] = subprocess.Popen(["sh", "-c", 'sleep 0.8; rm "$0"', str(s.notes)], start_new_session=True)


@vector("child")
def os_system_rm(s: Scene) -> None:
    os.system(f"rm '{s.notes}'")


@vector("child")
def os_popen_rm(s: Scene) -> None:
    os.popen(f"rm '{s.notes}'").read()


@vector("child")
def os_posix_spawn_rm(s: Scene) -> None:
    os.waitpid(os.posix_spawn("/bin/rm", ["rm", str(s.notes)], os.environ), 0)


@vector("child")
def os_posix_spawnp_rm(s: Scene) -> None:
    os.waitpid(os.posix_spawnp("rm", ["rm", str(s.notes)], {"PATH": "/bin:/usr/bin"}), 0)


@vector("child")
def os_posix_spawn_file_action_open(s: Scene) -> None:
    actions = [(os.POSIX_SPAWN_OPEN, 1, str(s.notes), os.O_WRONLY | os.O_TRUNC, 0o644)]
    os.waitpid(os.posix_spawn("/bin/echo", ["echo", "gone"], os.environ, file_actions=actions), 0)


@vector("child")
def os_spawnlp_rm(s: Scene) -> None:
    os.spawnlp(os.P_WAIT, "rm", "rm", str(s.notes))


@vector("child")
def os_fork_execv_rm(s: Scene) -> None:
    child = os.fork()
    if child == 0:
        os.execv("/bin/rm", ["rm", str(s.notes)])
    os.waitpid(child, 0)


@vector("child")
def fork_exec_private(s: Scene) -> None:
    arguments: list[object] = [
        [b"rm", os.fsencode(s.notes)],
        [b"/bin/rm"],
        True,
        (),
        None,
        None,
        -1,
        -1,
        -1,
        -1,
        -1,
        -1,
    ]
    failure_reader, failure_writer = os.pipe()
    arguments += [failure_reader, failure_writer, True, False, -1, None, None, None, -1, None, False]
    os.waitpid(_posixsubprocess.fork_exec(*arguments), 0)  # type: ignore[arg-type]


@vector("child")
def pty_spawn_rm(s: Scene) -> None:
    pty.spawn(["rm", str(s.notes)], lambda descriptor: b"", lambda descriptor: b"")


@vector("child")
def asyncio_subprocess_shell(s: Scene) -> None:
    async def run() -> None:
        await (await asyncio.create_subprocess_shell(f"rm '{s.notes}'")).wait()

    asyncio.run(run())


@vector("child")
def double_fork_daemon_rm(s: Scene) -> None:
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(0.8)
            os.execv("/bin/rm", ["rm", str(s.notes)])
        os._exit(0)
    os.waitpid(child, 0)


@vector("child")
def blocked_remove_falls_back_to_shell(s: Scene) -> None:
    try:
        os.remove(s.notes)
    except OSError:
        subprocess.run(["rm", "-f", str(s.notes)], check=False)
