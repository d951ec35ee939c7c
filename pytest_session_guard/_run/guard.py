"""The life of a run in one process: what it holds, and what happens at each of its moments."""

from __future__ import annotations

import os
import threading
from builtins import bool, len, str, sum  # noqa: A004 - captured: tests mock builtins
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Final

from pytest_session_guard._controls.audit import Gate, Ports
from pytest_session_guard._controls.audit.attribution import Culprit, culprit, span_of_thread
from pytest_session_guard._controls.audit.hook import EXEC
from pytest_session_guard._controls.audit.locate import DirFdHint, Locator
from pytest_session_guard._controls.ledger import Journal, JournalReader, RunDirectory
from pytest_session_guard._controls.ownership import Ownership
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import Phase, Span, Touch
from pytest_session_guard._core.settings import Settings
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Policy, Zone
from pytest_session_guard._host.arrivals import Arrivals
from pytest_session_guard._host.directories import Root
from pytest_session_guard._host.fsops import Raw, keep_clear_of_low_numbers
from pytest_session_guard._report.text import entry
from pytest_session_guard._run.aliases import AliasSearch
from pytest_session_guard._run.charging import Charging
from pytest_session_guard._run.commands import Commands, Forks
from pytest_session_guard._run.leniency import Leniency
from pytest_session_guard._run.lookout import Lookout
from pytest_session_guard._run.makings import take_in
from pytest_session_guard._run.own_errors import own_error
from pytest_session_guard._run.places import Places
from pytest_session_guard._run.stragglers import Stragglers
from pytest_session_guard._run.walls import Layer, Walls

if TYPE_CHECKING:
    from pytest_session_guard._controls.preimages import Preimages
    from pytest_session_guard._run.earlier import Earlier

_get_ident: Final = threading.get_ident  # captured: tests replace it

# One test that walks a big tree may be refused a million times; each counts, so many are written down in full.
FULL_RECORDS_PER_TEST: Final = 200


@dataclass
class GuardRun:
    """A run as one process of it knows it: the controller, or a worker.

    :param label: ``main`` for the controller, the worker's name for a worker.
    :ivar exposed: the protected places that the seal does not hold.
    :ivar earlier: what was there before the guard and leads past it; what that leads to is no directory under watch.
    """

    settings: Settings
    places: Places
    policy: Policy
    directory: RunDirectory
    label: str
    hint: DirFdHint
    notes: list[str] = field(default_factory=list)
    layers: dict[str, Layer] = field(default_factory=dict)
    walls: Walls = field(default_factory=Walls)
    exposed: tuple[str, ...] = ()
    canary: dict[str, str] = field(default_factory=dict)
    touches: list[Touch] = field(default_factory=list)
    preserved: dict[str, str] = field(default_factory=dict)
    uncounted: Counter[str] = field(default_factory=Counter)
    scrubbed: tuple[str, ...] = ()
    preimages: Preimages | None = None
    root: Root | None = None
    earlier: Earlier | None = None
    finished: bool = False
    exit_status: int = 0

    def __post_init__(self) -> None:
        self.pid = Raw.getpid()
        self._at: tuple[str, Phase] = ("", "")
        # pytest captures descriptor 2 while tests run; what must be heard goes to where it led before.
        self.stderr_fd = keep_clear_of_low_numbers(os.dup(2))
        self.main_thread = threading.main_thread().ident
        self.journal = Journal(self.directory.path, self.label)
        self.reader = JournalReader(self.directory.path, self.label, skip=self.journal.names)
        self.everybody = JournalReader(self.directory.path, skip=self.journal.names)
        arrivals = Arrivals(self._is_others_too, tells_makers=True)
        self.ownership = Ownership(self.journal.append, self._everybodys_records, arrivals)
        self.leniency = Leniency(self)
        self.charging = Charging(self)
        self.locator = Locator(self.policy, self.hint)
        self.gate = Gate(self.policy, self.locator, self._ports())
        self.on_late: Callable[[Touch], None] = lambda touch: None
        self.broken: list[tuple[str, str]] = []
        self.exhausted = 0
        self.commands = Commands(self.places.rootdir)
        self.forks = Forks(self.current_span)
        self.stragglers = Stragglers(self.directory.run_id, lambda: self.walls, self.commands, self.forks)
        self.seen_by_others: set[str] = set()
        self.left_running: list[Mapping[str, Any]] = []
        self.begun_removals: list[Mapping[str, Any]] = []
        self.emergency: Callable[[str, str], None] = self._shout
        self._expecting: list[list[Touch]] = []
        self._trials: list[Touch] | None = None
        self._per_test: Counter[str] = Counter()
        self._learned: list[Mapping[str, Any]] = []
        self._reported = 0
        self._complained = False
        self.lookout = Lookout(self.walls, self.directory.path)

    # -- what the hook asks ------------------------------------------------------------------------------------------

    def _ports(self) -> Ports:
        aliases = AliasSearch(self.places, f"{self.directory.path}/preimages")
        return Ports(
            touched=self.touched,
            message=lambda touch: entry(touch, self.places.rootdir),
            intend=self.ownership.intend,
            moved=self.ownership.moved,
            removed=self.ownership.removed,
            named=self.ownership.named,
            owns=self.ownership.owns,
            follows=self.ownership.follows,
            claim=self.ownership.claim,
            preserve=self.preserve,
            report_only=self.leniency.outcome_of if self.settings.mode == "report" else None,
            paired=self.leniency.note_pair if self.settings.mode == "report" else None,
            alias=aliases.guarded_alias,
            span=self.current_span,
            expected=lambda: self.is_expecting,
            project=self.places.rootdir.rstrip("/") + "/",
            started_ns=self.directory.started_ns,
        )

    def _is_others_too(self, path: str) -> bool:
        """Whether others may be at work at a path, and the run removes what it made there: in ``report`` mode everywhere."""
        zone = self.policy.rule_for(path).zone
        return zone is Zone.SHARED or (zone is Zone.PROTECTED and self.settings.mode == "report")

    @property
    def span(self) -> Span:
        """The test and phase that runs."""
        return Span(*self._at)

    def current_span(self) -> Span:
        """The test and phase that a touch of the current thread is charged to."""
        span = self.span
        if _get_ident() == self.main_thread:
            return span
        started_by = span_of_thread()
        if started_by is None or started_by.nodeid == span.nodeid:
            return span
        return replace(started_by, phase="late") if started_by.nodeid else span

    def touched(self, touch: Touch) -> None:
        """Take a touch to the ledger, then to the report.

        :raises LedgerError: the ledger could not take it; the report has it all the same.
        """
        if self._trials is not None:
            self._trials.append(touch)
            return
        if self._expecting and not touch.violation:
            self._expecting[-1].append(touch)
        key = f"{touch.nodeid}\0{touch.phase}\0{touch.operation}"
        self._per_test[key] += 1
        if self._per_test[key] > FULL_RECORDS_PER_TEST:
            self.uncounted[touch.nodeid] += touch.violation
            if touch.layer == "overlay":
                # Whoever reads the layers after this process must know that it is no news.
                self.journal.append({"kind": "seen", "path": touch.path})
            return
        self.touches.append(touch)
        try:
            self.journal.append({"kind": "touch", **touch.to_json()})
        finally:
            if self.finished and touch.violation:
                self.on_late(touch)

    def about_to_exec(self, args: tuple[Any, ...]) -> None:
        """Another program is about to take this process's place: in a child that is its own affair."""
        self.ownership.settle()

    def settle_made(self) -> None:
        """The process ends, or forks: what it made and nobody has looked at since is written down as the run's."""
        try:
            self.ownership.settle()
        except LedgerError as problem:
            Raw.write(self.stderr_fd, f"session-guard: {problem}\n".encode(errors="replace"))

    def launching(self, event: str, args: tuple[Any, ...]) -> None:
        """Another program is about to be started; what turns up in an upper layer may be its doing."""
        if event == EXEC:
            self.about_to_exec(args)
            return
        self.commands.note(self.current_span().nodeid, event, args, self.culprit())

    def failed(self, event: str, args: tuple[Any, ...], problem: BaseException) -> str:
        """Take an error of the guard's own to the ledger; what could not be judged is refused."""
        suspects = self.commands.of(self.span.nodeid)
        touch = own_error(event, args, problem, self.span, suspects)
        try:
            self.touched(touch)
        except Exception as second:  # whatever else breaks, the refusal stands, and stderr has it where there is room
            said = f"session-guard: guard-error at {event}: {problem!r}, then {second!r}\n"
            with suppress(OSError):
                Raw.write(2, said.encode(errors="replace"))
        return entry(touch, self.places.rootdir)

    def complain(self, problem: LedgerError) -> None:
        """Count a ledger that cannot be used as a violation of the test that runs; once, or every later one would share it."""
        if not self._complained:
            self._complained = True
            self.failed("ledger", (self.directory.path,), problem)

    @contextmanager
    def complaining(self) -> Iterator[None]:
        """Let a ledger that cannot be used inside be a violation, and the rest of the run go on."""
        try:
            yield
        except LedgerError as problem:
            self.complain(problem)

    def _shout(self, event: str, args: str) -> None:
        self.broken.append((event, args))

    def preserve(self, path: str, found: os.stat_result, removal: bool) -> None:
        """Keep a pre-image of a file before the run changes it for the first time.

        :raises OSError: it could not be kept, so the change must not happen.
        """
        if self.preimages is None:
            # Imported at the first use: most runs change nothing that was there.
            from pytest_session_guard._controls.preimages import Preimages

            store, limit_bytes = self.directory.directory("preimages"), self.settings.preimage_limit_bytes
            self.preimages = Preimages(store, limit_bytes, self.journal.append)
        self.preimages.keep(path, found, removal)
        self.preserved.setdefault(path, self.span.nodeid)

    def contains(self, path: str) -> bool:
        """Whether a kernel layer takes what is done at a path into a throw-away layer; a shared place in a home is bound through."""
        return self.walls.contains(path) and self.policy.rule_for(path).zone is Zone.PROTECTED

    # -- what others of the run did ----------------------------------------------------------------------------------

    def _learn_from_others(self) -> Iterator[Mapping[str, Any]]:
        """Records of ownership of the run's other processes; touches among them are kept for `collect`."""
        for record in self.reader.poll():
            match record:
                case {"kind": "touch"}:
                    self._learned.append(record)
                case {"kind": "preimage", "how": "absent"}:
                    pass
                case {"kind": "preimage", "path": str() as path}:
                    self.preserved.setdefault(path, "")
                case {"kind": "seen", "path": str() as path}:
                    self.seen_by_others.add(path)
                case {"kind": "deed"}:
                    self.leniency.learn(record)
                case {"kind": "leftover"}:
                    self.left_running.append(record)
                case _:
                    yield record

    def _everybodys_records(self) -> Iterator[Mapping[str, Any]]:
        """What all processes of the run wrote about ownership, other workers included; and what programs without a hook made."""
        take_in(self)
        for record in self.everybody.poll():
            match record:
                case {"kind": "touch" | "preimage"}:
                    pass
                case {"kind": "quarantine"}:
                    self.begun_removals.append(record)
                case _:
                    yield record

    def insist_on_whole_journals(self) -> None:
        """Nothing is removed on the word of a ledger that somebody wrote into.

        :raises LedgerError: a line in the middle of another process's journal is no record, or the journal cannot be read; or
            this process's own was replaced or cut short.
        """
        self.journal.insist_on_whole()
        damaged = dict.fromkeys([*self.reader.damaged, *self.everybody.damaged])
        if damaged:
            raise LedgerError(self.directory.path, f"it is damaged: {', '.join(damaged)}")

    def _tell_emergencies(self) -> None:
        """What the hook could only shout about at the time: it refused, and could not say so in good order."""
        while self.broken:
            event, args = self.broken.pop(0)
            self.failed(event, (args,), RuntimeError("the guard's own code was replaced at that moment"))

    def collect(self) -> None:
        """Take in what children did since the last look, and settle what was created.

        :raises LedgerError: the ledger is gone, so the run cannot vouch for anything any more.
        """
        # After a test's chroot every path means something else, the ledger's too; a fixture may need it a while longer.
        with self.lookout.looking(), nullcontext() if self.root is None else self.root.regained():
            self._collect()

    def _collect(self) -> None:
        self.ownership.settle()
        take_in(self)
        self.ownership.learn(self._learn_from_others())
        self._tell_emergencies()
        learned, self._learned = self._learned, []
        for record in learned:
            touch = Touch.parse(record)
            self.touches.append(touch)
            if touch.layer == "overlay":
                # A forked child read the same upper layer before us, and charged what was new to the test that it ran.
                self.charging.told_by_children.add(touch.path)
        self.charging.read_walls()

    # -- moments of the run ------------------------------------------------------------------------------------------

    def enter(self, nodeid: str, phase: Phase) -> None:
        """From now on touches are charged to this test and phase."""
        self.stragglers.enter(nodeid)
        self._at = (nodeid, phase)

    def leave(self) -> None:
        """No test runs."""
        self._at = ("", "")

    def is_in(self, nodeid: str) -> bool:
        """Whether touches are charged to this test now."""
        return self._at[0] == nodeid

    def is_quiet(self) -> bool:
        """Whether nothing at all happened since violations were last taken; each phase of each test asks."""
        return (
            len(self.touches) == self._reported
            and self.earlier is None
            and self.ownership.is_settled
            and not self.broken
            and self.lookout.is_quiet()
        )

    def take_violations(self, nodeid: str) -> list[Touch]:
        """The violations of one test that nobody has taken yet, children's included; a ledger that is gone is one too."""
        with self.complaining():
            self.collect()
        new, self._reported = self.touches[self._reported :], len(self.touches)
        return [touch for touch in new if touch.violation and touch.nodeid == nodeid and touch.phase != "late"]

    @contextmanager
    def trying(self) -> Iterator[list[Touch]]:
        """Keep the touches inside to this block: they are the guard's own trials."""
        seen: list[Touch] = []
        self._trials = seen
        try:
            yield seen
        finally:
            self._trials = None

    @property
    def is_expecting(self) -> bool:
        """Whether refusals are expected at this moment."""
        return bool(self._expecting) or self._trials is not None

    def culprit(self) -> Culprit:
        """The line of the project that led here."""
        return culprit(self.places.rootdir.rstrip("/") + "/")

    @contextmanager
    def expecting(self) -> Iterator[list[Touch]]:
        """Forgive the touches inside; they are refused all the same, and listed in what is yielded."""
        self.charging.read_walls()
        seen: list[Touch] = []
        self._expecting.append(seen)
        try:
            yield seen
            self.charging.read_walls()
        finally:
            self._expecting.remove(seen)

    def use(self, policy: Policy) -> None:
        """Go by another policy from now on."""
        self.policy = policy
        self.gate.use(policy)

    @property
    def is_fork(self) -> bool:
        """Whether this is a fork of the process that the run's session lives in: it ends without a session's end."""
        return Raw.getpid() != self.pid

    @property
    def is_controller(self) -> bool:
        """Whether this process answers for the run as a whole."""
        return self.label == "main"

    @property
    def violations(self) -> int:
        """How many violations this process knows of."""
        return sum(touch.violation for touch in self.touches) + sum(self.uncounted.values())
