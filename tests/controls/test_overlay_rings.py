"""What a ring (io_uring) is told to try is heard as the system call would be, and refused where that would be."""

# ruff: noqa: F811  a fixture that is imported has the name of an argument
from __future__ import annotations

import errno
import os
import time

import pytest
import ring
from capabilities import rings
from overlay_scene import Scene, by_everyone, scene, snapshot  # noqa: F401

pytestmark = pytest.mark.skipif(not rings(), reason="the kernel gives no ring here")

KINDS = {"plain": 0, "without-array": ring.NO_ARRAY, "own-memory": ring.OWN_MEMORY}
BY_KIND = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, id=name, marks=pytest.mark.skipif(not ring.gives(kind), reason="no such ring here"))
        for name, kind in KINDS.items()
        if rings()
    ],
)


def tell(inside, told, kind=0, by_index=False, started_before=False):
    """What came of what a ring was told, in a call each and then in one; and the tries: operation, path and other path."""
    ring = inside.rings()
    if started_before:
        early = ring.Ring(kind)
    inside.enter()
    one = early if started_before else ring.Ring(kind)
    if by_index:
        one.register_itself()
    entries = [getattr(ring, name)(*arguments) for name, *arguments in told]
    results = [one.tell(entry)[0] for entry in entries]
    start = len(inside.base) + 1
    tries = [[one.operation, one.path[start:], one.other[start:]] for one in inside.overlay.tries()]
    one.tell(*(ring.nothing(), *entries))
    again = [[one.operation, one.path[start:], one.other[start:]] for one in inside.overlay.tries()]
    return results, tries, again == tries, inside.overlay.askers_of_rings()


@by_everyone
@BY_KIND
def test_try_is_heard(scene: Scene, kind: int) -> None:
    before = snapshot(scene.home)
    home, out = str(scene.home), str(scene.base / "tmp" / "out")

    told = [("link", "notes.txt", out), ("rename", home + "/app", out), ("setxattr", "notes.txt", "trusted.x")]
    results, tries, are_heard_together, unheard = scene.run(tell, told, kind)

    assert results[:2] == [-errno.EXDEV] * 2
    assert results[2] < 0
    assert tries == [
        ["link", "home/notes.txt", "tmp/out"],
        ["rename", "home/app", "tmp/out"],
        ["setxattr", "home/notes.txt", ""],
    ]
    assert (are_heard_together, unheard) == (True, [])
    assert snapshot(scene.home) == before


@by_everyone
@pytest.mark.parametrize("options", [[True, False], [False, True]], ids=["by-index", "from-before"])
def test_ring_without_a_name_and_one_from_before_are_heard(scene: Scene, options: list[bool]) -> None:
    told = [("link", "notes.txt", str(scene.base / "tmp" / "out"))]

    results, *heard = scene.run(tell, told, 0, *options)

    assert results == [-errno.EXDEV]
    assert heard == [[["link", "home/notes.txt", "tmp/out"]], True, []]


@by_everyone
def test_what_hurts_nothing_is_not_heard(scene: Scene) -> None:
    tmp = str(scene.base / "tmp")
    (scene.base / "tmp" / "own").write_text("own")
    scene.give(scene.base / "tmp")

    told = [
        ("link", tmp + "/own", tmp + "/second"),
        ("rename", tmp + "/second", tmp + "/third"),
        ("link", "none", tmp + "/out"),
        ("unlink", tmp + "/third"),
        ("mkdir", tmp + "/directory"),
        ("symlink", "notes.txt", tmp + "/s"),
        ("open_to", os.O_RDONLY, "notes.txt"),
        ("mkdir", "app"),
    ]
    results, tries, *_ = scene.run(tell, told[:3])
    assert (results, tries) == ([0, 0, -errno.ENOENT], [])
    results, tries, *_ = scene.run(tell, told[3:6])
    assert (results, tries) == ([0, 0, 0], [])
    results, tries, *_ = scene.run(tell, told[6:])
    assert (results[1], tries) == (-errno.EEXIST, [])


def tell_polled(inside, told):
    ring = inside.rings()
    inside.enter()
    one = ring.Ring(ring.POLLED)
    result = one.tell(getattr(ring, told[0])(*told[1:]))
    return result, len(inside.overlay.askers_of_rings())


@pytest.mark.skipif(not (rings() and ring.gives(ring.POLLED)), reason="no such ring here")
@by_everyone
def test_ring_that_the_kernel_polls_is_noted(scene: Scene) -> None:
    told = ("link", "notes.txt", str(scene.base / "tmp" / "out"))

    assert scene.run(tell_polled, told) == [[-errno.EXDEV], 1]


def tell_without_descriptor(inside, told):
    ring = inside.rings()
    inside.enter()
    one = ring.Ring(ring.OWN_MEMORY)
    one.register_itself()
    one.close()
    before = inside.overlay.askers_of_rings()
    result = one.tell(getattr(ring, told[0])(*told[1:]))
    return before, result, len(inside.overlay.askers_of_rings())


@pytest.mark.skipif(not (rings() and ring.gives(ring.OWN_MEMORY)), reason="no such ring here")
@by_everyone
def test_ring_without_a_descriptor_is_noted(scene: Scene) -> None:
    told = ("link", "notes.txt", str(scene.base / "tmp" / "out"))

    assert scene.run(tell_without_descriptor, told) == [[], [-errno.EXDEV], 1]


def share(inside, told, kind=0):
    """What came of what a ring was told of a shared place, all in one call; the tries, and what was made."""
    ring = inside.rings()
    started_ns = time.time_ns()
    place = inside.base + "/store"
    inside.enter((place,), shared=(place,), started_ns=started_ns)
    os.chdir(place)
    one = ring.Ring(kind)
    try:
        results = one.tell(*(getattr(ring, name)(*arguments) for name, *arguments in told))
    except OSError as problem:
        results = errno.errorcode[problem.errno]
    start = len(place) + 1
    tries = [[one.operation, one.path[start:], one.refused] for one in inside.overlay.tries()]
    made = [[making.kind, making.path[start:]] for making in inside.overlay.makings()]
    return results, tries, sorted(made), sorted(os.listdir("."))


def make_store(scene: Scene) -> None:
    (scene.base / "store" / "deep").mkdir(parents=True)
    (scene.base / "store" / "real").write_text("real")
    scene.give(scene.base / "store")
    # Born before the run by more than the file system's grain.
    time.sleep(0.02)


@by_everyone
@BY_KIND
@pytest.mark.parametrize(
    ("told", "operation"),
    [
        pytest.param(("unlink", "real"), "remove", id="unlink"),
        pytest.param(("rename", "real", "other"), "rename", id="rename"),
        pytest.param(("link", "real", "second"), "link", id="link"),
        pytest.param(("setxattr", "real"), "setxattr", id="setxattr"),
        pytest.param(("open_to", os.O_WRONLY | os.O_TRUNC, "real"), "open", id="open-truncate"),
        pytest.param(("open2_to", os.O_RDWR, "real"), "open", id="openat2"),
    ],
)
def test_what_is_in_custody_is_held_and_nothing_of_that_call_is_done(
    scene: Scene, kind: int, told: tuple[object, ...], operation: str
) -> None:
    make_store(scene)
    before = snapshot(scene.base / "store")

    results, tries, made, _ = scene.run(share, [("mkdir", "new"), told], kind)

    assert (results, made) == ("EACCES", [])
    assert tries == [[operation, "real", True]]
    assert snapshot(scene.base / "store") == before


@by_everyone
@BY_KIND
def test_what_is_made_in_a_shared_place_is_told(scene: Scene, kind: int) -> None:
    make_store(scene)

    told = [
        ("mkdir", "directory"),
        ("symlink", "real", "symlink"),
        ("open_to", os.O_WRONLY | os.O_CREAT, "deep/file"),
        ("open_to", os.O_RDONLY, "real"),
    ]
    results, tries, made, left = scene.run(share, told, kind)

    assert min(results) >= 0
    assert tries == []
    assert made == [["lent", "deep/file"], ["lent", "directory"], ["lent", "symlink"]]
    assert left == ["deep", "directory", "real", "symlink"]
