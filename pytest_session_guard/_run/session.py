"""The run as pytest's session lives it: tests begin and end, the session finishes, the verdict is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import field
from typing import Any, Final

from pytest_session_guard._controls.cleanup import Cleanup, Removed
from pytest_session_guard._controls.markers import read_marker
from pytest_session_guard._core.errors import (
    LedgerError,
    ProtectedPathError,
)
from pytest_session_guard._core.records import Touch
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Rule, Zone
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._report.document import Report
from pytest_session_guard._report.text import entry
from pytest_session_guard._run.artifacts import ArtifactDesk
from pytest_session_guard._run.destinations import mark_basetemp
from pytest_session_guard._run.guard import GuardRun
from pytest_session_guard._run.handover import Handover, write_policy
from pytest_session_guard._run.inventory import Inventory, attributed
from pytest_session_guard._run.leftovers import Leftovers
from pytest_session_guard._run.makings import take_in
from pytest_session_guard._run.narrowing import Narrowing
from pytest_session_guard._run.own_errors import REPORT
from pytest_session_guard._run.places import zones_of
from pytest_session_guard._run.redirects import RedirectDesk
from pytest_session_guard._run.remote import Invitation, fold
from pytest_session_guard._run.reports import write_report
from pytest_session_guard._run.retreat import Retreat, move_home
from pytest_session_guard._run.stamps import Stamps
from pytest_session_guard._run.summary import build_report
from pytest_session_guard._run.unfinished import clear_shared, close, give_up

GREEN: Final = frozenset({0, 5})


@dataclass
class SessionRun(GuardRun):
    """A run with the moments that pytest gives it."""

    header: dict[str, Any] = field(default_factory=dict)
    report: Report = field(default_factory=lambda: Report({}))
    retreat: Retreat | None = None
    inventory: Inventory | None = None
    invitation: Invitation | None = None
    remote: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._test_only: ExitStack | None = None
        self.in_test = False
        self._private = ""
        self._private_count = 0
        self._stamps = Stamps(self.directory)
        self._ended = False
        self._told = 0
        self._is_told = False
        self._basetemp_marked = not self.places.basetemp
        self.supervised = self.is_configured = False
        self.is_handed_back = False
        self.is_retired = False
        # At its end the guard failed at something: it does no more, and leaves everything to the next run.
        self.has_given_up = False
        self._is_held = False
        self.cleanup = self._make_cleanup(lambda path: self.policy.rule_for(path).zone)
        self.redirects = RedirectDesk(
            self.settings,
            self.places,
            self._make_sink,
            self.private_directory,
            writer_of=lambda path: self.gate.late_writers.pop(path, ""),
        )
        self.narrowing = Narrowing(self)
        self.desk = ArtifactDesk(self, self.cleanup, self.is_private)

    def _make_cleanup(self, zone_of: Callable[[str], Zone]) -> Cleanup:
        return Cleanup(
            run_id=self.directory.run_id,
            started_ns=self._stamps.started_at,
            artifacts=self.ownership,
            zone_of=zone_of,
            quarantine=f"{self.directory.path}/quarantine",
            journal=self.journal.append,
            forget=self.ownership.forget,
            marker_of=lambda path: read_marker(path, self.desk.formats),
            is_private=self.is_private,
        )

    @property
    def answers_to_user(self) -> bool:
        """Whether this process speaks to the user: a worker on another host speaks to its controller."""
        return self.is_controller and self.invitation is None

    def handover(self) -> Handover:
        """What this process's children need to know."""
        run = self.directory
        return Handover(run.path, run.run_id, run.started_ns, self.label, self.places.home, self.walls.address)

    def write_header(self) -> None:
        """Say in the ledger what the run is and which zones it goes by: whoever finishes it after a kill has nothing else.

        :raises LedgerError: it cannot be written.
        """
        if self.is_controller:
            self.directory.write_header({**self.header, "zones": zones_of(self.policy)})

    def tell_children(self) -> None:
        """Put the policy where the run's other processes find it.

        :raises LedgerError: it cannot be written.
        """
        more = {
            "mode": self.settings.mode,
            "preimage_limit_bytes": self.settings.preimage_limit_bytes,
            "rootdir": self.places.rootdir,
            "homes": self.places.homes,
            "ledger": self.places.ledger,
            "covered": self.walls.covered,
            "layers": {name: layer.to_json() for name, layer in self.layers.items()},
            "exposed": self.exposed,
        }
        try:
            write_policy(self.directory.path, self.label, self.policy, more)
        except OSError as problem:
            raise LedgerError(self.directory.path, problem.strerror or str(problem)) from problem

    # -- tests -------------------------------------------------------------------------------------------------------

    def begin_test(self, narrowing: Sequence[Rule] = (), pristine: Sequence[str] = ()) -> None:
        """A test begins; its mark may narrow what it may touch, and ask for copies of real data.

        :raises LayerUnavailableError: a copy was asked for and there is no overlay.
        """
        self.in_test = True
        self._private = ""
        if narrowing or pristine:
            self._test_only = ExitStack()
            self.narrowing.begin(self._test_only, narrowing, pristine)
        if self.redirects.redirector is not None:
            self.redirects.enter_test()

    def end_test(self) -> None:
        """The test is over; fine to be told twice. Ten thousand empty tests come here: nothing is called for nothing."""
        if self.root is not None and self.root.has_moved():
            with self.complaining():
                self.root.come_back()
        if self.in_test:
            self.in_test = False
            if self.settings.tag and self.span.nodeid:
                self.desk.tag_matching(self.settings.tag, self.span.nodeid)
            if not self._basetemp_marked:
                self._mark_basetemp()
            if self.redirects.redirector is not None:
                self.redirects.leave_test()
            if self._test_only is not None:
                narrowed, self._test_only = self._test_only, None
                narrowed.close()
            self._private = ""
        self.leave()

    def take_over(self, nodeid: str) -> None:
        """A test ran in a fork of this process (pytest-forked and the like): take in what came of it.

        The fork charged to the test what it saw; what nobody has charged, because the fork died, is charged now.
        """
        self.enter(nodeid, "call")
        self.look()
        # A fork that died in the middle did not take back the rules of its test.
        self.tell_children()

    def contains(self, path: str) -> bool:
        """Whether what is done at a path lands in a layer, of the walls or of a pristine view."""
        return self.narrowing.shows(path) or super().contains(path)

    def private_directory(self) -> str:
        """The current test's private directory, made at the first call."""
        if not self._private:
            self._private_count += 1
            # Forks of this process count on from the same number.
            owner = f"-{Raw.getpid()}" if self.is_fork else ""
            self._private = self._retreat().directory(self.label, "private", f"{self._private_count}{owner}")
        return self._private

    def _retreat(self) -> Retreat:
        if self.retreat is None:
            self.retreat = Retreat.create(self.directory.run_id)
        return self.retreat

    def _mark_basetemp(self) -> None:
        """Leave a sign in the base temp that the user named: pytest wiped and made it, so the next run may wipe it too."""
        if self.is_controller and not self._basetemp_marked and os.path.isdir(self.places.basetemp):
            self._basetemp_marked = True
            mark_basetemp(self.places.basetemp, self.directory.run_id)

    def _make_sink(self) -> str:
        sink = self._retreat().directory(self.label, "sink")
        self.gate.sink = f"{sink}/"
        return sink

    def is_private(self, path: str) -> bool:
        """Whether a path lies in a directory that this run made for itself and keeps no record of."""
        return self.retreat is not None and path.startswith(f"{self.retreat.path}/")

    # -- redirects ---------------------------------------------------------------------------------------------------

    def start_redirects(self, environ: MutableMapping[str, str]) -> None:
        """Point what is configured to the run's sink, before conftests are imported."""
        if self.settings.home == "redirect" and self.is_controller:
            move_home(environ, self._retreat().directory("home"))
        self.redirects.start()

    # -- the end -----------------------------------------------------------------------------------------------------

    def finish_session(self, exit_status: int, tests: Mapping[str, int]) -> int:
        """The last test is over and all fixtures are torn down.

        :returns: the exit status: 1 where violations stand under ``enforce`` and it would have been green.
        """
        self.enter("", "session")
        self.exit_status = exit_status
        self.redirects.tell_late_writers(at_last=True)
        if not self.is_controller:
            self._note_left()
            self.look()
            self._note_leftovers()
            self._told, self._is_told = len(self.touches), True
            return exit_status
        try:
            self.report = build_report(self, tests, self._finish())
        except Exception as problem:  # an error of our own; what is in doubt stays, and somebody is told how to go on
            self.report = build_report(self, tests, give_up(self, problem))
        fold(self.report, self.remote)
        self._told, self._is_told = len(self.touches), True
        self._write_reports()
        self.exit_status = self.status_for(exit_status)
        return self.exit_status

    def _finish(self) -> Removed:
        """Take everything in, put back what must be, and remove what may be; returns what went from shared places."""
        self.reader.widen()
        self._mark_basetemp()
        self.look()
        with self.complaining():
            self.leniency.put_back(self._make_cleanup(lambda path: Zone.SHARED))
        self._note_left()
        self.left_running += self._note_leftovers()
        if self.earlier is not None:
            self.earlier.compare(self, at_last=True)
        with self.complaining():
            take_in(self, of_all=True)
        removed = clear_shared(self, self.cleanup)
        self.compare_inventory()
        return removed

    def leftovers(self, namespaces: Iterable[str] = ()) -> Leftovers:
        """The processes that this one has started and that are still there.

        :param namespaces: of processes of the run with layers of their own, whose children count too.
        """
        # Asked of the layers, not of this thread: the session may have run in another one, and this one stand outside of them.
        own = [] if self.walls.overlay is None else [self.walls.overlay.namespace]
        ask = self.walls.environment_of_fork
        return Leftovers(self.directory.run_id, [*own, *namespaces], self.forks.tests, ask)

    def _note_leftovers(self) -> list[dict[str, Any]]:
        """Write down what is still running, for whoever reads what it does from now on: the controller, or the launcher.

        Who started it can be seen only while it lives.
        """
        found = [one.to_json() for one in self.leftovers().look()]
        with self.complaining():
            for record in found:
                self.journal.append(record)
        return found

    def collect(self) -> None:
        """As for any process of the run; the controller also looks at what things from before the guard lead to."""
        super().collect()
        if self.earlier is not None:
            self.earlier.compare(self)

    def compare_inventory(self) -> None:
        """Where the manifest stands in for a kernel layer: what changed that nobody saw."""
        if self.inventory is None:
            return
        try:
            for touch in self.inventory.touches(attributed(self.touches), self.directory.run_id):
                self.touched(touch)
        except OSError as problem:
            self.failed("manifest", (self.directory.path,), problem)
        self.layers["manifest"] = self.inventory.layer

    def _note_left(self) -> None:
        with self.complaining():
            if self.preimages is not None:
                self.preimages.note_left()

    def look(self) -> None:
        """Take in what happened until now, by the policy of now."""
        if not self.has_given_up:
            with self.complaining():
                self.collect()

    def status_for(self, exit_status: int) -> int:
        """The exit status that this run deserves, given pytest's own."""
        violated = self.settings.mode == "enforce" and self.violations > 0
        return 1 if violated and exit_status in GREEN else exit_status

    def about_to_exec(self, args: tuple[Any, ...]) -> None:
        """Another program is about to take pytest's place, and the verdict with it; a child settles what it made.

        :raises ProtectedPathError: this is the run's own process, and its report has not been given.
        """
        self.ownership.settle()
        if Raw.getpid() != self.pid or self.is_told or self.settings.mode != "enforce" or self.is_expecting:
            return
        reason = "would take pytest's place, and end the run without its verdict; start it in a child process"
        touch = self.desk.touch("os.exec", str(args[0]), reason, fix="start the program with subprocess")
        self.touched(touch)
        raise ProtectedPathError(touch.path, entry(touch, self.places.rootdir))

    @property
    def is_told(self) -> bool:
        """Whether the report has been given, so that the process may end."""
        return self._is_told

    def add_to_report(self, late: Sequence[Touch]) -> None:
        """Put violations from after the report into it too."""
        if self.is_controller and self.report.run:
            self.report.touches.extend(touch for touch in late if touch not in self.report.touches)
            self._write_reports()

    def _write_reports(self) -> None:
        settings = self.settings
        failed = write_report(self.report.to_json(), self.directory.path, settings.json_path, settings.html_path)
        for path, problem in failed:
            # A report that was asked for and cannot be had is a failure of the guard's own work.
            self.failed(REPORT, (path,), problem)

    def hold_exit(self) -> None:
        """Have the process's own end watched from outside, where nobody else does."""
        overlay = self.walls.overlay
        if overlay is not None and self.is_controller and not self.supervised and self.settings.mode == "enforce":
            try:
                overlay.hold_exit(self.stderr_fd)
            except OSError as problem:
                # What the process does after its last Python code then goes unsaid, as it does without an overlay.
                self.notes.append(f"the end of the process is not watched: {problem.strerror}")
            else:
                self._is_held = True

    def let_go(self) -> None:
        """Everything up to now has been told: the process may end."""
        if self._is_held and self.walls.overlay is not None:
            try:
                self.walls.overlay.let_go()
            except OSError as problem:
                self.failed("overlay", ("the end of the process",), problem)

    def end(self) -> None:
        """Pytest is done with us; the hook stays, and what happens from here on is late."""
        if self._ended:
            return
        self._ended = True
        self.look()
        self.redirects.stop()
        self.enter("", "late")
        self.finished = True
        with self.complaining():
            if self.is_controller:
                close(self)
            self.journal.append(
                {"kind": "finished", "label": self.label, "exit_status": self.exit_status, "time": Raw.time_ns() / 1e9}
            )
        for touch in self.touches[self._told :]:
            if touch.violation:
                self.on_late(touch)
        # Imported here: it builds on what imports this.
        from pytest_session_guard._run.handing_back import hand_back

        hand_back(self)
        self.let_go()
        if self.invitation is not None:
            # The server that this worker lived in goes on; the run is over, and its rootdir's next one may tidy up.
            self.journal.retire()
            self.directory.release()
