"""``session-guard doctor``: what it says is what it tried."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from capabilities import WITHOUT_NAMESPACES
from isolated import ordinary_account
from project import MakeProject, Project, snapshot

from pytest_session_guard._controls.overlay import reasons
from pytest_session_guard._controls.seal import _standing, _unavailable_clause
from pytest_session_guard._run.advice import advice_for

from .commands import guard


def examined(project: Project, *prefix: str, env: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """Exit status and JSON."""
    words = (project.account.python, "-m", "pytest_session_guard", "doctor", "--json")
    done = project.call(*prefix, *words, env=env)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def project(make_shared_project: MakeProject) -> Project:
    return make_shared_project()


def test_doctor_tries_everything_and_leaves_nothing_behind(project: Project) -> None:
    before = snapshot(project.base)

    status, said = examined(project)

    assert status == 0
    assert said["guards"] is True
    assert set(said["layers"]) == {"hook", "overlay", "seal", "manifest"}
    assert set(said["checks"]) == {"pytest", "children", "ledger"}
    assert said["layers"]["hook"]["status"] == "enforced"
    assert said["layers"]["manifest"]["status"] == "enforced"
    assert said["checks"]["ledger"]["status"] == "enforced", said["checks"]
    assert said["facts"]["python"]
    after = snapshot(project.base)
    assert [name for name in after if name not in before and "pytest-of" not in name] in (
        [],
        ["tmp/pytest-session-guard-0"],
    )


def test_doctor_agrees_with_a_run(project: Project) -> None:
    _, said = examined(project)
    result = project.run()
    assert result.report is not None

    for name in ("hook", "overlay"):
        assert said["layers"][name]["status"] == result.report["layers"][name]["status"]


def test_doctor_in_words_has_a_line_for_each_layer_and_check(project: Project) -> None:
    done = guard(project, "doctor")

    assert done.returncode == 0, done.stderr
    first_words = {line.split()[0] for line in done.stdout.splitlines()[1:] if line and not line.startswith(" ")}
    assert first_words == {"hook", "overlay", "seal", "manifest", "pytest", "children", "ledger"}


def test_doctor_says_why_there_is_no_overlay_and_what_to_do(project: Project) -> None:
    if project.call(*WITHOUT_NAMESPACES, "true").returncode != 0:
        pytest.skip("no user namespace can be made here")

    status, said = examined(project, *WITHOUT_NAMESPACES)

    assert status == 0
    overlay = said["layers"]["overlay"]
    assert overlay["status"] == "unavailable"
    assert "max_user_namespaces" in overlay["reason"]
    assert overlay["advice"] == "sudo sysctl user.max_user_namespaces=15000"
    assert said["layers"]["hook"]["status"] == "enforced"


def test_hook_that_does_not_hold_is_status_3(project: Project, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.addaudithook = lambda hook: None\n")

    status, said = examined(project, env={"PYTHONPATH": str(tmp_path)})

    assert status == 3
    assert said["guards"] is False
    assert said["layers"]["hook"]["status"] == "unavailable"
    assert "forbidden write went through" in said["layers"]["hook"]["reason"]


def test_machine_without_a_temporary_directory_is_told(project: Project, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import tempfile\ntempfile._candidate_tempdir_list = lambda: ['/none']\n"
    )

    done = guard(project, "doctor", env={"PYTHONPATH": str(tmp_path)})

    assert done.returncode == 3
    assert done.stderr == (
        "session-guard: No usable temporary directory found in ['/none']\n"
        "  allowed: to name one that this user may write to (TMPDIR)\n"
    )


def test_interpreter_without_the_start_up_file_is_told(project: Project, tmp_path: Path) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nunset SESSION_GUARD_RUN\nexec {project.account.python} "$@"\n')
    wrapper.chmod(0o755)
    script = (
        f"import sys; sys.executable = {str(wrapper)!r}\n"
        "from pytest_session_guard._run.checks import check_children\nimport os\nprint(check_children(os.environ))"
    )

    done = project.call(project.account.python, "-c", script)

    assert "status='unavailable'" in done.stdout, done.stderr
    assert "start-up file is not found" in done.stdout


def test_ledger_that_cannot_be_written_is_told_with_what_to_do() -> None:
    with ordinary_account() as (account, place):
        project = Project(place / "p", {}, {}, account)
        project.root.chmod(0o555)

        _, said = examined(project)

        project.root.chmod(0o755)
    ledger = said["checks"]["ledger"]
    assert ledger["status"] == "unavailable"
    assert "cannot be written to (Permission denied)" in ledger["reason"]
    assert "session_guard_dir" in ledger["advice"]
    assert os.path.basename(str(project.root)) in ledger["gives"]


def says(setting: str, value: str) -> Callable[[str], str]:
    """Kernel settings of which one has a value."""
    return lambda path: value if path == setting else ""


STEPS = (reasons.ENTERING, reasons.MOUNTING, reasons.BUILDING)
WHY_NO_OVERLAY = (
    *(
        reasons.failure_clause(step, number, os.strerror(number), lambda path: "")
        for step in STEPS
        for number in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOSPC, errno.EINVAL)
    ),
    reasons.failure_clause(reasons.ENTERING, errno.EUSERS, "", lambda path: ""),
    reasons.failure_clause(reasons.BUILDING, errno.EROFS, "Read-only file system", lambda path: ""),
    *(reasons.failure_clause(reasons.ENTERING, errno.ENOSPC, "", says(path, "0")) for path in reasons.LIMITS),
    reasons.failure_clause(reasons.ENTERING, errno.EPERM, "", says(reasons.DEBIAN, "0")),
    reasons.failure_clause(reasons.MOUNTING, errno.EPERM, "", says(reasons.APPARMOR, "1")),
    reasons.threads_clause(2),
    reasons.outside_threads_clause(2),
    reasons.outside_threads_clause(3),
    reasons.kept_rights_clause(OSError(errno.EPERM, "no")),
    reasons.shortfall_clause([("/home/u", "Invalid argument")], ()),
    reasons.shortfall_clause((), ["/data"]),
    reasons.shortfall_clause((), (), [("/link", "no")]),
    reasons.NO_PROC,
    "its keeper did not start: [Errno 11] Resource temporarily unavailable",
    "refusals to native code leave no trace (no listener by seccomp: Function not implemented)",
)


@pytest.mark.parametrize("reason", WHY_NO_OVERLAY)
def test_whatever_keeps_the_overlay_away_has_advice(reason: str) -> None:
    assert advice_for("overlay", reason)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.E2BIG])
def test_whatever_keeps_the_seal_away_has_advice(number: int) -> None:
    assert advice_for("seal", _unavailable_clause(OSError(number, os.strerror(number))))


@pytest.mark.parametrize(("threads", "exposed"), [(2, ()), (3, ()), (1, ("/tmp/home",))])
def test_a_seal_with_gaps_has_advice(threads: int, exposed: tuple[str, ...]) -> None:
    assert advice_for("seal", _standing(7, threads, exposed)[1])
