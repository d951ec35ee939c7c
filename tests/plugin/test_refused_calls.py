"""A kernel that refuses a call, as a container's filter does: the next best layer, or a stop in one line before anything runs."""

from __future__ import annotations

import errno
import platform

import pytest
from project import MakeProject, Project

from pytest_session_guard._controls.overlay import probe

UNSHARE, LANDLOCK, CAPSET, FORK = 272, 444, 126, 56

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the filter has system call numbers of x86-64"),
    pytest.mark.skipif(probe().status == "unavailable", reason="no overlay is to be had here"),
]

FILTERED = """\
import ctypes, runpy, struct, sys
calls = [int(word) for word in sys.argv[1].split(",")]
rules = [(0x20, 0, 0, 0)]
for number in calls:
    rules += [(0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | @ERRNO@)]
rules.append((0x06, 0, 0, 0x7FFF0000))
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
program = struct.pack("=HxxxxxxQ", len(rules), ctypes.addressof(code))
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, program, 0, 0) == 0
del sys.argv[1]
runpy.run_module("pytest", run_name="__main__", alter_sys=True)
"""
SUITE = """\
import contextlib
from pathlib import Path

def test_harms():
    with contextlib.suppress(OSError):
        (Path.home() / ".chat" / "notes.txt").write_text("harmed")
"""
CONFTEST = "print('a conftest runs')\n"


def filtered(number: int) -> tuple[str, ...]:
    return ("-c", FILTERED.replace("@ERRNO@", str(number)))


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project({"test_it.py": SUITE, "conftest.py": CONFTEST})


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_process_that_stands_inside_with_all_its_rights_stops_in_one_line(
    project: Project, workers: tuple[str, ...]
) -> None:
    result = project.run(*workers, program=(*filtered(errno.EPERM), str(CAPSET)))

    assert (result.status, result.changes) == (4, {}), result.words
    assert "a conftest runs" not in result.words
    assert result.stderr.splitlines()[0] == (
        "ERROR: layer overlay is not to be had: the right to mount cannot be given up (Operation not permitted); "
        "a seccomp filter or a security module forbids it"
    )
    assert "Traceback" not in result.words


@pytest.mark.parametrize(
    ("calls", "number", "status", "reason"),
    [
        pytest.param((UNSHARE,), errno.EPERM, {"overlay": "unavailable", "seal": "enforced"}, "(EPERM)", id="seccomp"),
        pytest.param(
            (UNSHARE,), errno.ENOSYS, {"overlay": "unavailable", "seal": "enforced"}, "(ENOSYS)", id="no-call"
        ),
        pytest.param(
            (UNSHARE, LANDLOCK),
            errno.ENOSYS,
            {"overlay": "unavailable", "seal": "unavailable", "manifest": "enforced"},
            "(ENOSYS)",
            id="neither",
        ),
        pytest.param(
            (FORK,), errno.EAGAIN, {"hook": "partial", "overlay": "unavailable"}, "did not start", id="no-process"
        ),
    ],
)
def test_next_best_layer_takes_the_place(
    project: Project, calls: tuple[int, ...], number: int, status: dict[str, str], reason: str
) -> None:
    program = (*filtered(number), ",".join(map(str, calls)))

    result = project.run(program=program)
    required = project.run("--override-ini=session_guard_require=overlay", program=program)

    assert result.report is not None, result.words
    found = {name: result.report["layers"][name]["status"] for name in status}
    if found.get("seal") == "partial":
        # Beside other tests: what comes and goes around a home below /tmp while it is sealed can be left out.
        assert result.report["layers"]["seal"]["reason"], result.words
        found["seal"] = "enforced"
    assert found == status, result.report["layers"]
    assert reason in result.report["layers"]["overlay"]["reason"]
    assert (result.status, result.changes) == (1, {}), result.words
    assert [touch["outcome"] for touch in result.touches] == ["refused"]
    assert (required.status, required.changes) == (4, {}), required.words
    assert "a conftest runs" not in required.words
    assert required.stderr.startswith("ERROR: layer overlay is not to be had: ")
