"""A redirect over the life of a run: imports, patches, threads, resets, the environment, what cannot be rebound."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from redirect_packages.world import World

from pytest_session_guard._core.errors import ConfigurationError, RedirectWarning
from pytest_session_guard._core.settings import Line, Redirect

ROOT = "~/.loom = loom"
ATTRIBUTE = "loom.paths:SESSION_DIR = sessions"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


# Imports


def test_reload_is_followed_when_its_import_ends(world: World) -> None:
    redirector = world.redirector(ROOT)
    paths = world.module("loom.paths")

    with world.test(redirector) as private:
        importlib.reload(paths)
        assert private / "loom/sessions" == paths.SESSION_DIR
    importlib.reload(paths)

    assert world.sink / "loom/sessions" == paths.SESSION_DIR


def test_module_imported_anew_is_followed_and_so_is_the_object_that_it_replaces(world: World) -> None:
    redirector = world.redirector(ATTRIBUTE)
    old = world.module("loom.paths")
    redirector.check()

    with world.test(redirector, "test_a") as private:
        del sys.modules["loom.paths"]
        new = world.module("loom.paths")
        assert old is not new
        assert [private / "sessions"] * 2 == [old.SESSION_DIR, new.SESSION_DIR]
    with world.test(redirector, "test_b") as private:
        assert [private / "sessions"] * 2 == [old.SESSION_DIR, new.SESSION_DIR]

    assert [world.sink / "sessions"] * 2 == [old.SESSION_DIR, new.SESSION_DIR]


def test_module_that_is_put_back_after_a_test_replaced_it_is_followed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    redirector = world.redirector(ATTRIBUTE)
    old = world.module("loom.paths")

    with world.test(redirector, "test_a"), monkeypatch.context() as patch:
        patch.delitem(sys.modules, "loom.paths")
        world.module("loom.paths")
    with world.test(redirector, "test_b") as private:
        assert sys.modules["loom.paths"] is old
        assert private / "sessions" == old.SESSION_DIR


def test_module_that_nobody_holds_any_more_is_not_kept_alive(world: World) -> None:
    redirector = world.redirector(ROOT)
    module = world.module("shortlived", "from pathlib import Path\nA = Path.home() / '.loom'\ndef f(a=A): return a\n")
    gone = weakref.ref(module)

    del sys.modules["shortlived"], module
    world.module("loom.paths")
    for name in ("test_a", "test_b"):
        with world.test(redirector, name):
            gc.collect()

    assert gone() is None


def test_module_made_by_hand_is_found_when_sys_modules_has_grown(world: World) -> None:
    redirector = world.redirector(ATTRIBUTE)
    paths = world.module("loom.paths")
    made = type(sys)("handmade")
    made.__file__ = str(world.sources / "handmade.py")
    made.HELD = paths.SESSION_DIR
    sys.modules["handmade"] = made
    try:
        with world.test(redirector) as private:
            assert private / "sessions" == made.HELD
    finally:
        del sys.modules["handmade"]


def test_module_loaded_by_its_path_is_followed_when_its_code_has_run(world: World) -> None:
    world.redirector(ROOT)
    path = world.sources / "script.py"
    path.write_text("from pathlib import Path\nA = Path.home() / '.loom'\n")
    spec = importlib.util.spec_from_file_location("script", path)
    script = importlib.util.module_from_spec(spec)

    spec.loader.exec_module(script)

    assert world.sink / "loom" == script.A


def test_modules_that_import_each_other_are_followed(world: World) -> None:
    redirector = world.redirector("ring_a:PLACE = place")
    (world.sources / "ring_b.py").write_text("from ring_a import PLACE as HELD\n")
    ring_a = world.module("ring_a", "from pathlib import Path\nPLACE = Path.home() / '.loom'\nimport ring_b\n")

    with world.test(redirector) as private:
        assert [private / "place"] * 2 == [ring_a.PLACE, sys.modules["ring_b"].HELD]


def test_value_that_a_late_import_puts_into_an_older_module_is_found_before_the_next_test(world: World) -> None:
    redirector = world.redirector(ROOT)
    older = world.module("older", "PLACES = []\nCURRENT = None\n")
    redirector.check()
    source = (
        "import older\nfrom pathlib import Path\nA = Path.home() / '.loom'\nolder.PLACES.append(A)\nolder.CURRENT = A\n"
    )
    world.module("newer", source)

    with world.test(redirector) as private:
        assert ([private / "loom"], private / "loom") == (older.PLACES, older.CURRENT)


def test_import_in_a_thread_is_followed(world: World) -> None:
    redirector = world.redirector(ROOT)

    with world.test(redirector) as private:
        thread = threading.Thread(target=world.module, args=("loom.paths",))
        thread.start()
        thread.join()

        assert private / "loom" == sys.modules["loom.paths"].HOME_DIR


def test_directory_made_and_objects_built_at_import_are_in_the_sink_with_a_root_line_alone(world: World) -> None:
    redirector = world.redirector(ROOT)
    module = world.module(
        "busy",
        "import sqlite3\nfrom pathlib import Path\n"
        "DIR = Path.home() / '.loom'\nDIR.mkdir(parents=True)\n"
        "class Store:\n    def __init__(self, place=DIR): self.place = place\n"
        "STORE = Store()\nCONNECTION = sqlite3.connect(DIR / 'state.db')\nCONNECTION.execute('create table t (a)')\n"
        "CONNECTION.close()\n",
    )
    redirector.check()

    assert (module.DIR, module.STORE.place) == (world.sink / "loom", world.sink / "loom")
    assert [path.name for path in (world.sink / "loom").iterdir()] == ["state.db"]
    assert list(world.home.iterdir()) == []
    assert redirector.late_writes() == []


def test_attribute_target_is_redirected_in_the_statement_that_binds_it(world: World) -> None:
    world.redirector("busy:DIR = place")
    world.module("busy", "from pathlib import Path\nDIR = Path.home() / '.loom'\nDIR.mkdir(parents=True)\n")

    assert (world.sink / "place").is_dir()
    assert list(world.home.iterdir()) == []


MODULE_CODE = """
from __future__ import annotations
from pathlib import Path
from loom.resets import *
HERE = Path.home() / ".loom"
typed: Path = HERE / "typed"
gone = str(HERE)
del gone
def set_global():
    global BY_GLOBAL
    BY_GLOBAL = HERE / "global"
set_global()
BY_GLOBAL_AFTER = BY_GLOBAL / "after"
LISTED = [str(HERE / name) for name in ("a", "b")]
class Body:
    place = HERE / "body"
    lower = place / "lower"
    def method(self): return HERE
if (walrus := HERE / "walrus"):
    pass
for looped in [HERE / "x", HERE / "y"]:
    pass
try:
    missing_name
except NameError as error:
    caught = str(error)
same = globals()["HERE"] is HERE
"""


def test_code_of_a_module_runs_as_it_always_does(world: World) -> None:
    redirector = world.redirector(ROOT)
    module = world.module("ordinary", MODULE_CODE)

    with world.test(redirector) as private:
        here = private / "loom"
        seen = {name: getattr(module, name) for name in ("typed", "BY_GLOBAL", "BY_GLOBAL_AFTER", "walrus", "looped")}
        assert seen == {
            "typed": here / "typed", "BY_GLOBAL": here / "global", "BY_GLOBAL_AFTER": here / "global/after",
            "walrus": here / "walrus", "looped": here / "y",
        }  # fmt: skip
        assert [str(here / "a"), str(here / "b")] == module.LISTED
        assert (module.Body.place, module.Body.lower, module.Body().method()) == (
            here / "body",
            here / "body/lower",
            here,
        )
    assert (module.caught, module.same, module.SESSIONS) == ("name 'missing_name' is not defined", True, {})
    assert module.__annotations__ == {"typed": "Path"}
    assert not hasattr(module, "gone")


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("locals()['B'] = A / 'b'", id="locals"),
        pytest.param("vars()['B'] = A / 'b'", id="vars"),
        pytest.param("import sys\nsys._getframe().f_locals['B'] = A / 'b'", id="frame"),
        pytest.param("exec('B = A / \"b\"')", id="exec"),
    ],
)
def test_module_that_looks_at_its_own_locals_is_followed_all_the_same(world: World, source: str) -> None:
    redirector = world.redirector(ROOT)
    module = world.module("looking", f"from pathlib import Path\nA = Path.home() / '.loom'\n{source}\n")

    with world.test(redirector) as private:
        assert (private / "loom", private / "loom/b") == (module.A, module.B)


def test_failing_import_is_the_modules_own_error(world: World) -> None:
    world.redirector(ROOT)

    with pytest.raises(ZeroDivisionError):
        world.module("broken", "from pathlib import Path\nA = Path.home() / '.loom'\n1 / 0\n")


def test_stop_takes_the_watch_off_the_loaders(world: World) -> None:
    loader = importlib.machinery.SourceFileLoader
    before = loader.exec_module
    redirector = world.redirector(ROOT)
    assert loader.exec_module is not before

    redirector.stop()

    assert loader.exec_module is before


def test_properties_and_getattr_of_the_application_are_not_called(world: World) -> None:
    redirector = world.redirector(ROOT)
    module = world.module(
        "touchy",
        "from pathlib import Path\n"
        "def __getattr__(name): raise SystemError(name)\n"
        "class Meta(type):\n"
        "    def __getattribute__(cls, name): raise SystemError(name)\n"
        "class Touchy(metaclass=Meta):\n"
        "    place = Path.home() / '.loom'\n"
        "class Descriptor:\n"
        "    def __get__(self, *_): raise SystemError('descriptor')\n"
        "class Holder:\n"
        "    value = Descriptor()\n"
        "    def __getattribute__(self, name): raise SystemError(name)\n"
        "HOLDER = Holder()\n",
    )

    with world.test(redirector) as private:
        assert type.__getattribute__(module.Touchy, "place") == private / "loom"


# Patches of a test's own


def test_patch_of_a_test_wins_inside_it_and_is_undone_to_the_guards_value(world: World) -> None:
    redirector = world.redirector(ATTRIBUTE)
    paths = world.module("loom.paths")

    with world.test(redirector) as private:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(paths, "SESSION_DIR", Path("/own"))
            assert Path("/own") == paths.SESSION_DIR
        assert private / "sessions" == paths.SESSION_DIR
    assert world.sink / "sessions" == paths.SESSION_DIR


def test_patch_that_is_undone_after_the_test_does_not_bring_an_old_value_back(world: World) -> None:
    redirector = world.redirector(ATTRIBUTE)
    paths = world.module("loom.paths")
    patch = pytest.MonkeyPatch()

    redirector.enter_test(str(world.private / "test_a"))
    patch.setattr(paths, "SESSION_DIR", Path("/own"))
    redirector.leave_test()
    after_test = paths.SESSION_DIR
    patch.undo()
    with world.test(redirector, "test_b") as private:
        assert private / "sessions" == paths.SESSION_DIR

    assert [after_test, paths.SESSION_DIR] == [world.sink / "sessions"] * 2


def test_what_a_test_leaves_behind_is_pointed_at_the_sink(world: World) -> None:
    redirector = world.redirector(ATTRIBUTE, "env:LOOM_DATA = data")
    paths = world.module("loom.paths")

    with world.test(redirector):
        paths.SESSION_DIR = world.home / ".loom" / "sessions"
        os.environ["LOOM_DATA"] = str(world.home)

    assert (paths.SESSION_DIR, os.environ["LOOM_DATA"]) == (world.sink / "sessions", f"{world.sink}/data")


def test_patch_of_a_wider_fixture_lasts_until_it_is_undone(world: World) -> None:
    redirector = world.redirector(ATTRIBUTE, "env:LOOM_DATA = data")
    paths = world.module("loom.paths")
    patch = pytest.MonkeyPatch()
    seen = []

    redirector.enter_test(str(world.private / "test_a"))
    with redirector.wider_fixture():
        patch.setattr(paths, "SESSION_DIR", Path("/own"))
        patch.setenv("LOOM_DATA", "/own")
    redirector.leave_test()
    with world.test(redirector, "test_b"):
        seen += [paths.SESSION_DIR, os.environ["LOOM_DATA"]]
        patch.undo()
    seen += [paths.SESSION_DIR, os.environ["LOOM_DATA"]]

    assert seen == [Path("/own"), "/own", world.sink / "sessions", f"{world.sink}/data"]


def test_wider_fixture_cannot_bring_the_real_path_back(world: World) -> None:
    redirector = world.redirector(ATTRIBUTE)
    paths = world.module("loom.paths")

    redirector.enter_test(str(world.private / "test_a"))
    with redirector.wider_fixture():
        paths.SESSION_DIR = world.home / ".loom" / "sessions"
    redirector.leave_test()

    assert world.sink / "sessions" == paths.SESSION_DIR


def test_values_that_an_application_keeps_anew_in_each_test_do_not_pile_up(world: World) -> None:
    redirector = world.redirector(ROOT)
    module = world.module("keeping", "from pathlib import Path\nLAST = {'path': Path.home() / '.loom'}\n")
    redirector.check()
    sizes = set()

    for number in range(20):
        with world.test(redirector, f"test_{number}") as private:
            module.LAST["path"] = private / "loom" / str(number)
        assert module.LAST["path"] == world.sink / "loom" / str(number)
        sizes.add(len(redirector.following.values.spots))

    assert len(sizes) == 1


# The environment


def test_variable_is_set_from_the_start_and_moves_with_the_tests(world: World) -> None:
    os.environ["LOOM_DATA"] = str(world.home / "data")
    redirector = world.redirector("env:LOOM_DATA = data")
    ask_child = [sys.executable, "-S", "-c", "import os; print(os.environ['LOOM_DATA'])"]
    seen = [os.environ["LOOM_DATA"]]

    with world.test(redirector) as private:
        seen.append(subprocess.run(ask_child, capture_output=True, text=True, check=True).stdout.strip())
    seen.append(os.environ["LOOM_DATA"])
    redirector.stop()

    sink = f"{world.sink}/data"
    assert [*seen, os.environ["LOOM_DATA"]] == [sink, f"{private}/data", sink, sink]


def test_constant_that_is_read_from_a_redirected_variable_moves_with_it(world: World) -> None:
    redirector = world.redirector("env:LOOM_DATA = data")
    environment = world.module("loom.environment")

    with world.test(redirector) as private:
        assert (private / "data", private / "data/chats") == (environment.DATA, environment.CHATS)


def test_directory_that_a_module_makes_at_import_is_made_in_the_sink(world: World) -> None:
    redirector = world.redirector("env:LOOM_DATA = data")

    world.module("loom.environment")
    redirector.check()

    assert (world.sink / "data/chats").is_dir()
    assert list(world.home.iterdir()) == []
    assert redirector.late_writes() == []


def test_variables_below_a_root_line_follow_and_others_stay(world: World) -> None:
    home = world.home
    values = {
        "LOOM_A": f"{home}/.loom",
        "LOOM_B": "~/.loom/b",
        "LOOM_C": f"{home}/.loom2",
        "LOOM_D": f"{home}/.loom/x:/y",
    }
    os.environ.update(values)
    redirector = world.redirector(ROOT)

    with world.test(redirector) as private:
        inside = [os.environ[name] for name in values]

    assert inside == [f"{private}/loom", f"{private}/loom/b", values["LOOM_C"], values["LOOM_D"]]
    assert os.environ["LOOM_A"] == f"{world.sink}/loom"


def test_cleared_environment_gets_its_redirects_back(world: World) -> None:
    redirector = world.redirector("env:LOOM_DATA = data")

    with world.test(redirector):
        os.environ.pop("LOOM_DATA")

    assert os.environ["LOOM_DATA"] == f"{world.sink}/data"


# Late writers and the sink


def test_thread_that_writes_after_its_test_is_seen_in_the_sink(world: World) -> None:
    redirector = world.redirector(ROOT)
    paths = world.module("loom.paths")
    redirector.check()
    over = threading.Event()

    def write() -> None:
        over.wait(60)
        paths.SESSION_DIR.mkdir(parents=True)
        paths.INDEX_FILE.write_text("late")

    with world.test(redirector):
        thread = threading.Thread(target=write)
        thread.start()
    over.set()
    thread.join()
    seen = [(late.change, late.path, late.target, late.real) for late in redirector.late_writes()]

    line, real = "~/.loom = loom", f"{world.home}/.loom"
    assert seen == [
        ("created", f"{world.sink}/loom", line, real),
        ("created", f"{world.sink}/loom/sessions", line, f"{real}/sessions"),
        ("created", f"{world.sink}/loom/sessions/_index.json", line, f"{real}/sessions/_index.json"),
    ]
    assert redirector.late_writes() == []
    assert list(world.home.iterdir()) == []


def test_change_and_removal_in_the_sink_are_seen(world: World) -> None:
    redirector = world.redirector(ROOT)
    (world.sink / "loom").mkdir()
    (world.sink / "loom" / "a").write_text("1")
    (world.sink / "loom" / "b").write_text("1")
    redirector.check()

    (world.sink / "loom" / "a").write_text("22")
    (world.sink / "loom" / "b").unlink()

    assert [(late.change, late.path[-1:]) for late in redirector.late_writes()] == [("changed", "a"), ("removed", "b")]


def test_looks_at_a_full_sink_are_spaced_out_and_the_last_one_sees_all(world: World) -> None:
    redirector = world.redirector(ROOT)
    for number in range(2_000):
        (world.sink / f"{number}").touch()
    redirector.check()

    (world.sink / "late").touch()
    spaced = redirector.late_writes()
    seen = redirector.late_writes(at_last=True)

    assert (spaced, [late.path for late in seen]) == ([], [f"{world.sink}/late"])


# What cannot be rebound


def test_what_cannot_be_rebound_is_named_in_one_warning(world: World) -> None:
    redirector = world.redirector(ROOT)
    holders, definitions = world.module("loom.holders"), world.module("loom.definitions")
    assert (holders.directory(), definitions.counted().name) == (world.sink / "loom/sessions/kept", "next")
    try:
        redirector.check()
        with world.test(redirector):
            pass
    finally:
        holders.close()

    (message, kind), *more = world.warned
    named = [line.strip() for line in message.splitlines()[1:-2]]
    assert (kind, more) == (RedirectWarning, [])
    for place in (
        "loom.holders:STORE.directory: an instance of loom.holders.Store",
        "loom.holders:SLOTTED.directory: an instance of loom.holders.Slotted",
        "loom.holders:REGISTRY['store'].directory: an instance of loom.holders.Store",
        "loom.holders:CONNECTION: an open sqlite3.Connection",
        "loom.holders:STREAM: an open _io.TextIOWrapper",
        "loom.holders:directory: a result kept by lru_cache (name it in session_guard_reset)",
        "loom.definitions:counted(closure directory): a closure that assigns it",
        "loom.definitions:Paths.SESSIONS: an instance of loom.definitions.Paths",
        "logging.getLogger('loom.holders'): a log handler (FileHandler) that has its file",
    ):
        assert place in named
    assert any(line.endswith("open on '" + f"{world.sink}/loom/state.db'") for line in named)
    assert message.endswith("[redirect-missed]")


def test_nothing_is_warned_about_when_everything_follows(world: World) -> None:
    redirector = world.redirector(ROOT)
    for name in ("paths", "aliases", "containers", "resets"):
        world.module(f"loom.{name}")

    redirector.check()

    assert world.warned == []


def test_attribute_of_an_instance_is_redirected_when_it_is_named(world: World) -> None:
    redirector = world.redirector("loom.holders:STORE.directory = store")
    holders = world.module("loom.holders")
    holders.close()

    with world.test(redirector) as private:
        assert private / "store" == holders.STORE.directory
    assert "STORE.directory" not in "".join(message for message, _ in world.warned)


# Resets


def test_resets_keep_identities_and_put_values_back(world: World) -> None:
    redirector = world.redirector(
        resets=[
            "loom.resets:SESSIONS", "loom.resets:ORDER", "loom.resets:NAMES", "loom.resets:Cache.entries",
            "loom.resets:lookup", "loom.resets:COUNT", "loom.resets:CURRENT",
        ]
    )  # fmt: skip
    resets = world.module("loom.resets")
    sessions, entries = resets.SESSIONS, resets.Cache.entries
    redirector.check()

    with world.test(redirector):
        assert (resets.NAMES, resets.COUNT) == ([], 0)
        resets.SESSIONS["a"] = entries["a"] = resets.ORDER["a"] = 1
        resets.NAMES.append("two")
        resets.COUNT, resets.CURRENT, resets.SESSIONS = 5, object(), {"other": 1}
        resets.lookup("a")

    assert (resets.SESSIONS, entries, resets.ORDER, resets.NAMES) == ({}, {}, {}, [])
    assert resets.SESSIONS is sessions
    assert (resets.COUNT, resets.CURRENT, resets.lookup.cache_info().currsize) == (0, None, 0)


def test_reset_calls_a_callable_before_and_after_each_test(world: World) -> None:
    redirector = world.redirector(resets=["calls:forget"])
    calls = world.module("calls", "SEEN = []\ndef forget(): SEEN.append('called')\n")

    redirector.enter_test(str(world.private / "test_a"))
    before = list(calls.SEEN)
    redirector.leave_test()

    assert (before, calls.SEEN) == (["called"], ["called", "called"])


def test_reset_that_fails_says_which_and_keeps_no_other_from_its_turn(world: World) -> None:
    redirector = world.redirector("loom.paths:SESSION_DIR = s", resets=["failing:forget", "failing:KEPT"])
    failing = world.module("failing", "KEPT = [1]\ndef forget(): raise OSError('no')\n")
    paths = world.module("loom.paths")

    with pytest.raises(OSError, match="no") as caught:
        redirector.enter_test(str(world.private / "test_a"))

    assert caught.value.__notes__ == ["raised by session_guard_reset of failing:forget"]
    assert ([], world.private / "test_a" / "s") == (failing.KEPT, paths.SESSION_DIR)


def test_reset_follows_a_reload(world: World) -> None:
    redirector = world.redirector(resets=["loom.resets:SESSIONS"])
    resets = world.module("loom.resets")
    redirector.check()
    importlib.reload(resets)
    new = resets.SESSIONS
    new["a"] = 1

    with world.test(redirector):
        assert (resets.SESSIONS, resets.SESSIONS is new) == ({}, True)


# Targets that a test adds


def test_target_added_in_a_test_counts_at_once_and_stays_in_force(world: World) -> None:
    redirector = world.redirector()
    paths, aliases = world.module("loom.paths"), world.module("loom.aliases")
    redirector.check()

    with world.test(redirector, "test_a") as private:
        redirector.add(Redirect("attribute", "loom.paths:SESSION_DIR", "a/sessions", "test"))
        assert [private / "a/sessions"] * 2 == [paths.SESSION_DIR, aliases.STORE]
        assert (private / "a").is_dir()
    between = [paths.SESSION_DIR, aliases.STORE]
    with world.test(redirector, "test_b") as private:
        assert private / "a/sessions" == paths.SESSION_DIR

    assert between == [world.sink / "a/sessions"] * 2


def test_declared_target_that_a_test_moves_is_back_in_its_place_after_it(world: World) -> None:
    redirector = world.redirector(ATTRIBUTE)
    paths, aliases = world.module("loom.paths"), world.module("loom.aliases")

    with world.test(redirector, "test_a") as private:
        redirector.add(Redirect("attribute", "loom.paths:SESSION_DIR", "other/place", "test"))
        assert [private / "other/place"] * 2 == [paths.SESSION_DIR, aliases.STORE]
    assert [world.sink / "sessions"] * 2 == [paths.SESSION_DIR, aliases.STORE]
    with world.test(redirector, "test_b") as private:
        assert private / "sessions" == paths.SESSION_DIR


def test_root_and_variable_can_be_added_in_a_test(world: World) -> None:
    redirector = world.redirector()
    paths = world.module("loom.paths")

    with world.test(redirector) as private:
        redirector.add(Redirect("root", "~/.loom", "loom", "test"))
        redirector.add(Redirect("environment", "LOOM_DATA", "data", "test"))
        assert (paths.INDEX_FILE, os.environ["LOOM_DATA"]) == (private / "loom/sessions/_index.json", f"{private}/data")
    assert world.sink / "loom/sessions" == paths.SESSION_DIR


def test_reset_added_in_a_test_counts_at_once(world: World) -> None:
    redirector = world.redirector()
    resets = world.module("loom.resets")

    with world.test(redirector):
        redirector.add_reset("loom.resets:NAMES")
        assert resets.NAMES == []
        resets.NAMES.append("x")
    assert resets.NAMES == []


# Wrong targets


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        pytest.param("loom.nowhere:X", "cannot be imported (ModuleNotFoundError", id="module missing"),
        pytest.param("loom.paths:NOWHERE", "names no attribute 'NOWHERE' of loom.paths", id="attribute missing"),
        pytest.param(
            "loom.definitions:Store.nowhere", "names no attribute 'Store.nowhere'", id="class attribute missing"
        ),
        pytest.param("loom.paths:COUNT", "holds no path but a int", id="no path"),
        pytest.param("loom.paths:NOTHING", "holds no path but a NoneType", id="none"),
    ],
)
def test_target_that_cannot_be_used_is_one_clear_error(world: World, target: str, problem: str) -> None:
    redirector = world.redirector(f"{target} = place")

    with pytest.raises(ConfigurationError) as caught:
        redirector.check()

    assert (caught.value.option, caught.value.source) == ("session_guard_redirect", "test")
    assert problem in caught.value.problem
    assert target in caught.value.problem


def test_reset_that_does_not_exist_is_one_clear_error(world: World) -> None:
    redirector = world.redirector(resets=[Line("loom.resets:NOWHERE", "pytest.ini")])

    with pytest.raises(ConfigurationError) as caught:
        redirector.check()

    assert (caught.value.option, caught.value.source) == ("session_guard_reset", "pytest.ini")


def test_module_whose_import_fails_is_named_with_its_error(world: World) -> None:
    (world.sources / "failing.py").write_text("raise ValueError('on purpose')\n")
    redirector = world.redirector("failing:PLACE = place")

    with pytest.raises(ConfigurationError, match=r"cannot be imported \(ValueError: on purpose\)"):
        redirector.check()


def test_wrong_target_of_a_test_changes_nothing(world: World) -> None:
    redirector = world.redirector(ATTRIBUTE)
    world.module("loom.paths")

    with world.test(redirector), pytest.raises(ConfigurationError, match="NOWHERE"):
        redirector.add(Redirect("attribute", "loom.paths:NOWHERE", "place", "test"))

    redirector.check()
