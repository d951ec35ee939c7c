"""Workers with layers of their own, pristine views, and the keeper behind them."""

# ruff: noqa: F811  a fixture that is imported has the name of an argument
from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from inside_overlay import LayerUnavailableError, namespaces, overlay
from overlay_scene import Scene, by_everyone, by_root, scene, snapshot  # noqa: F401

WORKER = """
import json, os, sys, threading, time
sys.path.insert(0, {package!r})
from pytest_session_guard._controls import overlay
threading.Thread(target=time.sleep, args=(10,), daemon=True).start()
inside = overlay.attach({address!r})
inside.restack(sys.argv[1])
home = {home!r}
seen = open(home + "/notes.txt").read()
open(home + "/notes.txt", "w").write(sys.argv[1])
told = [[change.path, change.kind] for change in inside.changes()]
status = open("/proc/self/status").read()
rights = status.split("CapEff:")[1].split()[0]
print(json.dumps([seen, open(home + "/notes.txt").read(), told, rights, os.getcwd()]))
sys.stdout.flush()
os._exit(0)
"""


def run_workers(inside, source, count):
    import pytest_session_guard

    package = os.path.dirname(os.path.dirname(pytest_session_guard.__file__))
    inside.enter(for_workers=True)
    inside.put(inside.home + "/notes.txt", "controller")
    own = inside.changes()
    script = source.format(package=package, address=inside.overlay.address, home=inside.home)
    workers = [
        subprocess.Popen([sys.executable, "-B", "-c", script, f"gw{number}"], stdout=subprocess.PIPE, cwd=inside.home)
        for number in range(count)
    ]
    said = [json.loads(worker.communicate()[0]) for worker in workers]
    left = {label: len(inside.overlay.stack(label).changes()) for label in inside.overlay.labels()}
    return own, said, inside.changes(), inside.get(inside.home + "/notes.txt"), left


@by_everyone
def test_workers_have_layers_of_their_own(scene: Scene) -> None:
    before = snapshot(scene.home)

    own, said, later, seen, left = scene.run(run_workers, WORKER, 2)

    path = str(scene.home / "notes.txt")
    assert (own, later, seen) == ({"home/notes.txt": "content"}, {}, "controller")
    for number, (first, second, told, rights, directory) in enumerate(said):
        # A worker starts from the real disk, not from what the controller's conftest made of it.
        assert (first, second, told) == ("real notes.txt", f"gw{number}", [[path, "content"]])
        assert int(rights, 16) & (1 << namespaces.CAP_SYS_ADMIN) == 0
        assert directory == str(scene.home)
    assert left == {"main": 1, "gw0": 1, "gw1": 1}
    assert snapshot(scene.home) == before


def crash_in_worker(inside):
    inside.enter(for_workers=True)
    pid = os.fork()
    if pid == 0:
        own = overlay.attach(inside.overlay.address)
        own.restack("gw0")
        os.unlink(inside.home + "/notes.txt")
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    start = len(inside.base) + 1
    return {change.path[start:]: change.kind for change in inside.overlay.stack("gw0").changes()}, inside.changes()


@by_everyone
def test_layer_of_a_killed_worker_can_be_read(scene: Scene) -> None:
    assert scene.run(crash_in_worker) == [{"home/notes.txt": "removed"}, {}]


def restart_worker(inside):
    inside.enter(for_workers=True)
    for name in ("notes.txt", "app/config"):
        pid = os.fork()
        if pid == 0:
            overlay.attach(inside.overlay.address).restack("gw0")
            os.unlink(f"{inside.home}/{name}")
            os.kill(os.getpid(), 9)
        os.waitpid(pid, 0)
    told = {label: inside.overlay.stack(label).changes() for label in inside.overlay.labels()}
    return {label: [os.path.basename(change.path) for change in changes] for label, changes in told.items()}


@by_everyone
def test_worker_that_comes_again_has_another_stack(scene: Scene) -> None:
    assert scene.run(restart_worker) == {"main": [], "gw0": ["notes.txt"], "gw0#2": ["config"]}


def ask_nonsense(inside):
    import _socket

    inside.enter()
    answers = []
    for request in (b"nonsense", b"[]", b'{"descriptors": 0}', b'{"descriptors": 0, "ask": "fly"}'):
        end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        end.connect("\0" + inside.overlay.address)
        end.send(request)
        answers.append("error" in end.recv(1000).decode())
        end.close()
    try:
        inside.overlay.stack("nobody")
    except OSError as problem:
        answers.append(str(problem))
    return answers, inside.overlay.labels()


@by_everyone
def test_keeper_survives_nonsense(scene: Scene) -> None:
    answers, labels = scene.run(ask_nonsense)

    assert answers[:4] == [False, False, True, True]
    assert "no stack of that label: 'nobody'" in answers[4]
    assert labels == ["main"]


def change_root_then_attach(inside):
    inside.enter()
    os.chmod(inside.home, 0o700)
    late = overlay.attach(inside.overlay.address)
    return [change.kind for change in late.changes()], inside.changes()


@by_everyone
def test_late_reader_sees_what_happened_to_the_root_itself(scene: Scene) -> None:
    assert scene.run(change_root_then_attach) == [["metadata"], {"home": "metadata"}]


def launch_and_kill(inside):
    inside.enter()
    pid = os.fork()
    if pid == 0:
        own = overlay.attach(inside.overlay.address)
        first = own.changes()
        inside.put(inside.home + "/late", str(len(first)))
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    return inside.changes(), inside.get(inside.home + "/late")


@by_everyone
def test_launcher_reads_the_layers_of_a_killed_run(scene: Scene) -> None:
    assert scene.run(launch_and_kill) == [{"home/late": "created"}, "0"]


def look_at_pristine(inside):
    inside.enter(writable=(inside.home + "/app/data",), overlaid=(inside.project + "/.git",))
    notes = inside.home + "/notes.txt"
    inside.put(notes, "damaged")
    told = [inside.changes()]
    os.chdir(inside.home + "/app")
    with inside.overlay.pristine(inside.home):
        seen = [inside.get(notes), os.listdir(".")]
        inside.put(notes, "by the test")
        inside.put(inside.home + "/app/data/shared")
        inside.put(inside.project + "/.git/HEAD", "by the test")
        os.mkdir("made")
        os.chdir("made")
        seen.append(inside.get(notes))
        seen.append(subprocess.run(["cat", notes], capture_output=True, text=True).stdout)
    told.append(inside.changes())
    return told, seen, inside.get(notes), inside.get(inside.project + "/.git/HEAD"), os.getcwd()


@by_everyone
def test_pristine_shows_real_data_and_forgets(scene: Scene) -> None:
    told, seen, later, head, directory = scene.run(look_at_pristine)

    assert told == [{"home/notes.txt": "content"}, {}]
    assert seen[0] == "real notes.txt"
    assert sorted(seen[1]) == ["config", "data"]
    assert seen[2:] == ["by the test", "by the test"]
    assert (later, head, directory) == ("damaged", "real src/project/.git/HEAD", str(scene.home / "app"))
    assert (scene.home / "app/data/shared").exists()
    assert (scene.home / "notes.txt").read_text() == "real notes.txt"


def look_at_pristine_places(inside):
    inside.put(inside.project + "/set/data")
    inside.enter()
    threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
    seen = []
    for path in (inside.home + "/app/config", inside.home + "/app", inside.project + "/set"):
        target = path + "/data" if path.endswith("set") else path + "/config" if path.endswith("app") else path
        with inside.overlay.pristine(path):
            real = inside.get(target)
            inside.put(target, "changed")
            with inside.overlay.pristine(path):
                nested = inside.get(target)
            seen.append([real, nested, inside.get(target)])
        seen[-1].append(inside.get(target))
    return seen, inside.changes()


@by_everyone
def test_pristine_of_a_file_a_directory_and_in_the_workspace(scene: Scene) -> None:
    seen, told = scene.run(look_at_pristine_places)

    config = "real app/config"
    assert seen == [[config, config, "changed", config]] * 2 + [["text", "text", "changed", "text"]]
    assert told == {}


def pristine_in_worker(inside):
    inside.enter(for_workers=True)
    pid = os.fork()
    if pid == 0:
        own = overlay.attach(inside.overlay.address)
        own.restack("gw0")
        inside.put(inside.home + "/notes.txt", "worker")
        with own.pristine(inside.home):
            seen = inside.get(inside.home + "/notes.txt")
            inside.put(inside.home + "/notes.txt", "x")
        os._exit(0 if (seen, inside.get(inside.home + "/notes.txt")) == ("real notes.txt", "worker") else 1)
    return os.waitpid(pid, 0)[1], inside.get(inside.home + "/notes.txt")


@by_everyone
def test_pristine_in_a_worker_is_the_workers_alone(scene: Scene) -> None:
    assert scene.run(pristine_in_worker) == [0, "real notes.txt"]


def fail_at_pristine(inside):
    inside.enter()
    reasons = []
    for path in (inside.home + "/no-such", "/proc/self"):
        try:
            with inside.overlay.pristine(path):
                reasons.append("entered")
        except LayerUnavailableError as problem:
            reasons.append(problem.reason)
    return reasons, inside.changes(), inside.get(inside.home + "/notes.txt")


@by_everyone
def test_pristine_of_what_cannot_be_overlaid_says_so(scene: Scene) -> None:
    reasons, told, seen = scene.run(fail_at_pristine)

    assert reasons[0].startswith(f"no pristine view of '{scene.home}/no-such': ")
    assert reasons[1].startswith("no pristine view of '/proc/self': ")
    assert (told, seen) == ({}, "real notes.txt")


def lose_the_keeper(inside):
    inside.enter()
    inside.put(inside.home + "/new")
    os.kill(inside.overlay.keeper_pid, signal.SIGKILL)
    time.sleep(0.05)
    reasons = []
    for use in (inside.overlay.pristine(inside.home).__enter__, lambda: overlay.attach(inside.overlay.address)):
        try:
            use()
        except LayerUnavailableError as problem:
            reasons.append(problem.reason)
    return inside.changes(), len(reasons), inside.refusal(open, inside.home + "/notes.txt", "a")


@by_everyone
def test_walls_and_layers_outlive_the_keeper(scene: Scene) -> None:
    assert scene.run(lose_the_keeper) == [{"home/new": "created"}, 2, None]
    assert not (scene.home / "new").exists()


def leave_keeper(inside, upper):
    inside.enter(upper=upper)
    inside.put(inside.home + "/new")
    os.chmod(inside.home + "/app", 0)
    place = os.readlink(f"/proc/self/fd/{inside.overlay.layers[0].upper_fd}")
    return inside.overlay.keeper_pid, "/upper-" in place, os.listdir(inside.scratch)


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline, "the keeper lives on"
        time.sleep(0.01)


@by_everyone
@pytest.mark.parametrize("upper", ["memory", "disk"])
def test_nothing_is_left_after_the_run(scene: Scene, upper: str) -> None:
    keeper_pid, is_on_disk, shown = scene.run(leave_keeper, upper)

    wait_for_end(keeper_pid)
    assert is_on_disk == (upper == "disk")
    assert shown == [], "tests that walk through their checkout would meet it"
    assert list((scene.base / "scratch").iterdir()) == []


def leave_leftovers(inside):
    inside.enter(upper="disk")
    inside.put(inside.home + "/new/file")
    os.chmod(inside.home + "/new", 0)
    told = inside.changes()
    os.chdir(inside.home + "/app")
    for _ in range(1200):  # deeper than Python calls itself, and than a process may have open
        os.mkdir("deep")
        os.chdir("deep")
    os.kill(inside.overlay.keeper_pid, 9)
    return told


def sweep(inside):
    return overlay.sweep_leftovers(inside.scratch), os.listdir(inside.scratch)


@by_everyone
def test_leftovers_of_a_killed_keeper_are_swept(scene: Scene) -> None:
    told = scene.run(leave_leftovers)
    (scene.base / "scratch/kept").write_text("not ours")
    assert any(path.name.startswith("upper-") for path in (scene.base / "scratch").iterdir())

    swept, left = scene.run(sweep)

    assert told == {"home/new": "created", "home/new/file": "created"}
    assert len(swept) == 1
    assert left == ["kept"]


def use_disk(inside):
    overlaid = inside.enter(upper="disk", overlaid=(inside.project + "/.git",))
    inside.put(inside.home + "/notes.txt", "changed")
    os.unlink(inside.project + "/.git/HEAD")
    with overlaid.pristine(inside.home):
        seen = inside.get(inside.home + "/notes.txt")
    return overlaid.status, inside.changes(), seen, inside.changes()


@by_everyone
def test_upper_layers_on_the_disk_do_the_same(scene: Scene) -> None:
    assert scene.run(use_disk) == [
        "enforced",
        {"home/notes.txt": "content", "home/src/project/.git/HEAD": "removed"},
        "real notes.txt",
        {},
    ]


def close_unheard(inside):
    inside.forbid(317, errno.ENOSYS)  # seccomp: nobody to wait for once the connections are closed
    inside.enter()
    keeper_pid = inside.overlay.keeper_pid
    inside.overlay.close()
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{keeper_pid}") and time.monotonic() < deadline:
        time.sleep(0.01)
    return os.path.exists(f"/proc/{keeper_pid}"), inside.refusal(os.mkdir, inside.base + "/x")


@by_everyone
def test_keeper_ends_when_the_last_connection_closes(scene: Scene) -> None:
    assert scene.run(close_unheard) == [False, "EROFS"]


def close_and_rename(inside):
    inside.enter()
    inside.put(inside.tmp + "/a")
    inside.overlay.close()
    return inside.overlay.keeper_pid, inside.refusal(os.rename, inside.tmp + "/a", inside.tmp + "/b")


@by_everyone
def test_keeper_hears_whoever_is_left_and_ends_with_the_last_process(scene: Scene) -> None:
    keeper_pid, refusal = scene.run(close_and_rename)

    assert refusal is None
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{keeper_pid}"):
        assert time.monotonic() < deadline, "the keeper is still there"
        time.sleep(0.01)


def talk_as_another_user(inside):
    import _socket

    inside.enter()
    name = inside.overlay.address
    os.setresgid(1, 1, 1)
    os.setresuid(1, 1, 1)
    stranger = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    stranger.connect("\0" + name)
    stranger.settimeout(2)
    try:
        stranger.send(b'{"ask": "labels"}')
        return stranger.recv(100).decode()
    except OSError as problem:
        return type(problem).__name__


@by_root
def test_keeper_does_not_talk_to_other_users(scene: Scene) -> None:
    assert scene.run(talk_as_another_user) in ("", "BrokenPipeError", "ConnectionResetError")


def keep_output_pipe(inside):
    inside.enter()
    return sorted(os.listdir(f"/proc/{inside.overlay.keeper_pid}/fd")) != [], os.getsid(0) != os.getsid(
        inside.overlay.keeper_pid
    )


def test_keeper_holds_no_pipe_of_the_run_open() -> None:
    # `Scene.run` reads to the end of the pipe, so a keeper that held it would make every test here hang; this one
    # says so by name.
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        probe = overlay.probe()
        os.write(writing, probe.status.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)

    assert os.read(reading, 100) in (b"enforced", b"partial", b"unavailable")
    assert os.read(reading, 1) == b""
    os.close(reading)
