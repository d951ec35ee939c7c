"""Where the guard works at all."""

from __future__ import annotations

import pytest

from pytest_session_guard import LayerUnavailableError
from pytest_session_guard._core.platforms import insist_on_platform, is_supported


def test_a_system_of_the_unix_kind_is_fine() -> None:
    insist_on_platform("posix")

    assert is_supported("posix")


def test_windows_is_not() -> None:
    with pytest.raises(LayerUnavailableError, match=r"does not work on Windows yet.*-p no:session_guard") as caught:
        insist_on_platform("nt")

    assert (caught.value.layer, caught.value.entered) == ("hook", False)
