"""Zones and the one decision: may this action go ahead at this path, and why.

Pure: a path comes in resolved (absolute, no symlink on the way), with what stands at it; a `Decision` comes out. Hook,
kernel layers, reports and ``--explain``-like texts all read the same `Policy`, so they cannot disagree.
"""

from __future__ import annotations

import enum
import fnmatch
import functools
import re
from builtins import enumerate, tuple  # noqa: A004 - captured: tests mock builtins
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from typing import Final

from pytest_session_guard._core.values import dataclass


class Zone(enum.StrEnum):
    """A rule for a path prefix. Later is stricter."""

    FREE = "free"
    WORKSPACE = "workspace"
    SHARED = "shared"
    PROTECTED = "protected"

    @property
    def strictness(self) -> int:
        """0 for the loosest zone, 3 for the strictest."""
        return STRICTNESS[self]


EXISTED: Final = "existed before this run"
STRICTNESS: Final = {zone: rank for rank, zone in enumerate(Zone)}


class Action(enum.StrEnum):
    """What a touch does to the object at its path."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"


class Standing(enum.StrEnum):
    """What stands at a path before a touch."""

    ABSENT = "absent"
    OWN = "own"
    FOREIGN = "foreign"


class Verdict(enum.StrEnum):
    """What becomes of a touch."""

    ALLOW = "allow"
    RECORD = "record"
    PRESERVE = "preserve"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the policy.

    :param prefix: absolute real path, no trailing slash (``/`` alone is the disk).
    :param shown: the path as people wrote it (``~/.hermes``).
    :param source: where the rule comes from (``pyproject.toml: session_guard_protect``, ``default``).
    :param declared: a person asked for it; a default gives way in places where a declaration does not.
    """

    zone: Zone
    prefix: str
    shown: str = ""
    source: str = "default"
    declared: bool = False

    def __str__(self) -> str:
        return f"{self.zone.value} {self.shown or self.prefix} ({self.source})"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Names or globs that make a place ``free`` wherever they match within `within`.

    :param glob: matched against one name when it holds no slash, else against the whole path (``**`` crosses
        directories).
    :param within: absolute prefix below which the pattern counts.
    """

    glob: str
    within: str = "/"
    source: str = "default"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with its reason.

    :param reason: one clause, no full stop, ready for a message.
    """

    verdict: Verdict
    rule: Rule
    reason: str


@dataclass(frozen=True)
class Policy:
    """All rules of a run; the longest prefix wins, on a tie the stricter zone.

    :raises ValueError: a prefix is not absolute.
    """

    rules: tuple[Rule, ...]
    patterns: tuple[Pattern, ...] = ()
    by_prefix: dict[str, Rule] = field(init=False, repr=False, compare=False)
    ancestors: dict[str, Rule] = field(init=False, repr=False, compare=False)
    matchers: tuple[tuple[Callable[[str], object], bool, Pattern], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        chosen: dict[str, Rule] = {"/": Rule(Zone.PROTECTED, "/", "/", "default")}
        for rule in self.rules:
            prefix = clean(rule.prefix)
            held = chosen.get(prefix)
            if held is None or rule.zone.strictness > held.zone.strictness:
                chosen[prefix] = rule
        above: dict[str, Rule] = {}
        for prefix, rule in chosen.items():
            if rule.zone.strictness >= STRICTNESS[Zone.SHARED]:
                for ancestor in parents(prefix):
                    above.setdefault(ancestor, rule)
        object.__setattr__(self, "by_prefix", chosen)
        object.__setattr__(self, "ancestors", above)
        matchers = tuple((_matches(p.glob), "/" in p.glob, p) for p in self.patterns)
        object.__setattr__(self, "matchers", matchers)

    def rule_for(self, path: str) -> Rule:
        """The rule that governs a path.

        :param path: absolute and resolved, `os.fsdecode` form.
        :raises ValueError: the path is relative, so no prefix can contain it.
        """
        candidate = clean(path)
        # Every policy has a rule for "/", so this ends. No generator here: a hundred thousand artifacts are asked about.
        while (rule := self.by_prefix.get(candidate)) is None:
            free = self._freed_by_pattern(candidate)
            if free is not None:
                return free
            candidate = candidate.rpartition("/")[0] or "/"
        return rule

    def rule_at(self, path: str, parent_rule: Rule) -> Rule:
        """The rule that governs a path whose parent's rule is known; the same answer as `rule_for`, for less.

        :param path: clean, absolute and resolved.
        """
        rule = self.by_prefix.get(path)
        if rule is not None:
            return rule
        if parent_rule.zone is Zone.FREE:
            return parent_rule
        return self._freed_by_pattern(path) or parent_rule

    def _freed_by_pattern(self, candidate: str) -> Rule | None:
        if not self.matchers:
            return None
        name = candidate.rpartition("/")[2]
        for matches, whole_path, pattern in self.matchers:
            if matches(candidate if whole_path else name) and is_within(candidate, pattern.within):
                return Rule(Zone.FREE, candidate, pattern.glob, pattern.source)
        return None

    def holds_guarded(self, path: str) -> Rule | None:
        """The guarded rule that lies strictly below ``path``, if any: removing or renaming ``path`` would take it along."""
        return self.ancestors.get(clean(path))

    def prefixes(self, *zones: Zone) -> Iterator[str]:
        """The prefixes of all rules of these zones."""
        return (prefix for prefix, rule in self.by_prefix.items() if rule.zone in zones)


def clean(path: str) -> str:
    """``path`` without doubled or trailing slashes; ``..`` and ``.`` are refused because only a disk can resolve them.

    :raises ValueError: relative, or with a ``.`` or ``..`` component.
    """
    if not path.startswith("/"):
        raise ValueError(f"a policy knows absolute paths only, got {path!r}")
    if "//" not in path and "/." not in path and not path.endswith("/"):
        return path
    parts = [part for part in path.split("/") if part]
    if "." in parts or ".." in parts:
        raise ValueError(f"a policy knows resolved paths only, got {path!r}")
    return "/" + "/".join(parts)


def parents(path: str) -> Iterator[str]:
    """The proper ancestors of a clean absolute path, nearest first, ``/`` last."""
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        yield path


def is_within(path: str, prefix: str) -> bool:
    """Whether a clean path is ``prefix`` or lies below it; the slash keeps /srv/tmp from claiming /srv/tmpfile."""
    return prefix == "/" or path == prefix or path.startswith(prefix + "/")


# A set begins as `fnmatch` reads it: a "]" right after the bracket (or the "!") belongs to the set.
_GLOB_SIGNS: Final = re.compile(r"(\*+|\?|\[!?+\]?+[^]]*+\])")


@functools.cache
def compile_glob(glob: str) -> re.Pattern[str]:
    """A glob as an expression for `fullmatch`.

    ``*``, ``?`` and ``[…]`` mean what they mean to `fnmatch` and stay within a name; ``**`` in place of a name crosses
    any number of directories.
    """
    *above, last = glob.rstrip("/").split("/")
    out = ["(?:.*/)?" if name == "**" else _name_expression(name) + "/" for name in above]
    out.append(".+" if last == "**" else _name_expression(last))
    return re.compile("".join(out), re.DOTALL)


def _matches(glob: str) -> Callable[[str], object]:
    """What tells whether a path, or a name, is one that a glob means; most are the names of caches, and need no expression."""
    if glob.endswith("/") or glob == "**" or _GLOB_SIGNS.search(glob):
        return compile_glob(glob).fullmatch
    return glob.__eq__


def _name_expression(glob: str) -> str:
    out = []
    for piece in _GLOB_SIGNS.split(glob):
        if piece.startswith("*"):
            out.append("[^/]*")
        elif piece == "?":
            out.append("[^/]")
        elif piece.startswith("["):
            # fnmatch knows the odd sets (ranges upside down, backslashes, none at all); its expression comes in a wrapper.
            expression = fnmatch.translate(piece)
            out.append("(?!/)" + expression[expression.index(":") + 1 : expression.rindex(")")])
        else:
            out.append(re.escape(piece))
    return "".join(out)


def decide(policy: Policy, action: Action, path: str, standing: Standing) -> Decision:
    """Say whether an action may go ahead at ``path``, and why.

    :param path: absolute, symlinks already resolved by the caller.
    :param standing: what stands at the path now; the caller looked.
    :raises ValueError: the path is relative.
    """
    return decide_by(policy, policy.rule_for(path), action, path, standing)


def decide_by(
    policy: Policy, rule: Rule, action: Action, path: str, standing: Standing, *, is_bare: bool = False
) -> Decision:
    """`decide` for a caller that has looked up the path's rule already.

    :param is_bare: the path is a directory that goes only as one that holds nothing: none of the guarded places below is there.
    """
    if action is Action.DELETE and standing is not Standing.ABSENT and not is_bare:
        below = policy.holds_guarded(path)
        if below is not None:
            return Decision(Verdict.REFUSE, below, f"holds {below.shown or below.prefix}, which is guarded")
    return _decide_in(rule, action, standing)


def _decide_in(rule: Rule, action: Action, standing: Standing) -> Decision:
    match rule.zone:
        case Zone.FREE:
            return Decision(Verdict.ALLOW, rule, "lies in a free place")
        case Zone.PROTECTED:
            return Decision(Verdict.REFUSE, rule, _refusal(standing))
    if standing is Standing.ABSENT:
        # Whatever is done to what is not there fails by itself; only a creation leaves something.
        verdict = Verdict.RECORD if action is Action.CREATE else Verdict.ALLOW
        return Decision(verdict, rule, "is new, made by this run")
    if standing is Standing.OWN:
        return Decision(Verdict.ALLOW, rule, "was created by this run")
    if rule.zone is Zone.SHARED:
        return Decision(Verdict.REFUSE, rule, EXISTED)
    return Decision(Verdict.PRESERVE, rule, "existed before this run and its pre-image is kept")


def _refusal(standing: Standing) -> str:
    return "is in a place where the run may not create" if standing is Standing.ABSENT else EXISTED


def freed(policy: Policy, path: str, source: str) -> Policy:
    """The policy with one place let go of, whatever it said of it: what is seen there is a copy.

    :param path: absolute and resolved.
    """
    kept = (rule for rule in policy.rules if not is_within(clean(rule.prefix), path))
    return Policy((*kept, Rule(Zone.FREE, path, path, source, declared=True)), policy.patterns)


def extended(policy: Policy, rules: Iterable[Rule]) -> Policy:
    """The policy with more rules; where two meet at one prefix the stricter stands."""
    return Policy((*policy.rules, *rules), policy.patterns)


def counts(kind: str, path: str) -> bool:
    """Whether a change in an upper layer is a touch.

    What is undone again is none, nor is a directory's time that moved with entries which are gone, nor Python's bytecode
    cache, which any Python child writes beside the modules that it imports; none of them removes one.
    """
    is_bytecode = path.endswith("/__pycache__") or ("/__pycache__/" in path and ".pyc" in path.rpartition("/")[2])
    return kind == "removed" or (kind not in ("undone", "names") and not is_bytecode)
