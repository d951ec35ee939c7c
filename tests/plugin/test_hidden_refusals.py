"""A refusal counts wherever it happens and whatever becomes of the exception: bare and under pytest-xdist alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from project import MakeProject, Project, Result, lines_of

SUITE = """\
import contextlib, shutil, threading, unittest, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

CHAT = Path.home() / ".chat"
NOTES = CHAT / "notes.txt"


def test_plain():
    NOTES.unlink()


def test_swallowed():
    try:
        NOTES.unlink()
    except Exception:
        pass


def test_suppressed():
    with contextlib.suppress(OSError):
        NOTES.write_text("gone")


def test_ignore_errors():
    shutil.rmtree(CHAT, ignore_errors=True)


@pytest.mark.xfail
def test_xfail():
    NOTES.unlink()


@pytest.mark.xfail(strict=True)
def test_xfail_strict():
    NOTES.unlink()


@pytest.mark.xfail(raises=PermissionError)
def test_xfail_raises():
    NOTES.unlink()


@pytest.mark.xfail
def test_xpass():
    with contextlib.suppress(OSError):
        NOTES.unlink()


def test_pytest_raises():
    with pytest.raises(PermissionError):
        NOTES.unlink()


def test_skips_after():
    try:
        NOTES.unlink()
    except OSError:
        pytest.skip("could not delete")


def test_xfails_after():
    try:
        NOTES.unlink()
    except OSError:
        pytest.xfail("could not delete")


def test_thread():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        thread = threading.Thread(target=NOTES.unlink)
        thread.start()
        thread.join()


def test_pool():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(NOTES.unlink).exception() is not None


def test_generator_finalizer():
    def steps():
        try:
            yield 1
        finally:
            with contextlib.suppress(OSError):
                NOTES.unlink()

    walk = steps()
    next(walk)
    del walk


@pytest.fixture
def in_setup():
    with contextlib.suppress(OSError):
        NOTES.unlink()


def test_setup(in_setup):
    pass


def test_setup_and_skip(in_setup):
    pytest.skip("anyway")


@pytest.fixture
def in_teardown():
    yield
    with contextlib.suppress(OSError):
        NOTES.unlink()


def test_teardown(in_teardown):
    pass


@pytest.fixture
def refused_finalizer(request):
    request.addfinalizer(NOTES.unlink)


def test_finalizer(refused_finalizer):
    pass


@pytest.mark.parametrize("name", [pytest.param("notes.txt", id="a real one"), "missing.txt"])
def test_parametrised(name):
    (CHAT / name).unlink(missing_ok=True)


class TestClass:
    @pytest.fixture(scope="class", autouse=True)
    def of_class(self):
        yield
        with contextlib.suppress(OSError):
            NOTES.unlink()

    def test_first(self):
        pass

    def test_last(self):
        pass


class TestUnittest(unittest.TestCase):
    def tearDown(self):
        with contextlib.suppress(OSError):
            NOTES.unlink()

    def test_case(self):
        pass


def test_innocent():
    assert NOTES.read_text() == "notes of a person\\n"
"""

# name of the test -> the word of pytest's summary, the phase of the touch
EXPECTED = {
    "test_plain": ("FAILED", "call"),
    "test_swallowed": ("FAILED", "call"),
    "test_suppressed": ("FAILED", "call"),
    "test_ignore_errors": ("FAILED", "call"),
    "test_xfail": ("FAILED", "call"),
    "test_xfail_strict": ("FAILED", "call"),
    "test_xfail_raises": ("FAILED", "call"),
    "test_xpass": ("FAILED", "call"),
    "test_pytest_raises": ("FAILED", "call"),
    "test_skips_after": ("FAILED", "call"),
    "test_xfails_after": ("FAILED", "call"),
    "test_thread": ("FAILED", "call"),
    "test_pool": ("FAILED", "call"),
    "test_generator_finalizer": ("FAILED", "call"),
    "test_setup": ("ERROR", "setup"),
    "test_setup_and_skip": ("ERROR", "setup"),
    "test_teardown": ("ERROR", "teardown"),
    "test_finalizer": ("ERROR", "teardown"),
    "test_parametrised[a real one]": ("FAILED", "call"),
    "test_last": ("ERROR", "teardown"),
    "test_case": ("FAILED|ERROR", "call|teardown"),
}
GREEN = ("test_innocent", "test_parametrised[missing.txt]", "test_first")
EACH = pytest.mark.parametrize("name", list(EXPECTED))


@dataclass(frozen=True)
class Ran:
    project: Project
    result: Result


@pytest.fixture(scope="module")
def ran(make_shared_project: MakeProject, workers: tuple[str, ...]) -> Ran:
    """The suite once for each way of running it; a class stays in one worker, so its last test is its last."""
    project = make_shared_project({"test_hidden.py": SUITE})
    return Ran(project, project.run(*workers, *(("--dist", "loadscope") if workers else ())))


@EACH
def test_refusal_turns_its_test_red_in_its_phase(ran: Ran, name: str) -> None:
    word, phase = EXPECTED[name]

    touches = ran.result.touches_of(name)

    assert touches, ran.result.words
    assert {touch["phase"] for touch in touches} <= set(phase.split("|"))
    assert ran.result.said_of(name) & set(word.split("|")), ran.result.words
    assert not ran.result.said_of(name) & {"XFAIL", "XPASS", "SKIPPED"}


@EACH
def test_refusal_names_the_line_that_did_it(ran: Ran, name: str) -> None:
    source = (ran.project.root / "test_hidden.py").read_text().splitlines()
    acting = ("NOTES.unlink", "NOTES.write_text", "rmtree", ".unlink(missing_ok", "pool.submit", "thread.start")

    first = ran.result.touches_of(name)[0]

    if name in {"test_thread", "test_pool", "test_finalizer"}:
        # No line of the suite is on the stack of these: the callable is handed to others.
        assert first["function"]
        return
    assert Path(first["file"]).name == "test_hidden.py"
    assert any(sign in source[first["line"] - 1] for sign in acting), first


def test_store_is_untouched(ran: Ran) -> None:
    assert ran.result.changes == {}


def test_run_is_red_and_the_innocent_are_green(ran: Ran) -> None:
    assert ran.result.status == 1
    assert {name: ran.result.said_of(name) & {"FAILED", "ERROR"} for name in GREEN} == dict.fromkeys(GREEN, frozenset())
    assert {touch["nodeid"].rpartition("::")[2] for touch in ran.result.touches} == set(EXPECTED)


def test_report_counts_what_it_lists(ran: Ran) -> None:
    report = ran.result.report

    assert report is not None
    assert report["violations"] == len(ran.result.touches)
    assert report["verdict"] == "violated"


def test_section_is_printed_once_with_every_test(ran: Ran) -> None:
    headings = [line for line in ran.result.stdout.splitlines() if line.strip("= ") == "session-guard"]
    section = ran.result.stdout.partition(headings[0] + "\n")[2].partition("short test summary info")[0]

    assert len(headings) == 1
    assert [name for name in EXPECTED if not lines_of(section, name)] == []
    assert ran.result.header_lines[:1] == ran.result.header_lines


def test_refusal_is_in_the_words_of_the_message_form(ran: Ran) -> None:
    notes = f"{ran.project.home}/.chat/notes.txt"

    said = ran.result.stdout.partition("delete refused: ")[2]

    assert said.startswith(repr(notes) + " existed before this run")
    for label in ("operation: ", "zone: protected", "test: ", "by: ", "fix: ", "[protected-path]"):
        assert label in said.partition("[protected-path]")[0] + "[protected-path]"
