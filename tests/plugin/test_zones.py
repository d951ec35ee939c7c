"""The zone table as a user of the plugin meets it: workspace, shared, protected, free, marks and declarations."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest
from project import HOME, Facts, MakeProject, Project, Result, differences, lines_of, snapshot

INI = """\
[pytest]
session_guard_protect =
    {rootdir}/data
    {rootdir}/later
    ~/.chat
session_guard_share =
    ~/shared
session_guard_free =
    {rootdir}/build
    {rootdir}/**/*.generated
    ~/scratch
"""
CONFTEST = """\
def pytest_session_guard_zones(config):
    return [("protected", "{rootdir}/declared"), ("free", "~/loose"), ("shared", "~/common")]
"""
FILES = {
    "pytest.ini": INI,
    "conftest.py": CONFTEST,
    ".git/config": "[core]\n",
    ".git/HEAD": "ref: refs/heads/main\n",
    "tracked.txt": "tracked\n",
    "doomed.txt": "doomed\n",
    "moved.txt": "moved\n",
    "marked/a.txt": "a\n",
    "data/real.csv": "1,2\n",
    "declared/real.csv": "1,2\n",
    "build/old.o": "old\n",
    "src/app.generated": "old\n",
}
HOME_FILES = {
    **HOME,
    "shared/foreign.json": '{"id": "foreign"}\n',
    "shared/sub/foreign.txt": "foreign\n",
    "common/foreign.txt": "foreign\n",
    "scratch/old.txt": "old\n",
    "loose/old.txt": "old\n",
}
SUITE = """\
import os, shutil
from pathlib import Path

import pytest

HOME, ROOT = Path.home(), Path(__file__).parent
SHARED = HOME / "shared"


# -- allowed ------------------------------------------------------------------

def test_workspace_create():
    (ROOT / "new").mkdir()
    (ROOT / "new" / "file.txt").write_text("x")
    (ROOT / "new" / "file.txt").write_text("y")
    (ROOT / "new" / "gone.txt").write_text("x")
    (ROOT / "new" / "gone.txt").unlink()


def test_workspace_change():
    (ROOT / "tracked.txt").write_text("changed by a test")
    (ROOT / "doomed.txt").unlink()
    (ROOT / "moved.txt").rename(ROOT / "moved-away.txt")


def test_free():
    (ROOT / "build" / "old.o").write_text("x")
    (ROOT / "build" / "new.o").write_text("x")
    (ROOT / "src" / "app.generated").write_text("x")
    (ROOT / "src" / "more.generated").write_text("x")
    (HOME / "scratch" / "old.txt").unlink()
    (HOME / "loose" / "old.txt").unlink()
    for cache in ("__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache"):
        (ROOT / cache).mkdir(exist_ok=True)
        (ROOT / cache / "x").write_text("x")
        (ROOT / cache / "x").unlink()
    (ROOT / ".coverage").write_text("x")


def test_shared_create():
    (SHARED / "mine.json").write_text("{}")
    (SHARED / "mine.json").write_text("[]")
    (SHARED / "mine.json").rename(SHARED / "renamed.json")
    (SHARED / "short-lived.json").write_text("{}")
    (SHARED / "short-lived.json").unlink()
    os.makedirs(SHARED / "tree" / "deep")
    (SHARED / "tree" / "deep" / "leaf.txt").write_text("x")
    (SHARED / "sub" / "mine.txt").write_text("x")
    (SHARED / "link").symlink_to("foreign.json")
    (HOME / "common" / "mine.txt").write_text("x")


def test_shared_own_tree_goes():
    os.makedirs(SHARED / "brief" / "deep")
    (SHARED / "brief" / "deep" / "leaf.txt").write_text("x")
    shutil.rmtree(SHARED / "brief")


def test_environment():
    assert [name for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE") if name in os.environ] == []
    assert os.environ["GIT_OPTIONAL_LOCKS"] == "0"


def test_marked_path_is_free_again_elsewhere():
    (ROOT / "marked" / "b.txt").write_text("x")


# -- refused ------------------------------------------------------------------

def test_no_git_change():
    (ROOT / ".git" / "config").write_text("x")


def test_no_git_create():
    (ROOT / ".git" / "index.lock").touch()


def test_no_git_removal():
    shutil.rmtree(ROOT / ".git")


def test_no_data_change():
    (ROOT / "data" / "real.csv").write_text("x")


def test_no_data_create():
    (ROOT / "data" / "new.csv").write_text("x")


def test_no_data_move():
    (ROOT / "data").rename(ROOT / "data-away")


def test_no_later():
    (ROOT / "later").mkdir()


def test_no_declared_change():
    (ROOT / "declared" / "real.csv").write_text("x")


def test_no_shared_foreign_change():
    (SHARED / "foreign.json").write_text("x")


def test_no_shared_foreign_removal():
    (SHARED / "foreign.json").unlink()


def test_no_shared_foreign_replaced():
    (SHARED / "sub" / "upstart.txt").write_text("x")
    (SHARED / "sub" / "upstart.txt").replace(SHARED / "sub" / "foreign.txt")


def test_no_shared_foreign_tree_removed():
    shutil.rmtree(SHARED)


def test_no_common_foreign_change():
    (HOME / "common" / "foreign.txt").write_text("x")


@pytest.mark.session_guard(protect="{rootdir}/marked", reason="this one must not")
def test_no_marked_change():
    (ROOT / "marked" / "a.txt").write_text("x")


@pytest.mark.session_guard(protect=["~/scratch"])
def test_no_marked_create_in_a_free_place():
    (HOME / "scratch" / "new.txt").write_text("x")
"""
REFUSED = {
    "test_no_git_change": ".git/config",
    "test_no_git_create": ".git/index.lock",
    "test_no_git_removal": ".git/",
    "test_no_data_change": "data/real.csv",
    "test_no_data_create": "data/new.csv",
    "test_no_data_move": "data",
    "test_no_later": "later",
    "test_no_declared_change": "declared/real.csv",
    "test_no_shared_foreign_change": "shared/foreign.json",
    "test_no_shared_foreign_removal": "shared/foreign.json",
    "test_no_shared_foreign_replaced": "shared/sub/foreign.txt",
    "test_no_shared_foreign_tree_removed": "shared/",
    "test_no_common_foreign_change": "common/foreign.txt",
    "test_no_marked_change": "marked/a.txt",
    "test_no_marked_create_in_a_free_place": "scratch/new.txt",
}
ALLOWED = (
    "test_workspace_create", "test_workspace_change", "test_free", "test_shared_create", "test_shared_own_tree_goes",
    "test_environment", "test_marked_path_is_free_again_elsewhere",
)  # fmt: skip
OF_GIT = {"GIT_DIR": "/nowhere/.git", "GIT_WORK_TREE": "/nowhere", "GIT_INDEX_FILE": "/nowhere/index"}


@dataclass(frozen=True)
class Ran:
    project: Project
    result: Result
    before: dict[str, Facts]

    @property
    def changes(self) -> dict[str, tuple[str, ...]]:
        """What differs in the project itself."""
        return differences(self.before, snapshot(self.project.root))


@pytest.fixture(scope="module")
def ran(make_shared_project: MakeProject, workers: tuple[str, ...]) -> Ran:
    """The suite once for each way of running it."""
    project = make_shared_project({**FILES, "test_zones.py": SUITE}, HOME_FILES)
    before = snapshot(project.root)
    return Ran(project, project.run(*workers, env=OF_GIT), before)


@pytest.mark.parametrize("name", ALLOWED)
def test_zone_allows(ran: Ran, name: str) -> None:
    assert ran.result.said_of(name) == {"PASSED"}, ran.result.words
    assert ran.result.touches_of(name) == []


@pytest.mark.parametrize("name", list(REFUSED))
def test_zone_refuses(ran: Ran, name: str) -> None:
    touches = ran.result.touches_of(name)

    assert ran.result.said_of(name) == {"FAILED"}, ran.result.words
    assert touches
    assert any(REFUSED[name] in touch["path"] for touch in touches)


def test_home_is_as_it_was_but_for_its_free_places(ran: Ran) -> None:
    entries = {path: facts for path, facts in ran.result.changes.items() if facts != ("modified_ns",)}

    assert entries == {"scratch/old.txt": ("vanished",), "loose/old.txt": ("vanished",)}


def test_shared_zone_is_cleared_of_what_the_run_made(ran: Ran) -> None:
    home = ran.project.home

    left = sorted(str(path.relative_to(home)) for name in ("shared", "common") for path in (home / name).rglob("*"))

    assert left == ["common/foreign.txt", "shared/foreign.json", "shared/sub", "shared/sub/foreign.txt"]


def test_project_keeps_what_was_made_and_its_guarded_places_are_untouched(ran: Ran) -> None:
    changes = {path: facts for path, facts in ran.changes.items() if facts != ("modified_ns",)}

    assert changes["new/file.txt"] == ("appeared",)
    assert changes["doomed.txt"] == changes["moved.txt"] == ("vanished",)
    assert "content" in changes["tracked.txt"]
    assert [path for path in changes if path.startswith((".git/", "data", "later", "declared"))] == []
    assert (ran.project.root / "marked" / "a.txt").read_text() == "a\n"


def test_summary_lists_what_the_run_changed_in_the_workspace(ran: Ran) -> None:
    assert lines_of(ran.result.stdout, "existed before this run:")
    for name in ("tracked.txt", "doomed.txt", "moved.txt"):
        assert [line for line in ran.result.stdout.splitlines() if line.strip() == name], name
    assert lines_of(ran.result.stdout, "session-guard restore ")
    assert ran.result.report is not None
    assert {os.path.basename(path) for path in ran.result.report["artifacts"]["preserved"]} == {
        "tracked.txt", "doomed.txt", "moved.txt"
    }  # fmt: skip


def test_report_lists_what_was_created_and_removed(ran: Ran) -> None:
    report = ran.result.report
    home = f"{ran.project.home}/"

    assert report is not None
    removed = {path.removeprefix(home) for path in report["artifacts"]["removed"]}
    assert {"shared/renamed.json", "shared/tree/deep/leaf.txt", "shared/link", "common/mine.txt"} <= removed
    assert report["artifacts"]["kept"] == []
    assert f"{ran.project.root}/new/file.txt" in report["artifacts"]["created"]
    assert f"{ran.project.root}/new/gone.txt" not in report["artifacts"]["created"]


def test_zones_are_in_the_report_with_their_sources(ran: Ran) -> None:
    report = ran.result.report

    assert report is not None
    zones = {zone["path"]: (zone["zone"], zone["source"]) for zone in report["zones"]}
    root, home = str(ran.project.root), str(ran.project.home)
    assert zones[root][0] == "workspace"
    assert zones[home][0] == "protected"
    assert zones[f"{root}/.git"][0] == "protected"
    assert zones[f"{root}/data"] == ("protected", "pytest.ini: session_guard_protect")
    assert zones[f"{home}/shared"] == ("shared", "pytest.ini: session_guard_share")
    assert zones[f"{home}/common"][0] == "shared"
    assert "conftest" in zones[f"{root}/declared"][1]


def test_scrubbed_variables_are_listed_in_a_verbose_header(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": "def test_passes():\n    pass\n"})

    verbose, terse = project.run("-v", env=OF_GIT), project.run(env=OF_GIT)

    assert lines_of(verbose.stdout, "taken out of the environment", *OF_GIT)
    assert len(terse.header_lines) == 1
    assert terse.status == verbose.status == 0


ROOTDIR_ZONES = (
    pytest.param("workspace", {"create", "change"}, id="workspace"),
    pytest.param("free", {"create", "change"}, id="free"),
    pytest.param("shared", {"create"}, id="shared"),
    pytest.param("protected", set(), id="protected"),
)
ROOTDIR_SUITE = """\
from pathlib import Path

ROOT = Path(__file__).parent

def test_create():
    (ROOT / "new.txt").write_text("x")

def test_change():
    (ROOT / "tracked.txt").write_text("x")
"""


@pytest.mark.parametrize(("zone", "allowed"), ROOTDIR_ZONES)
def test_rootdir_gets_the_zone_that_the_option_names(make_project: MakeProject, zone: str, allowed: set[str]) -> None:
    project = make_project({"test_it.py": ROOTDIR_SUITE, "tracked.txt": "tracked\n"})

    result = project.run(f"--session-guard-workspace={zone}")

    passed = {name for name in ("create", "change") if result.said_of(f"test_{name}") == {"PASSED"}}
    assert passed == allowed, result.words
    assert (project.root / "new.txt").exists() == (zone in {"workspace", "free"})
    assert ((project.root / "tracked.txt").read_text() == "tracked\n") == ("change" not in allowed)


@pytest.mark.parametrize("zone", ["free", "shared", "protected"])
def test_clean_suite_is_green_in_whatever_zone_its_rootdir_is(make_project: MakeProject, zone: str) -> None:
    project = make_project({"test_it.py": "def test_it(tmp_path):\n    (tmp_path / 'x').touch()\n"})

    first, again = (project.run(f"--session-guard-workspace={zone}") for _ in range(2))

    for result in (first, again):
        assert (result.status, result.outcomes, result.touches) == (0, {"passed": 1}, []), result.words
    # In a protected rootdir even pytest's cache lands in the throw-away layer.
    assert (project.root / ".pytest_cache" / "v").is_dir() == (zone != "protected")


def test_zone_options_on_the_command_line_add_up(make_project: MakeProject) -> None:
    suite = """\
from pathlib import Path

def test_one():
    Path("one/x").touch()

def test_two():
    Path("two/x").touch()

def test_three():
    (Path.home() / "three" / "x").touch()

def test_four():
    (Path.home() / "four" / "x").touch()
"""
    project = make_project({"test_it.py": suite, "one": None, "two": None}, {"three": None, "four": None})

    result = project.run(
        f"--session-guard-protect={project.root}/one",
        "--session-guard-protect={rootdir}/two",
        "--session-guard-share=~/three",
        "--session-guard-free=~/four",
    )

    said = {name: result.said_of(f"test_{name}") for name in ("one", "two", "three", "four")}
    assert said == {"one": {"FAILED"}, "two": {"FAILED"}, "three": {"PASSED"}, "four": {"PASSED"}}, result.words
    assert {path for path, facts in result.changes.items() if facts != ("modified_ns",)} == {"four/x"}


def test_home_that_tests_change_does_not_move_what_is_protected(make_project: MakeProject) -> None:
    suite = """\
import os
from pathlib import Path

REAL = Path.home()

def test_new_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (Path.home() / "mine.txt").write_text("x")
    (REAL / ".chat" / "notes.txt").write_text("x")
"""
    project = make_project({"test_it.py": suite})

    result = project.run()

    assert result.changes == {}
    assert [touch["path"] for touch in result.touches] == [f"{project.home}/.chat/notes.txt"]
