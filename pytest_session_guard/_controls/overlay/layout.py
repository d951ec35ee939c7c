"""Which mounts a plan needs, in which order: pure, so that it can be tested without any right to mount.

The disk is read-only to begin with. Then, shallow first, three kinds of mounts go on top of it:

- *through*: the real tree again, as writable as it was;
- *cover*: an overlay, whose changes land in a throw-away upper layer;
- *frozen*: the real object again, read-only: what an overlay would hide but cannot serve (sockets, odd mounts).

The longest prefix wins at any depth, so a place may be covered below a writable place below a covered one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any, Final, Literal

from pytest_session_guard._core.values import dataclass

Kind = Literal["directory", "file", "socket", "missing", "link"]
Role = Literal["through", "cover", "frozen"]

# More overlays than this, for one home whose mounts cannot be parted from it, cost more than they tell.
SPLIT_LIMIT: Final = 128


@dataclass(frozen=True, slots=True)
class OverlayPlan:
    """What the overlay is to do with the disk; everything that is not named becomes read-only.

    :param writable: real paths that stay writable, bound through; those that do not exist are reported.
    :param overlaid: real roots that get an overlay on top: directories or files, nested as they like.
    :param scratch: a directory of the run's own, 0700, that nothing else uses; a mount point while things are set
        up, and the place of upper layers where memory cannot hold them.
    :param witnessed: directories of the read-only rest that get an overlay where one can be had, so that a try
        there leaves a trace instead of a silent refusal.
    :param unpinned: those of ``overlaid`` that are the run's own: a rename on the way there harms nobody, and each mount on the
        way would part the run's directory from the workspace (no hard link goes from one mount into another).
    :param links: symlinks by which protected roots are reached; what they lead to is overlaid, and in a writable place
        they must stay what they are.
    :param shared: those of ``writable`` in which what is older than ``started_ns`` must stay as it is.
    :param forbids_missing: what would come to be at a protected root that does not exist, in a writable place, is refused.
    :param freed: globs and the prefixes below which they free what they match, also in ``shared`` places.
    :param upper: where upper layers lie: in memory, on the disk of `scratch`, or in memory unless the kernel cannot.
    :param upper_size_bytes: limit of upper layers in memory; ``None`` leaves the kernel's, half of the memory.
    """

    writable: tuple[str, ...]
    overlaid: tuple[str, ...]
    scratch: str
    witnessed: tuple[str, ...] = ()
    unpinned: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    forbids_missing: bool = False
    freed: tuple[tuple[str, str], ...] = ()
    started_ns: int = 0
    upper: Literal["auto", "memory", "disk"] = "auto"
    upper_size_bytes: int | None = None

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> OverlayPlan:
        """The plan that `dataclasses.asdict` made a message of, on the other side of JSON."""
        known: dict[str, Any] = {name: message[name] for name in cls.__slots__}
        known.update((name, tuple(value)) for name, value in known.items() if isinstance(value, list))
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a layout needs to know of the disk.

    :param kind_of: what stands at a path, symlinks followed.
    :param children: the names in a directory.
    :param mounts: every mount point.
    :param sockets: paths that some process listens on.
    :param locked: mounts cannot be parted from those below them (a user namespace of ours).
    """

    kind_of: Callable[[str], Kind]
    children: Callable[[str], list[str]]
    mounts: frozenset[str] = frozenset()
    sockets: tuple[str, ...] = ()
    locked: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One mount to make.

    :param essential: without it the plan is not fulfilled; otherwise it is merely missed.
    """

    role: Role
    path: str
    kind: Kind
    essential: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """The mounts of a plan, in the order in which they can be made.

    :param uncovered: protected roots that do not exist and whose place is writable: nothing holds them.
    :param silent: protected roots whose place is read-only and no more: held, but a try leaves no trace.
    :param absent: writable places that do not exist, so they are as the place they would lie in.
    :param read_only: whether the rest of the disk is; not so where the root directory itself is a writable place.
    """

    steps: tuple[Step, ...]
    uncovered: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    read_only: bool = True


def lay_out(plan: OverlayPlan, disk: Surroundings) -> Layout:
    """The mounts that `plan` needs on this disk."""
    draft = _Draft(plan, disk)
    draft.place_missing_roots()
    draft.place_mounts_below_covers()
    draft.split_locked_covers()
    draft.place_sockets()
    return Layout(
        tuple(draft.steps()),
        tuple(draft.uncovered),
        tuple(dict.fromkeys(draft.silent)),
        tuple(draft.absent),
        read_only=draft.roles.get("/") != "through",
    )


def ancestors(path: str) -> Iterator[str]:
    """The directories above `path`, nearest first, ``/`` last."""
    while path not in ("/", ""):
        path = os.path.dirname(path)
        yield path


@dataclass
class _Draft:
    plan: OverlayPlan
    disk: Surroundings
    roles: dict[str, Role] = field(default_factory=dict)
    essential: set[str] = field(default_factory=set)
    uncovered: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        plan = self.plan
        self.absent.extend(path for path in plan.writable if self.disk.kind_of(path) == "missing")
        self.roles.update((path, "through") for path in plan.writable if path not in self.absent)
        # On a tie the stricter role wins.
        self.roles.update((path, "cover") for path in plan.overlaid)
        self.essential.update(plan.overlaid)
        if self.roles.get("/") == "cover":
            # A process cannot get below a mount on its own root; read-only it stays.
            del self.roles["/"]
            self.essential.discard("/")
            self.silent.append("/")
        for path in plan.witnessed:
            if self.role_above(path) is None and self.disk.kind_of(path) == "directory":
                self.roles.setdefault(path, "cover")
        # A mount point can be neither renamed nor removed; a symlink can be one by itself.
        self.roles.update((link, "frozen") for link in plan.links if self.role_above(link) == "through")

    def kind_of(self, path: str) -> Kind:
        """What stands at a path that has a role: of a symlink, the link itself."""
        return "link" if path in self.plan.links and self.roles.get(path) == "frozen" else self.disk.kind_of(path)

    def role_above(self, path: str) -> Role | None:
        """The role that `path` has by its ancestors alone; ``None`` is the read-only rest."""
        return next((self.roles[above] for above in ancestors(path) if above in self.roles), None)

    def role_of(self, path: str) -> Role | None:
        return self.roles.get(path) or self.role_above(path)

    def place_missing_roots(self) -> None:
        for path in self.plan.overlaid:
            if path not in self.roles or self.disk.kind_of(path) != "missing":
                continue
            del self.roles[path]
            self.essential.discard(path)
            stand_in = next(above for above in ancestors(path) if self.disk.kind_of(above) != "missing")
            match self.role_of(stand_in):
                case "through":
                    # A mount point would have to be made on the real disk.
                    self.uncovered.append(path)
                case None if stand_in == "/" or self.disk.kind_of(stand_in) != "directory":
                    self.silent.append(path)
                case None:
                    self.roles[stand_in] = "cover"

    def place_mounts_below_covers(self) -> None:
        # An overlay shows one file system: what is mounted below its root has to be put on top again.
        for path in sorted(self.disk.mounts, key=_depth_first):
            if path not in self.roles and self.role_above(path) == "cover":
                self.roles[path] = "cover"

    def split_locked_covers(self) -> None:
        # In a user namespace the kernel refuses (EINVAL) to take a mount as lower layer without the mounts below it,
        # because they hide something. Then the directories beside those mounts are covered one by one.
        if not self.disk.locked:
            return
        waiting = [path for path, role in self.roles.items() if role == "cover"]
        while waiting:
            path = waiting.pop()
            if not self._holds_mount(path) or self.disk.kind_of(path) != "directory":
                continue
            self.roles[path] = "frozen"
            if path in self.essential:
                self.silent.append(path)
            children = [os.path.join(path, name) for name in self.disk.children(path)]
            fresh = [c for c in children if c not in self.roles and self.disk.kind_of(c) == "directory"]
            if len(fresh) <= SPLIT_LIMIT:
                self.roles.update((child, "cover") for child in fresh)
                waiting.extend(fresh)

    def _holds_mount(self, path: str) -> bool:
        below = path.rstrip("/") + "/"
        return any(mount.startswith(below) for mount in self.disk.mounts)

    def place_sockets(self) -> None:
        # Through an overlay a socket of the lower layer refuses every connection: another inode stands there.
        for path in self.disk.sockets:
            hidden = path not in self.roles and self.role_above(path) == "cover"
            if hidden and self.disk.kind_of(path) == "socket":
                self.roles[path] = "frozen"

    def steps(self) -> Iterable[Step]:
        # All pins first: one mounted after what lies below it would hide that again.
        pins = {pin for path in self.roles if self._needs_pins(path) for pin in self._unpinned_ancestors(path)}
        for path in sorted(self.roles.keys() | pins, key=_depth_first):
            if path in pins:
                yield Step("through", path, "directory")
                continue
            role, above, kind = self.roles[path], self.role_above(path), self.kind_of(path)
            if path == "/" or kind == "missing" or self._is_there_already(path, role, above):
                continue
            yield Step(role, path, kind, path in self.essential or role == "through")

    def _needs_pins(self, path: str) -> bool:
        role, above = self.roles[path], self.role_above(path)
        return (
            above == "through"
            and path != "/"
            and path not in self.plan.unpinned
            and self.kind_of(path) != "missing"
            and not self._is_there_already(path, role, above)
        )

    def _is_there_already(self, path: str, role: Role, above: Role | None) -> bool:
        match role:
            case "cover":
                return above == "cover" and path not in self.disk.mounts
            case "frozen":
                return above in (None, "frozen")
            case "through":
                return above == "through"

    def _unpinned_ancestors(self, path: str) -> list[str]:
        """The directories between `path` and its writable place, shallow first.

        Renaming one of them would put another tree where the protected one was; a mount point cannot be renamed.
        """
        between: list[str] = []
        for above in ancestors(path):
            if above in self.roles:
                break
            between.append(above)
        return between[::-1]


def _depth_first(path: str) -> list[str]:
    return path.split("/")
