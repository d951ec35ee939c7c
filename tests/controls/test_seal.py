"""The seal: what Landlock refuses, what it lets pass, and how truthfully it says so."""

# ruff: noqa: F811  a fixture that is imported has the name of an argument
from __future__ import annotations

import errno
import os
import platform
import subprocess
import threading
import time

import pytest
from inside_overlay import LayerUnavailableError, seal
from overlay_scene import Scene, by_everyone, by_root, by_user, scene, snapshot  # noqa: F401

from pytest_session_guard._host import landlock

LANDLOCK_CREATE = 444
only_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the filter has system call numbers of x86-64")


def seal_and_hurt(inside, way):
    home, notes, config = inside.home, inside.home + "/notes.txt", inside.home + "/app/config"
    own = inside.put(inside.tmp + "/own")
    seal.enter((inside.tmp, inside.project))
    ways = {
        "write": lambda: open(notes, "w").close(),
        "append": lambda: open(notes, "a").close(),
        "create": lambda: open(home + "/new", "x").close(),
        "truncate": lambda: os.truncate(notes, 1),
        "truncate-read-only": lambda: os.close(os.open(notes, os.O_RDONLY | os.O_TRUNC)),
        "unlink": lambda: os.unlink(notes),
        "rename": lambda: os.rename(notes, config),
        "rename-out": lambda: os.rename(notes, inside.tmp + "/notes"),
        "rename-in": lambda: os.rename(own, notes),
        "link-out": lambda: os.link(notes, inside.tmp + "/alias"),
        "mkdir": lambda: os.mkdir(home + "/made"),
        "rmdir": lambda: os.rmdir(home + "/empty"),
        "symlink": lambda: os.symlink("x", home + "/sym"),
        "mkfifo": lambda: os.mkfifo(home + "/fifo"),
        "by-proc": lambda: open(f"/proc/self/root{notes}", "w").close(),
        "ancestor": lambda: os.rename(home, inside.base + "/stolen"),
        "child": lambda: subprocess.run(["/bin/sh", "-c", f"rm {notes}; echo x > {config}"], check=True),
    }
    try:
        ways[way]()
    except (OSError, subprocess.CalledProcessError) as problem:
        return type(problem).__name__
    return "done"


SEALED = (
    "write", "append", "create", "truncate", "truncate-read-only", "unlink", "rename", "rename-out", "rename-in",
    "link-out", "mkdir", "rmdir", "symlink", "mkfifo", "by-proc", "ancestor", "child",
)  # fmt: skip


@by_everyone
@pytest.mark.parametrize("way", SEALED)
def test_sealed_home_is_kept(scene: Scene, way: str) -> None:
    (scene.home / "empty").mkdir()
    before = snapshot(scene.home)

    said = scene.run(seal_and_hurt, way)

    assert snapshot(scene.home) == before
    assert said in ("PermissionError", "OSError", "CalledProcessError")


def seal_and_work(inside):
    output = inside.put(inside.home + "/report.xml", "")
    sealed = seal.enter((inside.tmp, inside.project, output, inside.home + "/no-such"), protected=(inside.home,))
    inside.put(inside.tmp + "/a/b")
    os.rename(inside.tmp + "/a/b", inside.tmp + "/c")
    os.rename(inside.tmp + "/c", inside.project + "/c")
    os.truncate(inside.project + "/c", 2)
    inside.put(output, "results")
    inside.put("/dev/null")
    inside.put("/dev/shm/session-guard-" + str(os.getpid()))
    os.unlink("/dev/shm/session-guard-" + str(os.getpid()))
    for end in os.openpty():
        os.close(end)
    inside.put("/proc/self/comm", "sealed")
    child = subprocess.run(
        ["/bin/sh", "-c", f"echo x > {inside.tmp}/d; echo out; cat {inside.home}/notes.txt"],
        capture_output=True,
        text=True,
    )
    return sealed.status, sealed.absent, child.stdout, child.stderr


@by_everyone
def test_writable_places_and_reading_work_under_the_seal(scene: Scene) -> None:
    status, absent, output, errors = scene.run(seal_and_work)

    assert status == "enforced"
    assert absent == [str(scene.home / "no-such")]
    assert (output, errors) == ("out\nreal notes.txt", "")
    assert (scene.home / "report.xml").read_text() == "results"


def seal_and_change_metadata(inside):
    sealed = seal.enter((inside.tmp,))
    notes = inside.home + "/notes.txt"
    os.chmod(notes, 0o600)
    os.utime(notes, (1, 1))
    os.setxattr(notes, "user.more", b"1")
    return sealed.reason


@by_everyone
def test_metadata_passes_and_the_reason_says_so(scene: Scene) -> None:
    reason = scene.run(seal_and_change_metadata)

    # Landlock has no right for it. When this fails, a kernel has learnt it: mend the docstring and the reason.
    assert (scene.home / "notes.txt").stat().st_mode & 0o777 == 0o600
    assert reason.endswith("changes of mode, owner, times and xattrs are not covered")


def seal_twice(inside):
    seal.enter((inside.tmp,))
    try:
        seal.enter((inside.tmp,))
    except LayerUnavailableError as problem:
        return os.getpid(), problem.reason


@by_everyone
def test_second_seal_is_refused_with_a_clear_error(scene: Scene) -> None:
    pid, reason = scene.run(seal_twice)

    assert reason == f"process {pid} sealed itself and all its children already"


def seal_in_threads(inside):
    said = []

    def enter_and_hurt():
        try:
            seal.enter((inside.tmp,))
            said.append("sealed")
        except LayerUnavailableError:
            said.append("refused")
        try:
            open(inside.home + "/notes.txt", "a").close()
        except OSError:
            return
        said.append("hurt")

    def started_from_there():
        enter_and_hurt()
        further = threading.Thread(target=enter_and_hurt)
        further.start()
        further.join()

    for what in (started_from_there, enter_and_hurt):
        one = threading.Thread(target=what)
        one.start()
        one.join()
    return said, landlock.abi()


@by_user
def test_thread_that_no_sealed_one_started_can_be_sealed_too(scene: Scene) -> None:
    said, version = scene.run(seal_in_threads)

    last = "sealed" if version < landlock.ALL_THREADS_ABI else "refused"
    assert said == ["sealed", "refused", last]


def seal_too_often(inside):
    version = landlock.abi()
    if os.geteuid():
        landlock.forbid_new_privileges()
    for _ in range(16):
        landlock.confine((inside.tmp,), version, False)
    probed = seal.probe()
    try:
        seal.enter((inside.tmp,))
    except LayerUnavailableError as problem:
        return problem.reason, probed.reason


@by_everyone
def test_sixteen_seals_are_the_limit(scene: Scene) -> None:
    assert scene.run(seal_too_often) == ["sixteen Landlock rulesets bind this process already (E2BIG)"] * 2


def seal_beside_thread(inside):
    threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
    return landlock.abi(), seal.probe(), seal.enter((inside.tmp,))


@by_everyone
def test_threads_from_before_make_it_partial(scene: Scene) -> None:
    version, probed, sealed = scene.run(seal_beside_thread)

    if version < landlock.ALL_THREADS_ABI:
        assert (probed["status"], sealed["status"]) == ("partial", "partial")
        assert sealed["reason"].startswith("1 thread that ran before is not sealed; ")
    else:
        assert (probed["status"], sealed["status"]) == ("enforced", "enforced")
    assert probed["abi"] == sealed["abi"] == version


def seal_around_exception(inside):
    sealed = seal.enter((inside.project, inside.tmp), protected=(inside.home, inside.project + "/.git"))
    inside.put(inside.project + "/.git/HEAD", "not held")
    return sealed.status, sealed.reason


@by_everyone
def test_protected_place_in_a_writable_one_is_said_to_be_open(scene: Scene) -> None:
    status, reason = scene.run(seal_around_exception)

    assert status == "partial"
    assert reason.startswith(
        f"{scene.home}/src/project/.git lies in a writable place, and Landlock knows no exceptions; "
    )


def seal_and_spare(inside, spare):
    inside.put(inside.base + "/other/old")
    os.symlink(inside.home, inside.base + "/other/way")
    os.symlink(inside.home, inside.base + "/way")
    found = seal.enter([inside.base], [inside.home], [inside.base] if spare else [])
    tries = {
        "in home": inside.refusal(os.remove, inside.home + "/notes.txt"),
        "through a link beside it": inside.refusal(os.remove, inside.base + "/way/app/config"),
        "in what was beside it": inside.refusal(os.mkdir, inside.base + "/other/new"),
        "in the temp directory": inside.refusal(os.mkdir, inside.tmp + "/new"),
        "directly in it": inside.refusal(os.mkdir, inside.base + "/new"),
    }
    return found.status, list(found.exposed), [what for what, refused in tries.items() if refused]


@by_everyone
def test_spare_place_is_parted_so_that_the_home_in_it_is_held(scene: Scene) -> None:
    assert scene.run(seal_and_spare, True) == [
        "enforced",
        [],
        ["in home", "through a link beside it", "directly in it"],
    ]


@by_everyone
def test_place_that_cannot_be_spared_leaves_the_home_in_it_open(scene: Scene) -> None:
    assert scene.run(seal_and_spare, False) == ["partial", [str(scene.home)], []]


def seal_under_filter(inside, error):
    inside.forbid(444, error)
    probed = seal.probe()
    try:
        seal.enter((inside.tmp,))
    except LayerUnavailableError as problem:
        return problem.reason, probed.status, probed.reason, inside.refusal(os.mkdir, inside.base + "/writable")


@only_x86
@by_everyone
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(
            errno.ENOSYS,
            "this kernel has no Landlock (ENOSYS): it needs Linux 5.13 or newer with it built in",
            id="not-built",
        ),
        pytest.param(
            errno.EOPNOTSUPP,
            "Landlock is switched off (ENOTSUP): add landlock to the lsm= list of the kernel command line",
            id="switched-off",
        ),
        pytest.param(
            errno.EPERM,
            "Landlock is refused (EPERM): a seccomp filter, as in a container, forbids it",
            id="filtered",
        ),
    ],
)
def test_missing_landlock_is_told(scene: Scene, error: int, expected: str) -> None:
    assert scene.run(seal_under_filter, error) == [expected, "unavailable", expected, None]


def seal_by_old_interface(inside, version):
    # A kernel of that age handles these rights alone; the newest handles them as it did.
    own = inside.put(inside.tmp + "/one/own")
    os.mkdir(inside.tmp + "/other")
    landlock.abi = lambda: version
    sealed = seal.enter((inside.tmp,))
    return (
        sealed.abi, sealed.status, sealed.reason.split("; "),
        inside.refusal(os.truncate, inside.home + "/notes.txt", 1),
        inside.refusal(os.unlink, inside.home + "/app/config"),
        inside.refusal(os.rename, own, inside.tmp + "/other/own"),
    )  # fmt: skip


@by_everyone
@pytest.mark.parametrize(
    ("version", "status", "gaps", "truncate", "rename"),
    [
        pytest.param(
            1,
            "partial",
            ["refuses every rename into another directory", "lets truncate pass"],
            None,
            "EXDEV",
            id="5.13",
        ),
        pytest.param(2, "partial", ["lets truncate pass"], None, None, id="5.19"),
        pytest.param(3, "enforced", [], "EACCES", None, id="6.2"),
        pytest.param(6, "enforced", [], "EACCES", None, id="6.12"),
    ],
)
def test_older_interfaces_are_used_as_far_as_they_go(
    scene: Scene, version: int, status: str, gaps: list[str], truncate: str | None, rename: str | None
) -> None:
    abi, said, reasons, truncated, unlinked, renamed = scene.run(seal_by_old_interface, version)

    assert (abi, said) == (version, status)
    assert len(reasons) == len(gaps) + 1
    assert all(gap in reason for gap, reason in zip(gaps, reasons, strict=False))
    assert (truncated, unlinked, renamed) == (truncate, "EACCES", rename)


def seal_and_gain(inside):
    seal.enter((inside.tmp,))
    return [line.split()[1] for line in open("/proc/self/status") if line.startswith("NoNewPrivs")]


@by_root
def test_root_keeps_set_uid_programs(scene: Scene) -> None:
    assert scene.run(seal_and_gain) == ["0"]


@by_user
def test_users_set_uid_programs_gain_nothing(scene: Scene) -> None:
    assert scene.run(seal_and_gain) == ["1"]


def probe_seal(inside):
    answers = [seal.probe(), seal.probe()]
    inside.put(inside.base + "/still/writable")
    return [answer.status for answer in answers]


@by_everyone
def test_probe_seals_nothing(scene: Scene) -> None:
    assert scene.run(probe_seal) == ["enforced", "enforced"]
