"""Homes, projects and roots in all the places where they really are."""

# ruff: noqa: F811  a fixture that is imported has the name of an argument
from __future__ import annotations

import os
import subprocess

import pytest
from inside_overlay import mounts, namespaces, overlay
from overlay_scene import Scene, by_everyone, by_root, scene, snapshot  # noqa: F401


def use_git(inside):
    overlaid = inside.enter(overlaid=(inside.project + "/.git",))
    inside.put(inside.project + "/code.py")
    inside.put(inside.project + "/.git/HEAD", "stray commit")
    os.unlink(inside.project + "/code.py")
    refused = inside.refusal(os.rename, inside.project + "/.git", inside.project + "/.git2")
    return inside.changes(), refused, [layer.path for layer in overlaid.layers]


@by_everyone
def test_git_directory_is_overlaid_in_a_writable_project(scene: Scene) -> None:
    changed, refused, layers = scene.run(use_git)

    assert changed == {"home/src/project/.git/HEAD": "content"}
    assert refused == "EBUSY"
    assert layers == [str(scene.home), str(scene.home / "src/project/.git")]
    assert (scene.home / "src/project/.git/HEAD").read_text() == "real src/project/.git/HEAD"


def use_outside_project(inside):
    inside.project = inside.base + "/work"
    os.makedirs(inside.project + "/.git")
    inside.enter(overlaid=(inside.project + "/.git",))
    inside.put(inside.project + "/file")
    inside.put(inside.project + "/.git/index")
    inside.put(inside.home + "/file")
    return inside.changes()


@by_everyone
def test_project_outside_home(scene: Scene) -> None:
    assert scene.run(use_outside_project) == {"work/.git/index": "created", "home/file": "created"}
    assert (scene.base / "work/file").exists()
    assert not (scene.home / "file").exists()


def use_shared(inside):
    inside.enter(writable=(inside.home + "/app/data",))
    inside.put(inside.home + "/app/data/new")
    inside.put(inside.home + "/app/new")
    return inside.changes()


@by_everyone
def test_shared_root_in_home_is_bound_through(scene: Scene) -> None:
    assert scene.run(use_shared) == {"home/app/new": "created"}
    assert (scene.home / "app/data/new").exists()


def use_nested(inside):
    overlaid = inside.enter(overlaid=(inside.home + "/app", inside.home + "/app/data"))
    inside.put(inside.home + "/app/data/new")
    return inside.changes(), len(overlaid.layers)


@by_everyone
def test_nested_roots_share_a_layer(scene: Scene) -> None:
    assert scene.run(use_nested) == [{"home/app/data/new": "created"}, 1]


def use_symlinked(inside):
    os.symlink(inside.put(inside.base + "/store/file").rpartition("/")[0], inside.tmp + "/link")
    inside.enter(overlaid=(inside.tmp + "/link",))
    inside.put(inside.tmp + "/link/file", "changed")
    return inside.changes(), inside.overlay.status


@by_everyone
def test_symlinked_root_is_held_where_it_really_is(scene: Scene) -> None:
    assert scene.run(use_symlinked) == [{"store/file": "content"}, "enforced"]
    assert (scene.base / "store/file").read_text() == "text"


def replace_symlinks(inside):
    store = inside.put(inside.base + "/store/file").rpartition("/")[0]
    os.makedirs(inside.tmp + "/deep")
    os.symlink(store, inside.tmp + "/deep/link")
    os.symlink(inside.base + "/nowhere", inside.tmp + "/dangling")
    inside.enter(overlaid=(inside.tmp + "/deep/link", inside.tmp + "/dangling"))
    script = "rm deep/link; mv deep/link x; ln -sfn / deep/link; mv deep y; rm dangling; readlink deep/link dangling; cat deep/link/file"
    seen = inside.shell(f"cd {inside.tmp}; {script}").stdout.split()
    inside.shell(f"echo more >> {inside.tmp}/deep/link/file")
    return seen, inside.changes(), inside.overlay.status


@by_everyone
def test_symlink_to_a_root_cannot_be_replaced(scene: Scene) -> None:
    seen, changes, status = scene.run(replace_symlinks)

    assert seen == [str(scene.base / "store"), str(scene.base / "nowhere"), "text"]
    assert changes == {"store/file": "content"}
    assert status == "enforced"
    assert os.readlink(scene.base / "tmp/deep/link") == str(scene.base / "store")


def use_missing(inside):
    inside.put(inside.base + "/etc/file")
    missing = (inside.home + "/.future/store", inside.base + "/etc/future", inside.tmp + "/future", "/no-such/root")
    overlaid = inside.enter(overlaid=missing)
    for path in missing[:3]:
        inside.put(path + "/file")
    return (
        inside.changes(), overlaid.status, overlaid.reason, overlaid.missing, overlaid.silent,
        inside.refusal(os.mkdir, "/no-such"),
    )  # fmt: skip


@by_everyone
def test_missing_roots(scene: Scene) -> None:
    changed, status, reason, missing, silent, refusal = scene.run(use_missing)

    assert changed == {
        "home/.future": "created", "home/.future/store": "created", "home/.future/store/file": "created",
        "etc/future": "created", "etc/future/file": "created",
        # Nothing holds it: it is really there, and told.
        "tmp/future": "created",
    }  # fmt: skip
    assert (scene.base / "tmp/future/file").exists()
    uncovered = str(scene.base / "tmp/future")
    assert (status, missing, silent) == ("partial", [uncovered], ["/no-such/root"])
    assert reason == f"{uncovered} does not exist and lies in a writable place, so nothing holds it"
    assert not (scene.base / "etc/future").exists()
    assert refusal in ("EROFS", "EACCES")


def use_files(inside):
    config, other = inside.put(inside.project + "/config.toml"), inside.put(inside.base + "/store/single")
    inside.enter(overlaid=(config, other))
    refused = [
        inside.refusal(os.unlink, config),
        inside.refusal(os.rename, inside.put(inside.project + "/n"), config),
        inside.refusal(os.mkdir, inside.base + "/store/more"),
    ]
    inside.put(config, "changed")
    os.chmod(other, 0o600)
    return refused, inside.changes(), inside.get(config), inside.changes()


@by_everyone
def test_file_roots_are_overlaid_without_their_neighbours(scene: Scene) -> None:
    refused, changed, seen, later = scene.run(use_files)

    assert refused == ["EBUSY", "EBUSY", "EROFS"]
    assert (changed, later) == ({"home/src/project/config.toml": "content", "store/single": "metadata"}, {})
    assert seen == "changed"
    assert (scene.home / "src/project/config.toml").read_text() == "text"
    assert (scene.home / "src/project/n").exists()


def use_writable_file(inside):
    output = inside.put(inside.home + "/report.xml", "")
    inside.enter(writable=(output, inside.home + "/not-there.xml"))
    inside.put(output, "results")
    return inside.changes(), inside.overlay.absent


@by_everyone
def test_writable_file_in_home_is_bound_through(scene: Scene) -> None:
    changed, absent = scene.run(use_writable_file)

    assert (changed, absent) == ({}, [str(scene.home / "not-there.xml")])
    assert (scene.home / "report.xml").read_text() == "results"


def use_own_mounts(inside):
    inside.unshare_mounts()
    mounts.mount("home", inside.home, "tmpfs", 0, "mode=0755")
    for path in (inside.project, inside.home + "/disk", inside.home + "/app/files"):
        os.makedirs(path)
    mounts.mount("disk", inside.home + "/disk", "tmpfs", mounts.NOEXEC, "mode=0755")
    inside.put(inside.home + "/disk/real")
    inside.put(inside.home + "/notes.txt")
    overlaid = inside.enter()
    for name in ("notes.txt", "disk/real", "disk/new", "app/files/new"):
        inside.put(f"{inside.home}/{name}", "changed")
    inside.put(inside.project + "/new")
    return inside.changes(), overlaid.status, os.statvfs(inside.home + "/disk").f_flag & mounts.NOEXEC


@by_everyone
def test_home_on_its_own_mount_with_another_in_it(scene: Scene) -> None:
    changed, status, no_exec = scene.run(use_own_mounts)

    assert changed == {
        "home/notes.txt": "content", "home/disk/real": "content", "home/disk/new": "created",
        "home/app/files/new": "created",
    }  # fmt: skip
    assert status == "enforced"
    assert no_exec


def use_locked_mounts(inside):
    namespaces.unshare(namespaces.MOUNTS)
    mounts.make_private("/")
    os.mkdir(inside.home + "/disk")
    mounts.mount("disk", inside.home + "/disk", "tmpfs", 0, "mode=0755,uid=12345")
    os.setgroups([])
    os.setresgid(12345, 12345, 12345)
    os.setresuid(12345, 12345, 12345)
    inside.put(inside.home + "/disk/real")
    overlaid = inside.enter()
    refused = inside.refusal(open, inside.home + "/notes.txt", "w")
    for name in ("disk/real", "app/config"):
        inside.put(f"{inside.home}/{name}", "changed")
    inside.put(inside.project + "/new")
    return refused, inside.changes(), overlaid.silent


@by_root
def test_mount_in_a_users_home_parts_the_overlay(scene: Scene) -> None:
    for directory, _, files in os.walk(scene.base):
        for name in (".", *files):
            os.chown(os.path.join(directory, name), 12345, 12345)

    refused, changed, silent = scene.run(use_locked_mounts)

    assert refused == "EROFS"
    assert changed == {"home/disk/real": "content", "home/app/config": "content"}
    assert silent == [str(scene.home)]
    assert (scene.home / "app/config").read_text() == "real app/config"
    assert (scene.home / "src/project/new").exists()


def use_container_root(inside, way):
    base = inside.base
    for name in ("upper", "work", "root"):
        os.mkdir(f"{base}/{name}")
    namespaces.unshare(namespaces.MOUNTS)
    mounts.make_private("/")
    root = base + "/root"
    mounts.mount("root", root, "overlay", 0, f"lowerdir=/,upperdir={base}/upper,workdir={base}/work")
    for name in ("proc", "dev"):
        mounts.attach_tree(mounts.clone_tree("/" + name), f"{root}/{name}")
    os.chdir(root)
    if way == "pivot_root":
        inside.libc().syscall(155, b".", b".")
        mounts.detach(".")
    else:
        os.chroot(".")
    os.chdir(inside.home)
    # The overlay of the root shows what lies below `base`, but writing reaches its own upper layer.
    before = inside.get(inside.home + "/notes.txt")
    overlaid = inside.enter(overlaid=(inside.project + "/.git",))
    inside.put(inside.home + "/notes.txt", "changed")
    inside.put(inside.project + "/.git/index")
    inside.put(inside.tmp + "/file")
    refused = inside.refusal(os.mkdir, "/etc/session-guard")
    with overlaid.pristine(inside.home + "/notes.txt"):
        pristine = inside.get(inside.home + "/notes.txt")
    return overlaid.status, inside.changes(), refused, before, pristine, os.getcwd()


@by_root
@pytest.mark.parametrize("way", ["pivot_root", "chroot"])
def test_container_whose_root_is_an_overlay(scene: Scene, way: str) -> None:
    status, changed, refused, before, pristine, directory = scene.run(use_container_root, way)

    assert status == "enforced"
    assert changed == {"home/notes.txt": "content", "home/src/project/.git/index": "created"}
    assert refused == "EROFS"
    assert before == pristine == "real notes.txt"
    assert directory == str(scene.home)
    assert not (scene.base / "upper" / str(scene.home)[1:] / "notes.txt").exists()


def use_sockets(inside):
    import socket

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(inside.home + "/agent.sock")
    listener.listen()
    inside.enter()
    client = socket.socket(socket.AF_UNIX)
    client.connect(inside.home + "/agent.sock")
    own = socket.socket(socket.AF_UNIX)
    own.bind(inside.home + "/own.sock")
    return inside.refusal(os.unlink, inside.home + "/agent.sock"), inside.changes()


@by_everyone
def test_sockets_that_listen_in_home_can_be_reached(scene: Scene) -> None:
    assert scene.run(use_sockets) == ["EBUSY", {"home/own.sock": "created"}]


def use_sockets_elsewhere(inside):
    import socket

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(inside.base + "/docker.sock")
    listener.listen()
    os.mkfifo(inside.base + "/pipe")
    reading = os.open(inside.base + "/pipe", os.O_RDONLY | os.O_NONBLOCK)
    inside.enter()
    client = socket.socket(socket.AF_UNIX)
    client.connect(inside.base + "/docker.sock")
    os.write(os.open(inside.base + "/pipe", os.O_WRONLY), b"said")
    return os.read(reading, 10).decode()


@by_everyone
def test_sockets_and_pipes_on_the_read_only_disk_can_be_used(scene: Scene) -> None:
    assert scene.run(use_sockets_elsewhere) == "said"


def enter_twice(inside):
    inside.enter(overlaid=(inside.project + "/.git",))
    outer = inside.overlay
    inside.scratch = inside.tmp + "/inner"
    os.mkdir(inside.scratch)
    pid = os.fork()
    if pid == 0:
        inside.enter()
        for name in ("notes.txt", "app/config"):
            inside.refusal(inside.put, f"{inside.home}/{name}", "inner")
        inside.put(inside.project + "/through")
        os._exit(0 if inside.changes() else 1)
    ended = os.waitpid(pid, 0)[1]
    inside.overlay = outer
    return ended, inside.changes(), os.listdir(inside.project)


@by_everyone
def test_guarded_run_within_a_guarded_run(scene: Scene) -> None:
    before = snapshot(scene.home / "app")

    ended, told, listed = scene.run(enter_twice)

    assert (ended, told) == (0, {})
    assert "through" in listed
    assert snapshot(scene.home / "app") == before


def use_root_as_workspace(inside):
    inside.enter(writable=("/",))
    inside.put(inside.base + "/anywhere")
    inside.put(inside.home + "/notes.txt", "changed")
    return inside.changes(), inside.refusal(os.rename, inside.home, inside.base + "/stolen")


@by_everyone
def test_root_directory_as_workspace(scene: Scene) -> None:
    assert scene.run(use_root_as_workspace) == [{"home/notes.txt": "content"}, "EBUSY"]
    assert (scene.base / "anywhere").exists()
    assert (scene.home / "notes.txt").read_text() == "real notes.txt"


def use_foreign_root(inside, foreign):
    inside.enter(overlaid=(foreign,))
    results = [
        inside.refusal(open, foreign + "/new", "w"),
        inside.refusal(os.listdir, foreign),
        inside.refusal(open, foreign + "/own/new", "w"),
        os.access(foreign, os.W_OK),
    ]
    return results, inside.changes()


@by_root
def test_root_of_another_owner_gives_no_more_rights_than_before(scene: Scene) -> None:
    from overlay_scene import EVERY_ACTOR

    user = next(parameter.values[0] for parameter in EVERY_ACTOR if parameter.values[0].uid != 0)
    foreign = scene.base / "foreign"
    (foreign / "own").mkdir(parents=True)
    scene.actor = user
    scene.give(scene.base)
    os.chown(foreign, 0, 0)
    before = snapshot(foreign)

    results, changed = scene.run(use_foreign_root, str(foreign))

    assert results == ["EACCES", None, None, False]
    assert changed == {"foreign/own/new": "created"}
    assert snapshot(foreign) == before


def use_witnesses(inside):
    for name in ("etc", "opt/own"):
        os.makedirs(f"{inside.base}/{name}")
    inside.enter(witnessed=(inside.base + "/etc", inside.base + "/opt", inside.tmp, "/no-such"))
    inside.put(inside.base + "/etc/passwd")
    inside.put(inside.base + "/opt/own/new")
    return inside.changes()


@by_everyone
def test_witnessed_places_tell_of_a_try(scene: Scene) -> None:
    assert scene.run(use_witnesses) == {"etc/passwd": "created", "opt/own/new": "created"}
    assert not (scene.base / "etc/passwd").exists()


def list_witness_places(inside):
    return overlay.witness_places()


@by_everyone
def test_witness_places_are_few_and_no_system_directories(scene: Scene) -> None:
    places = scene.run(list_witness_places)

    assert all(not place.startswith(("/usr", "/proc", "/dev", "/run", "/sys", "/tmp")) for place in places)
    assert ("/etc" in places) == (scene.actor.uid == 0)
    assert len(places) <= 32


def list_mounts(inside):
    inside.enter()
    return subprocess.run(["df", inside.home], capture_output=True, text=True).returncode, os.path.ismount(inside.tmp)


@by_everyone
def test_programs_that_look_at_mounts_work(scene: Scene) -> None:
    assert scene.run(list_mounts) == [0, False]


def test_scene_leaves_nothing_mounted() -> None:
    table = subprocess.run(["cat", "/proc/self/mountinfo"], capture_output=True, text=True, check=True).stdout

    assert "session-guard-scene" not in table
