"""The small pytest project around a vector: one test, and the phase in which the vector acts."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Final

from .vector import Host, Scene, Vector

HEADER: Final = Template("""\
import sys
sys.path.append($tests)
from vectors.child import $function
""")

TEST_ACTS: Final = """
def test_$name(request):
    perform($call, request)
"""

TEST_IDLE: Final = """
def test_$name($fixture):
    pass
"""

CONFTEST: Final[dict[Host, str]] = {
    "conftest_import": "\nperform($call)\n",
    "configure": "\ndef pytest_configure(config):\n    perform($call)\n",
    "collection_hook": "\ndef pytest_collection_modifyitems(items):\n    perform($call)\n",
    "fixture_setup": "\nimport pytest\n\n@pytest.fixture\ndef acting():\n    perform($call)\n",
    "fixture_teardown": "\nimport pytest\n\n@pytest.fixture\ndef acting():\n    yield\n    perform($call)\n",
    "session_fixture_teardown": (
        "\nimport pytest\n\n@pytest.fixture(scope='session', autouse=True)\ndef store():\n    yield\n    perform($call)\n"
    ),
    "runtest_logreport": "\ndef pytest_runtest_logreport(report):\n    report.when == 'teardown' and perform($call)\n",
    "sessionfinish": "\ndef pytest_sessionfinish(session):\n    perform($call)\n",
    "terminal_summary": "\ndef pytest_terminal_summary(terminalreporter):\n    perform($call)\n",
    "unconfigure": "\ndef pytest_unconfigure(config):\n    perform($call)\n",
}

UNITTEST: Final = """
import unittest

class Test(unittest.TestCase):
    @classmethod
    def tearDownClass(cls):
        perform($call)

    def test_$name(self):
        pass
"""


def _fill(body: str, vector: Vector, scene: Scene, function: str = "perform") -> str:
    facts = {
        "tests": repr(str(Path(__file__).parents[1])),
        "function": function,
        "name": vector.name,
        "call": ", ".join(map(repr, (vector.module, vector.name, str(scene.base)))),
        "fixture": "acting" if vector.host in ("fixture_setup", "fixture_teardown") else "",
    }
    return Template(HEADER.template + body).substitute(facts)


def project_files(vector: Vector, scene: Scene) -> dict[str, str]:
    """Give the files of the project by name; the test is always ``test_vector.py::test_<name of the vector>``."""
    files = dict(vector.project_files(scene)) if vector.project_files else {}
    if not files:
        files["pytest.ini"] = "[pytest]\n"
    if vector.before is not None:
        files["before_the_guard.py"] = _fill("\nprepare($call)\n", vector, scene, "prepare")
    if vector.host == "test":
        files["test_vector.py"] = _fill(TEST_ACTS, vector, scene)
    elif vector.host == "test_module_import":
        files["test_vector.py"] = _fill("\nperform($call)\n" + TEST_IDLE, vector, scene)
    elif vector.host == "unittest_teardown_class":
        files["test_vector.py"] = _fill(UNITTEST, vector, scene)
    else:
        files["test_vector.py"] = _fill(TEST_IDLE, vector, scene)
        files["conftest.py"] = _fill(CONFTEST[vector.host], vector, scene)
    return files
