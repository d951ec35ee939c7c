"""Records and their twins: what is written is read back, what is torn or damaged is seen, what is newer is passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_session_guard._core import records
from pytest_session_guard._core.records import (
    Identity,
    JournalPage,
    Touch,
    encode_line,
    iter_kind,
    line_maker,
    marker,
    parse_journal,
    parse_line,
)

# Lone surrogates stand for the bytes of names that are not UTF-8.
TEXT = st.text(st.characters(exclude_categories=())) | st.text()
RECORDS = st.dictionaries(
    st.text(max_size=8), TEXT | st.integers() | st.none() | st.lists(TEXT, max_size=3), max_size=4
)
TOUCH = Touch(1.5, "os.remove", "/a\udcff\n", "shared", "refused", True, "hook", "t::x", "call", 7, reason="because")


@given(RECORDS)
def test_a_line_is_read_back(record: dict[str, Any]) -> None:
    line = encode_line(record)

    assert parse_line(line) == record
    assert line.count(b"\n") == 1
    assert line.isascii()


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_a_line_made_without_globals_is_read_back(text: str) -> None:
    record = {"kind": "touch", **TOUCH.to_json()}

    line = line_maker(record, "path")(text)

    assert parse_line(line) == {**record, "path": text.replace("\\", "/").replace('"', "'")}


def test_a_line_made_without_globals_has_no_need_of_any() -> None:
    make = line_maker({"kind": "touch", "path": ""}, "path")
    wiped = type(make)(make.__code__, {"__builtins__": {}}, "wiped", make.__defaults__)

    assert wiped("os.remove ('/a',)") == make("os.remove ('/a',)")


def test_a_line_is_the_same_without_the_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"kind": "intent", "path": "/a\udcff\n", "n": [1, None, True]}
    fast = encode_line(record)
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    monkeypatch.setattr(records, "_encode", records._make_encoder())

    assert encode_line(record) == fast


@given(st.lists(RECORDS, max_size=5), st.integers(min_value=0, max_value=10_000))
def test_a_journal_cut_anywhere_gives_the_whole_lines_before_the_cut(records: list[dict[str, Any]], cut: int) -> None:
    lines = [encode_line(record) for record in records]
    content = b"".join(lines)[:cut]

    page = parse_journal(content)

    whole = next((n for n in range(len(lines), -1, -1) if len(b"".join(lines[:n])) <= len(content)), 0)
    assert page.records == tuple(records[:whole])
    assert page.damaged == ()
    assert page.torn == (len(b"".join(lines[:whole])) < len(content))
    assert page.consumed == len(b"".join(lines[:whole]))


@given(RECORDS, st.data())
def test_a_changed_byte_is_never_read_as_another_record(record: dict[str, Any], data: st.DataObject) -> None:
    line = bytearray(encode_line(record))
    position = data.draw(st.integers(min_value=0, max_value=len(line) - 2))
    line[position] ^= data.draw(st.integers(min_value=1, max_value=255))

    assert parse_line(bytes(line)) in (None, record)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}\n", id="no-frame"),
        pytest.param(encode_line({"a": 1})[:-1], id="no-newline"),
        pytest.param(encode_line({"a": 1})[:-2] + b"\n", id="no-brace"),
        pytest.param(encode_line({"a": 1}).replace(b'"len":7', b'"len":8'), id="wrong-length"),
        pytest.param(b'{"len":3,"crc":"b8d5ab4e","record":[1]}\n', id="no-object-and-wrong-crc"),
        pytest.param(encode_line([1]), id="no-object"),  # type: ignore[arg-type]
        pytest.param(b'\xff\xfe,"record":{}}\n', id="bytes"),
    ],
)
def test_what_is_no_record_is_none(line: bytes) -> None:
    assert parse_line(line) is None


def test_damage_in_the_middle_is_numbered_and_a_torn_end_is_not_damage() -> None:
    good = encode_line({"n": 1})

    assert parse_journal(good + b"\n" + good + good[:-3] + b"\n" + good[:4]) == JournalPage(
        ({"n": 1}, {"n": 1}), (2, 4), True, 2 * len(good) + 1 + len(good) - 2
    )
    assert parse_journal(b"") == JournalPage((), (), False, 0)


@given(st.integers(), st.integers(), st.none() | st.integers(), st.none() | st.text())
def test_an_identity_is_read_back(device: int, inode: int, birth_ns: int | None, handle: str | None) -> None:
    identity = Identity(device, inode, birth_ns, handle)

    assert Identity.parse(json.loads(json.dumps(identity.to_json()))) == identity


def test_an_identity_is_read_from_older_and_newer_records() -> None:
    assert Identity.parse([1, 2, None]) == Identity(1, 2)
    assert Identity.parse([1, 2, None, "1-00ff", "what comes later"]) == Identity(1, 2, None, "1-00ff")
    assert Identity(1, 2, 3).to_json() == [1, 2, 3]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(Identity(1, 2, 3), Identity(1, 2, 3), True, id="birth"),
        pytest.param(Identity(1, 2, 3), Identity(1, 2, 4), False, id="later-birth"),
        pytest.param(Identity(1, 2, 3), Identity(1, 2), False, id="birth-on-one-side"),
        pytest.param(Identity(1, 2, 3, "h"), Identity(1, 2, 3, "i"), True, id="birth-goes-first"),
        pytest.param(Identity(1, 2, None, "h"), Identity(1, 2, None, "h"), True, id="handle"),
        pytest.param(Identity(1, 2, None, "h"), Identity(1, 2, None, "i"), False, id="later-handle"),
        pytest.param(Identity(1, 2, None, "h"), Identity(1, 2), None, id="handle-on-one-side"),
        pytest.param(Identity(1, 2), Identity(1, 2), None, id="number-alone"),
        pytest.param(Identity(1, 2, None, "h"), Identity(1, 3, None, "h"), False, id="another-number"),
        pytest.param(Identity(1, 2, None, "h"), Identity(2, 2, None, "h"), False, id="another-device"),
    ],
)
def test_whether_two_identities_are_of_one_object(one: Identity, other: Identity, same: bool | None) -> None:
    assert one.is_same_object(other) is same
    assert other.is_same_object(one) is same


@pytest.mark.parametrize(
    ("born_ns", "same"),
    [
        pytest.param(4, True, id="moved_back"),
        pytest.param(6, False, id="a_later_object"),
        pytest.param(None, False, id="untold"),
    ],
)
def test_a_birth_time_that_goes_back_is_of_the_same_object(
    monkeypatch: pytest.MonkeyPatch, born_ns: int | None, same: bool
) -> None:
    monkeypatch.setattr(records, "BIRTH_GOES_BACK", True)  # as on macOS

    assert Identity(1, 2, born_ns).is_same_object(Identity(1, 2, 5)) is same


def test_whether_an_identity_is_among_others() -> None:
    proven, bare, stranger = Identity(1, 2, None, "h"), Identity(1, 2), Identity(1, 2, None, "i")

    assert proven.is_among([stranger, bare, proven]) is True
    assert proven.is_among([stranger, bare]) is None
    assert proven.is_among([stranger]) is False
    assert proven.is_among([]) is False


@pytest.mark.parametrize("value", [None, [1, 2], [1, 2, 3, 4], ["1", 2, 3], [1, 2, 3.5], [1, 2, 3.5, "h"], {}])
def test_what_is_no_identity_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match="an identity is"):
        Identity.parse(value)


def test_a_touch_is_read_back_and_newer_fields_are_passed_over() -> None:
    written = json.loads(json.dumps(TOUCH.to_json()))

    assert Touch.parse(written) == TOUCH
    assert Touch.parse({**written, "kind": "touch", "colour": "red"}) == TOUCH
    del written["path"]
    with pytest.raises(ValueError, match="not a touch"):
        Touch.parse(written)


def test_a_marker_says_run_test_and_start() -> None:
    assert marker("r1", "t::x", 5) == {"run": "r1", "test": "t::x", "start": 5}


def test_records_of_one_kind_come_in_order() -> None:
    several = [{"kind": "a", "n": 1}, {"kind": "b"}, {"n": 0}, {"kind": "a", "n": 2}]

    assert [record["n"] for record in iter_kind(several, "a")] == [1, 2]
