"""One touch, from intent to verdict: where it leads, what the policy says, what goes to the ledger, what is raised."""

from __future__ import annotations

from builtins import bool, len, str  # noqa: A004 - captured: tests mock builtins
from collections.abc import Callable
from dataclasses import replace
from errno import ENOTEMPTY
from os import stat_result, strerror
from stat import S_ISBLK, S_ISCHR, S_ISREG
from typing import Any, Final

from pytest_session_guard._controls.audit.attribution import Culprit, culprit, span_of_thread, writes_bytecode
from pytest_session_guard._controls.audit.locate import Locator, Target, UncheckableError, claimed
from pytest_session_guard._core.errors import LedgerError, ProtectedPathError
from pytest_session_guard._core.events import Intent, intents_of
from pytest_session_guard._core.records import Identity, Outcome, Span, Touch
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Action, Decision, Policy, Rule, Standing, Verdict, Zone, decide_by
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.identity import birth_ns, identity_from_stat, look

BYTECODE: Final = "the import system caches bytecode there"
UNNAMEABLE: Final = "lies deeper than a path can say, so nothing can be known of it or kept"
NOT_EMPTY: Final = strerror(ENOTEMPTY)


def _is_device_of_the_machine(intent: Intent, target: Target) -> bool:
    """Whether the name of a device node in ``/dev`` is about to go: writing to one is free, replacing it is not."""
    found = target.found
    if found is None or intent.action is not Action.DELETE or not target.path.startswith("/dev/"):
        return False
    return S_ISCHR(found.st_mode) or S_ISBLK(found.st_mode)


def _holds_something(target: Target) -> bool:
    try:
        return target.is_directory and bool(Raw.listdir(target.path))
    except OSError:
        return False


@dataclass(frozen=True)
class Ports:
    """What the gate asks of the rest of the run.

    :param touched: takes a touch to the ledger, then to the report; the touch is on disk when it returns.
    :param message: the text of a refusal.
    :param intend, moved, removed, named, owns, follows, claim: the run's ownership (see `ownership`).
    :param preserve: keeps a pre-image of what stands at a path before it changes; raises when it cannot.
    :param report_only: what becomes of a violation that must not be refused: ``contained``, ``preserved`` or, where
        neither is possible, ``refused``.
    :param paired: told of a rename and of a link that are let happen, with both ends, where violations are.
    :param alias: another name of a file inside a guarded place, if it has one (hard links): its rule and a clause.
    :param span: the test and phase that runs now, as the current thread sees it.
    :param expected: whether refusals are expected at this moment.
    :param project: directory with a trailing slash whose code is the project's.
    """

    touched: Callable[[Touch], None]
    message: Callable[[Touch], str]
    intend: Callable[[str, bool], None]
    moved: Callable[[str, str], None]
    removed: Callable[[str], None]
    named: Callable[[str, Identity], None]
    owns: Callable[[str, stat_result, bool], bool]
    follows: Callable[[str, stat_result], bool]
    claim: Callable[[str, Identity, bool], None]
    preserve: Callable[[str, stat_result, bool], None]
    report_only: Callable[[Target, Intent], Outcome] | None
    paired: Callable[[str, Target, Target], None] | None
    alias: Callable[[str, stat_result, Policy], tuple[Rule, str] | None]
    span: Callable[[], Span]
    expected: Callable[[], bool]
    project: str
    started_ns: int


class NotEmptyError(OSError):
    """What the kernel would say of a directory that somebody wants to remove: it is not empty, so nothing was tried."""


class Gate:
    """Judges touches of one process."""

    def __init__(self, policy: Policy, locator: Locator, ports: Ports) -> None:
        self.policy = policy
        self.locator = locator
        self.ports = ports
        # Where redirected targets point to between tests; who writes there outlived its test.
        self.sink = ""
        self.late_writers: dict[str, str] = {}

    def _who(self) -> str:
        """The line that leads here, and the test that started its thread, for people."""
        who, started_by = culprit(self.ports.project), span_of_thread()
        line = f"{who.file}:{who.line} in {who.function}"
        return f"{line}, in a thread that {started_by.nodeid} started" if started_by and started_by.nodeid else line

    def use(self, policy: Policy) -> None:
        """Go by another policy from now on."""
        self.policy = policy
        self.locator.use(policy)

    def judge(self, event: str, args: tuple[Any, ...]) -> None:
        """Let an audit event pass, or refuse it.

        :raises ProtectedPathError: the policy forbids it; nothing has happened yet, and the ledger has it.
        """
        __tracebackhide__ = True
        pairs: list[tuple[Intent, Target]] = []
        for intent in intents_of(event, args):
            try:
                found = self.locator.targets(intent)
            except UncheckableError as problem:
                self._refuse_unknown(event, intent, str(problem))
            touched = (target for target in found if self._is_touch(intent, target))
            pairs.extend((intent, target) for target in touched)
        for intent, target in pairs:
            if self.sink and target.path.startswith(self.sink):
                self.late_writers[target.path] = self._who()
            self._judge_one(event, intent, target)
        if pairs:
            self._write_down(event, pairs)

    def _is_touch(self, intent: Intent, target: Target) -> bool:
        """Whether the operation can do anything at all there; what fails by itself is no touch."""
        if target.found is None:
            return intent.creates
        if intent.action is Action.CREATE:
            return intent.nameless
        # Opening a directory for writing fails (NamedTemporaryFile raises such an event before its real one).
        return not (intent.action is Action.CHANGE and intent.creates and target.is_directory)

    def _judge_one(self, event: str, intent: Intent, target: Target) -> None:
        __tracebackhide__ = True
        action = Action.CREATE if target.found is None else intent.action
        is_bare = event == "os.rmdir" and self._is_bare(target)
        decision = decide_by(self.policy, target.rule, action, target.path, self._standing(target), is_bare=is_bare)
        if _is_device_of_the_machine(intent, target):
            rule = Rule(Zone.PROTECTED, "/dev", "/dev", "default: device nodes")
            decision = Decision(Verdict.REFUSE, rule, "is a device node of the machine")
        if not target.is_nameable and not self._is_settled_there(target, decision):
            decision = Decision(Verdict.REFUSE, target.rule, UNNAMEABLE)
        alias = self._alias(intent, target, decision)
        if alias is not None:
            decision = Decision(Verdict.REFUSE, *alias)
        if decision.verdict is Verdict.REFUSE:
            if event == "os.rmdir" and _holds_something(target):
                # `os.removedirs` ends at such a parent. Said here and not by the kernel: it may be empty by then.
                raise NotEmptyError(ENOTEMPTY, NOT_EMPTY, target.path)
            self._refuse(event, intent, target, decision)
        elif decision.verdict is Verdict.PRESERVE and target.found is not None and target.is_nameable:
            self._preserve(event, intent, target, decision)

    def _is_settled_there(self, target: Target, decision: Decision) -> bool:
        """Whether a decision can stand about what has no path: neither its owner nor a pre-image is to be had of it."""
        found = target.found
        if found is None or decision.verdict is Verdict.REFUSE or target.rule.zone is Zone.FREE:
            return True
        # Nobody can have it changed since but the run, or an application that works there at this moment.
        return target.rule.zone is Zone.WORKSPACE and found.st_ctime_ns >= self.ports.started_ns

    def _is_bare(self, target: Target) -> bool:
        """Whether a directory that would hold guarded places holds nothing at all."""
        if target.found is None or self.policy.holds_guarded(target.path) is None:
            return False
        try:
            return not Raw.listdir(target.path)
        except OSError:
            return False

    def _standing(self, target: Target) -> Standing:
        if target.found is None:
            return Standing.ABSENT
        if target.rule.zone in (Zone.FREE, Zone.PROTECTED):
            return Standing.FOREIGN
        owned = self.ports.owns(target.path, target.found, target.rule.zone is Zone.SHARED)
        return Standing.OWN if owned else Standing.FOREIGN

    def _alias(self, intent: Intent, target: Target, decision: Decision) -> tuple[Rule, str] | None:
        found = target.found
        if found is None or found.st_nlink < 2 or intent.action is not Action.CHANGE or not S_ISREG(found.st_mode):
            return None
        if decision.verdict is Verdict.REFUSE or self._is_born_since(target.path, found):
            return None
        return self.ports.alias(target.path, found, self.policy)

    def _is_born_since(self, path: str, found: stat_result) -> bool:
        """Whether a file is younger than the run, so that none of its names leads to what was there before."""
        try:
            identity = look(path).identity
        except OSError:
            return False
        return (
            identity.inode == found.st_ino
            and identity.birth_ns is not None
            and identity.birth_ns >= self.ports.started_ns
        )

    def _refuse(self, event: str, intent: Intent, target: Target, decision: Decision) -> None:
        __tracebackhide__ = True
        if target.rule.zone is Zone.PROTECTED and "__pycache__" in target.path and writes_bytecode():
            # As on a read-only disk; the import goes on without a cache, and no test did anything.
            raise ProtectedPathError(target.path, BYTECODE)
        expected = self.ports.expected()
        outcome: Outcome = "refused"
        if self.ports.report_only is not None and not expected:
            outcome = self.ports.report_only(target, intent)
        touch = self._touch(event, target.path, decision.rule, outcome, decision.reason, violation=not expected)
        self._put_down(touch)
        if outcome == "refused":
            raise ProtectedPathError(target.path, self.ports.message(touch))

    def _refuse_unknown(self, event: str, intent: Intent, kind: str) -> None:
        rule = Rule(Zone.PROTECTED, "/", "unknown", "default")
        name = f"<{kind}>"
        reason = f"is a path object of type {kind}, whose place cannot be known without running its code; pass a str"
        said = claimed(intent.path)
        if said:
            name, reason = said, f"is what a path object of type {kind} says it is, and may not say twice; pass a str"
        touch = self._touch(event, name, rule, "refused", reason, violation=not self.ports.expected())
        self._put_down(touch)
        raise ProtectedPathError(name, self.ports.message(touch))

    def _put_down(self, touch: Touch) -> None:
        try:
            self.ports.touched(touch)
        except LedgerError as problem:
            # The touch is refused all the same, and the report has it; only the ledger on disk lacks it.
            raise ProtectedPathError(touch.path, f"{self.ports.message(touch)}\n  and {problem}") from problem

    def _preserve(self, event: str, intent: Intent, target: Target, decision: Decision) -> None:
        assert target.found is not None, "unreachable because only what stands there is preserved"
        try:
            self.ports.preserve(target.path, target.found, intent.action is Action.DELETE)
        except OSError as problem:
            reason = f"existed before this run and no pre-image of it could be kept ({problem.strerror or problem})"
            self._refuse(event, intent, target, Decision(Verdict.REFUSE, decision.rule, reason))

    def _write_down(self, event: str, pairs: list[tuple[Intent, Target]]) -> None:
        """Tell the ledger what is about to be created, moved and removed."""
        if self.ports.paired is not None and event in ("os.rename", "os.link") and len(pairs) == 2:
            try:
                self.ports.paired(event, pairs[0][1], pairs[1][1])
            except LedgerError as problem:
                self._refuse_unrecorded(event, pairs[1][1], problem)
        recorded = [(intent, target) for intent, target in pairs if target.rule.zone in (Zone.WORKSPACE, Zone.SHARED)]
        if event == "os.rename":
            if len(pairs) == 2:  # else there is nothing to move, and it fails by itself
                self._write_down_rename(pairs[0][1], pairs[1][1])
            return
        if event == "os.link" and len(pairs) == 2 and self._write_down_link(pairs[0][1], pairs[1][1]):
            return
        if event == "os.rmdir":
            self.locator.forget()
        for intent, target in recorded:
            try:
                self._write_down_one(intent, target)
            except LedgerError as problem:
                self._refuse_unrecorded(event, target, problem)

    def _write_down_one(self, intent: Intent, target: Target) -> None:
        if not target.is_nameable:
            return  # the ledger goes by paths: it stays, and is named with what it lies in
        if target.found is None and intent.creates and not intent.nameless:
            self.ports.intend(target.path, intent.directory)
        elif (
            intent.action is Action.DELETE
            and target.found is not None
            and self.ports.follows(target.path, target.found)
        ):
            self.ports.removed(target.path)

    def _write_down_link(self, source: Target, target: Target) -> bool:
        """A second name of one of our own is ours at once; its birth lies too far back to be told from the intent."""
        if source.found is None or target.found is not None or target.rule.zone not in (Zone.WORKSPACE, Zone.SHARED):
            return False
        if not (source.is_nameable and target.is_nameable):
            return False
        if self.ports.follows(source.path, source.found):
            self.ports.named(target.path, identity_from_stat(source.path, source.found))
            return True
        # A file written whole in a free place and given its name here, or refused it where that is taken.
        return source.rule.zone is Zone.FREE and self._claim_arrival(source.path, source.found, target.path)

    def _write_down_rename(self, source: Target, target: Target) -> None:
        if source.is_directory:
            self.locator.forget()
        kept = (Zone.WORKSPACE, Zone.SHARED)
        if source.found is None or (source.rule.zone not in kept and target.rule.zone not in kept):
            return
        if not (source.is_nameable and target.is_nameable):
            return
        try:
            if source.rule.zone in kept and self.ports.follows(source.path, source.found):
                self.ports.moved(source.path, target.path)
            elif source.rule.zone is Zone.FREE and target.rule.zone in kept:
                self._claim_arrival(source.path, source.found, target.path)
        except LedgerError as problem:
            self._refuse_unrecorded("os.rename", target, problem)

    def _claim_arrival(self, source: str, found: stat_result, target: str) -> bool:
        """A file made in a free place comes into a recorded one: it is the run's if it is younger than the run."""
        born = birth_ns(source, found)
        if born is None or born < self.ports.started_ns:
            return False
        self.ports.claim(target, Identity(found.st_dev, found.st_ino, born), False)
        return True

    def _refuse_unrecorded(self, event: str, target: Target, problem: LedgerError) -> None:
        reason = f"cannot be recorded, so it may not be created or moved ({problem.reason})"
        touch = self._touch(event, target.path, target.rule, "refused", reason, violation=True, layer="guard")
        touch = replace(touch, fix=problem.fix)
        self._put_down(touch)
        raise ProtectedPathError(target.path, self.ports.message(touch)) from problem

    def _touch(
        self, event: str, path: str, rule: Rule, outcome: Outcome, reason: str, *, violation: bool, layer: str = "hook"
    ) -> Touch:
        span = self.ports.span()
        who: Culprit = culprit(self.ports.project)
        return Touch(
            time=Raw.time_ns() / 1e9,
            operation=f"{who.via} ({event})" if who.via else event,
            path=path,
            zone=rule.zone.value,
            outcome=outcome,
            violation=violation,
            layer=layer,
            nodeid=span.nodeid,
            phase=span.phase,
            pid=Raw.getpid(),
            file=who.file,
            line=who.line,
            function=who.function,
            reason=reason,
            rule=str(rule),
        )
