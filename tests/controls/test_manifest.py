"""The manifest: every change between two looks is a difference, and nothing else is."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_session_guard._controls.manifest import Difference, Manifest

LATER_NS = 1_700_000_000_123_456_789


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with one of everything, files long since settled."""
    root = tmp_path / "root"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty").mkdir()
    for name in ("a.txt", "b.txt", "deep/c.txt", "deep/er/d.txt"):
        (root / name).write_text("before")
    (root / "link").symlink_to("a.txt")
    os.mkfifo(root / "pipe")
    (root / "z-last").mkdir()
    (root / "z-last" / "e.txt").write_text("before")
    for path in (root / "a.txt", root / "b.txt"):
        os.utime(path, ns=(LATER_NS, LATER_NS))
    return root


def take(*roots: Path, skip: Callable[[str], bool] = lambda path: False, **options: int) -> Manifest:
    return Manifest.take([str(root) for root in roots], skip, **options)


def told(manifest: Manifest, root: Path) -> dict[str, str]:
    """Kind by path relative to the root; the entries of directories that moved with names are no matter here."""
    found = [one for one in manifest.differences() if one.kind != "names"]
    assert len({one.path for one in found}) == len(found), "a path is told once"
    return {os.path.relpath(one.path, root): one.kind for one in found}


def test_nothing_changed_is_no_difference(tree: Path) -> None:
    manifest = take(tree)

    for path in sorted(tree.rglob("*.txt")):
        path.read_text()

    assert manifest.differences() == []
    assert (manifest.unchecked, manifest.unlisted) == (0, 0)


def rename_over(tree: Path) -> None:
    (tree / "b.txt").rename(tree / "a.txt")


def write_and_put_times_back(tree: Path) -> None:
    found = (tree / "a.txt").stat()
    (tree / "a.txt").write_text("AFTER!")
    os.utime(tree / "a.txt", ns=(found.st_atime_ns, found.st_mtime_ns))


def swap_directory(tree: Path) -> None:
    (tree / "deep").rename(tree.parent / "kept")
    shutil.copytree(tree.parent / "kept", tree / "deep")


def file_to_directory(tree: Path) -> None:
    (tree / "a.txt").unlink()
    (tree / "a.txt").mkdir()


CHANGES = [
    pytest.param(lambda t: (t / "new.txt").touch(), {"new.txt": "created"}, id="create"),
    pytest.param(lambda t: (t / "deep/new").mkdir(), {"deep/new": "created"}, id="mkdir"),
    pytest.param(lambda t: (t / "deep/er/d.txt").unlink(), {"deep/er/d.txt": "removed"}, id="unlink"),
    pytest.param(lambda t: shutil.rmtree(t / "deep"), {"deep": "removed"}, id="rmtree"),
    pytest.param(lambda t: (t / "empty").rmdir(), {"empty": "removed"}, id="rmdir"),
    pytest.param(lambda t: (t / "a.txt").write_text("much longer"), {"a.txt": "content"}, id="other-size"),
    pytest.param(lambda t: (t / "a.txt").write_text("AFTER!"), {"a.txt": "content"}, id="same-size"),
    pytest.param(write_and_put_times_back, {"a.txt": "metadata"}, id="times-put-back"),
    pytest.param(lambda t: os.utime(t / "a.txt", ns=(0, 0)), {"a.txt": "content"}, id="utime"),
    pytest.param(lambda t: (t / "a.txt").chmod(0o600), {"a.txt": "metadata"}, id="chmod"),
    pytest.param(lambda t: (t / "z-last").chmod(0o700), {"z-last": "metadata"}, id="chmod-directory"),
    pytest.param(lambda t: t.chmod(0o700), {".": "metadata"}, id="chmod-root"),
    pytest.param(
        lambda t: os.link(t / "a.txt", t / "other"), {"a.txt": "metadata", "other": "created"}, id="hard-link"
    ),
    pytest.param(rename_over, {"a.txt": "replaced", "b.txt": "removed"}, id="rename-over"),
    pytest.param(swap_directory, {"deep": "replaced"}, id="directory-replaced"),
    pytest.param(file_to_directory, {"a.txt": "replaced"}, id="file-to-directory"),
    pytest.param(
        lambda t: [(t / "link").unlink(), (t / "link").symlink_to("b.txt")], {"link": "replaced"}, id="symlink-moved"
    ),
    pytest.param(
        lambda t: (t / "z-last/e.txt").rename(t / "a0"), {"z-last/e.txt": "removed", "a0": "created"}, id="move"
    ),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_each_change_is_told(tree: Path, change: Callable[[Path], object], expected: dict[str, str]) -> None:
    manifest = take(tree)

    change(tree)

    assert told(manifest, tree) == expected


def test_attribute_alone_is_told(tree: Path) -> None:
    manifest = take(tree)

    try:
        os.setxattr(tree / "a.txt", "user.note", b"x")
    except OSError:
        pytest.skip("the file system of the temp directory keeps no extended attributes")

    assert told(manifest, tree) == {"a.txt": "metadata"}


def test_store_into_a_mapping_that_moves_no_time_is_told_of_a_young_file(tree: Path) -> None:
    path = tree / "mapped"
    path.write_bytes(b"x" * 4096)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4096) as mapping:
        mapping[0] = ord("1")
        manifest = take(tree)
        before = path.stat()
        mapping[0] = ord("2")
        after = path.stat()

        if (before.st_mtime_ns, before.st_ctime_ns) != (after.st_mtime_ns, after.st_ctime_ns):
            pytest.skip("this file system stamps every store")
        assert manifest.differences() == [
            Difference(str(path), "content", detail="other content, although no time moved")
        ]


def test_what_is_no_file_is_never_opened(tree: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tree / "socket"))

        manifest = take(tree)  # opening the pipe would wait for ever
        (tree / "pipe").chmod(0o600)

        assert told(manifest, tree) == {"pipe": "metadata"}


def test_names_that_are_no_text_are_told(tree: Path) -> None:
    for name in (b"\xff\xfe", b"line\nbreak", b"-rf", b"n" * 255, b" "):
        (tree / os.fsdecode(name)).write_text("x")
    manifest = take(tree)

    (tree / os.fsdecode(b"\xff\xfe")).unlink()
    (tree / "line\nbreak").write_text("changed")

    assert told(manifest, tree) == {os.fsdecode(b"\xff\xfe"): "removed", "line\nbreak": "content"}


def test_skipped_places_are_not_looked_at_and_not_told(tree: Path) -> None:
    manifest = take(tree, skip=lambda path: path.endswith(("/deep", "/b.txt", "/cache")))

    (tree / "deep" / "c.txt").write_text("x")
    (tree / "b.txt").unlink()
    (tree / "cache").mkdir()
    (tree / "a.txt").unlink()

    assert told(manifest, tree) == {"a.txt": "removed"}


def test_root_inside_a_root_is_looked_at_once_even_where_the_outer_skips_it(tree: Path) -> None:
    inner = tree / "deep" / "er"
    manifest = take(tree, inner, skip=lambda path: path == str(tree / "deep"))

    (inner / "d.txt").write_text("x")
    (tree / "deep" / "c.txt").write_text("x")

    assert told(manifest, tree) == {"deep/er/d.txt": "content"}


def test_file_as_root(tree: Path) -> None:
    manifest = take(tree / "a.txt")

    (tree / "a.txt").write_text("longer than before")

    assert told(manifest, tree) == {"a.txt": "content"}


def test_absent_root_that_appears_is_created(tree: Path) -> None:
    manifest = take(tree / "absent")
    assert manifest.differences() == []

    (tree / "absent").mkdir()

    assert manifest.differences() == [Difference(str(tree / "absent"), "created", True)]


def vanish(root: Path) -> None:
    root.rename(root.parent / "elsewhere")


def replace_root(root: Path) -> None:
    vanish(root)
    root.mkdir()


def replace_ancestor(root: Path) -> None:
    root.parent.rename(root.parent.parent / "moved")
    shutil.copytree(root.parent.parent / "moved" / "root", root, symlinks=True, ignore=shutil.ignore_patterns("pipe"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(vanish, "is gone", id="gone"),
        pytest.param(replace_root, "something else stands there", id="replaced"),
        pytest.param(replace_ancestor, "on the way to it", id="ancestor-replaced"),
    ],
)
def test_root_that_vanished_is_incomparable_and_never_a_list_of_deleted_files(
    tree: Path, change: Callable[[Path], None], words: str
) -> None:
    home = tree.parent / "home"
    home.mkdir()
    root = home / "root"
    tree.rename(root)
    manifest = take(root)

    change(root)

    (only,) = manifest.differences()
    assert (only.path, only.kind) == (str(root), "incomparable")
    assert words in only.detail


def test_budget_leaves_directories_out_and_counts_them(tree: Path) -> None:
    manifest = take(tree, budget_entries=8)

    (tree / "z-last" / "e.txt").write_text("unseen")
    (tree / "a.txt").write_text("seen, and longer")

    assert told(manifest, tree) == {"a.txt": "content"}
    assert manifest.unchecked == 3
    assert manifest.unchecked_places[0] == (str(tree / "deep" / "er"), "the budget of 8 names was used up")


def test_directory_that_cannot_be_listed_is_unchecked_and_its_own_facts_are_compared(tree: Path) -> None:
    script = f"""
import os
from pytest_session_guard._controls.manifest import Manifest
if os.geteuid() == 0:
    os.setegid(12345), os.seteuid(12345)
manifest = Manifest.take([{str(tree)!r}], lambda path: False)
print(manifest.unchecked, manifest.unchecked_places, manifest.differences())
"""
    for path in (tree, *tree.parents):
        if path == Path("/tmp") or path.stat().st_uid != os.getuid():
            break
        path.chmod(path.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    (tree / "deep").chmod(0)

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    (tree / "deep").chmod(0o755)

    assert done.stdout.strip() == f"1 [({str(tree / 'deep')!r}, 'cannot be listed (Permission denied)')] []", (
        done.stderr
    )


def test_inventory_leaves_no_name_and_no_low_descriptor(tree: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    before = set(os.listdir("/proc/self/fd"))

    manifest = Manifest.take([str(tree)], lambda path: False, directory=str(place))
    opened = {
        int(fd)
        for fd in set(os.listdir("/proc/self/fd")) - before
        if os.path.exists(f"/proc/self/fd/{fd}") or int(fd) > 99
    }

    assert list(place.iterdir()) == []
    assert opened
    assert all(fd >= 500 for fd in opened)
    manifest.close()
    assert manifest.roots[0].stretch[1] > 0


# -- against an oracle -----------------------------------------------------------------------------------------------


def facts(root: Path) -> dict[str, tuple[object, ...]]:
    """What the oracle sees of every name: nothing of it is the manifest's code."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            state = os.lstat(os.path.join(directory, name))
            times = () if stat.S_ISDIR(state.st_mode) else (state.st_size, state.st_mtime_ns, state.st_ctime_ns)
            found[os.path.relpath(os.path.join(directory, name), root)] = (state.st_mode, state.st_ino, *times)
    return found


def topmost(paths: set[str], gone: set[str]) -> set[str]:
    """Of paths that came or went with their directories, the directories alone."""
    return {path for path in paths if not any(str(parent) in gone for parent in Path(path).parents)}


def mutate(root: Path, chance: random.Random) -> Iterator[str]:
    """Some random changes below a directory."""
    for _ in range(chance.randint(0, 6)):
        paths = sorted(path for path in root.rglob("*") if not path.is_symlink())
        path = chance.choice(paths) if paths else root
        match chance.choice(["write", "remove", "create", "mkdir", "chmod", "move", "tree"]):
            case "write" if path.is_file():
                path.write_text("x" * chance.randint(0, 9))
            case "remove" if path.is_file():
                path.unlink()
            case "tree" if path.is_dir() and path != root:
                shutil.rmtree(path)
            case "create":
                target = (path if path.is_dir() else path.parent) / chance.choice("abcdefgh")
                if not target.exists():
                    target.write_text("new")
            case "mkdir":
                target = (path if path.is_dir() else path.parent) / chance.choice(["d-1", "d.1", "d1", "d"])
                if not target.exists():
                    target.mkdir()
            case "chmod" if path.exists():
                path.chmod(stat.S_IMODE(path.stat().st_mode) ^ 0o001)
            case "move" if path.exists() and path != root:
                target = root / f"moved{chance.randint(0, 9)}"
                if not target.exists():
                    path.rename(target)
        yield str(path)


@pytest.mark.parametrize("seed", range(40))
def test_random_changes_are_told_as_an_oracle_tells_them(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    root = tmp_path / "root"
    root.mkdir()
    for _ in range(6):
        list(mutate(root, chance))
    before = facts(root)
    manifest = take(root)

    list(mutate(root, chance))
    after = facts(root)

    gone, come = before.keys() - after.keys(), after.keys() - before.keys()
    other = {path for path in before.keys() & after.keys() if before[path] != after[path]}
    replaced = {path for path in other if before[path][1] != after[path][1]}
    expected = topmost(gone | come | other, gone | come | replaced)
    assert told(manifest, root).keys() - {"."} == expected, f"seed {seed}"
