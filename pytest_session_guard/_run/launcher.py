"""``session-guard run -- pytest …``: starts before everything else, and has the last word after everything else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Final

from pytest_session_guard._controls.ledger import JournalReader, RunDirectory
from pytest_session_guard._core.errors import LayerUnavailableError, LedgerError
from pytest_session_guard._core.records import Touch, iter_kind
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Zone, counts, is_within
from pytest_session_guard._host.fsops import read_file
from pytest_session_guard._host.processes import adopt_orphans, children, command_of, end_children, wait_for_children
from pytest_session_guard._host.support import HAS_KERNEL_LAYERS, LINUX_ONLY
from pytest_session_guard._report.document import UnreadableReportError, parse_report
from pytest_session_guard._report.text import section
from pytest_session_guard._report.wording import counted
from pytest_session_guard._run.canary import CANARY_DIRECTORY
from pytest_session_guard._run.charges import Blame, contained, is_refused, refused, rule_of
from pytest_session_guard._run.destinations import make_output
from pytest_session_guard._run.entering import LAUNCH_VARIABLE
from pytest_session_guard._run.exit import GREEN
from pytest_session_guard._run.handover import read_policy
from pytest_session_guard._run.leftovers import STILL_RUNNING, WAIT_S, Leftover, Leftovers, told
from pytest_session_guard._run.nested import is_nested
from pytest_session_guard._run.outside import late_differences, take_if_alone
from pytest_session_guard._run.places import Output
from pytest_session_guard._run.plan import Plan, RehearsalError, rehearse
from pytest_session_guard._run.relaunch import RELAUNCHED_VARIABLE
from pytest_session_guard._run.reports import REPORT_FILE, unfinished_report, write_report
from pytest_session_guard._run.tidying import tidy
from pytest_session_guard._run.whereabouts import OPTION, ledger_elsewhere, may_hold_ledger

if TYPE_CHECKING:
    from pytest_session_guard._controls.overlay import Overlay
    from pytest_session_guard._run.inventory import Inventory

NOT_DONE: Final = 3
PYTEST_NAMES: Final = frozenset({"pytest", "py.test"})
INFORMATION: Final = frozenset({"-h", "--help", "-V", "--version"})
NOTHING_RAN: Final = "pytest ended before it said what it would do; nothing was run"
WITHOUT_PLUGIN: Final = (
    "this pytest ended without a word of the plugin, which is not installed where it runs, or switched off; "
    "what it ran it ran without a guard"
)


@dataclass
class Launch:
    """One command under the launcher."""

    command: Sequence[str]
    plan: Plan
    directory: RunDirectory
    overlay: Overlay | None = None
    reason: str = ""
    inventory: Inventory | None = None
    survivors: list[str] = field(default_factory=list)
    leftovers: Leftovers = field(init=False)

    def __post_init__(self) -> None:
        self.leftovers = Leftovers(self.directory.run_id)

    def late_blame(self, records: Iterable[Mapping[str, Any]]) -> Blame:
        """Who is blamed for what came after pytest: its processes saw some that ended before anybody could look from here."""
        met = {record["pid"]: Leftover.parse(record) for record in iter_kind(records, "leftover")}
        self.leftovers.met = {**met, **self.leftovers.met}
        return Blame(self.leftovers.starter, still_at_work=told(self.leftovers.met.values()))


def launch(command: Sequence[str], environ: Mapping[str, str], wait_s: float = WAIT_S) -> int:
    """Run a pytest command from outside.

    :param wait_s: seconds to wait, once pytest is gone, for what it left running.
    :returns: pytest's exit status; 1 where that would have been green although the ledger, the layers or the missing
        end of the session say otherwise; 3 when the guard could not do its work.
    """
    outside = dict(environ)
    if is_nested(outside, ""):
        return subprocess.run(list(command), env=outside, check=False).returncode
    if outside.pop(RELAUNCHED_VARIABLE, ""):
        # What a pool of the process that this was put in the place of the workers that were ended.
        end_children()
    if asks_for_words_alone(command):
        return subprocess.run(list(command), env=outside, check=False).returncode
    others = frozenset(children())
    adopt_orphans()
    try:
        plan = rehearse(command, environ)
    except RehearsalError as problem:
        sys.stderr.buffer.write(problem.output)
        _say(WITHOUT_PLUGIN if problem.has_run else NOTHING_RAN)
        return problem.status or NOT_DONE
    if plan.mode == "off":
        return subprocess.run(list(command), env=dict(environ), check=False).returncode
    plan = _with_usable_ledger(plan, environ)
    run = Launch(command, plan, RunDirectory.create(plan.ledger))
    # Behind the walls what a killed run left in shared places is as old as what was there before it.
    for note in tidy(plan.ledger):
        _say(note)
    _enter(run)
    if run.overlay is None:
        _take_inventory(run)
    # By now the rehearsal's own keeper has ended; what else it left would be left twice.
    end_children(others if run.overlay is None else others | {run.overlay.keeper_pid})
    started = {**environ, LAUNCH_VARIABLE: _introduction(run)}
    status = _run_to_its_end(run, started, wait_s)
    return _verdict(run, status)


def asks_for_words_alone(command: Sequence[str]) -> bool:
    """Whether a pytest command is for help or the version, which ends before there is anything to guard.

    Of another program's command nobody knows what such a word means there.
    """
    if os.path.basename(command[0]) in PYTEST_NAMES:
        words = command[1:]
    elif [*command[1:3]] == ["-m", "pytest"]:
        words = command[3:]
    else:
        return False
    own = words[: words.index("--")] if "--" in words else words
    return not INFORMATION.isdisjoint(own)


def _with_usable_ledger(plan: Plan, environ: Mapping[str, str]) -> Plan:
    """Behind the wall of the rehearsal no checkout is read-only; here it may be seen that this one is."""
    rootdir, name = os.path.split(plan.ledger)
    if name != OPTION.default or may_hold_ledger(plan.ledger):
        return plan
    elsewhere = ledger_elsewhere(rootdir, environ)
    return replace(plan, ledger=elsewhere, writable=(*plan.writable, elsewhere))


def _enter(run: Launch) -> None:
    if "overlay" not in run.plan.layers:
        return
    if not HAS_KERNEL_LAYERS:
        run.reason = LINUX_ONLY
        return
    from pytest_session_guard._controls.overlay import OverlayPlan, enter, witness_places

    canary, scratch = run.directory.directory(CANARY_DIRECTORY), run.directory.directory("overlay")
    for path, is_directory in run.plan.outputs:
        make_output(Output("", path, is_directory))
    writable = (*run.plan.writable, *(path for path, _ in run.plan.outputs if path not in run.plan.writable))
    plan = OverlayPlan(
        writable,
        (*run.plan.covered, canary),
        scratch,
        witness_places(),
        unpinned=(canary,),
        shared=run.plan.shared,
        forbids_missing=run.plan.mode == "enforce",
        freed=run.plan.freed,
        started_ns=run.directory.started_ns,
    )
    try:
        run.overlay = enter(plan, for_workers=run.plan.has_workers)
    except LayerUnavailableError as problem:
        if problem.entered:
            raise
        run.reason = problem.reason


def _take_inventory(run: Launch) -> None:
    try:
        run.inventory = take_if_alone(run.plan, run.directory.path)
    except OSError as problem:
        _say(f"no inventory can be kept, so nothing is compared once pytest is gone: {problem}")


def _introduction(run: Launch) -> str:
    address = "" if run.overlay is None else run.overlay.address
    directory = run.directory
    return json.dumps([directory.path, directory.run_id, directory.started_ns, address, run.reason])


def _run_to_its_end(run: Launch, environ: Mapping[str, str], wait_s: float) -> int:
    process = subprocess.Popen(list(run.command), env=dict(environ))
    with _signals_go_to(process):
        status = process.wait()
    keeper = frozenset() if run.overlay is None else frozenset({run.overlay.keeper_pid})
    run.leftovers.namespaces = _namespaces(run)
    left = wait_for_children(wait_s, keeper, run.leftovers.look)
    run.survivors = [f"{pid} {command_of(pid)}" for pid in left]
    return status


def _namespaces(run: Launch) -> list[str]:
    """The mount namespaces of pytest and of its workers, whose children outlive them there."""
    if run.overlay is None:
        return []
    own = run.overlay
    try:
        others = [own.stack(label) for label in own.labels() if label != own.label]
    except OSError:
        others = []  # the keeper is gone; that is told where the layers are read
    return [layers.namespace for layers in (own, *others)]


@contextmanager
def _signals_go_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """While pytest runs it alone answers signals: the terminal's reach it by themselves, others are passed on."""

    def pass_on(number: int, _frame: object) -> None:
        process.send_signal(number)

    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    before |= {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _verdict(run: Launch, status: int) -> int:
    """Read everything once more, say what pytest could not, and give the exit status."""
    own = status if status >= 0 else 128 - status
    try:
        records = JournalReader(run.directory.path).poll()
        late = [*_late_changes(run, records, run.late_blame(records)), *_late_differences(run, records)]
    except (LedgerError, OSError) as problem:
        _say(f"{problem}\nthe run cannot be vouched for")
        return own if own not in GREEN else NOT_DONE
    touches = [Touch.parse(record) for record in records if record.get("kind") == "touch"]
    ended = [record for record in records if record.get("kind") == "finished" and record.get("label") == "main"]
    told_until = max((record.get("time", 0.0) for record in ended), default=0.0)
    untold = [touch for touch in touches if touch.violation and touch.time > told_until]
    untold += [touch for touch in late if touch.violation]
    if untold:
        _say(
            f"{counted(len(untold), 'violation')} that pytest did not report\n"
            + "\n".join(section(untold, os.getcwd()))
        )
    for survivor in run.survivors:
        _say(STILL_RUNNING.format(survivor))
    if not ended:
        _say(f"pytest ended without finishing its session (status {status}), so its word is not taken")
    violated = any(touch.violation for touch in (*touches, *late))
    is_written = _rewrite_report(run, [*touches, *late], finished=bool(ended))
    run.directory.release()
    if run.plan.mode == "enforce" and own in GREEN and (violated or not ended):
        return 1
    return own if is_written or own not in GREEN else NOT_DONE


def _late_changes(run: Launch, records: Sequence[Mapping[str, Any]], blame: Blame) -> list[Touch]:
    """What lies in the upper layers and in no journal, and what was refused without a trace since the session's end."""
    if run.overlay is None:
        return []
    policy, _ = read_policy(run.directory.path)
    known = {record.get("path") for record in records if record.get("kind") in ("touch", "seen")}
    found: list[Touch] = []
    for label in run.overlay.labels():
        layers = run.overlay if label == run.overlay.label else run.overlay.stack(label)
        for change in layers.changes():
            rule = policy.rule_for(change.path)
            own = is_within(change.path, run.directory.path)
            if (
                rule.zone is Zone.PROTECTED
                and not own
                and change.path not in known
                and counts(change.kind, change.path)
            ):
                found.append(contained(change, rule, blame))
                known.add(change.path)
        for attempt in run.overlay.tries_left(label):
            offended = rule_of(attempt, policy)
            if offended is not None and attempt.path not in known and is_refused(attempt):
                found.append(refused(attempt, offended, blame))
                known.add(attempt.path)
    return found


def _late_differences(run: Launch, records: Sequence[Mapping[str, Any]]) -> Iterator[Touch]:
    """What is not as it was, where there is but the launcher's own inventory to tell it by."""
    if run.inventory is not None:
        for touch in late_differences(run.inventory, records, run.directory.run_id):
            yield replace(touch, phase="late")


def _rewrite_report(run: Launch, touches: Sequence[Touch], finished: bool) -> bool:
    """Bring the report up to the last word, wherever it was asked for; a run that did not finish gets one that says so.

    :returns: whether all of it could be written.
    """
    try:
        report = parse_report(read_file(f"{run.directory.path}/{REPORT_FILE}"))
    except (OSError, UnreadableReportError):
        report = unfinished_report(run.directory.run_id, run.directory.started_ns, _header(run), ())
    violations = sum(touch.violation for touch in touches)
    report["violations"] = max(violations, report["violations"])
    report["touches"] = [touch.to_json() for touch in sorted(touches, key=lambda touch: touch.time)]
    if report["violations"] or not finished:
        report["verdict"] = "report-only" if run.plan.mode == "report" else "violated"
    failed = write_report(report, run.directory.path, run.plan.json_path, run.plan.html_path)
    for path, problem in failed:
        _say(f"the report cannot be written: {path!r}: {problem.strerror}")
    return not failed


def _header(run: Launch) -> dict[str, Any]:
    try:
        header = json.loads(read_file(f"{run.directory.path}/run.json"))
    except (OSError, ValueError):
        header = None
    return header if isinstance(header, dict) else {"mode": run.plan.mode}


def _say(text: str) -> None:
    sys.stderr.write(f"session-guard: {text}\n")
    sys.stderr.flush()
