"""Every error and warning of the plugin.

SessionGuardError
├── ProtectedPathError      also PermissionError: a touch that its zone forbids
├── NotCreatedByRunError    a removal that met something which is not the run's
├── DataChangedError        also AssertionError: `unchanged()` saw a difference
├── ConfigurationError      also ValueError: an option's value cannot be used
├── LayerUnavailableError   also RuntimeError: a layer cannot be had here
├── LedgerError             also OSError: the run's own record cannot be kept
├── PreimageError           also OSError: what is about to be changed cannot be kept
└── MarkerError             also ValueError: a document cannot carry the marker

SessionGuardWarning
├── LateWriterWarning       something wrote to a target between tests
└── RedirectWarning         a redirected value lives on where it cannot be rebound

Each message ends in a slug in brackets, which the README explains. All of them survive pickling, so that a worker or
a child process can send them home.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import ClassVar, final


class SessionGuardError(Exception):
    """The root of all errors that this plugin raises."""

    slug: ClassVar[str] = "session-guard"
    __module__ = "pytest_session_guard"


@final
class ProtectedPathError(SessionGuardError, PermissionError):
    """A touch was refused, as a read-only disk would refuse it (``EACCES``), before it did anything.

    :param path: the path that was touched, resolved; also ``filename``.
    :param message: what the terminal shows: one line that stands alone, then labelled lines.
    """

    slug = "protected-path"
    __module__ = "pytest_session_guard"

    def __init__(self, path: str, message: str) -> None:
        super().__init__(errno.EACCES, "refused by session-guard", path)
        self.path = path
        self.message = message

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        # OSError would replay (errno, text, filename) into a constructor that takes something else.
        return type(self), (self.path, self.message)


@final
class NotCreatedByRunError(SessionGuardError):
    """A removal met paths that the run cannot prove to be its own; nothing was removed.

    :param refused: pairs of (path, the proof that is missing).
    """

    slug = "not-created-by-run"
    __module__ = "pytest_session_guard"

    def __init__(self, refused: Iterable[tuple[str, str]]) -> None:
        self.refused = tuple((path, reason) for path, reason in refused)
        super().__init__(self.refused)

    def __str__(self) -> str:
        count = len(self.refused)
        head = f"removal refused: {count} {'path was' if count == 1 else 'paths were'} not created by this run, nothing was removed"
        lines = [f"  {path!r}: {reason}" for path, reason in self.refused]
        return "\n".join([head, *lines, f"  [{self.slug}]"])

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.refused,)


@final
class DataChangedError(SessionGuardError, AssertionError):
    """`session_guard.unchanged()` found a byte, a mode or a name that differs.

    :param differences: one clause each, path first.
    """

    slug = "data-changed"
    __module__ = "pytest_session_guard"

    def __init__(self, differences: Iterable[str]) -> None:
        self.differences = tuple(differences)
        super().__init__(self.differences)

    def __str__(self) -> str:
        count = len(self.differences)
        what = "1 difference" if count == 1 else f"{count} differences"
        head = f"data changed: {what} below paths that should have stayed as they were"
        return "\n".join([head, *(f"  {line}" for line in self.differences), f"  [{self.slug}]"])

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.differences,)


@final
class ConfigurationError(SessionGuardError, ValueError):
    """An option has a value that cannot be used; nothing was started with it.

    :param option: its name as the user wrote it (ini name, flag or variable).
    :param source: where the value came from, for people.
    :param problem: what is wrong, value last.
    :param allowed: what would be right.
    """

    slug = "bad-configuration"
    __module__ = "pytest_session_guard"

    def __init__(self, option: str, source: str, problem: str, allowed: str) -> None:
        super().__init__(option, source, problem, allowed)
        self.option, self.source, self.problem, self.allowed = option, source, problem, allowed

    def __str__(self) -> str:
        return f"{self.option} ({self.source}): {self.problem}\n  allowed: {self.allowed}\n  [{self.slug}]"


@final
class LayerUnavailableError(SessionGuardError, RuntimeError):
    """A layer cannot be had on this machine or in this process.

    :param layer: ``hook``, ``overlay``, ``seal`` or ``manifest``.
    :param reason: one clause that a user can act on.
    :param entered: the process is in a state that it cannot leave, so it must stop.
    """

    slug = "layer-unavailable"
    __module__ = "pytest_session_guard"

    def __init__(self, layer: str, reason: str, entered: bool = False) -> None:
        super().__init__(layer, reason, entered)
        self.layer, self.reason, self.entered = layer, reason, entered

    def __str__(self) -> str:
        return f"layer {self.layer} is not to be had: {self.reason}\n  [{self.slug}]"


@final
class LedgerError(SessionGuardError, OSError):
    """The run's own record cannot be written or read, so the guard cannot do its work.

    :param path: the file or directory of the ledger.
    :param reason: what failed, one clause.
    :cvar fix: what the reader can do about it.
    """

    slug = "ledger-unusable"
    fix = "keep the guard's own record where nothing deletes it and there is room (session_guard_dir)"
    __module__ = "pytest_session_guard"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(errno.EIO, reason, path)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"the ledger cannot be used: {self.path!r}: {self.reason}\n  [{self.slug}]"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.reason)


@final
class PreimageError(SessionGuardError, OSError):
    """No copy of a file can be kept, so the run may not change it.

    :param path: the file; it is as it was.
    :param reason: why, one clause.
    """

    slug = "preimage-failed"
    __module__ = "pytest_session_guard"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(errno.EIO, reason, path)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"no pre-image kept: {self.path!r} {self.reason}\n  [{self.slug}]"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.reason)


@final
class MarkerError(SessionGuardError, ValueError):
    """A document cannot carry the marker, because it is not what its name says.

    :param path: the document; it is as it was.
    :param problem: what is wrong with it, one clause.
    """

    slug = "marker-refused"
    __module__ = "pytest_session_guard"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"not tagged: {self.path!r} {self.problem}\n  [{self.slug}]"


class SessionGuardWarning(UserWarning):
    """The root of all warnings that this plugin gives."""

    slug: ClassVar[str] = "session-guard"
    __module__ = "pytest_session_guard"


@final
class LateWriterWarning(SessionGuardWarning):
    """Something wrote to a redirected target between tests; without the guard it would have hit real data."""

    slug = "late-writer"
    __module__ = "pytest_session_guard"


@final
class RedirectWarning(SessionGuardWarning):
    """A redirected value lives on in a place that cannot be rebound."""

    slug = "redirect-missed"
    __module__ = "pytest_session_guard"
