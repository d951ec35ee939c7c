"""The five proofs, and the plan that rests on them."""

from __future__ import annotations

import pytest

from pytest_session_guard._core import removal
from pytest_session_guard._core.records import Identity
from pytest_session_guard._core.removal import (
    ANOTHER_OBJECT,
    ANOTHER_USER,
    CHANGED_LATER,
    NOT_ITS_PLACE,
    NOT_RECORDED,
    NOT_TELLABLE,
    NOT_TOLD,
    THROUGH_SYMLINK,
    UNREADABLE,
    Fact,
    Removal,
    RemovalPlan,
    missing_proof,
    plan_removal,
)

START = 1_000
OBJECT = Identity(1, 7, START)
PROVEN = Fact(
    "/s/a",
    OBJECT,
    recorded=True,
    same_object=True,
    mtime_ns=START,
    ctime_ns=START,
    start_ns=START,
    zone_allows=True,
)


def a_directory(path: str, *entries: str) -> Fact:
    return PROVEN._replace(path=path, directory=True, entries=frozenset(entries))


def a_file(path: str) -> Fact:
    return PROVEN._replace(path=path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({}, "", id="all-five"),
        pytest.param({"recorded": False}, NOT_RECORDED, id="not-recorded"),
        pytest.param({"recorded": False, "tagged": True}, "", id="marker-instead-of-record"),
        pytest.param({"recorded": False, "lent": True}, NOT_TOLD, id="nobody-tells-who-made-it"),
        pytest.param({"recorded": False, "lent": True, "tagged": True}, "", id="nobody-tells-but-marker"),
        pytest.param({"recorded": False, "lent": False}, ANOTHER_OBJECT, id="replaced-what-nobody-told-of"),
        pytest.param({"same_object": False}, ANOTHER_OBJECT, id="replaced"),
        pytest.param({"same_object": False, "tagged": True}, "", id="replaced-by-one-with-the-marker"),
        pytest.param({"same_object": None}, NOT_TELLABLE, id="no-birth-time"),
        pytest.param({"same_object": None, "tagged": True}, "", id="no-birth-time-but-marker"),
        pytest.param({"mtime_ns": START - 1}, "its modification time is before the start of the run", id="older"),
        pytest.param(
            {"identity": Identity(1, 7, START - 1)}, "its birth time is before the start of the run", id="born-before"
        ),
        pytest.param(
            {"identity": Identity(1, 7, START - 1), "tagged": True, "recorded": False},
            "its birth time is before the start of the run",
            id="marker-does-not-outweigh-birth",
        ),
        pytest.param({"identity": Identity(1, 7)}, "", id="no-birth-to-be-old"),
        pytest.param({"zone_allows": False}, NOT_ITS_PLACE, id="elsewhere"),
        pytest.param({"symlink_on_way": True}, THROUGH_SYMLINK, id="symlink"),
        pytest.param({"foreign_on_way": True}, ANOTHER_USER, id="another-user"),
        pytest.param({"end_ns": START - 1}, CHANGED_LATER, id="changed-after-the-end"),
        pytest.param({"end_ns": START}, "", id="changed-at-the-end"),
        pytest.param({"end_ns": START - 1, "directory": True}, "", id="a-directory-changes-with-its-entries"),
    ],
)
def test_missing_proof(change: dict[str, object], reason: str) -> None:
    assert missing_proof(PROVEN._replace(**change)) == reason


@pytest.mark.parametrize("field", ["zone_allows", "recorded", "same_object"])
def test_a_bare_fact_lacks_each_proof_that_is_not_given(field: str) -> None:
    assert missing_proof(PROVEN._replace(**{field: Fact("/s/a", OBJECT).__getattribute__(field)})) != ""


def test_plan_removes_files_first_and_directories_from_the_inside_out() -> None:
    facts = [a_directory("/s/d", "e", "x"), a_directory("/s/d/e", "y"), a_file("/s/d/x"), a_file("/s/d/e/y")]

    plan = plan_removal(facts)

    assert plan == RemovalPlan(
        (
            Removal("/s/d/x", OBJECT),
            Removal("/s/d/e/y", OBJECT),
            Removal("/s/d/e", OBJECT, directory=True),
            Removal("/s/d", OBJECT, directory=True),
        )
    )


def test_plan_keeps_a_directory_with_one_unproven_entry_and_all_above_it() -> None:
    stranger = PROVEN._replace(path="/s/d/e/y", recorded=False)
    facts = [a_directory("/s/d", "e", "x"), a_directory("/s/d/e", "y"), a_file("/s/d/x"), stranger]

    plan = plan_removal(facts)

    inner = f"it holds 'y', which stays: {NOT_RECORDED}"
    assert plan == RemovalPlan(
        (Removal("/s/d/x", OBJECT),),
        (("/s/d", f"it holds 'e', which stays: {inner}"), ("/s/d/e", inner), ("/s/d/e/y", NOT_RECORDED)),
    )


def test_plan_keeps_a_directory_whose_entry_nobody_looked_at() -> None:
    assert plan_removal([a_directory("/s/d", "x")]).kept == (("/s/d", f"it holds 'x', which stays: {NOT_RECORDED}"),)


def test_plan_names_the_first_entry_that_stays() -> None:
    assert plan_removal([a_directory("/s/d", "z", "b", "m")]).kept[0][1].startswith("it holds 'b'")


def test_plan_keeps_a_directory_that_cannot_be_listed() -> None:
    assert plan_removal([PROVEN._replace(directory=True, entries=None)]).kept == (("/s/a", UNREADABLE),)


def test_plan_keeps_an_unproven_directory_though_all_in_it_goes() -> None:
    plan = plan_removal([a_directory("/s/d", "x")._replace(same_object=False), a_file("/s/d/x")])

    assert plan == RemovalPlan((Removal("/s/d/x", OBJECT),), (("/s/d", ANOTHER_OBJECT),))


def test_plan_removes_an_empty_directory() -> None:
    assert plan_removal([a_directory("/s/d")]).removals == (Removal("/s/d", OBJECT, directory=True),)


def test_a_neighbour_with_the_same_prefix_is_no_entry() -> None:
    plan = plan_removal([a_directory("/s/d", "x"), a_file("/s/dx"), a_file("/s/d/x")])

    assert [removal.path for removal in plan.removals] == ["/s/dx", "/s/d/x", "/s/d"]


def test_lines_say_what_goes_and_why_the_rest_stays() -> None:
    plan = plan_removal([a_directory("/s/d"), a_file("/s/a\n"), PROVEN._replace(path="/s/k", recorded=False)])

    assert plan.lines() == ["remove '/s/a\\n'", "remove '/s/d'/", f"keep   '/s/k': {NOT_RECORDED}"]


def test_nothing_to_plan() -> None:
    assert plan_removal([]) == RemovalPlan()


@pytest.mark.parametrize(
    ("fact", "has_proof"),
    [
        pytest.param(PROVEN, True, id="recorded"),
        pytest.param(PROVEN._replace(recorded=False, tagged=True), False, id="tagged_alone"),
        pytest.param(PROVEN._replace(mtime_ns=START - 1), False, id="old_modification"),
    ],
)
def test_a_birth_time_that_went_back_is_no_objection_to_the_recorded_object(
    monkeypatch: pytest.MonkeyPatch, fact: Fact, has_proof: bool
) -> None:
    monkeypatch.setattr(removal, "BIRTH_GOES_BACK", True)  # as on macOS

    assert (missing_proof(fact._replace(identity=Identity(1, 7, START - 1))) == "") is has_proof
