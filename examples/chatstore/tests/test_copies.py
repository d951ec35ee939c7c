"""Paths that were copied before anybody could patch them: one root line sends every copy along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from chatstore import paths
from chatstore.paths import HISTORY_DIR, STATE_DB
from chatstore.paths import SESSION_DIR as SESSIONS_HERE

DERIVED = paths.SESSION_DIR / "derived"
AS_TEXT = str(paths.SESSION_DIR)
PLACES = {"sessions": paths.SESSION_DIR, "nested": [("history", HISTORY_DIR)]}


class Settings:
    directory = paths.SESSION_DIR


@dataclass
class Store:
    directory: Path = paths.SESSION_DIR


def by_default(directory: Path = paths.SESSION_DIR) -> Path:
    return directory


def by_keyword(*, directory: Path = paths.HISTORY_DIR) -> Path:
    return directory


by_partial = partial(lambda directory: directory, paths.STATE_DB)

FORMS: dict[str, Callable[[], Path]] = {
    "module attribute": lambda: paths.SESSION_DIR,
    "from-import under another name": lambda: SESSIONS_HERE,
    "from-import of a file": lambda: STATE_DB,
    "derived constant": lambda: DERIVED,
    "text": lambda: Path(AS_TEXT),
    "dictionary": lambda: PLACES["sessions"],
    "nested containers": lambda: PLACES["nested"][0][1],
    "class attribute": lambda: Settings.directory,
    "dataclass default": lambda: Store().directory,
    "default argument": by_default,
    "keyword default": by_keyword,
    "partial": by_partial,
}


@pytest.mark.parametrize("form", FORMS)
def test_copy_leads_into_the_private_directory(form, session_guard):
    path = FORMS[form]()
    made = path.parent / f"{path.name}.accident"
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text("what a test writes")

    assert made.is_relative_to(session_guard.path)
