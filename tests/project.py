"""A project in, everything visible out: pytest run for real on a scratch project, with a scratch home, seen from outside."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

RUN_LIMIT_S: Final = 120
SQLITE: Final = object()
"""Stands for the content of a small SQLite database."""

HOME: Final[Mapping[str, object]] = {
    ".chat/notes.txt": "notes of a person\n",
    ".chat/sessions/a.json": '{"id": "a", "title": "a real conversation"}\n',
    ".chat/sessions/_index.json": '["a"]\n',
    ".chat/state.db": SQLITE,
}

# Plugins that are in the environment for the outer suite; the inner runs are about one plugin only.
OTHERS: Final = ("randomly", "rerunfailures", "timeout", "hypothesispytest", "cov", "platformdirs")
SUMMARY: Final = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (\S.*)$", re.MULTILINE)
COUNTS: Final = re.compile(r"(\d+) (passed|failed|error|skipped|xfailed|xpassed|deselected|warning)s?\b")


class Facts(NamedTuple):
    """One name, by every fact that a change could alter but the access time."""

    mode: int
    owner: tuple[int, int]
    links: int
    modified_ns: int
    content: str
    attributes: tuple[tuple[str, bytes], ...]


def snapshot(root: Path) -> dict[str, Facts]:
    """Everything below a directory, by path relative to it; nothing is followed, only regular files are opened."""
    return {os.path.relpath(path, root): _facts(path) for path in _walk(os.fspath(root))}


def _walk(root: str) -> Iterator[str]:
    yield root
    for directory, directories, files in os.walk(root):
        yield from (os.path.join(directory, name) for name in (*directories, *files))


def _facts(path: str) -> Facts:
    state = os.lstat(path)
    content = ""
    attributes: tuple[tuple[str, bytes], ...] = ()
    if stat.S_ISLNK(state.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(state.st_mode):
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if not stat.S_ISLNK(state.st_mode):
        attributes = tuple((name, os.getxattr(path, name)) for name in sorted(os.listxattr(path)))
    return Facts(state.st_mode, (state.st_uid, state.st_gid), state.st_nlink, state.st_mtime_ns, content, attributes)


def differences(before: Mapping[str, Facts], after: Mapping[str, Facts]) -> dict[str, tuple[str, ...]]:
    """What differs: path to the facts that do (``appeared`` and ``vanished`` for whole names)."""
    changed: dict[str, tuple[str, ...]] = dict.fromkeys(after.keys() - before.keys(), ("appeared",))
    changed |= dict.fromkeys(before.keys() - after.keys(), ("vanished",))
    for path in before.keys() & after.keys():
        fields = tuple(name for name in Facts._fields if getattr(before[path], name) != getattr(after[path], name))
        if fields:
            changed[path] = fields
    return changed


@dataclass(frozen=True)
class Result:
    """What a run of pytest left for everybody to see.

    :param tests: the words of pytest's short summary by node id (``FAILED``, ``ERROR``, ``PASSED``, …).
    :param outcomes: the counts of pytest's last line.
    :param report: the JSON report, ``None`` when none was written.
    :param changes: what is different in the scratch home now, seen from outside.
    """

    status: int
    stdout: str
    stderr: str
    tests: Mapping[str, frozenset[str]]
    outcomes: Mapping[str, int]
    report: Mapping[str, Any] | None
    changes: dict[str, tuple[str, ...]]

    @property
    def words(self) -> str:
        """All that the run said, for the message of a failed assertion."""
        return f"exit status {self.status}\n{self.stdout}\n--- stderr ---\n{self.stderr}"

    @property
    def touches(self) -> list[dict[str, Any]]:
        """The violating touches of the report."""
        assert self.report is not None, self.words
        return [touch for touch in self.report["touches"] if touch["violation"]]

    def touches_of(self, name: str) -> list[dict[str, Any]]:
        """The violating touches of the tests whose node id ends in ``::name``; of no test when the name is empty."""
        return [touch for touch in self.touches if touch["nodeid"].rpartition("::")[2] == name]

    def said_of(self, name: str) -> frozenset[str]:
        """The words of pytest's summary about the test with this name."""
        found = [words for nodeid, words in self.tests.items() if nodeid.rpartition("::")[2] == name]
        return frozenset[str]().union(*found)

    @property
    def header_lines(self) -> list[str]:
        """The plugin's own header lines."""
        return [line for line in self.stdout.splitlines() if line.startswith("session-guard: ")]


@dataclass(frozen=True)
class Account:
    """Who runs pytest: a user and an interpreter that this user can reach.

    :param uid: ``None`` is the user of the outer suite.
    :param libraries: where the interpreter's own shared library is, when it is a copy.
    """

    python: str = sys.executable
    uid: int | None = None
    libraries: str = ""


@dataclass
class Project:
    """A scratch project (``root``), a scratch home and a scratch temp directory, side by side below ``base``."""

    base: Path
    files: Mapping[str, object] = field(default_factory=dict)
    home_files: Mapping[str, object] = field(default_factory=lambda: HOME)
    account: Account = field(default_factory=Account)

    def __post_init__(self) -> None:
        self.root, self.home, self.tmp = self.base / "project", self.base / "home", self.base / "tmp"
        for directory in (self.root, self.home, self.tmp):
            directory.mkdir(parents=True)
        files = dict(self.files)
        if not {"pytest.ini", "pyproject.toml", "tox.ini"} & set(files):
            files["pytest.ini"] = "[pytest]\n"
        write_files(self.root, files)
        write_files(self.home, self.home_files)
        self.give_away()

    def give_away(self) -> None:
        """Let everything belong to the account that will run pytest."""
        if self.account.uid is not None:
            for path in _walk(os.fspath(self.base)):
                os.chown(path, self.account.uid, self.account.uid, follow_symlinks=False)

    @property
    def report_path(self) -> Path:
        """Where `run` lets the report be written."""
        return self.base / "tmp" / "report.json"

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The whole environment of a run; of this process's own only the search path is left."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.fspath(self.home),
            "TMPDIR": os.fspath(self.tmp),
            "LANG": "C.UTF-8",
            "COLUMNS": "220",
            **({"LD_LIBRARY_PATH": self.account.libraries} if self.account.libraries else {}),
            **(extra or {}),
        }

    def call(
        self, *command: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the project's account, in the project."""
        return subprocess.run(
            command,
            cwd=cwd or self.root,
            env=self.environment(env),
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=RUN_LIMIT_S,
            stdin=subprocess.DEVNULL,
            check=False,
            user=self.account.uid,
            group=self.account.uid,
            extra_groups=None if self.account.uid is None else [],
        )

    def run(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        python: str | None = None,
        cwd: Path | None = None,
        report: bool = True,
        program: tuple[str, ...] = ("-m", "pytest"),
    ) -> Result:
        """Run pytest on the project.

        :param env: added to the scratch environment.
        :param report: ask for the JSON report; say no where the plugin is not there to know the option.
        :param program: what Python starts, with pytest's arguments.
        """
        self.report_path.unlink(missing_ok=True)
        before = snapshot(self.home)
        wanted = [f"--session-guard-json={self.report_path}"] if report else []
        without = [word for name in OTHERS for word in ("-p", f"no:{name}")]
        done = self.call(
            python or self.account.python, *program, "-rpfExXs", *without, *wanted, *args, env=env, cwd=cwd
        )
        changes = differences(before, snapshot(self.home))
        return Result(
            status=done.returncode,
            stdout=done.stdout,
            stderr=done.stderr,
            tests=_tests(done.stdout),
            outcomes=_counts(done.stdout),
            report=json.loads(self.report_path.read_bytes()) if self.report_path.exists() else None,
            changes=changes,
        )


def write_files(root: Path, files: Mapping[str, object]) -> None:
    """Write a tree: text, bytes, `SQLITE`, or ``None`` for a directory; a text that starts with ``->`` is a symlink."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        elif content is SQLITE:
            make_database(path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif str(content).startswith("->"):
            path.symlink_to(str(content)[2:])
        else:
            path.write_text(str(content), encoding="utf-8")


def make_database(path: Path) -> None:
    """A database with one table and one row."""
    database = sqlite3.connect(path)
    try:
        with database:
            database.execute("create table talk (id text, words text)")
            database.execute("insert into talk values ('a', 'real words')")
    finally:
        database.close()


def _tests(stdout: str) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for word, rest in SUMMARY.findall(stdout.rpartition("short test summary info")[2]):
        found.setdefault(rest.partition(" - ")[0], set()).add(word)
    return {nodeid: frozenset(words) for nodeid, words in found.items()}


def _counts(stdout: str) -> dict[str, int]:
    last = next((line for line in reversed(stdout.splitlines()) if re.search(r" in \d+\.\d+s", line)), "")
    return {word: int(count) for count, word in COUNTS.findall(last)}


def lines_of(text: str, *signs: str) -> Iterable[str]:
    """The lines of a text that hold all of the signs."""
    return [line for line in text.splitlines() if all(sign in line for sign in signs)]


MakeProject = Callable[..., Project]
