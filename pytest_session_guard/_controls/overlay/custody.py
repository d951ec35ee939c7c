"""What no layer can hold: a call that would hurt it is refused.

Shared places are bound through, with what was there before the run and what others make there meanwhile. In Python the hook
refuses what would hurt it first, and knows what the run made. This is for everything else: what is older than the run was not
made by it, and of what is younger the keeper has heard when the run made it.

Nothing can be mounted where nothing is: at a protected root that does not exist, in a writable place, nothing may come to be.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Iterable, Mapping

from ..._core.records import Identity
from ..._core.removal import OWN_NAMES
from ..._core.zones import Pattern, Policy, Rule, Zone, is_within
from ..._host.fsops import stamp_clock_ns
from ..._host.identity import Sight, look
from .layout import OverlayPlan


class Custody:
    """Knows what must stay in shared places.

    :param is_pristine: whether a path shows a copy at the moment, which may be changed at will.
    :param missing: the protected roots that did not exist when the layers were laid, in writable places.
    :param is_known: whether the run made, or may have made, an object at a path.
    """

    def __init__(
        self,
        is_pristine: Callable[[str], bool],
        missing: Callable[[], Collection[str]],
        is_known: Callable[[str, Identity], bool] = lambda path, identity: True,
    ) -> None:
        self._is_pristine = is_pristine
        self._missing = missing
        self._is_known = is_known
        # What came to be before anybody listened is not known of.
        self._listening_since_ns = stamp_clock_ns()
        self._plan: OverlayPlan | None = None
        self._policy = Policy(())

    def follow(self, plan: OverlayPlan) -> bool:
        """Go by this plan from now on; whether it has anything to hold."""
        if plan is not self._plan:
            rules = [Rule(Zone.PROTECTED, path) for path in plan.overlaid]
            rules += [Rule(Zone.SHARED if path in plan.shared else Zone.FREE, path) for path in plan.writable]
            self._policy = Policy(tuple(rules), tuple(Pattern(glob, within) for glob, within in plan.freed))
            self._plan = plan
        return bool(plan.shared or (plan.forbids_missing and self._missing()))

    def held(self, thread: int, paths: Iterable[str], to_write: bool, views: Mapping[str, str]) -> str:
        """The first of these paths at which something must stay as it is, or ``""``.

        :param thread: whose view of the disk counts.
        :param views: how that one reaches what is at a path, where it does not by the path itself.
        :param to_write: the call opens what stands there; otherwise it takes or changes the name, or the object's facts.
        """
        every = list(paths)
        is_moved_aside = any(self._is_of_the_guard(path) for path in every)
        named = ((path, views.get(path) or f"/proc/{thread}/root{path}") for path in every)
        return next((path for path, view in named if self._must_stay(path, view, to_write, is_moved_aside)), "")

    def barred(self, thread: int, path: str) -> bool:
        """Whether nothing may come to be at a path.

        :param thread: whose view of the disk counts.
        """
        if self._plan is None or not self._plan.forbids_missing or self._is_pristine(path):
            return False
        if not any(is_within(path, root) for root in self._missing()):
            return False
        try:
            look(f"/proc/{thread}/root{path}")
        except OSError:
            return self._policy.rule_for(path).zone is Zone.PROTECTED
        return False  # somebody has made it, and this call would not

    def is_shared(self, path: str) -> bool:
        """Whether a path lies in a shared place, the real one."""
        return self._policy.rule_for(path).zone is Zone.SHARED and not self._is_pristine(path)

    def _is_of_the_guard(self, path: str) -> bool:
        """Whether a name is one at which the guard itself looks at an object before it goes, or goes back."""
        assert self._plan is not None, "unreachable because a plan was followed first"
        own = f"{self._plan.scratch.rpartition('/')[0]}/quarantine"
        return path.rpartition("/")[2].startswith(OWN_NAMES) or is_within(path, own)

    def _must_stay(self, path: str, view: str, to_write: bool, is_moved_aside: bool) -> bool:
        if not self.is_shared(path):
            return False
        try:
            seen = look(view)
        except OSError:
            return False  # nothing stands there
        if to_write and not stat.S_ISREG(seen.mode):
            return False  # a directory cannot be written to, and what goes into a pipe or a device stays in no file
        return self._is_older(seen) or (not is_moved_aside and self._is_of_others(path, seen))

    def _is_of_others(self, path: str, seen: Sight) -> bool:
        """Whether an object is younger than the run, and nobody of the run was heard to make it."""
        if stat.S_ISSOCK(seen.mode):
            return False  # `bind` makes one, which is not heard
        return _born_ns(seen) >= self._listening_since_ns and not self._is_known(path, seen.identity)

    def _is_older(self, seen: Sight) -> bool:
        """Whether an object was there before the run."""
        assert self._plan is not None, "unreachable because a plan was followed first"
        born_ns = _born_ns(seen)
        # Where whole seconds are kept (some file systems: every other one) what the run makes looks older than it is.
        slack_ns = 0 if born_ns % 1_000_000_000 else 2_000_000_000
        return born_ns < self._plan.started_ns - slack_ns


def _born_ns(seen: Sight) -> int:
    return seen.ctime_ns if seen.identity.birth_ns is None else seen.identity.birth_ns
