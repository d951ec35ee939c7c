"""Which pre-images count, and what becomes of each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_session_guard._core.records import Identity
from pytest_session_guard._core.restoring import (
    AS_IT_WAS,
    CHANGED_SINCE,
    COPY_CHANGED,
    COPY_GONE,
    Now,
    Preimage,
    RestorePlan,
    State,
    Step,
    left_states,
    plan_restore,
    preimages_of,
    state_of,
)

IMAGE = Preimage("/w/a", "copy", Identity(1, 7, 5), copy="1-7-5", mode=0o644, size=3, mtime_ns=9, time_ns=100)
THERE: State = (1, 7, 3, 9, 1_000)


def records(*images: Preimage, made: tuple[Identity, ...] = ()) -> list[dict[str, Any]]:
    created = [{"kind": "created", "path": "/w/x", "identity": identity.to_json()} for identity in made]
    return json.loads(json.dumps([*created, *(image.to_json() for image in images)]))  # type: ignore[no-any-return]


def test_a_preimage_is_read_back_and_newer_fields_are_passed_over() -> None:
    image = replace(IMAGE, xattrs={"user.a": "dg=="}, target="t", names=2)

    assert Preimage.parse({**image.to_json(), "flavour": "new"}) == image
    with pytest.raises(ValueError, match="not a pre-image"):
        Preimage.parse({"identity": [1, 2, 3]})


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        pytest.param([IMAGE], [IMAGE], id="one"),
        pytest.param(
            [replace(IMAGE, path="/w/d/b", identity=Identity(1, 8)), IMAGE],
            [IMAGE, replace(IMAGE, path="/w/d/b", identity=Identity(1, 8))],
            id="parents-first",
        ),
        pytest.param([IMAGE, replace(IMAGE, size=9, time_ns=200)], [IMAGE], id="same-object-kept-twice"),
        pytest.param([replace(IMAGE, size=9, time_ns=200), IMAGE], [IMAGE], id="in-order-of-time"),
        pytest.param(
            [IMAGE, replace(IMAGE, identity=Identity(1, 9), time_ns=200)],
            [replace(IMAGE, identity=Identity(1, 9), time_ns=200)],
            id="replaced-by-somebody-meanwhile",
        ),
        pytest.param(
            [replace(IMAGE, how="link"), replace(IMAGE, time_ns=200, mode=0)], [IMAGE], id="copied-after-it-was-linked"
        ),
        pytest.param(
            [IMAGE, replace(IMAGE, how="link", time_ns=200)], [IMAGE], id="linked-after-it-was-copied-changes-nothing"
        ),
        pytest.param([IMAGE, replace(IMAGE, path="/w/b", time_ns=200)], [IMAGE], id="new-name-of-a-renamed-object"),
        pytest.param(
            [replace(IMAGE, names=2), replace(IMAGE, path="/w/b", names=2, time_ns=200, size=9)],
            [replace(IMAGE, names=2), replace(IMAGE, path="/w/b", names=2)],
            id="second-name-has-the-facts-of-the-first",
        ),
        pytest.param(
            [replace(IMAGE, how="link", copy="1"), replace(IMAGE, path="/w/b", copy="1.copy", time_ns=200)],
            [replace(IMAGE, copy="1.copy")],
            id="renamed-and-then-written-to",
        ),
    ],
)
def test_preimages_that_count(images: list[Preimage], expected: list[Preimage]) -> None:
    assert preimages_of(records(*images)) == expected


def test_objects_of_the_runs_own_are_no_preimages() -> None:
    assert preimages_of(records(IMAGE, made=(IMAGE.identity,))) == []


def test_left_states_take_the_last_word() -> None:
    said = [
        {"kind": "left", "path": "/a", "state": None},
        {"kind": "left", "path": "/a", "state": list(THERE or ())},
        {"kind": "left", "path": "/b", "state": None},
        {"kind": "left", "path": "/c", "state": [1]},
        {"kind": "other", "path": "/d", "state": None},
    ]

    assert left_states(said) == {"/a": THERE, "/b": None}


@pytest.mark.parametrize(
    ("now", "left", "over_ns", "force", "outcome"),
    [
        pytest.param(Now(None), {}, 0, False, "create", id="gone"),
        pytest.param(Now(THERE), {"/w/a": THERE}, 0, False, "replace", id="as-the-run-left-it"),
        pytest.param(Now(THERE), {"/w/a": (1, 7, 3, 9, 999)}, 0, False, CHANGED_SINCE, id="changed-since"),
        pytest.param(Now(THERE), {"/w/a": None}, 0, False, CHANGED_SINCE, id="made-since"),
        pytest.param(Now(THERE), {"/w/a": None}, 0, True, "replace", id="changed-since-but-forced"),
        pytest.param(Now(THERE), {}, 1_000, False, "replace", id="killed-run-last-breath"),
        pytest.param(Now(THERE), {}, 999, False, CHANGED_SINCE, id="killed-run-long-ago"),
        pytest.param(Now(THERE, same=True), {}, 0, True, AS_IT_WAS, id="as-it-was"),
        pytest.param(Now(None, copy_usable=False), {}, 0, True, COPY_GONE, id="copy-gone"),
        pytest.param(Now(None, copy_intact=False), {}, 0, False, COPY_CHANGED, id="copy-changed"),
        pytest.param(Now(None, copy_intact=False), {}, 0, True, "create", id="copy-changed-but-forced"),
        pytest.param(Now(THERE, same=True, copy_usable=False), {}, 0, False, AS_IT_WAS, id="copy-gone-but-as-it-was"),
    ],
)
def test_plan(now: Now, left: dict[str, State], over_ns: int, force: bool, outcome: str) -> None:
    plan = plan_restore([IMAGE], lambda image: now, left, over_ns, force=force)

    if outcome in ("create", "replace"):
        assert plan == RestorePlan((Step(outcome, IMAGE),))  # type: ignore[arg-type]
    else:
        assert plan == RestorePlan(kept=(("/w/a", outcome),))


def test_a_directory_that_is_there_gets_its_metadata_alone() -> None:
    image = replace(IMAGE, how="directory", copy="")

    plan = plan_restore([image], lambda found: Now(THERE, directory=True), {"/w/a": THERE}, 0)

    assert plan.steps == (Step("metadata", image),)
    assert plan.lines() == ["reset    '/w/a'"]


def test_lines_say_what_comes_back_and_why_the_rest_does_not() -> None:
    plan = RestorePlan((Step("create", IMAGE), Step("replace", replace(IMAGE, path="/w/b\n"))), (("/w/c", AS_IT_WAS),))

    assert plan.lines() == ["restore  '/w/a'", "put back '/w/b\\n'", f"leave    '/w/c': {AS_IT_WAS}"]


def test_the_state_of_an_object_is_what_a_change_would_move(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    found = path.lstat()

    assert state_of(found) == (found.st_dev, found.st_ino, 3, found.st_mtime_ns, found.st_ctime_ns)
    assert state_of(None) is None
