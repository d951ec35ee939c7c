"""Every incident, played for real: what it does unguarded, what a redirected home makes of it, what the plugin does.

Each run gets a scene of its own and is judged from outside, after it has ended. What is measured must also be what ``outcomes.json``
says, since ``docs/incidents.md`` is made from that file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from .catalogue import INCIDENTS
from .families import beyond_home, cleanups, databases, git_mutation, redirects_missed
from .incident import Incident, Reach, Signal
from .outcomes import Guise, Outcome, load_recorded
from .plays import play

RECORDED = load_recorded()
FROM_OUTSIDE = ("--rootdir=@checkout@", "@checkout@")


def cases(*reaches: Reach) -> pytest.MarkDecorator:
    """Parametrize a test over the incidents of these reaches."""
    chosen = [pytest.param(incident, id=incident.key) for incident in INCIDENTS if incident.reach in reaches]
    return pytest.mark.parametrize("incident", chosen)


def unguarded_end(incident: Incident) -> str:
    """Give how the run ends when nothing interferes: all of these suites are green while they destroy."""
    return "killed" if incident.kill_at else "passed"


def assert_recorded(incident: Incident, guise: Guise, outcome: Outcome, is_comparable: bool = True) -> None:
    """Hold the outcome against the one that the documentation is made from.

    :param is_comparable: whether this machine gives the layers with which it was measured.
    """
    if not is_comparable:
        return
    assert outcome == RECORDED[incident.key][guise], outcome.output


def skip_unless_reachable(incident: Incident, guise: Guise, has_overlay: bool) -> None:
    """Leave out what the hook alone does not hold: native code, foreign children, containment in ``report``."""
    if not has_overlay and (incident.needs_kernel or guise in {Guise.REPORT, Guise.LINE_REPORT}):
        pytest.skip("this machine gives no overlay, and the hook alone does not see this or cannot contain it")


def assert_stopped(incident: Incident, outcome: Outcome) -> None:
    """Hold an enforced run to the promise: nothing differs, and the reader learns who and what."""
    assert outcome.differences == (), outcome.output
    assert outcome.names_test, outcome.output
    assert not outcome.blames_bystander, outcome.output
    if incident.signal is Signal.DISARMED:
        assert outcome.ended == "passed", outcome.output
    else:
        assert outcome.ended == "failed", outcome.output
        assert outcome.names_path, outcome.output


def assert_reported(incident: Incident, outcome: Outcome) -> None:
    """Hold a reporting run to the promise: nothing differs, the suite ends as before, the touch is told."""
    assert outcome.differences == (), outcome.output
    assert outcome.ended == unguarded_end(incident), outcome.output
    assert outcome.names_test, outcome.output
    assert not outcome.blames_bystander, outcome.output


@cases(*Reach)
def test_unguarded_run_does_the_damage(incident: Incident, tmp_path: Path) -> None:
    outcome = play(incident, Guise.UNGUARDED, tmp_path)

    assert outcome.differences == tuple(sorted(incident.harmed)), outcome.output
    assert outcome.ended == unguarded_end(incident), outcome.output
    assert_recorded(incident, Guise.UNGUARDED, outcome)


@pytest.mark.parametrize(
    "incident",
    [
        pytest.param(replace(redirects_missed.kitty, arguments=()), id="kitty-full-run"),
        pytest.param(replace(redirects_missed.ntm, environment={}), id="ntm-without-the-variable"),
        pytest.param(replace(redirects_missed.goverlay, environment={}), id="goverlay-without-the-flag"),
        pytest.param(replace(databases.cortex, environment={"APP_PORT": "1"}), id="cortex-without-a-server"),
        pytest.param(
            replace(cleanups.railtracks, working_directory="@tmp@", arguments=FROM_OUTSIDE), id="railtracks-elsewhere"
        ),
        pytest.param(replace(git_mutation.neo, environment={}), id="neo-without-git-dir"),
        pytest.param(replace(git_mutation.mfc, environment={}), id="mfc-without-git-dir"),
        pytest.param(replace(beyond_home.loom, environment={}), id="loom-without-the-variable"),
    ],
)
def test_without_its_circumstance_the_suite_is_harmless(incident: Incident, tmp_path: Path) -> None:
    outcome = play(incident, Guise.UNGUARDED, tmp_path)

    assert (outcome.ended, outcome.differences) == ("passed", ()), outcome.output


@cases(*Reach)
def test_redirected_home_alone_does_what_is_recorded(incident: Incident, tmp_path: Path) -> None:
    assert_recorded(incident, Guise.REDIRECTED, play(incident, Guise.REDIRECTED, tmp_path))


@cases(Reach.ZERO)
def test_enforce_keeps_the_data_and_names_the_culprit(incident: Incident, tmp_path: Path, has_overlay: bool) -> None:
    skip_unless_reachable(incident, Guise.ENFORCE, has_overlay)

    outcome = play(incident, Guise.ENFORCE, tmp_path)

    assert_stopped(incident, outcome)
    assert_recorded(incident, Guise.ENFORCE, outcome, has_overlay)


@cases(Reach.ZERO)
def test_report_keeps_the_data_and_the_suite_as_it_was(incident: Incident, tmp_path: Path, has_overlay: bool) -> None:
    skip_unless_reachable(incident, Guise.REPORT, has_overlay)

    outcome = play(incident, Guise.REPORT, tmp_path)

    assert_reported(incident, outcome)
    assert_recorded(incident, Guise.REPORT, outcome, has_overlay)


@cases(Reach.LINE)
def test_without_its_line_the_harm_can_be_undone(incident: Incident, tmp_path: Path, has_overlay: bool) -> None:
    skip_unless_reachable(incident, Guise.ENFORCE, has_overlay)

    outcome = play(incident, Guise.ENFORCE, tmp_path)

    assert outcome.left_after_restore is not None, outcome.output
    assert outcome.lost == incident.lost, outcome.output
    assert_recorded(incident, Guise.ENFORCE, outcome, has_overlay)


@cases(Reach.LINE)
def test_one_line_keeps_the_data_and_names_the_culprit(incident: Incident, tmp_path: Path, has_overlay: bool) -> None:
    skip_unless_reachable(incident, Guise.LINE, has_overlay)

    outcome = play(incident, Guise.LINE, tmp_path)

    assert_stopped(incident, outcome)
    assert_recorded(incident, Guise.LINE, outcome, has_overlay)


@cases(Reach.LINE)
def test_one_line_with_report_keeps_the_data_and_the_suite_as_it_was(
    incident: Incident, tmp_path: Path, has_overlay: bool
) -> None:
    skip_unless_reachable(incident, Guise.LINE_REPORT, has_overlay)

    outcome = play(incident, Guise.LINE_REPORT, tmp_path)

    assert_reported(incident, outcome)
    assert_recorded(incident, Guise.LINE_REPORT, outcome, has_overlay)


@pytest.mark.parametrize("guise", [Guise.ENFORCE, Guise.REPORT])
@cases(Reach.OUT)
def test_out_of_reach_is_measured_and_not_claimed(
    incident: Incident, guise: Guise, tmp_path: Path, has_overlay: bool
) -> None:
    outcome = play(incident, guise, tmp_path)

    assert outcome.differences == tuple(sorted(incident.harmed)), outcome.output
    assert incident.reason
    assert_recorded(incident, guise, outcome, has_overlay)
