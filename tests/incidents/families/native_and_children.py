"""Damage that Python code does not do itself: native calls, shells, interpreters that ignore the environment."""

from __future__ import annotations

from dataclasses import replace

from ..incident import Incident

open3d = Incident(
    id="open3d-data-root",
    url="https://github.com/isl-org/Open3D/issues/4718",
    year=2022,
    happened=(
        "Tests of the data set class cleared the default data root from native code, the user's own downloads with it."
    ),
    mechanism="native code",
    data="home",
    seeds={"home/ds_data/download/mine.ply": "ply\n", "home/ds_data/extract/mine.bin": b"\x01"},
    project={
        "native.py": """
            import ctypes
            import os

            libc = ctypes.CDLL(None)
            libc.getenv.restype = ctypes.c_char_p


            def default_root():
                return libc.getenv(b"HOME") + b"/ds_data"


            def remove(root):
                for directory, _, files in os.walk(root, topdown=False):
                    for name in files:
                        libc.unlink(os.path.join(directory, name))
                    libc.rmdir(directory)
            """,
        "test_dataset.py": """
            import native


            def test_default_root():
                native.remove(native.default_root())
                assert native.default_root().endswith(b"ds_data")
            """,
    },
    harmed=("gone home/ds_data/",),
    culprit="test_dataset.py::test_default_root",
    named_path="home/ds_data",
    needs_kernel=True,
)

cpython_history = Incident(
    id="cpython-python-history",
    url="https://github.com/python/cpython/pull/139380",
    year=2025,
    happened=(
        "Tests of the interactive interpreter redirected its history by a variable that a child in isolated "
        "mode does not read."
    ),
    mechanism="child that ignores the environment, native code",
    data="home",
    seeds={"home/.python_history": "import this\n"},
    project={
        "test_repl.py": """
            import os
            import pty
            import subprocess
            import sys

            HOOK = "import site, sys; site.enablerlcompleter(); sys.__interactivehook__()"


            def test_interactive(tmp_path):
                ours, theirs = pty.openpty()
                environment = {**os.environ, "PYTHON_HISTORY": str(tmp_path / "history")}
                command = [sys.executable, "-I", "-i", "-c", HOOK]
                child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
                os.close(theirs)
                os.write(ours, b"secret = 40 + 2\\nexit()\\n")
                while True:
                    try:
                        if not os.read(ours, 4096):
                            break
                    except OSError:
                        break
                os.close(ours)
                assert child.wait() == 0
            """,
    },
    harmed=("changed home/.python_history",),
    culprit="test_repl.py::test_interactive",
    named_path="home/.python_history",
    needs_kernel=True,
)

phantombot = Incident(
    id="phantombot-bashrc",
    url="https://github.com/phantomyard/phantombot/issues/573",
    year=2026,
    happened=(
        "Installer tests ran the real installer with the developer's environment and left sixty blocks in the "
        "shell's start file."
    ),
    mechanism="child that is no Python",
    data="home",
    seeds={"home/.bashrc": "alias ll='ls -l'\n"},
    project={
        "install.sh": """
            printf '# bot\\nexport BOT=1\\n' >> "$HOME/.bashrc"
            """,
        "test_install.py": """
            import os
            import subprocess

            import pytest

            HERE = os.path.dirname(os.path.abspath(__file__))


            @pytest.mark.parametrize("number", range(60))
            def test_install(number):
                subprocess.run(["sh", os.path.join(HERE, "install.sh")], check=True)
            """,
    },
    harmed=("changed home/.bashrc",),
    culprit="test_install.py::test_install[0]",
    named_path="home/.bashrc",
    needs_kernel=True,
)

evener = Incident(
    id="evener-mktemp-trap",
    url="https://github.com/prime-radiant-inc/evener/issues/73",
    year=2026,
    happened=(
        "A script did not notice that mktemp had failed, stayed where it was, and its exit trap removed that "
        "directory: the home."
    ),
    mechanism="relative path after a failed step, shell child",
    data="home",
    seeds={"home/.config/app.toml": "a = 1\n", "home/src/notes.md": "# notes\n"},
    project={
        "selftest.sh": """
            work=$(mktemp -d)
            cd "$work"
            trap 'rm -rf "$PWD"' EXIT
            echo checked
            """,
        "bin/mktemp": """
            #!/bin/sh
            exit 1
            """,
        "test_selftest.py": """
            import os
            import subprocess
            from pathlib import Path

            SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "selftest.sh")


            def test_selftest():
                done = subprocess.run(["sh", SCRIPT], cwd=Path.home(), capture_output=True, text=True)
                assert done.stdout == "checked\\n"
            """,
    },
    harmed=("gone home/",),
    culprit="test_selftest.py::test_selftest",
    named_path="home/.config",
    needs_kernel=True,
)

evener_exit = replace(
    evener,
    variant="exit-handler",
    happened=(
        "The same step in Python: the failed answer is empty, so the process stays in the home, and its exit "
        "handler removes it."
    ),
    project={
        "bin/mktemp": evener.project["bin/mktemp"],
        "test_selftest.py": """
            import atexit
            import os
            import shutil
            import subprocess


            def test_selftest():
                directory = subprocess.run(["mktemp", "-d"], capture_output=True, text=True).stdout.strip()
                os.chdir(directory or ".")
                atexit.register(lambda: shutil.rmtree(os.getcwd(), ignore_errors=True))
            """,
    },
    arguments=("--rootdir=@checkout@", "@checkout@"),
    working_directory="@home@",
    culprit="test_selftest.py:",
    named_path="home",
    needs_kernel=False,
)

evener_guard = replace(
    evener,
    variant="guard-tried-on-real-targets",
    happened=(
        "The repaired helper was then tried on the very places it should refuse, returned too early, and removed them."
    ),
    project={
        "guard.py": """
            import os
            import shutil


            def remove(path, root):
                if not os.path.isdir(path):
                    return "refused"
                if os.path.abspath(path) == os.path.abspath(root) and "STRICT" in os.environ:
                    return "refused"
                shutil.rmtree(path, ignore_errors=True)
                return "removed"
            """,
        "test_guard.py": """
            import os

            import guard


            def test_refuses_the_worst():
                for bad in ("@elsewhere@/root", os.environ["HOME"]):
                    guard.remove(bad, root="@elsewhere@/root")
            """,
    },
    seeds={**evener.seeds, "elsewhere/root/etc/passwd": "root:x:0\n"},
    harmed=("gone elsewhere/root/", "gone home/"),
    culprit="test_guard.py::test_refuses_the_worst",
    named_path="elsewhere/root",
    needs_kernel=False,
)

ast_ksh = Incident(
    id="ast-ksh-rpm",
    url="https://github.com/att/ast/issues/477",
    year=2018,
    happened=(
        "The change into the test directory failed during a package build, and the relative clean-up ran in "
        "the home instead."
    ),
    mechanism="relative path after a failed step",
    data="home",
    seeds={"home/.profile": "umask 022\n", "home/thesis/chapter1.tex": "\\chapter{One}\n"},
    project={
        "test_shell.py": """
            import os
            import shutil
            from pathlib import Path


            def test_in_its_directory():
                try:
                    os.chdir("built/tests/shell")
                except OSError:
                    pass
                for entry in Path(".").iterdir():
                    if entry.is_dir():
                        shutil.rmtree(entry)
                    else:
                        entry.unlink()
            """,
    },
    arguments=("--rootdir=@checkout@", "@checkout@"),
    working_directory="@home@",
    harmed=("gone home/.profile", "gone home/thesis/"),
    culprit="test_shell.py::test_in_its_directory",
    named_path="home/",
)

INCIDENTS = (open3d, cpython_history, phantombot, evener, evener_exit, evener_guard, ast_ksh)
