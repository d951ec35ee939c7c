"""What a test asks of the run by hand: record, tag, remove, and prove that nothing changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Final

from pytest_session_guard._controls.cleanup import Cleanup, Removed
from pytest_session_guard._controls.markers import tag, write_json
from pytest_session_guard._core.errors import DataChangedError, LedgerError, MarkerError, NotCreatedByRunError
from pytest_session_guard._core.marking import MarkerFormat
from pytest_session_guard._core.records import Identity, Touch, marker
from pytest_session_guard._core.zones import compile_glob
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.identity import identity_of, resolve_missing
from pytest_session_guard._run.guard import GuardRun

REMOVAL_FIX: Final = (
    "remove only what this run created; create it through session_guard, or in a zone that records creations"
)


class ArtifactDesk:
    """Artifacts of a run, by hand.

    :param is_private: whether a path lies in a directory that the run made for itself and keeps no record of.
    """

    def __init__(self, run: GuardRun, cleanup: Cleanup, is_private: Callable[[str], bool]) -> None:
        self.run = run
        self.cleanup = cleanup
        self.is_private = is_private
        self.formats: tuple[MarkerFormat, ...] = ()
        self._looked_at: set[tuple[str, Identity]] = set()

    def record(self, path: str, nodeid: str) -> str:
        """Record and tag a file or directory that the run made.

        :returns: its real path.
        :raises NotCreatedByRunError: it was there before the run.
        :raises FileNotFoundError: nothing stands there.
        """
        real = real_name(path)
        found = Raw.lstat(real)
        identity = identity_of(real)
        run = self.run
        is_own = run.ownership.owns(real, found, True)
        if not self.is_private(real) and not is_own:
            born = identity.birth_ns if identity.birth_ns is not None else found.st_ctime_ns
            if born < run.directory.started_ns or not self._is_free(real):
                raise self._refused("session_guard.artifact", [(real, "it was there before this run")])
        tag(real, run.directory.run_id, nodeid, run.directory.started_ns, self.formats, found)
        run.ownership.settle()
        tagged = identity_of(real)
        # A tagged document is a new object, of which the ledger has heard: anything else has taken its place since.
        # One of which nobody tells who made it is the run's by this very word.
        if not is_own or run.ownership.is_own(tagged) is not False or run.ownership.lent.get(real) == tagged:
            run.ownership.claim(real, tagged, S_ISDIR(found.st_mode))
        return real

    def tag_matching(self, globs: Sequence[str], nodeid: str) -> None:
        """Tag what this process made in shared places and a glob of ``session_guard_tag`` matches, each once.

        What it may have made, and nobody tells so, is not tagged: it may be an application's. What cannot be tagged, or not
        without harm, stays as it is, and is named in the report.
        """
        run = self.run
        run.ownership.settle()
        for path, identity in sorted(run.ownership.paths.items() - self._looked_at):
            self._looked_at.add((path, identity))
            if run.policy.rule_for(path).zone != "shared" or not matches_any(path, globs) or not os.path.lexists(path):
                continue
            try:
                # What somebody put in its place meanwhile is not the run's to tag.
                if run.ownership.owns(path, Raw.lstat(path), True):
                    self.record(path, nodeid)
                    # A tagged document is a new object.
                    self._looked_at.add((path, run.ownership.paths.get(path, identity)))
            except FileNotFoundError:
                continue  # it went by itself
            except LedgerError:
                raise
            except OSError as problem:
                run.notes.append(f"not tagged: {path!r} ({problem.strerror or problem})")
            except MarkerError as problem:
                run.notes.append(f"not tagged: {problem}")

    def _is_free(self, path: str) -> bool:
        return self.run.policy.rule_for(path).zone == "free"

    def write_json(self, path: str, payload: object, nodeid: str) -> str:
        """Write a tagged JSON file, all at once; returns its real path.

        :raises ProtectedPathError: the run may not create there, or somebody else's file stands there.
        """
        run = self.run
        real = real_name(path)
        os.makedirs(os.path.dirname(real), exist_ok=True)
        write_json(real, payload, marker(run.directory.run_id, nodeid, run.directory.started_ns))
        run.ownership.settle()
        if real not in run.ownership.paths:
            run.ownership.claim(real, identity_of(real))
        return real

    def remove(self, *paths: str) -> Removed:
        """Remove artifacts of the run, all or none; a refusal is a violation.

        :raises NotCreatedByRunError: a proof is missing; nothing was removed.
        """
        return self._or_write_down("session_guard.remove", lambda: self.cleanup.remove(*paths))

    def sweep(self, directory: str, pattern: str) -> Removed:
        """Remove what matches in a directory, all or nothing; a refusal is a violation.

        :raises NotCreatedByRunError: it met something that is not the run's; nothing was removed.
        """
        return self._or_write_down("session_guard.sweep", lambda: self.cleanup.sweep(directory, pattern))

    def _or_write_down(self, operation: str, act: Callable[[], Removed]) -> Removed:
        self.run.ownership.ask_others()
        self.run.insist_on_whole_journals()
        try:
            return act()
        except NotCreatedByRunError as problem:
            raise self._refused(operation, problem.refused) from None

    def _refused(self, operation: str, refused: Sequence[tuple[str, str]]) -> NotCreatedByRunError:
        """Write a refused removal down, one violation a path, before anybody can swallow the exception."""
        for path, reason in refused:
            self.run.touched(self.touch(operation, path, reason, REMOVAL_FIX))
        return NotCreatedByRunError(refused)

    def touch(self, operation: str, path: str, reason: str, fix: str) -> Touch:
        """A refused touch of the line of the project that led here."""
        span, who = self.run.current_span(), self.run.culprit()
        rule = self.run.policy.rule_for(path)
        return Touch(
            time=Raw.time_ns() / 1e9,
            operation=operation,
            path=path,
            zone=rule.zone.value,
            outcome="refused",
            violation=not self.run.is_expecting,
            layer="object",
            nodeid=span.nodeid,
            phase=span.phase,
            pid=Raw.getpid(),
            file=who.file,
            line=who.line,
            function=who.function,
            reason=reason,
            rule=str(rule),
            fix=fix,
        )


def matches_any(path: str, globs: Sequence[str]) -> bool:
    """Whether a glob matches a path: its name, or where the glob has a slash all of it."""
    name = path.rpartition("/")[2]
    return any(compile_glob(glob).fullmatch(path if "/" in glob else name) for glob in globs)


def real_name(path: str) -> str:
    """The real path of a name whose last component is not followed."""
    parent, name = os.path.split(os.path.abspath(path))
    return os.path.join(resolve_missing(parent), name) if name else parent


@contextmanager
def unchanged(paths: Sequence[str]) -> Iterator[None]:
    """Compare everything below the paths before and after the block.

    :raises DataChangedError: a byte, a mode or a name differs.
    """
    before = snapshot(paths)
    yield
    after = snapshot(paths)
    differences = [
        f"{path!r} {'appeared' if path not in before else 'is gone' if path not in after else _difference(before[path], after[path])}"
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    ]
    if differences:
        raise DataChangedError(differences)


def _difference(before: tuple[int, str], after: tuple[int, str]) -> str:
    return f"has mode {after[0]:o}, had {before[0]:o}" if before[0] != after[0] else "has other content"


def snapshot(paths: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Mode and content digest of everything at and below some paths; nothing but regular files is opened."""
    found: dict[str, tuple[int, str]] = {}
    pending = [os.path.abspath(path) for path in paths]
    while pending:
        path = pending.pop()
        try:
            state = Raw.lstat(path)
        except FileNotFoundError:
            continue
        content = ""
        if S_ISDIR(state.st_mode):
            pending += [os.path.join(path, name) for name in Raw.listdir(path)]
        elif S_ISLNK(state.st_mode):
            content = Raw.readlink(path)
        elif S_ISREG(state.st_mode):
            content = digest(path)
        found[path] = (state.st_mode, content)
    return found


def digest(path: str) -> str:
    """A digest of a regular file's content."""
    hashing = blake2b(digest_size=16)
    fd = Raw.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
    try:
        while piece := Raw.read(fd, 1 << 20):
            hashing.update(piece)
    finally:
        Raw.close(fd)
    return hashing.hexdigest()
