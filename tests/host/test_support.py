"""Trials in a child: whatever they do goes with it."""

from __future__ import annotations

import os
import signal

import pytest

from pytest_session_guard._host.processes import children
from pytest_session_guard._host.support import tried_in_child


def test_trial_answers_from_a_process_of_its_own() -> None:
    assert tried_in_child(lambda: str(os.getpid())) != str(os.getpid())


def test_trial_changes_nothing_here() -> None:
    here = os.getcwd()

    assert tried_in_child(lambda: os.chdir("/") or "fine") == "fine"
    assert os.getcwd() == here


@pytest.mark.parametrize(
    ("trial", "expected"),
    [
        pytest.param(
            lambda: os.kill(os.getpid(), signal.SIGKILL) or "",
            "error: the trial was killed by SIGKILL",
            id="killed",
        ),
        pytest.param(lambda: "", "error: the trial ended without an answer", id="silent"),
        pytest.param(lambda: os._exit(3), "error: the trial ended without an answer", id="gone"),
    ],
)
def test_trial_that_dies_is_an_error(trial, expected: str) -> None:
    assert tried_in_child(trial) == expected


def test_trial_leaves_no_child_behind() -> None:
    # Tests that ran before in this process may have left children of their own.
    before = children()

    pid = int(tried_in_child(lambda: str(os.getpid())))

    assert pid not in children()
    assert set(children()) <= set(before)


def test_exception_in_a_trial_does_not_run_on_in_the_parents_code(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> str:
        raise RuntimeError("in the child")

    assert tried_in_child(fail) == "error: the trial ended without an answer"
