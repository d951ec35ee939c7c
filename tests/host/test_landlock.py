"""The bare binding: rights by version, and refusals of the kernel as errors."""

from __future__ import annotations

import errno
import os

import pytest

from pytest_session_guard._host import landlock
from pytest_session_guard._host.support import tried_in_child


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param(1, 0b1111111110010, id="names-and-content"),
        pytest.param(2, 0b11111111110010, id="refer"),
        pytest.param(3, 0b111111111110010, id="truncate"),
        pytest.param(9, 0b111111111110010, id="newer-than-known"),
    ],
)
def test_write_rights_of_a_version(version: int, expected: int) -> None:
    assert landlock.write_rights(version) == expected


def test_version_is_a_positive_number() -> None:
    assert landlock.abi() >= 1


def test_unknown_right_is_refused() -> None:
    with pytest.raises(OSError, match="Invalid argument") as caught:
        landlock.create_ruleset(1 << 60)

    assert caught.value.errno == errno.EINVAL


def test_rule_for_a_missing_path_is_an_error() -> None:
    ruleset_fd = landlock.create_ruleset(landlock.write_rights(1))
    with pytest.raises(FileNotFoundError):
        landlock.allow(ruleset_fd, "/no/such/path", landlock.WRITE_FILE)
    os.close(ruleset_fd)


def test_confine_names_absent_places_and_leaks_no_descriptor(tmp_path) -> None:
    def trial() -> str:
        before = os.listdir("/proc/self/fd")
        landlock.forbid_new_privileges()
        absent = landlock.confine([str(tmp_path), "/no/such/place"], landlock.abi(), False)
        (tmp_path / "allowed").mkdir()
        try:
            os.mkdir(tmp_path.parent / "refused")
        except PermissionError:
            return f"{absent} {len(os.listdir('/proc/self/fd')) - len(before)}"
        return "not refused"

    assert tried_in_child(trial) == "['/no/such/place'] 0"
