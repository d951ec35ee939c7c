from __future__ import annotations

import re

import pytest_session_guard
from pytest_session_guard._core.errors import SessionGuardError, SessionGuardWarning
from tests.house.readme import README, with_tables


def test_option_table_of_the_readme_is_that_of_the_code() -> None:
    text = README.read_text()

    assert text == with_tables(text), "run: python -m tests.house.readme"


def test_readme_explains_every_slug() -> None:
    explained = set(re.findall(r'<a id="([a-z-]+)">', README.read_text()))

    public = [getattr(pytest_session_guard, name) for name in pytest_session_guard.__all__]
    slugs = {cls.slug for cls in public if hasattr(cls, "slug") and cls not in (SessionGuardError, SessionGuardWarning)}

    assert slugs | {"guard-error"} == explained
