"""The controller's pytest-xdist hooks: greet the workers that may be on another host, and take in what they send."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._run.remote import (
    GREETING,
    INPUT_KEY,
    INVITATION_VARIABLE,
    OUTPUT_KEY,
    Invitation,
    RemoteWorker,
    keeps_journal,
    take_in,
)

if TYPE_CHECKING:
    from pytest_session_guard._run.session import SessionRun

NAME: Final = "session_guard_workers"
GREETING_LIMIT_S: Final = 30
# What the worker's pytest-xdist part imports before anything can be told to it.
NEEDED: Final = ("pytest", "execnet")
INSTALL: Final = "install it there as it is installed here"


class Workers:
    """All workers that this controller started."""

    def __init__(self, config: pytest.Config, run: SessionRun) -> None:
        self.config = config
        self.run = run
        self._nodes: dict[str, Any] = {}
        self._remote: dict[str, RemoteWorker] = {}
        self._guarded: set[str] = set()

    def pytest_configure_node(self, node: Any) -> None:
        """A worker's process is there, and its pytest has not begun."""
        spec = node.gateway.spec
        self._nodes[node.gateway.id] = node
        if not spec.popen or spec.via or spec.python:
            self._greet(node)

    def _greet(self, node: Any) -> None:
        import execnet  # there where pytest-xdist is

        name, spec = node.gateway.id, node.gateway.spec
        needed = NEEDED if spec.popen else (*NEEDED, "pytest_session_guard")
        try:
            channel = node.gateway.remote_exec(GREETING)
            channel.send(needed)
            facts = channel.receive(GREETING_LIMIT_S)
            is_remote = not _is_ours(facts["run"], self.run.directory.run_id)
            channel.send({INVITATION_VARIABLE: self._invitation(name).encode()} if is_remote else {})
            channel.waitclose(GREETING_LIMIT_S)
        except (execnet.RemoteError, execnet.TimeoutError, OSError, EOFError) as problem:
            raise pytest.UsageError(f"session-guard: worker {name} ({spec}) does not answer: {problem}") from problem
        if facts["missing"]:
            missing = ", ".join(name.replace("_", "-") for name in facts["missing"])
            raise pytest.UsageError(
                f"session-guard: worker {name} ({spec}) on {facts['host']}: {missing} cannot be imported by {facts['python']} "
                f"(Python {facts['version']}); {INSTALL}"
            )
        if is_remote:
            self._remote[name] = RemoteWorker(name, str(spec), facts)
            # Called in execnet's thread, and before any later message of the worker.
            channel = node.workerinput[INPUT_KEY] = node.gateway.newchannel()
            channel.setcallback(self._guarded.add)

    def _invitation(self, name: str) -> Invitation:
        settings = self.run.settings
        return Invitation(name, self.run.directory.run_id, settings.mode, settings.require)

    def pytest_xdist_node_collection_finished(self, node: Any) -> None:
        """A worker is about to be given tests; one that is not guarded gets none."""
        name, spec = node.gateway.id, node.gateway.spec
        try:
            is_guarded = name in self._guarded or keeps_journal(self.run.directory.path, name)
        except LedgerError as problem:
            raise pytest.UsageError(str(problem)) from problem
        if not is_guarded:
            said = f"session-guard: worker {name} ({spec}) does not load pytest-session-guard, so it gets no tests"
            raise pytest.UsageError(said)

    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker is gone. One that could not even begin would fail again: pytest-xdist would replace it for ever."""
        name, spec = node.gateway.id, node.gateway.spec
        if error is None or hasattr(node, "workeroutput"):
            return
        said = str(error)
        if not hasattr(node, "workerinfo") and (name in self._remote or spec.python or "UsageError: " in said):
            raise pytest.UsageError(f"session-guard: worker {name} ({spec}) cannot begin: {_last_words(said)}")
        if name in self._remote:
            self._say(f"session-guard: {self._remote[name].title} died; its ledger stays there and cannot be merged")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test's violations come with its report, before the worker's own."""
        worker = self._remote.get(report.node.gateway.id) if hasattr(report, "node") else None
        if worker is not None:
            worker.told.append(getattr(report, "session_guard", "[]"))

    def _say(self, line: str) -> None:
        reporter: Any = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(line, red=True)

    def take_in(self) -> None:
        """The session is over: what the workers sent counts for this run."""
        for name, worker in self._remote.items():
            output = getattr(self._nodes[name], "workeroutput", None) or {}
            worker.output = output.get(OUTPUT_KEY)
        take_in(self.run, self._remote.values())


def _is_ours(handover: str, run_id: str) -> bool:
    """Whether what a process's environment says of a run is this run: then it was started by it, and shares its directory."""
    try:
        return bool(json.loads(handover)["run_id"] == run_id)
    except (ValueError, KeyError, TypeError):
        return False


def _last_words(error: str) -> str:
    """What an error of another process says, without its traceback."""
    return (error.partition("UsageError: ")[2] or error.strip().rpartition("\n")[2]).strip()
