"""Command line beats ini; the environment's SESSION_GUARD is a floor under both. All 64 combinations."""

from __future__ import annotations

import itertools

import pytest

from pytest_session_guard._core.settings import ENVIRONMENT_MODE, Value, merge

FLAG, INI = "command line: --session-guard", "pyproject.toml"
OFF, REP, ENF = "off", "report", "enforce"

# Columns: command line, ini, environment -> the mode, and whether the environment had to overrule somebody.
TABLE = [
    # nobody speaks: the default, which is the strictest, whatever the floor
    (None, None, None, ENF, False), (None, None, OFF, ENF, False), (None, None, REP, ENF, False), (None, None, ENF, ENF, False),
    # the ini file alone
    (None, OFF, None, OFF, False), (None, OFF, OFF, OFF, False), (None, OFF, REP, REP, True), (None, OFF, ENF, ENF, True),
    (None, REP, None, REP, False), (None, REP, OFF, REP, False), (None, REP, REP, REP, False), (None, REP, ENF, ENF, True),
    (None, ENF, None, ENF, False), (None, ENF, OFF, ENF, False), (None, ENF, REP, ENF, False), (None, ENF, ENF, ENF, False),
    # the command line alone
    (OFF, None, None, OFF, False), (OFF, None, OFF, OFF, False), (OFF, None, REP, REP, True), (OFF, None, ENF, ENF, True),
    (REP, None, None, REP, False), (REP, None, OFF, REP, False), (REP, None, REP, REP, False), (REP, None, ENF, ENF, True),
    (ENF, None, None, ENF, False), (ENF, None, OFF, ENF, False), (ENF, None, REP, ENF, False), (ENF, None, ENF, ENF, False),
    # both: the ini file has nothing to say
    (OFF, OFF, None, OFF, False), (OFF, OFF, OFF, OFF, False), (OFF, OFF, REP, REP, True), (OFF, OFF, ENF, ENF, True),
    (OFF, REP, None, OFF, False), (OFF, REP, OFF, OFF, False), (OFF, REP, REP, REP, True), (OFF, REP, ENF, ENF, True),
    (OFF, ENF, None, OFF, False), (OFF, ENF, OFF, OFF, False), (OFF, ENF, REP, REP, True), (OFF, ENF, ENF, ENF, True),
    (REP, OFF, None, REP, False), (REP, OFF, OFF, REP, False), (REP, OFF, REP, REP, False), (REP, OFF, ENF, ENF, True),
    (REP, REP, None, REP, False), (REP, REP, OFF, REP, False), (REP, REP, REP, REP, False), (REP, REP, ENF, ENF, True),
    (REP, ENF, None, REP, False), (REP, ENF, OFF, REP, False), (REP, ENF, REP, REP, False), (REP, ENF, ENF, ENF, True),
    (ENF, OFF, None, ENF, False), (ENF, OFF, OFF, ENF, False), (ENF, OFF, REP, ENF, False), (ENF, OFF, ENF, ENF, False),
    (ENF, REP, None, ENF, False), (ENF, REP, OFF, ENF, False), (ENF, REP, REP, ENF, False), (ENF, REP, ENF, ENF, False),
    (ENF, ENF, None, ENF, False), (ENF, ENF, OFF, ENF, False), (ENF, ENF, REP, ENF, False), (ENF, ENF, ENF, ENF, False),
]  # fmt: skip


def test_table_is_complete() -> None:
    words = (None, OFF, REP, ENF)

    assert {row[:3] for row in TABLE} == set(itertools.product(words, words, words))
    assert len(TABLE) == 64


@pytest.mark.parametrize(("flag", "ini", "floor", "mode", "overruled"), TABLE)
def test_mode(flag: str | None, ini: str | None, floor: str | None, mode: str, overruled: bool) -> None:
    given = [(flag, FLAG), (ini, INI), (floor, ENVIRONMENT_MODE)]

    found = merge({"session_guard": [Value(word, source) for word, source in given if word is not None]})

    spoke, source = next(((word, source) for word, source in given[:2] if word is not None), (ENF, "default"))
    assert found.mode == mode
    assert found.mode_source == ("environment: SESSION_GUARD" if overruled else source)
    note = f"SESSION_GUARD={floor} in the environment outranks {spoke!r} ({source})"
    assert found.notes == ((note,) if overruled else ())


@pytest.mark.parametrize("floor", ["", "  "])
def test_empty_environment_variable_is_no_floor(floor: str) -> None:
    found = merge({"session_guard": [Value(OFF, FLAG), Value(floor, ENVIRONMENT_MODE)]})

    assert (found.mode, found.notes) == (OFF, ())


def test_order_in_which_the_environment_is_handed_over_does_not_matter() -> None:
    found = merge({"session_guard": [Value(" enforce ", ENVIRONMENT_MODE), Value(OFF, FLAG)]})

    assert (found.mode, found.mode_source) == (ENF, "environment: SESSION_GUARD")


@pytest.mark.parametrize(
    ("name", "values", "attribute", "expected"),
    [
        pytest.param("session_guard_workspace", ("shared", "free"), "workspace", "shared", id="workspace"),
        pytest.param("session_guard_home", ("redirect", "keep"), "home", "redirect", id="home"),
        pytest.param("session_guard_layers", ("hook", "seal"), "layers", ("hook",), id="layers"),
        pytest.param("session_guard_require", ("overlay", "hook"), "require", ("overlay",), id="require"),
        pytest.param("session_guard_preimage_limit", ("1", "2"), "preimage_limit_bytes", 1, id="preimage-limit"),
        pytest.param("session_guard_dir", ("a", "b"), "directory", "a", id="dir"),
        pytest.param("--session-guard-json", ("a.json", "b.json"), "json_path", "a.json", id="json"),
        pytest.param("--session-guard-html", ("a.html", "b.html"), "html_path", "a.html", id="html"),
    ],
)
def test_stronger_source_of_any_other_single_value_counts(
    name: str, values: tuple[str, str], attribute: str, expected: object
) -> None:
    found = merge({name: [Value(values[0], FLAG), Value(values[1], INI)]})

    assert getattr(found, attribute) == expected
