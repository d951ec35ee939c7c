"""Every form in which a path is copied follows its target."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from redirect_packages.world import World

ROOT = "~/.loom = loom"
ATTRIBUTE = "loom.paths:SESSION_DIR = sessions"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_attribute_points_to_the_private_directory_in_a_test_and_to_the_sink_between(world: World) -> None:
    redirector = world.redirector(ATTRIBUTE)
    paths = world.module("loom.paths")
    redirector.check()
    seen = [paths.SESSION_DIR]

    for name in ("test_a", "test_b"):
        with world.test(redirector, name):
            seen.append(paths.SESSION_DIR)
        seen.append(paths.SESSION_DIR)
    redirector.stop()

    sink = world.sink / "sessions"
    assert [*seen, paths.SESSION_DIR] == [
        sink, world.private / "test_a" / "sessions", sink, world.private / "test_b" / "sessions", sink, sink,
    ]  # fmt: skip


def test_attribute_of_a_module_imported_before_the_start_is_rebound_by_the_start(world: World) -> None:
    paths = world.module("loom.paths")

    world.redirector(ATTRIBUTE)

    assert world.sink / "sessions" == paths.SESSION_DIR


def test_place_is_not_made_but_its_parents_are(world: World) -> None:
    redirector = world.redirector("loom.paths:INDEX_FILE = store/sessions/_index.json", "~/.loom = loom")

    with world.test(redirector) as private:
        made = sorted(str(path.relative_to(private)) for path in private.rglob("*"))

    assert made == ["store", "store/sessions"]


EXPECTED = {
    "HOME_DIR": lambda base: base / "loom",
    "SESSION_DIR": lambda base: base / "loom/sessions",
    "INDEX_FILE": lambda base: base / "loom/sessions/_index.json",
    "LOG_TEXT": lambda base: f"{base}/loom/log.txt",
    "LOG_BYTES": lambda base: os.fsencode(base / "loom/log.txt"),
    "PURE": lambda base: PurePosixPath(base, "loom/pure"),
    "UNEXPANDED": lambda base: f"{base}/loom/unexpanded",
    "VARIABLE": lambda base: f"{base}/loom/variable",
    "TRAILING": lambda base: f"{base}/loom/sub/",
    "TEMPLATE": lambda base: f"{base}/loom/sessions/{{session}}.json",
}
UNTOUCHED = ["URL", "FILE_URL", "HELP", "LINES", "SEARCH", "NEIGHBOUR", "SENTENCE", "RELATIVE", "COUNT", "NOTHING"]


@pytest.mark.parametrize("imported", [pytest.param("before"), pytest.param("after"), pytest.param("in the test")])
def test_root_line_rebases_every_constant_below_it_and_keeps_its_type(world: World, imported: str) -> None:
    if imported == "before":
        world.module("loom.paths")
    redirector = world.redirector(ROOT)
    if imported == "after":
        world.module("loom.paths")

    with world.test(redirector) as private:
        paths = world.module("loom.paths")
        inside = {name: getattr(paths, name) for name in EXPECTED}
    between = {name: getattr(paths, name) for name in EXPECTED}

    assert inside == {name: make(private) for name, make in EXPECTED.items()}
    assert between == {name: make(world.sink) for name, make in EXPECTED.items()}
    assert [type(value) for value in inside.values()] == [type(make(private)) for make in EXPECTED.values()]


def test_root_line_leaves_what_is_not_a_path_below_it(world: World) -> None:
    paths = world.module("loom.paths")
    before = {name: getattr(paths, name) for name in UNTOUCHED}
    redirector = world.redirector(ROOT)

    with world.test(redirector):
        inside = {name: getattr(paths, name) for name in UNTOUCHED}

    assert inside == before


def test_untidy_texts_are_the_paths_that_they_name(world: World) -> None:
    redirector = world.redirector(ROOT)
    module = world.module(
        "untidy",
        "import os\nHOME = os.path.expanduser('~')\n"
        "A, B, C = HOME + '/x/../.loom/a', HOME + '//.loom//b', HOME + '/./.loom/'\n",
    )

    with world.test(redirector) as private:
        assert (f"{private}/loom/a", f"{private}/loom/b", f"{private}/loom/") == (module.A, module.B, module.C)


def test_text_with_white_space_is_a_path_when_something_stands_there(world: World) -> None:
    (world.home / ".loom" / "my chats").mkdir(parents=True)
    redirector = world.redirector(ROOT)
    module = world.module(
        "spaces",
        "import os\nA = os.path.expanduser('~/.loom/my chats')\nB = os.path.expanduser('~/.loom/my chats are here')\n",
    )

    with world.test(redirector) as private:
        assert f"{private}/loom/my chats" == module.A
    assert f"{world.home}/.loom/my chats are here" == module.B


def test_from_imports_follow_under_every_name_and_stay_one_object(world: World) -> None:
    redirector = world.redirector(ATTRIBUTE)
    aliases, paths = world.module("loom.aliases"), world.module("loom.paths")

    with world.test(redirector):
        names = [aliases.SESSION_DIR, aliases.STORE, aliases.BY_MODULE]

        assert all(name is paths.SESSION_DIR for name in names)
    assert world.sink / "sessions" == aliases.STORE


def test_relative_text_is_followed_under_its_own_name_only(world: World) -> None:
    redirector = world.redirector("loom.paths:RELATIVE = loom.db")
    aliases = world.module("loom.aliases")

    with world.test(redirector) as private:
        assert (f"{private}/loom.db", "loom.db") == (aliases.RELATIVE, aliases.UNRELATED)


def test_constants_derived_from_an_attribute_target_keep_their_relation(world: World) -> None:
    redirector = world.redirector(ATTRIBUTE)
    paths = world.module("loom.paths")

    with world.test(redirector) as private:
        assert private / "sessions/_index.json" == paths.INDEX_FILE
    assert world.home / ".loom" == paths.HOME_DIR


def test_longer_target_wins_over_the_root_line_that_holds_it(world: World) -> None:
    redirector = world.redirector(ROOT, "loom.paths:INDEX_FILE = index/_index.json")
    paths = world.module("loom.paths")

    with world.test(redirector) as private:
        assert (private / "loom/sessions", private / "index/_index.json") == (paths.SESSION_DIR, paths.INDEX_FILE)


DEFINITIONS = {
    "class attribute": lambda m: m.Store.directory,
    "nested class attribute": lambda m: m.Store.Inner.directory,
    "inherited class attribute": lambda m: m.Child.directory,
    "method default": lambda m: m.Store().load(),
    "classmethod default": lambda m: m.Store.where(),
    "staticmethod default": lambda m: m.Store.place(),
    "property default": lambda m: m.Store().index.parent,
    "cached property default": lambda m: m.Store().cached.parent,
    "partialmethod": lambda m: m.Store().bound(),
    "dataclass default": lambda m: m.Config().directory,
    "dataclass class attribute": lambda m: m.Config.directory,
    "dataclass keyword default": lambda m: m.Config().index.parent,
    "dataclass default factory": lambda m: m.Config().lazy,
    "dataclass field": lambda m: m.Config.__dataclass_fields__["directory"].default,
    "frozen slotted dataclass": lambda m: m.Frozen().directory,
    "named tuple default": lambda m: m.Record().directory,
    "named tuple field default": lambda m: m.Record._field_defaults["directory"],
    "function default": lambda m: m.default(),
    "keyword default": lambda m: m.keyword(),
    "default of a decorated function": lambda m: m.cached.__wrapped__(),
    "default of a context manager": lambda m: m.managed().__enter__(),
    "closure": lambda m: m.closed(),
    "partial argument": lambda m: m.partial(),
    "partial keyword": lambda m: m.keyword_partial(),
    "function attribute": lambda m: m.default.directory,
    "partial of a root": lambda m: m.late_default() / "sessions",
}


@pytest.mark.parametrize("form", DEFINITIONS)
@pytest.mark.parametrize("line", [pytest.param(ROOT, id="root"), pytest.param(ATTRIBUTE, id="attribute")])
def test_copy_in_a_definition_follows(world: World, form: str, line: str) -> None:
    if line == ATTRIBUTE and form == "partial of a root":
        line = "loom.paths:HOME_DIR = loom"
    redirector = world.redirector(line)
    definitions = world.module("loom.definitions")
    read = DEFINITIONS[form]
    between = read(definitions)

    with world.test(redirector) as private:
        inside = read(definitions)

    place = "sessions" if line == ATTRIBUTE else "loom/sessions"
    assert (inside, between, read(definitions)) == (private / place, world.sink / place, world.sink / place)


def test_copies_of_a_container_follow(world: World) -> None:
    redirector = world.redirector(ROOT)
    containers = world.module("loom.containers")
    kept = [containers.BY_NAME, containers.BY_PATH, containers.LIST, containers.SET, containers.QUEUE, containers.PROXY]

    for name in ("test_a", "test_b"):
        with world.test(redirector, name) as private:
            sessions, index = private / "loom/sessions", private / "loom/sessions/_index.json"

            assert {"sessions": sessions, "nested": {"index": [index, {"deep": (sessions,)}]}} == containers.BY_NAME
            assert list(containers.BY_PATH.items()) == [(sessions, "sessions"), (index, index), ("last", 1)]
            assert [1, sessions, "text"] == containers.LIST
            assert (sessions, index) == containers.TUPLE
            assert ("a", (sessions, ["x", index])) == containers.NESTED
            assert {sessions, index} == containers.SET
            assert frozenset({sessions}) == containers.FROZEN
            assert list(containers.QUEUE) == [sessions]
            assert (containers.PAIR, type(containers.PAIR)) == (containers.Pair("sessions", sessions), containers.Pair)
            assert {"a": sessions, "b": 1} == containers.ORDERED
            assert {"dirs": [sessions]} == containers.DEFAULTS
            assert {"sessions": sessions} == containers.PROXY
            assert vars(containers.SPACE) == {"sessions": sessions, "other": private / "loom"}
    assert [1, world.sink / "loom/sessions", "text"] == containers.LIST
    now = [containers.BY_NAME, containers.BY_PATH, containers.LIST, containers.SET, containers.QUEUE, containers.PROXY]
    assert all(one is other for one, other in zip(kept, now, strict=True))


def test_element_that_the_application_moves_or_takes_away_is_followed_or_forgotten(world: World) -> None:
    redirector = world.redirector(ROOT)
    containers = world.module("loom.containers")

    with world.test(redirector):
        containers.LIST.insert(0, "first")
        containers.SET.clear()
        del containers.BY_NAME["sessions"]

    assert ["first", 1, world.sink / "loom/sessions", "text"] == containers.LIST
    assert (containers.SET, list(containers.BY_NAME)) == (set(), ["nested"])


def test_tuple_imported_from_another_module_stays_one_object(world: World) -> None:
    redirector = world.redirector(ROOT)
    containers = world.module("loom.containers")
    other = world.module("other", "from loom.containers import TUPLE\n")

    with world.test(redirector):
        assert other.TUPLE is containers.TUPLE
    assert other.TUPLE is containers.TUPLE


def test_path_like_objects_of_the_application_keep_their_type(world: World) -> None:
    redirector = world.redirector(ROOT)
    module = world.module(
        "pathlike",
        "import os\nfrom pathlib import Path, PosixPath\n"
        "class Tagged(str): pass\n"
        "class Own(PosixPath): pass\n"
        "class Like:\n"
        "    def __init__(self, text): self.text = os.fspath(text)\n"
        "    def __fspath__(self): return self.text\n"
        "TEXT = Tagged(Path.home() / '.loom' / 'a')\n"
        "OWN = Own(Path.home(), '.loom', 'b')\n"
        "LIKE = Like(Path.home() / '.loom' / 'c')\n",
    )

    with world.test(redirector) as private:
        seen = [(type(one).__name__, os.fspath(one)) for one in (module.TEXT, module.OWN, module.LIKE)]

    assert seen == [("Tagged", f"{private}/loom/a"), ("Own", f"{private}/loom/b"), ("Like", f"{private}/loom/c")]


def test_symlinked_home_is_followed_by_both_of_its_names(world: World) -> None:
    real = world.home.with_name("elsewhere")
    real.mkdir()
    world.home.rmdir()
    world.home.symlink_to(real)
    redirector = world.redirector(ROOT)
    module = world.module(
        "linked", "from pathlib import Path\nA = Path.home() / '.loom'\nB = Path.home().resolve() / '.loom' / 'x'\n"
    )

    with world.test(redirector) as private:
        assert (private / "loom", private / "loom/x") == (module.A, module.B)


def test_project_below_the_root_keeps_its_own_paths(world: World) -> None:
    redirector = world.redirector(f"{world.sources.parent} = all")
    module = world.module(
        "inside", "from pathlib import Path\nHERE = Path(__file__).parent\nHOME = Path.home() / 'x'\n"
    )

    with world.test(redirector) as private:
        assert (world.sources, private / "all/home/x") == (module.HERE, module.HOME)


def test_modules_of_others_are_left_alone_unless_they_hold_the_very_object(world: World) -> None:
    library = world.sources / "site-packages"
    library.mkdir()
    sys.path.insert(0, str(library))
    (library / "libloom.py").write_text("from pathlib import Path\nOWN = Path.home() / '.loom'\ntaken = None\n")
    try:
        redirector = world.redirector(ROOT, "loom.paths:INDEX_FILE = index.json")
        libloom = world.module("libloom")
        libloom.taken = world.module("loom.paths").INDEX_FILE
        redirector.check()
        with world.test(redirector) as private:
            assert (libloom.OWN, libloom.taken) == (world.home / ".loom", private / "index.json")
    finally:
        sys.path.remove(str(library))
        del sys.modules["libloom"]


def test_library_that_is_named_is_followed_like_the_project(world: World) -> None:
    library = world.sources / "site-packages"
    library.mkdir()
    sys.path.insert(0, str(library))
    (library / "libloom.py").write_text("from pathlib import Path\nOWN = Path.home() / '.loom'\n")
    try:
        redirector = world.redirector(ROOT, libraries=["libloom"])
        libloom = world.module("libloom")
        with world.test(redirector) as private:
            assert private / "loom" == libloom.OWN
    finally:
        sys.path.remove(str(library))
        del sys.modules["libloom"]
