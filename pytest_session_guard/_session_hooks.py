"""The hooks of a session that a run guards. They are registered when the run begins, so no hook has to ask for it."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from pytest_session_guard._core.errors import ConfigurationError, SessionGuardError
from pytest_session_guard._report.text import entry, headline, section
from pytest_session_guard._run.declarations import as_paths, rules_of_mark
from pytest_session_guard._run.remote import OUTPUT_KEY, encode_touches
from pytest_session_guard._run.summary import closing_lines
from pytest_session_guard._workers import NAME as WORKERS

if TYPE_CHECKING:
    from pytest_session_guard._core.records import Touch
    from pytest_session_guard._core.zones import Rule
    from pytest_session_guard._run.session import SessionRun

MARK_NAME: Final = "session_guard"
FIXTURE: Final = "session_guard"
SHOWN_PER_TEST: Final = 5
LEAVES: Final = pytest.StashKey[bool]()


def register(config: pytest.Config, run: SessionRun) -> None:
    """Let a run hear of the session's moments from now on."""
    manager = config.pluginmanager
    manager.register(SessionHooks(run), "session_guard_session")
    fixtures = FixtureHooks(run)
    # Each fixture of each test would pay for hooks that have nothing to do without a redirect.
    run.redirects.when_working(lambda: manager.register(fixtures, "session_guard_fixtures"))


class SessionHooks:
    """The moments of the session, of each test and of each phase of it."""

    def __init__(self, run: SessionRun) -> None:
        self.run = run
        # The test that runs: pytest makes its id anew each time that it is asked.
        self._item: pytest.Item | None = None
        self._nodeid = ""
        self._session: pytest.Session | None = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_cmdline_main(self) -> Generator[None, object, object]:
        """End the run of a worker elsewhere whatever happens: the server that it lives in may stay for years.

        Around a worker there is no `pytest.main` that unconfigures where the end of the session fails, and that fails when the
        controller is gone.
        """
        try:
            return (yield)
        finally:
            if self.run.invitation is not None:
                self.run.end()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """All modules are imported: see that every redirect has its target."""
        try:
            self.run.redirects.check()
        except ConfigurationError as problem:
            if self.run.answers_to_user:
                raise pytest.UsageError(str(problem)) from problem
            _fail_collection(session, str(problem))
        # A test may also ask by `getfixturevalue`, which nobody sees here.
        if "pyfakefs" in sys.modules or any(FIXTURE in getattr(item, "fixturenames", ()) for item in session.items):
            self.run.redirects.prepare()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Between collection and the end of the session only tests run; the first must not answer for what was before it."""
        run = self.run
        if not run.is_quiet():
            run.look()
        run.leave()
        try:
            return (yield)
        finally:
            run.enter("", "session")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Take a test's private places back when all of its phases, and its reruns, are over."""
        try:
            return (yield)
        finally:
            nodeid = self._id_of(item)
            if not self.run.is_in(nodeid):
                self.run.take_over(nodeid)  # none of its phases ran in this process
            self.run.end_test()
            self._item = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Give the test its private places, and charge touches to its setup; a rerun gets places of its own."""
        __tracebackhide__ = True  # what fails inside is not ours
        run = self.run
        if run.in_test:
            run.end_test()
        self._item, self._nodeid = item, item.nodeid
        if run.redirects.redirector is not None:
            item.stash[LEAVES] = False
        run.enter(self._nodeid, "setup")
        marks = marks_of(item)
        if marks or run.redirects.redirector is not None:
            try:
                run.begin_test(*narrowing(marks, self._nodeid, run))
            except SessionGuardError as problem:
                refuse(item, str(problem))
        else:
            run.begin_test()
        try:
            return (yield)
        finally:
            if run.redirects.redirector is not None:
                leave_before_wider_fixtures(item, run)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Charge touches to this test's call."""
        __tracebackhide__ = True
        self.run.enter(self._id_of(item), "call")
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Charge touches to this test's teardown."""
        __tracebackhide__ = True
        self.run.enter(self._id_of(item), "teardown")
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail the phase in which a violation happened, whatever became of the exception (swallowed, xfail, raises, skip)."""
        report = yield
        run = self.run
        if run.is_quiet():
            return report
        touches = run.take_violations(self._id_of(item))
        for touch in touches:
            item.ihook.pytest_session_guard_touch(touch=touch)
        if touches and run.invitation is not None:
            # Should this worker die, its controller has these at least.
            cast("Any", report).session_guard = encode_touches(touches)
        if touches and run.settings.mode == "enforce":
            _fail(report, touches, run.places.rootdir)
        if run.is_fork and call.when == "teardown":
            run.end_test()  # the protocol's end is in the parent
        return report

    def _id_of(self, item: pytest.Item) -> str:
        return self._nodeid if item is self._item else item.nodeid

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Finish the run after all fixtures have been torn down; red where it would have been green."""
        run, self._session = self.run, session
        workers: Any = session.config.pluginmanager.get_plugin(WORKERS)
        if workers is not None:
            workers.take_in()
        session.exitstatus = run.finish_session(int(session.exitstatus), _counts(session.config))
        if run.invitation is not None:
            # As ASCII: execnet cannot carry the lone bytes of a path that is not UTF-8.
            output: dict[str, object] = cast("Any", session.config).workeroutput
            output[OUTPUT_KEY] = run.report.encode().decode("ascii")
        elif run.is_controller:
            session.config.hook.pytest_session_guard_report(report=run.report.to_json())

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """From here on pytest ends by `pytest_unconfigure`, or something is wrong."""
        self.run.hold_exit()

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Nothing when all is clean; else a section with one entry a violation."""
        run = self.run
        if not run.is_controller:
            return
        write = terminalreporter
        if run.report.violations:
            red = run.settings.mode == "enforce"
            write.section("session-guard", sep="=", red=red, yellow=not red, bold=True)
            for line in section(run.report.violating, run.places.rootdir, run.report.uncounted):
                write.line(line)
        for line in closing_lines(run):
            write.line(line, yellow=True)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """The end; the audit hook itself stays until the process ends.

        A conftest or plugin whose `pytest_sessionfinish` came later may have made the exit status green; pytest reads it after
        this hook.
        """
        self.run.end()
        if self._session is not None and self.run.is_controller:
            self._session.exitstatus = self.run.status_for(int(self._session.exitstatus))


class FixtureHooks:
    """The moments of each fixture, for the redirects."""

    def __init__(self, run: SessionRun) -> None:
        self.run = run

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: pytest.FixtureRequest) -> Generator[None, object, object]:
        """Let a patch that a wide fixture makes on a redirected target live as long as the fixture."""
        __tracebackhide__ = True
        redirector = self.run.redirects.redirector
        if redirector is None:
            return (yield)
        if fixturedef.scope == "function":
            leave_before_wider_fixtures(request.node, self.run)
            return (yield)
        with redirector.wider_fixture():
            return (yield)


def leave_before_wider_fixtures(item: pytest.Item, run: SessionRun) -> None:
    """Have the targets back on the sink after the last fixture of the test itself, before those that outlive it.

    Finalizers run last in, first out, so ours is registered before that of the first function-scoped fixture.
    """
    if not item.stash.get(LEAVES, False):
        item.stash[LEAVES] = True
        item.addfinalizer(run.redirects.leave_test)


def marks_of(item: pytest.Item) -> list[pytest.Mark]:
    """The test's own marks of ours, the nearest first; what `iter_markers` gives, at a fraction of its price."""
    marks: list[pytest.Mark] = []
    node: Any = item
    while node is not None:
        if node.own_markers:
            marks += [mark for mark in node.own_markers if mark.name == MARK_NAME]
        node = node.parent
    return marks


def narrowing(marks: list[pytest.Mark], nodeid: str, run: SessionRun) -> tuple[list[Rule], list[str]]:
    """The rules that a test's marks add, and the places that it wants a pristine view of.

    :raises ConfigurationError: a mark is wrong, or would widen what the configuration allows.
    """
    rules: list[Rule] = []
    copies: list[str] = []
    for mark in marks:
        rules += rules_of_mark(mark.args, mark.kwargs, nodeid, run.policy, run.places)
        copies += as_paths("pristine", mark.kwargs.get("pristine", ()), nodeid)
    return rules, copies


def refuse(item: pytest.Item, text: str) -> None:
    """Have a test end in its setup with this text alone, before any fixture of it is made.

    Not by an exception here: those who come after us in this phase would not be set up, and their teardown fail as well.
    """
    cast("Any", item).setup = lambda: pytest.fail(text, pytrace=False)


def _fail_collection(session: pytest.Session, text: str) -> None:
    """A worker's usage error would end in a crash of the controller; as a failed collection it arrives, and stops the run."""
    session.items.clear()
    report = pytest.CollectReport(nodeid="session_guard_redirect", outcome="failed", longrepr=text, result=[])
    session.config.hook.pytest_collectreport(report=report)


def _fail(report: pytest.TestReport, touches: list[Touch], rootdir: str) -> None:
    """Make a report fail, with what pytest has to say kept, and nothing said twice."""
    if report.outcome == "failed" and report.longrepr is not None:
        said = report.longreprtext
        touches = [touch for touch in touches if headline(touch) not in said]
    texts = [entry(touch, rootdir) for touch in touches[:SHOWN_PER_TEST]]
    if len(touches) > SHOWN_PER_TEST:
        texts.append(f"and {len(touches) - SHOWN_PER_TEST} more, see the session-guard section")
    if report.outcome == "failed" and report.longrepr is not None:
        report.sections.extend(("session-guard", text) for text in texts)
        return
    report.outcome = "failed"
    report.longrepr = "\n\n".join(texts)
    if hasattr(report, "wasxfail"):
        del report.wasxfail


def _counts(config: pytest.Config) -> dict[str, int]:
    reporter = cast("Any", config.pluginmanager.get_plugin("terminalreporter"))
    if reporter is None:
        return {}
    names = ("passed", "failed", "skipped", "error", "xfailed", "xpassed")
    return {name: len(reporter.stats.get(name, ())) for name in names}
