"""What a killed removal left in quarantine: what the run made goes, the rest goes back, and nothing is overwritten."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_session_guard._core.records import Identity
from pytest_session_guard._core.removal import BESIDE
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._host.directories import OpenDirectory
from pytest_session_guard._host.fsops import Raw, lstat_or_none

from .moving import holds


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
        beside = f"{home.rpartition('/')[0]}/{BESIDE}{name}"
        if lstat_or_none(beside) is not None:
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
        if not holds(home, home_name, parent.look(name).identity):
            raise
        parent.unlink(name)
