"""The words for people: the exact form of an entry, the section, the header."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_session_guard._core.records import Touch
from pytest_session_guard._report.text import (
    SHOWN_IN_FULL,
    entry,
    fix_for,
    header,
    headline,
    preserved_lines,
    printable,
    relative,
    section,
    shown_path,
    slug,
    tilde,
    where,
)

# A loaded machine is no fault of the code's.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ROOT = "/home/u/project"


def touch(**changes: Any) -> Touch:
    facts: dict[str, Any] = {
        "time": 1.0,
        "operation": "os.remove",
        "path": "/home/u/.hermes/sessions/a.json",
        "zone": "protected",
        "outcome": "refused",
        "violation": True,
        "layer": "hook",
        "nodeid": "tests/test_cleanup.py::test_list",
        "phase": "teardown",
        "pid": 7,
        "file": f"{ROOT}/tests/conftest.py",
        "line": 54,
        "function": "cleanup_temp_workspaces",
        "reason": "existed before this run",
        "rule": "protected ~/.hermes (pyproject.toml: session_guard_protect)",
    }
    return Touch(**{**facts, **changes})


def test_entry_has_the_documented_form() -> None:
    assert (
        entry(touch(), ROOT)
        == """\
delete refused: '/home/u/.hermes/sessions/a.json' existed before this run
  operation: os.remove      zone: protected ~/.hermes (pyproject.toml: session_guard_protect)
  test: tests/test_cleanup.py::test_list (teardown)   by: tests/conftest.py:54 in cleanup_temp_workspaces
  fix:  redirect the path (session_guard_redirect), or let tests create files there (session_guard_share)
  [protected-path]"""
    )


def test_entry_of_another_process_names_it_and_has_no_line_where_none_is_known() -> None:
    found = entry(
        touch(operation="open", file="", line=0, function="", process="python3 sync.py --all", layer="overlay",
              outcome="contained", rule=""),
        ROOT,
    )  # fmt: skip

    assert (
        found
        == """\
write contained: '/home/u/.hermes/sessions/a.json' existed before this run
  operation: open      zone: protected
  test: tests/test_cleanup.py::test_list (teardown)
  process: 7 python3 sync.py --all
  fix:  redirect the path (session_guard_redirect), or let tests create files there (session_guard_share)
  [protected-path]"""
    )


@pytest.mark.parametrize(
    ("operation", "verb"),
    [
        ("open", "write"),
        ("sqlite3.connect", "write"),
        ("mmap.__new__", "write"),
        ("os.remove", "delete"),
        ("os.rmdir", "delete"),
        ("shutil.rmtree (os.rmdir)", "delete"),
        ("pathlib.Path.write_text (open)", "write"),
        ("os.rename", "rename"),
        ("os.mkdir", "create"),
        ("os.symlink", "create"),
        ("os.mkfifo", "create"),
        ("os.link", "link"),
        ("os.truncate", "truncate"),
        ("os.chmod", "chmod"),
        ("os.utime", "utime"),
    ],
)
def test_headline_says_what_was_tried(operation: str, verb: str) -> None:
    found = headline(touch(operation=operation))

    assert found == f"{verb} refused: '/home/u/.hermes/sessions/a.json' existed before this run"


@pytest.mark.parametrize("outcome", ["refused", "contained", "preserved", "allowed"])
def test_headline_says_what_became_of_it(outcome: str) -> None:
    assert headline(touch(outcome=outcome)).startswith(f"delete {outcome}: ")


def test_error_of_the_guard_is_told_apart() -> None:
    broken = touch(layer="guard", reason="cannot be judged (ValueError)")

    assert headline(broken) == "guard-error refused: '/home/u/.hermes/sessions/a.json' cannot be judged (ValueError)"
    assert slug(broken) == "guard-error"
    assert fix_for(broken) == "an error of the guard itself; please report it with the lines above"


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        pytest.param(
            {},
            "redirect the path (session_guard_redirect), or let tests create files there (session_guard_share)",
            id="declared-place",
        ),
        pytest.param(
            {"rule": "protected / (default)"},
            "write below tmp_path, or allow the place (session_guard_free)",
            id="the-rest-of-the-disk",
        ),
        pytest.param(
            {"rule": "protected / (default)", "operation": "Engine.connect (sqlite3.connect)"},
            "to read only, connect to 'file:PATH?mode=ro' with uri=True; "
            "else write below tmp_path, or allow the place (session_guard_free)",
            id="a-database-that-may-be-read",
        ),
        pytest.param({"fix": "take the mark off"}, "take the mark off", id="its-own"),
        pytest.param({"fix": "as it says", "layer": "guard"}, "as it says", id="its-own-before-all-others"),
    ],
)
def test_fix_is_one_thing_to_do_now(changes: dict[str, str], fix: str) -> None:
    assert fix_for(touch(**changes)) == fix


@pytest.mark.parametrize(("layer", "expected"), [
    ("hook", "protected-path"), ("overlay", "protected-path"), ("seal", "protected-path"), ("manifest", "protected-path"),
    ("guard", "guard-error"), ("object", "not-created-by-run"),
])  # fmt: skip
def test_slug_is_that_of_the_kind_of_violation(layer: str, expected: str) -> None:
    assert slug(touch(layer=layer)) == expected


@pytest.mark.parametrize(
    ("nodeid", "phase", "expected"),
    [
        ("t.py::a", "setup", "t.py::a (setup)"),
        ("t.py::a", "call", "t.py::a (call)"),
        ("t.py::a", "teardown", "t.py::a (teardown)"),
        ("t.py::a", "late", "t.py::a (after its end)"),
        ("t.py::a", "", "t.py::a"),
        ("", "collection", "(during collection)"),
        ("", "late", "(after the run)"),
        ("", "session", "(outside any test)"),
        ("", "", "(outside any test)"),
    ],
)
def test_where_names_the_test_or_the_moment(nodeid: str, phase: str, expected: str) -> None:
    assert where(touch(nodeid=nodeid, phase=phase)) == expected


@pytest.mark.parametrize(
    ("file", "rootdir", "expected"),
    [
        ("/r/a/b.py", "/r", "a/b.py"),
        ("/ra/b.py", "/r", "/ra/b.py"),
        ("/r", "/r", "/r"),
        ("/x/b.py", "", "/x/b.py"),
        ("<string>", "/r", "<string>"),
    ],
)
def test_file_is_shown_as_seen_from_the_rootdir(file: str, rootdir: str, expected: str) -> None:
    assert relative(file, rootdir) == expected


@pytest.mark.parametrize(
    ("path", "home", "expected"),
    [("/h/u", "/h/u", "~"), ("/h/u/x", "/h/u", "~/x"), ("/h/u2/x", "/h/u", "/h/u2/x"), ("/x", "", "/x")],
)
def test_home_is_shown_as_a_tilde(path: str, home: str, expected: str) -> None:
    assert tilde(path, home) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/a b/ü", "'/a b/ü'", id="plain"),
        pytest.param("/caf\udce9", r"'/caf\udce9'", id="lone-byte"),
        pytest.param("/a\nb\x1b[31m\x07", r"'/a\nb\x1b[31m\x07'", id="control-characters"),
        pytest.param("/a\u202eb\u2028", r"'/a\u202eb\u2028'", id="characters-that-turn-the-line"),
        pytest.param("/\ud800", r"'/\ud800'", id="half-a-character"),
        pytest.param("/it's", '"/it\'s"', id="quote"),
    ],
)
def test_path_is_shown_quoted_and_escaped(path: str, expected: str) -> None:
    assert shown_path(path) == expected


TEXTS = st.text(alphabet=st.characters(codec=None), max_size=20)


@UNHURRIED
@given(TEXTS)
def test_printable_text_prints_and_can_be_encoded(text: str) -> None:
    found = printable(text)

    assert found.isprintable() or found == ""
    found.encode("utf-8")
    assert printable(found) == found
    if text.isprintable():
        assert found == text


@UNHURRIED
@given(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS)
def test_entry_keeps_its_lines_whatever_the_names_hold(
    path: str, nodeid: str, file: str, process: str, rule: str
) -> None:
    found = entry(touch(path="/" + path, nodeid="n" + nodeid, file="f" + file, process="p" + process, rule="r" + rule))

    lines = found.split("\n")
    assert len(lines) == 6
    assert all(line.isprintable() for line in lines)
    assert lines[-1] == "  [protected-path]"


def test_section_is_grouped_by_test_and_ordered_by_time() -> None:
    first, second = "a.py::one", "b.py::two"
    touches = [
        touch(nodeid=second, time=1.0, path="/2a"),
        touch(nodeid=first, time=4.0, path="/1b"),
        touch(nodeid="", phase="session", time=9.0, path="/0"),
        touch(nodeid=second, time=3.0, path="/2b"),
        touch(nodeid=first, time=2.0, path="/1a"),
    ]

    lines = section(touches, ROOT)

    heads = [line for line in lines if not line.startswith("  ") or line.startswith("  delete")]
    assert heads == [
        "outside any test", "  delete refused: '/0' existed before this run",
        first, "  delete refused: '/1a' existed before this run", "  delete refused: '/1b' existed before this run",
        second, "  delete refused: '/2a' existed before this run", "  delete refused: '/2b' existed before this run",
    ]  # fmt: skip
    assert "\n".join(lines[1:6]) == "\n".join("  " + line for line in entry(touches[2], ROOT).splitlines())


@pytest.mark.parametrize(
    ("count", "uncounted", "rest"),
    [
        pytest.param(SHOWN_IN_FULL, 0, 0, id="exactly-the-limit"),
        pytest.param(SHOWN_IN_FULL + 1, 0, 1, id="one-more"),
        pytest.param(200, 0, 150, id="many-more"),
        pytest.param(2, 5, 5, id="known-by-number-only"),
        pytest.param(60, 1000, 1010, id="both"),
    ],
)
def test_section_shows_fifty_in_full_and_counts_the_rest(count: int, uncounted: int, rest: int) -> None:
    lines = section([touch(time=float(number)) for number in range(count)], ROOT, uncounted)

    assert SHOWN_IN_FULL == 50
    assert sum(line.startswith("  delete refused: ") for line in lines) == min(count, 50)
    last = f"and {rest} more; --session-guard-json=PATH writes down all that are on record"
    assert (lines[-1] == last) is (rest > 0)
    assert sum(line.startswith("and ") for line in lines) == (rest > 0)


def test_section_of_nothing_is_nothing() -> None:
    assert section([], ROOT) == []


def test_header_is_one_line_with_mode_layers_and_zones() -> None:
    found = header(
        "enforce",
        {"hook": "enforced", "overlay": "partial", "seal": "off", "manifest": "unavailable"},
        [("protected", "/home/u"), ("shared", "/home/u/.hermes\n"), ("workspace", "/srv/p")],
        "/home/u",
        ["started late"],
    )

    assert found == (
        "session-guard: enforce; layers: hook, overlay partial, manifest unavailable; "
        "protected ~, shared ~/.hermes\\n, workspace /srv/p; started late"
    )


def test_header_says_so_when_there_is_no_layer() -> None:
    assert header("report", {"hook": "off"}, [], "") == "session-guard: report; layers: none; "


@pytest.mark.parametrize(
    ("count", "head", "more"),
    [
        pytest.param(1, "1 file of the workspace changed that existed before this run:", None, id="one"),
        pytest.param(10, "10 files of the workspace changed that existed before this run:", None, id="ten"),
        pytest.param(13, "13 files of the workspace changed that existed before this run:", "  and 3 more", id="more"),
    ],
)
def test_changed_files_of_the_workspace_are_listed_with_the_way_back(count: int, head: str, more: str | None) -> None:
    paths = [f"{ROOT}/{number}\n" for number in range(count)]

    lines = preserved_lines(paths, "run-7", ROOT)

    shown = [f"  {number}\\n" for number in range(min(count, 10))]
    assert lines == [head, *shown, *([more] if more else []), "  bring back: session-guard restore run-7"]
