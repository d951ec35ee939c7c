"""From a path as a caller wrote it to the object that the kernel will reach: its real path, and what stands there.

Runs inside the audit hook, so it obeys the hook's rules: only primitives captured at import, none that raises a writing
event; never a user's code (str subclasses lie, ``__fspath__`` may answer differently the second time); nothing reached
through a module object, because interpreter shutdown empties those.
"""

from __future__ import annotations

import os
from builtins import bytes, getattr, int, isinstance, len, memoryview, str, type  # noqa: A004 - captured: tests mock builtins
from pathlib import PurePath
from stat import S_ISDIR, S_ISLNK
from threading import local
from typing import Any, Final

from pytest_session_guard._core.events import Intent
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Policy, Rule
from pytest_session_guard._host.depths import place_above
from pytest_session_guard._host.fsops import OwnDescriptor, OwnPath, Raw
from pytest_session_guard._host.identity import (
    HAS_PROC_FD,
    IS_SPELLING_FREE,
    creatable_target,
    decoded,
    encoded,
    is_writable,
    real_directory,
    real_path_of_fd,
    real_target,
    spelled_name,
)

CACHE_LIMIT: Final = 8192
PATH_BYTES: Final = 4096  # PATH_MAX, with the zero byte at its end
# Stands for the rest of a path that is longer than the kernel says one.
TOO_DEEP: Final = "/(deeper than a path can say)"
_DESCRIPTORS: Final = "/proc/self/fd" if HAS_PROC_FD else "/dev/fd"

_DirEntry: Final = os.DirEntry
_plain_fspath: Final = PurePath.__fspath__
_plain_str: Final = PurePath.__str__


class UncheckableError(Exception):
    """A path object whose meaning cannot be known without running its own code."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an intent will reach.

    :param path: real path, every symlink resolved that the operation will follow.
    :param found: the object there (its own `lstat`), or ``None``.
    :param rule: the rule that governs the path.
    :param is_nameable: whether the path leads there; it does not where it would be longer than the kernel says one.
    """

    path: str
    found: os.stat_result | None
    rule: Rule
    is_nameable: bool = True

    @property
    def is_directory(self) -> bool:
        """Whether a directory stands there."""
        return self.found is not None and S_ISDIR(self.found.st_mode)


class DirFdHint(local):
    """What the wrappers pass on because an event hides it.

    :ivar value: the ``dir_fd`` of `os.open`, -1 for none; ``None`` when nobody said.
    :ivar link_itself: the call changes a symlink, not what it leads to.
    """

    value: int | None = None
    link_itself: bool = False


class Locator:
    """Finds targets; remembers which directory is which, so that most look-ups cost two `stat` calls."""

    def __init__(self, policy: Policy, hint: DirFdHint) -> None:
        self.policy = policy
        self.hint = hint
        self._known: dict[tuple[Any, int, int], tuple[str, Rule]] = {}

    def use(self, policy: Policy) -> None:
        """Go by another policy from now on."""
        self.policy = policy
        self._known = {}

    def forget(self) -> None:
        """A directory moved or went: what was known may be wrong."""
        self._known = {}

    def targets(self, intent: Intent) -> list[Target]:
        """What the intent reaches; empty when it will fail by itself, more than one when that cannot be told apart.

        :raises UncheckableError: the path is of a type whose code would have to run.
        """
        path = plain(intent.path)
        if path is None:
            return []
        if isinstance(path, int):
            return self._behind_descriptor(path, intent)
        if intent.dir_fd is None and path[:1] not in ("/", b"/"):
            return [target for fd in self._possible_starts() if (target := self._at(path, fd, intent)) is not None]
        fd = intent.dir_fd if intent.dir_fd is not None and intent.dir_fd >= 0 else None
        target = self._at(path, fd, intent)
        return [] if target is None else [target]

    def _possible_starts(self) -> list[int | None]:
        hinted = self.hint.value
        if hinted is not None:
            return [None if hinted < 0 else hinted]
        # Somebody called posix.open itself with a relative path: it may start from any directory held open.
        return [None, *held_directories()]

    def _behind_descriptor(self, fd: int, intent: Intent) -> list[Target]:
        path = real_path_of_fd(fd)
        if path is None or (intent.needs_writable and not is_writable(fd)):
            return []
        try:
            found = Raw.fstat(fd)
        except OSError:
            return []
        return [Target(path, found, self.policy.rule_for(path))] if found.st_nlink else []

    def _at(self, path: str | bytes, fd: int | None, intent: Intent) -> Target | None:
        text = path if isinstance(path, str) else decoded(path)
        stripped = text.rstrip("/") or text[:1]
        parent, slash, leaf = stripped.rpartition("/")
        if leaf in ("", ".", "..") or intent.nameless:
            return self._whole(text, fd, intent)
        try:
            entry = self._directory(parent or slash or ".", fd)
        except PermissionError:
            # By itself it fails, but for the way through a process that our walls keep us from: it would reach the disk.
            outside = seen_from_outside(text)
            return None if outside is None else self._at(outside, None, intent)
        except OSError:
            return None  # no such parent: the operation fails by itself
        if entry is None:
            return None
        real_parent, parent_rule = entry
        full = f"{real_parent}/{leaf}" if real_parent != "/" else f"/{leaf}"
        is_nameable = not real_parent.endswith(TOO_DEEP) and len(encoded(full)) < PATH_BYTES
        try:
            found = Raw.stat(stripped, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            if text != stripped and not (intent.directory or intent.replaces):
                return None  # only a directory can be made as "name/"
            return Target(full, None, self.policy.rule_at(full, parent_rule), is_nameable)
        except OSError:
            return None
        follows = intent.follows and not self.hint.link_itself
        if S_ISLNK(found.st_mode) and (follows or text != stripped):
            return self._through_link(text, full, fd)
        if text != stripped and not S_ISDIR(found.st_mode):
            return None  # "file/" asks for a directory
        if IS_SPELLING_FREE:
            full = spelled_name(full, found)
        return Target(full, found, self.policy.rule_at(full, parent_rule), is_nameable)

    def _directory(self, parent: str, fd: int | None) -> tuple[str, Rule] | None:
        here = Raw.stat(parent, dir_fd=fd)
        key = (parent, here.st_dev, here.st_ino)
        entry = self._known.get(key)
        if entry is None or (entry[0] != parent and not _stands_at(entry[0], here)):
            real = real_directory(parent, fd)
            if real is None:
                above = place_above(parent, fd)
                return None if above is None else (f"{above.rstrip('/')}{TOO_DEEP}", self.policy.rule_for(above))
            if len(self._known) > CACHE_LIMIT:
                self._known = {}
            entry = self._known[key] = (real, self.policy.rule_for(real))
        return entry

    def _whole(self, text: str, fd: int | None, intent: Intent) -> Target | None:
        real = real_directory(text, fd)
        if real is None:
            return None
        if intent.nameless:
            return Target(f"{real}/(nameless)", None, self.policy.rule_for(real))
        return Target(real, Raw.lstat(real), self.policy.rule_for(real))

    def _through_link(self, text: str, full: str, fd: int | None) -> Target | None:
        real = real_target(text, fd)
        if real is None:
            missing = creatable_target(full)
            return (
                None if missing is None or text.endswith("/") else Target(missing, None, self.policy.rule_for(missing))
            )
        try:
            return Target(real, Raw.lstat(real), self.policy.rule_for(real))
        except OSError:
            return None


def seen_from_outside(path: str) -> str | None:
    """The path that ``/proc/PID/root/…``, or a thread's, means for that process, or ``None`` for any other path."""
    parts = path.split("/")
    if parts[:2] != ["", "proc"]:
        return None
    start = 5 if parts[3:4] == ["task"] else 3
    return "/" + "/".join(parts[start + 1 :]) if parts[start : start + 1] == ["root"] else None


def _stands_at(real: str, directory: os.stat_result) -> bool:
    """Whether a directory still has the path that it was known by: a child process may have moved it, or taken it away.

    An inode number is given out again at once, so a directory of the same number need not be the same directory.
    """
    try:
        now = Raw.stat(real)
    except OSError:
        return False
    return (now.st_dev, now.st_ino) == (directory.st_dev, directory.st_ino)


def plain(path: Any) -> str | bytes | int | None:
    """A path argument without any code of its own, or ``None`` when it is nobody's business (ours).

    :raises UncheckableError: only its own code could say what it means.
    """
    kind = type(path)
    if kind is str or kind is bytes or kind is int:
        return path  # type: ignore[no-any-return]
    if kind is OwnPath or kind is OwnDescriptor:
        return None
    if isinstance(path, str):
        return str.__str__(path)
    if isinstance(path, bytes):
        return b"".join((path,))
    if isinstance(path, int):
        return int.__index__(path)
    if isinstance(path, bytearray | memoryview):
        return bytes(path)
    return _plain_object(path, kind)


def claimed(path: Any) -> str:
    """The absolute path that an object of somebody's own type gives for itself, or ``""``.

    Runs the object's code, as the call would have that was refused by now; what it says is for the message alone.
    """
    try:
        said = type(path).__fspath__(path)
    except Exception:  # somebody's code may raise anything; the message has the type then
        return ""
    text = decoded(said) if type(said) is bytes else said if type(said) is str else ""
    return text if text.startswith("/") else ""


def _plain_object(path: Any, kind: type) -> str | bytes | None:
    if isinstance(path, PurePath) and _converts_plainly(kind):
        return _plain_str(path)
    if kind is _DirEntry:
        return path.path  # type: ignore[no-any-return]
    if kind.__module__ in ("_pytest._py.path", "py._path.local") and kind.__name__ == "LocalPath":
        return str(path.strpath)
    if path is None:
        return None
    raise UncheckableError(f"{kind.__module__}.{kind.__qualname__}")


def _converts_plainly(kind: type) -> bool:
    """Whether a path class converts as `pathlib` does: a subclass of somebody's may say anything."""
    return getattr(kind, "__fspath__", None) is _plain_fspath and getattr(kind, "__str__", None) is _plain_str


def held_directories(limit: int = 256) -> list[int]:
    """Descriptors of directories that this process holds open."""
    found = []
    try:
        names = Raw.listdir(_DESCRIPTORS)[:limit]
    except OSError:
        return []
    for name in names:
        try:
            if S_ISDIR(Raw.fstat(int(name)).st_mode):
                found.append(int(name))
        except OSError:
            continue
    return found
