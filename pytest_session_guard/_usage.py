"""What a user can mend, as pytest says it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_session_guard._core.errors import ConfigurationError, LayerUnavailableError, LedgerError


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn what a user can mend into pytest's own usage error, exit status 4: no conftest is imported, and no test runs."""
    try:
        yield
    except (ConfigurationError, LayerUnavailableError, LedgerError) as problem:
        raise pytest.UsageError(str(problem)) from problem
