"""SQLite files that a suite takes for a scratch database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..incident import Incident, Reach, Rows
from ..scene import Scene
from ..stand_ins import DataServer, serve_tables
from .cleanups import WORKSPACE_REASON

shopcube = Incident(
    id="shopcube-drop-all",
    url="https://github.com/Abdur-rahmaanJ/shopcube/issues/344",
    year=2021,
    happened="Fixtures of a shop dropped all tables of the application's default database when they were done with it.",
    mechanism="SQLite file of the application",
    data="checkout",
    seeds={"checkout/shop.db": Rows({"orders": ("42 lamps",), "users": ("ann", "bob")})},
    project={
        "shop.py": """
            import os

            DATABASE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shop.db")
            """,
        "conftest.py": """
            import sqlite3

            import pytest
            import shop


            @pytest.fixture(autouse=True)
            def tables():
                connection = sqlite3.connect(shop.DATABASE)
                connection.execute("CREATE TABLE IF NOT EXISTS users (value TEXT)")
                connection.commit()
                yield
                for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                    connection.execute(f"DROP TABLE {name}")
                connection.commit()
                connection.close()
            """,
        "test_users.py": """
            def test_name():
                assert "ann".title() == "Ann"
            """,
    },
    git=True,
    harmed=("changed checkout/shop.db",),
    culprit="test_users.py::test_name",
    named_path="checkout/shop.db",
    reach=Reach.LINE,
    line="session_guard_protect = {rootdir}/shop.db",
    reason=WORKSPACE_REASON,
)

lifeos = Incident(
    id="lifeos-agent-sessions",
    url="https://github.com/nbramia/LifeOS/issues/652",
    year=2026,
    happened=(
        "A fixture redirected the known stores one by one and missed the newest, which collected invented "
        "sessions on every push."
    ),
    mechanism="SQLite file of the application",
    data="checkout",
    seeds={f"checkout/data/{name}.db": Rows({"sessions": ("real",)}) for name in ("calls", "mails", "agents")},
    project={
        "stores.py": """
            import os
            import sqlite3

            DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")


            class Store:
                def __init__(self, name):
                    self.path = os.path.join(DATA, name + ".db")

                def add(self, value):
                    connection = sqlite3.connect(self.path)
                    connection.execute("CREATE TABLE IF NOT EXISTS sessions (value TEXT)")
                    connection.execute("INSERT INTO sessions VALUES (?)", (value,))
                    connection.commit()
                    connection.close()


            CALLS, MAILS, AGENTS = Store("calls"), Store("mails"), Store("agents")
            """,
        "conftest.py": """
            import pytest
            import stores


            @pytest.fixture(autouse=True)
            def redirect(tmp_path, monkeypatch):
                monkeypatch.setattr(stores.CALLS, "path", str(tmp_path / "calls.db"))
                monkeypatch.setattr(stores.MAILS, "path", str(tmp_path / "mails.db"))
            """,
        "test_stores.py": """
            import stores


            def test_each_store_takes_a_row():
                for store in (stores.CALLS, stores.MAILS, stores.AGENTS):
                    store.add("invented")
            """,
    },
    git=True,
    harmed=("changed checkout/data/agents.db",),
    culprit="test_stores.py::test_each_store_takes_a_row",
    named_path="checkout/data/agents.db",
    reach=Reach.LINE,
    line="session_guard_protect = {rootdir}/data",
    reason=WORKSPACE_REASON,
)


@contextmanager
def serve_nothing(scene: Scene) -> Iterator[DataServer]:
    """Let the suite's probe for a database server succeed."""
    with serve_tables({}, scene) as server:
        yield server


cortex = Incident(
    id="cortex-memory-db",
    url="https://github.com/cdeust/Cortex/issues/219",
    year=2026,
    happened=(
        "The redirect of a memory store hung on a probe for a server; the probe said yes, the store used its "
        "file, and clean-up emptied it."
    ),
    mechanism="SQLite file of the application, conditional redirect",
    data="home",
    seeds={"home/.tool/memory.db": Rows({"memories": ("first", "second"), "links": ("first-second",)})},
    project={
        "store.py": """
            import os
            import sqlite3
            from pathlib import Path

            DATABASE = os.environ.get("TOOL_DB", str(Path.home() / ".tool/memory.db"))
            _open = {}


            def connect():
                if "it" not in _open:
                    os.makedirs(os.path.dirname(DATABASE), exist_ok=True)
                    _open["it"] = sqlite3.connect(DATABASE)
                return _open["it"]


            def tables():
                return [name for (name,) in connect().execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            """,
        "conftest.py": """
            import os
            import socket
            import tempfile

            import pytest


            def server_answers():
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", int(os.environ["APP_PORT"]))) == 0


            if not server_answers():
                os.environ["TOOL_DB"] = os.path.join(tempfile.mkdtemp(), "memory.db")

            import store


            @pytest.fixture(autouse=True)
            def forget():
                yield
                for name in store.tables():
                    store.connect().execute(f"DELETE FROM {name}")
                store.connect().commit()
            """,
        "test_recall.py": """
            def test_recall():
                assert "memory"[:3] == "mem"
            """,
    },
    stand_in=serve_nothing,
    environment={"APP_PORT": "@port@"},
    harmed=("changed home/.tool/memory.db",),
    culprit="test_recall.py::test_recall",
    named_path="home/.tool/memory.db",
)

INCIDENTS = (shopcube, lifeos, cortex)
