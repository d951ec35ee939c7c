"""The reviewed verdicts, one table for each vector: layer set -> words. A difference either way fails the build."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from .layers import LAYER_SETS, Form
from .verdicts import Outcome

Table = dict[str, dict[str, str]]

FILE: Final = Path(__file__).with_name("expected.toml")
PYTHON: Final = f"py{sys.version_info.major}.{sys.version_info.minor}"
COMMON_PYTHON: Final = "py3.11"
"""Whose verdicts stand without a suffix."""
PREFACE: Final = """\
# What came of each vector in each form, as a person has reviewed it. `python -m tests.vectors.regenerate` rewrites it.
# off: what the unguarded control changes. Other forms: kept or damaged, the colour of the run, and how it was named.
# A key with @root, @n2 or @py3.13 is written only where that form differs from the one it refines.
"""


def load() -> Table:
    """Give the reviewed verdicts; empty before the first are written."""
    return tomllib.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


def lookup_keys(form: Form, python: str = PYTHON) -> list[str]:
    """The keys that may hold the verdict of this form, the most particular one first."""
    labels = [
        form.label,
        Form(form.layers, form.as_root).label,
        Form(form.layers, workers=form.workers).label,
        form.layers,
    ]
    unique = list(dict.fromkeys(labels))
    return [key for label in unique for key in (f"{label}@{python}", label)]


def expected_verdict(table: Table, vector: str, form: Form, python: str = PYTHON) -> str | None:
    """Give the reviewed verdict, or None where nobody has reviewed one."""
    row = table.get(vector, {})
    return next((row[key] for key in lookup_keys(form, python) if key in row), None)


def allows(expected: str | None, verdict: str) -> bool:
    """Whether the verdict is the reviewed one, or one of several where a race decides and each is harmless."""
    return expected is not None and verdict in expected.split(" or ")


def record(table: Table, outcomes: Iterable[Outcome], form: Form, python: str = PYTHON) -> list[str]:
    """Put the outcomes of one form into the table, as particular as needed; a line for each verdict that changed."""
    changed = []
    for outcome in outcomes:
        row = table.setdefault(outcome.vector, {})
        known = expected_verdict(table, outcome.vector, form, python)
        key = form.label if python == COMMON_PYTHON else f"{form.label}@{python}"
        own = row.pop(key, None)
        if not allows(known, outcome.verdict):
            changed.append(f"{outcome.vector}: {key}: {known or 'new'} -> {outcome.verdict}")
            own = outcome.verdict
        # What the commoner form says as well needs no key of its own.
        if own is not None and not allows(expected_verdict(table, outcome.vector, form, python), own):
            row[key] = own
    return changed


def write(table: Table) -> None:
    """Write the table, vectors by name and forms in the order of the layer sets."""
    blocks = []
    for name in sorted(table):
        keys = sorted(table[name], key=lambda key: (LAYER_SETS.index(key.partition("@")[0]), key))
        lines = [f'{key if "@" not in key else f"{chr(34)}{key}{chr(34)}"} = "{table[name][key]}"' for key in keys]
        blocks.append("\n".join([f"[{name}]", *lines]))
    FILE.write_text(PREFACE + "\n" + "\n\n".join(blocks) + "\n", encoding="utf-8")
