"""The catalogue is whole, and the committed page says what was measured."""

from __future__ import annotations

from collections import Counter

from .catalogue import INCIDENTS
from .incident import Incident, Reach, Signal
from .outcomes import load_recorded
from .record import list_guises
from .table import PAGE, render_page

KNOWN_INCIDENTS = 58


def test_every_known_incident_is_a_case() -> None:
    assert len({incident.id for incident in INCIDENTS}) == KNOWN_INCIDENTS


def test_case_keys_are_unique() -> None:
    repeated = [key for key, count in Counter(incident.key for incident in INCIDENTS).items() if count > 1]

    assert repeated == []


def test_every_incident_cites_a_page_of_its_own() -> None:
    by_url = {incident.url: incident.id for incident in INCIDENTS}

    assert len(by_url) == KNOWN_INCIDENTS
    assert all(url.startswith("https://github.com/") for url in by_url)


def test_case_that_is_not_prevented_by_default_says_why() -> None:
    silent = [incident.key for incident in INCIDENTS if incident.reach is not Reach.ZERO and not incident.reason]
    without_line = [incident.key for incident in INCIDENTS if (incident.reach is Reach.LINE) != bool(incident.line)]

    assert (silent, without_line) == ([], [])


def test_every_case_in_reach_says_what_an_enforced_run_must_print() -> None:
    def is_vague(incident: Incident) -> bool:
        needs_path = incident.signal is Signal.RED
        return incident.reach is not Reach.OUT and not (incident.culprit and (incident.named_path or not needs_path))

    assert [incident.key for incident in INCIDENTS if is_vague(incident)] == []


def test_every_run_of_every_case_is_recorded() -> None:
    recorded = {key: tuple(outcomes) for key, outcomes in load_recorded().items()}

    assert recorded == {incident.key: list_guises(incident) for incident in INCIDENTS}


def test_committed_page_says_what_was_measured() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_page(load_recorded())
