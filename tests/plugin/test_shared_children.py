"""What was there before in a shared place stays, also from children and native code that no hook is in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from capabilities import mount_namespace
from isolated import ordinary_account
from project import HOME, Account, MakeProject, Project

pytestmark = pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")

STORE = {
    **HOME,
    "store/real.json": "real\n",
    "store/deep/b.json": "b\n",
    "store/free.lock": "lock\n",
    "link": "->store",
}
INI = "[pytest]\nsession_guard_share = ~/store\nsession_guard_free = *.lock\n"
IMPORTS = """\
import ctypes, os, subprocess, sys
from pathlib import Path

import pytest

STORE = Path.home() / "store"
REAL = str(STORE / "real.json")

def sh(script):
    return subprocess.run(["sh", "-c", script], cwd=STORE, capture_output=True).returncode

"""
# Each is one way to hurt what was there before.
HARM = {
    "remove": "sh('rm -f real.json')",
    "remove_all": "sh('rm -rf *')",
    "truncate": "sh(': > real.json')",
    "append": "sh('echo x >> real.json')",
    "in_place": "sh('sed -i s/real/other/ real.json')",
    "move_away": "sh('mv real.json other.json')",
    "move_over": "sh('echo x > mine && mv mine real.json')",
    "move_directory": "sh('mv deep elsewhere')",
    "hard_link": "sh('ln real.json second.json')",
    "through_a_link": "sh('echo x > ~/link/real.json')",
    "by_descriptor_path": "sh('exec 3< real.json; echo x > /proc/self/fd/3')",
    "python_without_site": "subprocess.run([sys.executable, '-S', '-c', 'import os; os.remove(\"real.json\")'], cwd=STORE)",
    "native_unlink": "ctypes.CDLL(None).unlink(os.fsencode(REAL))",
    "native_truncate": "ctypes.CDLL(None).truncate(os.fsencode(REAL), 0)",
    "native_open": "ctypes.CDLL(None).creat(os.fsencode(REAL), 0o600)",
}
SUITE = IMPORTS + "".join(f"def test_{name}():\n    {act}\n\n" for name, act in HARM.items())
ALLOWED = (
    IMPORTS
    + """\
def test_read():
    assert sh("cat real.json deep/b.json && exec 3< real.json && wc -c real.json && [ -w real.json ]") == 0

def test_own_files():
    assert sh("echo a > mine && echo b >> mine && mv mine yours && ln yours second && rm yours second && mkdir d && rmdir d") == 0

def test_what_python_made():
    (STORE / "made.json").write_text("{}")
    assert sh("echo more >> made.json && rm made.json") == 0

def test_free_names():
    assert sh("echo x > free.lock") == 0

def test_elsewhere(tmp_path):
    assert sh(f"echo a > {tmp_path}/a && mv {tmp_path}/a {tmp_path}/b && rm {tmp_path}/b") == 0

@pytest.mark.session_guard(pristine=str(STORE))
def test_pristine():
    assert sh("rm real.json && echo x > deep/b.json") == 0
    assert not (STORE / "real.json").exists()

def test_there_again():
    assert (STORE / "real.json").read_text() == "real\\n"
    assert (STORE / "deep" / "b.json").read_text() == "b\\n"
"""
)


def store_of(project: Project) -> dict[str, str]:
    """What is in the store, by path relative to it."""
    store = project.home / "store"
    return {str(path.relative_to(store)): path.read_text() for path in store.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def account() -> Iterator[tuple[Account, Path]]:
    """An account without privileges, and a directory of its own."""
    with ordinary_account() as (account, place):
        yield account, place


@pytest.mark.parametrize("args", [(), ("-n", "2")], ids=["bare", "n2"])
@pytest.mark.parametrize("user", ["own", "ordinary"])
def test_each_way_is_refused_and_charged(account: tuple[Account, Path], user: str, args: tuple[str, ...]) -> None:
    who, place = account
    project = Project(
        place / f"{user}{len(args)}",
        {"test_it.py": SUITE, "pytest.ini": INI},
        STORE,
        who if user == "ordinary" else Account(),
    )

    result = project.run(*args)

    left = store_of(project)
    assert {name: left.get(name) for name in ("real.json", "deep/b.json")} == {
        "real.json": "real\n",
        "deep/b.json": "b\n",
    }
    assert {name for name in HARM if result.said_of(f"test_{name}") != {"FAILED"}} == set(), result.words
    assert {name for name in HARM if not result.touches_of(f"test_{name}")} == set()
    assert {touch["zone"] for touch in result.touches} == {"shared"}
    assert {touch["outcome"] for touch in result.touches} == {"refused"}
    assert "rm -f real.json" in result.touches_of("test_remove")[0]["process"]


def test_what_the_run_made_and_what_is_free_may_be_changed(make_project: MakeProject) -> None:
    project = make_project({"test_it.py": ALLOWED, "pytest.ini": INI}, STORE)

    result = project.run()

    assert (result.status, result.outcomes) == (0, {"passed": 7}), result.words
    assert store_of(project) == {"real.json": "real\n", "deep/b.json": "b\n", "free.lock": "x\n"}


def test_launcher_holds_it_too(make_project: MakeProject) -> None:
    suite = IMPORTS + "def test_it():\n    sh('rm real.json')\n"
    project = make_project({"test_it.py": suite, "pytest.ini": INI}, STORE)

    done = project.call(
        project.account.python, "-m", "pytest_session_guard", "run", "--", project.account.python, "-m", "pytest"
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "delete refused: " in done.stdout
    assert store_of(project)["real.json"] == "real\n"


def test_report_mode_lets_python_have_its_way_and_puts_it_back(make_project: MakeProject) -> None:
    suite = IMPORTS + "def test_it():\n    os.remove(REAL)\n    assert not os.path.exists(REAL)\n"
    project = make_project({"test_it.py": suite, "pytest.ini": INI}, STORE)

    result = project.run("--session-guard=report")

    assert (result.status, result.outcomes) == (0, {"passed": 1}), result.words
    assert store_of(project)["real.json"] == "real\n"


def test_disarmed_keeper_lets_the_damage_happen(make_project: MakeProject) -> None:
    deaf = (
        "from pytest_session_guard._controls.overlay.custody import Custody\n"
        "Custody.held = lambda self, thread, paths, to_write: ''\n"
    )
    suite = IMPORTS + "def test_it():\n    sh('rm real.json')\n"
    project = make_project({"deaf.py": deaf, "test_it.py": suite, "pytest.ini": INI}, STORE)

    result = project.run("-p", "deaf")

    assert "real.json" not in store_of(project), result.words


TAKEN = (
    IMPORTS
    + """\
import errno

def complaint(script):
    return subprocess.run(["sh", "-c", script], cwd=STORE, capture_output=True, text=True).stderr

def python(act):
    code = f"import os\\ntry: {act}\\nexcept FileExistsError: print('taken')"
    return subprocess.run(["python3", "-I", "-S", "-c", code], cwd=STORE, capture_output=True, text=True).stdout

def test_open():
    with pytest.raises(FileExistsError):
        open(REAL, "x")
    assert python("os.open('real.json', os.O_CREAT | os.O_EXCL | os.O_RDWR)") == "taken\\n"

def test_link(tmp_path):
    (tmp_path / "free").write_text("")
    (STORE / "own").write_text("")
    with pytest.raises(OSError) as caught:
        os.link(tmp_path / "free", REAL)
    assert caught.value.errno in (errno.EEXIST, errno.EXDEV)
    with pytest.raises(FileExistsError):
        os.link(STORE / "own", REAL)
    assert "exists" in complaint("ln own real.json")

def test_rename():
    assert "ermission" not in complaint("mv -n own real.json")
"""
)


def test_name_that_is_taken_is_said_to_be_taken_where_the_call_would_leave_what_is_there(
    make_project: MakeProject,
) -> None:
    project = make_project({"test_it.py": TAKEN, "pytest.ini": INI}, STORE)

    result = project.run()

    assert (result.status, result.outcomes) == (0, {"passed": 3}), result.words
    assert store_of(project)["real.json"] == "real\n"


def test_file_written_whole_in_a_free_place_and_linked_into_the_store_is_the_runs(make_project: MakeProject) -> None:
    suite = (
        "import os\nfrom pathlib import Path\n\n"
        "STORE = Path(__file__).parent.parent / 'store'\n\n"  # beside the home: what lies in it is a mount of its own
        "def test_it(tmp_path):\n"
        "    (tmp_path / 'whole').write_text('{}')\n"
        "    os.link(tmp_path / 'whole', STORE / 'new.json')\n"
        "    (STORE / 'new.json').write_text('[]')\n"
    )
    project = make_project({"test_it.py": suite, "pytest.ini": "[pytest]\nsession_guard_share = {rootdir}/../store\n"})
    (project.base / "store").mkdir()

    result = project.run()

    assert result.status == 0, result.words
    assert list((project.base / "store").iterdir()) == []
