"""A pytest inside a guarded run: started by a test (pytester, a test of a command line), it is a child like any other.

The outer run's places hold, its walls stand, and what the inner run tries is charged to the outer test. A second guard
would take the home that the test made for it for a real one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, MutableMapping
from importlib import import_module
from typing import Final

from pytest_session_guard._controls.ledger import is_alive
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._run.handover import RUN_VARIABLE, Handover

NESTED_VARIABLE: Final = "SESSION_GUARD_NESTED"


def is_nested(environ: MutableMapping[str, str], worker: str, own_runs: Collection[str] = ()) -> bool:
    """Whether this pytest is a child of a run that is alive; then it is guarded as a child, and says so to its workers.

    :param own_runs: directories of runs that this very process began: what they told its children is not meant for it.
    """
    if RUN_VARIABLE not in environ or (worker and NESTED_VARIABLE not in environ):
        return False
    if not worker and not _outer_is_alive(environ, own_runs):
        del environ[RUN_VARIABLE]
        return False
    environ[NESTED_VARIABLE] = "1"
    # The start-up file did this already, unless this interpreter does not read it.
    import_module("pytest_session_guard._startup")
    return True


def call_nested(environ: MutableMapping[str, str]) -> Callable[[], None]:
    """Have the workers of a session inside a test of this very process know that they are no workers of its run.

    :returns: takes it back, once the session is over: workers of the run itself may come later.
    """
    if NESTED_VARIABLE in environ:
        return lambda: None
    environ[NESTED_VARIABLE] = "1"

    def take_back() -> None:
        environ.pop(NESTED_VARIABLE, None)

    return take_back


def _outer_is_alive(environ: MutableMapping[str, str], own_runs: Collection[str]) -> bool:
    try:
        directory = Handover.parse(environ).directory
        return directory not in own_runs and is_alive(directory)
    except LedgerError:
        return False
