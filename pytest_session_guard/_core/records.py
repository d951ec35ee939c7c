"""The shapes that cross files and processes: touches, identities, journal lines. Each has a writing and a reading twin."""

from __future__ import annotations

import json
import json.encoder
import os
from builtins import bool, dict, enumerate, getattr, int, isinstance, len, tuple  # noqa: A004 - captured: tests mock builtins
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Final, Literal, NamedTuple
from zlib import crc32

from pytest_session_guard._core.values import dataclass

Outcome = Literal["refused", "contained", "preserved", "allowed"]
Phase = Literal["setup", "call", "teardown", "collection", "session", "late", ""]

MARKER_KEY: Final = "__test_artifact"
MARKER_FILE: Final = ".__test_artifact.json"
MARKER_XATTR: Final = "user.__test_artifact"
REPORT_SCHEMA: Final = "session-guard-report/1"


@dataclass(frozen=True, slots=True)
class Span:
    """The test, and the phase of it, that runs at a moment; an empty node id is "outside any test"."""

    nodeid: str = ""
    phase: Phase = ""


# The BSDs, macOS among them, take the birth time along when a modification time before it is set. A later object with the
# same number is born later. They alone have file flags of their own kind.
BIRTH_GOES_BACK: Final = hasattr(os, "lchflags")


class Identity(NamedTuple):
    """Which object stands at a path. A tuple, because there may be a hundred thousand.

    The inode number alone proves nothing: ext4 hands it out again at once. Birth time settles it where the file
    system has one, else the file handle, which has the number's generation in it.

    :param birth_ns: creation time in nanoseconds (statx), or ``None`` where the file system keeps none.
    :param handle: the file handle, asked for only where there is no birth time; ``None`` where there is none either.
    """

    device: int
    inode: int
    birth_ns: int | None = None
    handle: str | None = None

    def to_json(self) -> list[int | str | None]:
        """The identity as a JSON array."""
        known: list[int | str | None] = [self.device, self.inode, self.birth_ns]
        return known if self.handle is None else [*known, self.handle]

    @classmethod
    def parse(cls, value: object) -> Identity:
        """Read what `to_json` wrote.

        :raises ValueError: ``value`` has another shape.
        """
        match value:
            case [int() as device, int() as inode, (int() | None) as birth_ns]:
                return cls(device, inode, birth_ns)
            case [int() as device, int() as inode, (int() | None) as birth_ns, (str() | None) as handle, *_newer]:
                return cls(device, inode, birth_ns, handle)
        raise ValueError(f"an identity is [device, inode, birth_ns, handle], got {value!r}")

    def is_same_object(self, other: Identity) -> bool | None:
        """Whether both are one object; ``None`` when nothing but the number says so, which may have come again.

        :param other: as it was known before.
        """
        if self.inode != other.inode or self.device != other.device:
            return False
        if self.birth_ns != other.birth_ns:
            return BIRTH_GOES_BACK and self.is_born_before(other)
        if self.birth_ns is not None:
            return True
        if self.handle is None or other.handle is None:
            return None
        return self.handle == other.handle

    def is_born_before(self, other: Identity) -> bool:
        """Whether its birth time is the earlier one."""
        return self.birth_ns is not None and other.birth_ns is not None and self.birth_ns < other.birth_ns

    def is_among(self, known: Iterable[Identity]) -> bool | None:
        """Whether it is one of some objects; ``None`` when it may be one, and nothing can tell."""
        answer: bool | None = False
        for other in known:
            same = self.is_same_object(other)
            if same:
                return True
            if same is None:
                answer = None
        return answer


@dataclass(frozen=True, slots=True)
class Touch:
    """One attempt to change something on disk, as the JSON report shows it.

    :param time: seconds since the epoch.
    :param operation: what was called, in the words of its audit event (``os.remove``).
    :param path: absolute, symlinks resolved; bytes that are not UTF-8 as ``surrogateescape``.
    :param zone: the word of the zone that decided.
    :param rule: the rule that decided, for people.
    :param violation: whether the touch counts against the run (an expected one does not).
    :param layer: ``hook``, ``overlay``, ``seal``, ``manifest``, ``object`` (a removal that the fixture refused) or ``guard``
        (an error of the guard's own).
    :param process: the command line, for touches of another process than pytest's.
    """

    time: float
    operation: str
    path: str
    zone: str
    outcome: Outcome
    violation: bool
    layer: str
    nodeid: str
    phase: str
    pid: int
    process: str = ""
    file: str = ""
    line: int = 0
    function: str = ""
    reason: str = ""
    rule: str = ""
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """The touch as a JSON object."""
        return {name: getattr(self, name) for name in TOUCH_FIELDS}

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Touch:
        """Read what `to_json` wrote; fields of newer versions are passed over.

        :raises ValueError: a field that this version needs is not there.
        """
        known = {name: value[name] for name in TOUCH_FIELDS if name in value}
        try:
            return cls(**known)
        except TypeError as problem:
            raise ValueError(f"not a touch: {problem}") from None


TOUCH_FIELDS: Final = tuple(field.name for field in fields(Touch))


# The journal. A line is {"len":N,"crc":"HEX","record":RECORD}: N bytes of RECORD, and their CRC-32. A line whose
# length or checksum is off is no record; at the end of a file it is the torn tail of a killed process.
#
# Kinds of records (key "kind"); readers keep what they do not know and never remove anything on the word of it:
#   intent   {path, directory}                  a creation is about to happen
#   created  {path, identity, directory}        it happened; this object is the run's
#   moved    {path, to}                         the run renamed one of its own
#   removed  {path}                             the run removed one of its own
#   preimage {path, copy, how, …}               the run is about to change what was there
#   touch    {…Touch}                           see Touch
#   seen     {path}                             a layer's change beyond the number that is written down in full
#   leftover {pid, command, nodeid}             still at work as a worker's session ended
#   started, finished {…}                       a process joins and leaves the run


def _make_encoder() -> Callable[[Any], str]:
    """The C accelerator itself where there is one: tests mock `json.dumps`, and builtins that `JSONEncoder.encode` uses."""
    plain = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return plain.encode
    pieces = make(None, plain.default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True)
    join = "".join
    return lambda record: join(pieces(record, 0))


_encode: Final = _make_encoder()


def encode_line(record: Mapping[str, Any]) -> bytes:
    """The journal line of a record, newline included; ASCII, because lone surrogates have no UTF-8 form."""
    body = _encode(record).encode("ascii")
    return b'{"len":%d,"crc":"%08x","record":%s}\n' % (len(body), crc32(body), body)


def line_maker(record: Mapping[str, Any], key: str) -> Callable[[str], bytes]:
    """Gives lines of one record with other texts under ``key``; all that it needs is bound to it.

    For what has to be written down when globals and builtins are gone.

    :param record: flat, with a string under ``key``.
    """
    before = _encode({**{name: value for name, value in record.items() if name != key}, key: ""})[:-2].encode("ascii")

    def make(text: str, _before: bytes = before, _crc: Callable[[bytes], int] = crc32, _len: Any = len) -> bytes:
        # What is printable ASCII without quotes and backslashes is JSON as it stands.
        body = _before + text.encode("ascii", "replace").replace(b"\\", b"/").replace(b'"', b"'") + b'"}'
        return b'{"len":%d,"crc":"%08x","record":%s}\n' % (_len(body), _crc(body), body)

    return make


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The record of a journal line, or ``None`` when length, checksum or shape is off."""
    prefix, sep, rest = line.partition(b',"record":')
    if not sep or not rest.endswith(b"}\n"):
        return None
    body = rest[:-2]
    if prefix != b'{"len":%d,"crc":"%08x"' % (len(body), crc32(body)):
        return None
    record = json.loads(body)
    return record if isinstance(record, dict) else None


@dataclass(frozen=True, slots=True)
class JournalPage:
    """What a stretch of a journal holds.

    :param damaged: numbers (from 1) of lines in the middle that are no records; any is reason enough to remove
        nothing on the word of this journal.
    :param torn: the last line is incomplete: the process was killed while it wrote; harmless.
    :param consumed: bytes up to the end of the last whole line.
    """

    records: tuple[dict[str, Any], ...]
    damaged: tuple[int, ...]
    torn: bool
    consumed: int


def parse_journal(content: bytes) -> JournalPage:
    """Read a journal, or the rest of one from a line's start."""
    records: list[dict[str, Any]] = []
    damaged: list[int] = []
    whole, newline, tail = content.rpartition(b"\n")
    lines = (whole + newline).splitlines(keepends=True) if newline else []
    for number, line in enumerate(lines, 1):
        record = parse_line(line)
        if record is None:
            damaged.append(number)
        else:
            records.append(record)
    return JournalPage(tuple(records), tuple(damaged), bool(tail), len(content) - len(tail))


def marker(run_id: str, nodeid: str, started_ns: int) -> dict[str, str | int]:
    """The value of ``__test_artifact`` for an artifact of this run.

    :param started_ns: the run's start stamp, nanoseconds since the epoch.
    """
    return {"run": run_id, "test": nodeid, "start": started_ns}


def is_marker_of(value: object, run_id: str) -> bool:
    """Whether a ``__test_artifact`` value says that this very run made the artifact."""
    return isinstance(value, dict) and value.get("run") == run_id


def grain_ns(moment_ns: int) -> int:
    """How much a time stamp may have been rounded down, judged by its zeros: file systems keep seconds, or parts of them."""
    if moment_ns % 1_000_000_000 == 0:
        return 2_000_000_000  # ext3 keeps seconds, FAT even ones
    if moment_ns % 10_000_000 == 0:
        return 10_000_000  # exFAT
    return 1_000 if moment_ns % 1_000 == 0 else 0


def iter_kind(records: Iterable[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
    """The records of one kind, in order."""
    return (record for record in records if record.get("kind") == kind)
