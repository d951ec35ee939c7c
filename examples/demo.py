"""See four accidents refused, and what they destroy where nothing refuses them.

Makes a home in a temporary directory, with the chat store of somebody who has used it for a year and with a checkout of
``examples/chatstore`` in ``~/src``: the hard case, as on most machines, where the tests live below the home that they
must not touch. Then it runs the suites there, as their author would, and compares every byte of the store.

The exit status is 0 when the guard kept its promise and the accidents are real, else 1.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

EXAMPLE: Final = Path(__file__).resolve().parent / "chatstore"
SESSIONS: Final = 240
LONGEST: Final = 1000
RECENT: Final = 12
ACCIDENTS: Final = {
    "test_1_forgotten_redirect.py": "a test saves a session into the real store",
    "test_2_reconnect_wipes.py": "a session loaded without its messages is saved",
    "test_3_cleanup_by_age.py": "a fixture deletes the conversations that are younger than five minutes",
    "test_4_cleanup_by_name.py": "a fixture deletes whatever is named like a conversation",
}
ENTRIES_SHOWN: Final = 2

Snapshot = dict[str, tuple[int, int, str]]
"""Path below the store → mode, time of change in nanoseconds, digest of the content."""


@dataclass(frozen=True)
class Loss:
    """What one accident did to a store."""

    deleted: int
    changed: int
    added: int
    histories: int
    messages: int

    def __str__(self) -> str:
        files = f"{self.deleted} files deleted, {self.changed} changed, {self.added} added"
        gone = [f"{self.histories} histories"] * bool(self.histories) + [f"{self.messages:,} messages"] * (
            self.messages > 0
        )
        return f"{files}{'; gone: ' if gone else ''}{' and '.join(gone)}"


@dataclass(frozen=True)
class Holdings:
    """What a person would miss."""

    histories: int
    messages: int

    @classmethod
    def of(cls, store: Path) -> Holdings:
        """Count the histories, and the messages in the sessions."""
        sessions = store.glob("sessions/[!_]*.json")
        messages = sum(len(json.loads(path.read_bytes())["messages"]) for path in sessions)
        return cls(len(list(store.glob("history/session_*.jsonl"))), messages)


@dataclass
class Verdict:
    """What was seen on the way; ``wrong`` is empty when everything was as it must be."""

    refusals: int = 0
    losses: list[Loss] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def expect(self, condition: object, otherwise: str) -> None:
        """Note ``otherwise`` as a deviation unless ``condition`` holds."""
        if not condition:
            self.wrong.append(otherwise)

    @property
    def total_loss(self) -> Loss:
        """All accidents together."""
        return Loss(
            sum(loss.deleted for loss in self.losses),
            sum(loss.changed for loss in self.losses),
            sum(loss.added for loss in self.losses),
            sum(loss.histories for loss in self.losses),
            sum(loss.messages for loss in self.losses),
        )


def main() -> int:
    """Run the whole demonstration below a temporary directory and take it down again."""
    if importlib.util.find_spec("pytest_session_guard") is None:
        print("demo: pytest-session-guard is not installed for this Python; run 'make demo'", file=sys.stderr)
        return 2
    started = time.monotonic()
    verdict = Verdict()
    with tempfile.TemporaryDirectory(prefix="session-guard-demo-") as scratch:
        home = Path(scratch, "home")
        before = build_home(home)
        run_own_suite(home, before, verdict)
        run_guarded(home, before, verdict)
        run_unguarded(home, before, Path(scratch), verdict)
    return conclude(verdict, len(before), time.monotonic() - started)


def build_home(home: Path) -> Snapshot:
    """Fill a home: the checkout, a year of conversations, some of them touched a minute ago."""
    heading("1. A home with a real chat store in it")
    checkout = home / "src" / "chatstore"
    ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache", ".session_guard")
    shutil.copytree(EXAMPLE, checkout, ignore=ignored)
    command = [sys.executable, "-m", "chatstore", "sample", str(SESSIONS), "--longest", str(LONGEST)]
    subprocess.run(command, cwd=checkout, env=environment(home), check=True, stdout=subprocess.DEVNULL)
    store = home / ".chatstore"
    let_a_year_pass(store)
    snapshot = take_snapshot(store)
    size_kib = sum(path.stat().st_size for path in store.rglob("*")) // 1024
    messages = Holdings.of(store).messages
    print(f"   {store}: {SESSIONS} conversations, {messages:,} messages, {len(snapshot)} paths, {size_kib} KiB")
    print(f"   {RECENT} of them were touched a minute ago; the longest has {LONGEST} messages")
    print(f"   digest of names, contents, modes and times: {digest(snapshot)}")
    return snapshot


def let_a_year_pass(store: Path) -> None:
    """Spread the files' times over a year, but for the last conversations: those were open a minute ago."""
    rows = json.loads((store / "sessions" / "_index.json").read_bytes())
    for age, row in enumerate(rows):
        age_s = 60 if age < RECENT else age * 365 * 86400 / len(rows)
        for path in store.rglob(f"*{row['session_id']}*"):
            os.utime(path, (time.time() - age_s,) * 2)


def run_own_suite(home: Path, before: Snapshot, verdict: Verdict) -> None:
    """The suite that uses the plugin as intended passes and leaves the store alone."""
    heading("2. Its own suite, under the guard")
    process = run_pytest(home)
    show(process.stdout.splitlines())
    verdict.expect(process.returncode == 0, f"the own suite did not pass under the guard: exit {process.returncode}")
    compare(home, before, verdict, "the own suite")


def run_guarded(home: Path, before: Snapshot, verdict: Verdict) -> None:
    """The accidents are refused and turn the run red."""
    heading("3. Four accidents, under the guard: each of these tests would pass without it")
    report = home.parent / "report.json"
    process = run_pytest(home, "accidents", "--tb=no", f"--session-guard-json={report}")
    show(shorten(process.stdout.splitlines()))
    verdict.expect(process.returncode == 1, f"the accidents did not turn the run red: exit {process.returncode}")
    for name in ACCIDENTS:
        verdict.expect(name in process.stdout, f"{name} is not named in the output")
    if report.exists():
        verdict.refusals = json.loads(report.read_bytes())["violations"]
    verdict.expect(verdict.refusals > 0, "the report counts no violation")
    compare(home, before, verdict, "the accidents")


def run_unguarded(home: Path, before: Snapshot, scratch: Path, verdict: Verdict) -> None:
    """The same accidents with the guard off are green and do their damage, each on a copy of the home."""
    heading("4. The same four, guard off, each on a copy of that home")
    there = Holdings.of(home / ".chatstore")
    for number, (name, what) in enumerate(ACCIDENTS.items(), start=1):
        copy = scratch / f"copy-{number}"
        shutil.copytree(home, copy)
        print(f"   {name}: {what}")
        process = run_pytest(copy, f"accidents/{name}", "-q", "--session-guard=off")
        show(process.stdout.splitlines()[-1:])
        left = Holdings.of(copy / ".chatstore")
        deleted, changed, added = differences(before, take_snapshot(copy / ".chatstore"))
        lost = Loss(
            len(deleted),
            len(changed),
            len(added),
            max(there.histories - left.histories, 0),
            max(there.messages - left.messages, 0),
        )
        verdict.losses.append(lost)
        print(f"   DAMAGE: {lost}\n")
        verdict.expect(process.returncode == 0, f"{name} is not green with the guard off: exit {process.returncode}")
        verdict.expect(deleted or changed or added, f"{name} did no damage with the guard off: it proves nothing")


def conclude(verdict: Verdict, paths: int, elapsed_s: float) -> int:
    """Say in two lines what happened, or what went wrong."""
    heading(f"Verdict ({elapsed_s:.1f} s)")
    for deviation in verdict.wrong:
        print(f"   WRONG: {deviation}")
    if verdict.wrong:
        return 1
    count = len(ACCIDENTS)
    print(
        f"   guard on:  {count} accidents, {verdict.refusals} refusals, a red run; not a byte of {paths} paths changed"
    )
    print(f"   guard off: {count} accidents, a green run each; {verdict.total_loss}")
    return 0


def compare(home: Path, before: Snapshot, verdict: Verdict, who: str) -> None:
    """Print the digests side by side, and note every path that is not as it was."""
    after = take_snapshot(home / ".chatstore")
    deleted, changed, added = differences(before, after)
    print(f"   real store before: {digest(before)}")
    print(f"   real store after:  {digest(after)}")
    harmed = [*deleted, *changed, *added]
    verdict.expect(not harmed, f"{who} touched {len(harmed)} paths of the real store: {', '.join(harmed[:3])}, ...")


def take_snapshot(store: Path) -> Snapshot:
    """Everything below ``store``, and ``store`` itself: name, mode, time and content."""
    snapshot: Snapshot = {}
    for path in (store, *sorted(store.rglob("*"))):
        stat = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        snapshot[str(path.relative_to(store))] = (stat.st_mode, stat.st_mtime_ns, hashlib.sha256(content).hexdigest())
    return snapshot


def digest(snapshot: Snapshot) -> str:
    """One short name for all of a snapshot."""
    return hashlib.sha256(json.dumps(snapshot, sort_keys=True).encode()).hexdigest()[:32]


def differences(before: Snapshot, after: Snapshot) -> tuple[list[str], list[str], list[str]]:
    """The names that were deleted, changed and added. A directory does not count as changed by what changed in it."""
    deleted = [name for name in before if name not in after]
    added = [name for name in after if name not in before]
    listings = {str(Path(name).parent) for name in (*deleted, *added)}
    changed = [name for name in before if name in after and before[name] != after[name] and name not in listings]
    return deleted, changed, added


def run_pytest(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in the checkout below ``home``, as the owner of that home."""
    shown = " ".join(re.sub(r"=/.*/", "=", argument) for argument in arguments)
    print(f"   ~/src/chatstore$ pytest {shown}".rstrip(), flush=True)
    colour = "yes" if sys.stdout.isatty() else "no"
    command = [sys.executable, "-m", "pytest", f"--color={colour}", *arguments]
    directory = home / "src" / "chatstore"
    output = subprocess.PIPE
    return subprocess.run(
        command, cwd=directory, env=environment(home), stdout=output, stderr=subprocess.STDOUT, text=True, check=False
    )


def environment(home: Path) -> dict[str, str]:
    """Our environment, with that home and without what would tell the suites anything else."""
    told = ("CHATSTORE_", "PYTEST_", "SESSION_GUARD", "XDG_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    return inherited | {"HOME": str(home), "CHATSTORE_FSYNC": "0"}


def shorten(lines: list[str]) -> Iterator[str]:
    """pytest's output with the entries of the guard's section cut down to the first few of each accident."""
    seen: dict[str, int] = {}
    skipped = 0
    for entry in entries(lines):
        culprit = next((name for name in ACCIDENTS if any(name in line for line in entry)), "")
        if is_refusal(entry[0]) and seen.setdefault(culprit, 0) >= ENTRIES_SHOWN:
            skipped += 1
            continue
        if is_refusal(entry[0]):
            seen[culprit] += 1
        elif skipped:
            yield f"  [... {skipped} more like these ...]"
            skipped = 0
        yield from entry


def entries(lines: list[str]) -> Iterator[list[str]]:
    """The output in pieces: a refusal with its labels is one, any other line is one of its own."""
    entry: list[str] = []
    for line in lines:
        if entry and is_refusal(entry[0]) and plain(line).startswith("    "):
            entry.append(line)
            continue
        if entry:
            yield entry
        entry = [line]
    if entry:
        yield entry


def is_refusal(line: str) -> bool:
    """Whether this is the first line of an entry in the guard's section."""
    return re.match(r"  \w+ refused: ", plain(line)) is not None


def plain(line: str) -> str:
    """The line without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


def show(lines: Iterable[str]) -> None:
    """Print a program's output so that one sees that it is one."""
    for line in lines:
        print(f"   | {line}".rstrip())


def heading(text: str) -> None:
    """Begin a part."""
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
