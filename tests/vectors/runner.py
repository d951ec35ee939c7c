"""One try: a fresh world, a snapshot, the command in a process of its own, a wait for stragglers, a second snapshot."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from . import snapshot
from .homes import build_world
from .layers import Form, command
from .vector import Scene, Vector
from .verdicts import Outcome, naming, read_error, read_report

ORDINARY_ID: Final = 1000
RUN_LIMIT_S: Final = 40.0
STRAGGLER_LIMIT_S: Final = 8.0
OUTSIDE_THE_TREE: Final = ("tmp", "project", "out")
PR_SET_CHILD_SUBREAPER: Final = 36


def become_subreaper() -> None:
    """Make orphaned descendants children of this process, so that it can wait for what a run left running."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def try_vector(vector: Vector, form: Form) -> Outcome:
    """Try the vector once and say what came of it. This process must have one thread and no other children.

    :raises RuntimeError: the scratch world could not be built.
    """
    with _scratch() as base:
        scene = Scene(base)
        user = None if form.as_root or os.geteuid() != 0 else ORDINARY_ID
        _in_child(lambda: build_world(scene, vector), user)
        before = snapshot.take(str(base), OUTSIDE_THE_TREE)
        started = time.monotonic()
        status = _run(command(vector, form, scene), _environment(vector, scene), scene, user)
        survivors = _wait_for_stragglers()
        seconds = time.monotonic() - started
        after = snapshot.take(str(base), OUTSIDE_THE_TREE)
        output = (scene.out / "output.txt").read_text(encoding="utf-8", errors="backslashreplace")
        report = read_report(scene)
        return Outcome(
            vector=vector.name,
            form=form.label,
            changes=snapshot.abridge(snapshot.compare(before, after)),
            status=status,
            naming=naming(vector, scene, report, output),
            seconds=round(seconds, 3),
            survivors=survivors,
            error=read_error(scene),
            output=output[-6000:],
            began="test session starts" in output or bool(report),
            layers={name: facts["status"] for name, facts in report.get("layers", {}).items()},
        )


@contextmanager
def _scratch() -> Iterator[Path]:
    """A directory that everyone may enter, removed at the end whatever a vector made of it."""
    base = Path(tempfile.mkdtemp(prefix="vector-"))
    try:
        base.chmod(0o777)
        yield base
    finally:
        _make_removable(base)
        shutil.rmtree(base)


def _make_removable(base: Path) -> None:
    """Give back the permissions and flags that a vector, or an overlay's work directory of mode 000, took away."""
    if shutil.which("chattr"):
        subprocess.run(["chattr", "-R", "-i", "-a", str(base)], check=False, capture_output=True)
    base.chmod(0o700)
    # Through descriptors, because one vector makes a tree deeper than a path can name.
    for _, names, _, directory in os.fwalk(base):
        for name in names:
            if not stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                os.chmod(name, 0o700, dir_fd=directory)


def _in_child(work: Callable[[], None], user: int | None) -> None:
    """Run ``work`` in a fork that has become ``user`` for good."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if user is not None:
                _become(user)
            os.umask(0o022)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError("the scratch world could not be built, see stderr")


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _environment(vector: Vector, scene: Scene) -> dict[str, str]:
    """A small environment made from nothing, so that no variable of the outer run leaks in."""
    directory = str(Path(sys.executable).parent)
    environment = {
        "HOME": str(scene.home),
        "LANG": "C.UTF-8",
        "LOGNAME": "vectors",
        "PATH": f"{directory}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(scene.tmp),
        "USER": "vectors",
    }
    if vector.environment is not None:
        environment |= vector.environment(scene)
    return environment


def _run(words: list[str], environment: dict[str, str], scene: Scene, user: int | None) -> int:
    """Run the command to its end; its exit status, negative for a signal."""
    identity = {} if user is None else {"user": user, "group": user, "extra_groups": ()}
    with open(scene.out / "output.txt", "wb") as output:
        process = subprocess.Popen(
            words,
            cwd=scene.rootdir,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o022,
            **identity,  # type: ignore[call-overload]
        )
        try:
            return int(process.wait(RUN_LIMIT_S))
        except subprocess.TimeoutExpired:
            process.kill()
            return int(process.wait())


def _children() -> list[int]:
    return [int(number) for number in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def _command_line(process: int) -> str:
    try:
        return (
            Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="backslashreplace").strip()
        )
    except OSError:
        return "?"


def _wait_for_stragglers() -> list[str]:
    """Wait until every orphan of the run has ended; name and kill what outlasts the limit. They all are our children."""
    deadline = time.monotonic() + STRAGGLER_LIMIT_S
    killed: list[str] = []
    while True:
        try:
            reaped, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return killed
        if reaped == 0:
            if time.monotonic() > deadline:
                for process in _children():
                    killed.append(_command_line(process))
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.005)
