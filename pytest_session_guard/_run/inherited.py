"""What was there before the guard: descriptors, shared mappings, threads and children that no kernel layer holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from stat import S_ISREG

from pytest_session_guard._core.zones import Policy, Zone, is_within
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.identity import real_path_of_fd
from pytest_session_guard._host.processes import children, command_of

STANDARD_STREAMS = frozenset({0, 1, 2})  # where the user's own shell sends them is the user's business


def inherited(policy: Policy, ledger: str) -> list[str]:
    """One clause for each thing from before the guard that could still change what is protected.

    :param ledger: the guard's own place, where its own journal is open already.
    """
    return [*_descriptors(policy, ledger), *_mappings(policy), *_others()]


def _descriptors(policy: Policy, ledger: str) -> Iterator[str]:
    for name in _names("/proc/self/fd"):
        fd = int(name)
        path = real_path_of_fd(fd)
        if (
            path is None
            or fd in STANDARD_STREAMS
            or is_within(path, ledger)
            or policy.rule_for(path).zone is not Zone.PROTECTED
        ):
            continue
        try:
            if S_ISREG(Raw.fstat(fd).st_mode) and _is_writable(fd):
                yield f"descriptor {fd} was open for writing before: {path!r}"
        except OSError:
            continue  # it was the listing's own


def _is_writable(fd: int) -> bool:
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        flags = next(line.split()[1] for line in file if line.startswith("flags:"))
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def _mappings(policy: Policy) -> Iterator[str]:
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.rstrip("\n").split(None, 5) for line in file]
    except OSError:
        return
    for path in sorted({row[5] for row in rows if len(row) == 6 and row[1].startswith("rw") and row[1][3] == "s"}):
        if path.startswith("/") and policy.rule_for(path.removesuffix(" (deleted)")).zone is Zone.PROTECTED:
            yield f"a shared mapping was made before: {path!r}"


def _others() -> Iterator[str]:
    threads = len(_names("/proc/self/task"))
    if threads > 1:
        yield f"{threads - 1} threads were running before"
    for pid in children():
        yield f"a child was running before: {pid} {command_of(pid)[:80]}"


def _names(path: str) -> list[str]:
    try:
        return Raw.listdir(path)
    except OSError:
        return []
