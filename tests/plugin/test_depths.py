"""Real data deeper than a path can say is real data: it is refused by the place that it lies in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from project import MakeProject, Project

DEEP = "d" * 200
STEPS = 25  # 5,000 characters
SUITE = """\
import os, shutil
from pathlib import Path
import pytest

BASE = Path(__file__).parents[1]

def down(place):
    fd = os.open(place, os.O_RDONLY)
    for _ in range(25):
        above, fd = fd, os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(above)
    return fd

def acts(fd):
    os.fchdir(fd)
    yield lambda: os.unlink("real.txt", dir_fd=fd)
    yield lambda: os.unlink("real.txt")
    yield lambda: open("real.txt", "w").close()
    yield lambda: os.rename("real.txt", "other.txt", src_dir_fd=fd, dst_dir_fd=fd)
    yield lambda: os.chmod("real.txt", 0o600)
    yield lambda: os.truncate("real.txt", 0)
    yield lambda: shutil.rmtree(".")
    yield lambda: (os.link("real.txt", "alias.txt"), os.unlink("alias.txt"), os.unlink("real.txt"))

@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("place", ["protected", "shared", "workspace/deep"])
def test_hurts(place, number):
    fd = down(BASE / place)
    try:
        list(acts(fd))[number]()
    except OSError as problem:
        print(type(problem).__name__)
    finally:
        os.close(fd)
        os.chdir(Path(__file__).parent)

def test_creates_in_a_protected_place():
    fd = down(BASE / "protected")
    try:
        os.close(os.open("new.txt", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    except OSError:
        pass
    os.close(fd)
"""
OWN = """\
import os, shutil
from pathlib import Path

def dig(fd):
    for _ in range(25):
        os.mkdir("e" * 200, dir_fd=fd)
        above, fd = fd, os.open("e" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(above)
    with open(os.open("made.txt", os.O_WRONLY | os.O_CREAT, dir_fd=fd), "w") as file:
        file.write("made by the run")
    with open(os.open("made.txt", os.O_WRONLY | os.O_TRUNC, dir_fd=fd), "w") as file:
        file.write("made by the run again")
    os.close(fd)

def test_own_tree_in_a_temp_directory(tmp_path):
    dig(os.open(tmp_path, os.O_RDONLY))
    shutil.rmtree(tmp_path / ("e" * 200))

def test_own_tree_in_the_workspace():
    Path("own").mkdir()
    dig(os.open("own", os.O_RDONLY))
    shutil.rmtree("own")
"""


def down(place: Path) -> int:
    fd = os.open(place, os.O_RDONLY)
    for _ in range(STEPS):
        above, fd = fd, os.open(DEEP, os.O_RDONLY, dir_fd=fd)
        os.close(above)
    return fd


def fill(place: Path) -> None:
    place.mkdir(parents=True)
    fd = os.open(place, os.O_RDONLY)
    for _ in range(STEPS):
        os.mkdir(DEEP, dir_fd=fd)
        above, fd = fd, os.open(DEEP, os.O_RDONLY, dir_fd=fd)
        os.close(above)
    real = os.open("real.txt", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
    os.write(real, b"was here")
    os.close(real)
    os.close(fd)


def contents(place: Path) -> dict[str, tuple[bytes, int]]:
    fd = down(place)
    found = {}
    for name in os.listdir(fd):
        file = os.open(name, os.O_RDONLY, dir_fd=fd)
        found[name] = os.read(file, 99), os.fstat(file).st_mode & 0o777
        os.close(file)
    os.close(fd)
    return found


def project_with_depths(make_project: MakeProject, suite: str) -> Project:
    project = make_project({"test_it.py": suite})
    for place in ("protected", "shared", "workspace/deep"):
        fill(project.base / place if place != "workspace/deep" else project.root / "deep")
    return project


@pytest.mark.parametrize("layers", ["hook", "auto"])
def test_real_data_deeper_than_a_path_is_refused_and_the_place_is_named(make_project: MakeProject, layers: str) -> None:
    project = project_with_depths(make_project, SUITE.replace("workspace/deep", "project/deep"))
    places = project.base / "protected", project.base / "shared", project.root / "deep"

    result = project.run(
        "test_it.py",
        f"--session-guard-layers={layers}",
        f"--session-guard-protect={places[0]}",
        f"--session-guard-share={places[1]}",
    )

    assert [contents(place) for place in places] == [{"real.txt": (b"was here", 0o644)}] * 3, result.words
    assert result.outcomes == {"failed": 25}, result.words
    hurt = {
        touch["nodeid"] for touch in result.touches if touch["path"].endswith("/(deeper than a path can say)/real.txt")
    }
    assert len(hurt) >= 18, result.words


def test_it_is_gone_where_the_guard_is_out(make_project: MakeProject) -> None:
    project = project_with_depths(make_project, SUITE.replace("workspace/deep", "project/deep"))

    project.run("test_it.py", "-p", "no:session_guard", report=False)

    assert contents(project.base / "protected").get("real.txt") is None


@pytest.mark.parametrize("layers", ["hook", "auto"])
def test_tree_of_the_runs_own_may_be_as_deep_as_it_likes(make_project: MakeProject, layers: str) -> None:
    project = make_project({"test_it.py": OWN})

    result = project.run(f"--session-guard-layers={layers}")

    assert (result.status, result.touches) == (0, []), result.words
    assert not (project.root / "own").exists()
