"""``runs``, ``show``, ``restore`` and ``clean``: past runs, what they changed, and what they left."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import Touch
from pytest_session_guard._core.restoring import changed_paths
from pytest_session_guard._core.runs import RecordedArtifacts
from pytest_session_guard._report.text import section, shown_path
from pytest_session_guard._report.wording import counted
from pytest_session_guard.cli.console import FINE, NOT_DONE, VIOLATED, Commands, print_error, say, say_json
from pytest_session_guard.cli.places import RUN_HELP, add_places, add_run_name, find_run, ledger_of, no_empty

if TYPE_CHECKING:
    from pytest_session_guard._core.runs import PastRun

SHOWN_PATHS: Final = 20


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Offer the four."""
    runs = commands.add_parser("runs", help="list the runs that the ledger holds")
    runs.add_argument("--json", action="store_true", help="say it as JSON")
    runs.set_defaults(run=list_runs)
    show = commands.add_parser("show", help="say what a run changed, made and tried")
    add_run_name(show)
    show.set_defaults(run=show_run)
    restore = commands.add_parser("restore", help="bring back what a run changed in the workspace")
    add_run_name(restore)
    restore.add_argument("paths", nargs="*", type=no_empty, metavar="PATH", help="only what lies at or below PATH")
    restore.add_argument("--force", action="store_true", help="put back even what was changed since; that goes aside")
    restore.set_defaults(run=restore_run)
    clean = commands.add_parser("clean", help="finish what killed runs left, by the proofs that the run itself needs")
    clean.add_argument("name", nargs="?", type=no_empty, metavar="RUN", help=f"{RUN_HELP} (default: every killed run)")
    clean.set_defaults(run=clean_runs)
    for command in (restore, clean):
        command.add_argument("--dry-run", action="store_true", help="print the plan and change nothing")
    for command in (runs, show):
        # So that whoever wants to be sure may say it to all four.
        command.add_argument(
            "--dry-run", action="store_true", help="accepted, and changes nothing: nor does this without"
        )
    for command in (runs, show, restore, clean):
        add_places(command)


def list_runs(options: argparse.Namespace) -> int:
    """``runs``: a line each, oldest first."""
    from pytest_session_guard._run import past

    state = ledger_of(options)
    found = past.list_runs(state)
    if options.json:
        say_json([_as_json(run) for run in found])
    else:
        say([_line(run) for run in found] or [f"no runs in {state}"])
    return FINE


def show_run(options: argparse.Namespace) -> int:
    """``show RUN``: header, violations, what it made and what can be brought back."""
    say(_account(find_run(options)))
    return FINE


def restore_run(options: argparse.Namespace) -> int:
    """``restore RUN [PATH…]``: 1 when something had to be left alone."""
    from pytest_session_guard._core.restoring import AS_IT_WAS
    from pytest_session_guard._run import recover

    run = find_run(options)
    paths = [_resolved(path) for path in options.paths]
    if options.dry_run:
        plan = recover.plan_restore_run(run, paths, force=options.force)
        say(plan.lines() or ["nothing to restore"])
        kept: Sequence[tuple[str, str]] = plan.kept
    else:
        done = recover.restore_run(run, paths, force=options.force)
        say([f"restored {shown_path(path)}" for path in done.restored])
        say([f"aside    {shown_path(path)}: what the run left is {shown_path(aside)}" for path, aside in done.aside])
        say([f"left     {shown_path(path)}: {reason}" for path, reason in done.kept])
        if not (done.restored or done.kept):
            say("nothing to restore")
        kept = done.kept
    say([f"damaged  {line}; what else the run changed is not known" for line in run.damaged])
    return VIOLATED if run.damaged or any(reason != AS_IT_WAS for _, reason in kept) else FINE


def clean_runs(options: argparse.Namespace) -> int:
    """``clean [RUN]``: 1 when something of a killed run had to stay, 3 when a ledger's word cannot be taken."""
    from pytest_session_guard._run.past import unfinished_runs

    runs = [find_run(options)] if options.name else unfinished_runs(ledger_of(options))
    statuses = [_clean_one(run, options.dry_run) for run in runs if not run.closed]
    layers = _clean_layers(ledger_of(options), options.dry_run)
    if not (statuses or layers):
        say("nothing to clean")
    return max(statuses, default=FINE)


def _clean_layers(ledger: str, dry_run: bool) -> list[str]:
    """What is left of throw-away layers goes, whatever run it was; nobody can want it."""
    from pytest_session_guard._run.tidying import left_layers, sweep_layers

    found = left_layers(ledger) if dry_run else sweep_layers(ledger)
    say([f"{'remove' if dry_run else 'removed'} throw-away layers {shown_path(path)}" for path in found])
    return found


def _clean_one(run: PastRun, dry_run: bool) -> int:
    from pytest_session_guard._run import recover

    if run.obstacle:
        print_error(f"run {run.run_id} is left alone: {run.obstacle}")
        return NOT_DONE
    if dry_run:
        plan = recover.plan_clean(run)
        say([f"run {run.run_id}", *(f"  {line}" for line in plan.lines() or ["nothing left behind"])])
        return VIOLATED if plan.removal.kept or plan.quarantine.uncertain else FINE
    try:
        done = recover.clean_run(run)
    except LedgerError as problem:
        print_error(str(problem))
        return NOT_DONE
    removed = [*done.removed.removed, *(path for path, _ in done.quarantine.removals)]
    say(f"run {run.run_id}: {counted(len(removed), 'artifact')} removed, {len(done.kept)} kept")
    say([f"  removed  {shown_path(path)}" for path in removed])
    say([f"  returned {shown_path(home)}" for _, home in done.quarantine.returns])
    say([f"  kept     {shown_path(path)}: {reason}" for path, reason in done.kept])
    return VIOLATED if done.kept else FINE


def _resolved(path: str) -> str:
    """A path as the ledger has it: its directory resolved, its own name kept, because it may be a symlink or gone."""
    directory, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(directory), name)


def _as_json(run: PastRun) -> dict[str, Any]:
    return {
        "id": run.run_id,
        "state": run.state,
        "started": run.started_ns / 1e9 or None,
        "last_sign": run.last_sign_ns / 1e9 or None,
        "mode": run.header.get("mode"),
        "command": run.header.get("command"),
        "violations": _violations(run),
        "created": run.count("created"),
        "preimages": len(changed_paths(run.records)),
        "kept": [{"path": path, "reason": reason} for path, reason in run.kept],
        "damaged": list(run.damaged),
        "foreign": run.foreign,
        "size_bytes": run.size_bytes,
    }


def _violations(run: PastRun) -> int:
    """As its report counts them: the launcher may have seen more than the journals of the run hold."""
    from pytest_session_guard._run.reports import report_of

    return int(report_of(run)["violations"])


def _line(run: PastRun) -> str:
    if run.foreign:
        return f"{run.run_id}  foreign  {run.foreign}"
    facts = [counted(_violations(run), "violation"), f"{run.count('created')} made"]
    changed = len(changed_paths(run.records))
    if changed:
        facts.append(f"{changed} to restore")
    if run.damaged:
        facts.append("ledger damaged")
    facts.append(_size(run.size_bytes))
    return f"{run.run_id}  {run.state:7}  {_moment(run.started_ns)}  {', '.join(facts)}"


def _moment(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns / 1e9).astimezone():%Y-%m-%d %H:%M:%S}" if time_ns else "?"


def _size(size_bytes: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}"
        size_bytes = size_bytes // 1024
    return f"{size_bytes} GiB"


def _account(run: PastRun) -> Iterator[str]:
    """One run for people."""
    from pytest_session_guard._run.reports import report_of

    yield _line(run)
    for name in ("mode", "rootdir", "python", "pytest"):
        if run.header.get(name):
            yield f"  {name}: {run.header[name]}"
    if isinstance(run.header.get("command"), list):
        yield f"  command: {' '.join(map(str, run.header['command']))}"
    rootdir = str(run.header.get("rootdir", ""))
    touches = [Touch.parse(touch) for touch in report_of(run)["touches"] if touch["violation"]]
    if touches:
        yield "violations:"
        yield from (f"  {line}" for line in section(touches, rootdir))
    yield from _paths(
        "made, or about to be made when it died:" if run.state == "killed" else "made:",
        RecordedArtifacts(run.records).candidates,
    )
    yield from _paths(f"can be brought back (session-guard restore {run.run_id}):", changed_paths(run.records))
    if run.kept:
        yield "kept:"
        yield from (f"  {shown_path(path)}: {reason}" for path, reason in run.kept)
    for line in run.damaged:
        yield f"damaged: {line}; nothing is removed on this ledger's word"


def _paths(head: str, paths: Sequence[str]) -> Iterator[str]:
    if not paths:
        return
    yield head
    yield from (f"  {shown_path(path)}" for path in paths[:SHOWN_PATHS])
    if len(paths) > SHOWN_PATHS:
        yield f"  and {len(paths) - SHOWN_PATHS} more"
