from __future__ import annotations

import ast
import inspect
import re

import pytest
from project import MakeProject

import pytest_session_guard
from pytest_session_guard import contracts
from pytest_session_guard._core.errors import SessionGuardError, SessionGuardWarning
from pytest_session_guard._fixtures import SessionGuard
from tests.house.readme import README, with_tables

REPORT_PAGE = README.parent / "docs" / "report.md"


def test_option_table_of_the_readme_is_that_of_the_code() -> None:
    text = README.read_text()

    assert text == with_tables(text), "run: python -m tests.house.readme"


def test_readme_explains_every_slug() -> None:
    explained = set(re.findall(r'<a id="([a-z-]+)">', README.read_text()))

    public = [getattr(pytest_session_guard, name) for name in pytest_session_guard.__all__]
    slugs = {cls.slug for cls in public if hasattr(cls, "slug") and cls not in (SessionGuardError, SessionGuardWarning)}

    assert slugs | {"guard-error"} == explained


def test_contract_in_the_readme_fits_the_code() -> None:
    text = README.read_text()
    [block] = [one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "SessionStoreContract" in one]
    nodes = list(ast.walk(ast.parse(block)))

    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    [call] = [node for node in nodes if isinstance(node, ast.Call)]
    required = next(ast.literal_eval(node.value) for node in nodes if isinstance(node, ast.Assign))

    assert imported <= set(contracts.__all__)
    inspect.signature(contracts.FunctionAdapter).bind(**{word.arg: None for word in call.keywords if word.arg})
    assert set(required) <= set(contracts.ABILITIES)
    assert f"held to {len(contracts.CHECKS)} rules" in text


def test_readme_names_all_that_a_test_can_ask_of_the_object() -> None:
    table = README.read_text().partition("## In tests")[2].partition("\n## ")[0]
    public = {name for name in vars(SessionGuard) if not name.startswith("_")}

    assert public <= set(re.findall(r"\.(\w+)", table))


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["bare", "n1"])
def test_page_about_the_report_names_every_field_of_one(make_project: MakeProject, workers: tuple[str, ...]) -> None:
    suite = "from pathlib import Path\n\ndef test_it():\n    (Path.home() / '.chat' / 'notes.txt').unlink()\n"
    report = make_project({"test_it.py": suite}).run(*workers).report
    assert report is not None

    first, run, touch, _ = re.split(r"\n## .*\n", REPORT_PAGE.read_text())

    assert set(report) == documented(first)
    assert set(report["run"]) <= documented(run)
    assert set(report["touches"][0]) == documented(touch)
    assert {
        *report["artifacts"],
        *report["tests"],
        *report["layers"],
        *report["layers"]["hook"],
        *report["zones"][0],
    } <= set(re.findall(r"`(\w+)`", first))


def documented(section: str) -> set[str]:
    """The fields in the first column of a section's table."""
    return {
        name for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
