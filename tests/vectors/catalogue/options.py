"""pytest's own options, settings and variables pointed at real data. The test itself does nothing but use them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

import pytest

from ..vector import Scene, vector


def _make_temporary(s: Scene) -> None:
    s.held["request"].getfixturevalue("tmp_path")


def _nothing(s: Scene) -> None:
    assert s.prot.name == ".prot"


def _option(name: str, arguments: Callable[[Scene], list[str]], *, uses_temporary: bool = False) -> None:
    def act(s: Scene) -> None:
        (_make_temporary if uses_temporary else _nothing)(s)

    act.__name__ = name
    vector("option", arguments=arguments)(act)


_option("option_basetemp_root", lambda s: [f"--basetemp={s.prot}"], uses_temporary=True)
_option("option_basetemp_home", lambda s: [f"--basetemp={s.home}"], uses_temporary=True)
_option("option_basetemp_sub", lambda s: ["--basetemp", str(s.prot / "sub")], uses_temporary=True)
_option("option_basetemp_new", lambda s: [f"--basetemp={s.prot / 'fresh'}"], uses_temporary=True)
_option("option_basetemp_dotdot", lambda s: [f"--basetemp={s.tmp}/../home/.prot"], uses_temporary=True)
_option("option_junitxml", lambda s: [f"--junitxml={s.notes}"])
_option("option_junitxml_new", lambda s: [f"--junit-xml={s.prot / 'report.xml'}"])
_option("option_log_file", lambda s: [f"--log-file={s.prot / 'app.log'}"])
_option("option_log_file_new", lambda s: ["--log-file", str(s.prot / "fresh.log")])
_option("option_debug", lambda s: [f"--debug={s.notes}"])
_option("option_cache_dir", lambda s: ["-o", f"cache_dir={s.prot / 'cache'}", "-p", "cacheprovider"])
_option("option_log_file_ini", lambda s: ["-o", f"log_file={s.prot / 'app.log'}"])


@vector("option", project_files=lambda s: {"pytest.ini": f"[pytest]\naddopts = --basetemp={s.prot}\n"})
def ini_addopts_basetemp(s: Scene) -> None:
    _make_temporary(s)


@vector("option", project_files=lambda s: {"pytest.ini": f"[pytest]\nlog_file = {s.notes}\n"})
def ini_log_file(s: Scene) -> None:
    _nothing(s)


@vector(
    "option",
    project_files=lambda s: {"pytest.ini": f"[pytest]\ncache_dir = {s.prot / 'cache'}\n"},
    arguments=lambda s: ["-p", "cacheprovider"],
)
def ini_cache_dir(s: Scene) -> None:
    _nothing(s)


@vector(
    "option",
    project_files=lambda s: {"pyproject.toml": f"[tool.pytest.ini_options]\naddopts = '--junitxml={s.notes}'\n"},
)
def pyproject_addopts_junitxml(s: Scene) -> None:
    _nothing(s)


@vector("option", environment=lambda s: {"PYTEST_ADDOPTS": f"--basetemp={s.prot}"})
def variable_addopts_basetemp(s: Scene) -> None:
    _make_temporary(s)


@vector("option", environment=lambda s: {"TMPDIR": str(s.prot)})
def variable_tmpdir(s: Scene) -> None:
    _make_temporary(s)


@vector("option", environment=lambda s: {"TMPDIR": str(s.prot)})
def variable_tmpdir_mkstemp(s: Scene) -> None:
    tempfile.mkstemp()


@vector("option", environment=lambda s: {"PYTEST_DEBUG_TEMPROOT": str(s.prot)})
def variable_debug_temproot(s: Scene) -> None:
    _make_temporary(s)


@vector(
    "option",
    environment=lambda s: {"PYTHONPYCACHEPREFIX": str(s.prot / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""},
    beyond="the interpreter writes byte code there while it starts, before any plugin; the run is then refused",
)
def variable_pycache_prefix(s: Scene) -> None:
    _nothing(s)


@vector("option", environment=lambda s: {"COVERAGE_FILE": str(s.prot / "coverage")}, needs=("module:coverage",))
def variable_coverage_file(s: Scene) -> None:
    import coverage

    measured = coverage.Coverage()
    measured.start()
    measured.stop()
    measured.save()


@vector("option")
def inner_pytest_main_basetemp(s: Scene) -> None:
    (s.tmp / "test_inner.py").write_text("def test_inner(tmp_path): pass\n")
    pytest.main(["-q", "-p", "no:cacheprovider", f"--basetemp={s.prot}", str(s.tmp / "test_inner.py")])


@vector("option")
def inner_pytest_child_junitxml(s: Scene) -> None:
    (s.tmp / "test_inner.py").write_text("def test_inner(): pass\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junitxml={s.notes}",
        str(s.tmp / "test_inner.py"),
    ]
    subprocess.run(command, check=False, capture_output=True, cwd=s.tmp)


@vector("option")
def tmp_path_factory_getbasetemp_moved(s: Scene) -> None:
    factory = s.held["request"].getfixturevalue("tmp_path_factory")
    factory._basetemp = s.prot
    factory.mktemp("fresh")


@vector("option")
def monkeypatch_home_then_write(s: Scene) -> None:
    monkeypatch = s.held["request"].getfixturevalue("monkeypatch")
    monkeypatch.setenv("HOME", str(s.tmp))
    with open(s.notes, "w") as stream:
        stream.write("gone")


@vector("option")
def monkeypatch_chdir_then_write(s: Scene) -> None:
    s.held["request"].getfixturevalue("monkeypatch").chdir(s.prot)
    with open("notes.txt", "w") as stream:
        stream.write("gone")


@vector("option")
def capfd_disabled_write(s: Scene) -> None:
    with s.held["request"].getfixturevalue("capfd").disabled():
        os.truncate(s.notes, 0)
