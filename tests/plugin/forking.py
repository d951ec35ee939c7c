"""A plugin of the shape of pytest-forked, whose newest release does not know the newest pytest: each test in a fork.

The child runs all phases and sends its reports home; the parent tells pytest of them, and of a child that died.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

CRASHED = 3


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: Any, nextitem: pytest.Item | None) -> bool:
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = CRASHED
        try:
            os.close(reading)
            reports = runtestprotocol(item, log=False)
            told = [item.config.hook.pytest_report_to_serializable(config=item.config, report=one) for one in reports]
            with os.fdopen(writing, "w") as pipe:
                json.dump(told, pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    for report in reports_of(item, said, status):
        hook.pytest_runtest_logreport(report=report)
    item.session._setupstate.teardown_exact(nextitem)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def reports_of(item: Any, said: str, status: int) -> list[Any]:
    if status == 0:
        from_json = item.config.hook.pytest_report_from_serializable
        return [from_json(config=item.config, data=one) for one in json.loads(said)]
    text = f"the test's process ended with status {status}"
    return [pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call")]
