"""Other names of a file: a hard link in a free place changes the protected file behind it.

Only a file that has more than one name, was there before the run and is about to be changed in place is ever looked for,
so an ordinary run never pays; then the guarded roots are walked once, within a budget.
"""

from __future__ import annotations

import os
from builtins import len, list, set, sorted  # noqa: A004 - captured: tests mock builtins
from stat import S_ISDIR, S_ISREG
from typing import Final

from pytest_session_guard._core.zones import Policy, Rule, Zone, is_within
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.identity import identity_from_stat
from pytest_session_guard._run.places import Places

BUDGET: Final = 300_000  # entries; about a second
# Where the ledger gives second names to files of the workspace: those are no other place that a write would reach.
STORES: Final = ("preimages", "aside")
ANOTHER_NAME: Final = "is another name of a file that existed before this run"
TOO_LARGE: Final = "has other names, and a guarded place is too large to show that none of them lies there"


class AliasSearch:
    """Knows the guarded files that have several names, once asked.

    :param store: where this run keeps pre-images.
    """

    def __init__(self, places: Places, store: str) -> None:
        self.places = places
        self._store = store
        self._names: dict[tuple[int, ...], str] = {}
        self._walked: set[str] = set()
        self._left = BUDGET
        self.exhausted = False

    def guarded_alias(self, path: str, found: os.stat_result, policy: Policy) -> tuple[Rule, str] | None:
        """The rule of a guarded place that holds another name of this file, if there is one, and a clause that says so.

        Where the budget ran out before all names were found, the rule of the first place that was not searched.
        """
        if self._is_only_kept(path, found):
            return None
        roots = [rule.prefix for rule in policy.by_prefix.values() if rule.zone in (Zone.PROTECTED, Zone.SHARED)]
        for root in sorted(roots, key=len, reverse=True):
            if root != "/" and root not in self._walked:
                self._walked.add(root)
                self._walk(root, policy)
            name = self._names.get(_likeness(found))
            if name is not None:
                return policy.rule_for(name), ANOTHER_NAME
            if self.exhausted and root != "/":
                return policy.rule_for(root), TOO_LARGE
        return None

    def _is_only_kept(self, path: str, found: os.stat_result) -> bool:
        """Whether all its other names are in stores: this run or an earlier one renamed it, and nobody need be asked."""
        # Imported here: most runs meet no file with several names.
        from pytest_session_guard._controls.preimages import store_name
        from pytest_session_guard._host.stores import links_in_stores

        name = store_name(path, identity_from_stat(path, found))
        return found.st_nlink - links_in_stores(self._store, name, found) < 2

    def _walk(self, root: str, policy: Policy) -> None:
        pending = [root]
        while pending:
            try:
                entries: list[os.DirEntry[str]] = list(Raw.scandir(pending.pop()))
            except OSError:
                continue  # gone, or not ours to read: then not ours to link to either
            self._left -= len(entries)
            if self._left < 0:
                self.exhausted = True
                return
            for item in entries:
                found = item.stat(follow_symlinks=False)
                if S_ISDIR(found.st_mode):
                    if item.name in STORES and is_within(item.path, self.places.ledger):
                        continue
                    if policy.rule_for(item.path).zone in (Zone.PROTECTED, Zone.SHARED):
                        pending.append(item.path)
                elif S_ISREG(found.st_mode) and found.st_nlink > 1:
                    self._names[_likeness(found)] = item.path


def _likeness(found: os.stat_result) -> tuple[int, ...]:
    """What two names of one file have in common; not the device, because an overlay shows one of its own."""
    return (found.st_ino, found.st_nlink, found.st_size, found.st_mtime_ns)
