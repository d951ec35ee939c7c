"""Making the mounts of a layout, in a fresh mount namespace that nothing else lives in yet."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import field
from typing import Final, Literal

from ..._core.values import dataclass
from ..._host import mounts
from .disk_store import Store, remove_all
from .layout import Kind, Layout, OverlayPlan, Step, Surroundings

UpperPlace = Literal["memory", "disk"]

_UNIX_SOCKETS: Final = "/proc/net/unix"
_PASSED_MOUNT_FLAGS: Final = mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
_PROBE_XATTR: Final = "user.session_guard"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Reading an upper layer must not pass for a test's change of an access time.
_READ_UNNOTICED: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Layer:
    """One overlay: where it is seen, and the two trees to compare.

    :param path: the root as the tests see it; a file for a file root.
    :param name: for a file root its name in both trees; empty for a directory.
    :param upper_fd: the upper directory: what was changed.
    :param lower_fd: the real directory, by a read-only mount.
    :param root_rights: mode, uid and gid that the upper root was given.
    """

    path: str
    name: str
    upper_fd: int
    lower_fd: int
    root_rights: tuple[int, int, int]

    def is_bare(self) -> bool:
        """Whether it stands on a file or an empty directory, so that nothing would have to go before it."""
        if self.name:
            return True
        try:
            with os.scandir(self.path) as entries:
                return next(entries, None) is None
        except OSError:
            return False  # nobody of this user's can remove what is in it, or see that there is nothing

    def close(self) -> None:
        """Let go of both trees."""
        os.close(self.upper_fd)
        os.close(self.lower_fd)


@dataclass
class Construction:
    """What stands once the mounts are made.

    :param shortfalls: essential steps that could not be had as planned: path and why.
    :param loose: symlinks that could not be pinned: path and why.
    :param store: the directory of the upper layers on the disk; ``None`` when they lie in memory.
    """

    layers: list[Layer] = field(default_factory=list)
    shortfalls: list[tuple[str, str]] = field(default_factory=list)
    loose: list[tuple[str, str]] = field(default_factory=list)
    store: Store | None = None


def survey(locked: bool) -> Surroundings:
    """What a layout needs to know of the disk as this process sees it."""
    return Surroundings(kind_of, _children, mounts.mount_points(), _listening_sockets(), locked)


def kind_of(path: str) -> Kind:
    """What stands at a path, symlinks followed; what cannot be looked at counts as missing."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return "missing"
    if stat.S_ISDIR(mode):
        return "directory"
    return "socket" if stat.S_ISSOCK(mode) else "file"


def _children(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if not entry.is_symlink()]
    except OSError:
        return []


def _listening_sockets() -> tuple[str, ...]:
    try:
        with open(_UNIX_SOCKETS, "rb") as table:
            lines = table.read().splitlines()[1:]
    except OSError:
        return ()
    paths = {os.fsdecode(line.split(None, 7)[7]) for line in lines if line.count(b"/")}
    return tuple(sorted(path for path in paths if path.startswith("/")))


def choose_upper_place(scratch: str) -> UpperPlace:
    """Where upper layers lie: in memory, unless this kernel's tmpfs keeps no user xattrs (before 6.6).

    Needs the right to mount; leaves nothing behind.

    :param scratch: any directory; something is mounted there for a moment.
    :raises OSError: not even a tmpfs can be mounted.
    """
    mount_memory(scratch)
    try:
        # Without them an overlay cannot mark a directory as opaque, nor a copy as one.
        os.setxattr(scratch, _PROBE_XATTR, b"1")
    except OSError:
        return "disk"
    finally:
        mounts.detach(scratch)
    return "memory"


def mount_memory(scratch: str, size_bytes: int | None = None) -> None:
    """A fresh tmpfs on a directory.

    :raises OSError: the kernel refused.
    """
    size = "" if size_bytes is None else f",size={size_bytes}"
    mounts.mount("session-guard", scratch, "tmpfs", mounts.NOSUID | mounts.NODEV | mounts.NOATIME, f"mode=0700{size}")


class Builder:
    """Turns a layout into mounts, in two steps that may happen in two namespaces of one owner: `holding`, `assemble`."""

    def __init__(self, plan: OverlayPlan, layout: Layout, place: UpperPlace) -> None:
        self.plan, self.layout, self.place = plan, layout, place
        self.result = Construction()
        self._trees: dict[str, int] = {}
        # One that fails leaves its directories behind: the next one needs others.
        self._numbers = itertools.count()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Inside, every tree that the mounts to come will show or hide is held; to be entered where the real disk is seen.

        :raises OSError: one is gone, or the kernel refused.
        """
        try:
            self._take_hold()
            yield
        except BaseException:
            with suppress(OSError):  # the next run finds it
                remove_all((self.result.store,))
            raise
        finally:
            # Those that no mount has used.
            for tree_fd in self._trees.values():
                os.close(tree_fd)
            self._trees.clear()

    def _take_hold(self) -> None:
        for step in self.layout.steps:
            place = os.path.dirname(step.path) if step.role == "cover" and step.kind != "directory" else step.path
            self._trees[step.path] = mounts.clone_tree(place, follow=step.kind != "link")
            if step.role != "through":
                mounts.freeze("", self._trees[step.path])
        if self.place == "disk":
            self._trees[""] = mounts.clone_tree(self.plan.scratch)

    def assemble(self) -> Construction:
        """Make all the mounts in the namespace of this process.

        :raises OSError: one that everything depends on was refused; the namespace is to be thrown away.
        """
        store_fd, mount_fd = self._open_store()
        try:
            for step in self.layout.steps:
                tree_fd = self._trees.pop(step.path)
                try:
                    self._make(step, tree_fd, store_fd)
                finally:
                    os.close(tree_fd)
            # By its descriptor, because a writable place may have been mounted over the path since. The overlays keep
            # what they use of it, and so do descriptors.
            mounts.detach(f"/proc/self/fd/{mount_fd}")
            if self.place == "disk":
                _hide(self.plan.scratch)
        finally:
            os.close(store_fd)
            os.close(mount_fd)
        return self.result

    def _open_store(self) -> tuple[int, int]:
        """Where the upper layers will lie, and the mount that this is in or on."""
        scratch = self.plan.scratch
        if self.place == "memory":
            mount_memory(scratch, self.plan.upper_size_bytes)
            return os.open(scratch, _DIRECTORY), os.open(scratch, _DIRECTORY)
        # The scratch directory went read-only with the rest of the disk: its writable copy goes on top.
        mounts.attach_tree(self._trees[""], scratch)
        self.result.store = Store(scratch)
        return os.open(self.result.store.path, _DIRECTORY), os.open(scratch, _DIRECTORY)

    def _make(self, step: Step, tree_fd: int, store_fd: int) -> None:
        if step.kind == "link":
            self._pin(step.path, tree_fd)
            return
        if step.role != "cover":
            mounts.attach_tree(tree_fd, step.path)
            return
        try:
            self.result.layers.append(self._cover(step, tree_fd, store_fd, str(next(self._numbers))))
        except OSError as problem:
            # What cannot be an overlay stays visible, read-only; below a writable place it would be writable else.
            if step.essential:
                self.result.shortfalls.append((step.path, problem.strerror or str(problem)))
            _show_frozen(step, tree_fd)

    def _pin(self, link: str, tree_fd: int) -> None:
        """Mount a symlink on itself: paths go through it as before, and it stays."""
        try:
            mounts.attach_tree(tree_fd, link)
        except OSError as problem:
            self.result.loose.append((link, problem.strerror or str(problem)))

    def _cover(self, step: Step, tree_fd: int, store_fd: int, number: str) -> Layer:
        for name in ("", "/lower", "/upper", "/work"):
            os.mkdir(number + name, 0o700, dir_fd=store_fd)
        inside = f"/proc/self/fd/{store_fd}/{number}"
        # A detached tree is no lower layer before kernel 6.15.
        mounts.attach_tree(tree_fd, f"{inside}/lower")
        upper_fd = os.open(f"{number}/upper", _READ_UNNOTICED, dir_fd=store_fd)
        try:
            _dress(upper_fd, f"{inside}/lower")
            name = "" if step.kind == "directory" else os.path.basename(step.path)
            self._mount(step.path, name, inside)
            lower_fd = os.open(f"{number}/lower", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=store_fd)
        except OSError:
            os.close(upper_fd)
            raise
        return Layer(step.path, name, upper_fd, lower_fd, rights_of(os.fstat(upper_fd)))

    def _mount(self, path: str, name: str, inside: str) -> None:
        if not name:
            mount_overlay(inside, path, self.place)
            return
        # One file: an overlay of its directory out of sight, and of that the file alone on top. Its neighbours are
        # not affected, its size does not matter, and replacing it fails (EBUSY).
        seen = f"{inside}/seen"
        os.mkdir(seen, 0o700)
        mount_overlay(inside, seen, self.place)
        tree_fd = mounts.clone_tree(f"{seen}/{name}")
        try:
            mounts.attach_tree(tree_fd, path)
        finally:
            os.close(tree_fd)


def _hide(scratch: str) -> None:
    """Show an empty directory where upper layers lie: tests walk through their checkout, and may not be able to.

    To read one would also move its access time, which passes for a touch.
    """
    if os.listdir(scratch):
        mount_memory(scratch)
        mounts.freeze(scratch)


def _show_frozen(step: Step, tree_fd: int) -> None:
    """Put the real object back on top, read-only.

    :param tree_fd: the frozen copy of the directory; attached elsewhere by now or not.
    """
    if step.kind == "directory":
        mounts.attach_tree(tree_fd, step.path)
        return
    file_fd = mounts.clone_tree(step.path)
    try:
        mounts.freeze("", file_fd)
        mounts.attach_tree(file_fd, step.path)
    finally:
        os.close(file_fd)


def _dress(upper_fd: int, lower: str) -> None:
    """Give an upper root mode, owner, xattrs and times of the real one: an overlay's root shows its upper's."""
    real = os.stat(lower)
    mode = stat.S_IMODE(real.st_mode)
    if not _given(upper_fd, real.st_uid, -1):
        # The owner has no name in this user namespace. The copy is ours then, so our rights to it are made the ones
        # that we have to the real one; root's directories must not look writable.
        mode = _own_rights(lower) << 6 | mode & 0o077
    _given(upper_fd, -1, real.st_gid)
    os.chmod(upper_fd, mode)
    for name in os.listxattr(lower):
        try:
            os.setxattr(upper_fd, name, os.getxattr(lower, name))
        except OSError:
            # Labels and trusted attributes are not ours to set; they decide nothing about an overlay's content.
            continue
    os.utime(upper_fd, ns=(real.st_atime_ns, real.st_mtime_ns))


def _given(descriptor: int, uid: int, gid: int) -> bool:
    try:
        os.chown(descriptor, uid, gid)
    except OSError:
        return False
    return True


def rights_of(status: os.stat_result) -> tuple[int, int, int]:
    """Mode, uid and gid."""
    return status.st_mode, status.st_uid, status.st_gid


def _own_rights(path: str) -> int:
    rights = (os.R_OK, os.W_OK, os.X_OK)
    return sum(right for right in rights if os.access(path, right, effective_ids=True))


def mount_overlay(inside: str, target: str, place: UpperPlace) -> None:
    """Mount the overlay whose ``lower``, ``upper`` and ``work`` lie in the directory `inside`.

    Reading leaves no access time behind in it, so that one that differs was set on purpose.

    :param inside: a path of digits and slashes only; any other character could break the option string.
    :raises OSError: EINVAL where the lower file system cannot be a layer; EPERM, ENODEV as the machine has it.
    """
    # user.* attributes work without privileges and can be read after they are dropped. What is thrown away needs no
    # syncing.
    options = f"userxattr,lowerdir={inside}/lower,upperdir={inside}/upper,workdir={inside}/work"
    if place == "disk":
        options += ",volatile"
    flags = os.statvfs(f"{inside}/lower").f_flag & _PASSED_MOUNT_FLAGS
    mounts.mount("overlay", target, "overlay", mounts.NOATIME | flags, options)
