"""The page about the incidents, made from the catalogue and from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from .catalogue import INCIDENTS
from .incident import Incident, Reach, Signal
from .outcomes import Guise, Outcome, Recorded

PAGE: Final = Path(__file__).parents[2] / "docs" / "incidents.md"
HEADINGS: Final = (
    "incident",
    "what happened",
    "mechanism",
    "unguarded",
    "HOME redirected alone",
    "the plugin",
    "`report` mode",
    "configuration",
)
INTRODUCTION: Final = """\
# Incidents

Public accidents in which a test run destroyed what it had not made. Each is repeated by the smallest suite that does
the same, in a throw-away world of its own: a fake home, a checkout, places elsewhere on the disk, servers on the
loopback interface. What the columns say was measured from outside, after each run had ended; `tests/incidents` measures
it again and fails where this page no longer holds. `python -m tests.incidents.record` writes the page. Measured on Linux
with the layers `hook` and `overlay`.

- *unguarded*: without the plugin. Every suite passes (or is killed half-way, as it was then), and the damage is done.
- *HOME redirected alone*: without the plugin; `HOME`, `USERPROFILE` and the XDG variables point to an empty directory
  before pytest starts.
- *the plugin*: `--session-guard=enforce` with nothing configured.
- *`report` mode*: `--session-guard=report`, with the line of the last column where there is one.
- *configuration*: what prevention takes: nothing, one line, or why it is out of reach.
"""


def render_page(recorded: Recorded) -> str:
    """Give the whole page."""
    return "\n".join([INTRODUCTION, *_render_counts(recorded), "", *_render_table(recorded), ""])


def _render_counts(recorded: Recorded) -> list[str]:
    """Count by what was measured: an incident counts only if every variant of it does."""
    incidents = {incident.id for incident in INCIDENTS}
    zero = incidents - _ids(lambda incident: bool(recorded[incident.key][Guise.ENFORCE].differences))
    line = incidents - zero - _ids(lambda incident: not _is_prevented_with_line(recorded[incident.key]))
    undone = line - _ids(lambda incident: bool(recorded[incident.key][Guise.ENFORCE].lost))
    harmless = incidents - _ids(lambda incident: bool(recorded[incident.key][Guise.REDIRECTED].differences))
    broken = harmless & _ids(lambda incident: recorded[incident.key][Guise.REDIRECTED].ended == "failed")
    counts = (
        ("all", incidents),
        ("prevented with zero configuration", zero),
        ("prevented with one line", line),
        ("of these, undone by `session-guard restore` even without the line", undone),
        ("not prevented", incidents - zero - line),
        ("harmless when HOME is redirected and nothing else is done", harmless),
        ("of these, with a suite that then fails", broken),
    )
    return ["| of the incidents | number |", "| --- | --- |", *(f"| {name} | {len(ids)} |" for name, ids in counts)]


def _is_prevented_with_line(measured: Mapping[Guise, Outcome]) -> bool:
    best = measured.get(Guise.LINE, measured[Guise.ENFORCE])
    return not best.differences


def _ids(is_wanted: Callable[[Incident], bool]) -> set[str]:
    return {incident.id for incident in INCIDENTS if is_wanted(incident)}


def _render_table(recorded: Recorded) -> list[str]:
    rows = [HEADINGS, tuple("---" for _ in HEADINGS)]
    rows += [_render_row(incident, recorded) for incident in INCIDENTS]
    return [f"| {' | '.join(row)} |" for row in rows]


def _render_row(incident: Incident, recorded: Recorded) -> tuple[str, ...]:
    measured = recorded[incident.key]
    name = f"[{incident.id}]({incident.url}) ({incident.year})"
    return (
        f"{name}, {incident.variant.replace('-', ' ')}" if incident.variant else name,
        incident.happened,
        incident.mechanism,
        _word_damage(measured[Guise.UNGUARDED]),
        _word_redirected(measured),
        _word_guarded(incident, measured[Guise.ENFORCE]),
        _word_reported(incident, measured[Guise.LINE_REPORT if incident.reach is Reach.LINE else Guise.REPORT]),
        _word_configuration(incident, measured),
    )


def _word_damage(outcome: Outcome) -> str:
    """Give the first difference and how many more there are."""
    shown, *more = (
        f"{kind} `{name}`" for kind, name in (difference.split(" ", 1) for difference in outcome.differences)
    )
    return f"{shown}, and {len(more)} more" if more else shown


def _word_redirected(measured: Mapping[Guise, Outcome]) -> str:
    outcome, unguarded = measured[Guise.REDIRECTED], measured[Guise.UNGUARDED]
    if not outcome.differences:
        return "harmless" if outcome.ended == unguarded.ended else "harmless, but the suite fails"
    return "the same damage" if outcome.differences == unguarded.differences else f"still {_word_damage(outcome)}"


def _word_guarded(incident: Incident, outcome: Outcome) -> str:
    if not outcome.differences:
        if incident.signal is Signal.DISARMED:
            return f"takes the variable away: nothing is touched, suite {outcome.ended}"
        return f"{_word_touches(outcome)}; run {outcome.ended}, {_word_names(outcome)}"
    if outcome.left_after_restore is None or incident.reach is Reach.OUT:
        return f"{_word_damage(outcome)}: the damage is done"
    if outcome.lost:
        return f"{_word_damage(outcome)}: lost"
    if all(difference.startswith("new ") for difference in outcome.differences):
        return "lets it be created"
    return "lets it happen, keeps a pre-image; `session-guard restore` brings all back"


def _word_reported(incident: Incident, outcome: Outcome) -> str:
    if outcome.differences:
        return f"{_word_damage(outcome)}: the damage is done"
    if incident.signal is Signal.DISARMED:
        return f"the same, suite {outcome.ended}"
    return f"{_word_touches(outcome)}; data as before, suite {outcome.ended}"


def _word_touches(outcome: Outcome) -> str:
    return " and ".join(outcome.touches) or "not told"


def _word_names(outcome: Outcome) -> str:
    named = [word for word, is_named in (("culprit", outcome.names_test), ("path", outcome.names_path)) if is_named]
    return f"names {' and '.join(named)}" if named else "names nothing"


def _word_configuration(incident: Incident, measured: Mapping[Guise, Outcome]) -> str:
    if incident.reach is Reach.ZERO:
        return f"none ({incident.reason})" if incident.reason else "none"
    if incident.reach is Reach.LINE:
        line = incident.line.replace("@tmp@", "/tmp")
        prevented = measured[Guise.LINE]
        effect = f"**not prevented**: {_word_damage(prevented)}" if prevented.differences else "then prevented"
        return f"`{line}`: {effect}; {incident.reason}"
    return f"**out of reach**: {incident.reason}"
