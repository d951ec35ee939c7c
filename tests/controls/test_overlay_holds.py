"""Whatever is done to the home inside, by whatever means, the real one stays as it was to the byte and nanosecond."""

# ruff: noqa: F811  a fixture that is imported has the name of an argument
from __future__ import annotations

import ctypes
import os
import sqlite3
import subprocess

import pytest
from overlay_scene import Scene, by_everyone, by_root, scene, snapshot  # noqa: F401


def hurt_by_python(inside, way):
    home, notes, config = inside.home, inside.home + "/notes.txt", inside.home + "/app/config"
    inside.enter()
    ways = {
        "create": lambda: inside.put(home + "/new", "new"),
        "append": lambda: os.write(os.open(notes, os.O_WRONLY | os.O_APPEND), b"more"),
        "truncate": lambda: os.truncate(notes, 2),
        "truncate-read-only": lambda: os.close(os.open(notes, os.O_RDONLY | os.O_TRUNC)),
        "unlink": lambda: os.unlink(notes),
        "rename-over": lambda: os.rename(config, notes),
        "rename-dir-fd": lambda: os.rename(
            "notes.txt", "moved", src_dir_fd=os.open(home, os.O_RDONLY), dst_dir_fd=os.open(home, os.O_RDONLY)
        ),
        "remove-tree": lambda: __import__("shutil").rmtree(home + "/app"),
        "chmod": lambda: os.chmod(notes, 0o600),
        "chmod-directory": lambda: os.chmod(home + "/app", 0o700),
        "chmod-root": lambda: os.chmod(home, 0o700),
        "chown-to-self": lambda: os.chown(notes, os.getuid(), os.getgid()),
        "utime": lambda: os.utime(notes, (1, 1)),
        "setxattr": lambda: os.setxattr(notes, "user.more", b"1"),
        "removexattr": lambda: os.removexattr(notes, "user.kept"),
        "link": lambda: os.link(notes, home + "/alias"),
        "symlink": lambda: os.symlink("/nowhere", home + "/sym"),
        "mkfifo": lambda: os.mkfifo(home + "/fifo"),
        "mmap": lambda: __import__("mmap").mmap(os.open(notes, os.O_RDWR), 4).__setitem__(0, 88),
        "fchmod": lambda: os.fchmod(os.open(notes, os.O_RDONLY), 0),
    }
    ways[way]()
    return [name for name in ("notes.txt", "new", "moved", "alias", "app") if os.path.lexists(home + "/" + name)]


WAYS = [
    "create",
    "append",
    "truncate",
    "truncate-read-only",
    "unlink",
    "rename-over",
    "rename-dir-fd",
    "remove-tree",
    "chmod",
    "chmod-directory",
    "chmod-root",
    "chown-to-self",
    "utime",
    "setxattr",
    "removexattr",
    "link",
    "symlink",
    "mkfifo",
    "mmap",
    "fchmod",
]


@by_everyone
@pytest.mark.parametrize("way", WAYS)
def test_home_is_kept_from_python(scene: Scene, way: str) -> None:
    before = snapshot(scene.home)

    seen = scene.run(hurt_by_python, way)

    assert snapshot(scene.home) == before
    gone = {"unlink": "notes.txt", "rename-dir-fd": "notes.txt", "remove-tree": "app"}
    come = {"create": "new", "rename-dir-fd": "moved", "link": "alias"}
    expected = ({"notes.txt", "app"} - {gone.get(way)}) | ({come[way]} if way in come else set())
    assert set(seen) == expected


def hurt_by_native_code(inside):
    libc, home = inside.libc(), os.fsencode(inside.home)
    inside.enter()
    results = [
        libc.chmod(home + b"/notes.txt", 0o600),
        libc.truncate(home + b"/app/config", 1),
        libc.unlink(home + b"/app/data/one"),
        libc.rename(home + b"/app/data/two", home + b"/app/data/three"),
        libc.mkdir(home + b"/made", 0o700),
        libc.removexattr(home + b"/notes.txt", b"user.kept"),
        libc.utimes(home + b"/app", None),
        # AT_FDCWD, O_WRONLY|O_CREAT|O_APPEND by the bare system call
        min(libc.syscall(257, -100, home + b"/app/log", 0o2101, 0o600), 0),
    ]
    return results, sorted(os.listdir(inside.home + "/app/data"))


@by_everyone
def test_home_is_kept_from_native_code(scene: Scene) -> None:
    before = snapshot(scene.home)

    results, seen = scene.run(hurt_by_native_code)

    assert snapshot(scene.home) == before
    assert results == [0] * 8
    assert seen == ["three"]


def hurt_by_children(inside, script):
    inside.enter()
    done = inside.shell(script, env={"PATH": "/usr/bin:/bin"})
    return done.returncode, done.stderr, sorted(inside.changes())


SCRIPTS = {
    "redirect": "echo x > notes.txt; echo y >> app/config",
    "remove": "rm -rf app notes.txt",
    "replace": "cp notes.txt n; mv n app/config; sed -i s/real/x/ notes.txt",
    "metadata": "chmod 0 notes.txt; touch -d 2001-01-01 app/config; chmod 700 app",
    "detached": "(setsid sh -c 'rm notes.txt') & wait",
    "by-proc": "echo x > /proc/self/root$PWD/notes.txt; cd app; echo y > /proc/self/cwd/config",
    "link": "ln -sf /dev/null notes.txt; ln notes.txt hard; mkfifo pipe",
}


@by_everyone
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_home_is_kept_from_children(scene: Scene, script: str) -> None:
    before = snapshot(scene.home)

    code, errors, changed = scene.run(hurt_by_children, script)

    assert snapshot(scene.home) == before
    assert (code, errors) == (0, "")
    assert changed


def fork_and_hurt(inside):
    import multiprocessing

    inside.enter()
    pid = os.fork()
    if pid == 0:
        os.unlink(inside.home + "/notes.txt")
        os._exit(0)
    os.waitpid(pid, 0)
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        process = context.Process(target=os.mkdir, args=(f"{inside.home}/{method}",))
        process.start()
        process.join()
    return inside.changes()


@by_everyone
def test_forks_and_pools_are_inside(scene: Scene) -> None:
    before = snapshot(scene.home)

    changed = scene.run(fork_and_hurt)

    assert snapshot(scene.home) == before
    assert changed == {
        "home/notes.txt": "removed", "home/fork": "created", "home/spawn": "created", "home/forkserver": "created",
    }  # fmt: skip


def write_elsewhere(inside):
    outside = inside.put(inside.base + "/elsewhere/file")
    inside.enter()
    refused = {
        "write": inside.refusal(open, outside, "w"),
        "create": inside.refusal(os.mkdir, inside.base + "/elsewhere/more"),
        "chmod": inside.refusal(os.chmod, outside, 0o600),
        "utime": inside.refusal(os.utime, outside),
        "setxattr": inside.refusal(os.setxattr, outside, "user.x", b"1"),
        "unlink": inside.refusal(os.unlink, outside),
        "mkfifo": inside.refusal(os.mkfifo, inside.base + "/elsewhere/fifo"),
        "rename-scene": inside.refusal(os.rename, inside.base + "/elsewhere", inside.base + "/other"),
    }
    return refused, inside.get(outside)


@by_everyone
def test_rest_of_the_disk_is_read_only(scene: Scene) -> None:
    refused, content = scene.run(write_elsewhere)

    assert set(refused.values()) == {"EROFS"}
    assert content == "text"


def write_where_allowed(inside):
    inside.enter()
    inside.put(inside.tmp + "/file")
    inside.put(inside.project + "/file")
    os.rename(inside.project + "/file", inside.project + "/renamed")
    connection = sqlite3.connect(inside.project + "/data.db")
    connection.execute("pragma journal_mode=wal")
    connection.execute("create table t (x)")
    connection.close()
    with open("/dev/null", "w") as null, open("/dev/shm/session-guard-" + str(os.getpid()), "w") as shared:
        null.write("x")
        shared.write("x")
    os.unlink(shared.name)
    for end in os.openpty():
        os.close(end)
    inside.put("/proc/self/comm", "guarded")
    return inside.get("/proc/self/comm"), inside.changes()


@by_everyone
def test_writable_places_work_as_ever(scene: Scene) -> None:
    name, changed = scene.run(write_where_allowed)

    assert name == "guarded\n"
    assert changed == {}
    assert (scene.base / "tmp/file").read_text() == "text"
    assert sorted(path.name for path in (scene.home / "src/project").iterdir()) == [".git", "data.db", "renamed"]


def read_wal_database(inside):
    inside.enter()
    connection = sqlite3.connect(inside.home + "/app/state.db")
    return connection.execute("select x from t").fetchall()


@by_everyone
def test_database_in_wal_mode_can_be_read(scene: Scene) -> None:
    connection = sqlite3.connect(scene.home / "app/state.db")
    connection.execute("pragma journal_mode=wal")
    connection.execute("create table t (x)")
    connection.execute("insert into t values (7)")
    connection.commit()
    scene.give(scene.home / "app")

    rows = scene.run(read_wal_database)

    assert rows == [[7]]
    connection.close()


def write_by_kept_directory(inside):
    os.chdir(inside.home + "/app")
    inside.enter()
    inside_cwd = os.getcwd()
    inside.put("made/by-relative-path")
    subprocess.run(["/bin/sh", "-c", "rm config"], check=True)
    return inside_cwd, inside.changes()


@by_everyone
def test_working_directory_is_entered_again(scene: Scene) -> None:
    before = snapshot(scene.home)

    directory, changed = scene.run(write_by_kept_directory)

    assert snapshot(scene.home) == before
    assert directory == str(scene.home / "app")
    assert changed == {
        "home/app/made": "created", "home/app/made/by-relative-path": "created", "home/app/config": "removed",
    }  # fmt: skip


def try_to_undo(inside):
    inside.enter()
    home, libc = os.fsencode(inside.home), inside.libc()

    def answer(result):
        import errno

        return errno.errorcode.get(ctypes.get_errno(), "?") if result < 0 else "done"

    remount, bind = 32, 4096
    attempts = {
        "umount": answer(libc.umount2(home, 2)),
        "umount-lazy-root": answer(libc.umount2(b"/", 2)),
        "remount-writable": answer(libc.mount(None, b"/", None, remount | bind, None)),
        "mount": answer(libc.mount(b"x", os.fsencode(inside.tmp), b"tmpfs", 0, None)),
        "setns": answer(libc.setns(inside.overlay._namespace_fd, 0)),
        "unshare": answer(libc.unshare(0x20000)),
        "mount-setattr": answer(libc.syscall(442, -100, b"/", 0x8000, (ctypes.c_uint64 * 4)(0, 1, 0, 0), 32)),
        "outside-root": inside.refusal(os.listdir, f"/proc/{os.getppid()}/root/"),
        "init-root": inside.refusal(os.listdir, "/proc/1/root/"),
    }
    # A user namespace of one's own brings the right to mount, but not over what came from outside.
    script = (
        f"umount -l {inside.home}; umount -l {inside.home}/notes.txt; mount -o remount,rw,bind /; mount -o remount,rw /;"
        f"mount --bind {inside.home} {inside.tmp} && umount -l {inside.home};"
        f"echo broken > {inside.home}/notes.txt; touch /session-guard-escaped"
    )
    nested = subprocess.run(["unshare", "-Urm", "/bin/sh", "-c", script], capture_output=True, text=True)
    return attempts, nested.stderr, os.path.exists("/session-guard-escaped")


@by_everyone
def test_tests_cannot_undo_it(scene: Scene) -> None:
    before = snapshot(scene.home)

    attempts, nested, escaped = scene.run(try_to_undo)

    assert snapshot(scene.home) == before
    assert set(attempts.values()) <= {"EPERM", "EACCES"}, attempts
    assert "umount" in nested
    assert not escaped


def rename_ancestors(inside):
    root = inside.put(inside.project + "/a/b/vault/secret")
    inside.enter(overlaid=(os.path.dirname(root),))
    refused = [
        inside.refusal(os.rename, f"{inside.project}/{name}", f"{inside.project}/stolen")
        for name in ("a", "a/b", "a/b/vault")
    ]
    refused.append(inside.refusal(os.rename, inside.project, inside.tmp + "/stolen"))
    refused.append(inside.refusal(os.rename, inside.home, inside.base + "/stolen"))
    inside.put(inside.project + "/a/b/beside")
    inside.put(root, "changed")
    return refused, inside.changes()


@by_everyone
def test_ancestors_of_protected_roots_stay_in_place(scene: Scene) -> None:
    refused, changed = scene.run(rename_ancestors)

    assert set(refused) <= {"EBUSY", "EROFS", "EXDEV"}
    assert changed == {"home/src/project/a/b/vault/secret": "content"}
    assert (scene.home / "src/project/a/b/vault/secret").read_text() == "text"
    assert (scene.home / "src/project/a/b/beside").exists()


def look_around(inside):
    inside.put(inside.tmp + "/own")
    before = (os.getuid(), os.getgid(), os.getgroups(), os.stat(inside.home).st_uid, os.stat(inside.tmp).st_mode)
    inside.enter()
    after = (os.getuid(), os.getgid(), os.getgroups(), os.stat(inside.home).st_uid, os.stat(inside.tmp).st_mode)
    os.chown(inside.tmp + "/own", os.getuid(), os.getgid())
    owner = inside.refusal(os.chown, inside.tmp + "/own", 1, 1)
    return before, after, owner, os.stat("/etc/passwd").st_uid, inside.refusal(os.wait)


@by_everyone
def test_ids_and_children_look_as_before(scene: Scene) -> None:
    before, after, foreign_chown, owner_of_system_files, waiting = scene.run(look_around)

    assert after == before
    is_root = scene.actor.uid == 0
    assert (foreign_chown, owner_of_system_files) == ((None, 0) if is_root else ("EINVAL", 65534))
    assert waiting == "ECHILD"


def use_privileges(inside):
    inside.enter()
    attach, detach = 16, 17
    sleeper = subprocess.Popen(["sleep", "5"])
    traced = inside.libc().ptrace(attach, sleeper.pid, None, None)
    os.waitpid(sleeper.pid, 0)
    inside.libc().ptrace(detach, sleeper.pid, None, None)
    sleeper.kill()
    sleeper.wait()
    if os.geteuid():
        return traced
    inside.put(inside.tmp + "/file")
    os.mknod(inside.tmp + "/device", 0o020600, os.makedev(1, 3))
    os.chown(inside.tmp + "/file", 7, 7)
    os.chroot(inside.tmp)
    os.setuid(7)
    return traced, os.stat("/file").st_uid


@by_everyone
def test_debugging_and_roots_other_rights_work(scene: Scene) -> None:
    assert scene.run(use_privileges) == (0 if scene.actor.uid else [0, 7])


def count_groups(inside):
    os.setgroups([12345, 777])
    os.setresgid(12345, 12345, 12345)
    os.setresuid(12345, 12345, 12345)
    shared = inside.tmp + "/of-the-group"
    inside.enter()
    return sorted(os.getgroups()), inside.get(shared), inside.refusal(open, shared, "a")


@by_root
def test_supplementary_groups_count_though_they_have_no_name(scene: Scene) -> None:
    shared = scene.base / "tmp/of-the-group"
    shared.write_text("of the group")
    os.chown(shared, 0, 777)
    shared.chmod(0o060)
    for path in (scene.base, scene.home, scene.base / "tmp", scene.base / "scratch"):
        os.chown(path, 12345, 12345)

    groups, content, writing = scene.run(count_groups)

    assert groups == [12345, 65534]
    assert (content, writing) == ("of the group", None)
