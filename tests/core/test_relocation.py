"""Birthplaces of ledgers, and how paths follow a checkout that has moved."""

from __future__ import annotations

import pytest

from pytest_session_guard._core.records import Identity
from pytest_session_guard._core.relocation import Birthplace, Move

RUN = "/home/u/it/.session_guard/runs/1"


@pytest.mark.parametrize(
    ("born", "found", "same"),
    [
        pytest.param((1, 2, 3), (1, 2, 3), True, id="the very one"),
        pytest.param((1, 2, 3), (1, 9, 3), True, id="a number that is not for life"),
        pytest.param((1, 2, 3), (1, 2, 4), False, id="born at another moment"),
        pytest.param((1, 2, 3), (9, 2, 3), False, id="a snapshot, mounted beside"),
        pytest.param((1, 2, None, "a"), (1, 2, None, "a"), True, id="the same handle"),
        pytest.param((1, 2, None, "a"), (1, 2, None, "b"), False, id="another handle"),
        pytest.param((1, 2, None), (1, 2, None), True, id="nothing tells them apart"),
        pytest.param((1, 2, None), (1, 3, None), False, id="another number"),
    ],
)
def test_a_directory_is_the_one_that_was_made_unless_something_tells_them_apart(
    born: tuple[int, int, int | None], found: tuple[int, int, int | None], same: bool
) -> None:
    assert Birthplace(RUN, Identity(*born), "boot").is_of(Identity(*found), "boot") is same


@pytest.mark.parametrize(
    ("found", "rootdir", "move"),
    [
        pytest.param("/srv/it/.session_guard/runs/1", "/home/u/it", ("/home/u/it", "/srv/it"), id="moved"),
        pytest.param("/srv/it/.session_guard/runs/1", "/home/u/other", None, id="the ledger lay elsewhere"),
        pytest.param("/srv/it/ledger/runs/1", "/home/u/it", None, id="the ledger moved within it"),
        pytest.param("/srv/it/.session_guard/runs/1", "", None, id="no checkout is known"),
    ],
)
def test_a_move_is_that_of_the_checkout_around_the_ledger(
    found: str, rootdir: str, move: tuple[str, str] | None
) -> None:
    assert Move.between(RUN, found, rootdir) == move


def test_records_follow_by_the_paths_that_they_name_and_keep_the_rest() -> None:
    move = Move("/old", "/new")

    assert move.records(
        [
            {"kind": "moved", "path": "/old/a", "to": "/older/b"},
            {"kind": "preimage", "path": "/old", "target": "/old/a"},
            {"kind": "quarantine", "moves": [["/old/a", "0"], "newer", []]},
            {"kind": "newer", "path": 1},
        ]
    ) == [
        {"kind": "moved", "path": "/new/a", "to": "/older/b"},
        {"kind": "preimage", "path": "/new", "target": "/old/a"},
        {"kind": "quarantine", "moves": [["/new/a", "0"], "newer", []]},
        {"kind": "newer", "path": 1},
    ]


def test_headers_follow_with_their_zones() -> None:
    move = Move("/old", "/new")

    assert move.header(
        {"rootdir": "/old", "zones": [{"zone": "shared", "path": "/old/s"}, "newer"], "mode": "enforce"}
    ) == {
        "rootdir": "/new",
        "zones": [{"zone": "shared", "path": "/new/s"}, "newer"],
        "mode": "enforce",
    }
    assert move.header({}) == {"rootdir": None}
