"""Where pytest and the run were told to write: what lies there must not be somebody's data. Looked at before anything is written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from pytest_session_guard._core.errors import ConfigurationError
from pytest_session_guard._core.records import MARKER_FILE, MARKER_KEY, Identity
from pytest_session_guard._core.settings import Settings
from pytest_session_guard._core.zones import Policy, Rule, Zone, is_within
from pytest_session_guard._host.fsops import OwnPath, Raw, make_directory, read_file, replace_file
from pytest_session_guard._host.identity import identity_of
from pytest_session_guard._run.places import OUTPUT_SOURCE, Output, Places, build_policy, is_for_temporary_files

TEMPORARY_VARIABLES: Final = ("TMPDIR", "TEMP", "TMP")


def check_outputs(policy: Policy, places: Places) -> None:
    """Refuse what pytest was told to write into guarded places, before it does.

    :raises ConfigurationError: an output, the base temp or the bytecode prefix lies over something that it would harm.
    """
    guarded = _without_outputs(policy)
    allowed = "a path in the rootdir, a temp directory or a place named in session_guard_free"
    for out in places.outputs:
        rule = guarded.rule_for(out.path)
        if rule.zone in (Zone.PROTECTED, Zone.SHARED) and rule.prefix != "/":
            raise ConfigurationError(
                out.option, OUTPUT_SOURCE, f"points into a place that is {rule}, got {out.path!r}", allowed
            )
        if guarded.holds_guarded(out.path):
            raise ConfigurationError(out.option, OUTPUT_SOURCE, f"lies over a guarded place, got {out.path!r}", allowed)
    if places.basetemp:
        _check_basetemp(guarded, places)


def check_temporary(policy: Policy, places: Places, environ: Mapping[str, str]) -> None:
    """Refuse a temp directory that is somebody's data: it is free for the run, and pytest prunes what is in it.

    :raises ConfigurationError: it is a declared place, or lies in a home (or another guarded place), is not named as a
        directory for temporary files, and holds other things than temporary files.
    """
    path = places.temporary[0] if places.temporary else ""
    around = _without(policy, Rule(Zone.FREE, path, path, "default")).rule_for(path or "/")
    if around.zone not in (Zone.PROTECTED, Zone.SHARED) or around.prefix == "/":
        return
    declared = around.declared and path == around.prefix
    if not declared and (is_for_temporary_files(path, around.prefix) or _holds_temporary_files_alone(path)):
        return
    named = [name for name in TEMPORARY_VARIABLES if os.path.realpath(environ.get(name) or "/") == path]
    raise ConfigurationError(
        named[0] if named else "tempfile.tempdir",
        "environment" if named else "set by a program",
        f"points into a place that is {around}, and the run may do anything there, got {path!r}",
        "an empty directory, one that is called tmp, temp or scratch, or one named in session_guard_free",
    )


# What `tempfile`, `multiprocessing`, pytest and this plugin leave in a temp directory.
_TEMPORARY_FILE: Final = re.compile(r"te?mp|pymp-|pytest-|session-guard", re.IGNORECASE)


def _holds_temporary_files_alone(path: str) -> bool:
    try:
        return all(_TEMPORARY_FILE.match(name) for name in Raw.listdir(path))
    except OSError:
        return False  # nobody can tell


def _without(policy: Policy, *rules: Rule) -> Policy:
    return Policy(tuple(rule for rule in policy.rules if rule not in rules), policy.patterns)


def outputs_in_the_open(policy: Policy, places: Places) -> Iterator[Output]:
    """The outputs around which the disk is read-only once a kernel layer holds: what is not there by then cannot be made."""
    guarded = _without_outputs(policy)
    return (out for out in places.outputs if guarded.rule_for(_standing(out.path)).zone is Zone.PROTECTED)


def _standing(path: str) -> str:
    """The path itself, or the nearest place above it that is there: a free place that is not yet is as the one around it."""
    return path if os.path.lexists(path) else _standing(path.rpartition("/")[0] or "/")


def make_output(output: Output) -> None:
    """Make what pytest was told to write, empty, with the directories that are missing; nothing where something is there.

    Where that fails pytest would fail too, and says so itself.
    """
    path = OwnPath(output.path)
    with suppress(OSError):
        make_directory(path.rpartition("/")[0] or "/", 0o777)
        if output.is_directory:
            Raw.mkdir(path)
        else:
            Raw.close(Raw.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))


def check_basetemp_within_walls(policy: Policy, places: Places) -> None:
    """Refuse a base temp around which the disk is read-only by now: pytest takes it away and makes it anew.

    :raises ConfigurationError: it lies there.
    """
    if places.basetemp and _without_outputs(policy).rule_for(places.basetemp).zone is Zone.PROTECTED:
        raise ConfigurationError(
            "--basetemp",
            OUTPUT_SOURCE,
            f"the disk around it is read-only for the run, so pytest could not make it anew, got {places.basetemp!r}",
            "a directory in a temp directory, in the rootdir or in a place named in session_guard_free",
        )


def _without_outputs(policy: Policy) -> Policy:
    return Policy(tuple(rule for rule in policy.rules if rule.source != OUTPUT_SOURCE), policy.patterns)


def check_workdirs(policy: Policy, places: Places) -> None:
    """A worker's directory becomes a workspace, as the rootdir is; what is real data must not become one that way.

    :raises ConfigurationError: it is or holds a home or the rootdir, or lies in a declared place or in the ledger.
    """
    guarded = _without_outputs(policy)
    for path in places.workdirs:
        problem = (
            "lies over the rootdir" if is_within(places.rootdir, path) else _problem_of_workdir(guarded, places, path)
        )
        if problem:
            raise ConfigurationError(
                "--tx chdir=", OUTPUT_SOURCE, f"{problem}, got {path!r}", "a directory of its own for the worker"
            )


def _problem_of_workdir(guarded: Policy, places: Places, path: str) -> str:
    rule = guarded.rule_for(path)
    if any(is_within(home, path) for home in places.homes):
        return "lies over a home"
    if rule.zone in (Zone.PROTECTED, Zone.SHARED) and (rule.declared or rule.shown in (".git", ".session_guard")):
        return f"points into a place that is {rule}"
    return ""


def with_usable_workdirs(settings: Settings, places: Places) -> Places:
    """Without the directories that cannot be a workspace: on another host the server's place chose them, not the user."""
    policy, _ = build_policy(settings, replace(places, workdirs=()))
    return replace(
        places, workdirs=tuple(path for path in places.workdirs if not _problem_of_workdir(policy, places, path))
    )


def _check_basetemp(guarded: Policy, places: Places) -> None:
    """Refuse a base temp that holds anything the run did not make: pytest wipes it before the first test.

    :raises ConfigurationError: it does, or it lies in or over a guarded place.
    """
    path = places.basetemp
    problem = ""
    rule = guarded.rule_for(path)
    if rule.zone in (Zone.PROTECTED, Zone.SHARED) and rule.prefix != "/":
        problem = f"points into a place that is {rule}"
    elif lies_over(path, places) or guarded.holds_guarded(path):
        problem = "lies over a guarded place"
    elif os.path.lexists(path) and not is_basetemp_of_a_run(path):
        problem = "holds what no guarded run made, and pytest would wipe it"
    if problem:
        raise ConfigurationError(
            "--basetemp", OUTPUT_SOURCE, f"{problem}, got {path!r}",
            "a directory that is absent, empty, or was the base temp of an earlier guarded run",
        )  # fmt: skip


def is_basetemp_of_a_run(path: str) -> bool:
    """Whether a directory is empty, or is the very one that an earlier guarded run marked as its base temp."""
    try:
        if not Raw.listdir(path):
            return True
        said = json.loads(read_file(f"{path}/{MARKER_FILE}"))
        return bool(Identity.parse(said["basetemp"]) == identity_of(path))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def mark_basetemp(path: str, run_id: str) -> None:
    """Write into a base temp which run made it, and which directory that was.

    :raises OSError: it cannot be written.
    """
    content = {MARKER_KEY: {"run": run_id}, "basetemp": identity_of(path).to_json()}
    replace_file(f"{path}/{MARKER_FILE}", json.dumps(content).encode())


def lies_over(path: str, places: Places) -> bool:
    """Whether a directory is, or holds, the rootdir or a home."""
    return any(is_within(held, path) for held in (places.rootdir, *places.homes))
