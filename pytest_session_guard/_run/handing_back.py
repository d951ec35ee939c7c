"""What a program that calls pytest gets back once a session of it is over: a temporary project, to remove it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_session_guard._core.errors import LayerUnavailableError
from pytest_session_guard._core.zones import Policy, Zone, is_within
from pytest_session_guard._run.entering import wall_plan
from pytest_session_guard._run.relaunch import is_pytest_command
from pytest_session_guard._run.walls import follow

if TYPE_CHECKING:
    from pytest_session_guard._run.session import SessionRun


def hand_back(run: SessionRun, command: Sequence[str] = tuple(sys.orig_argv)) -> None:
    """Let the program that called pytest remove the session's project where that is a temporary one, the ledger with it.

    Nothing there is anybody's data, as nowhere in the temporary directories; what is protected in it (``.git``, declared
    places) stays so. Where pytest was started by itself nobody comes after it, and all stays as it was.

    :param command: by which this process was started.
    """
    if not run.answers_to_user or run.supervised or run.is_fork or is_pytest_command(command):
        return
    rootdir, ledger = run.places.rootdir, run.places.ledger
    if run.policy.rule_for(rootdir).zone is not Zone.WORKSPACE or not is_within(ledger, rootdir):
        return
    without = Policy(
        tuple(rule for rule in run.policy.rules if rule.prefix not in (rootdir, ledger)), run.policy.patterns
    )
    if without.rule_for(rootdir).zone is not Zone.FREE:
        return
    run.use(without)
    run.is_handed_back = True
    overlay = run.walls.overlay
    if overlay is None:
        return
    plan = wall_plan(run, False)
    covered = tuple(root for root in plan.covered if root not in plan.unpinned)
    try:
        # The place of the trials is a mount, and in the way.
        follow(overlay, replace(plan, covered=covered, unpinned=()))
    except (LayerUnavailableError, OSError):
        pass  # then it stays in the way


def is_gone(run: SessionRun) -> bool:
    """Whether the program took back what it was handed, so that the ledger is not missed."""
    return run.is_handed_back and not os.path.lexists(run.directory.path)
