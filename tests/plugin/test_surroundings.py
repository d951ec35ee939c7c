"""Homes, temp directories and checkouts as machines really have them: linked, nested, missing, shared with another run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from capabilities import mount_namespace
from project import HOME, MakeProject, Result, lines_of

HARM = """\
import contextlib, os
from pathlib import Path

NOTES = Path.home() / ".chat" / "notes.txt"

def test_harm():
    with contextlib.suppress(OSError):
        NOTES.write_text("x")

def test_workspace(tmp_path):
    Path("new.txt").write_text("x")
    (tmp_path / "x").write_text("x")
"""


def assert_one_refusal(result: Result, path: str) -> None:
    """Only `test_harm` is red, for this path, and the home is as it was."""
    assert result.changes == {}, result.words
    assert (result.status, result.outcomes) == (1, {"failed": 1, "passed": 1}), result.words
    assert [touch["path"] for touch in result.touches] == [path]


def test_home_that_is_a_symlink_is_protected_where_it_really_is(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": HARM})
    (project.base / "link").symlink_to(project.home)

    result = project.run(env={"HOME": f"{project.base}/link"})

    assert_one_refusal(result, f"{project.home}/.chat/notes.txt")


def test_store_that_is_a_symlink_is_protected_with_its_link(make_project: MakeProject) -> None:
    suite = HARM + (
        "\ndef test_link():\n    with contextlib.suppress(OSError):\n        NOTES.parent.unlink()\n"
        "\ndef test_replace(tmp_path):\n    with contextlib.suppress(OSError):\n        os.rename(tmp_path, NOTES.parent)\n"
    )
    project = make_project({"test_it.py": suite}, {".chat": "->../elsewhere"})
    (project.base / "elsewhere").mkdir()
    (project.base / "elsewhere" / "notes.txt").write_text("real\n")

    result = project.run("--session-guard-protect=~/.chat")

    assert result.changes == {}
    assert (project.base / "elsewhere" / "notes.txt").read_text() == "real\n", result.words
    assert result.outcomes == {"failed": 3, "passed": 1}, result.words


def test_project_reached_through_a_symlink_is_the_same_workspace(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": HARM})
    (project.base / "link").symlink_to(project.root)

    result = project.run(cwd=project.base / "link")

    assert_one_refusal(result, f"{project.home}/.chat/notes.txt")
    assert (project.root / "new.txt").exists()


def test_project_inside_the_home_is_the_workspace(make_project: MakeProject) -> None:
    files = {f"src/app/{name}": content for name, content in {"test_it.py": HARM, "pytest.ini": "[pytest]\n"}.items()}
    project = make_project({}, {**HOME, **files, "src/other/file.txt": "x"})
    app = project.home / "src" / "app"

    result = project.run(cwd=app)

    assert {path for path in result.changes if not path.startswith("src/app")} == set(), result.words
    assert (result.status, result.outcomes) == (1, {"failed": 1, "passed": 1}), result.words
    assert (app / "new.txt").read_text() == "x"


def test_temp_and_cache_directories_inside_the_home_are_free(make_project: MakeProject) -> None:
    suite = (
        HARM
        + """
def test_temp():
    import tempfile
    assert tempfile.gettempdir() == str(Path.home() / "tmp")
    (Path.home() / "tmp" / "kept.txt").write_text("x")
    (Path.home() / "tmp" / "old.txt").unlink()

def test_cache():
    (Path.home() / ".cache" / "app").mkdir()
    (Path.home() / ".cache" / "app" / "kept.txt").write_text("x")
"""
    )
    project = make_project({"test_it.py": suite}, {**HOME, "tmp/old.txt": "x", ".cache": None})

    result = project.run(env={"TMPDIR": f"{project.home}/tmp"})

    assert result.outcomes == {"failed": 1, "passed": 3}, result.words
    assert {path.partition("/")[0] for path, facts in result.changes.items()} == {"tmp", ".cache"}
    assert (project.home / "tmp" / "kept.txt").exists()
    assert (project.home / ".cache" / "app" / "kept.txt").exists()
    assert not (project.home / "tmp" / "old.txt").exists()


def test_cache_directory_elsewhere_in_the_home_is_free(make_project: MakeProject) -> None:
    suite = "from pathlib import Path\n\ndef test_cache():\n    (Path.home() / 'my-cache' / 'x').write_text('x')\n"
    project = make_project({"test_it.py": suite}, {"my-cache": None})

    result = project.run(env={"XDG_CACHE_HOME": f"{project.home}/my-cache"})

    assert result.status == 0, result.words
    assert (project.home / "my-cache" / "x").exists()


def test_cache_variable_that_leads_to_data_frees_nothing(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": HARM})

    result = project.run(env={"XDG_CACHE_HOME": f"{project.home}/.chat"})

    assert_one_refusal(result, f"{project.home}/.chat/notes.txt")
    assert any("is not named as a cache and holds something" in line for line in result.header_lines), result.words


ODD_HOMES = (
    pytest.param({"HOME": "/nonexistent/home"}, id="missing"),
    pytest.param({"HOME": ""}, id="empty"),
    pytest.param({"HOME": "/"}, id="root"),
    pytest.param({"HOME": "relative"}, id="relative"),
)


@pytest.mark.parametrize("env", ODD_HOMES)
def test_odd_home_does_not_stop_the_run(make_project: MakeProject, env: dict[str, str]) -> None:
    project = make_project({"test_it.py": "def test_it(tmp_path, session_guard):\n    session_guard.path\n"})

    result = project.run(env=env)

    assert (result.status, result.outcomes) == (0, {"passed": 1}), result.words
    assert len(result.header_lines) == 1


def test_home_that_is_the_rootdir_is_protected(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": HARM, ".chat/notes.txt": "real\n"})

    result = project.run(env={"HOME": str(project.root)})

    # The stricter zone wins a tie: what a checkout needs to be writable has to be said.
    assert result.outcomes == {"failed": 2}, result.words
    assert {touch["nodeid"].rpartition("::")[2] for touch in result.touches} == {"test_harm", "test_workspace"}
    assert (project.root / ".chat" / "notes.txt").read_text() == "real\n"
    assert not (project.root / "new.txt").exists()


def test_git_directory_of_a_linked_worktree_is_protected(make_project: MakeProject) -> None:
    suite = """\
from pathlib import Path

GIT = Path(__file__).parent.parent / "repository" / ".git"

def test_pointer():
    (Path(__file__).parent / ".git").write_text("x")

def test_own():
    (GIT / "worktrees" / "project" / "HEAD").write_text("x")

def test_common():
    (GIT / "config").write_text("x")
"""
    project = make_project({"test_it.py": suite, ".git": "gitdir: ../repository/.git/worktrees/project\n"})
    own = project.base / "repository" / ".git" / "worktrees" / "project"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/main\n")
    (own.parents[1] / "config").write_text("[core]\n")

    result = project.run()

    assert result.outcomes == {"failed": 3}, result.words
    assert (own / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert (own.parents[1] / "config").read_text() == "[core]\n"


def test_real_git_cannot_commit_and_can_read(make_project: MakeProject) -> None:
    suite = """\
import subprocess

def git(*words):
    return subprocess.run(["git", *words], capture_output=True, text=True)

def test_status():
    done = git("status", "--porcelain", "--untracked-files=no")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr

def test_commit():
    git("-c", "user.name=x", "-c", "user.email=x", "commit", "--allow-empty", "-m", "stray")
"""
    project = make_project({"test_it.py": suite})
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "first"]):
        assert project.call("git", *words).returncode == 0
    head = (project.root / ".git" / "HEAD").read_text().split()[-1]
    before = (project.root / ".git" / head).read_text()

    result = project.run()

    assert (project.root / ".git" / head).read_text() == before, result.words
    assert "PASSED" in result.said_of("test_status"), result.words


@pytest.mark.parametrize("layers", ["auto", "hook"])
def test_hard_link_of_real_data_in_the_project_is_no_way_round(make_project: MakeProject, layers: str) -> None:
    suite = "from pathlib import Path\n\ndef test_alias():\n    Path('alias.txt').write_text('x')\n"
    project = make_project({"test_it.py": suite})
    os.link(project.home / ".chat" / "notes.txt", project.root / "alias.txt")

    result = project.run(f"--session-guard-layers={layers}")

    assert result.changes == {}, result.words
    assert result.status == 1, result.words
    assert "another name" in result.stdout


@pytest.mark.parametrize("layers", ["auto", "hook"])
def test_second_name_of_a_new_file_is_no_accident_in_a_home_too_large_to_search(
    make_project: MakeProject, layers: str
) -> None:
    # The search gives up at once, as it does in a home of some hundred thousand files.
    conftest = "from pytest_session_guard._run import aliases\n\naliases.BUDGET = 0\n"
    suite = """\
import os, subprocess

def test_link(tmp_path):
    (tmp_path / "one").write_text("a")
    os.link(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two").write_text("b")
    assert (tmp_path / "one").read_text() == "b"

def test_link_of_a_child(tmp_path):
    subprocess.run(["sh", "-c", "echo a > one && ln one two"], cwd=tmp_path, check=True)
    os.chmod(tmp_path / "one", 0o600)
    with open(tmp_path / "two", "a") as file:
        file.write("b")

def test_renamed_and_rewritten():
    # The ledger holds it by a second name now, and so does that of the run before.
    os.rename("source.py", "moved.py")
    with open("moved.py", "a") as file:
        file.write("b")
    os.rename("moved.py", "source.py")

def test_earlier_link():
    with open("alias.txt", "a") as file:
        file.write("b")
"""
    project = make_project({"early/hook_budget.py": conftest, "test_it.py": suite, "source.py": "a"})
    os.link(project.home / ".chat" / "notes.txt", project.root / "alias.txt")

    options = "-p", "hook_budget", f"--session-guard-layers={layers}"
    early = {"PYTHONPATH": str(project.root / "early")}
    project.run(*options, "-k", "renamed", env=early)
    result = project.run(*options, env=early)

    assert result.changes == {}, result.words
    assert result.outcomes == {"passed": 3, "failed": 1}, result.words
    assert (
        "alias.txt' has other names, and a guarded place is too large to show that none of them lies there"
        in result.words
    )


def test_two_runs_at_once_in_one_project_do_not_meet(make_project: MakeProject) -> None:
    suite = """\
import os, time
from pathlib import Path

SHARED, ME = Path.home() / "shared", os.environ["ME"]

def test_makes():
    (SHARED / f"{ME}.txt").write_text("x")
    deadline = time.monotonic() + 20
    while len(list(SHARED.glob("*.txt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(list(SHARED.glob("*.txt"))) == 2

def test_other_is_foreign():
    other = "two" if ME == "one" else "one"
    try:
        (SHARED / f"{other}.txt").write_text("overwritten")
    except FileNotFoundError:
        pass
"""
    project = make_project({"test_it.py": suite}, {"shared": None})
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "no:randomly", "--session-guard-share=~/shared", "-p", "no:cacheprovider"],
            cwd=project.root, env=project.environment({"ME": name}), stdout=subprocess.PIPE, text=True,
        )
        for name in ("one", "two")
    ]  # fmt: skip
    said = [run.communicate(timeout=120)[0] for run in runs]

    assert all(" passed" in text and "test_it.py::test_makes" not in text for text in said), said
    assert list((project.home / "shared").iterdir()) == [], said
    assert any(lines_of(text, "write refused: ", "existed before this run") for text in said), said


MOVED_ROOT = (
    HARM
    + """
def test_moves_the_root():
    os.chroot(Path.home())
    os.remove("/.chat/notes.txt")

import pytest

@pytest.fixture
def jail(tmp_path):
    (tmp_path / "inside").touch()
    Path("made.txt").touch()  # so that there is something to look at after the setup
    home, where = os.open("/", os.O_RDONLY), os.getcwd()
    os.chroot(tmp_path)
    yield
    os.fchdir(home)
    os.chroot(".")
    os.chdir(where)

def test_stays_in_its_fixtures_root(jail):
    assert os.listdir("/") == ["inside"]

def test_afterwards():
    assert os.path.isdir(Path.home() / ".chat")
    Path("later.txt").write_text("x")
"""
)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root moves the root directory")
def test_root_directory_that_a_test_moved_is_back_for_the_verdict(make_project: MakeProject) -> None:
    result = make_project({"test_it.py": MOVED_ROOT}).run()

    assert result.changes == {}, result.words
    assert (result.status, result.outcomes) == (1, {"failed": 2, "passed": 3}), result.words
    assert {touch["nodeid"] for touch in result.touches} == {"test_it.py::test_harm", "test_it.py::test_moves_the_root"}
    assert all(touch["path"].endswith("/.chat/notes.txt") for touch in result.touches)


@pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")
@pytest.mark.parametrize("start", [(), ("-m", "pytest_session_guard", "run", "--", sys.executable)])
def test_run_without_proc_is_guarded_by_what_needs_none(make_project: MakeProject, start: tuple[str, ...]) -> None:
    project = make_project({"test_it.py": HARM})

    done = project.call(
        *mount_namespace(),
        *("sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"),
        *(sys.executable, *start, "-m", "pytest", "-p", "no:randomly", "-p", "no:rerunfailures"),
    )

    words = done.stdout + done.stderr
    assert (project.home / ".chat" / "notes.txt").read_text() == HOME[".chat/notes.txt"]
    assert done.returncode == 1, words
    assert "1 failed, 1 passed" in words
    assert "Traceback" not in words
    assert "overlay unavailable (/proc is not mounted" in words


def test_run_that_finds_no_room_to_begin_stops_with_a_usage_error(make_project: MakeProject) -> None:
    # The plugin comes first, so that it is there when the guard is about to put its hook in place.
    breaker = (
        "import errno\nfrom pytest_session_guard._run import start\n\n"
        "def full(*args):\n    raise OSError(errno.EMFILE, 'Too many open files')\n\nstart.guard_exit = full\n"
    )
    project = make_project({"test_it.py": HARM, "breaker.py": breaker})

    result = project.run("-p", "breaker", env={"PYTHONPATH": str(project.root)})

    assert result.status == 4, result.words
    assert "session-guard cannot begin: " in result.words
    assert "Traceback" not in result.words
    assert result.changes == {}
