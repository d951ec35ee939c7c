"""``lint``: exit codes, output, comments that answer, files that cannot be read; nothing of what it reads runs."""

from __future__ import annotations

import json
import os

import pytest
from project import MakeProject, Project, snapshot

from .commands import guard

BAD = """\
from pathlib import Path

import pytest

HISTORY = Path(__file__).parent / "history"


@pytest.fixture(autouse=True)
def tidy():
    yield
    for path in HISTORY.glob("session_*"):
        path.unlink()
"""
GOOD = "def test_it(tmp_path):\n    (tmp_path / 'x').write_text('x')\n"
ADVICE = "def test_it(monkeypatch):\n" + "".join(
    f"    monkeypatch.setattr('app.paths.A{n}_DIR', 1)\n" for n in range(3)
)


def test_lint_points_at_the_place_and_says_what_to_do(make_project: MakeProject) -> None:
    done = guard(make_project({"tests/conftest.py": BAD, "tests/test_it.py": GOOD}), "lint", "tests")

    assert done.returncode == 1, done.stderr
    first, fix, numbers = done.stdout.splitlines()
    assert first.startswith("tests/conftest.py:12:9: removes whatever a listing finds in the checkout: path.unlink() [")
    assert first.endswith("[delete-by-pattern]")
    assert fix.startswith("  fix: ")
    assert "session_guard.sweep" in fix
    assert numbers == "2 files read, 1 finding"


def test_lint_of_an_innocent_suite_is_status_0(make_project: MakeProject) -> None:
    done = guard(make_project({"tests/test_it.py": GOOD}), "lint", "tests")

    assert (done.returncode, done.stdout) == (0, "1 file read, 0 findings\n"), done.stderr


def test_advice_alone_is_status_0(make_project: MakeProject) -> None:
    done = guard(make_project({"tests/test_it.py": ADVICE}), "lint", "tests")

    assert done.returncode == 0, done.stderr
    assert "[patched-by-hand]" in done.stdout


def test_lint_as_json_has_findings_and_numbers(make_project: MakeProject) -> None:
    said = json.loads(guard(make_project({"tests/conftest.py": BAD}), "lint", "--json", "tests").stdout)

    [finding] = said["findings"]
    assert (finding["file"], finding["line"], finding["column"]) == ("tests/conftest.py", 12, 9)
    assert (finding["slug"], finding["severity"]) == ("delete-by-pattern", "danger")
    assert (said["schema"], said["files"], said["ignored"], said["unread"]) == ("session-guard-lint/1", 1, 0, [])


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("--ignore", "delete-by-pattern"), 0),
        (("--select=delete-tree,real-place",), 0),
        (("--select", "delete-by-pattern"), 1),
        (("--select", "nothing"), 2),
        (("--ignore", ""), 2),
    ],
)
def test_rules_are_chosen_by_their_slugs(make_project: MakeProject, words: tuple[str, ...], status: int) -> None:
    done = guard(make_project({"tests/conftest.py": BAD}), "lint", *words, "tests")

    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("comment", "status", "words"),
    [
        (
            "# session-guard: lint-ignore[delete-by-pattern] made two lines above",
            0,
            "0 findings, 1 ignored with a reason",
        ),
        ("# session-guard: lint-ignore[delete-tree, delete-by-pattern]: ours", 0, "1 ignored with a reason"),
        ("# session-guard: lint-ignore[delete-tree] ours", 1, "1 finding"),
        ("# session-guard: lint-ignore[delete-by-pattern]", 1, "gives no reason and does not count"),
    ],
)
def test_comment_with_a_reason_answers_for_a_finding(
    make_project: MakeProject, comment: str, status: int, words: str
) -> None:
    text = BAD.replace("path.unlink()", f"path.unlink()  {comment}")

    done = guard(make_project({"tests/conftest.py": text}), "lint", "tests")

    assert done.returncode == status, done.stdout
    assert words in done.stdout


def test_files_that_cannot_be_read_are_named_after_the_rest_and_make_status_3(make_project: MakeProject) -> None:
    broken = {
        "tests/test_syntax.py": "def :\n",
        "tests/test_bytes.py": b"x = '\xff'\n",
        "tests/test_nul.py": b"x = 1\0\n",
        "tests/test_deep.py": "x = " + "(" * 150 + "1" + ")" * 150 + "\n",
        "tests/data/python2.py": "print 'data of a test'\n",
    }
    project = make_project({"tests/conftest.py": BAD, **broken})
    os.mkfifo(project.root / "tests" / "test_fifo.py")

    done = guard(project, "lint", "tests", "missing")

    assert done.returncode == 3
    assert "[delete-by-pattern]" in done.stdout
    for name in ("test_syntax.py", "test_bytes.py", "test_nul.py", "test_fifo.py", "missing"):
        assert f"{name}': " in done.stderr
    assert "python2.py" not in done.stderr
    assert "Traceback" not in done.stderr


def test_text_in_another_encoding_is_read_where_the_file_says_which(make_project: MakeProject) -> None:
    latin = ("# coding: latin-1\n# caf\xe9\n" + BAD).encode("latin-1")

    assert guard(make_project({"tests/conftest.py": latin}), "lint", "tests").returncode == 1


def test_expression_nested_too_deeply_is_named(make_project: MakeProject) -> None:
    project = make_project({"tests/test_deep.py": "x = " + "+".join(["1"] * 20_000) + "\n", "tests/conftest.py": BAD})

    done = guard(project, "lint", "tests")

    assert done.returncode == 3
    assert "test_deep.py" in done.stderr
    assert "[delete-by-pattern]" in done.stdout
    assert "Traceback" not in done.stderr


def test_file_that_was_asked_for_by_name_is_read_whatever_it_is_called(make_project: MakeProject) -> None:
    project = make_project({"tool.py": BAD, "data.txt": "no Python :\n"})

    assert guard(project, "lint", "tool.py").returncode == 1
    assert guard(project, "lint", "data.txt").returncode == 3


def test_only_test_files_are_read_and_no_caches_or_environments(make_project: MakeProject) -> None:
    passed_over = (
        "src/app.py", "tests/.hidden/test_a.py", "tests/__pycache__/test_a.py", "node_modules/tests/test_a.py", ".venv/tests/test_a.py",
        "own_env/lib/tests/test_a.py",
    )  # fmt: skip
    read = ("conftest.py", "src/test_b.py", "src/b_test.py", "tests/helpers.py", "tests/unit/scene.py")
    project = make_project({**dict.fromkeys((*passed_over, *read), BAD), "own_env/pyvenv.cfg": ""})

    said = json.loads(guard(project, "lint", "--json", ".").stdout)

    assert [finding["file"] for finding in said["findings"]] == sorted(f"./{name}" for name in read)


def test_nothing_that_is_read_runs_and_nothing_is_written(make_project: MakeProject) -> None:
    trap = "import os\nos._exit(77)\n"
    project = make_project({"tests/conftest.py": trap, "tests/__init__.py": trap, "tests/test_it.py": trap + BAD})
    before = snapshot(project.root)

    done = guard(project, "lint", "tests")

    assert done.returncode == 1, done.stderr
    assert snapshot(project.root) == before


def test_order_is_the_same_every_time(make_project: MakeProject) -> None:
    project = make_project({f"tests/{name}/test_{name}.py": BAD + ADVICE for name in "cab"})

    outputs = {guard(project, "lint", "tests", env={"PYTHONHASHSEED": str(seed)}).stdout for seed in range(3)}

    assert len(outputs) == 1


STORE = "from app.paths import STATE_FILE\n\ndef test_it():\n    STATE_FILE.unlink()\n"


@pytest.mark.parametrize(
    ("ini", "text", "status"),
    [
        ("", STORE, 1),
        ("session_guard_redirect = ~/.app = app", STORE, 0),
        ("session_guard_home = redirect", "from pathlib import Path\n(Path.home() / 'x').touch()\n", 0),
        ("session_guard_home = keep", "from pathlib import Path\n(Path.home() / 'x').touch()\n", 1),
    ],
)
def test_what_the_configuration_redirects_is_no_real_place(
    make_project: MakeProject, ini: str, text: str, status: int
) -> None:
    project: Project = make_project({"pytest.ini": f"[pytest]\n{ini}\n", "tests/test_it.py": text})

    assert guard(project, "lint", "tests").returncode == status


def test_file_given_twice_is_read_once(make_project: MakeProject) -> None:
    project = make_project({"tests/conftest.py": BAD})
    (project.root / "link.py").symlink_to("tests/conftest.py")

    assert guard(project, "lint", "tests", "tests/conftest.py", "link.py").stdout.endswith("1 file read, 1 finding\n")
