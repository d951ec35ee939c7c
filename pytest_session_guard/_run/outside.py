"""The launcher's own inventory, where no kernel layer stands in the way: what changed until everything had exited.

A manifest inside pytest is compared while pytest can still say so. What exit handlers, finalizers and killed or
surviving processes do after that, only somebody outside can compare.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_session_guard._core.records import Touch
from pytest_session_guard._core.zones import Zone, is_within
from pytest_session_guard._host.support import HAS_KERNEL_LAYERS
from pytest_session_guard._run.handover import read_policy
from pytest_session_guard._run.inventory import Inventory

if TYPE_CHECKING:
    from pytest_session_guard._core.zones import Policy
    from pytest_session_guard._run.plan import Plan


def take_if_alone(plan: Plan, directory: str) -> Inventory | None:
    """The inventory of what pytest said it would guard; none where a kernel layer does better.

    :param directory: the run's, where the inventory is kept and the policy will be.
    :raises OSError: it cannot be kept.
    """
    if "manifest" not in plan.layers or (plan.is_auto and has_landlock()):
        return None
    from pytest_session_guard._controls.manifest import Manifest

    def is_free(path: str) -> bool:
        """By the plan: the longest prefix decides."""
        free = (*plan.writable, plan.ledger, *plan.busy)
        places = [(len(place), True) for place in free if is_within(path, place)]
        places += [(len(place), False) for place in plan.covered if is_within(path, place)]
        return max(places, default=(0, True))[1]

    @functools.cache
    def policy() -> Policy:
        return read_policy(directory)[0]

    return Inventory(Manifest.take(plan.covered, is_free, directory=directory), policy)


def has_landlock() -> bool:
    """Whether `auto` will have the seal."""
    if not HAS_KERNEL_LAYERS:
        return False
    from pytest_session_guard._host import landlock

    try:
        return landlock.abi() > 0
    except (OSError, AttributeError):
        return False


def late_differences(inventory: Inventory, records: Iterable[Mapping[str, Any]], run_id: str) -> Iterator[Touch]:
    """What changed and is in no journal.

    :raises OSError: the inventory cannot be read back.
    :raises LedgerError: the policy of the run cannot be read.
    """
    known = {
        str(record["path"])
        for record in records
        if record.get("kind") == "touch" and record.get("outcome") != "refused"
    }
    for touch in inventory.touches(known, run_id):
        if touch.zone == Zone.PROTECTED.value:
            yield touch
