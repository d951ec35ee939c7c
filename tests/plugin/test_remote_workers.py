"""Workers that pytest-xdist reaches over a socket: each is guarded by a run of its own, and the controller answers for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from isolated import ordinary_account
from project import MakeProject, Project, Result, differences, lines_of

from .far_host import FarHost, base_interpreter, far_host, home_of, libraries, runs_of

HEAD = """\
import contextlib, os, signal, time
from pathlib import Path
import pytest

NOTES = Path.home() / ".chat" / "notes.txt"
STORE = Path.home() / "store"

"""
HARMS = HEAD + (
    "def test_harms():\n    with contextlib.suppress(OSError):\n        NOTES.write_text('x')\n\n"
    "def test_passes():\n    Path('made.txt').write_text('x')\n"
)
HARMS_IN_A_CHILD = (
    HEAD + "import subprocess\n\ndef test_harms():\n    subprocess.run(['sh', '-c', f'echo x > {NOTES}'])\n"
)
HARMS_ON_IMPORT = HEAD + "with contextlib.suppress(OSError):\n    NOTES.unlink()\n\ndef test_passes():\n    pass\n"
HOME = {".chat/notes.txt": "notes of a person\n", "store/real.json": "{}"}
INI = "[pytest]\n"


def ini(*lines: str) -> str:
    return INI + "".join(f"{line}\n" for line in lines)


def pair(make_project: MakeProject, suite: str, near: str = INI, far: str = INI) -> tuple[Project, Project]:
    """The same suite here and there; only the ini files may differ."""
    return (
        make_project({"test_it.py": suite, "pytest.ini": near}, HOME),
        make_project({"test_it.py": suite, "pytest.ini": far}, HOME),
    )


def report_of(result: Result) -> dict[str, object]:
    assert result.report is not None, result.words
    return dict(result.report)


def test_worker_elsewhere_is_guarded_by_a_run_of_its_own_and_the_controller_merges_it(
    make_project: MakeProject,
) -> None:
    near, far = pair(make_project, HARMS)
    before = home_of(far)

    with far_host(far) as host:
        result = near.run(*host.tx)

    assert differences(before, home_of(far)) == {}
    assert (result.status, result.outcomes) == (1, {"failed": 1, "passed": 1}), result.words
    assert [(touch["path"], touch["nodeid"], touch["outcome"]) for touch in result.touches] == [
        (f"{far.home}/.chat/notes.txt", "test_it.py::test_harms", "refused")
    ]
    assert result.touches[0]["process"] == f"gw0@{os.uname().nodename}"
    assert result.said_of("test_harms") == {"FAILED"}
    (run,) = runs_of(far)
    header = json.loads((run / "run.json").read_text())
    assert header["machine"] == Path("/etc/machine-id").read_text().strip()
    assert header["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert (header["worker"], header["rootdir"]) == ("gw0", str(far.root))
    (own,) = runs_of(near)
    assert header["controller"] == own.name
    report = result.report
    assert report is not None
    assert report["run"]["workers"] == ["gw0"]
    (remote,) = report["run"]["remote"]
    assert (remote["worker"], remote["id"], remote["boot"]) == ("gw0", run.name, header["boot"])
    assert f"gw0@{os.uname().nodename}:{far.root}/made.txt" in report["artifacts"]["created"]
    assert any('"nodeid":"test_it.py::test_harms"' in path.read_text() for path in own.glob("journal-main-*"))


def test_disarmed_worker_elsewhere_does_the_damage(make_project: MakeProject) -> None:
    near, far = pair(make_project, HARMS)

    with far_host(far) as host:
        result = near.run(*host.tx, "-p", "no:session_guard", report=False)

    assert (result.status, (far.home / ".chat" / "notes.txt").read_text()) == (0, "x"), result.words


def test_harm_outside_any_test_elsewhere_makes_the_run_red(make_project: MakeProject) -> None:
    near, far = pair(make_project, HARMS_ON_IMPORT)
    before = home_of(far)

    with far_host(far) as host:
        result = near.run(*host.tx)

    assert differences(before, home_of(far)) == {}
    assert (result.status, result.outcomes) == (1, {"passed": 1}), result.words
    assert [touch["path"] for touch in result.touches] == [f"{far.home}/.chat/notes.txt"]
    assert lines_of(result.stdout, "process: ", "gw0@")


def test_server_that_serves_again_guards_again(make_project: MakeProject) -> None:
    near, far = pair(make_project, HARMS)
    before = home_of(far)

    with far_host(far) as host:
        results = [near.run(*host.tx) for _ in range(3)]

    assert differences(before, home_of(far)) == {}
    assert [(result.status, result.outcomes) for result in results] == [(1, {"failed": 1, "passed": 1})] * 3
    told = [json.loads((run / "report.json").read_text())["layers"] for run in runs_of(far)]
    # "partial" where a thread of execnet's is outside: always in the first, which entered while the receiver ran already.
    assert [layers["overlay"]["status"] in ("partial", "enforced") for layers in told] == [True] * 3
    assert told[0]["overlay"]["status"] == "partial"


def test_two_workers_elsewhere_are_told_apart(make_project: MakeProject) -> None:
    suite = HEAD + (
        "@pytest.mark.parametrize('n', range(4))\ndef test_harms(n):\n    time.sleep(0.2)\n"
        "    with contextlib.suppress(OSError):\n        NOTES.write_text('x')\n"
    )
    near, far = pair(make_project, suite)
    farther = make_project({"test_it.py": suite, "pytest.ini": INI}, HOME)

    with far_host(far) as one, far_host(farther) as other:
        result = near.run(*one.tx, *other.tx)

    assert (result.status, result.outcomes) == (1, {"failed": 4}), result.words
    at = {touch["process"].partition("@")[0]: touch["path"] for touch in result.touches}
    assert at == {"gw0": f"{far.home}/.chat/notes.txt", "gw1": f"{farther.home}/.chat/notes.txt"}, result.touches
    assert report_of(result)["run"]["workers"] == ["gw0", "gw1"]  # type: ignore[index]


def test_path_that_is_not_utf8_travels(make_project: MakeProject) -> None:
    suite = HEAD + (
        "def test_harms():\n    with contextlib.suppress(OSError):\n"
        "        (Path.home() / os.fsdecode(b'caf\\xe9')).write_text('x')\n"
    )
    near, far = pair(make_project, suite)

    with far_host(far) as host:
        result = near.run(*host.tx)

    assert [touch["path"] for touch in result.touches] == [f"{far.home}/caf\udce9"], result.words


# -- what is claimed, and what is required -------------------------------------------------------------------------------


def test_report_claims_the_weakest_layers_of_all_workers(make_project: MakeProject) -> None:
    near, far = pair(
        make_project, HEAD + "def test_passes():\n    pass\n",
        near=ini("session_guard_layers = hook,manifest"), far=ini("session_guard_layers = hook"),
    )  # fmt: skip

    with far_host(far) as host:
        result = near.run(*host.tx)

    assert result.status == 0, result.words
    layers = report_of(result)["layers"]
    assert layers["hook"]["status"] == "enforced"  # type: ignore[index]
    assert layers["manifest"] == {"status": "off", "reason": f"gw0@{os.uname().nodename}: off", "abi": None}  # type: ignore[index]
    assert lines_of(result.stdout, "gw0@", "had manifest off")
    command = [sys.executable, "-m", "pytest_session_guard", "verify", str(near.report_path)]
    verified = near.call(*command, "--require-layer=manifest")
    assert verified.returncode == 1, verified


def test_worker_elsewhere_without_a_required_layer_stops_the_run(make_project: MakeProject) -> None:
    near, far = pair(
        make_project, HEAD + "def test_runs():\n    Path('ran').touch()\n",
        near=ini("session_guard_layers = hook,manifest", "session_guard_require = manifest"),
        far=ini("session_guard_layers = hook"),
    )  # fmt: skip

    with far_host(far) as host:
        result = near.run(*host.tx)

    assert result.status == 4, result.words
    assert lines_of(result.stderr, "worker gw0", "cannot begin", "manifest"), result.words
    assert not (far.root / "ran").exists()


@pytest.mark.parametrize("where", ["environment", "command line", "ini"])
def test_the_controllers_mode_is_not_weakened_elsewhere(make_project: MakeProject, where: str) -> None:
    near, far = pair(make_project, HARMS, near=ini("session_guard = enforce"), far=ini("session_guard = off"))
    before = home_of(far)

    with far_host(far) as host:
        env = {"SESSION_GUARD": "enforce"} if where == "environment" else {}
        arguments = ["--session-guard=enforce"] if where == "command line" else []
        result = near.run(*host.tx, *arguments, env=env)

    assert differences(before, home_of(far)) == {}
    assert (result.status, result.said_of("test_harms")) == (1, {"FAILED"}), result.words


def test_paths_of_the_command_line_and_the_far_ini_count_elsewhere(make_project: MakeProject) -> None:
    suite = HEAD + (
        "def write(*parts):\n    Path.home().joinpath(*parts).write_text('x')\n\n"
        "def test_declared_here():\n    write('store', 'new.json')\n\n"
        "def test_declared_there():\n    write('cellar', 'new.json')\n\n"
        "def test_nowhere_declared():\n    write('attic', 'new.json')\n"
    )
    near, far = pair(make_project, suite, far=ini("session_guard_share = ~/cellar"))
    for name in ("cellar", "attic"):
        (far.home / name).mkdir()

    with far_host(far) as host:
        result = near.run(*host.tx, "--session-guard-share=~/store")

    assert result.outcomes == {"failed": 1, "passed": 2}, result.words
    assert [touch["path"] for touch in result.touches] == [f"{far.home}/attic/new.json"]
    at = f"gw0@{os.uname().nodename}:{far.home}"
    assert result.report is not None
    assert set(result.report["artifacts"]["removed"]) == {f"{at}/store/new.json", f"{at}/cellar/new.json"}
    assert not (far.home / "store" / "new.json").exists()


def test_workspace_that_changed_elsewhere_can_be_brought_back_there(make_project: MakeProject) -> None:
    near, far = pair(make_project, HEAD + "def test_edits():\n    Path('kept.txt').write_text('changed')\n")
    (far.root / "kept.txt").write_text("as it was")

    with far_host(far) as host:
        result = near.run(*host.tx)
        # The server is there still; the run is over.
        (run,) = runs_of(far)
        restored = far.call(sys.executable, "-m", "pytest_session_guard", "restore", run.name)

    assert result.status == 0, result.words
    assert lines_of(result.stdout, "on gw0@", "1 file of the workspace changed")
    assert lines_of(result.stdout, f"session-guard restore {run.name}")
    assert (restored.returncode, (far.root / "kept.txt").read_text()) == (0, "as it was"), restored


def test_what_only_the_far_manifest_saw_makes_the_run_red(make_project: MakeProject) -> None:
    near, far = pair(make_project, HARMS_IN_A_CHILD, far=ini("session_guard_layers = hook,manifest"))

    with far_host(far) as host:
        result = near.run(*host.tx)

    assert (result.status, result.outcomes) == (1, {"passed": 1}), result.words
    assert [(touch["path"], touch["layer"]) for touch in result.touches] == [
        (f"{far.home}/.chat/notes.txt", "manifest")
    ]
    assert result.touches[0]["process"].startswith("gw0@")


@pytest.fixture
def ordinary_pair() -> Iterator[tuple[Project, Project]]:
    with ordinary_account() as (account, place):
        files = {"test_it.py": HARMS, "pytest.ini": INI}
        yield Project(place / "near", files, HOME, account), Project(place / "far", files, HOME, account)


def test_ordinary_user_elsewhere_is_guarded_and_told_what_holds_there(ordinary_pair: tuple[Project, Project]) -> None:
    near, far = ordinary_pair
    before = home_of(far)

    with far_host(far) as host:
        result = near.run(*host.tx)
    with far_host(far) as host:
        required = near.run(*host.tx, "--session-guard-require=overlay")

    assert differences(before, home_of(far)) == {}
    assert (result.status, result.said_of("test_harms")) == (1, {"FAILED"}), result.words
    assert result.report is not None
    # The socket server has a thread of its own, and only root's processes can move to an overlay then.
    assert result.report["layers"]["overlay"]["status"] == "unavailable", result.words
    assert lines_of(result.stdout, "gw0@", "had overlay unavailable")
    assert required.status == 4, required.words
    assert lines_of(required.stderr, "overlay"), required.words


# -- hosts and interpreters that are not fit ------------------------------------------------------------------------------


def test_host_without_the_plugin_stops_the_run(make_project: MakeProject, tmp_path: Path) -> None:
    near, far = pair(make_project, HEAD + "def test_runs():\n    Path('ran').touch()\n")

    with far_host(far, {"PYTHONPATH": str(libraries(tmp_path / "libs"))}, base_interpreter()) as host:
        result = near.run(*host.tx)

    assert result.status == 4, result.words
    assert lines_of(result.stderr, "worker gw0", "pytest-session-guard cannot be imported", base_interpreter())
    assert not (far.root / "ran").exists()


def test_host_that_does_not_load_the_plugin_gets_no_tests(make_project: MakeProject) -> None:
    suite = HEAD + "def test_runs():\n    Path('ran').touch()\n"
    near, far = pair(make_project, suite, far=ini("addopts = -p no:session_guard"))

    with far_host(far) as host:
        result = near.run(*host.tx, report=False)

    assert result.status == 4, result.words
    assert lines_of(result.stderr, "worker gw0", "does not load pytest-session-guard")
    assert not (far.root / "ran").exists()


def test_interpreter_without_pytest_stops_the_run(make_project: MakeProject, tmp_path: Path) -> None:
    bare = wrapper(tmp_path / "python", "")
    project = make_project({"test_it.py": "def test_passes():\n    pass\n"})

    result = project.run("--tx", f"popen//python={bare}", "--dist=load")

    assert result.status == 4, result.words
    assert lines_of(result.stderr, "worker gw0", "pytest, execnet cannot be imported", base_interpreter())


def test_interpreter_without_the_plugin_takes_it_from_the_controller(make_project: MakeProject, tmp_path: Path) -> None:
    other = wrapper(tmp_path / "python", str(libraries(tmp_path / "libs")))
    project = make_project({"test_it.py": HARMS, "pytest.ini": INI}, HOME)

    result = project.run("--tx", f"popen//python={other}", "--dist=load")

    assert result.changes == {}
    assert (result.status, result.said_of("test_harms")) == (1, {"FAILED"}), result.words
    assert report_of(result)["run"]["workers"] == ["gw0"]  # type: ignore[index]


def wrapper(path: Path, python_path: str) -> Path:
    """An interpreter of another environment: the base one, with what is on that path alone."""
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{python_path}" exec "{base_interpreter()}" -S "$@"\n')
    path.chmod(0o755)
    return path


# -- workers that work in another directory -------------------------------------------------------------------------------


def test_workers_directory_is_a_workspace(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": HARMS, "pytest.ini": INI}, {**HOME, "elsewhere/real.txt": "real"})
    for name in ("test_it.py", "pytest.ini"):
        (project.home / "elsewhere" / name).write_bytes((project.root / name).read_bytes())

    result = project.run("--tx", f"popen//chdir={project.home}/elsewhere", "--dist=load")

    changed = {path for path in result.changes if not path.startswith("elsewhere")}
    assert changed == set(), result.words
    assert (result.status, result.outcomes) == (1, {"failed": 1, "passed": 1}), result.words
    assert (project.home / "elsewhere" / "made.txt").read_text() == "x"
    assert f"{project.home}/elsewhere/made.txt" in report_of(result)["artifacts"]["created"]  # type: ignore[index]


def test_workers_directory_that_is_not_there_is_made(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": HARMS, "pytest.ini": INI}, HOME)

    result = project.run(
        "--tx", f"popen//chdir={project.home}/new", "--dist=load", f"--rsyncdir={project.root}", str(project.root),
        "-W", "ignore::DeprecationWarning",
    )  # fmt: skip

    assert (result.status, result.outcomes) == (1, {"failed": 1, "passed": 1}), result.words
    assert [touch["path"] for touch in result.touches] == [f"{project.home}/.chat/notes.txt"]
    assert (project.home / "new" / "made.txt").read_text() == "x"


@pytest.mark.parametrize("place", ["", "store", "{root}/.."])
def test_workers_directory_over_real_data_is_refused(make_project: MakeProject, place: str) -> None:
    project = make_project({"test_it.py": HARMS, "pytest.ini": INI}, HOME)
    directory = f"{project.home}/{place}".rstrip("/") if "{" not in place else place.format(root=project.root)

    result = project.run(
        "--tx", f"popen//chdir={directory}", "--dist=load", f"--session-guard-protect={project.home}/store"
    )

    assert (result.status, result.changes) == (4, {}), result.words
    assert lines_of(result.stderr, "--tx chdir="), result.words


def test_worker_here_that_does_not_load_the_plugin_gets_no_tests(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": "def test_passes():\n    pass\n"})
    far = project.base / "far"
    far.mkdir()
    (far / "test_it.py").write_text(HEAD + "def test_runs():\n    Path('ran').touch()\n")
    (far / "pytest.ini").write_text(ini("addopts = -p no:session_guard"))

    result = project.run("--tx", f"popen//chdir={far}", "--dist=load", report=False)

    assert result.status == 4, result.words
    assert lines_of(result.stderr, "worker gw0", "does not load pytest-session-guard")
    assert not (far / "ran").exists()


# -- ends that are not the end of the suite -------------------------------------------------------------------------------

DIES = HEAD + (
    "def test_a_harms():\n    with contextlib.suppress(OSError):\n        NOTES.write_text('x')\n\n"
    "def test_creates_and_dies():\n    (STORE / 'first.json').write_text('{}')\n    (STORE / 'second.json').write_text('{}')\n"
    "    with contextlib.suppress(OSError):\n        NOTES.unlink()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        pytest.param(["--max-worker-restart=0"], 1, id="not-replaced"),
        # pytest-xdist replaces it, and ends in an internal error of its own where nobody listens any more.
        pytest.param([], 3, id="not-to-be-replaced"),
    ],
)
def test_worker_that_dies_elsewhere_leaves_its_ledger_there_and_the_next_run_tidies_up(
    make_project: MakeProject, arguments: list[str], status: int
) -> None:
    near, far = pair(make_project, DIES)
    before = home_of(far)

    with far_host(far) as host:
        result = near.run(*host.tx, *arguments, "--session-guard-share=~/store")
    left = {path.name for path in (far.home / "store").iterdir()}
    (dead,) = runs_of(far)
    (far.root / "test_it.py").write_text("def test_passes():\n    pass\n")
    (near.root / "test_it.py").write_text("def test_passes():\n    pass\n")
    with far_host(far) as host:
        second = near.run(*host.tx, "--session-guard-share=~/store")

    assert result.status == status, result.words
    title = f"gw0@{os.uname().nodename}"
    assert lines_of(result.stdout, f"{title} died; its ledger stays there and cannot be merged")
    assert [touch["path"] for touch in result.touches] == [f"{far.home}/.chat/notes.txt", title]
    assert result.touches[0]["nodeid"] == "test_it.py::test_a_harms"
    assert "could not be merged" in result.touches[1]["reason"]
    assert left == {"real.json", "first.json", "second.json"}
    assert not (dead / "report.json").exists()
    assert second.status == 0, second.words
    # The identity of the first was recorded when the second was made; the second was only announced.
    changed = {path for path, facts in differences(before, home_of(far)).items() if facts != ("modified_ns",)}
    assert "store/first.json" not in changed
    assert changed <= {"store/second.json"}, changed


@pytest.mark.parametrize(("flag", "status"), [("-x", 2), ("--maxfail=1", 2)])
def test_run_that_stops_early_merges_what_was_done_elsewhere(make_project: MakeProject, flag: str, status: int) -> None:
    near, far = pair(make_project, HARMS.replace("test_passes", "test_zz") + "\ndef test_zzz():\n    time.sleep(30)\n")

    with far_host(far) as host:
        result = near.run(*host.tx, flag)

    assert result.status == status, result.words
    assert [touch["nodeid"] for touch in result.touches] == ["test_it.py::test_harms"]
    assert report_of(result)["run"]["workers"] == ["gw0"]  # type: ignore[index]


def test_ctrl_c_leaves_no_harm_elsewhere(make_project: MakeProject) -> None:
    hangs = HARMS + "\ndef test_zz_hangs():\n    Path('hangs').touch()\n    time.sleep(60)\n"
    near, far = pair(make_project, hangs)
    before = home_of(far)

    with far_host(far) as host:
        status, output = ended_by(signal.SIGINT, near, host)

    assert status == 2, output
    assert differences(before, home_of(far)) == {}
    report = json.loads(near.report_path.read_text())
    # Either its report arrived while the gateways were closed, or it is said that it did not.
    assert report["verdict"] == "violated"
    said = {touch["operation"] for touch in report["touches"] if touch["violation"]}
    assert said == {"worker"} or "open" in " ".join(said), report["touches"]


def test_controller_that_is_killed_leaves_nothing_elsewhere(make_project: MakeProject) -> None:
    hangs = HARMS + (
        "\ndef test_zz_hangs():\n    (STORE / 'mine.json').write_text('{}')\n    (STORE / 'next.json').write_text('{}')\n"
        "    Path('hangs').touch()\n    time.sleep(60)\n"
    )
    near, far = pair(make_project, hangs, far=ini("session_guard_share = ~/store"))
    before = home_of(far)

    # Only in the main thread does execnet's SIGINT end a test; where it is no use, execnet ends the process ten seconds later.
    with far_host(far, threads="main_thread_only") as host:
        status, output = ended_by(signal.SIGKILL, near, host)
        ended = far.root / ".session_guard" / "runs" / runs_of(far)[0].name / "closed.json"
        wait_for(ended, output)

    assert status == -signal.SIGKILL
    changed = {path for path, facts in differences(before, home_of(far)).items() if facts != ("modified_ns",)}
    assert changed == set(), output


def test_end_of_a_session_that_fails_elsewhere_ends_the_run_and_the_server_takes_the_next(
    make_project: MakeProject,
) -> None:
    near, far = pair(make_project, HARMS)
    (far.root / "conftest.py").write_text(
        "import pytest\n\n@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_sessionfinish():\n"
        "    yield\n    raise OSError('cannot send')\n"
    )

    with far_host(far, threads="main_thread_only") as host:
        near.run(*host.tx)
        (first,) = runs_of(far)
        wait_for(first / "closed.json", "")
        (far.root / "conftest.py").unlink()
        second = near.run(*host.tx)

    assert (second.status, second.outcomes) == (1, {"failed": 1, "passed": 1}), second.words
    assert [touch["nodeid"] for touch in second.touches] == ["test_it.py::test_harms"]


def wait_for(path: Path, output: str) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, output
        time.sleep(0.02)


def ended_by(how: signal.Signals, near: Project, host: FarHost) -> tuple[int, str]:
    """Run until the far worker hangs, and send the controller a signal; its exit status, and what it said."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:randomly",
        f"--session-guard-json={near.report_path}",
        *host.tx,
    ]
    with (near.base / "output").open("w") as output:
        process = subprocess.Popen(
            command, cwd=near.root, env=near.environment(), stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (host.place.root / "hangs").exists():
        assert time.monotonic() < deadline, (near.base / "output").read_text()
        assert process.poll() is None, (near.base / "output").read_text()
        time.sleep(0.02)
    os.killpg(process.pid, how)
    return process.wait(timeout=60), (near.base / "output").read_text()
