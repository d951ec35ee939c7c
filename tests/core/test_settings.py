"""Raw values become checked settings, or one complaint that says which option, from where, and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_session_guard._core.errors import ConfigurationError
from pytest_session_guard._core.settings import (
    BY_NAME,
    ENVIRONMENT_MODE,
    LAYERS,
    MODES,
    OPTIONS,
    Line,
    Option,
    Redirect,
    Settings,
    Value,
    check_path,
    has_name,
    is_anchored,
    is_attribute,
    is_glob,
    is_inside_place,
    merge,
    parse_redirect,
)
from pytest_session_guard._core.zones import Zone

# A loaded machine is no fault of the code's.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

INI = "pytest.ini"


def settings_of(name: str, raw: Any, source: str = INI) -> Settings:
    return merge({name: [Value(raw, source)]})


def complaint(name: str, raw: Any, source: str = INI) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        settings_of(name, raw, source)
    return caught.value


def test_merge_of_nothing_gives_the_defaults() -> None:
    assert merge({}) == Settings()


def test_defaults_of_the_table_are_the_defaults_of_the_settings() -> None:
    given = {option.name: [Value(option.default, "default")] for option in OPTIONS if option.kind != "lines"}

    assert merge(given) == Settings()


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_option_is_fit_for_command_line_and_help(option: Option) -> None:
    assert option.ini or option.flag
    assert option.name == (option.ini or option.flag)
    assert BY_NAME[option.name] is option
    assert option.metavar
    assert option.allowed
    assert option.help[0].islower()
    assert not option.help.endswith(".")
    if option.flag:
        assert option.flag.startswith("--session-guard")
        assert option.dest.isidentifier()
        assert option.dest == option.flag[2:].replace("-", "_")
    if option.ini and option.flag:
        assert option.dest == option.ini


def test_table_has_the_documented_names() -> None:
    documented = {
        "session_guard": "--session-guard",
        "session_guard_protect": "--session-guard-protect",
        "session_guard_share": "--session-guard-share",
        "session_guard_free": "--session-guard-free",
        "session_guard_workspace": "--session-guard-workspace",
        "session_guard_home": "--session-guard-home",
        "session_guard_redirect": "",
        "session_guard_reset": "",
        "session_guard_layers": "--session-guard-layers",
        "session_guard_require": "--session-guard-require",
        "session_guard_tag": "",
        "session_guard_preimage_limit": "--session-guard-preimage-limit",
        "session_guard_dir": "--session-guard-dir",
        "--session-guard-json": "--session-guard-json",
        "--session-guard-html": "--session-guard-html",
    }

    assert {option.name: option.flag for option in OPTIONS} == documented
    assert (MODES, ENVIRONMENT_MODE) == (("off", "report", "enforce"), "SESSION_GUARD")
    assert set(LAYERS) == {"hook", "seal", "overlay", "manifest"}


PATH_OPTIONS = ("session_guard_protect", "session_guard_share", "session_guard_free")
PATHS_ALLOWED = "absolute paths, ~/... or {rootdir}/..."
FREE_ALLOWED = "absolute paths, ~/..., {rootdir}/..., or globs of these or of names"
SIZES = "a number of bytes, KiB, MiB or GiB, such as 64 MiB"
LAYERS_ALLOWED = "a comma list of hook, overlay, seal, manifest"
REDIRECT_ALLOWED = (
    "module:ATTR = PLACE, env:NAME = PLACE or ~/real/path = PLACE, with PLACE relative to the test's private directory"
)
LEAVES = "has a place that leaves the private directory"
NO_TARGET = "has a target that is neither module:ATTR nor env:NAME nor an absolute path"

# Every option, each way in which its value can be wrong: option, raw value, what is wrong, what is allowed.
WRONG = [
    ("session_guard", "on", "is not one of the words it takes, got 'on'", "enforce, report or off"),
    ("session_guard", "", "is not one of the words it takes, got ''", "enforce, report or off"),
    ("session_guard", "Enforce", "is not one of the words it takes, got 'Enforce'", "enforce, report or off"),
    ("session_guard", True, "is not one of the words it takes, got True", "enforce, report or off"),
    *(
        row
        for name, allowed in zip(PATH_OPTIONS, (PATHS_ALLOWED, PATHS_ALLOWED, FREE_ALLOWED), strict=True)
        for row in (
            (name, ["data"], "is a relative path, got 'data'", allowed),
            (name, ["/fine", "./data"], "is a relative path, got './data'", allowed),
            (name, ["../data"], "is a relative path, got '../data'", allowed),
            (name, ["{rootdir}data"], "is a relative path, got '{rootdir}data'", allowed),
            (name, [""], "is empty, got ''", allowed),
            (name, ["  "], "is empty, got ''", allowed),
            (name, "  ", "is empty, got ''", allowed),
            (name, ["/a\0b"], "holds a null byte, got '/a\\x00b'", allowed),
        )
    ),
    ("session_guard_protect", ["~/data/*.db"], "is a glob, got '~/data/*.db'", PATHS_ALLOWED),
    ("session_guard_protect", ["*.db"], "is a relative path, got '*.db'", PATHS_ALLOWED),
    ("session_guard_share", ["/data/?"], "is a glob, got '/data/?'", PATHS_ALLOWED),
    ("session_guard_free", ["build/*.xml"], "is a relative glob, got 'build/*.xml'", FREE_ALLOWED),
    ("session_guard_workspace", "open", "is not one of the words it takes, got 'open'", "free, workspace, shared or protected"),
    ("session_guard_workspace", "", "is not one of the words it takes, got ''", "free, workspace, shared or protected"),
    ("session_guard_home", "real", "is not one of the words it takes, got 'real'", "keep or redirect"),
    ("session_guard_redirect", ["a.b:C"], "is no TARGET = PLACE line, got 'a.b:C'", REDIRECT_ALLOWED),
    ("session_guard_redirect", ["= place"], "is no TARGET = PLACE line, got '= place'", REDIRECT_ALLOWED),
    ("session_guard_redirect", ["a.b:C ="], "is no TARGET = PLACE line, got 'a.b:C ='", REDIRECT_ALLOWED),
    ("session_guard_redirect", ["a:B = /abs"], f"{LEAVES}, got 'a:B = /abs'", REDIRECT_ALLOWED),
    ("session_guard_redirect", ["a:B = x/../../y"], f"{LEAVES}, got 'a:B = x/../../y'", REDIRECT_ALLOWED),
    ("session_guard_redirect", ["a:B = .."], f"{LEAVES}, got 'a:B = ..'", REDIRECT_ALLOWED),
    ("session_guard_redirect", ["env: = x"], "names no environment variable, got 'env: = x'", REDIRECT_ALLOWED),
    ("session_guard_redirect", ["env:A B = x"], "names no environment variable, got 'env:A B = x'", REDIRECT_ALLOWED),
    ("session_guard_redirect", ["a.b.C = x"], f"{NO_TARGET}, got 'a.b.C = x'", REDIRECT_ALLOWED),
    ("session_guard_redirect", ["data/real = x"], f"{NO_TARGET}, got 'data/real = x'", REDIRECT_ALLOWED),
    ("session_guard_reset", ["a.b.C"], "is not of the form it takes, got 'a.b.C'", "module:ATTR"),
    ("session_guard_reset", ["a:"], "is not of the form it takes, got 'a:'", "module:ATTR"),
    ("session_guard_layers", "hook,lock", "holds the unknown layer 'lock', got 'hook,lock'", f"auto, or {LAYERS_ALLOWED}"),
    ("session_guard_layers", "auto,hook", "holds the unknown layer 'auto', got 'auto,hook'", f"auto, or {LAYERS_ALLOWED}"),
    ("session_guard_require", "all", "holds the unknown layer 'all', got 'all'", LAYERS_ALLOWED),
    ("session_guard_require", "auto", "holds the unknown layer 'auto', got 'auto'", LAYERS_ALLOWED),
    ("session_guard_tag", [""], "is empty, got ''", "globs"),
    ("session_guard_tag", ["*.js\0n"], "holds a null byte, got '*.js\\x00n'", "globs"),
    ("session_guard_preimage_limit", "", "is no size, got ''", SIZES),
    ("session_guard_preimage_limit", "-1", "is no size, got '-1'", SIZES),
    ("session_guard_preimage_limit", "1.5 MiB", "is no size, got '1.5 MiB'", SIZES),
    ("session_guard_preimage_limit", "64 MB", "is no size, got '64 MB'", SIZES),
    ("session_guard_preimage_limit", "²", "is no size, got '²'", SIZES),
    ("session_guard_dir", "", "is empty, got ''", "a path, relative to the rootdir or absolute"),
    ("session_guard_dir", " ", "is empty, got ' '", "a path, relative to the rootdir or absolute"),
    ("session_guard_dir", ".", "is no directory of its own, got '.'", "a path, relative to the rootdir or absolute"),
    ("session_guard_dir", "a/..", "is no directory of its own, got 'a/..'", "a path, relative to the rootdir or absolute"),
    ("session_guard_dir", "/", "is no directory of its own, got '/'", "a path, relative to the rootdir or absolute"),
    ("session_guard_dir", "~/", "is no directory of its own, got '~/'", "a path, relative to the rootdir or absolute"),
    ("session_guard_dir", "a\0b", "holds a null byte, got 'a\\x00b'", "a path, relative to the rootdir or absolute"),
    ("--session-guard-json", "", "is empty, got ''", "a path"),
    ("--session-guard-json", "a\0b", "holds a null byte, got 'a\\x00b'", "a path"),
    ("--session-guard-html", " ", "is empty, got ' '", "a path"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "raw", "problem", "allowed"), [pytest.param(*row, id=f"{row[0]}={row[1]!r}") for row in WRONG]
)
@pytest.mark.parametrize("source", [INI, "command line: --flag"])
def test_wrong_value_is_one_complaint_with_option_source_and_what_is_allowed(
    name: str, raw: object, problem: str, allowed: str, source: str
) -> None:
    found = complaint(name, raw, source)

    assert (found.option, found.source, found.problem, found.allowed) == (name, source, problem, allowed)
    assert str(found) == f"{name} ({source}): {problem}\n  allowed: {allowed}\n  [bad-configuration]"


def test_every_option_has_a_wrong_value_above() -> None:
    assert {row[0] for row in WRONG} == set(BY_NAME)


def test_wrong_mode_in_the_environment_names_the_variable() -> None:
    found = complaint("session_guard", "on", ENVIRONMENT_MODE)

    assert str(found) == (
        "SESSION_GUARD (environment): is not one of the words it takes, got 'on'\n"
        "  allowed: enforce, report or off\n  [bad-configuration]"
    )


def test_unknown_option_is_an_error_of_the_adapter() -> None:
    with pytest.raises(AssertionError, match="'session_gard'"):
        merge({"session_gard": []})


@pytest.mark.parametrize(
    ("name", "raw", "attribute", "expected"),
    [
        pytest.param("session_guard", " report ", "mode", "report", id="word-with-spaces"),
        pytest.param("session_guard_workspace", "shared", "workspace", Zone.SHARED, id="zone"),
        pytest.param("session_guard_home", "redirect", "home", "redirect", id="home"),
        pytest.param("session_guard_layers", "hook, overlay", "layers", ("hook", "overlay"), id="layers"),
        pytest.param("session_guard_layers", "auto", "layers", ("auto",), id="auto"),
        pytest.param("session_guard_layers", " , ", "layers", ("auto",), id="no-layer-is-auto"),
        pytest.param("session_guard_require", "seal,hook", "require", ("seal", "hook"), id="require"),
        pytest.param("session_guard_require", "", "require", (), id="require-nothing"),
        pytest.param("session_guard_tag", ["*.json", "a/**/*.jsonl"], "tag", ("*.json", "a/**/*.jsonl"), id="tag"),
        pytest.param("session_guard_preimage_limit", " 2KiB ", "preimage_limit_bytes", 2048, id="kibibytes"),
        pytest.param("session_guard_preimage_limit", "3 MiB", "preimage_limit_bytes", 3 << 20, id="mebibytes"),
        pytest.param("session_guard_preimage_limit", "4 GiB", "preimage_limit_bytes", 4 << 30, id="gibibytes"),
        pytest.param("session_guard_preimage_limit", "0", "preimage_limit_bytes", 0, id="no-bytes"),
        pytest.param("session_guard_dir", "build/guard", "directory", "build/guard", id="dir"),
        pytest.param("--session-guard-json", "out/r.json", "json_path", "out/r.json", id="json"),
        pytest.param("--session-guard-html", "r.html", "html_path", "r.html", id="html"),
    ],
)
def test_value_arrives_in_its_setting(name: str, raw: object, attribute: str, expected: object) -> None:
    assert getattr(settings_of(name, raw), attribute) == expected


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("session_guard", "mode_source"),
        ("session_guard_workspace", "workspace_source"),
        ("session_guard_dir", "directory_source"),
    ],
)
def test_source_of_a_value_is_kept(name: str, attribute: str) -> None:
    default = BY_NAME[name].default

    assert getattr(settings_of(name, default, "setup.cfg"), attribute) == "setup.cfg"
    assert getattr(merge({}), attribute) == "default"


@pytest.mark.parametrize(
    ("name", "attribute"), [(name, name.rpartition("_")[2]) for name in PATH_OPTIONS], ids=PATH_OPTIONS
)
def test_paths_of_all_sources_add_up_each_with_its_own(name: str, attribute: str) -> None:
    found = merge(
        {name: [Value(["/a", "~/b"], "command line"), Value("\n  ~/b\n\n{rootdir}/c\n~user/d\n{rootdir}\n", INI)]}
    )

    assert getattr(found, attribute) == (
        Line("/a", "command line"), Line("~/b", "command line"), Line("{rootdir}/c", INI), Line("~user/d", INI),
        Line("{rootdir}", INI),
    )  # fmt: skip


@pytest.mark.parametrize("glob", ["*.log", "[ab]?", "**/build/*", "~/x/*.db", "/srv/**", "{rootdir}/out/*.xml"])
def test_free_takes_globs_of_names_and_of_whole_paths(glob: str) -> None:
    assert settings_of("session_guard_free", [glob]).free == (Line(glob, INI),)


def test_blank_lines_of_a_list_are_passed_over() -> None:
    assert settings_of("session_guard_protect", "\n/a").protect == (Line("/a", INI),)
    assert settings_of("session_guard_protect", "").protect == ()


def test_protect_takes_a_name_with_a_bracket_because_real_names_have_them() -> None:
    assert settings_of("session_guard_protect", ["/data/[old]"]).protect == (Line("/data/[old]", INI),)


def test_first_source_of_a_single_value_counts() -> None:
    found = merge({"session_guard_dir": [Value("a", "command line"), Value("b", INI)]})

    assert (found.directory, found.directory_source) == ("a", "command line")


def test_wrong_value_of_a_weaker_source_is_not_looked_at() -> None:
    assert merge({"session_guard_home": [Value("keep", "command line"), Value("nonsense", INI)]}).home == "keep"


@pytest.mark.parametrize(
    ("text", "kind", "target", "place"),
    [
        pytest.param("api.models:DIR = sessions", "attribute", "api.models:DIR", "sessions", id="attribute"),
        pytest.param("m:Class.attr=x/y.json", "attribute", "m:Class.attr", "x/y.json", id="no-spaces"),
        pytest.param("api:INDEX        = a/_index.json", "attribute", "api:INDEX", "a/_index.json", id="aligned"),
        pytest.param("env:APP_HOME = home", "environment", "APP_HOME", "home", id="environment"),
        pytest.param("~/.app = app", "root", "~/.app", "app", id="home-path"),
        pytest.param("/srv/data = .", "root", "/srv/data", ".", id="the-private-directory-itself"),
        pytest.param("{rootdir}/var = var", "root", "{rootdir}/var", "var", id="rootdir-path"),
        pytest.param("C:\\data = d", "root", "C:\\data", "d", id="drive-letter"),
        pytest.param("/srv/a=b = c", "root", "/srv/a=b", "c", id="equals-sign-in-the-target"),
        pytest.param("/srv/a = b=c", "root", "/srv/a", "b=c", id="equals-sign-in-the-place"),
        pytest.param("/srv/a = b = c", "root", "/srv/a", "b = c", id="first-spaced-sign-counts"),
        pytest.param("env:A = b", "environment", "A", "b", id="short-name"),
        pytest.param("/srv/a=b=c", "root", "/srv/a=b", "c", id="equals-signs-without-spaces"),
        pytest.param("m:ä_1 = ü", "attribute", "m:ä_1", "ü", id="letters-of-all-kinds"),
        pytest.param("a:B = ..x/y..", "attribute", "a:B", "..x/y..", id="names-of-dots"),
    ],
)
def test_redirect_line_is_taken_apart(text: str, kind: str, target: str, place: str) -> None:
    assert parse_redirect(Line(text, INI)) == Redirect(kind, target, place, INI)  # type: ignore[arg-type]


def test_redirects_and_resets_keep_their_sources() -> None:
    found = merge(
        {
            "session_guard_redirect": [Value(["a:B = c"], INI)],
            "session_guard_reset": [Value(["a:CACHE", "a.b:C.d"], "setup.cfg")],
        }
    )

    assert found.redirects == (Redirect("attribute", "a:B", "c", INI),)
    assert found.resets == (Line("a:CACHE", "setup.cfg"), Line("a.b:C.d", "setup.cfg"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "is empty, got ''", id="empty"),
        pytest.param("data", "is a relative path, got 'data'", id="relative"),
        pytest.param("/data/*", "is a glob, got '/data/*'", id="glob"),
        pytest.param("/\0", "holds a null byte, got '/\\x00'", id="null-byte"),
    ],
)
def test_path_of_a_mark_is_held_to_the_same_rules(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_path("mark session_guard(protect=...)", Line(text, "tests/test_a.py::test_b"))

    assert str(caught.value) == (
        f"mark session_guard(protect=...) (tests/test_a.py::test_b): {problem}\n"
        f"  allowed: {PATHS_ALLOWED}\n  [bad-configuration]"
    )


def test_path_of_a_mark_that_is_fine_is_given_back() -> None:
    line = Line("~/data/[old]", "mark")

    assert check_path("mark", line) is line


@pytest.mark.parametrize("path", ["/", "/a", "~", "~/a", "~u/a", "{rootdir}", "{rootdir}/a", "C:\\a", "c:/a"])
def test_path_with_a_fixed_start_is_anchored(path: str) -> None:
    assert is_anchored(path)


@pytest.mark.parametrize("path", ["", "a", "./a", "../a", "{rootdir}a", "{home}/a", "C:a", "1:/a", "x/~", " /a"])
def test_path_without_a_fixed_start_is_not_anchored(path: str) -> None:
    assert not is_anchored(path)


@pytest.mark.parametrize(
    ("path", "expected"), [("/a/*", True), ("a?", True), ("[a", True), ("/a/b", False), ("/X", False)]
)
def test_is_glob(path: str, expected: bool) -> None:
    assert is_glob(path) is expected


@pytest.mark.parametrize(("place", "expected"), [
    ("a", True), ("a/b.json", True), (".", True), ("...", True), ("a/..b", True),
    ("", False), ("/a", False), ("~", False), ("~/a", False), ("..", False), ("a/..", False), ("a/../b", False),
    ("a\\..\\b", False), ("\\\\..", False), ("C:\\a", False), ("{rootdir}/a", False), ("a\0b", False),
])  # fmt: skip
def test_is_inside_place(place: str, expected: bool) -> None:
    assert is_inside_place(place) is expected


@pytest.mark.parametrize(("target", "expected"), [
    ("m:A", True), ("a.b.c:D.e", True), ("_m:_a", True), ("ä:b1", True),
    ("m", False), ("m:", False), (":A", False), ("m:A:B", False), ("m.:A", False), ("m:1", False), ("1m:A", False),
    ("m:A ", False), ("m:A.", False), ("m-n:A", False), ("m:A\n", False),
])  # fmt: skip
def test_is_attribute(target: str, expected: bool) -> None:
    assert is_attribute(target) is expected


@pytest.mark.parametrize(("path", "expected"), [
    ("a", True), ("/a/", True), ("./a", True), ("../a", True), ("~/a", True), ("{rootdir}/a", True),
    ("", False), (".", False), ("./", False), ("/", False), ("a/..", False), ("..", False), ("~", False), ("~/.", False),
    ("{rootdir}", False), ("a\\..", False),
])  # fmt: skip
def test_has_name(path: str, expected: bool) -> None:
    assert has_name(path) is expected


@UNHURRIED
@given(st.lists(st.sampled_from(["a", "..", ".", "", "b c", "...", "~", "=", "\udcff"]), max_size=5))
def test_place_inside_never_climbs_above_its_start(parts: Sequence[str]) -> None:
    place = "/".join(parts)
    depth, lowest = 0, 0
    for part in parts:
        depth += -1 if part == ".." else 1 if part not in ("", ".") else 0
        lowest = min(lowest, depth)

    if is_inside_place(place):
        assert lowest == 0
        assert not place.startswith("/")


@UNHURRIED
@given(
    st.sampled_from([option.name for option in OPTIONS if option.name != "session_guard_redirect"]),
    st.one_of(
        st.text(max_size=20), st.lists(st.text(max_size=10), max_size=3), st.none(), st.integers(), st.booleans()
    ),
)
def test_whatever_is_given_is_taken_or_complained_about(name: str, raw: object) -> None:
    wanted = st.lists if BY_NAME[name].kind == "lines" else st.text
    if (wanted is st.lists) is not isinstance(raw, str | list):
        raw = str(raw)

    try:
        found: Settings | ConfigurationError = settings_of(name, raw)
    except ConfigurationError as problem:
        found = problem

    if isinstance(found, ConfigurationError):
        assert (found.option, found.source) == (name, INI)
        assert found.allowed


@UNHURRIED
@given(st.text(max_size=30))
def test_whatever_redirect_line_is_taken_or_complained_about(text: str) -> None:
    try:
        found: Redirect | ConfigurationError = parse_redirect(Line(text, INI))
    except ConfigurationError as problem:
        found = problem

    assert found.source == INI
    if isinstance(found, ConfigurationError):
        assert repr(text) in found.problem
    else:
        assert is_inside_place(found.place)
        assert found.target
