"""Every way to hurt a file comes to its reviewed verdict: a new escape fails, and so does a newly stopped one."""

from __future__ import annotations

import os

import pytest

from . import document, expected
from .catalogue import load_all
from .conftest import Tries
from .expected import allows, expected_verdict
from .layers import UNGUARDED, Form, in_effect
from .selection import select

FORMS = [Form.parse(label) for label in os.environ.get("SESSION_GUARD_VECTORS", "auto").split(",")]
"""Which forms to try: a comma list such as ``off,hook,auto@root,launcher@n2`` in the environment."""
TABLE = expected.load()
CASES = [pytest.param(name, form, id=f"{form.label}-{name}") for form in FORMS for name in select(form)[0]]


@pytest.mark.vectors
@pytest.mark.parametrize(("name", "form"), CASES)
def test_vector_comes_to_its_expected_verdict(name: str, form: Form, tries: Tries) -> None:
    outcome = tries.outcome(name, form)

    reviewed = expected_verdict(TABLE, name, in_effect(form, outcome.layers))
    details = f"{outcome.changes}\n{outcome.error}\nlayers: {outcome.layers}\n{outcome.output}"
    assert allows(reviewed, outcome.verdict), f"{reviewed!r} was expected, got {outcome.verdict!r}\n{details}"
    assert outcome.survivors == [], "something of the run had to be killed"


def test_catalogue_has_at_least_two_hundred_vectors() -> None:
    assert len(load_all()) >= 200


@pytest.mark.parametrize("label", ["off", "auto"])
def test_at_least_two_hundred_vectors_can_be_tried_here(label: str) -> None:
    names, _ = select(Form(label))

    assert len(names) >= 200


def test_expected_verdicts_belong_to_vectors_of_the_catalogue() -> None:
    assert TABLE.keys() <= load_all().keys()


def test_every_tried_vector_does_damage_when_unguarded() -> None:
    controls = {name: [words for key, words in row.items() if key.startswith(UNGUARDED)] for name, row in TABLE.items()}

    assert {name for name, words in controls.items() if not words or "harmless" in words} == set()


def test_launcher_keeps_everything_red_and_named_but_for_what_is_listed() -> None:
    reviewed = {name: expected_verdict(TABLE, name, Form("launcher")) for name in TABLE if not load_all()[name].beyond}
    short = {
        name: verdict for name, verdict in reviewed.items() if verdict is not None and not document.is_promised(verdict)
    }

    assert short == {}


def test_page_in_the_docs_is_what_the_verdicts_say() -> None:
    assert document.FILE.read_text(encoding="utf-8") == document.render(TABLE)
