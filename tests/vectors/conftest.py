"""Runs the vectors of the selected tests side by side, and lists those that this machine cannot try."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from .layers import Form
from .pool import Pool, Request
from .selection import select
from .verdicts import Outcome


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vectors: tries a way to hurt a file in a process of its own; hundreds of them")


class Tries:
    """The outcomes of the tries that the selected tests ask for, each tried once."""

    def __init__(self, pool: Pool, requests: list[Request]) -> None:
        self._pool = pool
        self._futures: dict[Request, Future[Outcome]] = {request: pool.submit(request) for request in requests}

    def outcome(self, name: str, form: Form) -> Outcome:
        """Give the outcome, waiting for it."""
        if (name, form) not in self._futures:
            self._futures[name, form] = self._pool.submit((name, form))
        return self._futures[name, form].result()


def _request_of(item: pytest.Item) -> Request | None:
    """What a selected test asks for, or None where it tries nothing."""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    name, form = parameters.get("name"), parameters.get("form")
    return (name, form) if isinstance(name, str) and isinstance(form, Form) else None


@pytest.fixture(scope="session")
def tries(request: pytest.FixtureRequest) -> Iterator[Tries]:
    """Every try of the selected tests, begun at once; under xdist one after the other, since each worker sees all tests."""
    distributed = hasattr(request.config, "workerinput")
    wanted = [found for item in request.session.items if (found := _request_of(item)) is not None]
    with Pool(1 if distributed else None) as pool:
        yield Tries(pool, [] if distributed else wanted)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    nodeids = (getattr(report, "nodeid", "") for group in terminalreporter.stats.values() for report in group)
    if not any("test_vector_comes_to" in nodeid for nodeid in nodeids):
        return
    _, absent = select(Form("auto"))
    terminalreporter.section("vectors not tried here")
    for need in sorted(set(absent.values())):
        names = sorted(name for name, missing in absent.items() if missing == need)
        terminalreporter.write_line(f"{need} is absent: {', '.join(names)}")
