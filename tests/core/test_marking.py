"""The marker inside documents: everything else byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_session_guard._core.marking import BUILT_IN, JsonLines, JsonObject, MarkerFormat, problem_of
from pytest_session_guard._core.records import MARKER_KEY, is_marker_of, marker

TAG = marker("r1", "tests/test_a.py::test_x", 5)
TEXT = json.dumps(TAG)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(st.text().filter(lambda key: key != MARKER_KEY), VALUES, max_size=4)
STYLES: list[dict[str, Any]] = [
    {},
    {"indent": 2},
    {"indent": "\t", "sort_keys": True},
    {"separators": (",", ":")},
    {"ensure_ascii": False},
]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("{}", f'{{"{MARKER_KEY}": {TEXT}}}', id="empty"),
        pytest.param("{ }\n", f'{{ "{MARKER_KEY}": {TEXT}}}\n', id="empty-with-space"),
        pytest.param('{"a":1}', f'{{"{MARKER_KEY}": {TEXT}, "a":1}}', id="one-line"),
        pytest.param('{\r\n\t"a": 1.50\r\n}', f'{{\r\n\t"{MARKER_KEY}": {TEXT},\r\n\t"a": 1.50\r\n}}', id="indented"),
        pytest.param(f'{{"{MARKER_KEY}": true, "b":2}}', f'{{"{MARKER_KEY}": {TEXT}, "b":2}}', id="older-marker"),
        pytest.param(
            f'{{"b":2, "{MARKER_KEY}" : {{"x": [1]}} }}', f'{{"b":2, "{MARKER_KEY}" : {TEXT} }}', id="marker-last"
        ),
        pytest.param(
            f'{{"{MARKER_KEY}":1,"{MARKER_KEY}":2}}', f'{{"{MARKER_KEY}":1,"{MARKER_KEY}":{TEXT}}}', id="doubled-key"
        ),
        pytest.param(
            f'{{"a":{{"{MARKER_KEY}":1}}}}', f'{{"{MARKER_KEY}": {TEXT}, "a":{{"{MARKER_KEY}":1}}}}', id="inner"
        ),
    ],
)
def test_json_is_spliced(before: str, after: str) -> None:
    assert JsonObject().tag(before.encode(), TAG) == after.encode()


@given(OBJECTS, st.sampled_from(STYLES), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"]))
def test_json_keeps_everything_else_byte_for_byte(
    payload: dict[str, Any], style: dict[str, Any], encoding: str
) -> None:
    before = json.dumps(payload, **style)
    content = before.encode(encoding, "surrogatepass")

    tagged = JsonObject().tag(content, TAG)

    assert tagged is not None
    assert JsonObject().read(tagged) == TAG
    after = tagged.decode(encoding, "surrogatepass")
    # The marker was put in as one piece: without that piece the text is the old one.
    start = after.index(f'"{MARKER_KEY}"')
    piece = len(after) - len(before)
    assert after[:start] + after[start + piece :] == before
    assert JsonObject().tag(tagged, TAG) == tagged


@pytest.mark.parametrize("document", ["[1]", "3", '"text"', "null", " [ ] "])
def test_json_without_an_object_has_no_room(document: str) -> None:
    assert JsonObject().tag(document.encode(), TAG) is None
    assert JsonObject().read(document.encode()) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b'{"a":', "is not JSON (line 1, column 6: expecting value)", id="cut-off"),
        pytest.param(b'{"a":1} x', "is not JSON (line 1, column 9: extra data)", id="more-after-it"),
        pytest.param(b"\xff{", "is not text in utf-8 (byte 0)", id="no-text"),
        pytest.param(b"[" * 200_000, "is nested too deeply to be read", id="too-deep"),
    ],
)
def test_json_that_cannot_be_parsed_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        JsonObject().tag(content, TAG)

    assert problem_of(caught.value) == problem


def test_json_lines_tag_the_first_record_alone() -> None:
    tagged = JsonLines().tag(b'{"a":1}\r\n{"b": 2}\nnot json', TAG)

    assert tagged == f'{{"{MARKER_KEY}": {TEXT}, "a":1}}\r\n{{"b": 2}}\nnot json'.encode()


@pytest.mark.parametrize("lead", [b"", b"\n\n", b"\xef\xbb\xbf", b"  \r\n"])
def test_json_lines_keep_what_is_before_the_first_record(lead: bytes) -> None:
    tagged = JsonLines().tag(lead + b'{"a":1}\n{}\n', TAG)

    assert tagged is not None
    assert tagged.startswith(lead + b"{")
    assert tagged.endswith(b', "a":1}\n{}\n')
    assert JsonLines().read(tagged) == TAG


@pytest.mark.parametrize("content", [b"", b"\n \n", b"[1]\n{}\n"])
def test_json_lines_without_a_record_have_no_room(content: bytes) -> None:
    assert JsonLines().tag(content, TAG) is None
    assert JsonLines().read(content) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("a.json", JsonObject, id="json"),
        pytest.param("a.jsonl", JsonLines, id="jsonl"),
        pytest.param("a.ndjson", JsonLines, id="ndjson"),
        pytest.param("a.txt", None, id="other"),
        pytest.param("json", None, id="no-suffix"),
    ],
)
def test_formats_go_by_name(name: str, kind: type | None) -> None:
    matching = [type(known) for known in BUILT_IN if known.matches(f"/s/{name}")]

    assert matching == ([kind] if kind else [])
    assert all(isinstance(known, MarkerFormat) for known in BUILT_IN)


@pytest.mark.parametrize(
    ("value", "own"),
    [
        pytest.param(TAG, True, id="ours"),
        pytest.param({**TAG, "run": "r2"}, False, id="another-run"),
        pytest.param(True, False, id="bare-true"),
        pytest.param(None, False, id="none"),
        pytest.param("r1", False, id="text"),
    ],
)
def test_a_marker_is_ours_only_with_our_run_id(value: object, own: bool) -> None:
    assert is_marker_of(value, "r1") is own
