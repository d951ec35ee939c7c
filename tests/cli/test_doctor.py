"""``session-guard doctor``: what it says is what it tried."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from capabilities import WITHOUT_NAMESPACES
from isolated import ordinary_account
from project import MakeProject, Project, snapshot

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
