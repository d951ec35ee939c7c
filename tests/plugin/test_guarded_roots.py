"""A guarded root itself, which a layer is mounted on: suites in ``report`` mode and with pristine copies remove it all the same."""

from __future__ import annotations

import pytest
from capabilities import mount_namespace
from project import MakeProject

pytestmark = pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")

SUITE = """\
import errno, os, shutil
from pathlib import Path
import pytest

{mark}
def test_it(tmp_path{fixture}):
    {body}
"""
FILES = {"data/b.json": "real", "data/deep/c.json": "real too", ".env": "SECRET=1\n"}
GUARD = ("--session-guard-protect={rootdir}/data", "--session-guard-protect={rootdir}/.env")
AGAIN = "os.mkdir('data'); assert os.listdir('data') == []; Path('data/new').write_text('x')"

WAYS = (
    pytest.param(f"shutil.rmtree('data'); {AGAIN}", "data", id="tree"),
    pytest.param(f"shutil.rmtree(Path('data').resolve()); Path('data').mkdir(parents=True); {AGAIN[18:]}", "data", id="by-pathlib"),
    pytest.param("shutil.rmtree('data'); shutil.rmtree('data')", "data", id="twice"),
    pytest.param(
        "os.rename('data', 'data.bak'); assert os.listdir('data') == [] and Path('data.bak/deep/c.json').exists()",
        "data", id="renamed-away",
    ),
    pytest.param(
        "os.rename('data', 'data.bak'); os.mkdir('data'); os.rmdir('data'); os.rename('data.bak', 'data')\n"
        "    assert Path('data/deep/c.json').read_text() == 'real too' and not os.path.exists('data.bak')",
        "data", id="renamed-away-and-back",
    ),
    pytest.param("shutil.move('data', tmp_path / 'data'); shutil.copytree(tmp_path / 'data', 'data')", "data", id="moved-and-copied-back"),
    pytest.param("os.remove('.env'); Path('.env').write_text('TEST=1')", ".env", id="file"),
    pytest.param("Path('.env').unlink(); assert Path('.env').read_text() == ''", ".env", id="file-by-pathlib"),
    pytest.param(
        "os.rename('.env', 'env.bak'); os.replace('env.bak', '.env'); assert Path('.env').read_text() == 'SECRET=1\\n'",
        ".env", id="file-renamed-away-and-back",
    ),
)  # fmt: skip


@pytest.mark.parametrize(("body", "root"), WAYS)
def test_report_mode_lets_the_suite_remove_a_root_of_the_rootdir(
    make_project: MakeProject, body: str, root: str
) -> None:
    project = make_project({**FILES, "test_it.py": SUITE.format(mark="", fixture="", body=body)})

    result = project.run("--session-guard=report", *GUARD)

    assert (result.status, result.outcomes) == (0, {"passed": 1}), result.words
    assert {name: (project.root / name).read_text() for name in FILES} == FILES
    assert {touch["outcome"] for touch in result.touches if touch["violation"]} == {"contained"}
    assert f"{project.root}/{root}" in {touch["path"] for touch in result.touches}


def test_what_a_removed_root_cannot_stand_for_fails_as_it_would(make_project: MakeProject) -> None:
    body = (
        "with pytest.raises(OSError) as caught:\n        os.rmdir('data')\n    assert caught.value.errno == errno.ENOTEMPTY\n"
        "    with pytest.raises(FileExistsError):\n        os.mkdir('data')\n"
        "    shutil.rmtree('data'); Path('data/again').write_text('x')\n"
        "    with pytest.raises(FileExistsError):\n        os.mkdir('data')\n"
    )
    project = make_project({**FILES, "test_it.py": SUITE.format(mark="", fixture="", body=body)})

    result = project.run("--session-guard=report", *GUARD)

    assert (result.status, result.outcomes) == (0, {"passed": 1}), result.words
    assert {name: (project.root / name).read_text() for name in FILES} == FILES


def test_python_child_in_report_mode_removes_a_root_too(make_project: MakeProject) -> None:
    body = (
        "import subprocess, sys\n"
        "    code = \"import os, shutil; open('data/first', 'w').close(); shutil.rmtree('data'); os.mkdir('data')\"\n"
        "    subprocess.run([sys.executable, '-c', code], check=True)"
    )
    project = make_project({**FILES, "test_it.py": SUITE.format(mark="", fixture="", body=body)})

    result = project.run("--session-guard=report", *GUARD)

    assert (result.status, result.outcomes) == (0, {"passed": 1}), result.words
    assert {name: (project.root / name).read_text() for name in FILES} == FILES


@pytest.mark.parametrize("body", ["shutil.rmtree('data')", "os.rename('data', 'data.bak')", "os.remove('.env')"])
def test_enforced_run_refuses_to_remove_a_root(make_project: MakeProject, body: str) -> None:
    body = f"with pytest.raises(PermissionError):\n        {body}\n    assert os.listdir('data') and Path('.env').read_text()"
    project = make_project({**FILES, "test_it.py": SUITE.format(mark="", fixture="", body=body)})

    result = project.run(*GUARD)

    assert result.status == 1, result.words
    assert {name: (project.root / name).read_text() for name in FILES} == FILES
    assert {touch["outcome"] for touch in result.touches} == {"refused"}


def test_pristine_root_may_be_removed_by_its_test_and_the_next_one_has_it(make_project: MakeProject) -> None:
    body = f"with session_guard.pristine('{{rootdir}}/data'):\n        shutil.rmtree('data'); {AGAIN}\n"
    after = "def test_next():\n    assert Path('data/deep/c.json').read_text() == 'real too' and not Path('data/new').exists()\n"
    suite = SUITE.format(mark="", fixture=", session_guard", body=body) + after
    project = make_project({**FILES, "test_it.py": suite})

    result = project.run(*GUARD)

    assert (result.status, result.outcomes, result.touches) == (0, {"passed": 2}, []), result.words
    assert {name: (project.root / name).read_text() for name in FILES} == FILES
