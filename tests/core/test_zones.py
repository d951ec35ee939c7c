"""The zone table, cell by cell; which rule governs a path; what lies over a guarded place."""

from __future__ import annotations

import pytest

from pytest_session_guard._core.zones import (
    Action,
    Decision,
    Pattern,
    Policy,
    Rule,
    Standing,
    Verdict,
    Zone,
    clean,
    counts,
    decide,
    decide_by,
    extended,
    freed,
    is_within,
    parents,
)

FREE = Rule(Zone.FREE, "/free", declared=True)
WORKSPACE = Rule(Zone.WORKSPACE, "/work")
SHARED = Rule(Zone.SHARED, "/shared", declared=True)
PROTECTED = Rule(Zone.PROTECTED, "/home/u", "~")
POLICY = Policy((FREE, WORKSPACE, SHARED, PROTECTED))


def fresh(policy: Policy) -> Policy:
    """The same policy, put together in the test: so that a fault in putting it together fails the test."""
    return Policy(policy.rules, policy.patterns)


ALLOW, RECORD, PRESERVE, REFUSE = Verdict.ALLOW, Verdict.RECORD, Verdict.PRESERVE, Verdict.REFUSE
CREATE, CHANGE, DELETE = Action.CREATE, Action.CHANGE, Action.DELETE
ABSENT, OWN, FOREIGN = Standing.ABSENT, Standing.OWN, Standing.FOREIGN

FREELY = "lies in a free place"
NEW = "is new, made by this run"
MINE = "was created by this run"
KEPT = "existed before this run and its pre-image is kept"
THERE = "existed before this run"
NO_PLACE = "is in a place where the run may not create"

# The columns of the documented table: create, change and delete what the run created, change and delete what was there.
# A protected place holds nothing of the run's, so its middle cells are "-" in the table; asked all the same, it refuses.
TABLE = {
    "create": (
        CREATE, ABSENT,
        [(FREE, ALLOW, FREELY), (WORKSPACE, RECORD, NEW), (SHARED, RECORD, NEW), (PROTECTED, REFUSE, NO_PLACE)],
    ),
    "change-own": (
        CHANGE, OWN,
        [(FREE, ALLOW, FREELY), (WORKSPACE, ALLOW, MINE), (SHARED, ALLOW, MINE), (PROTECTED, REFUSE, THERE)],
    ),
    "delete-own": (
        DELETE, OWN,
        [(FREE, ALLOW, FREELY), (WORKSPACE, ALLOW, MINE), (SHARED, ALLOW, MINE), (PROTECTED, REFUSE, THERE)],
    ),
    "change-there": (
        CHANGE, FOREIGN,
        [(FREE, ALLOW, FREELY), (WORKSPACE, PRESERVE, KEPT), (SHARED, REFUSE, THERE), (PROTECTED, REFUSE, THERE)],
    ),
    "delete-there": (
        DELETE, FOREIGN,
        [(FREE, ALLOW, FREELY), (WORKSPACE, PRESERVE, KEPT), (SHARED, REFUSE, THERE), (PROTECTED, REFUSE, THERE)],
    ),
    # Not in the table: what is done to nothing fails by itself, so only a place that lets nobody in has something to say.
    "change-nothing": (
        CHANGE, ABSENT,
        [(FREE, ALLOW, FREELY), (WORKSPACE, ALLOW, NEW), (SHARED, ALLOW, NEW), (PROTECTED, REFUSE, NO_PLACE)],
    ),
    "delete-nothing": (
        DELETE, ABSENT,
        [(FREE, ALLOW, FREELY), (WORKSPACE, ALLOW, NEW), (SHARED, ALLOW, NEW), (PROTECTED, REFUSE, NO_PLACE)],
    ),
}  # fmt: skip
CELLS = [
    pytest.param(rule, action, standing, Decision(verdict, rule, reason), id=f"{rule.zone}-{column}")
    for column, (action, standing, cells) in TABLE.items()
    for rule, verdict, reason in cells
]


@pytest.mark.parametrize(("rule", "action", "standing", "expected"), CELLS)
def test_decide_answers_every_cell_of_the_zone_table(
    rule: Rule, action: Action, standing: Standing, expected: Decision
) -> None:
    assert decide(POLICY, action, f"{rule.prefix}/some/file", standing) == expected


@pytest.mark.parametrize(("rule", "action", "standing", "expected"), CELLS)
def test_decide_holds_for_the_prefix_itself(rule: Rule, action: Action, standing: Standing, expected: Decision) -> None:
    assert decide(POLICY, action, rule.prefix, standing) == expected


def test_decide_by_says_the_same_for_a_rule_that_was_looked_up() -> None:
    path = "/shared/a"

    found = decide_by(POLICY, POLICY.rule_for(path), CHANGE, path, FOREIGN)

    assert found == decide(POLICY, CHANGE, path, FOREIGN)


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        pytest.param("/etc/passwd", "/", id="any-other-place-on-the-disk"),
        pytest.param("/", "/", id="the-disk-itself"),
        pytest.param("/homes", "/", id="neighbour-with-the-same-prefix"),
        pytest.param("/home", "/", id="parent-of-a-home"),
        pytest.param("/freedom/x", "/", id="neighbour-of-a-free-place"),
        pytest.param("/home/u", "/home/u", id="home"),
        pytest.param("/home/u2/x", "/", id="neighbour-home"),
        pytest.param("/home/u/a/b/c/d/e/f", "/home/u", id="deep-in-a-home"),
    ],
)
def test_rule_for_falls_back_to_protected_everywhere(path: str, prefix: str) -> None:
    found = POLICY.rule_for(path)

    assert (found.zone, found.prefix) == (Zone.PROTECTED, prefix)


NESTED = Policy(
    (
        Rule(Zone.PROTECTED, "/h"),
        Rule(Zone.FREE, "/h/tmp"),
        Rule(Zone.WORKSPACE, "/h/tmp/project"),
        Rule(Zone.PROTECTED, "/h/tmp/project/.git"),
        Rule(Zone.SHARED, "/h/tmp/project/data"),
        Rule(Zone.FREE, "/h/tmp/project/data/scratch/deep/er"),
    )
)


@pytest.mark.parametrize(
    ("path", "zone"),
    [
        pytest.param("/h/x", Zone.PROTECTED, id="depth-1"),
        pytest.param("/h/tmp/x", Zone.FREE, id="free-inside-protected"),
        pytest.param("/h/tmp/project/x/y", Zone.WORKSPACE, id="workspace-inside-free"),
        pytest.param("/h/tmp/project/.git/hooks/x", Zone.PROTECTED, id="protected-inside-workspace"),
        pytest.param("/h/tmp/project/.gitignore", Zone.WORKSPACE, id="name-that-begins-like-a-protected-one"),
        pytest.param("/h/tmp/project/data", Zone.SHARED, id="the-prefix-itself"),
        pytest.param("/h/tmp/project/data/scratch/deep", Zone.SHARED, id="parent-of-a-deeper-rule"),
        pytest.param("/h/tmp/project/data/scratch/deep/er/x", Zone.FREE, id="six-levels-down"),
    ],
)
def test_rule_for_takes_the_longest_prefix_at_any_depth(path: str, zone: Zone) -> None:
    assert fresh(NESTED).rule_for(path).zone is zone


@pytest.mark.parametrize("first", list(Zone))
@pytest.mark.parametrize("second", list(Zone))
def test_rule_for_takes_the_stricter_zone_on_a_tie(first: Zone, second: Zone) -> None:
    stricter = max(first, second, key=list(Zone).index)

    policy = Policy((Rule(first, "/p", "first"), Rule(second, "/p/", "second")))

    assert policy.rule_for("/p/x").zone is stricter
    assert policy.rule_for("/p/x").shown == ("first" if stricter is first else "second")


def test_zones_are_ordered_from_loosest_to_strictest() -> None:
    assert [(zone, zone.strictness) for zone in Zone] == [
        ("free", 0), ("workspace", 1), ("shared", 2), ("protected", 3),
    ]  # fmt: skip


def test_rule_of_the_disk_is_there_unasked_and_says_where_it_comes_from() -> None:
    found = Policy(()).rule_for("/srv/x")

    assert found == Rule(Zone.PROTECTED, "/", "/", "default", declared=False)
    assert str(found) == "protected / (default)"


def test_nothing_makes_the_whole_disk_looser_than_protected() -> None:
    policy = Policy((Rule(Zone.FREE, "/"), Rule(Zone.SHARED, "//")))

    assert policy.rule_for("/srv").zone is Zone.PROTECTED


HOLDER = Policy(
    (
        Rule(Zone.WORKSPACE, "/w/p"),
        Rule(Zone.PROTECTED, "/w/p/.git", ".git"),
        Rule(Zone.FREE, "/tmp"),
        Rule(Zone.SHARED, "/tmp/a/b/s", "share"),
        Rule(Zone.FREE, "/w/p/.git/cache"),
    )
)


@pytest.mark.parametrize(
    ("path", "held"),
    [
        pytest.param("/w/p", ".git", id="parent"),
        pytest.param("/w", ".git", id="grandparent"),
        pytest.param("/tmp/a/b", "share", id="parent-of-a-share-in-a-free-place"),
        pytest.param("/tmp/a", "share", id="grandparent-in-a-free-place"),
        pytest.param("/tmp/a/b/", "share", id="trailing-slash"),
        pytest.param("/w/p/.git", None, id="the-guarded-place-itself"),
        pytest.param("/tmp/a/b/s", None, id="the-share-itself"),
        pytest.param("/tmp/a/bb", None, id="neighbour-of-an-ancestor"),
        pytest.param("/tmp/a/b/s/x", None, id="inside"),
    ],
)
def test_holds_guarded_names_what_lies_below(path: str, held: str | None) -> None:
    found = fresh(HOLDER).holds_guarded(path)

    assert (found and found.shown) == held


@pytest.mark.parametrize("standing", [OWN, FOREIGN])
@pytest.mark.parametrize(
    ("path", "held"),
    [pytest.param("/w/p", ".git", id="workspace"), pytest.param("/tmp/a", "share", id="free-place")],
)
def test_deleting_an_ancestor_of_a_guarded_place_is_refused(path: str, held: str, standing: Standing) -> None:
    found = decide(HOLDER, DELETE, path, standing)

    assert (found.verdict, found.rule.shown) == (REFUSE, held)
    assert found.reason == f"holds {held}, which is guarded"


@pytest.mark.parametrize("standing", [OWN, FOREIGN])
def test_ancestor_that_holds_nothing_is_judged_by_its_own_place(standing: Standing) -> None:
    bare = decide_by(HOLDER, HOLDER.rule_for("/w/p"), DELETE, "/w/p", standing, is_bare=True)

    assert bare == decide(HOLDER, DELETE, "/w/p/other", standing)
    assert decide_by(HOLDER, HOLDER.rule_for("/w/p/.git"), DELETE, "/w/p/.git", FOREIGN, is_bare=True).verdict is REFUSE


def test_refusal_about_an_ancestor_names_the_prefix_where_nothing_else_is_shown() -> None:
    policy = Policy((Rule(Zone.FREE, "/t"), Rule(Zone.PROTECTED, "/t/deep/p")))

    assert decide(policy, DELETE, "/t/deep", FOREIGN).reason == "holds /t/deep/p, which is guarded"


@pytest.mark.parametrize(
    ("action", "standing", "verdict"),
    [
        pytest.param(CREATE, ABSENT, ALLOW, id="made-again"),
        pytest.param(DELETE, ABSENT, ALLOW, id="not-there"),
        pytest.param(CHANGE, FOREIGN, ALLOW, id="its-own-mode-or-times"),
    ],
)
def test_ancestors_of_guarded_places_may_be_touched_otherwise(
    action: Action, standing: Standing, verdict: Verdict
) -> None:
    assert decide(HOLDER, action, "/tmp/a", standing).verdict is verdict


PATTERNED = Policy(
    (
        Rule(Zone.WORKSPACE, "/p"),
        Rule(Zone.PROTECTED, "/p/.git"),
        Rule(Zone.PROTECTED, "/p/data", declared=True),
        Rule(Zone.PROTECTED, "/p/.hypothesis", declared=True),
        Rule(Zone.PROTECTED, "/p/.mypy_cache/golden", declared=True),
        Rule(Zone.SHARED, "/p/__pycache__", declared=True),
        Rule(Zone.PROTECTED, "/home/u"),
    ),
    (
        Pattern("__pycache__", "/p"),
        Pattern(".hypothesis", "/p"),
        Pattern(".mypy_cache", "/p"),
        Pattern(".coverage.*", "/p"),
        Pattern("/home/u/.cache/**/*.lock", source="ini"),
    ),
)


@pytest.mark.parametrize(
    ("path", "zone"),
    [
        pytest.param("/p/pkg/__pycache__", Zone.FREE, id="tool-cache"),
        pytest.param("/p/pkg/__pycache__/a.pyc", Zone.FREE, id="inside-a-tool-cache"),
        pytest.param("/p/.coverage.host.1.x", Zone.FREE, id="name-with-a-star"),
        pytest.param("/p/.coverage.d/x", Zone.FREE, id="directory-that-matches"),
        pytest.param("/p/.coveragerc", Zone.WORKSPACE, id="name-that-only-begins-alike"),
        pytest.param("/q/__pycache__/a.pyc", Zone.PROTECTED, id="outside-of-within"),
        pytest.param("/p2/__pycache__/a.pyc", Zone.PROTECTED, id="neighbour-of-within"),
        pytest.param("/p/.hypothesis/x", Zone.PROTECTED, id="declared-rule-on-the-very-cache"),
        pytest.param("/p/__pycache__/x", Zone.SHARED, id="declared-share-on-the-very-cache"),
        pytest.param("/p/.mypy_cache/3.11", Zone.FREE, id="cache-beside-a-declared-rule"),
        pytest.param("/p/.mypy_cache/golden/x", Zone.PROTECTED, id="declared-rule-inside-a-cache"),
        pytest.param("/p/data/__pycache__/x", Zone.FREE, id="cache-inside-a-declared-rule"),
        pytest.param("/p/data/x", Zone.PROTECTED, id="declared-rule"),
        pytest.param("/home/u/.cache/a/b/c.lock", Zone.FREE, id="whole-path-glob"),
        pytest.param("/home/u/.cache/c.lock", Zone.FREE, id="whole-path-glob-without-a-directory"),
        pytest.param("/home/u/c.lock", Zone.PROTECTED, id="whole-path-glob-elsewhere"),
    ],
)
def test_patterns_free_their_place_and_give_way_to_rules_of_it(path: str, zone: Zone) -> None:
    assert fresh(PATTERNED).rule_for(path).zone is zone


def test_rule_of_a_pattern_says_where_it_matched_and_who_asked() -> None:
    found = fresh(PATTERNED).rule_for("/home/u/.cache/a/c.lock/x")

    assert found == Rule(Zone.FREE, "/home/u/.cache/a/c.lock", "/home/u/.cache/**/*.lock", "ini")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        pytest.param(Rule(Zone.PROTECTED, "/home/u/.x", "~/.x", "ini"), "protected ~/.x (ini)", id="as-written"),
        pytest.param(Rule(Zone.FREE, "/tmp"), "free /tmp (default)", id="prefix"),
    ],
)
def test_rule_reads_as_zone_path_and_source(rule: Rule, said: str) -> None:
    assert str(rule) == said


def test_prefixes_are_those_of_the_zones_asked_for() -> None:
    assert sorted(NESTED.prefixes(Zone.PROTECTED, Zone.SHARED)) == [
        "/", "/h", "/h/tmp/project/.git", "/h/tmp/project/data",
    ]  # fmt: skip


def test_extended_adds_rules_and_keeps_rules_and_patterns() -> None:
    more = extended(PATTERNED, [Rule(Zone.PROTECTED, "/p/src"), Rule(Zone.FREE, "/p/data")])

    assert more.rule_for("/p/src/a").zone is Zone.PROTECTED
    assert more.rule_for("/p/data/a").zone is Zone.PROTECTED
    assert more.rule_for("/p/pkg/__pycache__").zone is Zone.FREE
    assert PATTERNED.rule_for("/p/src/a").zone is Zone.WORKSPACE


@pytest.mark.parametrize(
    ("path", "zone"),
    [
        pytest.param("/p/data", Zone.FREE, id="the-place"),
        pytest.param("/p/data/secret/x", Zone.FREE, id="a-rule-of-it-is-gone"),
        pytest.param("/p/data2", Zone.WORKSPACE, id="neighbour"),
        pytest.param("/p/.git/x", Zone.PROTECTED, id="elsewhere"),
        pytest.param("/p/x/__pycache__", Zone.FREE, id="patterns-stay"),
    ],
)
def test_freed_place_is_free_whatever_was_said_of_it(path: str, zone: Zone) -> None:
    policy = extended(PATTERNED, [Rule(Zone.PROTECTED, "/p/data/secret/"), Rule(Zone.SHARED, "/p/data2/s")])

    found = freed(policy, "/p/data", "pristine")

    assert found.rule_for(path).zone is zone
    assert found.rule_for("/p/data") == Rule(Zone.FREE, "/p/data", "/p/data", "pristine", declared=True)
    assert found.holds_guarded("/p/data") is None
    assert policy.rule_for("/p/data").zone is Zone.PROTECTED


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/", "/", id="disk"),
        pytest.param("//", "/", id="two-slashes"),
        pytest.param("/a/b", "/a/b", id="clean"),
        pytest.param("/a//b", "/a/b", id="doubled-slash"),
        pytest.param("//a/b", "/a/b", id="leading-doubled-slash"),
        pytest.param("/a/b/", "/a/b", id="trailing-slash"),
        pytest.param("/a/b///", "/a/b", id="trailing-slashes"),
        pytest.param("/a/.b", "/a/.b", id="hidden-name"),
        pytest.param("/a/..b/...", "/a/..b/...", id="names-of-dots"),
    ],
)
def test_clean_drops_slashes_that_say_nothing(path: str, expected: str) -> None:
    assert clean(path) == expected


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        pytest.param("a/b", "a policy knows absolute paths only, got 'a/b'", id="relative"),
        pytest.param("", "a policy knows absolute paths only, got ''", id="empty"),
        pytest.param("~/a", "a policy knows absolute paths only, got '~/a'", id="tilde"),
        pytest.param("/a/../b", "a policy knows resolved paths only, got '/a/../b'", id="dot-dot"),
        pytest.param("/a/..", "a policy knows resolved paths only, got '/a/..'", id="dot-dot-at-the-end"),
        pytest.param("/./a", "a policy knows resolved paths only, got '/./a'", id="dot"),
        pytest.param("/..", "a policy knows resolved paths only, got '/..'", id="above-the-disk"),
    ],
)
def test_clean_refuses_what_only_a_disk_can_resolve(path: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        clean(path)

    assert str(caught.value) == problem


@pytest.mark.parametrize("call", [POLICY.rule_for, POLICY.holds_guarded, lambda path: Policy((Rule(Zone.FREE, path),))])
def test_policy_refuses_a_relative_path(call: object) -> None:
    with pytest.raises(ValueError, match="absolute paths only, got 'home/u'"):
        call("home/u")  # type: ignore[operator]


def test_parents_are_nearest_first_and_end_at_the_disk() -> None:
    assert list(parents("/a/b/c")) == ["/a/b", "/a", "/"]
    assert list(parents("/a")) == ["/"]
    assert list(parents("/")) == []


@pytest.mark.parametrize(
    ("path", "prefix", "expected"),
    [
        pytest.param("/a", "/a", True, id="itself"),
        pytest.param("/a/b", "/a", True, id="below"),
        pytest.param("/ab", "/a", False, id="neighbour"),
        pytest.param("/", "/a", False, id="above"),
        pytest.param("/a", "/", True, id="the-disk-holds-all"),
        pytest.param("/", "/", True, id="the-disk-holds-itself"),
    ],
)
def test_is_within(path: str, prefix: str, expected: bool) -> None:
    assert is_within(path, prefix) is expected


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("content", "/home/u/notes.txt", True),
        ("removed", "/home/u/notes.txt", True),
        ("undone", "/home/u/notes.txt", False),
        ("names", "/home/u", False),
        ("created", "/home/u/__pycache__", False),
        ("replaced", "/home/u/__pycache__/a.cpython-311.pyc", False),
        ("created", "/home/u/__pycache__/a.cpython-311.pyc.140", False),
        ("created", "/home/u/__pycache__/notes.txt", True),
        ("removed", "/home/u/__pycache__/a.cpython-311.pyc", True),
        ("removed", "/home/u/__pycache__", True),
    ],
)
def test_change_counts_unless_it_says_nothing_or_is_byte_code_that_was_written(
    kind: str, path: str, expected: bool
) -> None:
    assert counts(kind, path) is expected
