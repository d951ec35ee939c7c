"""Each xdist worker has upper layers of its own: whoever hurts a file at the same moment is charged with that one alone."""

from __future__ import annotations

import pytest
from capabilities import mount_namespace
from project import MakeProject

pytestmark = pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")

# Four tests in four files; all wait for one another, then each has a shell remove a file of its own.
SUITE = """\
import os, subprocess, time
from pathlib import Path

MEETING = Path(os.environ["TMPDIR"], "meeting")

def test_{name}():
    MEETING.mkdir(exist_ok=True)
    (MEETING / "{name}").touch()
    deadline = time.monotonic() + 60
    while len(os.listdir(MEETING)) < {count}:
        assert time.monotonic() < deadline, "the others did not come"
        time.sleep(0.001)
    subprocess.run(["rm", Path.home() / ".chat" / "{name}.txt"])
    assert not (Path.home() / ".chat" / "{name}.txt").exists()
"""


@pytest.mark.parametrize("workers", [0, 2, 4])
def test_each_test_is_charged_with_exactly_its_own_file(make_project: MakeProject, workers: int) -> None:
    names = "abcd"
    suites = {f"test_{name}.py": SUITE.format(name=name, count=workers or 1) for name in names[: workers or 4]}
    project = make_project(suites)
    for name in names:
        (project.home / ".chat" / f"{name}.txt").write_text(name)
    project.give_away()

    result = project.run("-n", str(workers), "--dist=loadfile")

    assert (result.status, result.changes) == (1, {}), result.words
    charged = sorted((touch["nodeid"], touch["path"].rpartition("/")[2]) for touch in result.touches)
    assert charged == [(f"test_{name}.py::test_{name}", f"{name}.txt") for name in names[: workers or 4]]
    assert {touch["outcome"] for touch in result.touches} == {"contained"}
