"""Reading an application's source for the places where it keeps its users' data."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_session_guard._controls.discover import configuration_for, discover, lines_for
from pytest_session_guard._core.errors import ConfigurationError

HOME = "/home/u"


def found_in(tmp_path: Path, **modules: str) -> list[tuple[str, str, str]]:
    """The kind, target and path of each finding in a package ``app`` of these modules."""
    package = tmp_path / "app"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").touch()
    for name, source in modules.items():
        (package / f"{name}.py").write_text(source)
    return [(one.kind, one.target.removeprefix("app."), one.path) for one in discover(str(package), HOME)]


IMPORTS = "import os, pathlib\nfrom pathlib import Path\nfrom os import environ, getenv\nfrom os.path import expanduser, join\n"


@pytest.mark.parametrize(
    ("expression", "path"),
    [
        pytest.param("Path.home() / '.app'", "~/.app", id="home method"),
        pytest.param("pathlib.Path.home().joinpath('.app', 'x')", "~/.app/x", id="joinpath"),
        pytest.param("os.path.expanduser('~/.app')", "~/.app", id="expanduser"),
        pytest.param("expanduser('~/.app')", "~/.app", id="expanduser by name"),
        pytest.param("Path('~/.app').expanduser().resolve()", "~/.app", id="expanduser method"),
        pytest.param("'~/.app/x'", "~/.app/x", id="unexpanded text"),
        pytest.param("'/home/u/.app'", "~/.app", id="absolute text below the home"),
        pytest.param("os.path.join(os.path.expanduser('~'), '.app', 'x')", "~/.app/x", id="os.path.join"),
        pytest.param("join(environ['HOME'], '.app')", "~/.app", id="HOME"),
        pytest.param("os.environ['HOME'] + '/.app'", "~/.app", id="added texts"),
        pytest.param("f'{Path.home()}/.app/x'", "~/.app/x", id="f-string"),
        pytest.param("str(Path.home() / '.app')", "~/.app", id="str"),
        pytest.param("(Path.home() / '.app' / 'x').parent", "~/.app", id="parent"),
        pytest.param("Path.home() / '.app' / str(os.getpid())", "~/.app/{…}", id="part that is not known"),
        pytest.param("Path.home() / '.app' if os.name else None", "~/.app", id="conditional"),
        pytest.param("[Path.home() / '.app']", "~/.app", id="in a list"),
        pytest.param("field(default='~/.app')", "~/.app", id="argument of an unknown call"),
        pytest.param("Unicode('~/.app', help='Where it is').tag(config=True)", "~/.app", id="chained unknown calls"),
        pytest.param("{'a': {'b': (Path.home() / '.app',)}}", "~/.app", id="in nested containers"),
    ],
)
def test_constant_is_found_in_each_form(tmp_path: Path, expression: str, path: str) -> None:
    found = found_in(tmp_path, paths=f"{IMPORTS}PLACE = {expression}\n")

    assert found == [("constant", "paths:PLACE", path)]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("URL = 'https://example.org/~/x'", id="url"),
        pytest.param("HELP = '~/.app is where chats are kept'", id="sentence"),
        pytest.param("ETC = '/etc/app'", id="outside the home"),
        pytest.param("NEIGHBOUR = '/home/user/.app'", id="neighbour of the home"),
        pytest.param("HERE = Path(__file__).parent", id="own directory"),
        pytest.param("SEARCH = os.environ.get('PATH')", id="search path"),
        pytest.param("LEVEL = os.environ.get('APP_LEVEL', 'info')", id="variable that is no path"),
    ],
)
def test_what_is_no_place_of_users_is_not_found(tmp_path: Path, statement: str) -> None:
    assert found_in(tmp_path, paths=f"{IMPORTS}{statement}\n") == []


def test_constants_are_followed_through_modules_and_names(tmp_path: Path) -> None:
    found = found_in(
        tmp_path,
        paths=f"{IMPORTS}BASE = Path.home() / '.app'\nNAME = 'x'\n",
        store="from . import paths\nfrom .paths import BASE as root, NAME\nA = root / NAME\nB = paths.BASE / 'y'\n",
    )

    assert found == [
        ("constant", "paths:BASE", "~/.app"), ("constant", "store:A", "~/.app/x"), ("constant", "store:B", "~/.app/y"),
    ]  # fmt: skip


def test_constants_of_classes_branches_and_functions_are_followed(tmp_path: Path) -> None:
    source = IMPORTS + (
        "def base():\n    root = Path.home()\n    return root / '.app'\n"
        "try:\n    A = base() / 'a'\nexcept OSError:\n    A = None\n"
        "class Store:\n    place = base() / 'b'\n    lower = place\n"
    )

    assert found_in(tmp_path, paths=source) == [
        ("call", "paths:base", "~"), ("call", "paths:base", "~/.app"), ("constant", "paths:A", "~/.app/a"),
        ("constant", "paths:Store.place", "~/.app/b"), ("constant", "paths:Store.lower", "~/.app/b"),
    ]  # fmt: skip


def test_default_that_is_made_in_the_signature_is_found_and_one_that_copies_a_constant_is_not(tmp_path: Path) -> None:
    found = found_in(tmp_path, paths=f"{IMPORTS}A = Path.home() / '.app'\ndef f(a=A, b=Path.home() / '.b'): pass\n")

    assert found == [("constant", "paths:A", "~/.app"), ("default", "paths:f(b=)", "~/.b")]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(
            "A = Path(os.environ.get('APP_HOME', '~/.app'))",
            [("constant", "paths:A", "~/.app"), ("environment", "env:APP_HOME", "~/.app")],
            id="default of get",
        ),
        pytest.param(
            "A = Path(os.environ.get('APP_HOME') or Path.home() / '.app') / 'x'",
            [("constant", "paths:A", "~/.app/x"), ("environment", "env:APP_HOME", "~/.app")], id="or",
        ),
        pytest.param("def f(): return Path(getenv('SOMEWHERE'))", [("environment", "env:SOMEWHERE", "")], id="in a function"),
        pytest.param(
            "def f():\n    env = os.environ\n    if env.get('APP_DIR'):\n        return env['APP_DIR']\n    return Path.home() / '.app'\n",
            [("environment", "env:APP_DIR", "~/.app"), ("call", "paths:f", "~/.app")], id="variable asked first",
        ),
        pytest.param("def f(env): return env.get('APP_DIR')", [("environment", "env:APP_DIR", "")], id="environment handed over"),
        pytest.param("NAME = 'APP_DIR'\nA = Path(os.environ[NAME])", [("environment", "env:APP_DIR", "")], id="name by constant"),
    ],
)  # fmt: skip
def test_environment_variables_that_name_places_are_found(
    tmp_path: Path, source: str, expected: list[tuple[str, str, str]]
) -> None:
    assert found_in(tmp_path, paths=f"{IMPORTS}{source}\n") == expected


@pytest.mark.parametrize(
    ("expression", "path"),
    [
        pytest.param("platformdirs.user_data_dir('app')", "~/.local/share/app", id="user_data_dir"),
        pytest.param("platformdirs.user_config_path(appname='app')", "~/.config/app", id="user_config_path"),
        pytest.param("user_cache_dir('app')", "~/.cache/app", id="by name"),
        pytest.param("PlatformDirs('app').user_state_dir", "~/.local/state/app", id="object"),
        pytest.param("dirs.user_data_path / 'x'", "~/.local/share/app/x", id="object by name"),
        pytest.param("click.get_app_dir('My App')", "~/.config/my-app", id="click"),
    ],
)
def test_directories_of_well_known_libraries_are_found(tmp_path: Path, expression: str, path: str) -> None:
    head = "import platformdirs, click\nfrom platformdirs import user_cache_dir, PlatformDirs\ndirs = PlatformDirs('app')\n"

    assert found_in(tmp_path, paths=f"{head}PLACE = {expression}\n") == [("constant", "paths:PLACE", path)]


def test_definitions_that_go_in_circles_end(tmp_path: Path) -> None:
    source = IMPORTS + "def a(n): return b(n) or Path.home() / '.a'\ndef b(n): return a(n)\nX = Y\nY = X\nZ = b(1)\n"

    assert ("constant", "paths:Z", "~/.a") in found_in(tmp_path, paths=source)


def test_module_is_found_by_its_name_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "explosive").mkdir()
    (tmp_path / "explosive" / "__init__.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "explosive" / "paths.py").write_text("A = '~/.explosive'\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    found = [(one.target, one.path) for one in discover("explosive.paths", HOME)]

    assert found == [("explosive.paths:A", "~/.explosive")]
    assert "explosive" not in sys.modules


def test_tests_and_other_pythons_sources_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "app" / "tests").mkdir(parents=True)
    (tmp_path / "app" / "tests" / "__init__.py").write_text("A = '~/.x'\n")
    found = found_in(tmp_path, old="print 'a'\nA = '~/.x'\n", test_me="A = '~/.x'\n", new="A = '~/.y'\n")

    assert found == [("constant", "new:A", "~/.y")]


def test_nothing_to_read_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"finds no Python source, got 'no\.such\.module'"):
        discover("no.such.module", HOME)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        pytest.param(
            "A = Path.home() / '.app' / 'a'\nB = Path.home() / '.app' / 'b'\n",
            {"session_guard_redirect": ["~/.app = app"]}, id="one root for all that lies below it",
        ),
        pytest.param(
            "A = expanduser('~/.config/app/x.toml')\nB = expanduser('~/.cache/app')\n",
            {"session_guard_redirect": ["~/.cache/app = cache/app", "~/.config/app = config/app"]},
            id="what lies in a common directory, not the directory",
        ),
        pytest.param(
            "A = Path(environ.get('APP_HOME') or Path.home() / '.app')\n",
            {"session_guard_redirect": ["~/.app = app", "env:APP_HOME = app"]}, id="variable agrees with its default",
        ),
        pytest.param(
            "def f(): return Path.home() / '.app'\n", {"session_guard_home": ["redirect"]}, id="only a home of its own catches it"
        ),
        pytest.param(
            "def f(): return Path(environ.get('APP_DIR') or Path.home() / '.app')\n",
            {"session_guard_redirect": ["env:APP_DIR = app"]}, id="variable catches what a function makes",
        ),
        pytest.param("A = Path.home()\n", {"session_guard_home": ["redirect"]}, id="the home itself"),
        pytest.param("A = 1\n", {}, id="nothing"),
    ],
)  # fmt: skip
def test_configuration_covers_what_was_found(tmp_path: Path, source: str, lines: dict[str, list[str]]) -> None:
    (tmp_path / "app.py").write_text(IMPORTS + source)

    assert lines_for(discover(str(tmp_path / "app.py"), HOME)) == lines


def test_configuration_is_text_to_paste(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(IMPORTS + "A = Path.home() / '.app'\ndef f(): return Path.home() / '.b'\n")

    text = configuration_for(discover(str(tmp_path / "app.py"), HOME))

    assert text == "session_guard_redirect =\n    ~/.app = app\nsession_guard_home = redirect\n"


def test_example_is_covered_by_one_root_line(request: pytest.FixtureRequest) -> None:
    example = request.config.rootpath / "examples" / "chatstore"

    lines = lines_for(discover(str(example), HOME))

    assert lines == {"session_guard_redirect": ["~/.chatstore = chatstore", "env:CHATSTORE_HOME = chatstore"]}
