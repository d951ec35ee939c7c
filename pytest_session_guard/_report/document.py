"""The report as JSON, schema ``session-guard-report/1``, and the checks that `session-guard verify` makes on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from pytest_session_guard._core.records import REPORT_SCHEMA, Touch
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._report.wording import counted


@dataclass
class Report:
    """What a run was and did; `to_json` gives the documented shape."""

    run: dict[str, Any]
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    canary: dict[str, str] = field(default_factory=dict)
    zones: list[dict[str, str]] = field(default_factory=list)
    tests: dict[str, int] = field(default_factory=dict)
    touches: list[Touch] = field(default_factory=list)
    uncounted: int = 0
    created: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    preserved: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def violating(self) -> list[Touch]:
        """The touches that count against the run."""
        return [touch for touch in self.touches if touch.violation]

    @property
    def violations(self) -> int:
        """How many violations there were, those included that are known by number only."""
        return len(self.violating) + self.uncounted

    @property
    def verdict(self) -> str:
        """``clean``, ``violated``, or ``report-only`` for violations that were not meant to fail the run."""
        if not self.violations:
            return "clean"
        return "report-only" if self.run.get("mode") == "report" else "violated"

    def to_json(self) -> dict[str, Any]:
        """The report in its documented shape."""
        return {
            "schema": REPORT_SCHEMA,
            "run": self.run,
            "layers": self.layers,
            "canary": self.canary,
            "zones": self.zones,
            "tests": self.tests,
            "touches": [touch.to_json() for touch in self.touches],
            "artifacts": {
                "created": self.created,
                "removed": self.removed,
                "kept": [{"path": path, "reason": reason} for path, reason in self.kept],
                "preserved": self.preserved,
            },
            "violations": self.violations,
            "verdict": self.verdict,
            "notes": self.notes,
        }

    def encode(self) -> bytes:
        """The report as the bytes of a JSON file; ASCII, so lone bytes of paths survive as ``\\udcXX``."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=True).encode("ascii") + b"\n"


class UnreadableReportError(ValueError):
    """What was given is no report of this schema."""


def parse_report(content: bytes) -> dict[str, Any]:
    """The JSON object of a report.

    :raises UnreadableReportError: it is no JSON, or of another schema, or lacks a part that a verdict rests on.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as problem:
        raise UnreadableReportError(f"is no JSON: {problem}") from None
    if not isinstance(value, dict) or value.get("schema") != REPORT_SCHEMA:
        raise UnreadableReportError(f"is no report of the schema {REPORT_SCHEMA!r}")
    for name, fits in SHAPES.items():
        if name not in value or not fits(value[name]):
            raise UnreadableReportError(f"has no usable {name!r}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_touch(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("violation"), bool)


def _object_of(fits: Callable[[Any], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(fits(item) for item in value.values())


# The parts that a verdict rests on. A report that lacks one, or has something else in its place, proves nothing.
SHAPES: Mapping[str, Callable[[object], bool]] = {
    "run": lambda value: isinstance(value, dict),
    "layers": _object_of(lambda layer: isinstance(layer, dict) and isinstance(layer.get("status"), str)),
    "tests": _object_of(_is_number),
    "touches": lambda value: isinstance(value, list) and all(_is_touch(item) for item in value),
    "violations": _is_number,
    "verdict": lambda value: isinstance(value, str),
}


def objections(
    report: Mapping[str, Any],
    *,
    rootdir: str,
    require_mode: str = "enforce",
    require_layers: Sequence[str] = (),
    min_tests: int = 1,
) -> list[str]:
    """Why a report does not show a guarded, clean run; empty when it does.

    :param report: as `parse_report` gives it.
    :param rootdir: the real path of the checkout that the report must be about; ``""`` takes any.
    :param min_tests: how many tests must have run; a report about nothing proves nothing.
    """
    run, found = report["run"], []
    violations = max(report["violations"], sum(touch["violation"] for touch in report["touches"]))
    if violations:
        found.append(f"the run has {counted(violations, 'violation')}")
    if report["verdict"] != "clean" and not found:
        found.append(f"its verdict is {report['verdict']!r}, not 'clean'")
    if _rank(run.get("mode")) < MODE_RANK[require_mode]:
        found.append(f"its mode is {run.get('mode')!r}, {require_mode!r} is required")
    if rootdir and run.get("rootdir") != rootdir:
        found.append(f"it is about {run.get('rootdir')!r}, not about {rootdir!r}")
    found += _objections_to_layers(report, require_layers)
    if not _is_time(run.get("finished")):
        found.append("the run did not finish")
    ran = sum(report["tests"].get(name, 0) for name in ("passed", "failed", "xfailed", "xpassed"))
    if ran < min_tests:
        found.append(f"{counted(ran, 'test')} ran, at least {min_tests} required")
    return found


def _objections_to_layers(report: Mapping[str, Any], required: Sequence[str]) -> list[str]:
    states = {name: layer["status"] for name, layer in report["layers"].items()}
    found = [
        f"layer {name!r} is {states.get(name, 'missing')}, it is required"
        for name in required
        if states.get(name) != "enforced"
    ]
    if "enforced" not in states.values():
        found.append("no layer was enforced")
    return found


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _rank(mode: object) -> int:
    return MODE_RANK.get(mode, -1) if isinstance(mode, str) else -1


MODE_RANK: Mapping[str, int] = {"off": 0, "report": 1, "enforce": 2}
