"""Suites that did redirect something: too late, too little, or until their own fixture took it back."""

from __future__ import annotations

from dataclasses import replace

from ..incident import Incident

kitty = Incident(
    id="kitty-filtered-run-dotconfig",
    url="https://github.com/kovidgoyal/kitty/issues/10478",
    year=2026,
    happened=(
        "Only runs large enough for worker processes got a home of their own; a filtered run removed the "
        "user's whole ~/.config."
    ),
    mechanism="isolation that depends on the selection",
    data="home",
    seeds={"home/.config/editor/settings.json": '{"theme": "dusk"}\n', "home/.config/SENTINEL": "here\n"},
    project={
        "conftest.py": """
            import os
            import tempfile


            def pytest_collection_finish(session):
                if len(session.items) > 20:
                    os.environ["HOME"] = tempfile.mkdtemp()
            """,
        "test_layout.py": """
            import pytest


            @pytest.mark.parametrize("columns", range(24))
            def test_columns(columns):
                assert columns < 24
            """,
        "test_utils.py": """
            import os
            import shutil


            def test_config_dir():
                directory = os.path.expanduser("~/.config")
                if os.path.exists(directory):
                    shutil.rmtree(directory)
                try:
                    os.makedirs(directory)
                    assert os.listdir(directory) == []
                finally:
                    shutil.rmtree(directory)
            """,
    },
    arguments=("-k", "config_dir"),
    harmed=("gone home/.config/",),
    culprit="test_utils.py::test_config_dir",
    named_path="home/.config",
)

kitty_left_out = replace(
    kitty,
    variant="isolation-plugin-left-out",
    project={
        "own_home.py": """
            import pytest


            @pytest.fixture(autouse=True)
            def own_home(tmp_path, monkeypatch):
                monkeypatch.setenv("HOME", str(tmp_path))
            """,
        "conftest.py": """
            pytest_plugins = ["own_home"]
            """,
        "test_utils.py": kitty.project["test_utils.py"],
    },
    arguments=("-p", "no:own_home"),
)

agentic_hil = Incident(
    id="agentic-hil-undo",
    url="https://github.com/agentic-hil/agentic-hil/issues/270",
    year=2026,
    happened=(
        "A test undid its patches between two cases, lost the fake home with them, and the next command "
        "uninstalled the real skills."
    ),
    mechanism="redirect undone in mid-test",
    data="home",
    seeds={"home/.agent/skills/probe/SKILL.md": "# probe\n", "home/.agent/skills/flash/SKILL.md": "# flash\n"},
    project={
        "agent.py": """
            import shutil
            from pathlib import Path


            def main(arguments):
                if arguments == ["uninstall"]:
                    shutil.rmtree(Path.home() / ".agent/skills", ignore_errors=True)
                return 0
            """,
        "conftest.py": """
            import pytest


            @pytest.fixture(autouse=True)
            def own_home(tmp_path, monkeypatch):
                monkeypatch.setenv("HOME", str(tmp_path))
            """,
        "test_cli.py": """
            import agent


            def test_commands(monkeypatch):
                for verbosity in (0, 1):
                    monkeypatch.setattr(agent, "VERBOSITY", verbosity, raising=False)
                    assert agent.main(["uninstall"]) == 0
                    monkeypatch.undo()
            """,
    },
    harmed=("gone home/.agent/skills/",),
    culprit="test_cli.py::test_commands",
    named_path="home/.agent/skills",
)

datalad = Incident(
    id="datalad-keyring-home",
    url="https://github.com/datalad/datalad/issues/7295",
    year=2023,
    happened=(
        "The keyring library fixed its path before the suite installed a fake home, and kept test credentials "
        "in plain text in the real one."
    ),
    mechanism="path resolved before the redirect",
    data="home",
    seeds={"home/.local/share/kr.cfg": "[mail]\nann = secret\n"},
    project={
        "keyring_file.py": """
            import functools
            import os


            @functools.cache
            def path():
                return os.path.expanduser("~/.local/share/kr.cfg")


            def set_password(user, password):
                os.makedirs(os.path.dirname(path()), exist_ok=True)
                with open(path(), "a") as file:
                    file.write(f"{user} = {password}\\n")
            """,
        "conftest.py": """
            import keyring_file
            import pytest


            def pytest_configure(config):
                keyring_file.path()


            @pytest.fixture(scope="session", autouse=True)
            def own_home(tmp_path_factory):
                patch = pytest.MonkeyPatch()
                patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
                yield
                patch.undo()
            """,
        "test_credentials.py": """
            import keyring_file


            def test_set_password():
                keyring_file.set_password("test", "test")
            """,
    },
    harmed=("changed home/.local/share/kr.cfg",),
    culprit="test_credentials.py::test_set_password",
    named_path="home/.local/share/kr.cfg",
)

ntm = Incident(
    id="ntm-xdg-config",
    url="https://github.com/Dicklesworthstone/ntm/issues/258",
    year=2026,
    happened=(
        "Tests moved HOME alone; the exported XDG_CONFIG_HOME went first, and about a hundred real "
        "directories were removed, twice."
    ),
    mechanism="inherited variable beats the redirect",
    data="home",
    seeds={"home/.config/backup/password": "hunter2\n", "home/.config/SENTINEL": "here\n"},
    project={
        "test_config.py": """
            import os
            import shutil
            from pathlib import Path

            import pytest


            def config_directory():
                return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


            @pytest.fixture(autouse=True)
            def own_home(tmp_path, monkeypatch):
                monkeypatch.setenv("HOME", str(tmp_path))


            def test_fresh_configuration():
                for case in (1, 2, 3):
                    shutil.rmtree(config_directory(), ignore_errors=True)
                    os.makedirs(config_directory(), exist_ok=True)
                    (config_directory() / "case").write_text(str(case))
            """,
    },
    environment={"XDG_CONFIG_HOME": "@home@/.config"},
    harmed=("gone home/.config/SENTINEL", "gone home/.config/backup/", "new home/.config/case"),
    culprit="test_config.py::test_fresh_configuration",
    named_path="home/.config",
)

goverlay = Incident(
    id="goverlay-stale-marker",
    url="https://github.com/benjamimgois/goverlay/issues/382",
    year=2026,
    happened=(
        "A variable left over in the shell told the suite that it was isolated; it believed it, and its "
        "clean-up removed the real home."
    ),
    mechanism="flag trusted as proof of isolation",
    data="home",
    seeds={"home/.config/overlay.conf": "fps\n", "home/letters/will.txt": "to my heirs\n"},
    project={
        "conftest.py": """
            import os
            import shutil
            import tempfile

            import pytest


            @pytest.fixture(scope="session", autouse=True)
            def isolation():
                if os.environ.get("ISOLATED") != "1":
                    os.environ["HOME"] = tempfile.mkdtemp()
                    os.environ["ISOLATED"] = "1"
                yield
                shutil.rmtree(os.environ["HOME"], ignore_errors=True)
            """,
        "test_overlay.py": """
            def test_position():
                assert "top-left".split("-") == ["top", "left"]
            """,
    },
    environment={"ISOLATED": "1"},
    harmed=("gone home/",),
    culprit="test_overlay.py::test_position",
    named_path="home",
)

goverlay_prefix = replace(
    goverlay,
    variant="prefix-check",
    project={
        **goverlay.project,
        "conftest.py": """
            import os
            import shutil
            import tempfile

            import pytest


            @pytest.fixture(scope="session", autouse=True)
            def isolation():
                yield
                scratch = tempfile.gettempdir() + "/../home"
                assert scratch.startswith(tempfile.gettempdir() + "/")
                shutil.rmtree(scratch, ignore_errors=True)
            """,
    },
)

INCIDENTS = (kitty, kitty_left_out, agentic_hil, datalad, ntm, goverlay, goverlay_prefix)
