"""The report as JSON, and the checks that prove from it that a run was guarded and clean; they fail closed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_session_guard._core.records import REPORT_SCHEMA, Touch
from pytest_session_guard._report.document import Report, UnreadableReportError, objections, parse_report

# A loaded machine is no fault of the code's.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ROOT = "/srv/project"


def touch(*, violation: bool, path: str = "/home/u/a", nodeid: str = "t.py::a") -> Touch:
    return Touch(
        time=12.5, operation="open", path=path, zone="protected", outcome="refused", violation=violation, layer="hook",
        nodeid=nodeid, phase="call", pid=3, file="t.py", line=9, function="test_a", reason="existed before this run",
    )  # fmt: skip


def report(**changes: Any) -> Report:
    facts: dict[str, Any] = {
        "run": {"id": "r1", "started": 10.0, "finished": 20.5, "mode": "enforce", "rootdir": ROOT, "workers": ["main"]},
        "layers": {"hook": {"status": "enforced", "reason": "", "abi": None}, "seal": {"status": "off", "reason": "", "abi": None}},
        "canary": {"hook": "refused"},
        "zones": [{"zone": "protected", "path": "/", "source": "default"}],
        "tests": {"passed": 2, "failed": 0, "skipped": 1},
    }  # fmt: skip
    return Report(**{**facts, **changes})


def clean() -> dict[str, Any]:
    return parse_report(report().encode())


def test_report_has_the_documented_shape() -> None:
    found = report(
        touches=[touch(violation=True)], created=["/s/a"], removed=["/s/b"], kept=[("/s/c", "not recorded")],
        preserved=["/srv/project/x"], notes=["n"],
    ).to_json()  # fmt: skip

    assert found == {
        "schema": "session-guard-report/1",
        "run": {"id": "r1", "started": 10.0, "finished": 20.5, "mode": "enforce", "rootdir": ROOT, "workers": ["main"]},
        "layers": {
            "hook": {"status": "enforced", "reason": "", "abi": None},
            "seal": {"status": "off", "reason": "", "abi": None},
        },
        "canary": {"hook": "refused"},
        "zones": [{"zone": "protected", "path": "/", "source": "default"}],
        "tests": {"passed": 2, "failed": 0, "skipped": 1},
        "touches": [
            {
                "time": 12.5, "operation": "open", "path": "/home/u/a", "zone": "protected", "outcome": "refused",
                "violation": True, "layer": "hook", "nodeid": "t.py::a", "phase": "call", "pid": 3, "process": "",
                "file": "t.py", "line": 9, "function": "test_a", "reason": "existed before this run", "rule": "", "fix": "",
            }
        ],
        "artifacts": {
            "created": ["/s/a"], "removed": ["/s/b"], "kept": [{"path": "/s/c", "reason": "not recorded"}],
            "preserved": ["/srv/project/x"],
        },
        "violations": 1,
        "verdict": "violated",
        "notes": ["n"],
    }  # fmt: skip


def test_encoded_report_is_ascii_and_reads_back_the_same() -> None:
    given = report(touches=[touch(violation=False, path="/caf\udce9/ü\n", nodeid="t.py::ä")], created=["/\udcff"])

    content = given.encode()

    assert content.isascii()
    assert content.endswith(b"}\n")
    assert rb"/caf\udce9/\u00fc\n" in content
    assert parse_report(content) == given.to_json()
    assert [Touch.parse(value) for value in parse_report(content)["touches"]] == given.touches


@pytest.mark.parametrize(
    ("mode", "violating", "others", "uncounted", "violations", "verdict"),
    [
        pytest.param("enforce", 0, 0, 0, 0, "clean", id="nothing"),
        pytest.param("enforce", 0, 3, 0, 0, "clean", id="only-expected-touches"),
        pytest.param("enforce", 1, 3, 0, 1, "violated", id="one"),
        pytest.param("enforce", 0, 0, 4, 4, "violated", id="known-by-number-only"),
        pytest.param("enforce", 2, 1, 4, 6, "violated", id="both"),
        pytest.param("report", 2, 0, 0, 2, "report-only", id="report-mode"),
        pytest.param("report", 0, 5, 0, 0, "clean", id="report-mode-clean"),
    ],
)
def test_verdict(mode: str, violating: int, others: int, uncounted: int, violations: int, verdict: str) -> None:
    touches = [touch(violation=True)] * violating + [touch(violation=False)] * others

    found = report(run={"mode": mode}, touches=touches, uncounted=uncounted)

    assert (found.violations, found.verdict) == (violations, verdict)
    assert found.violating == touches[:violating]


def test_reports_do_not_share_their_lists() -> None:
    Report({}).touches.append(touch(violation=True))

    assert Report({}).touches == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "is no JSON: ", id="empty"),
        pytest.param(b'{"schema": "session-guard-report/1"', "is no JSON: ", id="torn"),
        pytest.param(b"\xff\xfe\xff", "is no JSON: ", id="no-text"),
        pytest.param(b"[" * 100_000, "is no JSON: ", id="bottomless"),
        pytest.param(b"9" * 5000, "is no JSON: ", id="endless-number"),
        pytest.param(b"null", "is no report of the schema 'session-guard-report/1'", id="null"),
        pytest.param(b"[]", "is no report of the schema 'session-guard-report/1'", id="array"),
        pytest.param(b"{}", "is no report of the schema 'session-guard-report/1'", id="no-schema"),
        pytest.param(
            b'{"schema": "session-guard-report/2"}',
            "is no report of the schema 'session-guard-report/1'",
            id="newer-schema",
        ),
        pytest.param(b'{"schema": "session-guard-report/1"}', "has no usable 'run'", id="nothing-else"),
    ],
)
def test_content_that_is_no_report_is_unreadable(content: bytes, problem: str) -> None:
    with pytest.raises(UnreadableReportError) as caught:
        parse_report(content)

    assert str(caught.value).startswith(problem)


PARTS = ("run", "layers", "tests", "touches", "violations", "verdict")


@pytest.mark.parametrize("name", PARTS)
def test_report_without_a_part_that_the_verdict_rests_on_is_unreadable(name: str) -> None:
    value = clean()
    del value[name]

    with pytest.raises(UnreadableReportError, match=f"has no usable '{name}'"):
        parse_report(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, wrong) for name in PARTS for wrong in (None, True, 1.5)),
        ("run", []), ("layers", []), ("layers", {"hook": "enforced"}), ("layers", {"hook": {}}),
        ("layers", {"hook": {"status": 1}}), ("layers", {"hook": None}),
        ("tests", []), ("tests", {"passed": "2"}), ("tests", {"passed": True}), ("tests", {"passed": -1}),
        ("tests", {"passed": 1.0}),
        ("touches", {}), ("touches", [1]), ("touches", [{}]), ("touches", [{"violation": 0}]), ("touches", "none"),
        ("violations", "0"), ("violations", -1), ("verdict", 0), ("verdict", ["clean"]),
    ],
)  # fmt: skip
def test_report_with_a_part_of_another_kind_is_unreadable(name: str, wrong: object) -> None:
    with pytest.raises(UnreadableReportError, match=f"has no usable '{name}'"):
        parse_report(json.dumps({**clean(), name: wrong}).encode())


def test_newer_keys_do_no_harm() -> None:
    value = {**clean(), "more": [1]}
    value["run"]["more"] = 1

    assert objections(parse_report(json.dumps(value).encode()), rootdir=ROOT) == []


def test_guarded_clean_run_has_no_objections() -> None:
    assert objections(clean(), rootdir=ROOT, require_layers=["hook"], min_tests=2) == []


def put(*keys: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(report: dict[str, Any]) -> None:
        for key in keys[:-1]:
            report = report[key]
        report[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "options", "expected"),
    [
        pytest.param(put("violations", value=1), {}, ["the run has 1 violation"], id="violations"),
        pytest.param(
            put("touches", value=[{"violation": True}, {"violation": False}]), {}, ["the run has 1 violation"],
            id="violating-touch-that-the-number-forgot",
        ),
        pytest.param(put("verdict", value="violated"), {}, ["its verdict is 'violated', not 'clean'"], id="verdict"),
        pytest.param(put("verdict", value="report-only"), {}, ["its verdict is 'report-only', not 'clean'"], id="report-only"),
        pytest.param(put("verdict", value=""), {}, ["its verdict is '', not 'clean'"], id="no-verdict"),
        pytest.param(put("run", "mode", value="report"), {}, ["its mode is 'report', 'enforce' is required"], id="mode-report"),
        pytest.param(put("run", "mode", value="off"), {}, ["its mode is 'off', 'enforce' is required"], id="mode-off"),
        pytest.param(
            put("run", "mode", value="off"), {"require_mode": "report"}, ["its mode is 'off', 'report' is required"],
            id="mode-off-where-report-will-do",
        ),
        pytest.param(put("run", "mode", value="report"), {"require_mode": "report"}, [], id="mode-report-will-do"),
        pytest.param(put("run", "mode", value="strict"), {}, ["its mode is 'strict', 'enforce' is required"], id="mode-unknown"),
        pytest.param(put("run", "mode", value=["enforce"]), {}, ["its mode is ['enforce'], 'enforce' is required"], id="mode-list"),
        pytest.param(
            put("run", "rootdir", value="/srv/other"), {}, ["it is about '/srv/other', not about '/srv/project'"],
            id="other-rootdir",
        ),
        pytest.param(put("run", "rootdir", value=None), {}, ["it is about None, not about '/srv/project'"], id="no-rootdir"),
        pytest.param(put("run", "rootdir", value="/srv/other"), {"rootdir": ""}, [], id="any-rootdir-will-do"),
        pytest.param(put("run", "finished", value=None), {}, ["the run did not finish"], id="unfinished"),
        pytest.param(put("run", "finished", value=0), {}, ["the run did not finish"], id="finished-never"),
        pytest.param(put("run", "finished", value=True), {}, ["the run did not finish"], id="finished-is-no-time"),
        pytest.param(put("run", "finished", value="no"), {}, ["the run did not finish"], id="finished-is-a-word"),
        pytest.param(put("layers", value={}), {}, ["no layer was enforced"], id="no-layers"),
        pytest.param(
            put("layers", "hook", "status", value="partial"), {"require_layers": ["hook"]},
            ["layer 'hook' is partial, it is required", "no layer was enforced"], id="layer-partial",
        ),
        pytest.param(
            lambda report: None, {"require_layers": ["overlay", "seal", "hook"]},
            ["layer 'overlay' is missing, it is required", "layer 'seal' is off, it is required"], id="layers-missing-and-off",
        ),
        pytest.param(put("tests", value={}), {}, ["0 tests ran, at least 1 required"], id="no-tests"),
        pytest.param(put("tests", value={"skipped": 9, "error": 2}), {}, ["0 tests ran, at least 1 required"], id="only-skipped"),
        pytest.param(lambda report: None, {"min_tests": 3}, ["2 tests ran, at least 3 required"], id="too-few-tests"),
        pytest.param(
            put("tests", value={"passed": 1, "failed": 2, "xfailed": 4, "xpassed": 8}), {"min_tests": 15}, [], id="tests-that-ran",
        ),
        pytest.param(put("tests", value={}), {"min_tests": 0}, [], id="none-required"),
    ],
)  # fmt: skip
def test_objections(change: Callable[[dict[str, Any]], None], options: dict[str, Any], expected: list[str]) -> None:
    value = clean()
    change(value)

    found = objections(parse_report(json.dumps(value).encode()), **{"rootdir": ROOT, **options})

    assert found == expected


def test_all_objections_are_told_at_once() -> None:
    value = clean()
    value["run"] = {}
    value.update(violations=2, layers={}, tests={})

    assert objections(value, rootdir=ROOT, require_layers=["hook"]) == [
        "the run has 2 violations",
        "its mode is None, 'enforce' is required",
        "it is about None, not about '/srv/project'",
        "layer 'hook' is missing, it is required",
        "no layer was enforced",
        "the run did not finish",
        "0 tests ran, at least 1 required",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["clean", "enforce", ROOT, "enforced", ""]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["hook", "status", "mode", "passed", "violation", "finished"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)


@UNHURRIED
@given(st.sampled_from([*PARTS, "schema"]), JSON)
def test_report_with_anything_in_a_part_is_unreadable_objected_to_or_the_same(name: str, value: Any) -> None:
    given = {**copy.deepcopy(CLEAN), name: value}

    try:
        found = objections(parse_report(json.dumps(given).encode()), rootdir=ROOT, require_layers=["hook"], min_tests=2)
    except UnreadableReportError:
        return

    harmless = name == "touches" and not any(touch["violation"] for touch in value)
    assert found or value == CLEAN[name] or harmless


CLEAN = clean()
assert CLEAN["schema"] == REPORT_SCHEMA
