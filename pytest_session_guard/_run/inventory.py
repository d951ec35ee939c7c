"""The manifest of a run: over which places, and what its differences mean.

It is there where no kernel layer holds native code and children. It cannot say who did something: what the hook knows
of is left out, what a program outside the run has open is named as such, and the rest is said to be of unknown author.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from pytest_session_guard._core.records import Touch
from pytest_session_guard._core.settings import Settings
from pytest_session_guard._core.zones import Policy, Zone, counts, is_within
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._run.places import Places, busy_places
from pytest_session_guard._run.walls import Layer, covered_places, wanted_layers

if TYPE_CHECKING:
    from pytest_session_guard._controls.manifest import Difference, Manifest

UNKNOWN_AUTHOR: Final = "during the run, author unknown (a child, native code, or a program outside the run)"
BUSY: Final = "is left to the system, which writes there at all hours; what is declared in it is compared"
VERBS: Final = {
    "created": "was made",
    "removed": "was deleted",
    "replaced": "was replaced",
    "content": "was changed",
    "metadata": "was given other metadata",
    "incomparable": "cannot be compared any more: what happened there",
}


class Inventory:
    """What stood in the guarded places when the run began."""

    def __init__(self, manifest: Manifest, policy: Callable[[], Policy]) -> None:
        self._manifest = manifest
        self._policy = policy

    @property
    def layer(self) -> Layer:
        """What the manifest achieves: ``partial`` when places had to be left out."""
        count = self._manifest.unchecked
        if not count:
            return Layer("enforced")
        path, reason = self._manifest.unchecked_places[0]
        more = f" and {count - 1} more" if count > 1 else ""
        return Layer("partial", f"unchecked: {path!r} {reason}{more}")

    def touches(self, known: Collection[str], run_id: str) -> Iterator[Touch]:
        """The differences since the start of the run, as touches.

        :param known: paths whose change the ledger attributes already.
        :raises OSError: the inventory cannot be read back.
        """
        # Imported here: it brings ctypes along, 4 ms that a run without differences need not pay.
        from pytest_session_guard._run.bystanders import writers_outside

        found = [one for one in self._manifest.differences() if one.path not in known and self._is_touch(one)]
        outside = writers_outside({one.path for one in found if one.kind == "content"}, run_id)
        for one in found:
            yield self._touch(one, outside.get(one.path, ""))

    def _is_touch(self, one: Difference) -> bool:
        if one.kind == "created" and self._policy().rule_for(one.path).zone is Zone.SHARED:
            return False
        return counts(one.kind, one.path)

    def _touch(self, one: Difference, writer: str) -> Touch:
        rule = self._policy().rule_for(one.path)
        detail = f"; {one.detail}" if one.detail else ""
        reason = f"{VERBS[one.kind]} {UNKNOWN_AUTHOR}{detail}"
        if writer:
            reason = (
                f"{VERBS[one.kind]} during the run, and a program outside the run has it open for writing: {writer}"
            )
        return Touch(
            time=Raw.time_ns() / 1e9,
            operation=one.kind,
            path=one.path,
            zone=str(rule.zone),
            outcome="allowed",
            violation=not writer,
            layer="manifest",
            nodeid="",
            phase="session",
            pid=0,
            reason=reason,
            rule=str(rule),
        )


def take_if_needed(
    settings: Settings,
    policy: Callable[[], Policy],
    places: Places,
    directory: str,
    layers: dict[str, Layer],
    exposed: Collection[str] = (),
) -> Inventory | None:
    """Take the inventory where it was asked for, or where nothing better is there.

    :param policy: gives the policy that counts at the moment; conftests may extend it.
    :param directory: where the inventory is kept.
    :param exposed: protected places that the seal does not hold; they are looked through even so. Not the rootdir's
        ``.git``, unless it is declared: editors fetch into it at any time.
    """
    roots = guarded_roots(policy(), places)
    if settings.layers == ("auto",) and any(layers[name].holds for name in ("overlay", "seal")):
        roots = [root for root in roots if root in exposed and (root in places.homes or is_declared(policy(), root))]
    if "manifest" not in wanted_layers(settings) or not roots:
        return None
    from pytest_session_guard._controls.manifest import Manifest

    own, busy = places.ledger, busy_places(places.homes)

    def is_left_out(path: str) -> bool:
        return is_unguarded(policy(), path, own) or (
            any(is_within(path, place) for place in busy) and policy().rule_for(path).prefix in places.homes
        )

    try:
        manifest = Manifest.take(roots, is_left_out, directory=directory)
    except OSError as problem:
        layers["manifest"] = Layer("unavailable", f"its inventory cannot be kept: {problem.strerror or problem}")
        return None
    for place in busy:
        if any(is_within(place, root) for root in roots):
            manifest.leave_out(place, BUSY)
    inventory = Inventory(manifest, policy)
    layers["manifest"] = inventory.layer
    return inventory


def guarded_roots(policy: Policy, places: Places) -> list[str]:
    """The homes, what is declared, and the shared places; the rest of the disk is too large to be looked through."""
    return [*covered_places(policy, places), *policy.prefixes(Zone.SHARED)]


def is_declared(policy: Policy, root: str) -> bool:
    """Whether somebody asked for a place to be protected."""
    rule = policy.by_prefix.get(root)
    return rule is not None and rule.declared


def is_unguarded(policy: Policy, path: str, own: str) -> bool:
    """Whether a path is of no interest: the run may change what is there, or it is the ledger."""
    return is_within(path, own) or policy.rule_for(path).zone not in (Zone.PROTECTED, Zone.SHARED)


def attributed(touches: Iterable[Touch]) -> frozenset[str]:
    """The paths that the run changed as the hook let it: kept, and put back as they were, or expected."""
    return frozenset(touch.path for touch in touches if touch.outcome in ("preserved", "allowed"))
