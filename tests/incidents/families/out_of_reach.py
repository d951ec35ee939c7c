"""Harm that no file system guard can hold: servers, service managers, signals, and what runs before pytest does.

Each is run up to the edge against a stand-in on the loopback interface, and the harm is measured under the plugin too.
"""

from __future__ import annotations

from functools import partial

from ..incident import Incident, Reach
from ..stand_ins import serve_tables, start_daemon

SEND = """
    import os
    import socket


    def send(line):
        with socket.create_connection(("127.0.0.1", int(os.environ["APP_PORT"]))) as connection:
            connection.sendall(line.encode() + b"\\n")
            return connection.makefile().readline().strip()
    """
NETWORK_REASON = (
    "the rows live behind a socket: refuse the connection with pytest-socket, or give tests their own server"
)

osf = Incident(
    id="osf-elastic",
    url="https://github.com/CenterForOpenScience/osf.io/issues/1228",
    year=2014,
    happened=(
        "The name of the search index was fixed as a default argument, so tests cleared the real one and it "
        "had to be rebuilt."
    ),
    mechanism="remote database",
    data="server",
    project={
        "search.py": """
            import http.client
            import os

            INDEX = "website"


            def delete_index(index=INDEX):
                connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["APP_PORT"]))
                connection.request("DELETE", f"/{index}")
                return connection.getresponse().status
            """,
        "test_search.py": """
            import search


            def test_search(monkeypatch):
                monkeypatch.setattr(search, "INDEX", "test")
                assert search.delete_index() == 200
            """,
    },
    stand_in=partial(serve_tables, {"website": ("real document",)}),
    environment={"APP_PORT": "@port@"},
    harmed=("gone server/website",),
    culprit="",
    named_path="",
    reach=Reach.OUT,
    reason=NETWORK_REASON,
)

cs373 = Incident(
    id="cs373-idb-prod",
    url="https://github.com/holtk/cs373-idb/issues/29",
    year=2016,
    happened=(
        "Unit tests made and dropped all tables through the one database address that the application had: production."
    ),
    mechanism="remote database",
    data="server",
    project={
        "database.py": SEND,
        "test_models.py": """
            import unittest

            import database


            class ModelTests(unittest.TestCase):
                def tearDown(self):
                    for table in database.send("LIST").split():
                        database.send(f"DROP {table}")

                def test_model(self):
                    self.assertTrue(True)
            """,
    },
    stand_in=partial(serve_tables, {"players": ("ann",), "teams": ("red",)}),
    environment={"APP_PORT": "@port@"},
    harmed=("gone server/players", "gone server/teams"),
    culprit="",
    named_path="",
    reach=Reach.OUT,
    reason=NETWORK_REASON,
)

oed = Incident(
    id="oed-prod-db",
    url="https://github.com/OpenEnergyDashboard/OED/issues/345",
    year=2018,
    happened=(
        "Without a test configuration the settings fell back to production, and the hook before each test "
        "emptied every table."
    ),
    mechanism="remote database",
    data="server",
    project={
        "database.py": SEND,
        "conftest.py": """
            import database
            import pytest


            @pytest.fixture(autouse=True)
            def empty_tables():
                for table in database.send("LIST").split():
                    database.send(f"TRUNCATE {table}")
            """,
        "test_meters.py": """
            def test_unit():
                assert "kWh".lower() == "kwh"
            """,
    },
    stand_in=partial(serve_tables, {"meters": ("hall",), "readings": ("1", "2")}),
    environment={"APP_PORT": "@port@"},
    harmed=("changed server/meters", "changed server/readings"),
    culprit="",
    named_path="",
    reach=Reach.OUT,
    reason=NETWORK_REASON,
)

doctrine = Incident(
    id="doctrine-mongodb",
    url="https://github.com/doctrine/mongodb/pull/46",
    year=2012,
    happened="Functional tests tidied up by dropping each database that the server listed, whosever it was.",
    mechanism="remote database, clean-up by listing",
    data="server",
    project={
        "database.py": SEND,
        "test_collection.py": """
            import database
            import pytest


            @pytest.fixture(autouse=True)
            def tidy():
                yield
                for name in database.send("LIST").split():
                    database.send(f"DROP {name}")


            def test_insert():
                assert database.send("LIST")
            """,
    },
    stand_in=partial(serve_tables, {"app": ("mine",), "shop": ("mine too",)}),
    environment={"APP_PORT": "@port@"},
    harmed=("gone server/app", "gone server/shop"),
    culprit="",
    named_path="",
    reach=Reach.OUT,
    reason=NETWORK_REASON,
)

flink = Incident(
    id="flink-redis-flushdb",
    url="https://github.com/jeff-zou/flink-connector-redis/issues/42",
    year=2023,
    happened="A contributor pointed the suite at the key store at hand, and the step before each test flushed it.",
    mechanism="remote database",
    data="server",
    project={
        "database.py": SEND,
        "test_sink.py": """
            import database
            import pytest


            @pytest.fixture(autouse=True)
            def flush():
                database.send("FLUSHDB")


            def test_sink():
                assert database.send("LIST") == ""
            """,
    },
    stand_in=partial(serve_tables, {"cart": ("17",), "visits": ("90210",)}),
    environment={"APP_PORT": "@port@"},
    harmed=("gone server/cart", "gone server/visits"),
    culprit="",
    named_path="",
    reach=Reach.OUT,
    reason=NETWORK_REASON,
)

lerd = Incident(
    id="lerd-launchd",
    url="https://github.com/lerd-env/lerd/issues/1622",
    year=2026,
    happened=(
        "A fake home moved the unit file but not the service manager, which replaced and then removed the "
        "user's real agent."
    ),
    mechanism="service manager",
    data="system",
    project={
        "bin/svcctl": """
            #!@python@
            import os
            import socket
            import sys

            with socket.create_connection(("127.0.0.1", int(os.environ["APP_PORT"]))) as connection:
                connection.sendall(f"{sys.argv[1].upper()} {sys.argv[2]}\\n".encode())
                connection.makefile().readline()
            """,
        "test_service.py": """
            import subprocess
            from pathlib import Path


            def test_service(tmp_path, monkeypatch):
                monkeypatch.setenv("HOME", str(tmp_path))
                (Path.home() / "agent.plist").write_text("<plist/>")
                subprocess.run(["svcctl", "load", "org.lerd.agent"], check=True)
                subprocess.run(["svcctl", "unload", "org.lerd.agent"], check=True)
            """,
    },
    stand_in=partial(serve_tables, {"org.lerd.agent": ("loaded by the user",)}),
    environment={"APP_PORT": "@port@"},
    harmed=("gone server/org.lerd.agent",),
    culprit="",
    named_path="",
    reach=Reach.OUT,
    reason="the service manager acts on request, outside the run: put a fake tool first on PATH for tests",
)

osa = Incident(
    id="osa-daemon-killed",
    url="https://github.com/Miosa-osa/OSA/issues/272",
    year=2026,
    happened=(
        "Tests of an uninstaller looked up who listens on the usual port and stopped it: the developer's live daemon."
    ),
    mechanism="signal to a foreign process",
    data="process",
    project={
        "uninstall.py": """
            import os
            import signal
            import socket


            def who_listens(port):
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    return int(connection.makefile().read())


            def uninstall(port):
                os.kill(who_listens(port), signal.SIGTERM)
            """,
        "test_uninstall.py": """
            import os

            import uninstall


            def test_uninstall():
                uninstall.uninstall(int(os.environ["APP_PORT"]))
            """,
    },
    stand_in=start_daemon,
    environment={"APP_PORT": "@port@"},
    harmed=("gone process/daemon",),
    culprit="",
    named_path="",
    reach=Reach.OUT,
    reason="a signal changes no file; run the suite in a process namespace of its own (a container)",
)

tox = Incident(
    id="tox-envdir-project",
    url="https://github.com/tox-dev/tox/issues/352",
    year=2016,
    happened=(
        "An environment directory configured as the project itself was recreated, that is removed, before any "
        "test began."
    ),
    mechanism="runner that removes before pytest starts",
    data="checkout",
    seeds={"checkout/src/product.py": "VALUE = 1\n"},
    project={
        "envdir.txt": """
            @checkout@
            """,
        "test_product.py": """
            def test_product():
                assert True
            """,
        "bin/recreate": """
            #!@python@
            import os
            import shutil
            import sys
            from pathlib import Path

            envdir = Path("envdir.txt").read_text().strip()
            shutil.rmtree(envdir)
            os.mkdir(envdir)
            os.chdir(envdir)
            Path("test_made.py").write_text("def test_made():\\n    assert True\\n")
            os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]])
            """,
    },
    command=("@bin@/recreate",),
    harmed=(
        "gone checkout/envdir.txt",
        "gone checkout/pytest.ini",
        "gone checkout/src/",
        "gone checkout/test_product.py",
        "new checkout/test_made.py",
    ),
    culprit="",
    named_path="",
    reach=Reach.OUT,
    reason="the runner removes before pytest, and with it the plugin, has started",
)

INCIDENTS = (osf, cs373, oed, doctrine, flink, lerd, osa, tox)
