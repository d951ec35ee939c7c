"""Workers on other hosts: each is guarded by a run of its own there, whose report the controller takes into its own.

A worker that the controller's own process started shares its run's directory. One that was reached over a socket or ssh
shares nothing: not the environment, not the mount namespace, not the disk. It is invited before its pytest begins, keeps
a ledger of its own on its host, and sends its report when its session ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Final

from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import Touch
from pytest_session_guard._core.settings import MODES, Settings
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._report.document import Report, UnreadableReportError, parse_report
from pytest_session_guard._report.text import preserved_lines
from pytest_session_guard._run.handover import RUN_VARIABLE

if TYPE_CHECKING:
    from pytest_session_guard._run.session import SessionRun

INVITATION_VARIABLE: Final = "SESSION_GUARD_INVITATION"
# Under this name the report travels in pytest-xdist's `workeroutput`.
OUTPUT_KEY: Final = "session_guard"
# And under this one, in `workerinput`, a channel on which the worker says that it is guarded.
INPUT_KEY: Final = "session_guard"

# Run by execnet in the process that will be the worker, before its pytest begins; our package may not be there.
GREETING: Final = f"""
import importlib.util, os, platform, socket, sys

def read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""

def is_missing(name):
    sys.path.insert(0, os.getcwd())  # as pytest-xdist is about to do
    try:
        return importlib.util.find_spec(name) is None
    finally:
        del sys.path[0]

channel.send({{
    "run": os.environ.get({RUN_VARIABLE!r}, ""),
    "missing": [name for name in channel.receive() if is_missing(name)],
    "host": socket.gethostname(),
    "machine": read("/etc/machine-id"),
    "boot": read("/proc/sys/kernel/random/boot_id"),
    "cwd": os.getcwd(),
    "python": sys.executable,
    "version": platform.python_version(),
}})
os.environ.update(channel.receive())
"""

STRENGTH: Final = ("off", "unavailable", "partial", "enforced")
PROOF: Final = ("failed", "skipped", "seen", "contained", "refused")


@dataclass(frozen=True)
class Invitation:
    """What a controller asks of a worker on another host, as builtins.

    :param worker: the worker's name in the controller's run.
    :param run_id: the controller's run.
    :param mode: the worker may be stricter, not laxer.
    :param require: layers without which the worker must not begin.
    """

    worker: str
    run_id: str
    mode: str
    require: tuple[str, ...] = ()

    def encode(self) -> str:
        """The value of the environment variable that carries it."""
        return json.dumps(vars(self))

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Invitation | None:
        """What the environment says, told once: a child of the worker is not invited.

        :raises LedgerError: it says something else than an invitation.
        """
        text = environ.pop(INVITATION_VARIABLE, None)
        if text is None:
            return None
        try:
            fields = json.loads(text)
            MODES.index(fields["mode"])
            return cls(**{**fields, "require": tuple(fields["require"])})
        except (ValueError, KeyError, TypeError) as problem:
            raise LedgerError(INVITATION_VARIABLE, f"is no invitation: {problem!r}") from problem

    def applied(self, settings: Settings) -> Settings:
        """This host's settings, brought up to what the controller insists on; the reports are the controller's to write."""
        mode, source, notes = settings.mode, settings.mode_source, settings.notes
        if MODES.index(mode) < MODES.index(self.mode):
            notes = (*notes, f"the controller's {self.mode!r} outranks {mode!r} ({source})")
            mode, source = self.mode, "the controller"
        require = tuple(dict.fromkeys((*settings.require, *self.require)))
        return replace(
            settings, mode=mode, mode_source=source, notes=notes, require=require, json_path="", html_path=""
        )


@dataclass
class RemoteWorker:
    """What the controller knows of a worker on another host.

    :param spec: how it was asked for (``socket=…``).
    :param facts: what it answered to the greeting.
    :param output: its report as it came, ``None`` when none did.
    :param told: what came with the reports of its tests: `encode_touches`.
    """

    name: str
    spec: str
    facts: Mapping[str, Any]
    output: object = None
    told: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The worker's name with its host's."""
        return f"{self.name}@{self.facts['host']}"

    def report(self) -> dict[str, Any]:
        """The report that it sent.

        :raises UnreadableReportError: it sent none, or something else.
        """
        if self.output is None:
            raise UnreadableReportError("none was sent")
        report = parse_report(str(self.output).encode("ascii", "replace"))
        try:
            list(map(Touch.parse, report["touches"]))
            # Try what the controller will do with it, on a report that nobody sees.
            fold(Report({"workers": []}), {self.title: self.entered(report)})
            closing_lines({self.title: self.entered(report)}, report["layers"])
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise UnreadableReportError(f"lacks a part, or has one of another shape: {problem!r}") from None
        return report

    def entered(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """A report with whose it is."""
        return {**report, "worker": self.name, "facts": dict(self.facts)}


def take_in(run: SessionRun, remote: Iterable[RemoteWorker]) -> None:
    """Take what the workers on other hosts sent into the controller's ledger, and say of whom nothing is known."""
    for worker in remote:
        try:
            report = worker.report()
        except UnreadableReportError as problem:
            _take_touches(run, worker, (touch for text in worker.told for touch in decode_touches(text)))
            run.touched(_unaccounted(run, worker, str(problem)))
            continue
        touches = [Touch.parse(touch) for touch in report["touches"]]
        _take_touches(run, worker, touches)
        run.uncounted[""] += max(0, report["violations"] - sum(touch.violation for touch in touches))
        run.remote[worker.title] = worker.entered(report)


def _take_touches(run: SessionRun, worker: RemoteWorker, touches: Iterable[Touch]) -> None:
    for touch in touches:
        process = f"{worker.title}: {touch.process}" if touch.process else worker.title
        run.touched(replace(touch, process=process))


def encode_touches(touches: Iterable[Touch]) -> str:
    """Touches as ASCII, which execnet can carry whatever the paths are."""
    return json.dumps([touch.to_json() for touch in touches])


def decode_touches(text: str) -> list[Touch]:
    """What `encode_touches` wrote; nothing of what is something else: it stands in for a report that is missing anyway."""
    try:
        return [Touch.parse(touch) for touch in json.loads(text)]
    except (ValueError, TypeError):
        return []


def keeps_journal(run_directory: str, worker: str) -> bool:
    """Whether a worker that shares the run's directory has joined the run.

    :raises LedgerError: the directory is gone.
    """
    try:
        return any(name.startswith(f"journal-{worker}-") for name in Raw.listdir(run_directory))
    except OSError as problem:
        raise LedgerError(run_directory, problem.strerror or str(problem)) from problem


def _unaccounted(run: SessionRun, worker: RemoteWorker, why: str) -> Touch:
    host, cwd = worker.facts["host"], worker.facts["cwd"]
    return Touch(
        time=Raw.time_ns() / 1e9,
        operation="worker",
        path=worker.title,
        zone="protected",
        outcome="allowed",
        violation=True,
        layer="guard",
        nodeid="",
        phase="session",
        pid=run.pid,
        reason=f"its ledger could not be merged: its report {why}; it stays on {host}, for a rootdir at or above {cwd!r}",
        fix="run session-guard runs there, then session-guard show RUN; the next run there tidies up",
    )


def fold(report: Report, remote: Mapping[str, Mapping[str, Any]]) -> None:
    """Make a report speak for the workers on other hosts too; its layers are the weakest of all.

    :param remote: the workers' reports by title; the touches in them are in the report already.
    """
    for title, other in remote.items():
        report.run["workers"] = sorted({*report.run["workers"], other["worker"]})
        report.run.setdefault("remote", []).append(_summary(other))
        for name, layer in other["layers"].items():
            mine = report.layers.get(name)
            if mine is None or _rank(layer["status"], STRENGTH) < _rank(mine["status"], STRENGTH):
                report.layers[name] = {**layer, "reason": f"{title}: {layer.get('reason') or layer['status']}"}
        for name, answer in other.get("canary", {}).items():
            if _rank(answer, PROOF) < _rank(report.canary.get(name, PROOF[-1]), PROOF):
                report.canary[name] = answer
        made = other["artifacts"]
        report.created += _told_apart(title, made["created"])
        report.removed += _told_apart(title, made["removed"])
        report.preserved += _told_apart(title, made["preserved"])
        report.kept += [(f"{title}:{one['path']}", one["reason"]) for one in made["kept"]]
        report.notes += [f"{title}: {note}" for note in other.get("notes", ())]


def _summary(other: Mapping[str, Any]) -> dict[str, Any]:
    facts = other["facts"]
    return {
        "worker": other["worker"],
        **{name: facts[name] for name in ("host", "machine", "boot")},
        **{name: other["run"].get(name) for name in ("id", "rootdir", "mode", "python", "pytest")},
        "layers": other["layers"],
        "zones": other.get("zones", []),
        "violations": other["violations"],
    }


def _told_apart(title: str, paths: Sequence[str]) -> list[str]:
    return [f"{title}:{path}" for path in paths]


def _rank(word: str, order: Sequence[str]) -> int:
    return order.index(word) if word in order else 0


def closing_lines(remote: Mapping[str, Mapping[str, Any]], own: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the user should know of the workers on other hosts: weaker layers, and what can be brought back there.

    :param own: what the controller's own layers achieved.
    """
    lines = []
    for title, other in remote.items():
        for name, layer in other["layers"].items():
            if _rank(layer["status"], STRENGTH) < _rank(own.get(name, layer)["status"], STRENGTH):
                lines.append(
                    f"session-guard: {title} had {name} {layer['status']}: {layer.get('reason') or 'not needed'}"
                )
        if preserved := other["artifacts"]["preserved"]:
            first, *rest = preserved_lines(preserved, other["run"]["id"], other["run"]["rootdir"])
            lines += [f"on {title}: {first}", *rest]
    return lines
