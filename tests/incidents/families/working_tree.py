"""Files of the working tree that a suite overwrites or litters."""

from __future__ import annotations

from functools import partial

from ..incident import Incident, Reach
from ..stand_ins import start_heartbeat
from .cleanups import WORKSPACE_REASON

sutando = Incident(
    id="sutando-control-signals",
    url="https://github.com/sonichi/sutando/issues/2616",
    year=2026,
    happened=(
        "Tests wrote control files that the running agent of the same checkout obeys, while that agent kept "
        "writing its own beside them."
    ),
    mechanism="live program in the same checkout",
    data="checkout",
    seeds={"checkout/state/cooldown.json": '{"until": 900}\n', "checkout/state/heartbeat.json": '{"beat": 0}\n'},
    project={
        "agent.py": """
            import json
            from pathlib import Path

            STATE = Path(__file__).parent / "state"


            def cool_down(until):
                (STATE / "cooldown.json").write_text(json.dumps({"until": until}))
            """,
        "test_agent.py": """
            import time

            import agent


            def test_cool_down():
                agent.cool_down(until=0)
                time.sleep(0.1)
            """,
    },
    git=True,
    stand_in=partial(start_heartbeat, name="checkout/state/heartbeat.json"),
    bystanders=("checkout/state/heartbeat.json",),
    harmed=("changed checkout/state/cooldown.json",),
    culprit="test_agent.py::test_cool_down",
    named_path="checkout/state/cooldown.json",
    reach=Reach.LINE,
    line="session_guard_protect = {rootdir}/state",
    reason=WORKSPACE_REASON,
)

pipenv = Incident(
    id="pipenv-dotenv",
    url="https://github.com/pypa/pipenv/issues/1729",
    year=2018,
    happened=(
        "A test wrote its own .env into the working directory and removed it afterwards; the developer's "
        "secrets had been in it."
    ),
    mechanism="opened for writing, which truncates",
    data="checkout",
    seeds={"checkout/.env": "API_KEY=real\n"},
    project={
        "test_dotenv.py": """
            import os
            import subprocess
            import sys


            def test_variables_are_loaded():
                with open(".env", "w") as file:
                    file.write("TEST=1")
                loaded = subprocess.check_output([sys.executable, "-c", "print(open('.env').read())"], text=True)
                os.remove(".env")
                assert loaded == "TEST=1\\n"
            """,
    },
    git=True,
    harmed=("gone checkout/.env",),
    culprit="test_dotenv.py::test_variables_are_loaded",
    named_path="checkout/.env",
    reach=Reach.LINE,
    line="session_guard_share = {rootdir}/.env",
    reason=WORKSPACE_REASON,
)

probos = Incident(
    id="probos-magicmock-dirs",
    url="https://github.com/seangalliher/ProbOS/issues/797",
    year=2026,
    happened=(
        "A bare mock stood in for the settings, its text became a path, and thousands of directories named "
        "after it filled the tree."
    ),
    mechanism="mock used as a path",
    data="checkout",
    project={
        "service.py": """
            from pathlib import Path


            class Service:
                def __init__(self, settings):
                    self.directory = Path(str(settings.data_dir).strip("<>"))
                    self.directory.mkdir(parents=True)
            """,
        "test_service.py": """
            from unittest.mock import MagicMock

            from service import Service


            def test_service():
                settings = MagicMock()
                settings.data_dir.__str__.return_value = f"MagicMock/mock.data_dir/{id(settings)}"
                assert Service(settings).directory.is_dir()
            """,
    },
    git=True,
    harmed=("new checkout/MagicMock/",),
    culprit="test_service.py::test_service",
    named_path="checkout/MagicMock",
    reach=Reach.LINE,
    line="session_guard_workspace = protected",
    reason="suites may create files in their rootdir by default; what they create is recorded",
)

INCIDENTS = (sutando, pipenv, probos)
