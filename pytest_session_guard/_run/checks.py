"""What `session-guard doctor` looks at beside the layers: pytest itself, Python children, the ledger's place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any, Final

from pytest_session_guard._host.identity import identity_of
from pytest_session_guard._run.advice import advice_for
from pytest_session_guard._run.finding import Finding, Status, run_quietly, scratch_directory
from pytest_session_guard._run.handover import RUN_VARIABLE

SUITE: Final = "def test_nothing():\n    pass\n"
STARTUP_MODULE: Final = "pytest_session_guard._startup"
# How a child may be started, and what it is then told to ignore.
CHILD_FLAGS: Final = (("", ()), ("-E", ("-E",)), ("-I", ("-I",)))


def check_pytest(environ: Mapping[str, str]) -> Finding:
    """A real run of one empty test, with the plugins of this environment: which layers does it get?"""
    gives = "a run of one empty test, with all plugins that are installed here"
    with scratch_directory() as scratch:
        _write(f"{scratch}/project/test_nothing.py", SUITE)
        _write(f"{scratch}/project/pytest.ini", "[pytest]\n")
        report = f"{scratch}/free/report.json"
        command = [sys.executable, "-m", "pytest", "-q", f"--session-guard-json={report}"]
        done = run_quietly(command, environ, f"{scratch}/project")
        try:
            with open(report, "rb") as file:
                said = json.load(file)
        except (OSError, ValueError):
            return _failed("pytest", gives, _why_no_report(done))
    return _of_report(said, gives)


def _why_no_report(done: subprocess.CompletedProcess[str]) -> str:
    if "unrecognized arguments: --session-guard" in done.stderr:
        return "the plugin is not loaded by pytest"
    words = (done.stderr or done.stdout).strip().splitlines()
    return words[-1] if words else f"pytest ended with status {done.returncode}"


def _of_report(report: Mapping[str, Any], gives: str) -> Finding:
    layers = report["layers"]
    held = [name for name, layer in layers.items() if layer["status"] in ("enforced", "partial")]
    partial = [f"{name}: {layer['reason']}" for name, layer in layers.items() if layer["status"] == "partial"]
    notes = [*partial, *report.get("notes", ())]
    status: Status = "partial" if partial or held == ["hook"] else "enforced"
    if held == ["hook"]:
        notes.append("native code and children that are not Python are not held")
    if report["verdict"] != "clean":
        status, notes = "unavailable", [f"the verdict on a suite that does nothing is {report['verdict']!r}", *notes]
    reason = "; ".join(notes)
    return Finding("pytest", status, f"{gives}: {', '.join(held) or 'no layer'}", reason, advice_for("overlay", reason))


def check_children(environ: Mapping[str, str]) -> Finding:
    """Whether a Python child finds the start-up file that brings it the hook."""
    gives = (
        "Python children are guarded from their start, also with -E and -I (with -S the kernel layers alone hold them)"
    )
    code = f"import sys; print({STARTUP_MODULE!r} in sys.modules)"
    missed = []
    for shown, flags in CHILD_FLAGS:
        with scratch_directory() as scratch:
            # Any value does: the start-up module sleeps until something is written.
            guarded = {**environ, RUN_VARIABLE: "doctor"}
            done = run_quietly([sys.executable, *flags, "-c", code], guarded, scratch)
        if done.stdout.strip() != "True":
            missed.append(shown or "any")
    if not missed:
        return Finding("children", "enforced", gives)
    reason = f"the start-up file is not found by this interpreter ({', '.join(missed)} children)"
    status: Status = "unavailable" if "any" in missed else "partial"
    return Finding("children", status, gives, reason, advice_for("children", reason))


def check_ledger(state_directory: str) -> Finding:
    """Whether the ledger's place can be written to, locks files natively, and tells one object from the next."""
    gives = f"{state_directory}: records of runs, kept apart by native file locks"
    place = _nearest_directory(state_directory)
    try:
        scratch = tempfile.mkdtemp(prefix=".session-guard-doctor-", dir=place)
    except OSError as problem:
        return _failed("ledger", gives, f"cannot be written to ({problem.strerror})")
    try:
        problem_of_locks = _try_locks(f"{scratch}/lock")
        identity = identity_of(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if problem_of_locks:
        return _failed("ledger", gives, f"native file locks are not to be had there: {problem_of_locks}")
    if identity.birth_ns is None and identity.handle is None:
        reason = (
            "its file system keeps no birth times and gives no file handles (overlay mounts do not), so files made there "
            "by a run can only be told apart by their marker"
        )
        return Finding("ledger", "partial", gives, reason, advice_for("ledger", reason))
    return Finding("ledger", "enforced", gives)


def _nearest_directory(path: str) -> str:
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


LOCKING_CHILD: Final = """
import sys, filelock
try:
    filelock.FileLock(sys.argv[1], fallback_to_soft=False).acquire(timeout=0)
except filelock.Timeout:
    print("held")
else:
    print("free")
"""


def _try_locks(path: str) -> str:
    """Hold a lock against another process, then let go of it; what went wrong, or ``""``."""
    import filelock

    lock = filelock.FileLock(path, fallback_to_soft=False, preserve_lock_file=True)
    try:
        lock.acquire(timeout=0)
    except (OSError, filelock.Timeout, NotImplementedError) as problem:
        return str(problem)
    try:
        during = _other_process_finds(path)
    finally:
        lock.release()
    after = _other_process_finds(path)
    if (during, after) != ("held", "free"):
        return f"another process found a held lock {during} and a released one {after}"
    return ""


def _other_process_finds(path: str) -> str:
    done = run_quietly([sys.executable, "-c", LOCKING_CHILD, path], os.environ, os.path.dirname(path))
    words = done.stdout.split() or done.stderr.strip().splitlines()[-1:]
    return words[0] if words else "unanswered"


def _failed(name: str, gives: str, reason: str) -> Finding:
    return Finding(name, "unavailable", gives, reason, advice_for(name, reason))


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
