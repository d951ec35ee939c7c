"""What a worker on another host sends is judged before it counts, and what cannot be read is never taken for nothing."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import Touch
from pytest_session_guard._core.settings import Settings
from pytest_session_guard._report.document import Report
from pytest_session_guard._report.html import page
from pytest_session_guard._run.remote import (
    INVITATION_VARIABLE,
    Invitation,
    RemoteWorker,
    closing_lines,
    encode_touches,
    fold,
    take_in,
)

FACTS = {"host": "far", "machine": "m", "boot": "b", "cwd": "/srv/suite"}
TOUCH = Touch(1.0, "os.remove", "/home/u/caf\udce9", "protected", "refused", True, "hook", "t.py::t", "call", 7)


def sent(**parts: Any) -> dict[str, Any]:
    """A report as a worker sends it, with other parts put in."""
    report = Report(
        {"id": "R", "rootdir": "/srv/suite", "mode": "enforce", "workers": []},
        layers={"hook": {"status": "enforced", "reason": "", "abi": None}},
        canary={"hook": "refused"},
        touches=[TOUCH],
        created=["/srv/suite/made"],
        kept=[("/srv/store/kept", "why")],
        preserved=["/srv/suite/edited"],
        notes=["a note"],
    )
    return {**report.to_json(), **parts}


def worker(output: object, told: list[str] | None = None) -> RemoteWorker:
    return RemoteWorker("gw3", "socket=far:8888", FACTS, output, told or [])


class FakeRun(SimpleNamespace):
    def __init__(self) -> None:
        super().__init__(pid=1, uncounted=Counter(), remote={}, touches=[])

    def touched(self, touch: Touch) -> None:
        self.touches.append(touch)


def taken(one: RemoteWorker) -> Any:
    run: Any = FakeRun()
    take_in(run, [one])
    return run


def test_report_that_came_counts_and_names_the_worker() -> None:
    run = taken(worker(json.dumps(sent())))

    assert [(touch.path, touch.process) for touch in run.touches] == [(TOUCH.path, "gw3@far")]
    assert (list(run.remote), sum(run.uncounted.values())) == (["gw3@far"], 0)


def test_violations_that_are_known_by_number_only_count_too() -> None:
    run = taken(worker(json.dumps(sent(violations=5))))

    assert sum(run.uncounted.values()) == 4


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param(17, id="a-number"),
        pytest.param('{"schema"', id="cut-off"),
        pytest.param(json.dumps(sent(schema="session-guard-report/9")), id="another-schema"),
        pytest.param(json.dumps(sent(touches=[{"violation": True}])), id="half-a-touch"),
        pytest.param(json.dumps(sent(artifacts={})), id="no-artifacts"),
        pytest.param(json.dumps(sent(artifacts={"created": 1, "removed": [], "kept": [], "preserved": []})), id="a-number-of-artifacts"),
        pytest.param(json.dumps(sent(artifacts={"created": [], "removed": [], "kept": ["x"], "preserved": []})), id="kept-without-reason"),
        pytest.param(json.dumps(sent(canary=[1])), id="another-canary"),
        pytest.param(json.dumps(sent(notes=None)), id="no-notes"),
        pytest.param(json.dumps({key: part for key, part in sent().items() if key != "artifacts"}), id="part-missing"),
    ],
)  # fmt: skip
def test_report_that_cannot_be_read_is_a_violation_and_what_came_with_the_tests_counts(output: object) -> None:
    run = taken(worker(output, ["[]", encode_touches([TOUCH]), "no touches"]))

    *told, complaint = run.touches
    assert [(touch.path, touch.violation) for touch in told] == [(TOUCH.path, True)]
    assert (complaint.path, complaint.violation, complaint.layer) == ("gw3@far", True, "guard")
    assert "could not be merged" in complaint.reason
    assert run.remote == {}


def layer(status: str, reason: str = "") -> dict[str, Any]:
    return {"status": status, "reason": reason, "abi": None}


@pytest.mark.parametrize(
    ("mine", "theirs", "claimed"),
    [
        ("enforced", "enforced", "enforced"),
        ("enforced", "partial", "partial"),
        ("partial", "enforced", "partial"),
        ("enforced", "unavailable", "unavailable"),
        ("enforced", "off", "off"),
        ("off", "enforced", "off"),
        ("unavailable", "off", "off"),
        ("enforced", "a newer word", "a newer word"),
    ],
)
def test_report_claims_the_weaker_layer(mine: str, theirs: str, claimed: str) -> None:
    report = Report({"workers": ["gw0"]}, layers={"overlay": layer(mine, "of mine")})
    other = worker(None).entered(sent(layers={"overlay": layer(theirs, "of theirs")}))

    fold(report, {"gw3@far": other})

    assert report.layers["overlay"]["status"] == claimed
    assert report.layers["overlay"]["reason"] == ("of mine" if mine == claimed else "gw3@far: of theirs")
    told = closing_lines({"gw3@far": other}, {"overlay": layer(mine)})
    assert any("had overlay" in line for line in told) == (mine != claimed)


def test_layer_that_only_the_other_knows_is_claimed_as_it_is_there() -> None:
    report = Report({"workers": []})

    fold(report, {"gw3@far": worker(None).entered(sent())})

    assert report.layers["hook"]["status"] == "enforced"


@pytest.mark.parametrize(
    ("mine", "theirs", "claimed"),
    [("refused", "failed", "failed"), ("contained", "skipped", "skipped"), ("failed", "refused", "failed")],
)
def test_report_claims_the_weaker_canary(mine: str, theirs: str, claimed: str) -> None:
    report = Report({"workers": []}, canary={"hook": mine})

    fold(report, {"gw3@far": worker(None).entered(sent(canary={"hook": theirs}))})

    assert report.canary == {"hook": claimed}


def test_paths_of_another_host_are_told_apart() -> None:
    report = Report({"workers": ["gw0"]}, created=["/here/made"])

    fold(report, {"gw3@far": worker(None).entered(sent())})

    assert report.created == ["/here/made", "gw3@far:/srv/suite/made"]
    assert report.kept == [("gw3@far:/srv/store/kept", "why")]
    assert report.preserved == ["gw3@far:/srv/suite/edited"]
    assert report.notes == ["gw3@far: a note"]
    assert report.run["workers"] == ["gw0", "gw3"]
    assert "gw3 on far: run R in /srv/suite" in page(report.to_json())


def test_invitation_is_told_once() -> None:
    invitation = Invitation("gw3", "R", "enforce", ("overlay",))
    environ = {INVITATION_VARIABLE: invitation.encode()}

    assert Invitation.take(environ) == invitation
    assert (Invitation.take(environ), environ) == (None, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"worker": "gw0"}',
        '{"worker": 1, "run_id": 2, "mode": 3, "more": 4}',
        Invitation("gw0", "R", "lax").encode(),
    ],
)
def test_what_is_no_invitation_is_refused(text: str) -> None:
    with pytest.raises(LedgerError, match="is no invitation"):
        Invitation.take({INVITATION_VARIABLE: text})


@pytest.mark.parametrize(
    ("here", "there", "goes_by"),
    [("enforce", "off", "enforce"), ("report", "enforce", "enforce"), ("report", "off", "report")],
)
def test_controllers_mode_is_the_least(here: str, there: str, goes_by: str) -> None:
    invitation = Invitation("gw3", "R", here, ("overlay",))

    settings = invitation.applied(Settings(mode=there, require=("hook",), json_path="/r.json", html_path="/r.html"))

    assert (settings.mode, settings.require) == (goes_by, ("hook", "overlay"))
    assert (settings.json_path, settings.html_path) == ("", "")
    assert any("outranks" in note for note in settings.notes) == (there != goes_by)
