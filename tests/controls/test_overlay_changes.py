"""What the upper layers tell: every change once, by its kind, and nothing that is none."""

# ruff: noqa: F811  a fixture that is imported has the name of an argument
from __future__ import annotations

import os

import pytest
from overlay_scene import Scene, by_everyone, by_root, scene  # noqa: F401


def change_by_shell(inside, script):
    inside.enter()
    done = inside.shell(script)
    assert not done.stderr, done.stderr
    return inside.changes(), inside.changes()


CHANGES = {
    "created-file": ("echo x > new", {"new": "created"}),
    "created-tree": ("mkdir -p a/b; echo > a/b/c", {"a": "created", "a/b": "created", "a/b/c": "created"}),
    "created-fifo": ("mkfifo pipe", {"pipe": "created"}),
    "created-symlink": ("ln -s x y", {"y": "created"}),
    "appended": ("echo x >> notes.txt", {"notes.txt": "content"}),
    "truncated": (": > notes.txt", {"notes.txt": "content"}),
    "same-size": ("printf 'fake notes.txt' > notes.txt", {"notes.txt": "content"}),
    "same-size-and-times": (
        "printf 'fake notes.txt' > notes.txt; touch -d @1000000000 notes.txt", {"notes.txt": "content"},
    ),
    "deep": ("echo x >> app/data/one", {"app/data/one": "content"}),
    "removed": ("rm notes.txt", {"notes.txt": "removed"}),
    "removed-tree": ("rm -r app", {"app": "removed"}),
    "removed-symlink": ("rm link", {"link": "removed"}),
    "moved": ("mv notes.txt app/moved", {"notes.txt": "removed", "app/moved": "created"}),
    "saved-by-rename": ("echo x > n; mv n notes.txt", {"notes.txt": "replaced"}),
    "replaced-by-directory": ("rm notes.txt; mkdir notes.txt", {"notes.txt": "replaced"}),
    "replaced-by-symlink": ("ln -sf app notes.txt", {"notes.txt": "replaced"}),
    "retargeted": ("ln -sfn app link", {"link": "replaced"}),
    "directory-by-file": ("rm -r app/data; echo > app/data", {"app/data": "replaced"}),
    "directory-made-anew": (
        "rm -r app/data; mkdir app/data; echo > app/data/one",
        {"app/data": "replaced", "app/data/one": "replaced", "app/data/two": "removed"},
    ),
    "hard-link": ("ln notes.txt alias", {"alias": "created"}),
    "chmod": ("chmod 600 notes.txt", {"notes.txt": "metadata"}),
    "chmod-unreadable": ("chmod 0 notes.txt app/data; true", {"notes.txt": "metadata", "app/data": "metadata"}),
    "chmod-root": ("chmod 700 .", {"": "metadata"}),
    "chmod-root-unreadable": ("echo > a; chmod 0 .", {"a": "created", "": "metadata"}),
    "touched": ("touch notes.txt", {"notes.txt": "metadata"}),
    "touched-directory": ("touch -d @5 app", {"app": "metadata"}),
    "access-time": ("touch -a -d @5 notes.txt", {"notes.txt": "metadata"}),
    "access-time-of-directory": ("touch -a -d @5 app", {"app": "metadata"}),
    "time-of-symlink": ("touch -h -m -d @5 link", {"link": "metadata"}),
    "access-time-of-symlink": ("touch -h -a -d @5 link", {"link": "metadata"}),
    "came-and-went": ("mktemp -p app > /dev/null; rm app/tmp.*", {"app": "names"}),
    "came-and-went-in-root": (": > lock; rm lock", {"": "names"}),
    "opened-for-writing": (": <> notes.txt; exec 3>> app/config", {}),
    "read": ("cat notes.txt app/data/one > /dev/null; ls -R > /dev/null", {}),
    "no-op-chmod": ("chmod $(stat -c %a notes.txt) notes.txt", {}),
    "written-back": (
        "cp -p notes.txt ../tmp/n; cat ../tmp/n > ../tmp/m; touch -r notes.txt ../tmp/n;"
        "cat ../tmp/m > notes.txt; touch -r ../tmp/n notes.txt", {},
    ),
    "odd-names": ('touch "$(printf \'a\\nb\')" "$(printf \'\\377\')"', {"a\nb": "created", "\udcff": "created"}),
}  # fmt: skip


@by_everyone
@pytest.mark.parametrize(("script", "expected"), CHANGES.values(), ids=CHANGES)
def test_changes_tell_what_happened_once(scene: Scene, script: str, expected: dict[str, str]) -> None:
    first, second = scene.run(change_by_shell, script)

    assert first == {f"home/{name}".rstrip("/"): kind for name, kind in expected.items()}
    assert second == {}


def change_extended_attributes(inside):
    inside.enter()
    os.setxattr(inside.home + "/app/config", "user.new", b"1")
    os.removexattr(inside.home + "/notes.txt", "user.kept")
    os.setxattr(inside.home + "/app", "user.new", b"1")
    return inside.changes()


@by_everyone
def test_extended_attributes_are_metadata(scene: Scene) -> None:
    assert scene.run(change_extended_attributes) == {
        "home/app/config": "metadata", "home/notes.txt": "metadata", "home/app": "metadata",
    }  # fmt: skip


def grant_by_access_lists(inside):
    # What ``setfacl -m u:$(id -u):r`` and ``-d`` do; that program is not on every machine.
    import struct

    inside.enter()
    entries = ((1, 6, -1), (2, 4, os.getuid()), (4, 4, -1), (16, 4, -1), (32, 4, -1))
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    os.setxattr(inside.home + "/notes.txt", "system.posix_acl_access", packed)
    os.setxattr(inside.home + "/app", "system.posix_acl_default", packed)
    return inside.changes(), inside.changes()


@by_everyone
def test_access_lists_are_metadata(scene: Scene) -> None:
    first, second = scene.run(grant_by_access_lists)

    assert first == {"home/notes.txt": "metadata", "home/app": "metadata"}
    assert second == {}


def change_flags(inside):
    import fcntl

    inside.enter()
    no_dump, immutable = 0x40, 0x10
    wanted = {"notes.txt": no_dump, "app": no_dump}
    if os.geteuid() == 0:
        wanted |= {"app/config": immutable, "app/data": immutable}
    for name, flags in wanted.items():
        descriptor = os.open(f"{inside.home}/{name}", os.O_RDONLY)
        fcntl.ioctl(descriptor, 0x40086602, flags.to_bytes(8, "little"))
    return sorted(f"home/{name}" for name in wanted), inside.changes()


@by_everyone
def test_file_flags_are_metadata(scene: Scene) -> None:
    wanted, told = scene.run(change_flags)

    assert told == dict.fromkeys(wanted, "metadata")


def change_owner(inside):
    inside.enter()
    os.chown(inside.home + "/notes.txt", 1, 1)
    os.lchown(inside.home + "/link", 1, 1)
    return inside.changes()


@by_root
def test_owner_is_metadata(scene: Scene) -> None:
    assert scene.run(change_owner) == {"home/notes.txt": "metadata", "home/link": "metadata"}


def change_again_and_again(inside, fine_times):
    from pytest_session_guard._controls.overlay import changes

    if not fine_times:
        # As on a kernel whose time stamps stand still for a tick.
        changes.has_fine_times = lambda: False
    inside.enter()
    rounds = [
        "echo x > new; rm notes.txt; chmod 600 app/config; mkdir made",
        "echo y >> new; echo z > notes.txt; echo more >> app/config",
        "chmod 600 new; echo a > made/b; rm app/config",
        "rm new; echo a >> made/b; mktemp -p app/data > /dev/null; rm app/data/tmp.*",
        "rm -r made; mktemp -p app/data > /dev/null; rm app/data/tmp.*",
        "cat app/data/one",
    ]
    told = []
    for script in rounds:
        inside.shell(script)
        told.append(inside.changes())
    return told


@by_everyone
@pytest.mark.parametrize("fine_times", [True, False], ids=["fine-times", "coarse-times"])
def test_each_look_tells_only_what_is_new(scene: Scene, fine_times: bool) -> None:
    assert scene.run(change_again_and_again, fine_times) == [
        {"home/new": "created", "home/notes.txt": "removed", "home/app/config": "metadata", "home/made": "created"},
        {"home/new": "content", "home/notes.txt": "replaced", "home/app/config": "content"},
        {"home/new": "metadata", "home/made/b": "created", "home/app/config": "removed"},
        {"home/new": "undone", "home/made/b": "content", "home/app/data": "names"},
        {"home/made": "undone", "home/app/data": "names"},
        {},
    ]


def change_and_put_back(inside):
    inside.enter()
    status = os.stat(inside.home + "/notes.txt")
    inside.put(inside.home + "/notes.txt", "fake")
    first = inside.changes()
    inside.put(inside.home + "/notes.txt", "real notes.txt")
    os.utime(inside.home + "/notes.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    return first, inside.changes()


@by_everyone
def test_what_is_put_back_is_undone(scene: Scene) -> None:
    assert scene.run(change_and_put_back) == [{"home/notes.txt": "content"}, {"home/notes.txt": "undone"}]


def close_to_all(inside):
    inside.enter()
    os.chmod(inside.home + "/app/data", 0o700)
    inside.put(inside.home + "/app/data/new")
    os.chmod(inside.home + "/app/data", 0)
    first = inside.changes()
    mode = os.stat(inside.home + "/app/data").st_mode & 0o777
    os.chmod(inside.home + "/app/data", 0o700)
    inside.put(inside.home + "/app/data/new", "more")
    return first, inside.changes(), mode


@by_everyone
def test_what_is_closed_to_the_user_is_read_all_the_same(scene: Scene) -> None:
    first, second, mode = scene.run(close_to_all)

    assert first == {"home/app/data": "metadata", "home/app/data/new": "created"}
    assert second["home/app/data/new"] == "content"
    assert mode == 0


def store_by_mapping(inside):
    import mmap

    inside.enter()
    with open(inside.home + "/notes.txt", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[0] = 88
        first = inside.changes()
        mapping[1] = 89
    return first, inside.get(inside.home + "/notes.txt")


@by_everyone
def test_store_into_a_mapping_is_content(scene: Scene) -> None:
    assert scene.run(store_by_mapping) == [{"home/notes.txt": "content"}, "XYal notes.txt"]


def patch_os(inside):
    inside.enter()
    inside.put(inside.home + "/new")

    def broken(*arguments, **keywords):
        raise RuntimeError("patched")

    for name in ("stat", "lstat", "fstat", "open", "scandir", "listdir", "listxattr", "readlink", "pread", "close"):
        setattr(os, name, broken)
    return inside.changes()


@by_everyone
def test_patched_os_functions_do_not_matter(scene: Scene) -> None:
    assert scene.run(patch_os) == {"home/new": "created"}


def make_deep_tree(inside):
    inside.enter()
    os.chdir(inside.home)
    for _ in range(300):
        os.mkdir("d" * 20)
        os.chdir("d" * 20)
    return len(inside.overlay.changes())


@by_everyone
def test_tree_deeper_than_any_path_is_read_to_a_limit(scene: Scene) -> None:
    assert scene.run(make_deep_tree) == 200


def change_kinds_of_object(inside):
    inside.enter()
    os.rmdir(inside.home + "/empty")
    inside.put(inside.home + "/new")
    os.unlink(inside.home + "/notes.txt")
    os.mkdir(inside.home + "/made")
    return {change.path: change.directory for change in inside.overlay.changes()}


@by_everyone
def test_change_says_whether_it_is_one_of_a_directory(scene: Scene) -> None:
    (scene.home / "empty").mkdir()

    told = scene.run(change_kinds_of_object)

    names = {path.rpartition("/")[2]: directory for path, directory in told.items()}
    assert names == {"empty": True, "new": False, "notes.txt": False, "made": True}
