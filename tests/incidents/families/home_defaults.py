"""Code under test that writes where it always writes: to its default place below the home."""

from __future__ import annotations

from ..incident import Incident, Reach

penguinburner = Incident(
    id="penguinburner-gpu",
    url="https://github.com/jpietek/PenguinBurner/pull/52",
    year=2026,
    happened=(
        "Driving a combo box in two interface tests saved the choice, and the overclocking tool silently "
        "switched to another card."
    ),
    mechanism="default path below the home",
    data="home",
    seeds={"home/.config/pb.toml": "gpu = 0\n"},
    project={
        "window.py": """
            from pathlib import Path


            class Window:
                label = "0"

                def on_combo(self, index):
                    self.label = str(index)
                    settings = Path.home() / ".config/pb.toml"
                    settings.parent.mkdir(exist_ok=True)
                    settings.write_text(f"gpu = {index}\\n")
            """,
        "test_window.py": """
            from window import Window


            def test_choice_is_shown():
                window = Window()
                window.on_combo(1)
                assert window.label == "1"
            """,
    },
    harmed=("changed home/.config/pb.toml",),
    culprit="test_window.py::test_choice_is_shown",
    named_path="home/.config/pb.toml",
)

bpython = Incident(
    id="bpython-history",
    url="https://github.com/bpython/bpython/issues/654",
    year=2016,
    happened=(
        "The shell under test kept its usual history file, so test input went in and the oldest real lines "
        "were trimmed away."
    ),
    mechanism="default path below the home",
    data="home",
    seeds={"home/.rhist": "".join(f"real line {number}\n" for number in range(100))},
    project={
        "repl.py": """
            from pathlib import Path


            class Repl:
                def __init__(self, history=None, limit=100):
                    self.history = history or Path.home() / ".rhist"
                    self.limit = limit

                def push(self, line):
                    lines = self.history.read_text().splitlines() if self.history.exists() else []
                    self.history.write_text("\\n".join([*lines, line][-self.limit :]) + "\\n")
            """,
        "test_repl.py": """
            from repl import Repl


            def test_push():
                repl = Repl()
                for number in range(60):
                    repl.push(f"x = {number}")
            """,
    },
    harmed=("changed home/.rhist",),
    culprit="test_repl.py::test_push",
    named_path="home/.rhist",
)

jupyter = Incident(
    id="jupyter-kernel-test-spec",
    url="https://github.com/jupyter/jupyter_kernel_test/issues/10",
    year=2015,
    happened=(
        "Kernels can only be tested once installed, so the suite installed its own over the kernel that the "
        "user had adapted."
    ),
    mechanism="default path below the home",
    data="home",
    seeds={"home/.local/share/jupyter/kernels/python3/kernel.json": '{"argv": ["/opt/mine"]}\n'},
    project={
        "spec/kernel.json": """
            {"argv": ["python"]}
            """,
        "test_kernel.py": """
            import os
            import shutil
            import subprocess
            import sys
            import unittest

            SPEC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "spec")
            LOOK = "import os; print(os.path.exists(os.path.expanduser('~/.local/share/jupyter/kernels/python3/kernel.json')))"


            class KernelTests(unittest.TestCase):
                @classmethod
                def setUpClass(cls):
                    shutil.copytree(SPEC, os.path.expanduser("~/.local/share/jupyter/kernels/python3"), dirs_exist_ok=True)

                def test_child_finds_it(self):
                    self.assertEqual(subprocess.check_output([sys.executable, "-c", LOOK], text=True).strip(), "True")
            """,
    },
    harmed=("changed home/.local/share/jupyter/kernels/python3/kernel.json",),
    culprit="test_kernel.py::KernelTests::test_child_finds_it",
    named_path="home/.local/share/jupyter/kernels/python3/kernel.json",
)

radical = Incident(
    id="radical-pilot-config",
    url="https://github.com/radical-cybertools/radical.pilot/issues/3070",
    year=2023,
    happened=(
        "A session test put its resource file into the user's configuration directory and removed it again, "
        "the user's own of that name too."
    ),
    mechanism="default path below the home",
    data="home",
    seeds={"home/.tool/configs/resource_local.json": '{"cores": 64}\n'},
    project={
        "test_session.py": """
            import json
            from pathlib import Path


            def test_session():
                configs = Path.home() / ".tool/configs"
                configs.mkdir(parents=True, exist_ok=True)
                resource = configs / "resource_local.json"
                resource.write_text('{"cores": 1}')
                assert json.loads(resource.read_text()) == {"cores": 1}
                resource.unlink()
            """,
    },
    harmed=("gone home/.tool/configs/resource_local.json",),
    culprit="test_session.py::test_session",
    named_path="home/.tool/configs/resource_local.json",
)

eshost = Incident(
    id="eshost-abort",
    url="https://github.com/bterlson/eshost-cli/issues/38",
    year=2017,
    happened=(
        "The suite set the user's configuration aside and meant to put it back at the end; an aborted run "
        "left the empty one in place."
    ),
    mechanism="set aside, restored at the end; run killed",
    data="home",
    seeds={"home/.eshost-config.json": '{"hosts": {"v8": "/opt/v8"}}\n'},
    project={
        "test_hosts.py": """
            import tempfile
            import time
            from pathlib import Path

            import pytest

            CONFIG = Path.home() / ".eshost-config.json"


            @pytest.fixture
            def empty_configuration():
                stash = CONFIG.read_text() if CONFIG.exists() else "{}"
                CONFIG.write_text("{}")
                yield
                CONFIG.write_text(stash)


            def test_no_hosts(empty_configuration):
                Path(tempfile.gettempdir(), "half-way").touch()
                time.sleep(10)
            """,
    },
    kill_at="half-way",
    harmed=("changed home/.eshost-config.json",),
    culprit="test_hosts.py::test_no_hosts",
    named_path="home/.eshost-config.json",
)

hermes = Incident(
    id="hermes-webui-leaked-dirs",
    url="https://github.com/nesquena/hermes-webui/pull/4289",
    year=2026,
    happened=(
        "Each run put its state directory into the live profile named by an inherited variable; killed runs "
        "left 144 of them behind."
    ),
    mechanism="inherited variable, run killed",
    data="home",
    seeds={"home/.tool/profile.json": '{"name": "me"}\n'},
    project={
        "conftest.py": """
            import os
            import shutil
            import subprocess
            import sys
            from pathlib import Path

            import pytest

            STATE = Path(os.environ.get("TOOL_HOME", Path.home() / ".tool")) / "test-3f9a"
            SERVER = '''
            import os, pathlib, time
            parent = os.getppid()
            pathlib.Path(os.environ["STATE"], "server.pid").write_text(str(os.getpid()))
            while os.getppid() == parent:
                time.sleep(0.02)
            '''


            @pytest.fixture(scope="session", autouse=True)
            def server():
                STATE.mkdir(parents=True)
                process = subprocess.Popen([sys.executable, "-c", SERVER], env={**os.environ, "STATE": str(STATE)})
                while not (STATE / "server.pid").exists() and process.poll() is None:
                    pass
                yield
                process.kill()
                process.wait()
                shutil.rmtree(STATE)
            """,
        "test_web.py": """
            import tempfile
            import time
            from pathlib import Path


            def test_page():
                Path(tempfile.gettempdir(), "half-way").touch()
                time.sleep(10)
            """,
    },
    environment={"TOOL_HOME": "@home@/.tool"},
    kill_at="half-way",
    harmed=("new home/.tool/test-3f9a/",),
    culprit="test_web.py::test_page",
    named_path="home/.tool/test-3f9a",
)

inspect_swe = Incident(
    id="inspect-swe-import-mkdir",
    url="https://github.com/meridianlabs-ai/inspect_swe/pull/158",
    year=2026,
    happened=(
        "A library made its global directories while it was imported, so that merely collecting the tests "
        "wrote into the real home."
    ),
    mechanism="side effect of an import",
    data="home",
    seeds={"home/.config/other.toml": "x = 1\n"},
    project={
        "lib/__init__.py": """
            import os

            os.makedirs(os.path.expanduser("~/.config/lib"), exist_ok=True)
            """,
        "test_x.py": """
            import lib


            def test_name():
                assert lib.__name__ == "lib"
            """,
    },
    arguments=("--collect-only",),
    harmed=("new home/.config/lib/",),
    culprit="lib/__init__.py:",
    named_path="home/.config/lib",
)

datasets = Incident(
    id="datasets-default-cache",
    url="https://github.com/huggingface/datasets/pull/2223",
    year=2021,
    happened=(
        "Cache paths were constants of the package, so test runs built their data sets and lock files in the "
        "user's own cache."
    ),
    mechanism="default path below the home",
    data="home",
    seeds={"home/.cache/ds/x": "built last week\n"},
    project={
        "ds.py": """
            from pathlib import Path

            CACHE = Path.home() / ".cache/ds"


            def load(name):
                CACHE.mkdir(parents=True, exist_ok=True)
                with (CACHE / f"{name}.lock").open("a"):
                    if not (CACHE / name).exists():
                        (CACHE / name).write_text("built by a test\\n")
                    return (CACHE / name).read_text()
            """,
        "test_load.py": """
            import ds


            def test_load():
                assert ds.load("x").startswith("built")
                assert ds.load("y").startswith("built")
            """,
    },
    harmed=("new home/.cache/ds/x.lock", "new home/.cache/ds/y", "new home/.cache/ds/y.lock"),
    culprit="test_load.py::test_load",
    named_path="home/.cache/ds/x.lock",
    reach=Reach.LINE,
    line="session_guard_protect = ~/.cache/ds",
    reason="the user's cache directory is free by default: suites share downloads through it",
)

INCIDENTS = (penguinburner, bpython, jupyter, radical, eshost, hermes, inspect_swe, datasets)
