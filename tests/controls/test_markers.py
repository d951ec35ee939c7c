"""Tagging: whole or not at all, in every format, and never a sign of it in the file's times."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_session_guard._controls import markers
from pytest_session_guard._controls.markers import read_marker, tag, write_json
from pytest_session_guard._core.errors import MarkerError
from pytest_session_guard._core.records import MARKER_FILE, MARKER_KEY, MARKER_XATTR, marker
from pytest_session_guard._host.directories import OpenDirectory

RUN = "20261120T083643-1a2b3c4d"
TAG = marker(RUN, "tests/test_a.py::test_x", 5)


def put(path: Path, content: bytes = b"") -> Path:
    path.write_bytes(content)
    return path


def tagged(path: Path, start_ns: int = 5) -> Path:
    tag(str(path), RUN, "tests/test_a.py::test_x", start_ns)
    return path


def database(path: Path, mode: str = "delete") -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("CREATE TABLE messages (text)")
        connection.execute("INSERT INTO messages VALUES ('hello')")
    connection.close()
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.json", b'{"x": 1}', id="json-object"),
        pytest.param("a.json", b"[1]", id="json-array"),
        pytest.param("a.json", b"", id="json-empty"),
        pytest.param("a.jsonl", b'{"x": 1}\n{"y": 2}\n', id="json-lines"),
        pytest.param("a.txt", b"hello", id="text"),
        pytest.param("a", b"\0\xff", id="bytes"),
    ],
)
def test_a_tag_is_read_back_and_times_stay(tmp_path: Path, name: str, content: bytes) -> None:
    path = put(tmp_path / name, content)
    os.utime(path, ns=(1_000_000_007, 2_000_000_009))
    path.chmod(0o640)

    tagged(path)

    assert read_marker(str(path)) == TAG
    assert (path.stat().st_mtime_ns, path.stat().st_mode & 0o777) == (2_000_000_009, 0o640)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_gets_a_table_and_keeps_the_others(tmp_path: Path, mode: str) -> None:
    path = tagged(database(tmp_path / "chat.db", mode))
    tagged(path)

    assert read_marker(str(path)) == TAG
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT text FROM messages").fetchall() == [("hello",)]
        assert connection.execute(f"SELECT count(*) FROM {MARKER_KEY}").fetchone() == (1,)
    connection.close()


def test_a_database_in_use_is_tagged_and_its_marker_is_in_the_main_file(tmp_path: Path) -> None:
    path = database(tmp_path / "chat.db", "wal")
    user = sqlite3.connect(path)
    user.execute("INSERT INTO messages VALUES ('more')")
    user.commit()

    tagged(path)

    assert read_marker(str(path)) == TAG
    assert user.execute("SELECT count(*) FROM messages").fetchone() == (2,)
    user.close()


def test_a_locked_database_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markers, "BUSY_TIMEOUT_S", 0.01)
    path = database(tmp_path / "chat.db")
    user = sqlite3.connect(path, isolation_level=None)
    user.execute("BEGIN EXCLUSIVE")

    with pytest.raises(MarkerError, match="cannot take a table"):
        tagged(path)
    user.close()


def test_reading_a_strange_database_leaves_no_trace(tmp_path: Path) -> None:
    path = database(tmp_path / "chat.db", "wal")
    before = {entry.name: entry.stat().st_mtime_ns for entry in tmp_path.iterdir()}

    assert read_marker(str(path)) is None
    assert {entry.name: entry.stat().st_mtime_ns for entry in tmp_path.iterdir()} == before


def test_a_test_name_that_is_no_text_goes_into_a_database(tmp_path: Path) -> None:
    path = database(tmp_path / "chat.db")
    tag(str(path), RUN, "test_\udcff", 5)

    value = read_marker(str(path))

    assert isinstance(value, dict)
    assert value["test"] == "test_\\udcff"


def test_a_directory_gets_a_file_and_keeps_its_times(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    os.utime(directory, ns=(1, 2_000_000_009))
    tagged(directory)
    tagged(directory)

    assert read_marker(str(directory)) == TAG
    assert [entry.name for entry in directory.iterdir()] == [MARKER_FILE]
    assert directory.stat().st_mtime_ns == 2_000_000_009


def test_a_file_that_claims_to_be_older_than_the_run_is_put_at_its_start(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", b"{}")
    os.utime(path, ns=(1, 1))
    start_ns = time.time_ns()

    tagged(path, start_ns)

    assert path.stat().st_mtime_ns == start_ns


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        pytest.param("a.json", b'{"a":', "is not JSON", id="cut-off-json"),
        pytest.param("a.jsonl", b"oops\n{}", "is not JSON", id="first-line-no-json"),
        pytest.param("a.json", b"\xff\xfa", "is not text", id="no-text"),
    ],
)
def test_what_cannot_be_parsed_is_refused_and_stays(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = put(tmp_path / name, content)

    with pytest.raises(MarkerError, match=problem) as caught:
        tagged(path)

    assert caught.value.path == str(path)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert read_marker(str(path)) is None


@pytest.mark.parametrize("kind", ["fifo", "symlink"])
def test_what_can_carry_no_marker_is_left_to_the_ledger(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "special"
    target = put(tmp_path / "target.json", b"{}")
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(target)

    tagged(path)

    assert read_marker(str(path)) is None
    assert target.read_bytes() == b"{}"


def test_a_tag_keeps_extended_attributes(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", b"{}")
    os.setxattr(path, "user.mine", b"kept")

    tagged(path)

    assert os.getxattr(path, "user.mine") == b"kept"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_tag_keeps_the_owner(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", b"{}")
    os.chown(path, 12345, 54321)

    tagged(path)

    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


def test_a_document_that_changes_while_it_is_tagged_keeps_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "a.json", b'{"messages": 1}')
    take_over = markers._take_over

    def take_over_while_the_application_writes(*arguments: object) -> None:
        take_over(*arguments)  # type: ignore[arg-type]
        path.write_bytes(b'{"messages": 2}')

    monkeypatch.setattr(markers, "_take_over", take_over_while_the_application_writes)

    with pytest.raises(MarkerError, match="changed while it was being tagged"):
        tagged(path)
    assert path.read_bytes() == b'{"messages": 2}'
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("how", ["replaced", "written"])
def test_a_document_that_changes_in_the_very_moment_of_its_tagging_keeps_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = put(tmp_path / "a.json", b'{"messages": 1}')
    exchange, calls = OpenDirectory.exchange, []

    def exchange_after_the_application_wrote(opened: OpenDirectory, name: str, other: str) -> None:
        if not calls:
            target = path if how == "written" else put(tmp_path / "new", b"")
            target.write_bytes(b'{"messages": 22}')
            target.replace(path)
        calls.append(name)
        exchange(opened, name, other)

    monkeypatch.setattr(OpenDirectory, "exchange", exchange_after_the_application_wrote)

    with pytest.raises(MarkerError, match="changed while it was being tagged"):
        tagged(path)
    assert path.read_bytes() == b'{"messages": 22}'
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("then", "names"),
    [
        pytest.param("removes it", {"a.json": b"written"}, id="removes-it"),
        pytest.param("moves it away", {"a.json": b"written", "b.json": None}, id="moves-it-away"),
        pytest.param("saves it anew", {"a.json": b"saved", "": b"written"}, id="saves-it-anew"),
        pytest.param("saves it as it comes back", {"a.json": b"saved", "": b"written"}, id="saves-it-as-it-comes-back"),
        pytest.param("interrupts", {"a.json": b"written"}, id="interrupts"),
    ],
)
def test_nothing_that_an_application_wrote_around_a_tag_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, names: dict[str, bytes | None]
) -> None:
    path = put(tmp_path / "a.json", b"{}")
    exchange, calls = OpenDirectory.exchange, []

    def save() -> None:
        put(tmp_path / "new", b"saved").replace(path)

    def exchange_among_others(opened: OpenDirectory, name: str, other: str) -> None:
        calls.append(name)
        if len(calls) == 1:
            path.write_bytes(b"written")
        elif len(calls) == 2 and then == "saves it as it comes back":
            save()
        exchange(opened, name, other)
        if len(calls) > 1:
            return
        if then == "removes it":
            path.unlink()
        elif then == "moves it away":
            path.rename(tmp_path / "b.json")
        elif then == "saves it anew":
            save()
        elif then == "interrupts":
            raise KeyboardInterrupt

    monkeypatch.setattr(OpenDirectory, "exchange", exchange_among_others)

    with pytest.raises((MarkerError, KeyboardInterrupt)) as failure:
        tagged(path)
    found = {entry.name if entry.suffix == ".json" else "": entry for entry in tmp_path.iterdir()}
    assert found.keys() == names.keys()
    assert all(content in (None, found[name].read_bytes()) for name, content in names.items())
    assert "" not in found or str(found[""]) in str(failure.value)


def test_a_file_system_that_knows_no_exchange_of_names_takes_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "a.json", b"{}")

    def no_exchange(*arguments: object) -> None:
        raise OSError(errno.EINVAL, "no such flag here")

    monkeypatch.setattr(OpenDirectory, "exchange", no_exchange)

    assert json.loads(tagged(path).read_bytes()) == {MARKER_KEY: TAG}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_document_behind_a_symlinked_directory_is_tagged(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    put(tmp_path / "real" / "a.json", b"{}")

    tagged(tmp_path / "link" / "a.json")

    assert json.loads((tmp_path / "real" / "a.json").read_bytes()) == {MARKER_KEY: TAG}


class Ini:
    """A format of a project's own: the marker is a comment."""

    def matches(self, path: str) -> bool:
        return path.endswith(".ini")

    def tag(self, content: bytes, value: Mapping[str, str | int]) -> bytes | None:
        if b"\0" in content:
            raise ValueError("holds a zero byte")
        return b"# " + json.dumps(dict(value)).encode() + b"\n" + content

    def read(self, content: bytes) -> object:
        return json.loads(content.partition(b"\n")[0].removeprefix(b"# "))


def test_a_format_of_the_projects_own_is_asked_first(tmp_path: Path) -> None:
    path = put(tmp_path / "a.ini", b"[x]\n")

    tag(str(path), RUN, TAG["test"], 5, formats=[Ini()])  # type: ignore[arg-type]

    assert path.read_bytes().endswith(b"\n[x]\n")
    assert read_marker(str(path), [Ini()]) == TAG
    assert read_marker(str(path)) is None
    with pytest.raises(MarkerError, match="holds a zero byte"):
        tag(str(put(path, b"\0")), RUN, "t", 5, formats=[Ini()])


@pytest.mark.parametrize(
    ("content", "value"),
    [
        pytest.param(b'{"__test_artifact": true}', True, id="bare-true-is-read"),
        pytest.param(b'{"__test_artifact": "yes"}', None, id="text-is-none"),
        pytest.param(b'{"__test_artifact": false}', None, id="false-is-none"),
        pytest.param(b"{}", None, id="none"),
    ],
)
def test_markers_of_other_writers(tmp_path: Path, content: bytes, value: object) -> None:
    assert read_marker(str(put(tmp_path / "a.json", content))) == value


@pytest.mark.parametrize(
    "content", [pytest.param(b"[]", id="no-object"), pytest.param(b"{", id="no-json"), pytest.param(None, id="none")]
)
def test_a_directory_with_a_broken_marker_file_carries_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        put(tmp_path / MARKER_FILE, content)

    assert read_marker(str(tmp_path)) is None


def test_a_database_that_is_none_carries_none(tmp_path: Path) -> None:
    path = put(tmp_path / "chat.db", markers.SQLITE_HEADER + b"garbage" * 100)

    assert read_marker(str(path)) is None
    with pytest.raises(MarkerError):
        tagged(path)


def test_nothing_there_carries_none(tmp_path: Path) -> None:
    assert read_marker(str(tmp_path / "nothing")) is None
    with pytest.raises(FileNotFoundError):
        tagged(tmp_path / "nothing")


def test_an_attribute_that_is_no_json_is_none(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt", b"x")
    os.setxattr(path, MARKER_XATTR, b"{")

    assert read_marker(str(path)) is None


def test_without_extended_attributes_the_ledger_alone_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markers, "_setxattr", markers._no_xattrs)
    monkeypatch.setattr(markers, "_getxattr", markers._no_xattrs)
    monkeypatch.setattr(markers, "_lister", markers._no_xattrs)
    path = tagged(put(tmp_path / "a.txt", b"x"))

    assert read_marker(str(path)) is None
    assert read_marker(str(tagged(put(tmp_path / "a.json", b"{}")))) == TAG


def test_an_attribute_that_fails_for_another_reason_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **names: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(markers, "_setxattr", fail)

    with pytest.raises(OSError, match="Input/output"):
        tagged(put(tmp_path / "a.txt", b"x"))
    document = put(tmp_path / "a.json", b"{}")
    os.setxattr(document, "user.mine", b"kept")
    with pytest.raises(OSError, match="Input/output"):
        tagged(document)
    assert document.read_bytes() == b"{}"


# write_json


def test_write_json_makes_a_tagged_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    write_json(str(path), {"messages": ["é"]}, TAG)

    assert json.loads(path.read_text()) == {"messages": ["é"], MARKER_KEY: TAG}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_write_json_replaces_a_file_and_keeps_its_mode(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", b"old")
    path.chmod(0o600)

    write_json(str(path), [1, 2], TAG)

    assert json.loads(path.read_bytes()) == [1, 2]
    assert read_marker(str(path)) == TAG
    assert path.stat().st_mode & 0o777 == 0o600


def test_write_json_of_what_has_no_json_form_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(str(tmp_path / "a.json"), {"x": object()}, TAG)
    assert list(tmp_path.iterdir()) == []


def test_write_json_that_loses_the_race_for_a_name_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    publish = markers._publish

    def publish_after_somebody_else(beside: str, target: str) -> None:
        path.write_bytes(b"somebody else's")
        publish(beside, target)

    monkeypatch.setattr(markers, "_publish", publish_after_somebody_else)

    with pytest.raises(FileExistsError):
        write_json(str(path), {}, TAG)
    assert path.read_bytes() == b"somebody else's"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("taken", [False, True])
def test_write_json_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool) -> None:
    path = tmp_path / "a.json"

    def no_links(source: str, target: str) -> None:
        if taken:
            path.write_bytes(b"somebody else's")
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(markers.Raw, "link", staticmethod(no_links))

    if taken:
        with pytest.raises(FileExistsError):
            write_json(str(path), {}, TAG)
        assert path.read_bytes() == b"somebody else's"
    else:
        write_json(str(path), {}, TAG)
        assert read_marker(str(path)) == TAG


def test_threads_that_tag_files_of_one_directory_do_not_meet(tmp_path: Path) -> None:
    paths = [put(tmp_path / f"{number}.json", b"{}") for number in range(40)]
    threads = [
        threading.Thread(target=lambda part: [tagged(path) for path in part], args=[paths[n::4]]) for n in range(4)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(read_marker(str(path)) == TAG for path in paths)
    assert len(list(tmp_path.iterdir())) == 40


def test_a_reader_sees_the_whole_old_or_the_whole_new_document(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", json.dumps({"x": "y" * 100_000}).encode())
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    reader.stdout.readline()

    for number in range(30):
        tag(str(path), RUN, f"t{number}", 5)

    assert reader.communicate("stop", timeout=30)[0] == "0 torn\n"


READER = """
import json, select, sys
torn = 0
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        json.load(open(sys.argv[1]))
    except ValueError:
        torn += 1
print(torn, "torn")
"""


def test_an_attribute_that_may_not_be_copied_does_not_keep_a_file_from_its_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "a.json", b"{}")
    os.setxattr(path, "user.mine", b"x")
    problems = iter([errno.EPERM, errno.EIO])

    def refuse(target: str, name: str, value: bytes) -> None:
        raise OSError(next(problems), "no")

    monkeypatch.setattr(markers, "_setxattr", refuse)

    assert read_marker(str(tagged(path))) == TAG
    os.setxattr(path, "user.mine", b"x")
    with pytest.raises(OSError, match="no"):
        tagged(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_an_interruption_after_a_file_got_its_name_leaves_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "a.json", b"{}")

    exchange = OpenDirectory.exchange

    def exchange_and_be_interrupted(opened: OpenDirectory, name: str, other: str) -> None:
        exchange(opened, name, other)
        raise KeyboardInterrupt

    monkeypatch.setattr(OpenDirectory, "exchange", exchange_and_be_interrupted)

    with pytest.raises(KeyboardInterrupt):
        tagged(path)
    assert read_marker(str(path)) == TAG
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
