"""``pytest --help`` shows the option table of the code, and ``pytest --markers`` the mark."""

from __future__ import annotations

import re

import pytest
from project import MakeProject, Result

from pytest_session_guard._core.settings import OPTIONS, Option

WITH_FLAG = [pytest.param(option, id=option.flag) for option in OPTIONS if option.flag]
WITH_INI = [pytest.param(option, id=option.ini) for option in OPTIONS if option.ini]


@pytest.fixture(scope="module")
def helped(make_shared_project: MakeProject) -> Result:
    """What ``pytest --help`` says."""
    return make_shared_project().run("--help", report=False)


def flat(text: str) -> str:
    """Text without its line breaks."""
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("option", WITH_FLAG)
def test_help_shows_flag_metavar_allowed_values_and_default(helped: Result, option: Option) -> None:
    said = flat(helped.stdout)

    assert f"{option.flag}={option.metavar}" in said
    entry = said.partition(f"{option.flag}={option.metavar}")[2]
    assert entry.strip().startswith(flat(option.help))
    assert option.allowed in entry[: len(option.help) + 200]
    assert not option.default or f"default: {option.default}" in entry[: len(option.help) + 200]


@pytest.mark.parametrize("option", WITH_INI)
def test_help_shows_the_ini_option(helped: Result, option: Option) -> None:
    ini = flat(helped.stdout.partition("[pytest] ")[2])

    assert re.search(rf"\b{option.ini} \((linelist|string|args|pathlist)\): {re.escape(flat(option.help))}", ini)


def test_mark_is_listed(make_project: MakeProject) -> None:
    result = make_project().run("--markers", report=False)

    assert "@pytest.mark.session_guard(" in result.stdout
    assert result.status == 0


def test_fixtures_are_listed_with_their_words(make_project: MakeProject) -> None:
    result = make_project().run("--fixtures", report=False)

    for name in ("session_guard", "session_dir", "session_index"):
        (line,) = re.findall(rf"^{name} -- .*\n    (\S.*)", result.stdout, re.MULTILINE)
        assert line
