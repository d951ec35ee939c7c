"""Command line beats ini; the environment's SESSION_GUARD is a floor under both. All 64 combinations."""

from __future__ import annotations

import itertools

import pytest

from pytest_session_guard._core.settings import ENVIRONMENT_MODE, Value, merge

FLAG, INI = "command line: --session-guard", "pyproject.toml"
O, R, E = "off", "report", "enforce"

# Columns: command line, ini, environment -> the mode, and whether the environment had to overrule somebody.
TABLE = [
    # nobody speaks: the default, which is the strictest, whatever the floor
    (None, None, None, E, False), (None, None, O, E, False), (None, None, R, E, False), (None, None, E, E, False),
    # the ini file alone
    (None, O, None, O, False), (None, O, O, O, False), (None, O, R, R, True), (None, O, E, E, True),
    (None, R, None, R, False), (None, R, O, R, False), (None, R, R, R, False), (None, R, E, E, True),
    (None, E, None, E, False), (None, E, O, E, False), (None, E, R, E, False), (None, E, E, E, False),
    # the command line alone
    (O, None, None, O, False), (O, None, O, O, False), (O, None, R, R, True), (O, None, E, E, True),
    (R, None, None, R, False), (R, None, O, R, False), (R, None, R, R, False), (R, None, E, E, True),
    (E, None, None, E, False), (E, None, O, E, False), (E, None, R, E, False), (E, None, E, E, False),
    # both: the ini file has nothing to say
    (O, O, None, O, False), (O, O, O, O, False), (O, O, R, R, True), (O, O, E, E, True),
    (O, R, None, O, False), (O, R, O, O, False), (O, R, R, R, True), (O, R, E, E, True),
    (O, E, None, O, False), (O, E, O, O, False), (O, E, R, R, True), (O, E, E, E, True),
    (R, O, None, R, False), (R, O, O, R, False), (R, O, R, R, False), (R, O, E, E, True),
    (R, R, None, R, False), (R, R, O, R, False), (R, R, R, R, False), (R, R, E, E, True),
    (R, E, None, R, False), (R, E, O, R, False), (R, E, R, R, False), (R, E, E, E, True),
    (E, O, None, E, False), (E, O, O, E, False), (E, O, R, E, False), (E, O, E, E, False),
    (E, R, None, E, False), (E, R, O, E, False), (E, R, R, E, False), (E, R, E, E, False),
    (E, E, None, E, False), (E, E, O, E, False), (E, E, R, E, False), (E, E, E, E, False),
]  # fmt: skip


def test_table_is_complete() -> None:
    words = (None, O, R, E)

    assert {row[:3] for row in TABLE} == set(itertools.product(words, words, words))
    assert len(TABLE) == 64


@pytest.mark.parametrize(("flag", "ini", "floor", "mode", "overruled"), TABLE)
def test_mode(flag: str | None, ini: str | None, floor: str | None, mode: str, overruled: bool) -> None:
    given = [(flag, FLAG), (ini, INI), (floor, ENVIRONMENT_MODE)]

    found = merge({"session_guard": [Value(word, source) for word, source in given if word is not None]})

    spoke, source = next(((word, source) for word, source in given[:2] if word is not None), (E, "default"))
    assert found.mode == mode
    assert found.mode_source == ("environment: SESSION_GUARD" if overruled else source)
    note = f"SESSION_GUARD={floor} in the environment outranks {spoke!r} ({source})"
    assert found.notes == ((note,) if overruled else ())


@pytest.mark.parametrize("floor", ["", "  "])
def test_empty_environment_variable_is_no_floor(floor: str) -> None:
    found = merge({"session_guard": [Value(O, FLAG), Value(floor, ENVIRONMENT_MODE)]})

    assert (found.mode, found.notes) == (O, ())


def test_order_in_which_the_environment_is_handed_over_does_not_matter() -> None:
    found = merge({"session_guard": [Value(" enforce ", ENVIRONMENT_MODE), Value(O, FLAG)]})

    assert (found.mode, found.mode_source) == (E, "environment: SESSION_GUARD")


@pytest.mark.parametrize(
    ("name", "values", "attribute", "expected"),
    [
        pytest.param("session_guard_workspace", ("shared", "free"), "workspace", "shared", id="workspace"),
        pytest.param("session_guard_home", ("redirect", "keep"), "home", "redirect", id="home"),
        pytest.param("session_guard_layers", ("hook", "seal"), "layers", ("hook",), id="layers"),
        pytest.param("session_guard_require", ("overlay", "hook"), "require", ("overlay",), id="require"),
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
