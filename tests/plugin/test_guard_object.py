"""The fixtures: what the session_guard object gives and refuses."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from project import HOME, MakeProject, Project, Result, lines_of

INI = "[pytest]\nsession_guard_share =\n    ~/shared\n"
HOME_FILES = {
    **HOME,
    "shared/foreign.json": '{"id": "foreign"}\n',
    "shared/first/old_1.meta.json": "{}\n",
    "shared/second/old_1.meta.json": "{}\n",
    "shared/second/foreign.json": "{}\n",
}
SUITE = """\
import json, os
from pathlib import Path

import pytest
from pytest_session_guard import DataChangedError, NotCreatedByRunError, ProtectedPathError

HOME, ROOT = Path.home(), Path(__file__).parent
SHARED, NOTES = HOME / "shared", HOME / ".chat" / "notes.txt"
SEEN = []


# -- green --------------------------------------------------------------------

def test_run_id_names_the_run(session_guard):
    assert (ROOT / ".session_guard" / "runs" / session_guard.run_id).is_dir()
    assert session_guard.started_ns <= (ROOT / ".session_guard" / "runs" / session_guard.run_id).stat().st_mtime_ns


@pytest.mark.parametrize("number", [1, 2])
def test_private_directory(session_guard, number):
    assert session_guard.path.is_dir()
    assert session_guard.path == session_guard.path
    assert list(session_guard.path.iterdir()) == []
    assert session_guard.path not in SEEN
    assert HOME not in session_guard.path.parents
    SEEN.append(session_guard.path)
    (session_guard.path / "mine").touch()


def test_session_dir(session_guard, session_dir, session_index):
    assert session_dir == session_guard.path / "sessions"
    assert session_dir.is_dir()
    assert session_index == session_dir / "_index.json"
    assert not session_index.exists()


def test_session_index_alone(session_index):
    session_index.write_text("[]")


def test_write_json(session_guard):
    path = session_guard.write_json(SHARED / "written.json", {"id": "w"})
    payload = json.loads(path.read_text())
    assert payload["id"] == "w"
    assert payload["__test_artifact"]["run"] == session_guard.run_id
    assert payload["__test_artifact"]["test"].endswith("::test_write_json")
    assert path in session_guard.artifacts
    path.write_text("{}")


def test_artifact(session_guard):
    path = SHARED / "made.json"
    path.write_text('{"id": "m"}')
    assert session_guard.artifact(path) == path
    assert json.loads(path.read_text())["__test_artifact"]["run"] == session_guard.run_id
    assert json.loads(path.read_text())["id"] == "m"
    assert path in session_guard.artifacts


def test_artifact_in_tmp_path(session_guard, tmp_path):
    (tmp_path / "made.json").write_text("{}")
    session_guard.artifact(tmp_path / "made.json")
    session_guard.remove(tmp_path / "made.json")
    assert not (tmp_path / "made.json").exists()


def test_remove(session_guard):
    (SHARED / "one.json").write_text("{}")
    (SHARED / "two").mkdir()
    (SHARED / "two" / "three.json").write_text("{}")
    gone = session_guard.remove(SHARED / "one.json", SHARED / "two")
    assert not (SHARED / "one.json").exists()
    assert not (SHARED / "two").exists()
    assert str(SHARED / "one.json") in gone.removed


def test_sweep(session_guard):
    for name in ("a", "b"):
        (SHARED / f"mine_{name}.meta.json").write_text("{}")
    gone = session_guard.sweep(SHARED, "mine_*.meta.json")
    assert sorted(os.path.basename(path) for path in gone.removed) == ["mine_a.meta.json", "mine_b.meta.json"]
    assert not list(SHARED.glob("mine_*"))


def test_sweep_nothing(session_guard):
    assert list(session_guard.sweep(SHARED, "nothing_*.json").removed) == []


def test_unchanged(session_guard):
    with session_guard.unchanged(NOTES.parent, SHARED / "foreign.json"):
        NOTES.read_text()


@pytest.mark.parametrize("act", ["content", "mode", "appears", "goes"])
def test_unchanged_sees(session_guard, tmp_path, act):
    (tmp_path / "d").mkdir()
    file = tmp_path / "d" / "f"
    file.write_text("x")
    with pytest.raises(DataChangedError, match="data changed: ") as caught:
        with session_guard.unchanged(tmp_path / "d"):
            if act == "content":
                file.write_text("y")
            elif act == "mode":
                file.chmod(0o600 if file.stat().st_mode & 0o777 != 0o600 else 0o640)
            elif act == "appears":
                (tmp_path / "d" / "g").touch()
            else:
                file.unlink()
    assert isinstance(caught.value, AssertionError)


def test_expect_refusal(session_guard):
    with session_guard.expect_refusal() as seen:
        NOTES.write_text("x")
    assert [Path(touch.path) for touch in seen] == [NOTES]
    assert [touch for touch in session_guard.violations if touch.nodeid.endswith("expect_refusal")] == []
    with session_guard.expect_refusal() as seen:
        with pytest.raises(PermissionError) as caught:
            NOTES.unlink()
        assert isinstance(caught.value, ProtectedPathError)
        assert (caught.value.errno, caught.value.filename) == (13, str(NOTES))
        with pytest.raises(ProtectedPathError):
            NOTES.rename(NOTES.with_suffix(".bak"))
    assert len(seen) == 2


def test_expect_refusal_of_another_error(session_guard):
    with pytest.raises(ZeroDivisionError), session_guard.expect_refusal():
        1 / 0


def test_violations_are_none(session_guard):
    assert [touch for touch in session_guard.violations if touch.nodeid.endswith("are_none")] == []


# -- red ----------------------------------------------------------------------

def test_bad_violations(session_guard):
    try:
        NOTES.unlink()
    except PermissionError:
        pass
    assert [touch.path for touch in session_guard.violations if touch.nodeid.endswith("bad_violations")] == [str(NOTES)]


def test_bad_after_expecting(session_guard):
    with session_guard.expect_refusal():
        NOTES.unlink()
    NOTES.unlink()


def test_bad_sweep(session_guard):
    (SHARED / "first" / "mine.meta.json").write_text("{}")
    session_guard.sweep(SHARED / "first", "*.meta.json")


def test_bad_sweep_swallowed(session_guard):
    (SHARED / "second" / "mine.meta.json").write_text("{}")
    try:
        session_guard.sweep(SHARED / "second", "*.json")
    except Exception as problem:
        assert isinstance(problem, NotCreatedByRunError)
        assert {os.path.basename(path) for path, reason in problem.refused} == {"foreign.json", "old_1.meta.json"}
        assert all(reason for path, reason in problem.refused)
    assert (SHARED / "second" / "mine.meta.json").exists()


def test_bad_remove(session_guard):
    (SHARED / "remove_mine.json").write_text("{}")
    session_guard.remove(SHARED / "remove_mine.json", SHARED / "foreign.json")


def test_bad_remove_workspace_file(session_guard):
    session_guard.remove(ROOT / "tracked.txt")


def test_bad_artifact(session_guard):
    session_guard.artifact(SHARED / "foreign.json")


def test_bad_write_json_over_foreign(session_guard):
    session_guard.write_json(SHARED / "foreign.json", {})


def test_bad_write_json_protected(session_guard):
    session_guard.write_json(HOME / ".chat" / "new.json", {})


def test_bad_unchanged(session_guard, tmp_path):
    with session_guard.unchanged(tmp_path):
        (tmp_path / "new").touch()
"""
GREEN = (
    "test_run_id_names_the_run", "test_private_directory[1]", "test_private_directory[2]", "test_session_dir",
    "test_session_index_alone", "test_write_json", "test_artifact", "test_artifact_in_tmp_path", "test_remove", "test_sweep",
    "test_sweep_nothing", "test_unchanged", "test_unchanged_sees[content]", "test_unchanged_sees[mode]",
    "test_unchanged_sees[appears]", "test_unchanged_sees[goes]", "test_expect_refusal",
    "test_expect_refusal_of_another_error", "test_violations_are_none",
)  # fmt: skip
RED = {
    "test_bad_violations": {"notes.txt"},
    "test_bad_after_expecting": {"notes.txt"},
    "test_bad_sweep": {"old_1.meta.json"},
    "test_bad_sweep_swallowed": {"old_1.meta.json", "foreign.json"},
    "test_bad_remove": {"foreign.json"},
    "test_bad_remove_workspace_file": {"tracked.txt"},
    "test_bad_artifact": {"foreign.json"},
    "test_bad_write_json_over_foreign": {"foreign.json"},
    "test_bad_write_json_protected": {"*"},
}


@dataclass(frozen=True)
class Ran:
    project: Project
    result: Result


@pytest.fixture(scope="module")
def ran(make_shared_project: MakeProject, workers: tuple[str, ...]) -> Ran:
    """The suite once for each way of running it."""
    project = make_shared_project({"pytest.ini": INI, "test_object.py": SUITE, "tracked.txt": "tracked\n"}, HOME_FILES)
    return Ran(project, project.run(*workers))


@pytest.mark.parametrize("name", GREEN)
def test_object_gives(ran: Ran, name: str) -> None:
    assert ran.result.said_of(name) == {"PASSED"}, ran.result.words
    assert ran.result.touches_of(name) == []


@pytest.mark.parametrize("name", list(RED))
def test_object_refuses(ran: Ran, name: str) -> None:
    touches = ran.result.touches_of(name)

    assert ran.result.said_of(name) == {"FAILED"}, ran.result.words
    named = {touch["path"].rpartition("/")[2] for touch in touches}
    assert named == RED[name] or (RED[name] == {"*"} and named), touches
    assert {touch["phase"] for touch in touches} == {"call"}


def test_unchanged_fails_its_test_without_a_touch(ran: Ran) -> None:
    assert ran.result.said_of("test_bad_unchanged") == {"FAILED"}
    assert ran.result.touches_of("test_bad_unchanged") == []


def test_nothing_of_the_home_is_lost_and_nothing_is_left(ran: Ran) -> None:
    assert {path: facts for path, facts in ran.result.changes.items() if facts != ("modified_ns",)} == {}
    assert (ran.project.root / "tracked.txt").read_text() == "tracked\n"


def test_refused_sweep_names_each_in_its_words(ran: Ran) -> None:
    said = ran.result.stdout

    assert lines_of(said, "removal refused: 1 path was not created by this run, nothing was removed")
    assert "[not-created-by-run]" in said
    assert lines_of(said, "old_1.meta.json")


def test_object_works_when_the_guard_is_off(make_project: MakeProject) -> None:
    suite = """\
import json
from pathlib import Path

import pytest
from pytest_session_guard import NotCreatedByRunError

def test_object(session_guard, session_dir, session_index, tmp_path):
    assert session_guard.run_id
    assert session_dir.parent == session_guard.path
    session_index.write_text("[]")
    path = session_guard.write_json(tmp_path / "a.json", {"id": "a"})
    assert json.loads(path.read_text())["__test_artifact"]["run"] == session_guard.run_id
    session_guard.remove(path)
    assert not path.exists()
    with session_guard.unchanged(tmp_path):
        pass
    with session_guard.expect_refusal() as seen:
        pass
    assert (seen, session_guard.violations) == ([], [])

def test_no_licence(session_guard):
    with pytest.raises(NotCreatedByRunError):
        session_guard.remove(Path.home() / ".chat" / "notes.txt")

def test_unguarded():
    (Path.home() / ".chat" / "notes.txt").write_text("x")
"""
    project = make_project({"test_it.py": suite})

    result = project.run("--session-guard=off", report=False)

    assert (result.status, result.outcomes) == (0, {"passed": 3}), result.words
    assert result.header_lines == []
    assert set(result.changes) == {".chat/notes.txt"}
    assert not (project.root / ".session_guard").exists()


def test_ledger_says_what_it_is_and_keeps_a_journal(make_project: MakeProject) -> None:
    project = make_project(
        {"test_it.py": "from pathlib import Path\n\ndef test_it():\n    Path('new.txt').write_text('x')\n"}
    )

    project.run()

    ledger = project.root / ".session_guard"
    assert (ledger / ".gitignore").read_text().rstrip().endswith("*")
    assert (ledger / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
    assert "pytest-session-guard" in (ledger / "README.md").read_text()
    (run,) = (ledger / "runs").iterdir()
    records = [json.loads(line)["record"] for path in run.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert [record for record in records if record.get("path") == f"{project.root}/new.txt"]
