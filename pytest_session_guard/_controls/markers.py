"""Tagging artifacts: the ``__test_artifact`` marker in a file, a database or a directory.

The marker lies inside documents that have room for one (JSON objects, JSON lines, SQLite, formats of a project's own), in a
file of a directory, else in an extended attribute, else nowhere: the ledger knows every artifact anyway.

Nothing here names its paths as our own: what is tagged or written passes the hook like any other write of a test, so
that the policy judges it and the ledger has it. Callers ask first whether the object is the run's.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

from pytest_session_guard._core.errors import MarkerError
from pytest_session_guard._core.marking import BUILT_IN, Marker, MarkerFormat, problem_of
from pytest_session_guard._core.records import MARKER_FILE, MARKER_KEY, MARKER_XATTR, marker
from pytest_session_guard._host.directories import OpenDirectory
from pytest_session_guard._host.fsops import OwnPath, Raw, read_file, write_all
from pytest_session_guard._host.identity import resolve_missing

SQLITE_HEADER: Final = b"SQLite format 3\0"
BUSY_TIMEOUT_S: Final = 2.0
# Extended attributes that are not there, not to be had here, or not for us.
NO_XATTR: Final = frozenset(
    {errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENOSPC, errno.E2BIG, errno.EINVAL, errno.ENOENT}
)

CHANGED: Final = "changed while it was being tagged"
# Kernels and file systems that know no exchange of two names.
NO_EXCHANGE: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})


def tag(
    path: str,
    run_id: str,
    nodeid: str,
    start_ns: int,
    formats: Iterable[MarkerFormat] = (),
    found: os.stat_result | None = None,
) -> None:
    """Put this run's marker on an artifact; a reader sees the whole old or the whole new content.

    The modification time stays, or becomes ``start_ns`` where it was before that. A replaced document is a new object.

    :param formats: formats of the project's own, asked before the built-in ones.
    :param found: the `lstat` by which the object was told to be the run's; what stands there instead by now is not tagged.
    :raises MarkerError: the content is not what its name says, or it was replaced; the file is as it was.
    :raises OSError: it is not there, or cannot be written.
    """
    value = marker(run_id, nodeid, start_ns)
    now = Raw.lstat(path)
    found = now if found is None else found
    if (now.st_dev, now.st_ino) != (found.st_dev, found.st_ino):
        raise MarkerError(path, CHANGED)
    if stat.S_ISDIR(found.st_mode):
        _write_whole(f"{path}/{MARKER_FILE}", _document({}, value), found=_lstat(f"{path}/{MARKER_FILE}"))
    elif stat.S_ISREG(found.st_mode):
        _tag_file(path, found, value, tuple(formats))
    _keep_time(path, found, start_ns)


def _tag_file(path: str, found: os.stat_result, value: Marker, formats: tuple[MarkerFormat, ...]) -> None:
    if _is_sqlite(path):
        _tag_sqlite(path, value)
        return
    kind = _format_of(path, formats) if found.st_size else None
    try:
        content = None if kind is None else kind.tag(read_file(path), value)
    except ValueError as problem:
        raise MarkerError(path, problem_of(problem)) from problem
    if content is None:
        _set_xattr(path, json.dumps(dict(value)).encode())
    else:
        _write_whole(path, content, found)


def read_marker(path: str, formats: Iterable[MarkerFormat] = ()) -> dict[str, Any] | bool | None:
    """The marker that an object carries: this package's object, a bare ``True``, or ``None``.

    Opens regular files only, follows no symlink, and leaves no trace. What cannot be read carries none.
    """
    try:
        found = Raw.lstat(path)
        if stat.S_ISDIR(found.st_mode):
            value = json.loads(read_file(f"{path}/{MARKER_FILE}")).get(MARKER_KEY)
        elif stat.S_ISREG(found.st_mode):
            value = _read_file_marker(path, tuple(formats))
        else:
            return None
    except (OSError, ValueError, AttributeError):
        return None
    return value if isinstance(value, dict) or value is True else None


def _read_file_marker(path: str, formats: tuple[MarkerFormat, ...]) -> object:
    kind = _format_of(path, formats)
    value: object = None
    if _is_sqlite(path):
        value = _read_sqlite(path)
    elif kind is not None:
        try:
            value = kind.read(read_file(path))
        except ValueError:
            value = None
    return _read_xattr(path) if value is None else value


def write_json(path: str, payload: object, value: Marker) -> None:
    """``payload`` as JSON at ``path``, tagged, all or nothing.

    A new file is created or the call fails; an existing one is replaced, if the policy lets the run change it.

    :raises FileExistsError: something took the name meanwhile.
    :raises TypeError: the payload has no JSON form.
    :raises OSError: it cannot be written; what was there is as it was.
    """
    found = _lstat(path)
    if isinstance(payload, dict):
        _write_whole(path, _document(payload, value), found)
        return
    _write_whole(path, json.dumps(payload, indent=2).encode(), found)
    _set_xattr(path, json.dumps(dict(value)).encode())


def _document(payload: dict[Any, Any], value: Marker) -> bytes:
    return json.dumps({**payload, MARKER_KEY: dict(value)}, indent=2).encode() + b"\n"


def _lstat(path: str) -> os.stat_result | None:
    try:
        return Raw.lstat(path)
    except FileNotFoundError:
        return None


def _format_of(path: str, formats: tuple[MarkerFormat, ...]) -> MarkerFormat | None:
    return next((kind for kind in (*formats, *BUILT_IN) if kind.matches(path)), None)


# Replacing a document


def _write_whole(path: str, content: bytes, found: os.stat_result | None) -> None:
    """``content`` at ``path``: over the object that was seen there, or as a new file."""
    # Process and thread in the name: two workers, or two threads of one, may tag files of one directory at once.
    who = f"{Raw.getpid()}-{threading.get_native_id()}-{Raw.time_ns():x}"
    beside = f"{path.rpartition('/')[0] or '.'}/.session-guard-{who}.tmp"
    mode = 0o644 if found is None else stat.S_IMODE(found.st_mode)
    fd = Raw.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode if found is None else 0o600)
    made = Raw.fstat(fd)
    try:
        try:
            write_all(fd, content)
            # Without it a power cut can leave the name on an empty file.
            Raw.fsync(fd)
        finally:
            Raw.close(fd)
        if found is None:
            _publish(beside, path)
        else:
            _take_over(path, beside, found)
            _replace(path, beside, found)
    except BaseException as problem:
        # A KeyboardInterrupt too must not leave the half-made file beside the real one.
        if not _has_tidied_up(path, beside, made, found):
            raise MarkerError(path, f"{CHANGED}; what it held meanwhile is now {beside!r}") from problem
        raise


def _publish(beside: str, path: str) -> None:
    """Give a finished file its name, unless somebody has it by now."""
    try:
        Raw.link(beside, path)
    except FileExistsError:
        raise
    except OSError:
        # No hard links here (FAT, some network and FUSE file systems).
        if _lstat(path) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        Raw.rename(beside, path)
    else:
        Raw.unlink(beside)


def _take_over(path: str, beside: str, found: os.stat_result) -> None:
    """Owner, mode, extended attributes and times of the old object for the new one."""
    made = Raw.lstat(beside)
    if (made.st_uid, made.st_gid) != (found.st_uid, found.st_gid):
        Raw.chown(beside, found.st_uid, found.st_gid)
    for name in _listxattr(path):
        try:
            _setxattr(beside, name, _getxattr(path, name))
        except OSError as problem:
            if problem.errno not in NO_XATTR:
                raise
    Raw.chmod(beside, stat.S_IMODE(found.st_mode))
    Raw.utime(beside, ns=(found.st_atime_ns, found.st_mtime_ns))


def _replace(path: str, beside: str, found: os.stat_result) -> None:
    """Put the new document in the place of the one that was read, and of no other.

    An application that wrote to the document, or replaced it, since it was read must not lose what it wrote: the two change
    places at once; where what came out is not what was read, `_has_tidied_up` puts it back.
    """
    _insist_on_state(path, found, Raw.lstat(path))
    # The exchange is no function of Python's, so it raises no event; to the policy and the ledger it is this rename.
    sys.audit("os.rename", beside, path, -1, -1)
    parent, _, name = path.rpartition("/")
    with OpenDirectory(resolve_missing(parent or Raw.getcwd())) as opened:
        other = beside.rpartition("/")[2]
        try:
            opened.exchange(name, other)
        except OSError as problem:
            if problem.errno not in NO_EXCHANGE:
                raise
            Raw.rename(OwnPath(beside), OwnPath(path))
            return
    _insist_on_state(path, found, Raw.lstat(beside), was_renamed=True)
    Raw.unlink(OwnPath(beside))


def _insist_on_state(path: str, found: os.stat_result, now: os.stat_result, was_renamed: bool = False) -> None:
    if not _is_as_read(now, found, was_renamed):
        raise MarkerError(path, CHANGED)


def _is_as_read(now: os.stat_result, found: os.stat_result, was_renamed: bool) -> bool:
    def state(of: os.stat_result) -> tuple[int, ...]:
        # A rename moves the time of change.
        return of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns, 0 if was_renamed else of.st_ctime_ns

    return state(now) == state(found)


def _has_tidied_up(path: str, beside: str, made: os.stat_result, found: os.stat_result | None) -> bool:
    """After a failure: only what was made here, or what was read and is as it was, goes; anything else gets its name back.

    :returns: whether nothing of somebody else's is left beside.
    """

    def is_made(now: os.stat_result | None) -> bool:
        return now is not None and (now.st_dev, now.st_ino) == (made.st_dev, made.st_ino)

    now = _lstat(beside)
    if now is None:
        return True  # it has its name already
    if not is_made(now) and (found is None or not _is_as_read(now, found, was_renamed=True)):
        _give_back(path, beside, is_made)
        now = _lstat(beside)
        if not is_made(now):
            return now is None
    Raw.unlink(OwnPath(beside))
    return True


def _give_back(path: str, beside: str, is_made: Callable[[os.stat_result | None], bool]) -> None:
    """What an application wrote lies beside: back to its name, unless the application has put something else there by now."""
    parent, _, name = path.rpartition("/")
    with OpenDirectory(resolve_missing(parent or Raw.getcwd())) as opened:
        other = beside.rpartition("/")[2]
        standing = _lstat(path)
        if standing is None:
            with suppress(FileExistsError):
                opened.move_if_free(other, opened, name)
        elif is_made(standing):
            opened.exchange(name, other)
            if not is_made(_lstat(beside)):
                opened.exchange(name, other)  # in between it saved another one, which is to stay


def _keep_time(path: str, found: os.stat_result, start_ns: int) -> None:
    """A tag is no news: the files' order by time stays. Only what claims to be older than the run is put right."""
    mtime_ns = max(found.st_mtime_ns, start_ns)
    if stat.S_ISLNK(found.st_mode) or Raw.lstat(path).st_mtime_ns == mtime_ns:
        return
    Raw.utime(path, ns=(found.st_atime_ns, mtime_ns))


# Extended attributes


def _no_xattrs(*_arguments: Any, **_names: Any) -> Any:
    raise OSError(errno.ENOTSUP, "no extended attributes on this platform")


_setxattr: Final[Callable[..., Any]] = getattr(os, "setxattr", _no_xattrs)
_getxattr: Final[Callable[..., Any]] = getattr(os, "getxattr", _no_xattrs)
_lister: Final[Callable[..., Any]] = getattr(os, "listxattr", _no_xattrs)


def _listxattr(path: str) -> list[str]:
    try:
        return list(_lister(path, follow_symlinks=False))
    except OSError:
        return []


def _set_xattr(path: str, value: bytes) -> None:
    """The last resort: where there are no extended attributes either, the ledger alone knows the artifact."""
    try:
        _setxattr(path, MARKER_XATTR, value, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in NO_XATTR:
            raise


def _read_xattr(path: str) -> object:
    try:
        return json.loads(_getxattr(path, MARKER_XATTR, follow_symlinks=False))
    except (OSError, ValueError):
        return None


# SQLite


def _is_sqlite(path: str) -> bool:
    fd = Raw.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    try:
        return Raw.read(fd, len(SQLITE_HEADER)) == SQLITE_HEADER
    finally:
        Raw.close(fd)


def _tag_sqlite(path: str, value: Marker) -> None:
    import sqlite3

    row = [str(item).encode("utf-8", "backslashreplace").decode() for item in value.values()]
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
        try:
            with connection:
                connection.execute(f'CREATE TABLE IF NOT EXISTS "{MARKER_KEY}" (run TEXT, test TEXT, start INTEGER)')
                connection.execute(f'DELETE FROM "{MARKER_KEY}"')
                connection.execute(f'INSERT INTO "{MARKER_KEY}" VALUES (?, ?, ?)', row)
            # Into the main file: markers are read without looking at side files, so as to leave none behind.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as problem:
        raise MarkerError(path, f"cannot take a table ({problem})") from problem


def _read_sqlite(path: str) -> object:
    import sqlite3

    # immutable: no lock, no -wal, no -shm appear beside a database that may be somebody else's.
    address = f"file:{quote(os.fsencode(path))}?mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(address, uri=True)
        try:
            row = connection.execute(f'SELECT run, test, start FROM "{MARKER_KEY}"').fetchone()
        finally:
            connection.close()
    except sqlite3.Error:
        return None
    return None if row is None else {"run": row[0], "test": row[1], "start": row[2]}
