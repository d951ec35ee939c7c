"""Fixtures of the whole suite: scratch projects, and the two ways to run them."""

from __future__ import annotations

import signal
from collections.abc import Mapping

import pytest
from project import HOME, Account, MakeProject, Project

BARE: tuple[str, ...] = ()
TWO_WORKERS = ("-n", "2")


def pytest_configure() -> None:
    """Hear the signals that a background job of a shell, or `nohup`, is started deaf to: its children would be deaf as well."""
    for number, heard in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, heard)


@pytest.fixture(scope="session")
def make_shared_project(tmp_path_factory: pytest.TempPathFactory) -> MakeProject:
    """Make a scratch project that fixtures of a wider scope can keep: ``make(files, home=..., account=...)``."""

    def make(
        files: Mapping[str, object] | None = None,
        home: Mapping[str, object] = HOME,
        account: Account | None = None,
    ) -> Project:
        return Project(tmp_path_factory.mktemp("scratch"), files or {}, home, account or Account())

    return make


@pytest.fixture
def make_project(make_shared_project: MakeProject) -> MakeProject:
    """Make a scratch project for this test."""
    return make_shared_project


@pytest.fixture(scope="module", params=[pytest.param(BARE, id="bare"), pytest.param(TWO_WORKERS, id="n2")])
def workers(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Pytest's arguments for a run in one process, and for one under two pytest-xdist workers."""
    return tuple(request.param)
