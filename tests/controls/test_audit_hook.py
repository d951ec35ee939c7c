"""The hook alone: what becomes of exceptions that arise while it judges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_session_guard._controls.audit.hook import make_hook
from pytest_session_guard._core.errors import ProtectedPathError


@dataclass
class Judge:
    raising: BaseException

    def judge(self, event: str, args: tuple[Any, ...]) -> None:
        raise self.raising


@dataclass
class Watch:
    """As much of a run as the hook asks for."""

    gate: Any
    emergency: Callable[[str, str], None] = print
    exhausted: int = 0
    errors: list[BaseException] = field(default_factory=list)

    def launching(self, event: str, args: tuple[Any, ...]) -> None:
        raise AssertionError("nothing is launched here")

    def failed(self, event: str, args: tuple[Any, ...], problem: BaseException) -> str:
        self.errors.append(problem)
        return "refused"


@pytest.mark.parametrize(
    ("raised", "seen", "errors", "exhausted"),
    [
        pytest.param(ProtectedPathError("/a", "refused"), ProtectedPathError, 0, 0, id="refusal"),
        pytest.param(KeyboardInterrupt(), KeyboardInterrupt, 0, 0, id="ctrl-c-in-the-middle"),
        pytest.param(RecursionError(), RecursionError, 0, 1, id="no-room-to-judge"),
        pytest.param(ZeroDivisionError(), ProtectedPathError, 1, 0, id="error-of-its-own"),
        pytest.param(SystemExit(0), ProtectedPathError, 1, 0, id="exit-in-the-middle"),
    ],
)
def test_call_never_happens_and_only_errors_of_its_own_are_written_down(
    raised: BaseException, seen: type[BaseException], errors: int, exhausted: int
) -> None:
    watch = Watch(Judge(raised))
    hook = make_hook(lambda: watch)

    with pytest.raises(seen):
        hook("os.remove", ("/a", -1))

    assert (len(watch.errors), watch.exhausted) == (errors, exhausted)
