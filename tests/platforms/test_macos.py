"""macOS, played on Linux (see `macos_stand_in`): the hook, the ledger and the manifest do their work without any of Linux's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from isolated import ordinary_account
from project import Project, Result, lines_of, write_files

from pytest_session_guard._core.removal import NOT_TOLD

STAND_IN = Path(__file__).with_name("macos_stand_in.py")
NOT_HERE = "unavailable (only Linux has it, and this is darwin)"
INI = """\
[pytest]
session_guard_share = ~/share
session_guard_redirect =
    ~/.app = app
    env:APP_HOME = home
"""
HOME = {
    ".app/notes.txt": "a real one\n",
    ".chat/notes.txt": "a real one\n",
    "share/foreign.json": "{}",
    "Library/Caches/old": "",
    "Library/Preferences/own.plist": "set by the user",
    "Library/Declared/declared.plist": "set by the user",
    # Other spellings of the same names.
    ".CHAT": "->.chat",
    "Share": "->share",
    "link": "->.chat/notes.txt",
}
CLEAN = """\
import mmap, multiprocessing, os, shutil, sqlite3, subprocess, sys, tempfile
from pathlib import Path

import app
import pytest

HOME, ROOT = Path(os.environ["HOME"]), Path(__file__).parent
UPPER = ROOT.parent / "PROJECT"

def test_platform():
    assert sys.platform == "darwin" and not hasattr(os, "O_PATH") and not os.path.exists("/proc/self")
    assert multiprocessing.get_start_method() == "spawn"

def test_temporary_files(tmp_path):
    tempfile.NamedTemporaryFile().close()
    shutil.rmtree(tempfile.mkdtemp())
    (tmp_path / "a").write_text("x")
    os.replace(tmp_path / "a", tmp_path / "b")
    os.symlink("b", tmp_path / "link")
    os.link(tmp_path / "link", tmp_path / "second")
    os.lchmod(tmp_path / "link", 0o600)
    sqlite3.connect(tmp_path / "d").close()

def test_a_link_of_its_own_to_real_data(tmp_path):
    os.symlink(HOME / ".chat" / "notes.txt", tmp_path / "link")
    os.lchmod(tmp_path / "link", 0o600)
    os.lchflags(tmp_path / "link", 0)
    os.chflags(tmp_path / "link", 0, follow_symlinks=False)

def test_workspace():
    (ROOT / "tracked.txt").write_text("changed")
    (ROOT / "made").mkdir()
    (ROOT / "made" / "x").write_text("x")
    shutil.rmtree(ROOT / "made")

def test_workspace_in_another_spelling():
    (UPPER / "tracked.txt").write_text("changed")
    (ROOT / "TRACKED.txt").write_text("changed")
    (UPPER / "fresh.txt").write_text("x")

def test_what_is_only_read():
    fd = os.open(HOME / ".chat" / "notes.txt", os.O_RDONLY)
    mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE).close()
    os.close(fd)

def test_relative_to_a_descriptor():
    from posix import open as bare  # no wrapper: the event hides the directory
    fd = os.open(ROOT, os.O_RDONLY)
    os.close(os.open("made.txt", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    os.close(bare("made.txt", os.O_WRONLY, dir_fd=fd))
    os.unlink("made.txt", dir_fd=fd)
    os.close(fd)

def test_redirected():
    app.FILE.parent.mkdir(parents=True, exist_ok=True)
    app.FILE.write_text("x")
    assert "home" in os.environ["APP_HOME"]

def test_shared(session_guard, session_dir):
    share = HOME / "share"
    written = session_guard.write_json(share / "a.json", {"a": 1})
    assert "__test_artifact" in written.read_text()
    (share / "plain.txt").write_text("x")
    session_guard.artifact(share / "plain.txt")
    (share / "left.json").write_text("{}")
    session_guard.artifact(share / "left.json")
    (HOME / "Share" / "spelled.txt").write_text("x")
    (share / "spelled.txt").unlink()
    (share / "d").mkdir()
    session_guard.artifact(share / "d")
    (share / "d" / "x.txt").write_text("x")
    session_guard.artifact(share / "d" / "x.txt")
    os.utime(share / "plain.txt", (1, 1))  # an old one, for whatever looks for such
    (share / "plain.txt").write_text("y")
    assert session_guard.remove(written).removed
    assert session_guard.sweep(share / "d", "*.txt").removed
    with session_guard.unchanged(HOME / ".chat"), session_guard.expect_refusal():
        (HOME / ".chat" / "notes.txt").unlink()

def work(path):
    Path(path).write_text("x")

def test_children(tmp_path):
    child = multiprocessing.Process(target=work, args=(str(tmp_path / "spawned"),))
    child.start()
    child.join()
    assert (tmp_path / "spawned").exists()
    subprocess.run([sys.executable, "-c", "open('by_child.txt', 'w').close()"], check=True, cwd=ROOT)

def test_cache():
    (HOME / "Library" / "Caches" / "new").write_text("x")
"""
APP = 'from pathlib import Path\nFILE = Path.home() / ".app" / "notes.txt"\n'
HARM = """\
import contextlib, os, subprocess, sys
from pathlib import Path

HOME, ROOT = Path(os.environ["HOME"]), Path(__file__).parent
NOTES = HOME / ".chat" / "notes.txt"

def test_swallowed():
    with contextlib.suppress(OSError):
        NOTES.unlink()

def test_directory():
    with contextlib.suppress(OSError):
        os.rename(HOME / ".chat", HOME / ".chat.bak")

def test_home_in_another_spelling():
    with contextlib.suppress(OSError):
        (HOME / ".CHAT" / "notes.txt").write_text("x")

def test_git_in_another_spelling():
    with contextlib.suppress(OSError):
        (ROOT / ".GIT" / "config").write_text("x")

def test_git_itself_in_another_spelling():
    with contextlib.suppress(OSError):
        os.rename(ROOT / ".GIT", ROOT / "gone")

def test_second_name_through_a_link():
    os.symlink(NOTES, ROOT / "link")
    with contextlib.suppress(OSError):
        os.link(ROOT / "link", ROOT / "alias")

def test_descriptor():
    fd = os.open(HOME / ".chat", os.O_RDONLY)
    with contextlib.suppress(OSError):
        os.open("notes.txt", os.O_WRONLY, dir_fd=fd)
    os.close(fd)

def test_descriptor_without_a_wrapper():
    from posix import open as bare

    fd = os.open(HOME / ".chat", os.O_RDONLY)
    with contextlib.suppress(OSError):
        bare("notes.txt", os.O_WRONLY, dir_fd=fd)
    os.close(fd)

def test_flags():
    with contextlib.suppress(OSError):
        os.chflags(NOTES, 0)

def test_foreign():
    with contextlib.suppress(OSError):
        (HOME / "share" / "foreign.json").write_text("x")

def test_library():
    with contextlib.suppress(OSError):
        (HOME / "Library" / "Preferences" / "own.plist").write_text("x")

def test_child():
    subprocess.run([sys.executable, "-c", f"open({str(NOTES)!r}, 'w')"], stderr=subprocess.DEVNULL)
"""
HARMFUL = frozenset(line[4:-3] for line in HARM.splitlines() if line.startswith("def "))
SHELL = """\
import subprocess
from pathlib import Path

def test_shell():
    for name in (".chat/notes.txt", "Library/Preferences/own.plist", "Library/Declared/declared.plist"):
        subprocess.run(["/bin/sh", "-c", f"echo more >> {Path.home()}/{name}"], check=True)
"""
KILLED = """\
import os
from pathlib import Path

def test_killed(session_guard):
    share = Path(os.environ["HOME"]) / "share"
    session_guard.write_json(share / "left.json", {})
    (share / "left").mkdir()
    (share / "left" / "x").write_text("x")
    Path("tracked.txt").write_text("half")
    os.unlink("app.py")
    os.kill(os.getpid(), 9)
"""
UNTAGGED = """\
import os, subprocess, sys
from pathlib import Path

def test_untagged():
    share = Path(os.environ["HOME"]) / "share"
    (share / "d").mkdir()
    (share / "d" / "x").write_text("x")
    (share / "new").write_text("x")
    os.replace(share / "new", share / "whole")
    script = "import sys; open(sys.argv[1], 'a').write('by a child')"
    subprocess.run([sys.executable, "-c", script, str(share / "whole")], check=True)
    (share / "whole").write_text("changed")
    (share / "gone").write_text("x")
    (share / "gone").unlink()
"""
NAMES = """\
from pathlib import Path
from pytest_session_guard._host.directories import OpenDirectory

here = Path.cwd()
(here / "one").mkdir()
(here / "two").write_text("two")
(here / "link").symlink_to("one")
with OpenDirectory(str(here)) as opened:
    opened.exchange("one", "two")
    print((here / "one").read_text(), (here / "two").is_dir())
    try:
        opened.move_if_free("two", opened, "tracked.txt")
    except FileExistsError:
        print("taken")
    opened.move_if_free("two", opened, "three")
    print((here / "three").is_dir())
try:
    OpenDirectory(str(here / "link"))
except NotADirectoryError:
    print("a symlink")
"""
FILES = {
    "pytest.ini": INI,
    "app.py": APP,
    "tracked.txt": "as it was",
    ".git/config": "[core]\n",
    ".GIT": "->.git",
    "TRACKED.txt": "->tracked.txt",
    "test_clean.py": CLEAN,
    "test_harm.py": HARM,
    "test_shell.py": SHELL,
    "test_killed.py": KILLED,
    "test_empty.py": "def test_empty():\n    pass\n",
    "test_untagged.py": UNTAGGED,
}


class Mac(Project):
    """A scratch project on a disk laid out as macOS does it; everything that it starts plays macOS."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # As /var/folders of macOS: what TMPDIR names is reached through a symlink.
        write_files(self.base, {"site/sitecustomize.py": STAND_IN.read_text(), "PROJECT": "->project", "var": "->tmp"})
        self.give_away()

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """With the stand-in for every Python."""
        site = {"PYTHONPATH": f"{self.base}/site", "TMPDIR": f"{self.base}/var", "PYTHONDONTWRITEBYTECODE": "1"}
        return {**super().environment(extra), **site}

    def command(self, *words: str) -> str:
        """What the command says, and its exit status."""
        done = self.call(self.account.python, "-m", "pytest_session_guard", *words)
        return f"{done.stdout}{done.stderr}(exit status {done.returncode})"

    def shared(self) -> set[str]:
        """What is in the shared place."""
        return {path.name for path in (self.home / "share").iterdir()}


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    """The user of the suite, on a Mac."""
    return Mac(tmp_path / "mac", FILES, HOME)


@pytest.fixture
def ordinary_mac() -> Iterator[Mac]:
    """A user without privileges, on a Mac."""
    with ordinary_account() as (account, place):
        yield Mac(place / "mac", FILES, HOME, account)


def violations_in(result: Result) -> set[str]:
    """The tests that are charged, by name; outside any test it is the empty one."""
    return {touch["nodeid"].rpartition("::")[2] for touch in result.touches}


def changed(result: Result) -> set[str]:
    """What is different in the home, but for directories to which names came, and for second names in the ledger."""
    return {path for path, facts in result.changes.items() if not {*facts} <= {"modified_ns", "links"}}


def assert_clean(result: Result) -> None:
    assert (result.status, set(result.outcomes)) == (0, {"passed"}), result.words
    assert result.touches == []
    assert changed(result) == {"Library/Caches/new"}, result.changes
    assert result.stderr == ""


def assert_refused(result: Result, harmful: frozenset[str] = HARMFUL) -> None:
    assert result.changes == {}, result.words
    assert (result.status, result.outcomes["failed"]) == (1, len(harmful)), result.words
    assert violations_in(result) == harmful
    assert {touch["outcome"] for touch in result.touches} == {"refused"}


def test_a_clean_suite_is_green_and_the_header_says_what_there_is(mac: Mac) -> None:
    result = mac.run("test_clean.py")

    assert_clean(result)
    [header] = result.header_lines
    assert f"layers: hook, overlay {NOT_HERE}, seal {NOT_HERE}, manifest" in header
    assert result.report is not None
    assert result.report["run"]["platform"] == "darwin"
    assert result.report["canary"] == {"hook": "refused", "overlay": "skipped", "seal": "skipped", "manifest": "seen"}
    assert mac.shared() == {"foreign.json"}
    assert lines_of(result.stdout, "1 file of the workspace changed")


def test_an_ordinary_user_is_guarded_as_well(ordinary_mac: Mac) -> None:
    assert_clean(ordinary_mac.run("-n", "2", "test_clean.py"))
    # The interpreter that root lends is a copy, in which no start-up file reaches the children.
    assert_refused(ordinary_mac.run("test_harm.py", "-k", "not child"), HARMFUL - {"test_child"})


def test_what_is_not_tagged_may_be_changed_stays_in_a_shared_place_and_is_named(mac: Mac) -> None:
    result = mac.run("test_untagged.py")

    assert (result.status, result.touches) == (0, []), result.words
    assert mac.shared() == {"foreign.json", "d", "whole"}
    assert result.report is not None
    kept = {Path(one["path"]).name: one["reason"] for one in result.report["artifacts"]["kept"]}
    assert kept == dict.fromkeys(("d", "x", "whole"), NOT_TOLD)


def test_harm_is_refused_in_workers(mac: Mac) -> None:
    assert_refused(mac.run("-n", "2", "test_harm.py"))


def test_harm_of_a_shell_is_seen_but_what_the_library_holds_undeclared(mac: Mac) -> None:
    result = mac.run("--session-guard-protect=~/Library/Declared", "test_shell.py")

    assert (result.status, result.outcomes) == (1, {"passed": 1}), result.words
    assert {touch["layer"] for touch in result.touches} == {"manifest"}
    assert {Path(touch["path"]).name for touch in result.touches} == {"notes.txt", "declared.plist"}, result.words
    assert result.report is not None
    assert f"'{mac.home}/Library' is left to the system" in result.report["layers"]["manifest"]["reason"]


def test_report_mode_puts_everything_back(mac: Mac) -> None:
    chosen = {"test_home_in_another_spelling", "test_git_in_another_spelling", "test_foreign", "test_library"}

    result = mac.run("--session-guard=report", "test_harm.py", "-k", " or ".join(chosen))

    assert (result.status, changed(result)) == (0, set()), result.words
    assert {touch["outcome"] for touch in result.touches} == {"preserved"}
    assert violations_in(result) == chosen
    assert (mac.root / ".git" / "config").read_text() == "[core]\n"


def test_what_a_killed_run_left_is_finished_and_restored(mac: Mac) -> None:
    assert mac.run("test_killed.py", report=False).status == -9
    assert mac.shared() == {"foreign.json", "left.json", "left"}

    assert mac.run("test_empty.py").status == 0

    # Nobody tells there that the run made it.
    assert mac.shared() == {"foreign.json", "left"}
    killed = mac.command("runs").split()[0]
    said = mac.command("restore", killed)
    assert "(exit status 0)" in said, said
    assert ((mac.root / "tracked.txt").read_text(), (mac.root / "app.py").read_text()) == ("as it was", APP)


def test_names_are_exchanged_and_moved_by_the_calls_that_are_there(mac: Mac) -> None:
    done = mac.call(sys.executable, "-c", NAMES)

    assert done.stdout.split("\n") == ["two True", "taken", "True", "a symlink", ""], done.stderr


def test_the_launcher_guards_too(mac: Mac) -> None:
    said = mac.command("run", "--", sys.executable, "-m", "pytest", "-q", "test_harm.py")

    assert f"{len(HARMFUL)} failed" in said, said
    assert "(exit status 1)" in said
    assert (mac.home / ".chat" / "notes.txt").read_text() == "a real one\n"


def test_the_doctor_tells_what_this_machine_gives(mac: Mac) -> None:
    done = mac.call(sys.executable, "-m", "pytest_session_guard", "doctor", "--json")

    said = json.loads(done.stdout)
    assert {name: layer["status"] for name, layer in said["layers"].items()} == {
        "hook": "enforced",
        "overlay": "unavailable",
        "seal": "unavailable",
        "manifest": "enforced",
    }
    assert said["guards"] is True
    assert {name: check["status"] for name, check in said["checks"].items()} == {
        "pytest": "partial",  # its inventory leaves the library of the home to the system
        "children": "enforced",
        "ledger": "enforced",
    }


def test_a_layer_that_is_asked_for_by_name_stops_the_run(mac: Mac) -> None:
    result = mac.run("--session-guard-layers=hook,seal", "test_empty.py", report=False)

    assert result.status == 4, result.words
    assert "layer seal is not to be had: only Linux has it, and this is darwin" in result.stderr
