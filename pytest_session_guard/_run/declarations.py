"""What conftests, plugins and marks declare, as rules."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pytest_session_guard._core.errors import ConfigurationError
from pytest_session_guard._core.settings import Line, check_path
from pytest_session_guard._core.zones import Policy, Rule, Zone, extended
from pytest_session_guard._run.places import Places, declared_rules, expand
from pytest_session_guard._run.walls import covered_places, writable_places

if TYPE_CHECKING:
    from pytest_session_guard._core.marking import MarkerFormat
    from pytest_session_guard._run.session import SessionRun

DECLARABLE: Final[Mapping[str, Zone]] = {zone.value: zone for zone in (Zone.PROTECTED, Zone.SHARED, Zone.FREE)}


def declare(
    run: SessionRun, zones: Sequence[Iterable[tuple[str, str]] | None], redirects: Sequence[Iterable[str] | None]
) -> None:
    """Take in what conftests and plugins declare through hooks.

    :raises ConfigurationError: a declaration cannot be used.
    :raises LayerUnavailableError: the overlay cannot follow.
    """
    rules = rules_of_hooks(zones, run.places)
    if rules:
        before = {*writable_places(run.policy, run.places), *covered_places(run.policy, run.places)}
        run.use(extended(run.policy, rules))
        run.walls.extend(
            [place for place in writable_places(run.policy, run.places) if place not in before],
            [place for place in covered_places(run.policy, run.places) if place not in before],
        )
        run.lookout.begin(run.walls)
        run.write_header()
        run.tell_children()
    run.redirects.declare(
        [str(text) for text in answered("pytest_session_guard_redirects", redirects, "lines of TARGET = PLACE")],
        "pytest_session_guard_redirects",
    )


def answered(hook: str, answers: Sequence[object], allowed: str) -> Iterator[Any]:
    """What the implementations of a hook answered, one after another.

    :raises ConfigurationError: an answer is no list; of a text each letter would count.
    """
    for answer in answers:
        if not isinstance(answer, Iterable | None) or isinstance(answer, str | bytes | Mapping):
            raise ConfigurationError(
                hook, "conftest or plugin", f"answers no list, got {answer!r}", f"a list of {allowed}"
            )
        yield from answer or ()


def formats_of_hooks(answers: Sequence[object]) -> tuple[MarkerFormat, ...]:
    """The answers to ``pytest_session_guard_marker_formats``.

    :raises ConfigurationError: one is no format.
    """
    hook, allowed = "pytest_session_guard_marker_formats", "objects of the shape of pytest_session_guard.MarkerFormat"
    formats = tuple(answered(hook, answers, allowed))
    for one in formats:
        if not all(callable(getattr(one, name, None)) for name in ("matches", "tag", "read")):
            raise ConfigurationError(
                hook, "conftest or plugin", f"gives no format, got {one!r}", f"a list of {allowed}"
            )
    return formats


def rules_of_hooks(zones: Sequence[Iterable[tuple[str, str]] | None], places: Places) -> list[Rule]:
    """What the answers to ``pytest_session_guard_zones`` add to the policy.

    :raises ConfigurationError: one cannot be used.
    """
    rules: list[Rule] = []
    hook, allowed = "pytest_session_guard_zones", 'pairs of a zone and a path, such as ("shared", "~/.app")'
    for pair in answered(hook, zones, allowed):
        match pair:
            case [str() as word, str() | bytes() | os.PathLike() as path]:
                line = check_path("zones", Line(os.fsdecode(path), f"conftest: {hook}"))
            case _:
                raise ConfigurationError(
                    hook, "conftest or plugin", f"gives no pair, got {pair!r}", f"a list of {allowed}"
                )
        if word not in DECLARABLE:
            allowed = ", ".join(DECLARABLE)
            raise ConfigurationError("zones", line.source, f"names an unknown zone, got {word!r}", allowed)
        rules += declared_rules(DECLARABLE[word], expand("zones", line, places), line, line.source)
    return rules


def rules_of_mark(
    positional: Sequence[object], arguments: Mapping[str, Any], nodeid: str, policy: Policy, places: Places
) -> list[Rule]:
    """What a test's mark adds to the policy.

    :raises ConfigurationError: an argument is unknown or has no name, or is no path, or ``share`` names what the
        configuration does not share.
    """
    source = f"mark of {nodeid}"
    if positional:
        raise ConfigurationError(
            "mark session_guard",
            source,
            f"has an argument without a name, got {positional[0]!r}",
            "protect=..., share=..., pristine=..., reason=...",
        )
    unknown = sorted(set(arguments) - {"protect", "share", "pristine", "reason"})
    if unknown:
        raise ConfigurationError(
            "mark session_guard",
            source,
            f"has unknown arguments, got {unknown}",
            "protect, share, pristine, reason",
        )
    rules: list[Rule] = []
    for path in as_paths("protect", arguments.get("protect", ()), nodeid):
        line = check_path("protect", Line(path, source))
        rules += declared_rules(Zone.PROTECTED, expand("protect", line, places), line, source)
    for path in as_paths("share", arguments.get("share", ()), nodeid):
        line = check_path("share", Line(path, source))
        for rule in declared_rules(Zone.SHARED, expand("share", line, places), line, source):
            if policy.rule_for(rule.prefix).zone not in (Zone.SHARED, Zone.FREE):
                raise ConfigurationError(
                    "share", source, f"would widen the policy, got {path!r}", "paths that session_guard_share names"
                )
    return rules


def as_paths(argument: str, value: object, nodeid: str) -> list[str]:
    """One path or several, as strings.

    :raises ConfigurationError: it is something else; a mark that protects nothing must not look as if it did.
    """
    items: list[Any] = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
    try:
        return [os.fsdecode(item) for item in items]
    except TypeError:
        raise ConfigurationError(
            argument, f"mark of {nodeid}", f"is no path, got {value!r}", "a path (str or os.PathLike), or several"
        ) from None
