"""The run's own record: durable line by line, one journal a process, a lock that says who lives."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from artifact_scene import Scene

from pytest_session_guard._controls.ledger import (
    Journal,
    JournalReader,
    RunDirectory,
    holding,
    is_alive,
    machine_id,
    new_run_id,
    note_closed,
    read_run,
    run_paths,
)
from pytest_session_guard._controls.ledger import directory as directory_module
from pytest_session_guard._controls.ledger import journal as journal_module
from pytest_session_guard._controls.ledger import past as past_module
from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.records import parse_journal
from pytest_session_guard._host.fsops import Raw

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(str(tmp_path / ".session_guard"))


def in_a_child(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=ROOT, check=True, timeout=30
    )
    return done.stdout.strip()


def test_the_state_directory_is_labelled_and_private(run: RunDirectory, tmp_path: Path) -> None:
    state = tmp_path / ".session_guard"

    assert sorted(entry.name for entry in state.iterdir()) == [".gitignore", "CACHEDIR.TAG", "README.md", "runs"]
    assert (state / ".gitignore").read_text().endswith("*\n")
    assert (state / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55")
    assert {path.stat().st_mode & 0o777 for path in (state, state / "runs", Path(run.path))} == {0o700}
    assert [entry.name for entry in tmp_path.iterdir()] == [".session_guard"]


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        run = RunDirectory.create(str(tmp_path / "state"))
        journal = Journal(run.path, "main")
    finally:
        os.umask(before)

    assert Path(run.path).stat().st_mode & 0o777 == 0o700
    assert Path(run.path, journal.name).stat().st_mode & 0o777 == 0o600


def test_a_state_directory_that_is_a_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(LedgerError, match="no directory of ours"):
        RunDirectory.create(str(tmp_path / "state"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_state_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(LedgerError):
        RunDirectory.create(str(tmp_path / "file" / "state"))


def test_run_ids_sort_by_time() -> None:
    now = 1_795_164_476_000_000_000
    ids = [new_run_id(now + step) for step in (0, 100_000, 900_000_000, 1_000_000_000)]

    assert ids == sorted(ids)
    assert len({new_run_id(now) for _ in range(20)}) > 1
    assert all(len(run_id) == len("20261120T083643-1a2b3c4d") for run_id in ids)


# Liveness


def test_a_run_lives_as_long_as_its_controller_holds_the_lock(tmp_path: Path) -> None:
    code = (
        "import sys; from pytest_session_guard._controls.ledger import RunDirectory\n"
        "run = RunDirectory.create(sys.argv[1]); print(run.path, flush=True); sys.stdin.read()"
    )
    controller = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "state")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert controller.stdout is not None
    path = controller.stdout.readline().strip()

    assert is_alive(path)
    controller.kill()
    controller.communicate()
    assert not is_alive(path)
    assert os.path.exists(f"{path}/lock")


@pytest.mark.parametrize("leaves", ["", "closed.json"])
def test_a_run_that_another_one_looks_at_before_it_has_its_lock_begins_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: str
) -> None:
    make_directory, lookers = directory_module.make_directory, []

    def look_at(path: str) -> None:
        (Path(path) / "lock").touch()
        held = threading.Event()

        def look() -> None:
            with holding(path) as over:
                held.set()
                assert over
                time.sleep(0.05)
                if leaves:
                    (Path(path) / leaves).touch()

        lookers.append(threading.Thread(target=look))
        lookers[0].start()
        held.wait()

    def make_and_be_seen(path: str) -> None:
        make_directory(path)
        if not lookers:
            look_at(path)

    monkeypatch.setattr(directory_module, "make_directory", make_and_be_seen)

    run = RunDirectory.create(str(tmp_path / "state"))
    lookers[0].join()

    assert is_alive(run.path)
    assert os.listdir(run.path) == ["lock"]
    assert len(run_paths(str(tmp_path / "state"))) == (2 if leaves else 1)
    run.release()


def test_a_run_that_has_no_lock_yet_counts_as_alive(tmp_path: Path) -> None:
    assert is_alive(str(tmp_path))


@pytest.mark.parametrize(
    ("age_s", "entries", "alive"),
    [
        (0, [], True),
        (59, [], True),
        (61, [], False),
        (-86400, [], True),
        (61, ["policy-main.json"], True),
        (0, ["closed.json"], False),
        (0, ["closed.json", "report.json"], False),
        (0, ["journal-main-1-2.jsonl"], False),
        (0, ["journal-gw0-1-2.jsonl"], True),
    ],
    ids=[
        "now",
        "of-this-minute",
        "earlier",
        "of-tomorrow",
        "not-empty",
        "closed",
        "deleted-but-for",
        "nobody-writes",
        "a-workers",
    ],
)
def test_a_run_without_a_lock_counts_as_alive_for_a_minute_unless_it_has_nothing_to_tell(
    tmp_path: Path, age_s: int, entries: list[str], alive: bool
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for entry in entries:
        (run / entry).touch()
    made = time.time() - age_s
    os.utime(run, (made, made))

    assert is_alive(str(run)) is alive


def test_a_run_directory_that_cannot_be_looked_into_counts_as_alive(tmp_path: Path) -> None:
    assert is_alive(str(tmp_path / "gone"))


def test_a_lock_that_is_no_file_counts_as_alive(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()

    assert is_alive(str(tmp_path))


def test_a_run_lives_as_long_as_a_worker_or_a_forked_child_of_it_writes(run: RunDirectory) -> None:
    reading, writing = os.pipe()
    journal = Journal(run.path, "gw0")
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    run.release()
    journal.close()

    assert is_alive(run.path)
    os.close(writing)
    os.waitpid(pid, 0)
    assert not is_alive(run.path)


def test_two_cannot_tidy_up_after_one_run_at_once(run: RunDirectory) -> None:
    run.release()
    run.release()
    with holding(run.path) as first:
        other = in_a_child(
            "import sys; from pytest_session_guard._controls.ledger import holding\n"
            "with holding(sys.argv[1]) as over: print(over)",
            run.path,
        )

    assert (first, other) == (True, "False")


def test_a_forked_child_of_a_dead_controller_does_not_keep_the_run_alive_by_its_pid(run: RunDirectory) -> None:
    # pids are in the header for people only: this process's own pid is there, alive, and decides nothing.
    run.write_header({"pid": os.getpid()})
    run.release()

    assert not is_alive(run.path)


def test_a_run_cannot_be_locked_twice(run: RunDirectory) -> None:
    import filelock

    second = RunDirectory(run.path, run.run_id, run.started_ns)

    with pytest.raises((LedgerError, filelock.Timeout)):
        second._acquire()


# Journals


def test_records_are_read_back_by_others_and_only_once(run: RunDirectory) -> None:
    journal = Journal(run.path, "main")
    reader = JournalReader(run.path)
    journal.append({"kind": "intent", "path": "/a\n\udcff"})

    assert reader.poll() == [{"kind": "intent", "path": "/a\n\udcff"}]
    assert reader.poll() == []
    journal.append({"kind": "removed", "path": "/a"})
    assert reader.poll() == [{"kind": "removed", "path": "/a"}]
    assert reader.damaged == []


def test_a_reader_sees_only_its_label_and_never_its_own(run: RunDirectory) -> None:
    own, child, other = Journal(run.path, "gw0"), Journal(run.path, "gw0"), Journal(run.path, "gw1")
    for number, journal in enumerate((own, child, other)):
        journal.append({"n": number})

    assert JournalReader(run.path, "gw0", skip=own.names).poll() == [{"n": 1}]
    assert sorted(record["n"] for record in JournalReader(run.path).poll()) == [0, 1, 2]


def test_a_half_written_line_is_read_when_it_is_whole(run: RunDirectory) -> None:
    journal = Journal(run.path, "main")
    journal.append({"n": 0})
    path = Path(run.path, journal.name)
    line = path.read_bytes()
    reader = JournalReader(run.path)
    reader.poll()
    with path.open("ab") as file:
        file.write(line[:7])
        file.flush()
        assert reader.poll() == []
        file.write(line[7:])

    assert reader.poll() == [{"n": 0}]
    assert reader.damaged == []


def test_a_forked_child_writes_to_a_journal_of_its_own(run: RunDirectory) -> None:
    journal = Journal(run.path, "gw0")
    journal.append({"by": "parent"})
    pid = os.fork()
    if pid == 0:
        journal.append({"by": "child"})
        os._exit(0)
    os.waitpid(pid, 0)
    journal.append({"by": "parent again"})

    journals = sorted(Path(run.path).glob("journal-gw0-*.jsonl"), key=lambda path: path.stat().st_size)
    assert [[record["by"] for record in parse_journal(path.read_bytes()).records] for path in journals] == [
        ["child"],
        ["parent", "parent again"],
    ]


def test_threads_write_whole_lines_and_none_takes_the_journal_for_cut_short(run: RunDirectory) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    journal = Journal(run.path, "main")
    threads = [
        threading.Thread(target=lambda n: [journal.append({"n": n, "i": i}) for i in range(200)], args=[number])
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)

    page = parse_journal(Path(run.path, journal.name).read_bytes())
    assert (len(page.records), page.damaged, page.torn) == (800, (), False)


def test_a_journal_keeps_clear_of_low_descriptors(run: RunDirectory) -> None:
    assert Journal(run.path, "main")._fd >= 500


def test_a_journal_whose_directory_is_gone_takes_no_record(run: RunDirectory) -> None:
    import shutil

    journal = Journal(run.path, "main")
    journal.append({"n": 0})
    shutil.rmtree(run.path)

    with pytest.raises(LedgerError, match="deleted"):
        journal.append({"n": 1})
    with pytest.raises(LedgerError):
        JournalReader(run.path).poll()
    with pytest.raises(LedgerError):
        Journal(run.path, "main")
    with pytest.raises(LedgerError):
        run.write_header({})
    with pytest.raises(LedgerError):
        note_closed(run.path)


def test_half_a_line_is_never_followed_by_another(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_session_guard._controls.ledger import journal as module

    journal = Journal(run.path, "main")
    journal.append({"n": 0})

    def write_half(fd: int, content: bytes) -> None:
        os.write(fd, content[:9])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_all", write_half)
        with pytest.raises(LedgerError, match="No space left"):
            journal.append({"n": 1})
    journal.append({"n": 2})
    reader = JournalReader(run.path)

    assert sorted(record["n"] for record in reader.poll()) == [0, 2]
    assert reader.damaged == []


def test_a_private_directory_where_a_file_is_cannot_be_made(run: RunDirectory) -> None:
    Path(run.path, "preimages").write_bytes(b"")

    with pytest.raises(LedgerError):
        run.directory("preimages")


def test_an_append_is_one_write_without_a_lock_or_a_sync(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(run.path, "main")
    calls: list[str] = []

    def note(name: str) -> None:
        original = getattr(Raw, name)

        def noted(*arguments: Any) -> Any:
            calls.append(name)
            return original(*arguments)

        monkeypatch.setattr(Raw, name, staticmethod(noted))

    for name in ("open", "write", "fsync", "link", "rename"):
        note(name)
    monkeypatch.setattr(fcntl, "flock", lambda *arguments: calls.append("flock"))
    monkeypatch.setattr(fcntl, "lockf", lambda *arguments: calls.append("lockf"))
    journal.append({"kind": "intent", "path": "/some/where/in/a/project", "directory": False})

    assert calls == ["write"]


def test_a_process_that_goes_on_in_a_new_journal_knows_all_its_names(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(run.path, "main")
    reader = JournalReader(run.path, "main", skip=journal.names)
    journal._torn = True
    journal.append({"n": 1})

    assert len(journal.names) == 2
    assert reader.poll() == []
    assert JournalReader(run.path).poll() == [{"n": 1}]


def test_a_reader_that_widens_reads_the_journals_of_all_workers(run: RunDirectory) -> None:
    for label in ("main", "gw1", "gw0"):
        Journal(run.path, label).append({"by": label})
    reader = JournalReader(run.path, "main")

    assert (reader.poll(), reader.labels()) == ([{"by": "main"}], [])
    reader.widen()
    assert sorted(record["by"] for record in reader.poll()) == ["gw0", "gw1"]
    assert reader.labels() == ["gw0", "gw1"]


def test_a_journal_that_cannot_be_trusted_is_damage_and_is_read_no_further(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(run.path, "main")
    journal.append({"n": 1})
    path = f"{run.path}/{journal.name}"
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(Raw, "geteuid", staticmethod(lambda: 12345))
    reader = JournalReader(run.path)

    assert [reader.poll(), reader.poll()] == [[], []]
    assert len(reader.damaged) == 1
    assert "belongs to another user" in reader.damaged[0]


def test_without_file_locks_of_the_platform_the_controllers_lock_alone_counts(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)

    journal = Journal(run.path, "main")
    journal.append({"n": 1})

    assert journal_module.lock_for_life(journal._fd) is True
    assert JournalReader(run.path).poll() == [{"n": 1}]


# Past runs


def test_a_run_is_read_with_all_that_it_says_of_itself(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.create(scene.store / "a")
    scene.die()

    run = read_run(scene.directory.path)

    assert (run.state, run.obstacle, run.started_ns) == ("killed", "", scene.directory.started_ns)
    assert (run.count("created"), run.header["rootdir"]) == (1, str(scene.work))
    assert run.header["machine"] == machine_id()
    assert run.last_sign_ns >= run.started_ns
    assert run.size_bytes > 0
    policy = run.policy()
    assert policy is not None
    assert policy.rule_for(str(scene.store / "a")).zone == "shared"


def test_what_is_done_about_a_run_later_is_no_sign_of_its_life(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.die()
    before = read_run(scene.directory.path).last_sign_ns
    time.sleep(0.02)
    Journal(scene.directory.path, "restore").append({"kind": "restoring"})
    note_closed(scene.directory.path)

    assert read_run(scene.directory.path).last_sign_ns == before


@pytest.mark.parametrize("zones", [None, "all", [{"zone": "lava", "path": "/"}], [{"path": "/"}], [3]])
def test_zones_that_cannot_be_understood_are_none(tmp_path: Path, zones: object) -> None:
    run = RunDirectory.create(str(tmp_path / "state"))
    run.write_header({"zones": zones})

    assert read_run(run.path).policy() is None


def test_a_ledger_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_bytes(b"")

    with pytest.raises(LedgerError):
        run_paths(str(tmp_path))


def test_a_run_directory_that_went_meanwhile_is_foreign(tmp_path: Path) -> None:
    assert "cannot be looked at" in read_run(str(tmp_path / "gone")).obstacle


def test_a_closed_run_says_what_was_kept(run: RunDirectory) -> None:
    note_closed(run.path, [("/a\udcff", "not ours")])

    assert json.loads(Path(run.path, "closed.json").read_text()) == {"kept": [["/a\udcff", "not ours"]]}
    assert (read_run(run.path).closed, read_run(run.path).kept) == (True, (("/a\udcff", "not ours"),))


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"kept": [1]}', b'{"kept": 3}', b"{}"])
def test_a_closed_run_whose_list_cannot_be_read_is_closed_all_the_same(run: RunDirectory, content: bytes) -> None:
    Path(run.path, "closed.json").write_bytes(content)

    assert (read_run(run.path).closed, read_run(run.path).kept) == (True, ())


def test_a_machine_without_an_id_is_like_no_other(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_header({})

    def no_such_file(path: str) -> bytes:
        raise FileNotFoundError(path)

    monkeypatch.setattr(directory_module, "read_file", no_such_file)

    assert machine_id() == ""
    assert read_run(run.path).foreign == ""


def test_where_there_is_no_ledger_there_are_no_runs(tmp_path: Path) -> None:
    assert run_paths(str(tmp_path / "none")) == []


def test_a_run_whose_directory_is_a_link_or_another_users_is_foreign(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(run.path)
    (tmp_path / "file").write_bytes(b"")

    assert {read_run(str(tmp_path / name)).foreign for name in ("link", "file")} == {
        "is a symlink or a file, where a directory of ours should be"
    }
    monkeypatch.setattr(Raw, "geteuid", staticmethod(lambda: 12345))
    assert "belongs to another user" in read_run(run.path).foreign


def test_a_run_whose_directory_goes_while_it_is_read_is_foreign(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(reader: JournalReader) -> list[dict[str, Any]]:
        raise LedgerError(reader.run_directory, "No such file or directory")

    monkeypatch.setattr(JournalReader, "poll", gone)

    assert read_run(run.path).foreign == "No such file or directory"


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_header_that_cannot_be_read_is_damage(run: RunDirectory, content: bytes) -> None:
    Path(run.path, "run.json").write_bytes(content)
    run.release()

    assert "run.json" in read_run(run.path).obstacle


def test_a_run_whose_journal_is_a_link_is_dead_and_damaged(run: RunDirectory, tmp_path: Path) -> None:
    journal = Journal(run.path, "main")
    Path(run.path, journal.name).rename(tmp_path / "elsewhere")
    Path(run.path, journal.name).symlink_to(tmp_path / "elsewhere")
    run.release()

    found = read_run(run.path)

    assert (found.alive, found.closed) == (False, False)
    assert "damaged" in found.obstacle


def test_the_size_of_a_run_is_what_its_removal_would_free(run: RunDirectory, tmp_path: Path) -> None:
    store = Path(run.directory("preimages"))
    (tmp_path / "real").write_bytes(b"x" * 100_000)
    before = read_run(run.path).size_bytes
    (store / "linked").hardlink_to(tmp_path / "real")

    assert read_run(run.path).size_bytes == before
    (store / "copied").write_bytes(b"x" * 100_000)
    assert read_run(run.path).size_bytes >= before + 100_000


def test_what_goes_while_it_is_counted_takes_no_room(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_module, "lstat_or_none", lambda path: None)

    assert past_module._size_bytes(run.path) == 0
