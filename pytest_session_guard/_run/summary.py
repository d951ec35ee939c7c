"""What a run says of itself at its end: the report, and the lines beside the violations."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from pytest_session_guard._controls.cleanup import Removed
from pytest_session_guard._core.zones import Zone
from pytest_session_guard._host.fsops import Raw, clock_ns
from pytest_session_guard._report.document import Report
from pytest_session_guard._report.text import headline, preserved_lines
from pytest_session_guard._run.places import zones_of
from pytest_session_guard._run.remote import closing_lines as lines_of_remote

if TYPE_CHECKING:
    from pytest_session_guard._run.session import SessionRun

_SHOWN: Final = 3
_SHOWN_KEPT: Final = 20


def build_report(run: SessionRun, tests: Mapping[str, int], removed: Removed) -> Report:
    """The report of a run that is over.

    :param removed: what went from shared places, and what stayed.
    """
    return Report(
        run={
            "id": run.directory.run_id,
            "started": run.directory.started_ns / 1e9,
            "finished": _now_ns(run) / 1e9,
            **run.header,
            "workers": run.reader.labels(),
        },
        layers={name: layer.to_json() for name, layer in run.layers.items()},
        canary=dict(run.canary),
        zones=zones_of(run.policy),
        tests=dict(tests),
        touches=list(run.touches),
        uncounted=sum(run.uncounted.values()),
        created=sorted(run.ownership.paths),
        removed=list(removed.removed),
        kept=[*removed.kept, *_uncertain(run)],
        preserved=[path for path in sorted(run.preserved) if run.policy.rule_for(path).zone is Zone.WORKSPACE],
        notes=[*run.notes, *_rings(run)],
    )


def _rings(run: SessionRun) -> list[str]:
    """Who had a way to try what nobody hears of; which is no offence."""
    if run.walls.overlay is None:
        return []
    try:
        askers = run.walls.overlay.askers_of_rings()
    except OSError:
        return []  # without its keeper the run has more to say than this
    if not askers:
        return []
    more = [f"and {len(askers) - _SHOWN} more"] if len(askers) > _SHOWN else []
    words = "; ".join([*askers[:_SHOWN], *more])
    why = "a link or a rename is not heard from a ring (io_uring) that the kernel polls, or does not list"
    return [f"{why}; who had one: {words}"]


def _now_ns(run: SessionRun) -> int:
    """By the clock of the ledger's file system, as the start; by the machine's where the ledger is gone."""
    try:
        return clock_ns(run.directory.path)
    except OSError:
        return Raw.time_ns()


def _uncertain(run: SessionRun) -> list[tuple[str, str]]:
    """What a process that was killed had announced in a shared place and never recorded: it stays, and is named."""
    reason = "announced by a process of this run that ended before it was recorded, so it may be somebody else's"
    paths = sorted(run.ownership.uncertain - set(run.ownership.paths))
    there = (path for path in paths if run.policy.rule_for(path).zone is Zone.SHARED and os.path.lexists(path))
    return [(path, reason) for path in there]


def _kept_lines(kept: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What stays, and why; of many for one reason the first ones, and how many there are."""
    for reason, count in Counter(reason for _, reason in kept).items():
        paths = [path for path, why in kept if why == reason]
        shown = paths if count <= _SHOWN_KEPT else paths[:_SHOWN]
        yield from (f"session-guard kept {path!r}: {reason}" for path in shown)
        if count > len(shown):
            yield f"session-guard kept {count - len(shown)} more for the same reason; the report lists them"


def closing_lines(run: SessionRun) -> list[str]:
    """What the user should know besides violations."""
    lines = []
    if run.report.preserved:
        own = [path for path in run.report.preserved if path in run.preserved]
        lines += preserved_lines(own, run.directory.run_id, run.places.rootdir) if own else []
    lines += lines_of_remote(run.remote, {name: layer.to_json() for name, layer in run.layers.items()})
    lines += _kept_lines(run.report.kept)
    lines += [f"session-guard: {note}" for note in run.leniency.not_put_back]
    if run.earlier is not None:
        lines += [f"session-guard: {headline(touch)}" for touch in run.earlier.asides]
    if run.exhausted:
        lines.append(
            f"session-guard: {run.exhausted} calls met the recursion or memory limit unjudged; none of them was let through"
        )
    return lines
