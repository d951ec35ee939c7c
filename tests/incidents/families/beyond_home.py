"""Data outside home and checkout: other places on the disk, links that lead there, the environment that runs the tests."""

from __future__ import annotations

import sysconfig
import venv
from pathlib import Path

from ..incident import Fifo, Incident, Link, Reach
from ..scene import Scene

canswim = Incident(
    id="canswim-dotenv",
    url="https://github.com/ivelin/canswim/issues/122",
    year=2026,
    happened=(
        "The application's own start reloaded a settings file over the redirected variable, and its data "
        "folder was a link to production."
    ),
    mechanism="variable set back by the product, symlink",
    data="elsewhere",
    seeds={
        "elsewhere/production/data/prices.bin": b"\x10\x20 years of prices",
        "checkout/data": Link("@elsewhere@/production/data"),
        "home/.env": "DATA_DIR=@checkout@/data\n",
    },
    project={
        "app.py": """
            import os
            from pathlib import Path


            def load_env(file):
                for line in Path(file).read_text().splitlines() if Path(file).exists() else ():
                    name, _, value = line.partition("=")
                    os.environ[name] = value


            def main():
                load_env(os.path.expanduser("~/.env"))


            def save(name, content):
                directory = Path(os.environ["DATA_DIR"])
                assert str(directory).startswith((os.path.dirname(os.path.abspath(__file__)), os.environ["TMPDIR"]))
                (directory / name).write_bytes(content)
            """,
        "test_app.py": """
            import app


            def test_save(tmp_path, monkeypatch):
                monkeypatch.setenv("DATA_DIR", str(tmp_path))
                app.main()
                app.save("prices.bin", b"invented")
            """,
    },
    harmed=("changed elsewhere/production/data/prices.bin",),
    culprit="test_app.py::test_save",
    named_path="elsewhere/production/data/prices.bin",
)

loom = Incident(
    id="loom-env-inherited",
    url="https://github.com/rjwalters/loom/issues/5179",
    year=2026,
    happened=(
        "An agent's shell exports where its supervisor keeps the process number; tests started from it wrote "
        "their own number there."
    ),
    mechanism="inherited variable",
    data="elsewhere",
    seeds={"elsewhere/run/app.pid": "4711\n"},
    project={
        "daemon.py": """
            import os
            from pathlib import Path


            def write_pid(path):
                Path(path).write_text(f"{os.getpid()}\\n")
            """,
        "test_daemon.py": """
            import os

            import daemon


            def test_write_pid(tmp_path):
                daemon.write_pid(os.environ.get("APP_PID_FILE", tmp_path / "app.pid"))
            """,
    },
    environment={"APP_PID_FILE": "@elsewhere@/run/app.pid"},
    harmed=("changed elsewhere/run/app.pid",),
    culprit="test_daemon.py::test_write_pid",
    named_path="elsewhere/run/app.pid",
)

window_state = Incident(
    id="ogp-window-state",
    url="https://github.com/cofade/open-garden-planner/issues/283",
    year=2026,
    happened=(
        "Widgets were closed by a fixture that ended after the patch of the settings path, and wrote their "
        "geometry to the real place."
    ),
    mechanism="fixture order, native code",
    data="system",
    seeds={"elsewhere/registry/window.state": "geometry=full\n"},
    project={
        "widget.py": """
            import ctypes
            import os

            libc = ctypes.CDLL(None)


            def settings_path():
                return os.environ.get("APP_SETTINGS", "@elsewhere@/registry/window.state")


            class Widget:
                def close(self):
                    descriptor = libc.open(settings_path().encode(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
                    libc.write(descriptor, b"geometry=tiny\\n", 14)
                    libc.close(descriptor)
            """,
        "conftest.py": """
            import pytest


            @pytest.fixture
            def bot():
                widgets = []
                yield widgets
                for widget in widgets:
                    widget.close()


            @pytest.fixture
            def own_settings(tmp_path, monkeypatch):
                monkeypatch.setenv("APP_SETTINGS", str(tmp_path / "window.state"))
            """,
        "test_window.py": """
            from widget import Widget


            def test_window(bot, own_settings):
                bot.append(Widget())
            """,
    },
    harmed=("changed elsewhere/registry/window.state",),
    culprit="test_window.py::test_window",
    named_path="elsewhere/registry/window.state",
    reason="the stand-in is a file; the registry of Windows itself is out of reach",
    needs_kernel=True,
)

latexml = Incident(
    id="latexml-devnull",
    url="https://github.com/brucemiller/LaTeXML/issues/2069",
    year=2023,
    happened=(
        "The converter wrote beside its target and renamed over it; with the null device as target and root "
        "as user, that was the device."
    ),
    mechanism="rename over the target, child",
    data="system",
    seeds={"elsewhere/dev/null": Fifo()},
    project={
        "save.py": """
            import os
            import sys


            def save(path, content):
                with open(path + ".tmp", "w") as file:
                    file.write(content)
                os.replace(path + ".tmp", path)


            if __name__ == "__main__":
                save(sys.argv[1], "<html/>")
            """,
        "test_convert.py": """
            import subprocess
            import sys


            def test_convert_to_nowhere():
                subprocess.run([sys.executable, "save.py", "@elsewhere@/dev/null"], check=True)
            """,
    },
    harmed=("changed elsewhere/dev/null",),
    culprit="test_convert.py::test_convert_to_nowhere",
    named_path="elsewhere/dev/null",
)

ounit = Incident(
    id="ounit-symlink-delete",
    url="https://github.com/gildor478/ounit/issues/11",
    year=2020,
    happened=(
        "The framework's own removal of a temporary directory walked through a link that the test had made, "
        "and emptied what it led to."
    ),
    mechanism="symlink followed while removing",
    data="home",
    seeds={"home/docs/thesis.tex": "\\chapter{One}\n", "home/docs/img/plot.svg": "<svg/>\n"},
    project={
        "bracket.py": """
            import os


            def remove(directory):
                for name in os.listdir(directory):
                    path = os.path.join(directory, name)
                    if os.path.isdir(path):
                        remove(path)
                    else:
                        os.unlink(path)
            """,
        "conftest.py": """
            import bracket
            import pytest


            @pytest.fixture
            def scratch(tmp_path):
                yield tmp_path
                bracket.remove(tmp_path)
            """,
        "test_link.py": """
            import os


            def test_link(scratch):
                os.makedirs(os.path.expanduser("~/docs"), exist_ok=True)
                os.symlink(os.path.expanduser("~/docs"), scratch / "link")
            """,
    },
    harmed=("gone home/docs/img/plot.svg", "gone home/docs/thesis.tex"),
    culprit="test_link.py::test_link",
    named_path="home/docs",
)

BACKEND = """
    import os
    import zipfile


    def build(directory, files):
        name = "proj-1.0-py3-none-any.whl"
        metadata = {
            "proj-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: proj\\nVersion: 1.0\\n",
            "proj-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: own\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
            "proj-1.0.dist-info/RECORD": "",
        }
        with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
            for path, content in {**files, **metadata}.items():
                wheel.writestr(path, content)
        return name


    def build_wheel(directory, config_settings=None, metadata_directory=None):
        return build(directory, {"proj.py": "NAME = 'proj'\\n"})


    def build_editable(directory, config_settings=None, metadata_directory=None):
        return build(directory, {"proj.pth": os.getcwd() + "\\n"})
    """
PYPROJECT = """
    [build-system]
    requires = []
    build-backend = "backend"
    backend-path = ["."]

    [project]
    name = "proj"
    version = "1.0"
    """
# pip asks for the compiler's version to describe itself, and a rustup on this machine would set up a home for it.
NO_RUST = {"bin/rustc": "#!/bin/sh\nexit 1\n"}
PIP = '"-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"'


def make_environment(scene: Scene) -> None:
    """Make the environment that runs the tests: its own prefix, with the packages of the one that runs us behind it."""
    prefix = scene.elsewhere / "env"
    venv.EnvBuilder(symlinks=True).create(prefix)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(prefix), "platbase": str(prefix)}))
    # A plain line would hide editable installs behind it: only addsitedir reads the .pth files there.
    (packages / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")


arc = Incident(
    id="arc-tooling-pip",
    url="https://github.com/UCL-ARC/python-tooling/issues/516",
    year=2025,
    happened=(
        "A test of a project template installed the generated package into the environment that ran the "
        "tests, where it stayed."
    ),
    mechanism="package installed into the running environment",
    data="system",
    project={
        **NO_RUST,
        "template/backend.py": BACKEND,
        "template/pyproject.toml": PYPROJECT,
        "test_template.py": f"""
            import shutil
            import subprocess
            import sys


            def test_generated_project_installs(tmp_path):
                project = shutil.copytree("template", tmp_path / "proj")
                subprocess.run([sys.executable, {PIP}, str(project)], check=True)
            """,
    },
    prepare=make_environment,
    interpreter="@elsewhere@/env/bin/python",
    harmed=(
        "new elsewhere/env/lib/python3/site-packages/proj-1.0.dist-info/",
        "new elsewhere/env/lib/python3/site-packages/proj.py",
    ),
    culprit="test_template.py::test_generated_project_installs",
    named_path="elsewhere/env",
)

fastseq = Incident(
    id="fastseq-fairseq",
    url="https://github.com/microsoft/fastseq/issues/32",
    year=2020,
    happened=(
        "A test replaced the user's installed library by an editable copy at a fixed place in /tmp, which it "
        "cleared first."
    ),
    mechanism="package installed into the running environment, fixed name in /tmp",
    data="system",
    seeds={"tmp/fairseq/my_patch.py": "mine = True\n"},
    project={
        **NO_RUST,
        "source/backend.py": BACKEND,
        "source/pyproject.toml": PYPROJECT,
        "source/proj.py": "NAME = 'proj'\n",
        "test_models.py": f"""
            import shutil
            import subprocess
            import sys

            import pytest


            @pytest.fixture(autouse=True)
            def editable_copy():
                shutil.rmtree("@tmp@/fairseq", ignore_errors=True)
                shutil.copytree("source", "@tmp@/fairseq")
                subprocess.run([sys.executable, {PIP}, "-e", "@tmp@/fairseq"], check=True)
                yield
                shutil.rmtree("@tmp@/fairseq")


            def test_model():
                assert "fairseq".endswith("seq")
            """,
    },
    prepare=make_environment,
    interpreter="@elsewhere@/env/bin/python",
    harmed=(
        "gone tmp/fairseq/",
        "new elsewhere/env/lib/python3/site-packages/proj-1.0.dist-info/",
        "new elsewhere/env/lib/python3/site-packages/proj.pth",
    ),
    culprit="test_models.py::test_model",
    named_path="tmp/fairseq",
    reach=Reach.LINE,
    line="session_guard_share = @tmp@/fairseq",
    lost=("gone tmp/fairseq/my_patch.py",),
    reason="the temporary directory is free by default; the environment is protected without any line",
)

INCIDENTS = (canswim, loom, window_state, latexml, ounit, arc, fastseq)
