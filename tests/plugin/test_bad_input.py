"""Wrong values stop the run before anything is touched: exit status 4, one message with option, source and what is allowed."""

from __future__ import annotations

import pytest
from project import HOME, MakeProject, Project, Result, differences, lines_of, snapshot

SUITE = """\
from pathlib import Path

Path("imported").touch()

def test_it():
    pass
"""
FILES = {"test_it.py": SUITE, "app.py": "SESSIONS = {}\nSESSION_DIR = '/nowhere'\n"}


def ini(*lines: str) -> str:
    """A pytest.ini with one option of several lines."""
    return "\n".join(["[pytest]", lines[0], *(f"    {line}" for line in lines[1:])]) + "\n"


def assert_stopped(project: Project, result: Result, option: str, source: str, got: str) -> None:
    """One usage error of three lines, no test, no import, nothing changed."""
    assert result.status == 4, result.words
    assert result.changes == {}
    assert "Traceback" not in result.words
    assert lines_of(result.stderr, option, got), result.words
    assert source in result.stderr
    assert "  allowed: " in result.stderr
    assert result.stderr.count("[bad-configuration]") == 1, result.words
    assert not (project.root / "imported").exists()
    assert result.outcomes == {}


WRONG_IN_INI = (
    pytest.param(ini("session_guard = strict"), "session_guard", "'strict'", id="mode"),
    pytest.param(ini("session_guard ="), "session_guard", "''", id="empty_mode"),
    pytest.param(ini("session_guard_protect =", "data"), "session_guard_protect", "'data'", id="relative_protect"),
    pytest.param(ini("session_guard_protect =", "./data"), "session_guard_protect", "'./data'", id="dotted_protect"),
    pytest.param(ini("session_guard_share =", "shared"), "session_guard_share", "'shared'", id="relative_share"),
    pytest.param(ini("session_guard_share =", "~"), "session_guard_share", "'~'", id="share_home"),
    pytest.param(ini("session_guard_share =", "/"), "session_guard_share", "'/'", id="share_disk"),
    pytest.param(ini("session_guard_share =", "/etc/app"), "session_guard_share", "'/etc/app'", id="share_system"),
    pytest.param(ini("session_guard_share =", "/srv"), "session_guard_share", "'/srv'", id="share_top"),
    pytest.param(ini("session_guard_free =", "build"), "session_guard_free", "'build'", id="relative_free"),
    pytest.param(ini("session_guard_protect =", "~nobody-here/x"), "protect", "'~nobody-here/x'", id="unknown_user"),
    pytest.param(ini("session_guard_workspace = open"), "session_guard_workspace", "'open'", id="workspace"),
    pytest.param(ini("session_guard_home = move"), "session_guard_home", "'move'", id="home"),
    pytest.param(ini("session_guard_layers = hook,wall"), "session_guard_layers", "'hook,wall'", id="layers"),
    pytest.param(ini("session_guard_require = wall"), "session_guard_require", "'wall'", id="require"),
    pytest.param(ini("session_guard_dir ="), "session_guard_dir", "''", id="empty_dir"),
    pytest.param(ini("session_guard_redirect =", "app:X"), "session_guard_redirect", "'app:X'", id="no_place"),
    pytest.param(
        ini("session_guard_redirect =", "app:SESSION_DIR = ../out"),
        "session_guard_redirect", "'app:SESSION_DIR = ../out'", id="place_leaves",
    ),
    pytest.param(
        ini("session_guard_redirect =", "app:SESSION_DIR = a/../../out"),
        "session_guard_redirect", "'app:SESSION_DIR = a/../../out'", id="place_leaves_later",
    ),
    pytest.param(
        ini("session_guard_redirect =", "app:SESSION_DIR = /srv"),
        "session_guard_redirect", "'app:SESSION_DIR = /srv'", id="place_absolute",
    ),
    pytest.param(
        ini("session_guard_redirect =", "SESSION_DIR = x"), "session_guard_redirect", "'SESSION_DIR = x'", id="no_target"
    ),
    pytest.param(ini("session_guard_redirect =", "env: = x"), "session_guard_redirect", "'env: = x'", id="no_variable"),
    pytest.param(ini("session_guard_reset =", "app.SESSIONS"), "session_guard_reset", "'app.SESSIONS'", id="reset"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "option", "got"), WRONG_IN_INI)
def test_wrong_value_in_the_ini_file_stops_the_run(make_project: MakeProject, text: str, option: str, got: str) -> None:
    project = make_project({**FILES, "pytest.ini": text})

    assert_stopped(project, project.run(), option, "pytest.ini", got)


WRONG_ON_THE_COMMAND_LINE = (
    pytest.param("--session-guard=strict", "session_guard", "'strict'", id="mode"),
    pytest.param("--session-guard-protect=data", "session_guard_protect", "'data'", id="relative_protect"),
    pytest.param("--session-guard-protect=", "session_guard_protect", "''", id="empty_protect"),
    pytest.param("--session-guard-share=", "session_guard_share", "''", id="empty_share"),
    pytest.param("--session-guard-free=", "session_guard_free", "''", id="empty_free"),
    pytest.param("--session-guard-workspace=x", "session_guard_workspace", "'x'", id="workspace"),
    pytest.param("--session-guard-layers=wall", "session_guard_layers", "'wall'", id="layers"),
    pytest.param("--session-guard-require=wall", "session_guard_require", "'wall'", id="require"),
)


@pytest.mark.parametrize(("arg", "option", "got"), WRONG_ON_THE_COMMAND_LINE)
def test_wrong_value_on_the_command_line_stops_the_run(
    make_project: MakeProject, arg: str, option: str, got: str
) -> None:
    project = make_project(FILES)

    assert_stopped(project, project.run(arg), option, f"command line: {arg.partition('=')[0]}", got)


def test_wrong_value_in_pyproject_names_pyproject(make_project: MakeProject) -> None:
    project = make_project({**FILES, "pyproject.toml": '[tool.pytest.ini_options]\nsession_guard_protect = ["data"]\n'})

    assert_stopped(project, project.run(), "session_guard_protect", "pyproject.toml", "'data'")


def test_wrong_value_in_the_environment_stops_the_run(make_project: MakeProject) -> None:
    project = make_project(FILES)

    assert_stopped(project, project.run(env={"SESSION_GUARD": "strict"}), "SESSION_GUARD", "environment", "'strict'")


TEMP_DIRECTORIES_WITH_DATA = (
    pytest.param(".chat", (), id="data"),
    pytest.param("", (), id="home"),
    pytest.param("tmp", ("--session-guard-protect=~/tmp",), id="declared"),
    pytest.param("tmp", ("--session-guard-share=~/tmp",), id="shared"),
)


@pytest.mark.parametrize(("place", "args"), TEMP_DIRECTORIES_WITH_DATA)
def test_temp_directory_that_is_somebodys_data_stops_the_run(
    make_project: MakeProject, place: str, args: tuple[str, ...]
) -> None:
    project = make_project(FILES, {**HOME, "tmp": None})
    directory = str(project.home / place).rstrip("/")

    result = project.run(*args, env={"TMPDIR": directory})

    # What `tempfile` tries the directory with, and what pytest captures output into, came and went before any plugin.
    assert result.changes.pop(place or ".") == ("modified_ns",)
    assert_stopped(project, result, "TMPDIR", "environment", repr(directory))


def test_temp_directory_with_data_may_be_declared_free(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": "def test_it(tmp_path):\n    (tmp_path / 'x').touch()\n"})

    result = project.run("--session-guard-free=~/.chat", env={"TMPDIR": f"{project.home}/.chat"})

    assert (result.status, result.outcomes) == (0, {"passed": 1}), result.words
    assert (project.home / ".chat" / "notes.txt").exists()


@pytest.mark.parametrize(
    "content", [None, {"tmpa1b2": None, "pytest-of-somebody": None}], ids=["empty", "temporary-files"]
)
def test_temp_directory_of_any_name_without_data_is_free(
    make_project: MakeProject, content: dict[str, None] | None
) -> None:
    files = {f"place/{name}": None for name in content or ()} or {"place": None}
    project = make_project({"test_it.py": "def test_it(tmp_path):\n    (tmp_path / 'x').touch()\n"}, files)

    result = project.run(env={"TMPDIR": f"{project.home}/place"})

    assert (result.status, result.outcomes) == (0, {"passed": 1}), result.words


@pytest.mark.parametrize("name", ["missing", "file"])
def test_temp_directory_that_is_passed_over_is_said(make_project: MakeProject, name: str) -> None:
    project = make_project(FILES, {"file": "x"})
    wanted = f"{project.home}/{name}"

    result = project.run(env={"TMPDIR": wanted})

    assert result.status == 0, result.words
    assert any(
        f"TMPDIR={wanted} is not used (it is no directory): temporary files go to /tmp" in line
        for line in result.header_lines
    )


def test_wrong_value_stops_a_run_with_workers_once(make_project: MakeProject) -> None:
    project = make_project(FILES)

    result = project.run("-n", "2", "--session-guard-protect=data")

    assert_stopped(project, result, "session_guard_protect", "command line", "'data'")


@pytest.mark.parametrize("target", ["app:NO_SUCH_NAME", "no_such_module:X", "app:SESSIONS.nothing"])
def test_redirect_target_that_does_not_exist_is_said_once_and_nothing_is_lost(
    make_project: MakeProject, target: str
) -> None:
    project = make_project({**FILES, "pytest.ini": ini("session_guard_redirect =", f"{target} = place")})

    result = project.run()

    assert result.changes == {}
    assert result.status == 4, result.words
    assert target in result.stderr
    assert "session_guard_redirect" in result.stderr
    assert "Traceback" not in result.words


WRONG_DECLARATIONS = (
    pytest.param('[("sacred", "~/x")]', "'sacred'", id="unknown_zone"),
    pytest.param('[("workspace", "~/x")]', "'workspace'", id="workspace"),
    pytest.param('[("protected", "x")]', "'x'", id="relative"),
    pytest.param('[("protected", "")]', "''", id="empty"),
)


@pytest.mark.parametrize(("declared", "got"), WRONG_DECLARATIONS)
def test_wrong_declaration_of_a_conftest_stops_the_run(make_project: MakeProject, declared: str, got: str) -> None:
    hook = f"def pytest_session_guard_zones(config):\n    return {declared}\n"
    project = make_project({**FILES, "conftest.py": hook})

    assert_stopped(project, project.run(), "zones", "pytest_session_guard_zones", got)


WRONG_ANSWERS = (
    pytest.param("zones(config)", '("shared", "~/x")', "gives no pair, got 'shared'", id="one_pair"),
    pytest.param("zones(config)", '{"shared": "~/x"}', "answers no list", id="mapping"),
    pytest.param("zones(config)", "5", "answers no list, got 5", id="number"),
    pytest.param("zones(config)", '[("shared",)]', "gives no pair, got ('shared',)", id="half_a_pair"),
    pytest.param("zones(config)", '[("shared", None)]', "gives no pair, got ('shared', None)", id="no_path"),
    pytest.param("redirects(config)", '"env:APP = app"', "answers no list, got 'env:APP = app'", id="text"),
    pytest.param("marker_formats()", '["x"]', "gives no format, got 'x'", id="no_format"),
    pytest.param("marker_formats()", "5", "answers no list, got 5", id="no_formats"),
)


@pytest.mark.parametrize(("hook", "answer", "problem"), WRONG_ANSWERS)
def test_wrong_answer_to_a_hook_of_ours_stops_the_run(
    make_project: MakeProject, hook: str, answer: str, problem: str
) -> None:
    conftest = f"def pytest_session_guard_{hook}:\n    return {answer}\n"
    project = make_project({**FILES, "conftest.py": conftest})

    name = f"pytest_session_guard_{hook.partition('(')[0]}"
    assert_stopped(project, project.run(), name, "conftest or plugin", problem)


WRONG_MARKS = (
    pytest.param('share="~/elsewhere"', "widen", id="widens"),
    pytest.param('free="~/elsewhere"', "unknown arguments", id="unknown_argument"),
    pytest.param('protect="data"', "relative", id="relative"),
    pytest.param('"~/elsewhere"', "has an argument without a name", id="positional"),
    pytest.param("protect=3", "is no path, got 3", id="number"),
    pytest.param("protect=None", "is no path, got None", id="none"),
    pytest.param('protect=["~/x", 3]', "is no path, got ['~/x', 3]", id="number_in_list"),
    pytest.param('pristine="~/elsewhere"', "does not exist", id="pristine_of_nothing"),
)


@pytest.mark.parametrize(("arguments", "problem"), WRONG_MARKS)
def test_wrong_mark_is_named_with_its_test(make_project: MakeProject, arguments: str, problem: str) -> None:
    suite = f"""\
import pytest

def test_first():
    pass

@pytest.mark.session_guard({arguments})
def test_marked():
    pass
"""
    project = make_project({"test_it.py": suite})

    result = project.run()

    assert (result.status, result.outcomes) == (1, {"passed": 1, "error": 1}), result.words
    assert problem in result.words
    assert "test_it.py::test_marked" in result.words
    assert "pytest_session_guard/" not in result.words
    assert "Traceback" not in result.words
    assert "INTERNALERROR" not in result.words


def test_protected_path_that_does_not_exist_yet_is_fine_and_guarded_all_the_same(make_project: MakeProject) -> None:
    suite = """\
import os
from pathlib import Path

LATER = Path(__file__).parent / "later"

def test_innocent():
    assert not LATER.exists()

def test_create():
    LATER.mkdir()

def test_move_in(tmp_path):
    (tmp_path / "made").mkdir()
    os.rename(tmp_path / "made", LATER)
"""
    project = make_project({"test_it.py": suite, "pytest.ini": ini("session_guard_protect =", "{rootdir}/later")})

    result = project.run()

    assert result.outcomes == {"passed": 1, "failed": 2}, result.words
    assert {touch["path"] for touch in result.touches} == {f"{project.root}/later"}
    assert not (project.root / "later").exists()


def test_shared_path_inside_a_temp_directory_is_said_in_the_header(make_project: MakeProject) -> None:
    project = make_project(FILES)

    result = project.run(f"--session-guard-share={project.tmp}/shared")

    assert result.status == 0, result.words
    assert "session_guard_share" in result.header_lines[0]
    assert "lies in the free place" in result.header_lines[0]


@pytest.mark.parametrize(
    "blocked",
    [pytest.param("a file\n", id="is_a_file"), pytest.param("->.session_guard.txt", id="is_a_link_to_a_file")],
)
def test_ledger_directory_that_cannot_be_kept_stops_the_run(make_project: MakeProject, blocked: str) -> None:
    project = make_project({**FILES, ".session_guard.txt": "a file\n", ".session_guard": blocked})

    result = project.run()

    assert_stopped(project, result, "session_guard_dir", "default", ".session_guard")


def test_ledger_directory_below_a_file_stops_the_run_unless_the_guard_is_off(make_project: MakeProject) -> None:
    project = make_project(FILES)
    where = "--session-guard-dir=/dev/null/ledger"

    assert_stopped(project, project.run(where), "session_guard_dir", "command line", "/dev/null/ledger")
    assert project.run(where, "--session-guard=off").status == 0


OUTPUTS = (
    pytest.param("--basetemp={home}/.chat", id="basetemp_is_real_data"),
    pytest.param("--basetemp={home}", id="basetemp_is_the_home"),
    pytest.param("--basetemp={base}", id="basetemp_holds_the_home"),
    pytest.param("--basetemp={root}", id="basetemp_is_the_rootdir"),
    pytest.param("--basetemp={root}/tracked", id="basetemp_is_a_directory_of_the_project"),
    pytest.param("--basetemp={home}/.chat/new", id="basetemp_in_real_data"),
    pytest.param("--junitxml={home}/.chat/sessions/a.json", id="junitxml"),
    pytest.param("--junitxml={home}/junit.xml", id="junitxml_new"),
    pytest.param("--junitxml={root}/.git/junit.xml", id="junitxml_in_git"),
    pytest.param("--log-file={home}/.chat/notes.txt", id="log_file"),
    pytest.param("--session-guard-json={home}/.chat/notes.txt", id="json"),
    pytest.param("--session-guard-html={home}/.chat/notes.txt", id="html"),
    pytest.param("--debug={home}/.chat/notes.txt", id="debug"),
)


@pytest.mark.parametrize("arg", OUTPUTS)
def test_output_into_a_guarded_place_is_refused_before_pytest_writes(make_project: MakeProject, arg: str) -> None:
    project = make_project(
        {"test_it.py": "def test_it(tmp_path):\n    pass\n", "tracked/file.txt": "x", ".git/config": ""}
    )
    places = {"home": project.home, "base": project.base, "root": project.root}
    before = snapshot(project.root)

    result = project.run(arg.format(**places), report=not arg.startswith("--session-guard-json"))

    assert result.changes == {}
    assert result.status == 4, result.words
    assert lines_of(result.stderr, arg.partition("=")[0])
    assert "Traceback" not in result.words
    kept = differences(before, snapshot(project.root))
    assert [path for path, facts in kept.items() if facts != ("modified_ns",) and ".session_guard" not in path] == []


@pytest.mark.parametrize(
    "addopts",
    ["--basetemp={home}/.chat", "--junitxml={home}/.chat/notes.txt"],
)
def test_output_named_in_addopts_is_refused_too(make_project: MakeProject, addopts: str) -> None:
    project = make_project(FILES)
    (project.root / "pytest.ini").write_text(f"[pytest]\naddopts = {addopts.format(home=project.home)}\n")

    result = project.run()

    assert result.changes == {}
    assert result.status == 4, result.words


def test_cache_is_not_cleared_in_a_guarded_place_and_is_elsewhere(make_project: MakeProject) -> None:
    project = make_project(FILES, {**HOME, ".chat/d/real.txt": "data\n"})

    result = project.run("--cache-clear", "-o", f"cache_dir={project.home}/.chat")

    assert (result.status, result.changes) == (4, {}), result.words
    assert lines_of(result.stderr, "--cache-clear")
    for words in ((), ("-p", "no:cacheprovider"), ("--cache-clear",), ("--cache-clear", "-o", "cache_dir=build/cache")):
        again = project.run(*words)
        assert again.status == 0, again.words


def test_bytecode_prefix_in_a_guarded_place_is_refused(make_project: MakeProject) -> None:
    project = make_project(FILES)

    # What Python itself compiled on its way to pytest cannot be helped: the message says where it went.
    result = project.run(env={"PYTHONPYCACHEPREFIX": f"{project.home}/.chat/pyc"})

    assert {path for path in result.changes if not path.startswith(".chat/pyc")} <= {".chat"}
    assert result.status == 4, result.words
    assert "PYTHONPYCACHEPREFIX" in result.stderr


def test_outputs_in_free_places_and_in_the_workspace_are_fine(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": "def test_it(tmp_path):\n    (tmp_path / 'x').touch()\n"}, HOME)

    result = project.run(
        f"--basetemp={project.base}/own-temp", "--junitxml=build/junit.xml", f"--log-file={project.tmp}/run.log"
    )
    again = project.run(f"--basetemp={project.base}/own-temp")

    assert (result.status, again.status) == (0, 0), result.words + again.words
    assert (project.root / "build" / "junit.xml").exists()
    assert (project.tmp / "run.log").exists()


def test_required_layer_that_is_not_achieved_stops_the_run(make_project: MakeProject) -> None:
    project = make_project(FILES)

    result = project.run("--session-guard-layers=hook", "--session-guard-require=hook,overlay")
    met = project.run("--session-guard-layers=hook", "--session-guard-require=hook")

    assert result.status == 4, result.words
    assert "overlay" in result.stderr
    assert "[layer-unavailable]" in result.stderr
    assert "Traceback" not in result.words
    assert met.status == 0, met.words
