"""Puts pre-images of one run back where they were."""

from __future__ import annotations

import base64
import errno
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pytest_session_guard._core.records import Identity
from pytest_session_guard._core.restoring import PARTED, Now, Preimage, RestorePlan, Step
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._host.copying import copy_content, overwrite_content, put_metadata, same_content
from pytest_session_guard._host.directories import OpenDirectory, is_directory
from pytest_session_guard._host.fsops import OwnPath, Raw

from .aside import Aside, named
from .comparison import look
from .hard_links import HardLinks
from .moving import entered, holds


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
    :param links: what is known of the names of the files that the run changed.
    """

    def __init__(self, store: str, aside: str, journal: Callable[[Mapping[str, Any]], None], links: HardLinks) -> None:
        self.store = store
        self._journal = journal
        self._links = links
        self._aside = Aside(aside, journal)

    def look(self, image: Preimage) -> Now:
        """What stands at a pre-image's path now, and whether its copy can be used."""
        return look(image, self.store)

    def apply(self, plan: RestorePlan) -> Restored:
        """Carry a plan out. What stands at a path goes aside and is named; an error at one path leaves the others be."""
        restored: list[str] = []
        aside: list[tuple[str, str]] = []
        kept = list(plan.kept)
        directories: list[Preimage] = []
        files: list[Preimage] = []
        # What is written to where it stands comes first: other names of it join it then.
        for step in sorted(plan.steps, key=lambda step: not self._goes_in_place(step)):
            try:
                if step.preimage.how == "directory":
                    self._make_directory(step, aside)
                    directories.append(step.preimage)
                elif step.action == "remove":
                    aside.append((step.preimage.path, self._set_aside(step.preimage.path)))
                else:
                    missed = self._bring_back(step, aside)
                    restored.append(step.preimage.path)
                    kept += [(step.preimage.path, what) for what in missed]
                    files.append(step.preimage)
            except OSError as problem:
                kept.append((step.preimage.path, _failure(problem)))
        kept += [(image.path, PARTED) for image in files if self._links.is_parted(image)]
        # Last, from the inside out: every name that is made in a directory changes its times.
        for image in reversed(directories):
            try:
                missed = _put_directory_metadata(image)
            except OSError as problem:
                kept.append((image.path, _failure(problem)))
                continue
            restored.append(image.path)
            kept += [(image.path, what) for what in missed]
        return Restored(tuple(restored), tuple(aside), tuple(kept))

    def _goes_in_place(self, step: Step) -> bool:
        return step.action == "replace" and self._links.is_shared(step.preimage)

    def _set_aside(self, path: str) -> str:
        directory, _, name = path.rpartition("/")
        with OpenDirectory(directory or "/") as parent:
            return self._aside.take(path, parent, name)

    def _make_directory(self, step: Step, aside: list[tuple[str, str]]) -> None:
        path = step.preimage.path
        directory, _, name = path.rpartition("/")
        with entered(directory or "/") as parent:
            if step.action == "replace":
                aside.append((path, self._aside.take(path, parent, name)))
            if step.action != "metadata":
                with suppress(FileExistsError):
                    parent.mkdir(name, 0o700)
            _insist_on_directory(parent, name)

    def _bring_back(self, step: Step, aside: list[tuple[str, str]]) -> list[str]:
        """Have one object as it was; the answer is what of it is not."""
        image = step.preimage
        directory, _, name = image.path.rpartition("/")
        with entered(directory or "/") as parent:
            if self._goes_in_place(step):
                place, missed = self._restore_in_place(image)
                aside.append((image.path, place))
                return missed
            beside = self._aside.name_beside(image.path)
            try:
                missed = self._prepare(image, parent, beside)
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
                if holds(parent, beside, prepared):
                    parent.unlink(beside)
                elif holds(parent, beside):
                    raise named(problem, parent, beside) from problem
                raise
        return missed

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
            aside.append((path, self._aside.take(path, parent, name)))
            parent.move_if_free(beside, parent, name)
            return
        try:
            aside.append((path, self._aside.move(parent, beside)))
        except OSError:
            if holds(parent, name, prepared):
                parent.exchange(beside, name)
            raise

    def _prepare(self, image: Preimage, parent: OpenDirectory, beside: str) -> list[str]:
        """The object as it was, whole, under a name of our own; the answer is what of it is not as it was."""
        stored = f"{self.store}/{image.copy}"
        if image.how == "symlink":
            Raw.symlink(image.target, parent.name(beside), dir_fd=parent.fd)
            return _put_metadata(parent.through(beside), image)
        if self._links.is_free(image) and self._link_back(stored, parent, beside):
            return _put_metadata(parent.through(beside), image)
        place = self._links.place_to_join(image)
        if place and self._link_back(place, parent, beside):
            return []  # what else is to be known of it, its other names have kept
        copy_content(stored, parent.through(beside))
        if not same_content(stored, parent.through(beside)):
            parent.unlink(beside)
            raise OSError(errno.EIO, "the copy came out different")
        return _put_metadata(parent.through(beside), image)

    def _link_back(self, place: str, parent: OpenDirectory, beside: str) -> bool:
        """The very object again, where a link to it can be made."""
        try:
            Raw.link(OwnPath(place), parent.name(beside), dst_dir_fd=parent.fd, follow_symlinks=False)
        except OSError as problem:
            if problem.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
            return False
        return True

    def _restore_in_place(self, image: Preimage) -> tuple[str, list[str]]:
        aside = self._aside.new_path()
        _, copied = copy_content(image.path, aside)
        # No step is whole here: after a kill the next restore must know that nobody else left it so.
        self._journal({"kind": "overwriting", "path": image.path, "time_ns": Raw.time_ns()})
        try:
            overwrite_content(f"{self.store}/{image.copy}", image.path, copied)
            missed = _put_metadata(image.path, image)
        except OSError as problem:
            if problem.errno == errno.ESTALE:
                self._note_overwritten(image.path)  # nothing was done
            raise
        self._note_overwritten(image.path)
        return aside, missed

    def _note_overwritten(self, path: str) -> None:
        self._journal({"kind": "overwritten", "path": path, "time_ns": Raw.time_ns()})


def _insist_on_directory(parent: OpenDirectory, name: str) -> None:
    if not is_directory(parent.look(name)):
        raise NotADirectoryError(errno.ENOTDIR, "something else stands there")


def _put_directory_metadata(image: Preimage) -> list[str]:
    above, _, name = image.path.rpartition("/")
    with OpenDirectory(above or "/") as parent:
        _insist_on_directory(parent, name)
        return _put_metadata(parent.through(name), image)


def _put_metadata(path: str, image: Preimage) -> list[str]:
    """Have what goes with an object as it was; the answer says what could not be brought back."""
    xattrs = {name: base64.b64decode(value) for name, value in image.xattrs.items()}
    missed = put_metadata(
        path,
        mode=image.mode,
        uid=image.uid,
        gid=image.gid,
        atime_ns=image.atime_ns,
        mtime_ns=image.mtime_ns,
        xattrs=xattrs,
    )
    return [f"its {what} could not be brought back" for what in missed]


def _failure(problem: OSError) -> str:
    return f"could not be brought back ({problem.strerror or problem})"
