"""Writers of another program's configuration, and of keys that live beside the one redirected directory."""

from __future__ import annotations

from ..incident import Incident

doberman = Incident(
    id="doberman-hooks",
    url="https://github.com/DobermanCore/Doberman-Core/pull/577",
    year=2026,
    happened=(
        "The tool's own directory was redirected, the settings of the agent it hooks into were not: uninstall "
        "tests removed the live hooks."
    ),
    mechanism="configuration of another program",
    data="home",
    seeds={"home/.agent/settings.json": '{"hooks": {"tool": ["a", "b", "c"], "other": []}}\n'},
    project={
        "tool.py": """
            import json
            from pathlib import Path


            def main(arguments):
                settings = Path.home() / ".agent/settings.json"
                if arguments == ["uninstall"] and settings.exists():
                    content = json.loads(settings.read_text())
                    content["hooks"].pop("tool", None)
                    settings.write_text(json.dumps(content))
                return 0
            """,
        "conftest.py": """
            import pytest


            @pytest.fixture(autouse=True)
            def own_directory(tmp_path, monkeypatch):
                monkeypatch.setenv("TOOL_HOME", str(tmp_path))
            """,
        "test_uninstall.py": """
            from tool import main


            def test_uninstall():
                assert main(["uninstall"]) == 0
            """,
    },
    harmed=("changed home/.agent/settings.json",),
    culprit="test_uninstall.py::test_uninstall",
    named_path="home/.agent/settings.json",
)

nauro = Incident(
    id="nauro-codex-config",
    url="https://github.com/Nauro-AI/nauro/pull/363",
    year=2026,
    happened=(
        "One test among some two thousand ran the full setup without a fake home and rewrote the "
        "configuration of another agent and two skills."
    ),
    mechanism="configuration of another program",
    data="home",
    seeds={
        "home/.codex/config.toml": 'model = "large"\n',
        "home/.codex/skills/plan/SKILL.md": "# my plan\n",
        "home/.codex/skills/review/SKILL.md": "# my review\n",
    },
    project={
        "setup_all.py": """
            import sys
            from pathlib import Path


            def setup_all(with_hooks):
                codex = Path.home() / ".codex"
                if with_hooks:
                    for skill in ("plan", "review"):
                        (codex / "skills" / skill).mkdir(parents=True, exist_ok=True)
                        (codex / "skills" / skill / "SKILL.md").write_text("# shipped\\n")
                    (codex / "config.toml").write_text(f"command = {sys.executable!r}\\n")
            """,
        "test_setup.py": """
            import pytest
            from setup_all import setup_all


            @pytest.mark.parametrize("with_hooks", (False, True))
            def test_setup_with_home(with_hooks, tmp_path, monkeypatch):
                monkeypatch.setenv("HOME", str(tmp_path))
                setup_all(with_hooks)


            def test_setup_with_hooks():
                setup_all(with_hooks=True)
            """,
    },
    harmed=(
        "changed home/.codex/config.toml",
        "changed home/.codex/skills/plan/SKILL.md",
        "changed home/.codex/skills/review/SKILL.md",
    ),
    culprit="test_setup.py::test_setup_with_hooks",
    named_path="home/.codex/skills/plan/SKILL.md",
)

connectonion = Incident(
    id="connectonion-keys",
    url="https://github.com/openonion/connectonion/issues/970",
    year=2026,
    happened=(
        "An authentication test mocked the network but not the file that keeps the token; days later the "
        "user's login had expired."
    ),
    mechanism="default path below the home",
    data="home",
    seeds={"home/.co/keys.env": "TOKEN=real\n", "home/.other/auth.json": '{"key": "real"}\n'},
    project={
        "auth.py": """
            from pathlib import Path


            def post(url):
                raise OSError("no network")


            def authenticate():
                token = post("https://login.invalid")
                keys = Path.home() / ".co/keys.env"
                keys.parent.mkdir(exist_ok=True)
                with keys.open("a") as file:
                    file.write(f"TOKEN={token}\\n")
            """,
        "test_auth.py": """
            import json
            from pathlib import Path

            import auth


            def test_authenticate(tmp_path, monkeypatch):
                monkeypatch.chdir(tmp_path)
                monkeypatch.setattr(auth, "post", lambda url: "fake")
                auth.authenticate()


            def test_real_api():
                assert json.loads((Path.home() / ".other/auth.json").read_text())["key"] == "real"
            """,
    },
    harmed=("changed home/.co/keys.env",),
    culprit="test_auth.py::test_authenticate",
    named_path="home/.co/keys.env",
)

INCIDENTS = (doberman, nauro, connectonion)
