"""The clauses that say why there is no overlay, also for machines that are not at hand."""

from __future__ import annotations

import errno

import pytest

from pytest_session_guard._controls.overlay.reasons import (
    APPARMOR,
    BUILDING,
    DEBIAN,
    ENTERING,
    MOUNTING,
    described,
    failure_clause,
    outside_threads_clause,
    shortfall_clause,
    threads_clause,
)


@pytest.mark.parametrize(
    ("step", "number", "settings", "expected"),
    [
        pytest.param(
            MOUNTING,
            errno.EACCES,
            {APPARMOR: "1"},
            "AppArmor refuses mounts in user namespaces (EACCES): kernel.apparmor_restrict_unprivileged_userns is 1; "
            "set it to 0 with sysctl",
            id="ubuntu",
        ),
        pytest.param(
            ENTERING,
            errno.EPERM,
            {DEBIAN: "0"},
            "kernel.unprivileged_userns_clone is 0 (EPERM); set it to 1 with sysctl",
            id="debian",
        ),
        pytest.param(ENTERING, errno.ENOSPC, {}, "too many namespaces exist (ENOSPC)", id="used-up"),
        pytest.param(ENTERING, errno.EUSERS, {}, "too many namespaces exist (EUSERS)", id="nested-too-deep"),
        pytest.param(ENTERING, errno.EINVAL, {}, "this kernel has no user namespaces (EINVAL)", id="not-built-in"),
        pytest.param(ENTERING, errno.ENOMEM, {}, "no namespace can be made: as it said", id="anything-else"),
        pytest.param(
            MOUNTING,
            errno.EINVAL,
            {},
            "the root directory is not the root of a mount: the process runs under chroot in a plain directory",
            id="plain-chroot",
        ),
        pytest.param(BUILDING, errno.EIO, {}, "building the overlay failed: as it said (EIO)", id="named-errno"),
        pytest.param(BUILDING, 0, {}, "building the overlay failed: as it said", id="no-errno"),
    ],
)
def test_failure_clause(step: str, number: int, settings: dict[str, str], expected: str) -> None:
    assert failure_clause(step, number, "as it said", lambda path: settings.get(path, "")) == expected


def test_clauses_count_threads() -> None:
    assert threads_clause(2).startswith("1 other thread runs already")
    assert threads_clause(4).startswith("3 other threads run already")
    assert outside_threads_clause(2) == "1 thread that ran before stays outside"
    assert outside_threads_clause(3) == "2 threads that ran before stay outside"


def test_shortfall_clause_names_every_root() -> None:
    assert shortfall_clause([("/a", "why")], ["/b"]) == (
        "/a is read-only instead of overlaid (why); /b does not exist and lies in a writable place, so nothing holds it"
    )
    assert shortfall_clause([], []) == ""


def test_keepers_message_is_described() -> None:
    answer = {"step": BUILDING, "errno": errno.ENOSYS, "error": "Function not implemented"}

    assert described(answer) == "building the overlay needs Linux 5.12 or newer (ENOSYS)"
