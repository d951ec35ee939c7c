"""The report as a web page: one file, no scripts, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from typing import Any, Final

from pytest_session_guard._core.records import Touch
from pytest_session_guard._report.text import fix_for, headline, relative, slug, where

SHOWN_TOUCHES: Final = 2_000
SHOWN_PATHS: Final = 500

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --bad: #c62828; --good: #2e7d32; --mild: #b26a00; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
h3 { font: 600 1rem ui-monospace, monospace; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
td, dd, li, summary { overflow-wrap: anywhere; } th { font-weight: 600; white-space: nowrap; }
code, td.path, li, dd { font-family: ui-monospace, monospace; font-size: .9em; }
details { border-left: 3px solid var(--bad); padding: .2rem 0 .2rem .8rem; margin: .6rem 0; }
details.forgiven { border-color: var(--line); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .4rem 0; } dd { margin: 0; }
.badge { color: #fff; background: var(--bad); border-radius: .3rem; padding: .1rem .5rem; }
.badge.clean { background: var(--good); } .badge.report-only { background: var(--mild); }
.enforced, .contained, .refused { color: var(--good); } .partial { color: var(--mild); }
.unavailable, .failed { color: var(--bad); }
"""


def page(report: Mapping[str, Any]) -> str:
    """The page of a JSON report (schema ``session-guard-report/1``), as text that encodes to UTF-8."""
    run = report["run"]
    title = f"session-guard: {report['verdict']}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        # Paths and names come from the tests: whatever they hold, the page loads nothing and runs nothing.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width">',
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>",
        f'<h1>session-guard <span class="badge {_text(report["verdict"])}">{_text(report["verdict"])}</span></h1>',
        *_facts(report),
        *_violations(report, str(run.get("rootdir") or "")),
        *_layers(report),
        *_zones(report),
        *_artifacts(report),
        *_notes(report),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _text(value: object) -> str:
    """Foreign text: lone bytes of paths and control characters shown, markup without effect."""
    text = str(value).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return escape(shown)


def _facts(report: Mapping[str, Any]) -> Iterator[str]:
    run = report["run"]
    command = run.get("command")
    tests = ", ".join(f"{count} {name}" for name, count in report.get("tests", {}).items() if count)
    facts = {
        "run": run.get("id"),
        "mode": run.get("mode"),
        "started": _moment(run.get("started")),
        "finished": _moment(run.get("finished")) or "it did not finish",
        "checkout": run.get("rootdir"),
        "command": " ".join(map(str, command)) if isinstance(command, Sequence) else command,
        "python, pytest": f"{run.get('python')}, {run.get('pytest')} on {run.get('platform')}",
        "workers": ", ".join(map(str, run.get("workers") or ())),
        "workers elsewhere": "; ".join(map(_elsewhere, run.get("remote") or ())),
        "tests": tests,
        "violations": report["violations"],
    }
    yield "<dl>"
    for name, value in facts.items():
        if value not in (None, ""):
            yield f"<dt>{name}</dt><dd>{_text(value)}</dd>"
    yield "</dl>"


def _elsewhere(worker: Mapping[str, Any]) -> str:
    return f"{worker.get('worker')} on {worker.get('host')}: run {worker.get('id')} in {worker.get('rootdir')}"


def _moment(seconds: object) -> str:
    if not isinstance(seconds, int | float):
        return ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _violations(report: Mapping[str, Any], rootdir: str) -> Iterator[str]:
    touches = [Touch.parse(touch) for touch in report["touches"]]
    for title, css, chosen in (
        ("Violations", "", [touch for touch in touches if touch.violation]),
        ("Other touches", "forgiven", [touch for touch in touches if not touch.violation]),
    ):
        if not chosen:
            continue
        yield f"<h2>{title}</h2>"
        shown = sorted(chosen, key=lambda touch: (touch.nodeid, touch.time))[:SHOWN_TOUCHES]
        for nodeid, group in groupby(shown, key=lambda touch: touch.nodeid):
            yield f"<h3>{_text(nodeid or 'outside any test')}</h3>"
            for touch in group:
                yield from _touch(touch, css, rootdir)
        if len(chosen) > len(shown):
            yield f"<p>and {len(chosen) - len(shown)} more, which the JSON report has</p>"
    hidden = report["violations"] - sum(touch.violation for touch in touches)
    if hidden > 0:
        yield f"<p>and {hidden} more of the same kind, which were counted only</p>"


def _touch(touch: Touch, css: str, rootdir: str) -> Iterator[str]:
    labels = {
        "path": touch.path,
        "operation": touch.operation,
        "zone": touch.rule or touch.zone,
        "outcome": f"{touch.outcome} (layer {touch.layer})",
        "test": where(touch),
        "by": f"{relative(touch.file, rootdir)}:{touch.line} in {touch.function}" if touch.file else "",
        "process": f"{touch.pid} {touch.process}" if touch.process else "",
        "when": _moment(touch.time),
        "fix": fix_for(touch) if touch.violation else "",
        "see": f"[{slug(touch)}]" if touch.violation else "",
    }
    yield f'<details class="{css}"><summary>{_text(headline(touch))}</summary><dl>'
    yield from (f"<dt>{name}</dt><dd>{_text(value)}</dd>" for name, value in labels.items() if value)
    yield "</dl></details>"


def _layers(report: Mapping[str, Any]) -> Iterator[str]:
    canary = report.get("canary", {})
    rows = []
    for name, layer in report["layers"].items():
        status = str(layer.get("status", ""))
        proof = str(canary.get(name, ""))
        cells = (
            f"<td>{_text(name)}</td>",
            f'<td class="{_text(status)}">{_text(status)}</td>',
            f'<td class="{_text(proof)}">{_text(proof)}</td>',
            f"<td>{_text(layer.get('reason') or '')}</td>",
        )
        rows.append("".join(cells))
    yield from _table("Layers", ("layer", "status", "proved by a forbidden write", "why not more"), rows)


def _zones(report: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        f'<td>{_text(zone.get("zone"))}</td><td class="path">{_text(zone.get("path"))}</td><td>{_text(zone.get("source"))}</td>'
        for zone in report.get("zones", ())
    ]
    yield from _table("Zones", ("zone", "path", "set by"), rows)


def _table(title: str, heads: Sequence[str], rows: Sequence[str]) -> Iterator[str]:
    if not rows:
        return
    yield f"<h2>{title}</h2><table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"
    yield from (f"<tr>{row}</tr>" for row in rows)
    yield "</table>"


def _artifacts(report: Mapping[str, Any]) -> Iterator[str]:
    artifacts = report.get("artifacts", {})
    kept = [f"{entry.get('path')}: {entry.get('reason')}" for entry in artifacts.get("kept", ())]
    for title, paths in (
        ("Changed in the workspace, pre-images kept", artifacts.get("preserved", ())),
        ("Made by the run", artifacts.get("created", ())),
        ("Removed at the end", artifacts.get("removed", ())),
        ("Kept at the end", kept),
    ):
        yield from _list(title, paths)


def _notes(report: Mapping[str, Any]) -> Iterator[str]:
    yield from _list("Notes", report.get("notes", ()))


def _list(title: str, items: Iterable[object]) -> Iterator[str]:
    listed = list(items)
    if not listed:
        return
    yield f"<h2>{title} ({len(listed)})</h2><ul>"
    yield from (f"<li>{_text(item)}</li>" for item in listed[:SHOWN_PATHS])
    yield "</ul>"
    if len(listed) > SHOWN_PATHS:
        yield f"<p>and {len(listed) - SHOWN_PATHS} more</p>"
