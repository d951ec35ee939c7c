"""Where the overlay cannot be had: a reason that a user can act on, and a process that is where it was."""

# ruff: noqa: F811  a fixture that is imported has the name of an argument
from __future__ import annotations

import errno
import os
import platform
import resource
import shutil
import threading
import time

import pytest
from inside_overlay import LayerUnavailableError, mounts, namespaces, overlay
from overlay_scene import Scene, by_everyone, by_root, by_user, scene, snapshot  # noqa: F401

UNSHARE, SETNS, MOUNT, MOUNT_SETATTR, OPEN_TREE, CAPSET = 272, 308, 165, 442, 428, 126
SECCOMP = "a seccomp filter, as in a container, or a chroot forbids them"

only_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the filter has system call numbers of x86-64")


def enter_with_threads(inside):
    threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
    return inside.attempt()


@by_user
def test_threads_keep_a_user_out(scene: Scene) -> None:
    answer = scene.run(enter_with_threads)

    reason = (
        "1 other thread runs already, and a process with threads cannot enter a user namespace; "
        "start with session-guard run"
    )
    assert answer == {"reason": reason, "must_stop": False, "moved": [], "writable": True, "probed": reason}


def enter_beside_threads(inside):
    go, wrote = threading.Event(), threading.Event()

    def write():
        go.wait()
        inside.put(inside.home + "/by-thread")
        wrote.set()

    threading.Thread(target=write, daemon=True).start()
    inside.enter()
    inside.put(inside.home + "/by-main")
    go.set()
    wrote.wait()
    return inside.overlay.status, inside.overlay.reason, inside.changes()


@by_root
def test_root_enters_without_its_other_threads_and_says_so(scene: Scene) -> None:
    status, reason, told = scene.run(enter_beside_threads)

    assert (status, reason) == ("partial", "1 thread that ran before stays outside")
    assert told == {"home/by-main": "created"}
    assert (scene.home / "by-thread").exists()


def forbid_namespaces(inside, name):
    uid, gid = os.geteuid(), os.getegid()
    namespaces.unshare(namespaces.USERS)
    namespaces.map_own_ids(uid, gid)
    inside.put(f"/proc/sys/user/{name}", "0")
    namespaces.set_capabilities(namespaces.capabilities().without(range(64)))
    return inside.attempt()


@by_user
@pytest.mark.parametrize("name", ["max_user_namespaces", "max_mnt_namespaces"])
def test_limit_of_namespaces_is_named(scene: Scene, name: str) -> None:
    answer = scene.run(forbid_namespaces, name)

    reason = f"user.{name} is 0 (ENOSPC); raise it with sysctl"
    assert answer == {"reason": reason, "must_stop": False, "moved": [], "writable": True, "probed": reason}


def enter_under_filter(inside, number, error, argument=None):
    inside.forbid(number, error, argument)
    return inside.attempt()


@only_x86
@by_everyone
@pytest.mark.parametrize(
    ("number", "error", "expected"),
    [
        pytest.param(UNSHARE, errno.EPERM, f"user namespaces are refused (EPERM): {SECCOMP}", id="unshare-refused"),
        pytest.param(UNSHARE, errno.ENOSYS, "this kernel has no user namespaces (ENOSYS)", id="no-unshare"),
        pytest.param(
            MOUNT,
            errno.EPERM,
            "mounts are refused in the new namespace (EPERM): a security module or a container forbids them",
            id="mount-refused",
        ),
        pytest.param(
            MOUNT_SETATTR, errno.ENOSYS, "building the overlay needs Linux 5.12 or newer (ENOSYS)", id="old-kernel"
        ),
        pytest.param(OPEN_TREE, errno.ENOSYS, "building the overlay needs Linux 5.12 or newer (ENOSYS)", id="older"),
    ],
)
def test_refused_system_call_is_told_and_nothing_is_entered(
    scene: Scene, number: int, error: int, expected: str
) -> None:
    answer = scene.run(enter_under_filter, number, error)

    assert answer["reason"] == expected
    assert (answer["must_stop"], answer["moved"], answer["writable"]) == (False, [], True)
    # Two of them only show when something is really mounted.
    assert answer["probed"] in (expected, expected.replace("building the overlay", "mounting in the new namespace"), "")


@only_x86
@by_everyone
def test_refused_joining_enters_nothing(scene: Scene) -> None:
    answer = scene.run(enter_under_filter, SETNS, errno.EPERM)

    assert (answer["must_stop"], answer["moved"], answer["writable"]) == (False, [], True)


@only_x86
@by_everyone
def test_process_that_keeps_the_right_to_mount_is_told_to_stop(scene: Scene) -> None:
    answer = scene.run(enter_under_filter, CAPSET, errno.EPERM)

    assert answer["reason"] == (
        "the right to mount cannot be given up (Operation not permitted); a seccomp filter or a security module forbids it"
    )
    assert answer["must_stop"]


def enter_on_full_disk(inside, inodes):
    inside.unshare_mounts()
    mounts.mount("scratch", inside.scratch, "tmpfs", 0, f"mode=0700,nr_inodes={inodes}")
    return inside.attempt(upper="disk")


@by_everyone
def test_no_space_for_any_upper_layer_is_told(scene: Scene) -> None:
    answer = scene.run(enter_on_full_disk, 1)

    assert answer["reason"].startswith("building the overlay failed: no space for the upper layer (No space left")
    assert (answer["must_stop"], answer["moved"], answer["writable"]) == (False, [], True)


@by_everyone
def test_no_space_for_one_upper_layer_leaves_that_root_read_only(scene: Scene) -> None:
    answer = scene.run(enter_on_full_disk, 4)

    assert answer["status"] == "partial"
    assert answer["said"] == f"{scene.home} is read-only instead of overlaid (No space left on device)"


def fill_upper_layer(inside):
    inside.enter(upper_size_bytes=1 << 20, overlaid=(inside.project + "/.git",))
    big = "x" * (2 << 20)
    refused = [inside.refusal(inside.put, f"{inside.home}/{name}", big) for name in ("notes.txt", "app/big")]
    return refused, inside.overlay.status, inside.get(inside.home + "/app/config")


@by_everyone
def test_full_upper_layer_is_the_tests_own_disk_full(scene: Scene) -> None:
    before = snapshot(scene.home)

    refused, status, config = scene.run(fill_upper_layer)

    assert (refused, status, config) == (["ENOSPC", "ENOSPC"], "enforced", "real app/config")
    assert snapshot(scene.home) == before


def enter_without_scratch(inside):
    shutil.rmtree(inside.scratch)
    return inside.attempt()


@by_everyone
def test_missing_scratch_directory_is_told(scene: Scene) -> None:
    answer = scene.run(enter_without_scratch)

    assert answer["reason"].startswith("building the overlay failed: No such file or directory: ")
    assert (answer["must_stop"], answer["moved"], answer["writable"]) == (False, [], True)


def enter_from_nowhere(inside):
    os.mkdir(inside.tmp + "/gone")
    os.chdir(inside.tmp + "/gone")
    os.rmdir(inside.tmp + "/gone")
    return inside.attempt()


@by_everyone
def test_deleted_working_directory_is_told(scene: Scene) -> None:
    answer = scene.run(enter_from_nowhere)

    assert answer["reason"] == "the working directory is gone (No such file or directory)"
    assert (answer["must_stop"], answer["moved"], answer["writable"]) == (False, [], True)


def enter_without_processes(inside):
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    try:
        inside.enter()
    except LayerUnavailableError as problem:
        return problem.reason, problem.entered


@by_user
def test_limit_of_processes_is_told(scene: Scene) -> None:
    reason, must_stop = scene.run(enter_without_processes)

    assert reason.startswith("its keeper did not start: ")
    assert not must_stop


def enter_on_read_only_disk(inside, upper):
    inside.unshare_mounts()
    mounts.mount("scratch", inside.scratch, "tmpfs", 0, "mode=0700")
    mounts.freeze(inside.scratch)
    return inside.attempt(upper=upper)


@by_everyone
def test_read_only_scratch_directory_does_for_memory(scene: Scene) -> None:
    assert scene.run(enter_on_read_only_disk, "memory") == {"reason": None, "status": "enforced", "said": ""}


@by_everyone
def test_read_only_scratch_directory_does_not_do_for_the_disk(scene: Scene) -> None:
    answer = scene.run(enter_on_read_only_disk, "disk")

    assert answer["reason"].startswith("building the overlay failed: Read-only file system: ")
    assert (answer["must_stop"], answer["moved"], answer["writable"]) == (False, [], True)


def stick_half_way(inside, number, kind):
    from pytest_session_guard._controls.overlay import service

    wait = service.Ahead.built

    def wait_and_forbid(ahead):
        # From here on for this process alone: the keeper joins namespaces as well.
        built = wait(ahead)
        inside.forbid(number, errno.EPERM, (1, kind))
        return built

    service.Ahead.built = wait_and_forbid
    return inside.attempt()


@only_x86
@by_user
def test_half_entered_process_is_told_to_stop(scene: Scene) -> None:
    answer = scene.run(stick_half_way, SETNS, namespaces.MOUNTS)

    assert answer["reason"].startswith("joining what was built failed: ")
    assert (answer["must_stop"], answer["moved"]) == (True, ["user"])


def probe_twice(inside):
    before = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "user")]
    first, second = overlay.probe(), overlay.probe()
    after = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "user")]
    return first.status, first.reason, first == second, before == after


@by_everyone
def test_probe_changes_nothing(scene: Scene) -> None:
    assert scene.run(probe_twice) == ["enforced", "", True, True]


def sink_into_a_deep_place(inside, deep):
    inside.unshare_mounts()
    place = inside.base + "/" + deep
    os.makedirs(place, exist_ok=True)
    for _ in range(2):
        for name in ("u", "w"):
            os.makedirs(f"{inside.tmp}/{name}", exist_ok=True)
        mounts.mount("t", inside.tmp, "tmpfs", 0, "mode=0700")
        for name in ("u", "w"):
            os.makedirs(f"{inside.tmp}/{name}", exist_ok=True)
        layers = f"userxattr,lowerdir={place},upperdir={inside.tmp}/u,workdir={inside.tmp}/w"
        mounts.mount("o", place, "overlay", 0, layers)
    inside.enter(witnessed=() if place == inside.home else (place,))
    return inside.overlay.status, inside.overlay.reason, inside.refusal(open, inside.home + "/notes.txt", "a")


@by_everyone
def test_home_that_is_an_overlay_on_an_overlay_is_read_only(scene: Scene) -> None:
    status, reason, refused = scene.run(sink_into_a_deep_place, "home")

    assert status == "partial"
    assert reason == f"{scene.home} is read-only instead of overlaid (Invalid argument)"
    assert refused == "EROFS"


@by_everyone
def test_place_of_no_matter_that_can_have_no_overlay_takes_none_from_the_home(scene: Scene) -> None:
    # By name it comes before the home.
    assert scene.run(sink_into_a_deep_place, "data") == ["enforced", "", None]


def leave_the_base_for_half_a_place(inside):
    before = namespaces.capabilities()
    base = overlay.base.take_as_base(overlay.joining.leave(), before)
    with base.copied():
        elsewhere = overlay.joining.open_own_namespace("mnt")
    no_root = os.open(inside.home + "/notes.txt", os.O_RDONLY)
    number = 0
    try:
        with base.left_for(elsewhere, no_root):
            pass
    except OSError as problem:
        number = problem.errno
    here = os.stat("/proc/thread-self/ns/mnt").st_ino
    return number, here == os.fstat(base.namespace_fd).st_ino


@by_everyone
def test_keeper_that_enters_half_way_is_back_in_its_base(scene: Scene) -> None:
    assert scene.run(leave_the_base_for_half_a_place) == [errno.ENOTDIR, True]
