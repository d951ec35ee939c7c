"""Each rule of `session-guard lint`: the bad shape is found, its good twin is silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_session_guard._controls.lint import RULES, Moved, lint

IMPORTS = """\
import contextlib, glob, os, shutil, sqlite3, subprocess, tempfile, time, uuid
from pathlib import Path
from unittest import mock
import platformdirs
import pytest
from app.paths import HISTORY_DIR, STATE_FILE
import app.paths
HERE = Path(__file__).parent
"""


def slugs_of(tmp_path: Path, text: str, conftest: str = "", name: str = "test_it.py") -> list[str]:
    for file, content in ((name, text), ("conftest.py", conftest)):
        (tmp_path / file).write_text(IMPORTS + content)
    linted = lint([str(tmp_path)], RULES, lambda directory: Moved.NOTHING)
    assert linted.unread == ()
    return [finding.slug for finding in linted.findings]


def fixture(body: str, parameters: str = "") -> str:
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    return f"@pytest.fixture\ndef tidy({parameters}):\n    yield\n{indented}"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("for p in HERE.glob('session_*'):\n    p.unlink()", id="glob-of-the-checkout"),
        pytest.param("for p in sorted((HERE / 'data').rglob('*')):\n    os.remove(p)", id="sorted-rglob"),
        pytest.param("for n in os.listdir('chats'):\n    os.unlink(os.path.join('chats', n))", id="listdir-join"),
        pytest.param("for n in os.listdir('chats'):\n    os.unlink(f'chats/{n}')", id="listdir-f-string"),
        pytest.param("for e in os.scandir(HERE):\n    os.remove(e.path)", id="scandir"),
        pytest.param(
            "for d, _, names in os.walk(HERE):\n    for n in names:\n        os.remove(os.path.join(d, n))", id="walk"
        ),
        pytest.param("for p in glob.glob('chats/*.json'):\n    os.remove(p)", id="glob-module"),
        pytest.param("for p in HISTORY_DIR.glob('*'):\n    p.unlink()", id="constant-of-the-application"),
        pytest.param("for p in app.paths.HISTORY_DIR.iterdir():\n    shutil.rmtree(p)", id="rmtree-of-entries"),
        pytest.param("[p.unlink() for p in HERE.glob('*')]", id="comprehension"),
        pytest.param("list(map(os.remove, glob.glob('*.tmp')))", id="map"),
        pytest.param(
            "store = app.paths.Store()\nfor p in store.chats_dir.glob('*'):\n    p.unlink()",
            id="object-of-the-application",
        ),
        pytest.param("for p in request.config.rootpath.glob('*'):\n    p.unlink()", id="rootpath"),
        pytest.param("for p in set(HERE.iterdir()) - before:\n    p.unlink()", id="what-is-new"),
        pytest.param("with os.scandir('x') as found:\n    for e in found:\n        os.unlink(e)", id="scandir-in-with"),
        pytest.param(
            "names = [n for n in os.listdir('x') if n]\nfor n in names:\n    os.remove('x/' + n)", id="list-made-before"
        ),
        pytest.param("for p in (Path.home() / '.app').iterdir():\n    p.unlink()", id="home"),
    ],
)
def test_delete_by_pattern_is_found(tmp_path: Path, body: str) -> None:
    assert slugs_of(tmp_path, fixture(body)) == ["delete-by-pattern"]


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        pytest.param("for p in tmp_path.glob('*'):\n    p.unlink()", "tmp_path", id="tmp_path"),
        pytest.param("d = tmp_path / 'x'\nfor p in d.glob('*'):\n    p.unlink()", "tmp_path", id="assigned"),
        pytest.param(
            "for n in os.listdir(str(tmpdir)):\n    os.remove(os.path.join(str(tmpdir), n))", "tmpdir", id="tmpdir-join"
        ),
        pytest.param("d = tempfile.mkdtemp()\nfor n in os.listdir(d):\n    os.remove(f'{d}/{n}')", "", id="mkdtemp"),
        pytest.param("for p in session_dir.glob('*'):\n    p.unlink()", "session_dir", id="session_dir"),
        pytest.param("for p in session_guard.path.iterdir():\n    p.unlink()", "session_guard", id="session_guard"),
        pytest.param("for p in HERE.glob('*'):\n    p.unlink()", "fs", id="fake-disk"),
        pytest.param(
            "monkeypatch.chdir(tmp_path)\nfor p in Path('.').glob('*'):\n    p.unlink()", "tmp_path, monkeypatch", id="chdir"
        ),
        pytest.param(
            "monkeypatch.setattr(app.paths, 'HISTORY_DIR', tmp_path)\nfor p in app.paths.HISTORY_DIR.glob('*'):\n    p.unlink()",
            "tmp_path, monkeypatch",
            id="patched",
        ),
        pytest.param("store = app.paths.Store(tmp_path)\nfor p in store.chats_dir.glob('*'):\n    p.unlink()", "tmp_path", id="object"),
        pytest.param("for p in unknown.glob('*'):\n    p.unlink()", "unknown", id="nobody-knows"),
        pytest.param("names = ['a', 'b']\nnames.remove('a')", "", id="list"),
    ],
)  # fmt: skip
def test_delete_by_pattern_is_silent_about_what_tests_own(tmp_path: Path, body: str, parameters: str) -> None:
    assert slugs_of(tmp_path, fixture(body, parameters)) == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("for p in HERE.glob('*'):\n    if time.time() - p.stat().st_mtime < 300:\n        p.unlink()", id="around"),
        pytest.param(
            "for p in place.glob('*'):\n    age = time.time() - p.stat().st_mtime\n    if age > 9:\n        continue\n    p.unlink()",
            id="continue-of-an-unknown-place",
        ),
        pytest.param("[os.remove(p) for p in glob.glob('*') if os.path.getmtime(p) > START]", id="comprehension"),
    ],
)  # fmt: skip
def test_delete_by_age_is_found(tmp_path: Path, body: str) -> None:
    assert slugs_of(tmp_path, fixture(body, "place")) == ["delete-by-age"]


@pytest.mark.parametrize(
    "body",
    [
        "for p in tmp_path.glob('*'):\n    if p.stat().st_mtime < 300:\n        p.unlink()",
        "end = time.time() + 5\nwhile time.time() < end:\n    os.remove('x')",
    ],
)
def test_delete_by_age_is_silent_about_temporary_places_and_deadlines(tmp_path: Path, body: str) -> None:
    assert slugs_of(tmp_path, fixture(body, "tmp_path")) == []


@pytest.mark.parametrize(
    "call",
    [
        "atexit.register(shutil.rmtree, 'out')", "self.addCleanup(shutil.rmtree, 'out')",
        "request.addfinalizer(partial(shutil.rmtree, 'out'))",
        "atexit.register(lambda: shutil.rmtree('out'))",
    ],
)  # fmt: skip
def test_delete_tree_is_found_where_it_is_put_off(tmp_path: Path, call: str) -> None:
    text = f"class TestIt:\n    def setUp(self):\n        {call}\n"

    assert slugs_of(tmp_path, text) == ["delete-tree"]
    assert slugs_of(tmp_path, text.replace("'out'", "tempfile.mkdtemp()")) == []


@pytest.mark.parametrize("place", ["'.store'", "HERE / 'out'", "os.path.join(os.path.dirname(__file__), 'out')"])
def test_delete_tree_is_found(tmp_path: Path, place: str) -> None:
    assert slugs_of(tmp_path, fixture(f"shutil.rmtree({place})")) == ["delete-tree"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("os.mkdir('out')\nshutil.rmtree('out')", id="made-with-a-call-that-fails-where-it-is"),
        pytest.param("d = HERE / 'x'\nd.mkdir()\nshutil.rmtree(str(d.resolve()))", id="written-in-another-way"),
        pytest.param("shutil.rmtree(f'out-{os.getpid()}')", id="name-of-this-process"),
        pytest.param("d = HERE / uuid.uuid4().hex\nshutil.rmtree(d)", id="name-made-by-chance"),
        pytest.param("getattr(shutil.rmtree, 'x', None)", id="function-that-is-looked-at"),
        pytest.param("shutil.copytree('a', 'b')\nshutil.rmtree('b')", id="copied"),
        pytest.param("with tempfile.TemporaryDirectory() as d:\n    shutil.rmtree(d)", id="with"),
        pytest.param("shutil.rmtree('/tmp/x')", id="tmp-by-name"),
    ],
)
def test_delete_tree_is_silent_about_what_is_surely_the_tests_own(tmp_path: Path, body: str) -> None:
    assert slugs_of(tmp_path, fixture(body)) == []


@pytest.mark.parametrize(
    "body", ["os.makedirs('out', exist_ok=True)", "if not os.path.exists('out'):\n    os.mkdir('out')"]
)
def test_directory_that_may_have_been_there_is_not_the_tests_own(tmp_path: Path, body: str) -> None:
    assert slugs_of(tmp_path, fixture(f"{body}\nshutil.rmtree('out')")) == ["delete-tree"]


REAL_PLACES = (
    "Path.home() / '.app'", "os.path.expanduser('~/.app')", "Path('~/.app').expanduser()", "os.environ['HOME'] + '/x'",
    "f'{Path.home()}/x'", "os.path.join(os.environ.get('XDG_CONFIG_HOME'), 'x')", "'/home/me/.app'", "'/Users/me/x'",
    "platformdirs.user_data_dir('app')", "platformdirs.PlatformDirs('app').user_data_dir", "STATE_FILE", "app.paths.STATE_FILE",
)  # fmt: skip


@pytest.mark.parametrize("place", REAL_PLACES)
@pytest.mark.parametrize(
    "deed",
    [
        "open({}, 'w')", "open({}, mode='a')", "open({}, 'rb+')", "os.makedirs({})", "os.remove({})", "os.rename('a', {})",
        "shutil.copy('a', {})", "shutil.rmtree({})", "os.chmod({}, 0o600)", "sqlite3.connect({})", "os.symlink('a', {})",
    ],
)  # fmt: skip
def test_real_place_is_found(tmp_path: Path, deed: str, place: str) -> None:
    assert slugs_of(tmp_path, f"def test_it():\n    place = {place}\n    {deed.format('place')}\n") == ["real-place"]


@pytest.mark.parametrize(
    "deed",
    ["write_text('x')", "write_bytes(b'x')", "mkdir()", "touch()", "unlink()", "rename('y')", "open('w')", "chmod(0)"],
)
def test_real_place_is_found_by_method(tmp_path: Path, deed: str) -> None:
    assert "real-place" in slugs_of(tmp_path, f"def test_it():\n    (Path.home() / 'x').{deed}\n")


@pytest.mark.parametrize(
    ("text", "conftest"),
    [
        pytest.param("def test_it():\n    open(Path.home() / 'x')\n", "", id="reading"),
        pytest.param("def test_it(tmp_path):\n    open(tmp_path / 'home', 'w')\n", "", id="temporary"),
        pytest.param(
            "def test_it(tmp_path, monkeypatch):\n    monkeypatch.setenv('HOME', str(tmp_path))\n    (Path.home() / 'x').touch()\n",
            "", id="home-moved",
        ),
        pytest.param(
            "def test_it():\n    (Path.home() / 'x').touch()\n",
            "@pytest.fixture(autouse=True)\ndef own_home(monkeypatch, tmp_path):\n    monkeypatch.setenv('HOME', str(tmp_path))\n",
            id="home-moved-by-a-conftest",
        ),
        pytest.param("def test_it(elsewhere):\n    (Path.home() / 'x').touch()\n",
            "@pytest.fixture\ndef elsewhere():\n    with mock.patch('pathlib.Path.home'):\n        yield\n",
            id="home-patched-by-a-fixture",
        ),
        pytest.param("@mock.patch.dict(os.environ, {'HOME': '/x'})\ndef test_it():\n    (Path.home() / 'x').touch()\n", "",
            id="decorator",
        ),
        pytest.param("@override_settings(MEDIA_ROOT=tempfile.mkdtemp())\ndef test_it():\n    STATE_FILE.unlink()\n", "", id="django"),
        pytest.param("def test_it(pytester):\n    (Path.home() / 'x').touch()\n", "", id="pytester"),
        pytest.param("def test_it(session_guard):\n    session_guard.redirect('app.paths:STATE_FILE', 'x')\n    STATE_FILE.unlink()\n",
            "", id="redirected",
        ),
        pytest.param("def test_it():\n    'a~b'.replace('~', Path.home())\n", "", id="text"),
        pytest.param("if __name__ == '__main__':\n    (Path.home() / 'x').touch()\n", "", id="main-block"),
    ],
)  # fmt: skip
def test_real_place_is_silent_where_it_is_none(tmp_path: Path, text: str, conftest: str) -> None:
    assert slugs_of(tmp_path, text, conftest) == []


def test_xdg_variable_goes_before_a_home_that_alone_is_moved(tmp_path: Path) -> None:
    place = "Path(os.environ.get('XDG_CONFIG_HOME') or Path.home() / '.config')"
    text = f"def test_it(tmp_path, monkeypatch):\n    monkeypatch.setenv('HOME', str(tmp_path))\n    shutil.rmtree({place})\n"

    assert slugs_of(tmp_path, text) == ["real-place"]
    assert (
        slugs_of(tmp_path, text.replace("'HOME'", "'XDG_CONFIG_HOME'").replace("or Path.home() / '.config'", "")) == []
    )


def test_place_is_followed_through_fixtures_helpers_classes_and_files(tmp_path: Path) -> None:
    conftest = "@pytest.fixture\ndef store():\n    return HERE / 'store'\n"
    text = (
        "def wipe(place):\n    for p in place.glob('*'):\n        p.unlink()\n\n"
        "def test_it(store):\n    wipe(store)\n\n"
        "class TestIt:\n    def setup_method(self):\n        self.out = HERE / 'out'\n"
        "    def teardown_method(self):\n        shutil.rmtree(self.out)\n"
    )

    assert slugs_of(tmp_path, text, conftest) == ["delete-by-pattern", "delete-tree"]


@pytest.mark.parametrize(
    "command",
    [
        "subprocess.run(['git', 'commit', '-m', 'x'])", "subprocess.check_call(['git', '-c', 'user.name=x', 'reset', '--hard'])",
        "os.system('git init && git add .')", "subprocess.run('git stash', shell=True)", "subprocess.run(['git', 'add'], cwd=HERE)",
        "os.system('rm -rf build')", "subprocess.run('rm -rf $OUT/cache', shell=True)", "subprocess.run(['rm', '-r', HERE / 'x'])",
        "subprocess.run(['rsync', '-a', '--delete', 'a', 'b'])", "os.system('find . -name x -delete')",
        "subprocess.run(['docker', 'system', 'prune', '-f'])", "os.system('rm -rf ~/.app')",
        "os.system(f'rm -rf {HISTORY_DIR}')", "subprocess.run('rm -rf ' + str(HISTORY_DIR), shell=True)",
    ],
)  # fmt: skip
def test_destructive_command_is_found(tmp_path: Path, command: str) -> None:
    assert slugs_of(tmp_path, f"def test_it():\n    {command}\n") == ["destructive-command"]


@pytest.mark.parametrize(
    "command",
    [
        "subprocess.run(['git', 'commit'], cwd=tmp_path)", "subprocess.run(['git', '-C', tmp_path, 'commit'])",
        "subprocess.run(['git', 'status'])", "subprocess.run(['git', 'config', '--get', 'user.name'])",
        "subprocess.run(['git', 'init', str(tmp_path)])", "subprocess.run(['git', 'commit'], **options)", "subprocess.run(['rm', 'x'])",
        "os.system(f'rm -rf {tmp_path}')", "subprocess.run(['rm', '-rf', tmp_path / 'x'])", "os.system('rm -rf ${OUT:?}/x')",
        "subprocess.run(['git', 'commit'], cwd=anywhere)", "os.system('echo rm -rf build')",
    ],
)  # fmt: skip
def test_destructive_command_is_silent_below_a_temporary_directory(tmp_path: Path, command: str) -> None:
    assert slugs_of(tmp_path, f"def test_it(tmp_path, options, anywhere):\n    {command}\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "def test_it(tmp_path):\n    os.environ['HOME'] = str(tmp_path)\n",
        "def test_it(tmp_path):\n    os.environ.update(APP_DIR=str(tmp_path))\n",
        "os.environ['APP_HOME'] = 'x/y'\n",
    ],
)
def test_environ_kept_is_found(tmp_path: Path, text: str) -> None:
    assert slugs_of(tmp_path, text) == ["environ-kept"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("def test_it(monkeypatch):\n    monkeypatch.setenv('HOME', 'x')\n", id="monkeypatch"),
        pytest.param(
            "def test_it():\n    old = os.environ['HOME']\n    os.environ['HOME'] = 'x'\n    os.environ['HOME'] = old\n", id="twice"
        ),
        pytest.param("@mock.patch.dict(os.environ)\ndef test_it():\n    os.environ['HOME'] = 'x'\n", id="patch-dict"),
        pytest.param("def test_it():\n    os.environ['APP_PREFER_PATH'] = 'no'\n", id="switch"),
        pytest.param("def test_it():\n    os.environ['COLOR'] = 'x'\n", id="no-place"),
        pytest.param(
            "class TestIt:\n    def setUp(self):\n        self.old = dict(os.environ)\n        os.environ['HOME'] = 'x'\n"
            "    def tearDown(self):\n        os.environ.clear()\n        os.environ.update(self.old)\n", id="tear-down",
        ),
    ],
)  # fmt: skip
def test_environ_kept_is_silent_where_it_is_put_back(tmp_path: Path, text: str) -> None:
    assert slugs_of(tmp_path, text) == []


def test_environ_of_a_conftest_is_set_for_the_whole_run(tmp_path: Path) -> None:
    assert slugs_of(tmp_path, "", conftest="os.environ['APP_HOME'] = tempfile.mkdtemp()\n") == []


@pytest.mark.parametrize("text", ["def test_it(tmp_path):\n    os.chdir(tmp_path)\n", "os.chdir('tests')\n"])
def test_cwd_kept_is_found(tmp_path: Path, text: str) -> None:
    assert slugs_of(tmp_path, text) == ["cwd-kept"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("def test_it(monkeypatch):\n    monkeypatch.chdir('x')\n", id="monkeypatch"),
        pytest.param("def test_it():\n    old = os.getcwd()\n    os.chdir('x')\n    os.chdir(old)\n", id="twice"),
        pytest.param(
            "@pytest.fixture\ndef f():\n    here = os.getcwd()\n    yield\n    os.chdir(here)\n", id="back-only"
        ),
        pytest.param(
            "class T:\n    def setUp(self):\n        os.chdir('x')\n        self.addCleanup(os.chdir, 'y')\n",
            id="addCleanup",
        ),
        pytest.param(
            "class T:\n    def setUp(self):\n        os.chdir('x')\n    def tearDown(self):\n        os.chdir('y')\n",
            id="tear-down",
        ),
        pytest.param(
            "def test_it():\n    if os.fork() == 0:\n        os.chdir('/')\n        os._exit(0)\n", id="forked-child"
        ),
        pytest.param(
            "@pytest.mark.usefixtures('managed_dir')\ndef test_it():\n    os.chdir('x')\n",
            id="fixture-that-was-not-read",
        ),
        pytest.param("def cd(place):\n    os.chdir(place)\n", id="helper"),
    ],
)
def test_cwd_kept_is_silent_where_it_is_put_back(tmp_path: Path, text: str) -> None:
    assert slugs_of(tmp_path, text) == []


@pytest.mark.parametrize(
    "body",
    [
        "shutil.rmtree('out', ignore_errors=True)", "shutil.rmtree('out', True)",
        "try:\n    shutil.rmtree('out')\nexcept OSError:\n    pass",
        "try:\n    shutil.rmtree('out')\nexcept:\n    pass", "with contextlib.suppress(Exception):\n    shutil.rmtree('out')",
    ],
)  # fmt: skip
def test_swallowed_refusal_is_found(tmp_path: Path, body: str) -> None:
    assert sorted(slugs_of(tmp_path, fixture(body))) == ["delete-tree", "swallowed-refusal"]


@pytest.mark.parametrize(
    "body",
    [
        "try:\n    shutil.rmtree('out')\nexcept FileNotFoundError:\n    pass", "try:\n    shutil.rmtree('out')\nexcept OSError:\n    raise",
        "with contextlib.suppress(FileNotFoundError):\n    shutil.rmtree('out')",
    ],
)  # fmt: skip
def test_swallowed_refusal_is_silent_where_a_refusal_is_heard(tmp_path: Path, body: str) -> None:
    assert slugs_of(tmp_path, fixture(body)) == ["delete-tree"]
    assert slugs_of(tmp_path, fixture("shutil.rmtree(tmp_path, ignore_errors=True)", "tmp_path")) == []


def patches(count: int) -> str:
    lines = [f"    monkeypatch.setattr('app.paths.A{number}_DIR', tmp_path)\n" for number in range(count)]
    return "def test_it(monkeypatch, tmp_path):\n" + "".join(lines)


def test_patched_by_hand_is_one_piece_of_advice_for_a_file_with_the_lines_to_paste(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(patches(5))

    [found] = lint([str(tmp_path)], RULES, lambda directory: Moved.NOTHING).findings

    assert (found.slug, found.line, found.severity) == ("patched-by-hand", 2, "advice")
    assert "5 paths of the application 5 times" in found.message
    assert "app.paths:A0_DIR = a0_dir" in found.fix
    assert "(and 1 more)" in found.fix


@pytest.mark.parametrize("text", [patches(2), patches(5).replace("_DIR", "_LIMIT")])
def test_patched_by_hand_is_silent_about_few_and_about_other_things(tmp_path: Path, text: str) -> None:
    assert slugs_of(tmp_path, text) == []


@pytest.mark.parametrize("patch", ["mock.patch('app.paths.X_DIR', 1)", "mock.patch.object(app.paths, 'X_DIR', 1)"])
def test_patched_by_hand_knows_the_other_ways(tmp_path: Path, patch: str) -> None:
    assert slugs_of(tmp_path, f"def test_it():\n    {patch}\n    {patch}\n    {patch}\n") == ["patched-by-hand"]
