"""Bringing back what a run changed, and finishing what a killed run left in quarantine.

Both can be killed at any moment and started again: what is done is seen to be done. Nothing that stands at a path is ever
overwritten: it changes places with the pre-image and goes aside, into the run's directory.
"""

from __future__ import annotations

import base64
import errno
import itertools
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from pytest_session_guard._core.records import Identity, iter_kind
from pytest_session_guard._core.removal import BESIDE as QUARANTINED_BESIDE
from pytest_session_guard._core.restoring import Now, Preimage, RestorePlan, Step, state_of
from pytest_session_guard._host.copying import (
    copy_content,
    listed_xattrs,
    overwrite_content,
    put_metadata,
    same_content,
)
from pytest_session_guard._host.directories import OpenDirectory, is_directory
from pytest_session_guard._host.fsops import OwnPath, Raw, make_directory

BESIDE: Final = ".session-guard-restore-"


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    :param restored: paths that are again as they were.
    :param aside: pairs of (path, where the version that the run left went).
    :param kept: pairs of (path, why it was left alone, or what could not be brought back).
    """

    restored: tuple[str, ...] = ()
    aside: tuple[tuple[str, str], ...] = ()
    kept: tuple[tuple[str, str], ...] = ()


class Restorer:
    """Puts pre-images of one run back.

    :param store: the directory that holds the pre-images.
    :param aside: a directory for what is replaced; made when needed.
    :param journal: writes a record, or raises `LedgerError`.
    """

    def __init__(self, store: str, aside: str, journal: Callable[[Mapping[str, Any]], None]) -> None:
        self.store = store
        self.aside = aside
        self._journal = journal
        self._prefix = f"{Raw.getpid()}-{Raw.time_ns():x}-"
        self._count = itertools.count()

    def look(self, image: Preimage) -> Now:
        """What stands at a pre-image's path now, and whether its copy can be used."""
        stored = _lstat(f"{self.store}/{image.copy}") if image.copy else None
        usable = not image.copy or (stored is not None and (image.how == "link" or stored.st_size == image.size))
        found = _lstat(image.path)
        if image.how == "absent":
            return Now(state_of(found), same=found is None)
        same = found is not None and _is_same(image, found, f"{self.store}/{image.copy}", stored)
        return Now(state_of(found), same, usable, _is_intact(image, stored))

    def apply(self, plan: RestorePlan) -> Restored:
        """Carry a plan out. What stands at a path goes aside and is named; an error at one path leaves the others be."""
        restored: list[str] = []
        aside: list[tuple[str, str]] = []
        kept = list(plan.kept)
        directories: list[Preimage] = []
        for step in plan.steps:
            try:
                if step.preimage.how == "directory":
                    self._make_directory(step)
                    directories.append(step.preimage)
                elif step.action == "remove":
                    aside.append((step.preimage.path, self._set_aside(step.preimage.path)))
                else:
                    self._bring_back(step, aside)
                    restored.append(step.preimage.path)
            except OSError as problem:
                kept.append((step.preimage.path, _failure(problem)))
        # Last, from the inside out: every name that is made in a directory changes its times.
        for image in reversed(directories):
            try:
                missed = _put_directory_metadata(image)
            except OSError as problem:
                kept.append((image.path, _failure(problem)))
                continue
            restored.append(image.path)
            kept += [(image.path, f"its {what} could not be brought back") for what in missed]
        return Restored(tuple(restored), tuple(aside), tuple(kept))

    def _set_aside(self, path: str) -> str:
        directory, _, name = path.rpartition("/")
        with OpenDirectory(directory or "/") as parent:
            return self._take_aside(path, parent, name)

    def _make_directory(self, step: Step) -> None:
        directory, _, name = step.preimage.path.rpartition("/")
        with _entered(directory or "/") as parent:
            if step.action == "create":
                with suppress(FileExistsError):
                    parent.mkdir(name, 0o700)
            _insist_on_directory(parent, name)

    def _bring_back(self, step: Step, aside: list[tuple[str, str]]) -> None:
        image = step.preimage
        directory, _, name = image.path.rpartition("/")
        with _entered(directory or "/") as parent:
            if step.action == "replace" and self._is_shared_object(image):
                aside.append((image.path, self._restore_in_place(image)))
                return
            beside = self._new_beside(image.path)
            try:
                self._prepare(image, parent, beside)
            except OSError:
                # Half a file, on a disk that may be full.
                with suppress(OSError):
                    parent.unlink(beside)
                raise
            prepared = parent.look(beside).identity
            try:
                self._put_in_place(step, parent, beside, name, prepared, aside)
            except OSError as problem:
                # Under this name may be what stood there before, which is somebody's.
                if _holds(parent, beside, prepared):
                    parent.unlink(beside)
                elif _holds(parent, beside):
                    raise _named(problem, parent, beside) from problem
                raise

    def _put_in_place(
        self,
        step: Step,
        parent: OpenDirectory,
        beside: str,
        name: str,
        prepared: Identity,
        aside: list[tuple[str, str]],
    ) -> None:
        path = step.preimage.path
        if step.action == "create":
            parent.move_if_free(beside, parent, name)
            return
        try:
            parent.exchange(beside, name)
        except FileNotFoundError:
            parent.move_if_free(beside, parent, name)
            return
        except OSError:
            # A file system without an exchange: what stands there loses its name first.
            aside.append((path, self._take_aside(path, parent, name)))
            parent.move_if_free(beside, parent, name)
            return
        try:
            aside.append((path, self._move_aside(parent, beside)))
        except OSError:
            if _holds(parent, name, prepared):
                parent.exchange(beside, name)
            raise

    def _new_beside(self, path: str) -> str:
        beside = f"{BESIDE}{self._prefix}{next(self._count)}"
        # Written down first: after a kill it says whose file that is.
        self._journal({"kind": "restoring", "path": path, "beside": beside})
        return beside

    def _prepare(self, image: Preimage, parent: OpenDirectory, beside: str) -> None:
        """The object as it was, whole, under a name of our own."""
        stored = f"{self.store}/{image.copy}"
        if image.how == "symlink":
            Raw.symlink(image.target, parent.name(beside), dir_fd=parent.fd)
        elif image.how == "link" and self._link_back(stored, parent, beside):
            pass
        else:
            copy_content(stored, parent.through(beside))
            if not same_content(stored, parent.through(beside)):
                parent.unlink(beside)
                raise OSError(errno.EIO, "the copy came out different")
        _put_metadata(parent.through(beside), image)

    def _link_back(self, stored: str, parent: OpenDirectory, beside: str) -> bool:
        """The very object again, where the run left it no other name; a shared one would change with that name."""
        found = Raw.lstat(stored)
        if found.st_nlink > 1 and stat.S_ISREG(found.st_mode):
            return False
        try:
            Raw.link(OwnPath(stored), parent.name(beside), dst_dir_fd=parent.fd, follow_symlinks=False)
        except OSError as problem:
            if problem.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
            return False
        return True

    def _is_shared_object(self, image: Preimage) -> bool:
        """The same object still, with other names: only writing to it reaches them all."""
        found = _lstat(image.path)
        return (
            image.how == "copy"
            and image.names > 1
            and found is not None
            and (found.st_dev, found.st_ino) == (image.identity.device, image.identity.inode)
            and found.st_nlink > 1
        )

    def _restore_in_place(self, image: Preimage) -> str:
        aside = self._new_aside()
        _, copied = copy_content(image.path, aside)
        # No step is whole here: after a kill the next restore must know that nobody else left it so.
        self._journal({"kind": "overwriting", "path": image.path, "time_ns": Raw.time_ns()})
        try:
            overwrite_content(f"{self.store}/{image.copy}", image.path, copied)
            _put_metadata(image.path, image)
        except OSError as problem:
            if problem.errno == errno.ESTALE:
                self._note_overwritten(image.path)  # nothing was done
            raise
        self._note_overwritten(image.path)
        return aside

    def _note_overwritten(self, path: str) -> None:
        self._journal({"kind": "overwritten", "path": path, "time_ns": Raw.time_ns()})

    def _new_aside(self) -> str:
        make_directory(self.aside)
        return f"{self.aside}/{self._prefix}{next(self._count)}"

    def _take_aside(self, path: str, parent: OpenDirectory, name: str) -> str:
        """Move what has a name that others know: nobody may put something there while it is copied to another disk."""
        beside = self._new_beside(path)
        parent.rename(name, parent, beside)
        try:
            return self._move_aside(parent, beside)
        except OSError as problem:
            try:
                parent.move_if_free(beside, parent, name)
            except OSError:
                raise _named(problem, parent, beside) from problem
            raise

    def _move_aside(self, parent: OpenDirectory, name: str) -> str:
        aside = self._new_aside()
        with OpenDirectory(self.aside) as target:
            _move(parent, name, target, aside.rpartition("/")[2])
        return aside


def _move(parent: OpenDirectory, name: str, target: OpenDirectory, target_name: str) -> None:
    """Move a name of our own to a free one of our own, also on another file system, where directories and the like stay.

    :raises OSError: it is where it was.
    """
    try:
        parent.rename(name, target, target_name)
        return
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise
    source, copy = parent.through(name), target.through(target_name)
    try:
        if stat.S_ISLNK(parent.look(name).mode):
            Raw.symlink(Raw.readlink(source), target.name(target_name), dir_fd=target.fd)
        else:
            copy_content(source, copy)
    except BaseException:
        # Interrupted or not: a half copy is of no use, and the whole one is where it was.
        with suppress(FileNotFoundError):
            target.unlink(target_name)
        raise
    parent.unlink(name)


def _entered(directory: str) -> OpenDirectory:
    """A directory held open, made where it is missing; nothing is made behind a symlink."""
    try:
        return OpenDirectory(directory)
    except FileNotFoundError:
        above, _, name = directory.rpartition("/")
        with _entered(above or "/") as parent:
            with suppress(FileExistsError):
                parent.mkdir(name, 0o755)
            return parent.enter(name)


def _insist_on_directory(parent: OpenDirectory, name: str) -> None:
    if not is_directory(parent.look(name)):
        raise NotADirectoryError(errno.ENOTDIR, "something else stands there")


def _put_directory_metadata(image: Preimage) -> list[str]:
    above, _, name = image.path.rpartition("/")
    with OpenDirectory(above or "/") as parent:
        _insist_on_directory(parent, name)
        return _put_metadata(parent.through(name), image)


def _holds(parent: OpenDirectory, name: str, identity: Identity | None = None) -> bool:
    """Whether a name is taken, by that very object where one is told."""
    try:
        found = parent.look(name).identity
    except OSError:
        return False
    return identity is None or found == identity


def _named(problem: OSError, parent: OpenDirectory, name: str) -> OSError:
    return OSError(problem.errno, f"{problem.strerror or problem}; what stood there is now {f'{parent.path}/{name}'!r}")


def _failure(problem: OSError) -> str:
    return f"could not be brought back ({problem.strerror or problem})"


def finish_restoring(
    records: Sequence[Mapping[str, Any]], aside: str
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Take up what a killed restore left beside a path: it goes aside.

    :returns: pairs of (path, where what lay beside it is now), and of (where something lies still, why).
    """
    moved: list[tuple[str, str]] = []
    stuck: list[tuple[str, str]] = []
    for record in iter_kind(records, "restoring"):
        directory = str(record.get("path", "")).rpartition("/")[0] or "/"
        name = str(record.get("beside", ""))
        if not name.startswith(BESIDE) or "/" in name or _lstat(f"{directory}/{name}") is None:
            continue
        try:
            make_directory(aside)
            with OpenDirectory(directory) as parent, OpenDirectory(aside) as target:
                _move(parent, name, target, name.removeprefix(BESIDE))
        except OSError as problem:
            stuck.append((f"{directory}/{name}", f"cannot be moved aside ({problem.strerror or problem})"))
            continue
        moved.append((str(record["path"]), f"{aside}/{name.removeprefix(BESIDE)}"))
    return moved, stuck


# What a killed removal left in quarantine


@dataclass(frozen=True, slots=True)
class QuarantinePlan:
    """What becomes of the objects in a run's quarantine.

    :param removals: paths in quarantine of objects that have their proofs, and the object that must be found there.
    :param returns: pairs of (path in quarantine, path that it came from).
    :param uncertain: pairs of (path in quarantine, why nothing can be done with it).
    """

    removals: tuple[tuple[str, Identity], ...] = ()
    returns: tuple[tuple[str, str], ...] = ()
    uncertain: tuple[tuple[str, str], ...] = ()

    def lines(self) -> list[str]:
        """The plan for people."""
        return [
            *(f"remove {path!r} (in quarantine since the run was killed)" for path, _ in self.removals),
            *(f"return {path!r} to {home!r}" for path, home in self.returns),
            *(f"keep   {path!r}: {reason}" for path, reason in self.uncertain),
        ]


def plan_quarantine(
    quarantine: str, homes: Mapping[str, str], is_own: Callable[[Identity], bool | None]
) -> QuarantinePlan:
    """Look at what a killed removal left: the run's objects go, others go back, the rest stays and is named.

    :param homes: names in quarantine → the paths that they came from.
    :param is_own: whether the run made an object.
    """
    removals: list[tuple[str, Identity]] = []
    returns: list[tuple[str, str]] = []
    uncertain: list[tuple[str, str]] = []
    for path, home in _in_quarantine(quarantine, homes):
        identity = _identity(path)
        if identity is None:
            continue
        if home and is_own(identity) is True:
            removals.append((path, identity))
        elif home:
            returns.append((path, home))
        else:
            uncertain.append((path, "nothing says where it came from"))
    return QuarantinePlan(tuple(removals), tuple(returns), tuple(uncertain))


def _in_quarantine(quarantine: str, homes: Mapping[str, str]) -> list[tuple[str, str]]:
    try:
        names = sorted(Raw.listdir(quarantine))
    except FileNotFoundError:
        names = []
    found = [(f"{quarantine}/{name}", homes.get(name, "")) for name in names]
    for name, home in homes.items():
        # On another file system than the run's directory artifacts are quarantined beside themselves.
        beside = f"{home.rpartition('/')[0]}/{QUARANTINED_BESIDE}{name}"
        if _lstat(beside) is not None:
            found.append((beside, home))
    return found


def _identity(path: str) -> Identity | None:
    directory, _, name = path.rpartition("/")
    try:
        with OpenDirectory(directory or "/") as parent:
            return parent.look(name).identity
    except OSError:
        return None


def apply_quarantine(plan: QuarantinePlan) -> QuarantinePlan:
    """Carry a plan out, each object looked at again. Nothing has a name twice, and nothing taken is overwritten.

    :returns: what was removed and returned, and what had to stay.
    """
    removed: list[tuple[str, Identity]] = []
    returned: list[tuple[str, str]] = []
    uncertain = list(plan.uncertain)
    for path, identity in plan.removals:
        directory, _, name = path.rpartition("/")
        try:
            with OpenDirectory(directory) as parent:
                if parent.look(name).identity == identity:
                    parent.unlink(name)
                    removed.append((path, identity))
        except OSError as problem:
            uncertain.append((path, f"cannot be removed ({problem.strerror or problem})"))
    for path, home in plan.returns:
        directory, _, name = path.rpartition("/")
        home_directory, _, home_name = home.rpartition("/")
        try:
            with OpenDirectory(directory) as parent, OpenDirectory(home_directory or "/") as target:
                _give_back(parent, name, target, home_name)
            returned.append((path, home))
        except OSError as problem:
            uncertain.append((path, f"cannot go back to {home!r} ({problem.strerror or problem})"))
    return QuarantinePlan(tuple(removed), tuple(returned), tuple(uncertain))


def _give_back(parent: OpenDirectory, name: str, home: OpenDirectory, home_name: str) -> None:
    try:
        parent.move_if_free(name, home, home_name)
    except FileExistsError:
        # Killed between the two steps of going back: it has its name again, and this one besides.
        if not _holds(home, home_name, parent.look(name).identity):
            raise
        parent.unlink(name)


def _is_intact(image: Preimage, stored: os.stat_result | None) -> bool:
    """Whether a second name still leads to what it led to; whoever writes through the first one changes both."""
    if image.how != "link" or stored is None or not stat.S_ISREG(stored.st_mode):
        return True
    return (stored.st_size, stored.st_mtime_ns) == (image.size, image.mtime_ns)


def _is_same(image: Preimage, found: os.stat_result, stored_path: str, stored: os.stat_result | None) -> bool:
    if stat.S_IFMT(found.st_mode) != _kind_of(image, stored):
        return False
    if image.how == "symlink":
        return Raw.readlink(image.path) == image.target
    was = (image.mode, image.uid, image.gid, image.mtime_ns)
    if (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns) != was:
        return False
    if _encoded(listed_xattrs(image.path)) != dict(image.xattrs):
        return False
    if image.how == "directory":
        return True
    if stored is not None and (stored.st_dev, stored.st_ino) == (found.st_dev, found.st_ino):
        return True
    return found.st_size == image.size and stat.S_ISREG(found.st_mode) and same_content(stored_path, image.path)


def _kind_of(image: Preimage, stored: os.stat_result | None) -> int:
    if image.how == "directory":
        return stat.S_IFDIR
    if image.how == "symlink":
        return stat.S_IFLNK
    return stat.S_IFREG if stored is None else stat.S_IFMT(stored.st_mode)


def _put_metadata(path: str, image: Preimage) -> list[str]:
    xattrs = {name: base64.b64decode(value) for name, value in image.xattrs.items()}
    return put_metadata(
        path,
        mode=image.mode,
        uid=image.uid,
        gid=image.gid,
        atime_ns=image.atime_ns,
        mtime_ns=image.mtime_ns,
        xattrs=xattrs,
    )


def _encoded(xattrs: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(value).decode() for name, value in xattrs.items()}


def _lstat(path: str) -> os.stat_result | None:
    try:
        return Raw.lstat(path)
    except OSError:
        return None
