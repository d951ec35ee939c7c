"""Before Linux 6.6 memory keeps no user attributes: throw-away layers lie on the disk then, and must not stay there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from isolated import ordinary_account
from project import Account, Project

from pytest_session_guard._controls.overlay import probe

# What such a kernel answers, to nothing but the question for it.
OLD_KERNEL = """\
import errno, os
real = os.setxattr

def setxattr(path, name, value, *flags, **options):
    if name == "user.session_guard":
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    return real(path, name, value, *flags, **options)

os.setxattr = setxattr
"""
SUITE = """\
import os, shutil, signal, subprocess
from pathlib import Path
from pytest_session_guard._run.start import active_run

ROOT = Path(__file__).parent

def harm():
    subprocess.run("echo harmed > ~/.chat/notes.txt; mkdir ~/.chat/closed; chmod 0 ~/.chat/closed", shell=True, check=True)

def test_innocent(tmp_path):
    shutil.copytree(ROOT, tmp_path / "copy")
    for _ in os.walk(ROOT):
        pass

def test_harms():
    harm()

def test_dies():
    harm()
    keeper = active_run().walls.overlay.keeper_pid
    os.kill(keeper, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

def test_leaves_somebody_and_dies():
    subprocess.Popen("while [ ! -e $TMPDIR/go ]; do sleep 0.1; done; echo late > ~/.chat/notes.txt; touch $TMPDIR/gone", shell=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""

pytestmark = pytest.mark.skipif(probe().status == "unavailable", reason="no overlay is to be had here")


@pytest.fixture(params=["as it is", "ordinary"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    if request.param == "as it is":
        yield old_kernel(tmp_path, Account())
        return
    with ordinary_account() as (account, place):
        yield old_kernel(place, account)


def old_kernel(place: Path, account: Account) -> Project:
    return Project(place / "p", {"test_it.py": SUITE, "old/sitecustomize.py": OLD_KERNEL}, account=account)


def on_old_kernel(project: Project) -> dict[str, str]:
    return {"PYTHONPATH": str(project.root / "old")}


def guard(project: Project, *words: str) -> str:
    command = (project.account.python, "-m", "pytest_session_guard", *words)
    done = project.call(*command, env=on_old_kernel(project))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def layers(project: Project) -> list[str]:
    """The layers that lie there."""
    runs = project.root / ".session_guard" / "runs"
    return [os.fspath(place) for run in runs.iterdir() for place in (run / "overlay").glob("upper-*")]


def wait_until_gone(project: Project) -> None:
    deadline = time.monotonic() + 30
    while layers(project):
        assert time.monotonic() < deadline, layers(project)
        time.sleep(0.01)


def test_run_says_nothing_of_its_own_layers_and_leaves_none(project: Project) -> None:
    for arguments in (("-k", "innocent"), ("-k", "innocent", "-n2")):
        result = project.run(*arguments, env=on_old_kernel(project))

        assert (result.status, result.outcomes["passed"], result.touches) == (0, 1, []), result.words
        assert "tidied" not in result.words
        wait_until_gone(project)


def test_harm_is_contained_and_named_and_gone(project: Project) -> None:
    result = project.run("-k", "test_harms", env=on_old_kernel(project))

    assert (result.status, result.changes) == (1, {}), result.words
    assert {Path(touch["path"]).name for touch in result.touches_of("test_harms")} == {"notes.txt", "closed"}
    wait_until_gone(project)


def test_layers_of_a_killed_run_go_with_the_next(project: Project) -> None:
    killed = project.run("-k", "dies and not somebody", env=on_old_kernel(project))
    assert (killed.status, killed.changes) == (-9, {}), killed.words
    assert layers(project)

    assert "killed" in guard(project, "runs")
    following = project.run("-k", "innocent", env=on_old_kernel(project))

    assert following.status == 0, following.words
    assert "tidied" not in following.words
    wait_until_gone(project)
    assert guard(project, "clean") == "nothing to clean\n"


def test_layers_of_a_killed_run_go_by_the_command(project: Project) -> None:
    project.run("-k", "dies and not somebody", env=on_old_kernel(project))

    planned = guard(project, "clean", "--dry-run")
    assert layers(project)
    done = guard(project, "clean")

    assert "remove throw-away layers" in planned
    assert "removed throw-away layers" in done
    assert not layers(project)


def test_layers_in_which_somebody_lives_on_stay_as_long(project: Project) -> None:
    killed = project.run("-k", "somebody", env=on_old_kernel(project))
    assert killed.status == -9, killed.words
    assert len(layers(project)) == 1

    project.run("-k", "innocent", env=on_old_kernel(project))
    assert len(layers(project)) >= 1
    (project.tmp / "go").touch()
    wait_until_gone(project)

    assert (project.tmp / "gone").exists()
    assert (project.home / ".chat/notes.txt").read_text() == "notes of a person\n"


def test_doctor_leaves_nothing(project: Project) -> None:
    status = guard(project, "doctor")

    assert "overlay   enforced" in status
    deadline = time.monotonic() + 30
    while left := [path for path in project.tmp.iterdir() if path.name.startswith("session-guard-doctor-")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)
