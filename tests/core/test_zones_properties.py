"""Containment and globs against plain oracles, over paths that nobody would think of."""

from __future__ import annotations

import fnmatch
import os

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pytest_session_guard._core.zones import (
    Action,
    Pattern,
    Policy,
    Rule,
    Standing,
    Verdict,
    Zone,
    clean,
    compile_glob,
    decide,
    is_within,
    parents,
)

# A loaded machine is no fault of the code's.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Few letters, so that equal names, equal beginnings and nesting come up often; a lone byte and a newline among them.
NAMES = st.text(alphabet="ab.\udcff\n ", min_size=1, max_size=3).filter(lambda name: name not in {".", ".."})
PARTS = st.lists(NAMES, max_size=5)
PATHS = PARTS.map(lambda parts: "/" + "/".join(parts))
ZONES = st.sampled_from(list(Zone))
RULES = st.lists(st.builds(Rule, ZONES, PATHS), max_size=8)
PATTERNS = st.lists(st.builds(Pattern, st.sampled_from(["a", ".a", "a*", "/a/**", "/**/b", "?"]), PATHS), max_size=3)


def components(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str]:
    """A clean path and another spelling of it, with doubled and trailing slashes."""
    parts = draw(PARTS)
    slashes = st.integers(1, 3).map(lambda count: "/" * count)
    spelled = "".join(draw(slashes) + part for part in parts) + (
        draw(st.sampled_from(["", "/", "//"])) if parts else "/"
    )
    return "/" + "/".join(parts), spelled


@UNHURRIED
@given(spellings())
def test_clean_makes_one_path_of_all_spellings(pair: tuple[str, str]) -> None:
    path, spelled = pair

    assert clean(spelled) == path
    assert clean(path) == path


@UNHURRIED
@given(PATHS, PATHS)
def test_is_within_agrees_with_a_comparison_of_components(path: str, prefix: str) -> None:
    expected = components(path)[: len(components(prefix))] == components(prefix)

    assert is_within(path, prefix) is expected


@UNHURRIED
@given(PATHS)
def test_parents_agree_with_dropping_components(path: str) -> None:
    parts = components(path)

    expected = ["/" + "/".join(parts[:count]) for count in range(len(parts) - 1, -1, -1)]

    assert list(parents(path)) == expected


@UNHURRIED
@given(RULES, PATHS)
def test_rule_for_agrees_with_a_search_through_all_rules(rules: list[Rule], path: str) -> None:
    containing = [rule for rule in (*rules, Rule(Zone.PROTECTED, "/")) if is_within(path, rule.prefix)]
    best = max(containing, key=lambda rule: (len(components(rule.prefix)), list(Zone).index(rule.zone)))

    found = Policy(tuple(rules)).rule_for(path)

    assert (found.zone, found.prefix) == (best.zone, best.prefix)


@UNHURRIED
@given(RULES, spellings())
def test_rule_for_does_not_depend_on_the_spelling(rules: list[Rule], pair: tuple[str, str]) -> None:
    policy = Policy(tuple(rules))

    assert policy.rule_for(pair[1]) == policy.rule_for(pair[0])


@UNHURRIED
@given(st.lists(st.builds(Rule, ZONES, PATHS), max_size=6), st.randoms(), PATHS)
def test_order_of_the_rules_does_not_matter(rules: list[Rule], random: object, path: str) -> None:
    shuffled = list(rules)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert Policy(tuple(shuffled)).rule_for(path).zone is Policy(tuple(rules)).rule_for(path).zone


@UNHURRIED
@given(RULES, PATTERNS, PATHS, NAMES)
def test_rule_at_agrees_with_rule_for_about_the_zone(
    rules: list[Rule], patterns: list[Pattern], parent: str, name: str
) -> None:
    policy = Policy(tuple(rules), tuple(patterns))
    path = f"{parent.rstrip('/')}/{name}"

    found = policy.rule_at(path, policy.rule_for(parent))

    assert found.zone is policy.rule_for(path).zone


@UNHURRIED
@given(RULES, PATTERNS, PATHS)
def test_patterns_can_only_free(rules: list[Rule], patterns: list[Pattern], path: str) -> None:
    bare, with_patterns = Policy(tuple(rules)).rule_for(path), Policy(tuple(rules), tuple(patterns)).rule_for(path)

    assert with_patterns == bare or with_patterns.zone is Zone.FREE
    assert len(with_patterns.prefix) >= len(bare.prefix)


@UNHURRIED
@given(RULES, PATHS)
def test_deleting_is_refused_wherever_something_guarded_lies_below(rules: list[Rule], path: str) -> None:
    policy = Policy(tuple(rules))
    held = [
        prefix
        for prefix, rule in policy.by_prefix.items()
        if rule.zone in (Zone.SHARED, Zone.PROTECTED) and prefix != path and is_within(prefix, path)
    ]

    found = decide(policy, Action.DELETE, path, Standing.OWN)

    assert (policy.holds_guarded(path) is not None) is bool(held)
    if held:
        assert found.verdict is Verdict.REFUSE


@UNHURRIED
@given(RULES, PATHS, st.sampled_from(list(Action)), st.sampled_from(list(Standing)))
def test_what_was_there_in_a_guarded_place_never_passes(
    rules: list[Rule], path: str, action: Action, standing: Standing
) -> None:
    policy = Policy(tuple(rules))
    zone = policy.rule_for(path).zone

    verdict = decide(policy, action, path, standing).verdict

    if zone is Zone.PROTECTED or (zone is Zone.SHARED and standing is Standing.FOREIGN):
        assert verdict is Verdict.REFUSE
    if zone is Zone.WORKSPACE and standing is Standing.FOREIGN:
        assert verdict in (Verdict.PRESERVE, Verdict.REFUSE)


@UNHURRIED
@given(st.binary(min_size=1, max_size=12))
def test_bytes_that_are_not_utf8_keep_their_place(raw: bytes) -> None:
    assume(b"/" not in raw and b"\0" not in raw and raw not in {b".", b".."})
    name = os.fsdecode(raw)
    policy = Policy((Rule(Zone.FREE, f"/x/{name}"),))

    assert policy.rule_for(f"/x/{name}/y").zone is Zone.FREE
    assert policy.rule_for(f"/x/{name}y").zone is Zone.PROTECTED
    assert policy.rule_for(f"/x/y{name}").zone is Zone.PROTECTED


GLOB_SIGNS = ["a", "b", ".", "*", "?", "[a]", "[ab]", "[!a]", "[^a]", "[]a]", "[b-a]", "[:a]", "[", "]", "\\"]
GLOB_PIECES = st.lists(st.sampled_from(GLOB_SIGNS), min_size=1, max_size=4)
GLOB_NAMES = st.text(alphabet="ab.^:[]\\\n\udcff", min_size=1, max_size=4)
compiled = compile_glob.__wrapped__  # without its cache, which would hand out what an earlier test had made


@UNHURRIED
@given(GLOB_PIECES.map("".join), GLOB_NAMES)
def test_glob_of_a_name_means_what_fnmatch_means(glob: str, name: str) -> None:
    assume("**" not in glob)

    assert bool(compiled(glob).fullmatch(name)) is fnmatch.fnmatchcase(name, glob)


@UNHURRIED
@given(st.lists(GLOB_PIECES.map("".join), min_size=1, max_size=3), st.lists(GLOB_NAMES, min_size=1, max_size=4))
def test_glob_of_a_path_means_what_fnmatch_means_name_by_name(globs: list[str], names: list[str]) -> None:
    glob, path = "/" + "/".join(globs), "/" + "/".join(names)
    assume("**" not in glob)

    expected = len(globs) == len(names) and all(
        fnmatch.fnmatchcase(name, part) for name, part in zip(names, globs, strict=True)
    )

    assert bool(compiled(glob).fullmatch(path)) is expected


@UNHURRIED
@given(PARTS, PARTS, PARTS)
def test_two_stars_cross_any_number_of_directories(before: list[str], between: list[str], after: list[str]) -> None:
    assume(after and not any(sign in part for part in before + after for sign in "*?["))
    glob = "/" + "/".join([*before, "**", *after])

    assert compiled(glob).fullmatch("/" + "/".join([*before, *between, *after]))
