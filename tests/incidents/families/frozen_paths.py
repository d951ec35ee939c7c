"""Paths that were fixed at import, as a constant, an alias or a default argument, so that later patches miss them."""

from __future__ import annotations

from dataclasses import replace

from ..incident import Incident, Reach
from .cleanups import WORKSPACE_REASON

constants = Incident(
    id="kirocrew-constants",
    url="https://github.com/kirodotdev/KiroCrew/issues/874",
    year=2026,
    happened=(
        "Sixteen path constants were fixed while modules loaded; the fixture that set the variable came "
        "later, and usage rows piled up."
    ),
    mechanism="constant fixed at import",
    data="home",
    seeds={"home/.tool/usage.jsonl": '{"tokens": 12}\n'},
    project={
        "usage.py": """
            import json
            import os
            from pathlib import Path

            LOG = Path(os.environ.get("TOOL_HOME", Path.home() / ".tool")) / "usage.jsonl"


            def record(entry):
                LOG.parent.mkdir(exist_ok=True)
                with LOG.open("a") as file:
                    file.write(json.dumps(entry) + "\\n")
            """,
        "conftest.py": """
            import pytest
            import usage


            @pytest.fixture(autouse=True)
            def own_directory(tmp_path, monkeypatch):
                monkeypatch.setenv("TOOL_HOME", str(tmp_path))
            """,
        "test_usage.py": """
            import usage


            def test_record():
                usage.record({"tokens": 1})
            """,
    },
    harmed=("changed home/.tool/usage.jsonl",),
    culprit="test_usage.py::test_record",
    named_path="home/.tool/usage.jsonl",
)

late_thread = Incident(
    id="kirocrew-late-thread",
    url="https://github.com/kirodotdev/KiroCrew/issues/9123",
    year=2026,
    happened=(
        "A background thread outlived the test that had redirected its directory, looked it up again, and "
        "removed the real grant file."
    ),
    mechanism="thread that outlives the redirect",
    data="home",
    seeds={"home/.tool/grant.json": '{"granted": true}\n'},
    project={
        "pump.py": """
            import os
            import threading
            import time
            from pathlib import Path


            def directory():
                return Path(os.environ.get("TOOL_HOME", Path.home() / ".tool"))


            def expire():
                (directory() / "grant.json").unlink(missing_ok=True)


            def run():
                while True:
                    time.sleep(0.02)
                    expire()


            def start():
                threading.Thread(target=run, daemon=True).start()
            """,
        "test_pump.py": """
            import time

            import pump


            def test_start(tmp_path, monkeypatch):
                monkeypatch.setenv("TOOL_HOME", str(tmp_path))
                pump.start()


            def test_something_else():
                time.sleep(0.15)
            """,
    },
    harmed=("gone home/.tool/grant.json",),
    culprit="test_pump.py::test_start",
    named_path="home/.tool/grant.json",
)

late_exit = replace(
    late_thread,
    variant="exit-handler",
    project={
        **late_thread.project,
        "test_pump.py": """
            import atexit

            import pump


            def test_start(tmp_path, monkeypatch):
                monkeypatch.setenv("TOOL_HOME", str(tmp_path))
                atexit.register(pump.expire)
            """,
    },
    culprit="pump.py:",
)

pwpush = Incident(
    id="pwpush-cli-config",
    url="https://github.com/pglombardo/pwpush-cli/pull/1301",
    year=2026,
    happened=(
        "One test changed the loaded configuration in memory; a later command found it in need of repair and "
        "saved it over the user's file."
    ),
    mechanism="stale state in memory saved later",
    data="home",
    seeds={"home/.config/pwpush/config.ini": "[instance]\nurl = https://push.example.org\n"},
    project={
        "config.py": """
            from configparser import ConfigParser
            from pathlib import Path

            USER_FILE = Path.home() / ".config/pwpush/config.ini"
            CONFIG = ConfigParser()
            CONFIG.read(USER_FILE)
            if not CONFIG.has_section("instance"):
                CONFIG.add_section("instance")


            def save():
                USER_FILE.parent.mkdir(parents=True, exist_ok=True)
                with USER_FILE.open("w") as file:
                    CONFIG.write(file)


            def validate():
                if "token" not in CONFIG["instance"]:
                    CONFIG["instance"]["token"] = "none"
                    save()
            """,
        "test_push.py": """
            import config


            def test_url():
                config.CONFIG["instance"]["url"] = "http://test"
                assert config.CONFIG["instance"]["url"].startswith("http")


            def test_push():
                config.validate()
            """,
    },
    harmed=("changed home/.config/pwpush/config.ini",),
    culprit="test_push.py::test_push",
    named_path="home/.config/pwpush/config.ini",
)

nanopub = Incident(
    id="nanopub-2026-constants",
    url="https://github.com/Nanopublication/nanopub-py/issues/269",
    year=2026,
    happened=(
        "Fixtures patched the key directory in both modules that named it; the function's default argument "
        "still held the real one."
    ),
    mechanism="default argument fixed at import",
    data="home",
    seeds={"home/.np/id": b"-----REAL KEY-----"},
    project={
        "profile_paths.py": """
            from pathlib import Path

            DIRECTORY = Path.home() / ".np"
            """,
        "keys.py": """
            from profile_paths import DIRECTORY


            def store(key, where=DIRECTORY):
                where.mkdir(exist_ok=True)
                (where / "id").write_bytes(key)
            """,
        "test_keys.py": """
            import keys
            import profile_paths


            def test_store(tmp_path, monkeypatch):
                monkeypatch.setattr(profile_paths, "DIRECTORY", tmp_path)
                monkeypatch.setattr(keys, "DIRECTORY", tmp_path)
                keys.store(b"abc")
            """,
    },
    harmed=("changed home/.np/id",),
    culprit="test_keys.py::test_store",
    named_path="home/.np/id",
)

watchdog = Incident(
    id="ai-watchdog-log",
    url="https://github.com/tomcounsell/ai/issues/2643",
    year=2026,
    happened=(
        "Importing the watchdog opened its rotating incident log; the tests' alarms filled it until the real "
        "entries rotated away."
    ),
    mechanism="side effect of an import",
    data="checkout",
    seeds={"checkout/logs/w.log": "CRITICAL a real incident\n"},
    project={
        "watchdog.py": """
            import logging
            from logging.handlers import RotatingFileHandler
            from pathlib import Path

            log = logging.getLogger("watchdog")
            log.addHandler(RotatingFileHandler(Path(__file__).parent / "logs/w.log", maxBytes=200, backupCount=1))


            def alert(message):
                log.critical(message)
            """,
        "test_watchdog.py": """
            import pytest
            import watchdog


            @pytest.mark.parametrize("number", range(10))
            def test_alert(number):
                watchdog.alert("CRITICAL invented, and long enough to fill the file soon " + str(number))
            """,
    },
    git=True,
    harmed=("changed checkout/logs/w.log", "new checkout/logs/w.log.1"),
    culprit="watchdog.py:",
    named_path="checkout/logs/w.log",
    reach=Reach.LINE,
    line="session_guard_protect = {rootdir}/logs",
    reason=WORKSPACE_REASON,
)

trainingpeaks = Incident(
    id="trainingpeaks-credentials",
    url="https://github.com/JamsusMaximus/trainingpeaks-mcp/pull/140",
    year=2026,
    happened=(
        "Before and after every test the suite removed the credentials file named by an imported constant, so "
        "each run logged the user out."
    ),
    mechanism="constant fixed at import",
    data="home",
    seeds={"home/.config/tp/cred.enc": b"\x8asecret"},
    project={
        "store.py": """
            from pathlib import Path

            FILE = Path.home() / ".config/tp/cred.enc"
            """,
        "test_store.py": """
            import pytest
            from store import FILE


            @pytest.fixture(autouse=True)
            def logged_out():
                FILE.unlink(missing_ok=True)
                yield
                FILE.unlink(missing_ok=True)


            def test_suffix():
                assert FILE.suffix == ".enc"
            """,
    },
    harmed=("gone home/.config/tp/cred.enc",),
    culprit="test_store.py::test_suffix",
    named_path="home/.config/tp/cred.enc",
)

INCIDENTS = (constants, late_thread, late_exit, pwpush, nanopub, watchdog, trainingpeaks)
