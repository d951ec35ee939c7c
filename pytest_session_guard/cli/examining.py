"""``doctor``: every layer really tried on this machine."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_session_guard.cli.console import FINE, NOT_DONE, Commands, say, say_json
from pytest_session_guard.cli.places import add_places, ledger_of

if TYPE_CHECKING:
    from pytest_session_guard._run.doctor import Examination
    from pytest_session_guard._run.finding import Finding


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Offer ``doctor``, and the trials that it makes in processes of their own."""
    doctor = commands.add_parser(
        "doctor", help="try every layer on this machine; say what it gives, or why not and what to do"
    )
    doctor.add_argument("--json", action="store_true", help="say it as JSON")
    add_places(doctor)
    doctor.set_defaults(run=run_doctor)
    trial = commands.add_parser("trial")
    trial.add_argument("name")
    trial.add_argument("scratch")
    trial.set_defaults(run=run_trial)


def run_doctor(options: argparse.Namespace) -> int:
    """``doctor``: 3 when not even the hook works."""
    from pytest_session_guard._run.doctor import examine

    found = examine(ledger_of(options), os.environ)
    if options.json:
        say_json(found.to_json())
    else:
        say(_in_words(found))
    return FINE if found.guards else NOT_DONE


def run_trial(options: argparse.Namespace) -> int:
    """One trial; its answer is JSON on stdout."""
    from pytest_session_guard._run.trials import attempt

    say_json(attempt(options.name, options.scratch, os.environ))
    return FINE


def _in_words(found: Examination) -> Iterator[str]:
    facts = found.facts
    who = "" if facts["uid"] is None else f", uid {facts['uid']}"
    where = f" in {facts['container']}" if facts["container"] else ""
    yield f"{facts['system']} {facts['release']}{where}, Python {facts['python']}{who}"
    yield ""
    for finding in found.layers:
        yield from _lines(finding, finding.status)
    yield ""
    words = {"enforced": "works", "partial": "partly", "unavailable": "fails"}
    for finding in found.checks:
        yield from _lines(finding, words[finding.status])
    if not found.guards:
        yield ""
        yield "not even the hook works here: a run would not be guarded"


def _lines(finding: Finding, word: str) -> Iterator[str]:
    version = f" (version {finding.abi})" if finding.abi else ""
    yield f"{finding.name:9} {word:12}{finding.gives}{version}"
    if finding.reason:
        yield f"{'':22}{'why' if finding.status != 'enforced' else 'but'}: {finding.reason}"
    if finding.advice:
        yield f"{'':22}do:  {finding.advice}"
