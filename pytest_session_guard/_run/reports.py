"""Where a run's report goes, and how it is had again afterwards."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pytest_session_guard._core.records import REPORT_SCHEMA, Touch, iter_kind
from pytest_session_guard._core.runs import PastRun, RecordedArtifacts
from pytest_session_guard._host.fsops import (
    is_stream,
    make_directory,
    overwrite_file,
    read_file,
    replace_file,
    write_to_stream,
)
from pytest_session_guard._report.document import UnreadableReportError, parse_report

REPORT_FILE: Final = "report.json"
# The file alone may be written: around it the disk is read-only, or sealed, or the file is a mount of its own.
_ALONE: Final = frozenset((errno.EROFS, errno.EACCES, errno.EBUSY))


def write_report(
    report: Mapping[str, Any], run_directory: str, json_path: str = "", html_path: str = ""
) -> list[tuple[str, OSError]]:
    """Put a report into the run's directory, and where else it was asked for.

    :returns: what could not be written, and why; the rest is.
    """
    content = json.dumps(report, indent=2, ensure_ascii=True).encode("ascii") + b"\n"
    failed = _write(f"{run_directory}/{REPORT_FILE}", content, 0o600)
    if json_path:
        failed += _write(_absolute(json_path), content, 0o644)
    if html_path:
        failed += write_page(report, html_path)
    return failed


def write_page(report: Mapping[str, Any], path: str) -> list[tuple[str, OSError]]:
    """Write a report as a web page.

    :returns: as `write_report`.
    """
    from pytest_session_guard._report.html import page  # a run without a page need not load it

    return _write(_absolute(path), page(report).encode(), 0o644)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _write(path: str, content: bytes, mode: int) -> list[tuple[str, OSError]]:
    try:
        if is_stream(path):
            write_to_stream(path, content)
            return []
        make_directory(os.path.dirname(path), 0o755)
        replace_file(path, content, mode)
    except OSError as problem:
        return [] if problem.errno in _ALONE and _is_overwritten(path, content) else [(path, problem)]
    return []


def _is_overwritten(path: str, content: bytes) -> bool:
    try:
        overwrite_file(path, content)
    except OSError:
        return False
    return True


def report_of(run: PastRun) -> dict[str, Any]:
    """The report of a past run: its own, with what came later; for a run that never gave one, what the ledger says."""
    touches = list(iter_kind(run.records, "touch"))
    try:
        report = parse_report(read_file(f"{run.path}/{REPORT_FILE}"))
    except (OSError, UnreadableReportError):
        return unfinished_report(run.run_id, run.started_ns, run.header, touches, run.records)
    return with_late_touches(report, touches)


def untold(run: PastRun) -> list[str]:
    """The violations of a run that was killed before it could report them: a clause, or none."""
    touches = [touch for touch in iter_kind(run.records, "touch") if touch.get("violation") is True]
    if not touches or os.path.lexists(f"{run.path}/{REPORT_FILE}"):
        return []
    first = Touch.parse({key: value for key, value in touches[0].items() if key != "kind"})
    who = f" by {first.nodeid}" if first.nodeid else ""
    more = f" and {len(touches) - 1} more" if len(touches) > 1 else ""
    what = f"{first.operation} {first.outcome}: {first.path!r}{who}{more}"
    return [f"run {run.run_id} was killed before it could report {what} (session-guard show {run.run_id})"]


def with_late_touches(report: dict[str, Any], touches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A report brought up to what the ledger says now; its verdict can only get worse."""
    fields = [{key: value for key, value in touch.items() if key != "kind"} for touch in touches]
    known = {json.dumps(touch, sort_keys=True) for touch in report["touches"]}
    late = [touch for touch in fields if json.dumps(touch, sort_keys=True) not in known]
    report["touches"] = sorted([*report["touches"], *late], key=lambda touch: touch["time"])
    violations = sum(touch["violation"] for touch in late)
    report["violations"] += violations
    if violations:
        report["verdict"] = "report-only" if report["run"].get("mode") == "report" else "violated"
    return report


def unfinished_report(
    run_id: str,
    started_ns: int,
    header: Mapping[str, Any],
    touches: Sequence[Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The report of a run that ended before it could give one; nobody can vouch for it, so it is never clean."""
    # Imported here: a run that gives its own report has no use for it.
    from pytest_session_guard._core.restoring import changed_paths

    own = {
        key: value for key, value in header.items() if key not in ("zones", "run", "started_ns", "machine", "directory")
    }
    return {
        "schema": REPORT_SCHEMA,
        "run": {"id": run_id, "started": started_ns / 1e9, "finished": None, "mode": "", "rootdir": "", **own},
        "layers": {},
        "canary": {},
        "zones": list(header.get("zones") or ()),
        "tests": {},
        "touches": [{key: value for key, value in touch.items() if key != "kind"} for touch in touches],
        "artifacts": {
            "created": RecordedArtifacts(records).candidates,
            "removed": [],
            "kept": [],
            "preserved": sorted(changed_paths(records)),
        },
        "violations": sum(touch.get("violation") is True for touch in touches),
        "verdict": "violated",
        "notes": ["the run ended without a report of its own; this is what its ledger says"],
    }
