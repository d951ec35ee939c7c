"""Past runs as their records tell, and how long they are kept."""

from __future__ import annotations

import pytest

from pytest_session_guard._core.records import Identity
from pytest_session_guard._core.runs import PastRun, RecordedArtifacts, plan_retention, quarantined_paths

A = Identity(1, 7, 5)


def created(path: str, identity: Identity = A) -> dict[str, object]:
    return {"kind": "created", "path": path, "identity": identity.to_json()}


@pytest.mark.parametrize(
    ("run", "state", "obstacle"),
    [
        pytest.param(PastRun("r", "/r", closed=True), "ended", "", id="ended"),
        pytest.param(PastRun("r", "/r"), "killed", "", id="killed"),
        pytest.param(PastRun("r", "/r", alive=True), "alive", "the run is alive", id="alive"),
        pytest.param(PastRun("r", "/r", foreign="is not ours", alive=True), "foreign", "is not ours", id="foreign"),
        pytest.param(
            PastRun("r", "/r", damaged=("j line 2", "j line 5")),
            "killed",
            "its ledger is damaged: j line 2, j line 5",
            id="damaged",
        ),
    ],
)
def test_state(run: PastRun, state: str, obstacle: str) -> None:
    assert (run.state, run.obstacle) == (state, obstacle)


@pytest.mark.parametrize(
    ("last_sign_ns", "seen_ending_ns", "over_ns"),
    [
        pytest.param(7_100_000_001, 0, 9_100_000_001, id="nobody-saw-it-go"),
        pytest.param(7_100_000_001, 8_200_000_001, 8_200_000_001, id="somebody-did"),
        pytest.param(8_300_000_001, 8_200_000_001, 8_300_000_001, id="a-fork-wrote-later"),
        pytest.param(7_000_000_000, 8_000_000_000, 10_000_000_000, id="the-ledgers-disk-keeps-whole-seconds"),
    ],
)
def test_over(last_sign_ns: int, seen_ending_ns: int, over_ns: int) -> None:
    assert PastRun("r", "/r", last_sign_ns=last_sign_ns, seen_ending_ns=seen_ending_ns).over_ns == over_ns


def test_artifacts_by_path_and_by_object() -> None:
    artifacts = RecordedArtifacts(
        [
            {"kind": "intent", "path": "/s/x", "directory": False},
            created("/s/d"),
            created("/s/d/a", Identity(1, 8, 6)),
            created("/s/old", Identity(1, 9)),
            created("/s/known", Identity(1, 10, None, "1-0a")),
            {"kind": "lent", "path": "/s/d/lent", "identity": A.to_json()},
            {"kind": "moved", "path": "/s/d", "to": "/s/e"},
            {"kind": "removed", "path": "/s/old"},
            {"kind": "touch", "path": "/s/t"},
        ]
    )

    # A rename is written down before it happens, and may not have: the old names count as well.
    assert artifacts.candidates == [
        f"/s/{name}" for name in ("d", "d/a", "d/lent", "e", "e/a", "e/lent", "known", "old", "x")
    ]
    assert artifacts.lent == {"/s/d/lent": A, "/s/e/lent": A}
    assert (artifacts.paths["/s/e"], artifacts.paths["/s/e/a"]) == (A, Identity(1, 8, 6))
    assert artifacts.is_own(A) is True
    assert artifacts.is_own(Identity(1, 7, 6)) is False
    assert artifacts.is_own(Identity(1, 9)) is None
    assert artifacts.is_own(Identity(1, 10, None, "1-0a")) is True
    assert artifacts.is_own(Identity(1, 10, None, "1-0b")) is False
    artifacts.settle()


def test_quarantined_names_lead_home() -> None:
    records = [
        {"kind": "quarantine", "moves": [["/s/a", "1-2-0"], ["/s/b", "1-2-1"], ["odd"]]},
        {"kind": "quarantine"},
    ]

    assert quarantined_paths(records) == {"1-2-0": "/s/a", "1-2-1": "/s/b"}


def closed(number: int, size: int = 1, **changes: object) -> PastRun:
    return PastRun(f"{number:02}", f"/runs/{number:02}", **{"closed": True, "size_bytes": size, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("runs", "keep_runs", "keep_bytes", "going"),
    [
        pytest.param([closed(n) for n in range(3)], 3, 99, [], id="few-and-small"),
        pytest.param([closed(n) for n in range(5)], 3, 99, ["00", "01"], id="oldest-beyond-the-number"),
        pytest.param([closed(2), closed(0), closed(1)], 1, 99, ["00", "01"], id="order-is-that-of-ids"),
        pytest.param([closed(n, 10) for n in range(4)], 9, 25, ["00", "01"], id="oldest-beyond-the-size"),
        pytest.param([closed(n, 10) for n in range(4)], 9, 30, ["00"], id="just-as-much-as-allowed"),
        pytest.param([closed(0, 10)], 9, 1, [], id="the-newest-stays-whatever-its-size"),
        pytest.param([closed(0, closed=False), closed(1)], 1, 99, [], id="killed-stays"),
        pytest.param([closed(0, alive=True), closed(1)], 1, 99, [], id="alive-stays"),
        pytest.param([closed(0, foreign="x"), closed(1)], 1, 99, [], id="foreign-stays"),
        pytest.param([closed(0, damaged=("x",)), closed(1)], 1, 99, [], id="damaged-stays"),
    ],
)
def test_retention(runs: list[PastRun], keep_runs: int, keep_bytes: int, going: list[str]) -> None:
    assert [run.run_id for run in plan_retention(runs, keep_runs, keep_bytes)] == going


def test_records_of_a_kind_are_counted() -> None:
    run = PastRun("r", "/r", records=[created("/a"), {"kind": "intent"}, created("/b")])

    assert (run.count("created"), run.count("removed")) == (2, 0)
