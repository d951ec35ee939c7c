"""Reports again: ``report RUN``, and the web page."""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest
from project import MakeProject, Project

from .commands import guard

SUITE = """\
from pathlib import Path

def test_harms_with_a_bad_name():
    (Path.home() / "<img src=x onerror=alert(1)>\\udcff").write_text("x")

def test_fine():
    Path("new.txt").write_text("x")
"""
VOID = frozenset({"meta", "br", "link", "img"})


class Page(HTMLParser):
    """A page's tags, balanced or not, and its text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def violated(make_shared_project: MakeProject) -> Project:
    project = make_shared_project({"test_it.py": SUITE})
    result = project.run(f"--session-guard-html={project.tmp / 'run.html'}")
    assert result.status == 1, result.words
    return project


def test_page_of_a_run_is_one_file_without_scripts_and_says_all_that_the_json_says(violated: Project) -> None:
    content = (violated.tmp / "run.html").read_text("utf-8")
    report = json.loads(violated.report_path.read_bytes())

    page = Page(content)

    assert page.open == []
    assert not {"script", "img", "link", "iframe"} & page.tags
    assert not [name for name, _ in page.attributes if name in ("src", "href") or name.startswith("on")]
    assert "default-src 'none'" in content
    for words in (
        report["run"]["id"],
        "violated",
        "test_it.py::test_harms_with_a_bad_name",
        "new.txt",
        "1 passed, 1 failed",
    ):
        assert words in page.text
    assert "<img src=x onerror=alert(1)>\\udcff" in page.text, "foreign names are shown as they are, without effect"
    for zone in report["zones"]:
        assert zone["path"] in page.text


def test_report_of_a_run_gives_the_same_again(violated: Project) -> None:
    done = guard(violated, "report", "latest")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(violated.report_path.read_bytes())


def test_report_as_page_is_the_page_of_the_run(violated: Project) -> None:
    done = guard(violated, "report", "latest", "--html", "again.html")

    assert done.returncode == 0, done.stderr
    assert (violated.root / "again.html").read_bytes() == (violated.tmp / "run.html").read_bytes()


def test_page_that_cannot_be_written_is_status_3(violated: Project) -> None:
    done = guard(violated, "report", "latest", "--html", "test_it.py/below.html")

    assert done.returncode == 3
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_report_of_a_run_that_gave_none_is_what_its_ledger_says_and_never_clean(make_project: MakeProject) -> None:
    suite = (
        "import os\nfrom pathlib import Path\n\ndef test_it():\n    Path('made').touch()\n    os.kill(os.getpid(), 9)\n"
    )
    project = make_project({"test_it.py": suite})
    project.run(report=False)

    done = guard(project, "report", "latest")
    page = guard(project, "report", "latest", "--html", "page.html")

    report = json.loads(done.stdout)
    assert report["verdict"] == "violated"
    assert report["run"]["finished"] is None
    assert str(project.root / "made") in report["artifacts"]["created"]
    assert page.returncode == 0, page.stderr
    assert "it did not finish" in Page((project.root / "page.html").read_text("utf-8")).text


def test_html_path_in_a_protected_place_is_refused_before_the_run(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": "def test_it():\n    pass\n"})
    target: Path = project.home / ".chat" / "page.html"

    result = project.run(f"--session-guard-html={target}")

    assert result.status == 4, result.words
    assert not os.path.lexists(target)
