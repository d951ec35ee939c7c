"""The base: a namespace in which the disk is as it always was, to copy and to come back to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..._core.values import dataclass
from ..._host import mounts, namespaces
from . import construction
from .joining import enter_mounts, open_own_namespace, open_root
from .layout import Surroundings

# A directory for mounts of a moment in a namespace that nobody else sees.
UNUSED: Final = "/proc"


@dataclass(frozen=True)
class Base:
    """The namespace in which the disk is as it was.

    :param own_users: it has a user namespace of its own.
    :param root_fd: the root directory there: not that of the namespace under ``chroot``.
    :param before: the rights from before it was made.
    :param place: where upper layers can lie.
    :param disk: what it shows as yet.
    """

    own_users: bool
    namespace_fd: int
    root_fd: int
    before: namespaces.Capabilities
    place: construction.UpperPlace
    disk: Surroundings

    def survey(self) -> Surroundings:
        """What the disk shows now; to be called where it is seen."""
        return construction.survey(locked=self.own_users)

    @contextmanager
    def copied(self) -> Iterator[None]:
        """Inside, this process stands in a fresh copy of the base; afterwards in the base again.

        :raises OSError: the kernel refused a copy.
        """
        namespaces.unshare(namespaces.MOUNTS)
        try:
            yield
        finally:
            self._return()

    @contextmanager
    def left_for(self, namespace_fd: int, root_fd: int) -> Iterator[None]:
        """Inside, this process stands in another namespace; afterwards in the base again, also where it got half-way only.

        :raises OSError: it cannot be entered.
        """
        try:
            enter_mounts(namespace_fd, root_fd)
            yield
        finally:
            self._return()

    def _return(self) -> None:
        enter_mounts(self.namespace_fd, self.root_fd)


def take_as_base(own_users: bool, before: namespaces.Capabilities) -> Base:
    """Keep the mount namespace that this process is in, a fresh one, as the base.

    :raises OSError: the kernel refused a mount.
    """
    mounts.make_private("/")
    place = construction.choose_upper_place(UNUSED)
    disk = construction.survey(locked=own_users)
    return Base(own_users, open_own_namespace("mnt"), open_root(), before, place, disk)
