"""``session-guard verify``: the last step of a CI job, which fails closed."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from project import MakeProject, Project, Result

SUITE = "from pathlib import Path\n\ndef test_passes():\n    Path('new.txt').touch()\n\ndef test_too():\n    pass\n"
HARM = "from pathlib import Path\n\ndef test_harms():\n    (Path.home() / '.chat' / 'notes.txt').unlink()\n"


class Verifying:
    """A clean run's report, and the command on it."""

    def __init__(self, project: Project, result: Result) -> None:
        assert result.report is not None, result.words
        self.project = project
        self.report = result.report

    def verify(self, report: object = None, *args: str, root: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command on a report: a JSON value, a text, or the run's own."""
        path = self.project.tmp / "given.json"
        path.write_text(report if isinstance(report, str) else json.dumps(report or self.report), encoding="utf-8")
        return verify(self.project, str(path), *args, root=root)


def verify(project: Project, *args: str, root: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``session-guard verify`` in the project."""
    return project.call(sys.executable, "-m", "pytest_session_guard", "verify", *args, cwd=root)


@pytest.fixture(scope="module")
def clean(make_shared_project: MakeProject) -> Verifying:
    """The report of a clean run of two tests."""
    project = make_shared_project({"test_it.py": SUITE})
    return Verifying(project, project.run())


def test_clean_report_is_verified(clean: Verifying) -> None:
    done = clean.verify()

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("verified: ")


def test_checkout_is_the_one_around_the_working_directory(clean: Verifying) -> None:
    inside = clean.project.root / "deep" / "down"
    inside.mkdir(parents=True)

    assert clean.verify(root=inside).returncode == 0
    refused = clean.verify(root=clean.project.home)
    assert (refused.returncode, "not about" in refused.stderr) == (1, True), refused.stderr


def test_command_is_installed_under_its_name(clean: Verifying) -> None:
    command = Path(sys.executable).parent / "session-guard"

    done = clean.project.call(str(command), "verify", str(clean.project.report_path))

    assert (done.returncode, done.stderr) == (0, "")


def spoil(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A function that gives one fact of a report another value."""

    def change(report: dict[str, Any]) -> None:
        for name in path[:-1]:
            report = report[name]
        report[path[-1]] = value

    return change


REJECTED = (
    pytest.param(spoil("violations", value=1), (), "1 violation", id="violations"),
    pytest.param(spoil("verdict", value="violated"), (), "verdict", id="verdict"),
    pytest.param(spoil("verdict", value="report-only"), (), "verdict", id="report_only"),
    pytest.param(spoil("touches", value=[{"violation": True}]), (), "1 violation", id="a_violating_touch"),
    pytest.param(spoil("run", "mode", value="report"), (), "mode", id="mode_report"),
    pytest.param(spoil("run", "mode", value="off"), ("--require-mode", "report"), "mode", id="mode_off"),
    pytest.param(spoil("run", "mode", value=None), (), "mode", id="no_mode"),
    pytest.param(spoil("run", "rootdir", value="/somewhere/else"), (), "/somewhere/else", id="another_rootdir"),
    pytest.param(spoil("run", "finished", value=None), (), "finish", id="unfinished"),
    pytest.param(spoil("layers", value={}), ("--require-layer", "hook"), "hook", id="layer_missing"),
    pytest.param(
        spoil("layers", "hook", "status", value="partial"), ("--require-layer", "hook"), "hook", id="layer_partial"
    ),
    pytest.param(spoil("tests", value={}), (), "tests", id="no_tests"),
    pytest.param(lambda report: None, ("--min-tests", "3"), "3", id="too_few_tests"),
)


@pytest.mark.parametrize(("change", "args", "named"), REJECTED)
def test_report_that_does_not_show_a_guarded_clean_run_is_rejected(
    clean: Verifying, change: Callable[[dict[str, Any]], None], args: tuple[str, ...], named: str
) -> None:
    report = copy.deepcopy(dict(clean.report))
    change(report)

    done = clean.verify(report, *args)

    assert done.returncode == 1, done.stderr
    assert named in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


ACCEPTED = (
    pytest.param(("--require-layer", "hook"), id="layer"),
    pytest.param(("--require-mode", "report"), id="weaker_mode"),
    pytest.param(("--min-tests", "2"), id="enough_tests"),
)


@pytest.mark.parametrize("args", ACCEPTED)
def test_report_that_meets_the_requirements_is_verified(clean: Verifying, args: tuple[str, ...]) -> None:
    assert clean.verify(None, *args).returncode == 0


UNREADABLE = (
    pytest.param("", id="empty"),
    pytest.param('{"schema": "session-guard-repo', id="torn"),
    pytest.param("[]", id="a_list"),
    pytest.param('{"schema": "session-guard-report/2"}', id="another_schema"),
    pytest.param('{"schema": "session-guard-report/1"}', id="parts_missing"),
    pytest.param('{"verdict": "clean", "violations": 0}', id="no_schema"),
)


@pytest.mark.parametrize("content", UNREADABLE)
def test_report_that_cannot_be_read_is_status_3(clean: Verifying, content: str) -> None:
    done = clean.verify(content or "\n")

    assert done.returncode == 3, done.stderr
    assert "cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def shapes() -> list[object]:
    """Values of the wrong type for parts that a verdict rests on."""
    return [
        pytest.param(path, value, id=f"{'.'.join(path)}={value!r}")
        for path, value in (
            (("violations",), "0"), (("violations",), True), (("violations",), -1), (("touches",), {}),
            (("touches",), ["x"]), (("layers",), []), (("layers", "hook"), "enforced"), (("tests",), []),
            (("tests", "passed"), "2"), (("run",), []), (("run", "mode"), ["enforce"]), (("verdict",), None),
        )
    ]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), shapes())
def test_report_with_a_part_of_the_wrong_type_is_never_verified(
    clean: Verifying, path: tuple[str, ...], value: object
) -> None:
    report = copy.deepcopy(dict(clean.report))
    spoil(*path, value=value)(report)

    done = clean.verify(report, "--require-layer", "hook")

    assert done.returncode in {1, 3}, done.stdout
    assert "Traceback" not in done.stderr


def test_missing_report_is_status_1(clean: Verifying) -> None:
    done = verify(clean.project, "no-such-report.json")

    assert done.returncode == 1
    assert "report missing" in done.stderr


def test_directory_as_report_is_status_3(clean: Verifying) -> None:
    assert verify(clean.project, ".").returncode == 3


@pytest.mark.parametrize("args", [(), ("a", "b"), ("x", "--require-layer", "wall"), ("x", "--min-tests", "many")])
def test_bad_usage_is_status_2(clean: Verifying, args: tuple[str, ...]) -> None:
    assert verify(clean.project, *args).returncode == 2


def test_report_of_another_checkout_is_rejected_and_rootdir_says_which(clean: Verifying) -> None:
    elsewhere = clean.project.base

    assert clean.verify(root=elsewhere).returncode == 1
    assert clean.verify(None, "--rootdir", str(clean.project.root), root=elsewhere).returncode == 0


def test_report_of_a_violated_run_is_rejected(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": HARM})
    result = project.run()

    done = verify(project, str(project.report_path))

    assert result.status == 1
    assert done.returncode == 1
    assert "the run has 1 violation\n" in done.stderr


def test_run_without_the_plugin_cannot_talk_verify_round(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": HARM, "pytest.ini": "[pytest]\n"})

    fooled = project.run("-p", "no:session_guard", report=False)
    done = verify(project, str(project.report_path))

    assert fooled.status == 0
    assert done.returncode == 1


def test_run_that_is_off_leaves_no_report_to_verify(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": SUITE})

    project.run("--session-guard=off")

    assert verify(project, str(project.report_path)).returncode == 1
