"""Clean-up that takes whatever lies at a place of the checkout for its own."""

from __future__ import annotations

from dataclasses import replace

from ..incident import Incident, Reach

WORKSPACE_REASON = (
    "the rootdir belongs to its suite by default: a change there is kept as a pre-image and listed, not refused"
)

HISTORY = "checkout/workspace/.app/chat_history"

icotes = Incident(
    id="icotes-chat-history-glob",
    url="https://github.com/penthoy/icotes/commit/a2754da",
    year=2025,
    happened=(
        "A session-wide fixture of a chat application swept the history folder by glob and took the "
        "developer's real chats along."
    ),
    mechanism="clean-up by glob",
    data="checkout",
    seeds={
        f"{HISTORY}/session_real.meta.json": '{"title": "taxes"}\n',
        f"{HISTORY}/x_session-1.jsonl": '{"role": "user"}\n',
    },
    project={
        "conftest.py": """
            from pathlib import Path

            import pytest

            HISTORY = Path(__file__).parent / "workspace/.app/chat_history"


            @pytest.fixture(scope="session", autouse=True)
            def tidy_history():
                yield
                for pattern in ("session_*.meta.json", "*_session-*.jsonl"):
                    for leftover in HISTORY.glob(pattern):
                        leftover.unlink()
            """,
        "test_sum.py": """
            def test_sum():
                assert 1 + 1 == 2
            """,
    },
    git=True,
    harmed=(f"gone {HISTORY}/session_real.meta.json", f"gone {HISTORY}/x_session-1.jsonl"),
    culprit="test_sum.py::test_sum",
    named_path=f"{HISTORY}/session_real.meta.json",
    reach=Reach.LINE,
    line="session_guard_share = {rootdir}/workspace/.app/chat_history",
    reason=WORKSPACE_REASON,
)

icotes_young = replace(
    icotes,
    variant="younger-than-five-minutes",
    project={
        **icotes.project,
        "conftest.py": """
            import time
            from pathlib import Path

            import pytest

            HISTORY = Path(__file__).parent / "workspace/.app/chat_history"


            @pytest.fixture(scope="session", autouse=True)
            def tidy_recent_history():
                yield
                for pattern in ("session_*.meta.json", "*_session-*.jsonl"):
                    for leftover in HISTORY.glob(pattern):
                        if time.time() - leftover.stat().st_mtime < 300:
                            leftover.unlink()
            """,
    },
)

icotes_own = replace(
    icotes,
    variant="own-session-beside",
    project={
        **icotes.project,
        "test_sum.py": """
            from pathlib import Path


            def test_sum():
                own = Path(__file__).parent / "workspace/.app/chat_history/session_of_the_test.meta.json"
                own.write_text("{}")
                assert own.exists()
            """,
    },
)

ftw = Incident(
    id="ftw-baselines-data-dir",
    url="https://github.com/fieldsoftheworld/ftw-baselines/issues/178",
    year=2025,
    happened=(
        "The test of a download command left out the output option, so the forced clean start emptied the "
        "users' data folder."
    ),
    mechanism="relative path",
    data="checkout",
    seeds={"checkout/data/user_dataset.bin": b"\x00\x01 hours of download"},
    project={
        "fields.py": """
            import os
            import shutil


            def download(out="./data", clean=False):
                target = os.path.abspath(out)
                if clean:
                    shutil.rmtree(target, ignore_errors=True)
                os.makedirs(target, exist_ok=True)
                with open(os.path.join(target, "new.bin"), "wb") as file:
                    file.write(b"fetched")


            def main(arguments):
                download(clean="-f" in arguments)
                return 0
            """,
        "test_cli.py": """
            from fields import main


            def test_forced_download():
                assert main(["-f"]) == 0
            """,
    },
    git=True,
    harmed=("gone checkout/data/user_dataset.bin", "new checkout/data/new.bin"),
    culprit="test_cli.py::test_forced_download",
    named_path="checkout/data/user_dataset.bin",
    reach=Reach.LINE,
    line="session_guard_protect = {rootdir}/data",
    reason=WORKSPACE_REASON,
)

railtracks = Incident(
    id="railtracks-rmtree",
    url="https://github.com/RailtownAI/railtracks/issues/960",
    year=2026,
    happened=(
        "At the end of every session the suite removed the store folder of the working directory, which held "
        "the user's own sessions."
    ),
    mechanism="relative path",
    data="checkout",
    seeds={"checkout/.store/sessions/real.json": '{"messages": 41}\n'},
    project={
        "conftest.py": """
            import shutil

            import pytest


            @pytest.fixture(scope="session", autouse=True)
            def remove_store():
                yield
                shutil.rmtree(".store", ignore_errors=True)
            """,
        "test_flow.py": """
            def test_flow():
                assert sorted("ba") == ["a", "b"]
            """,
    },
    git=True,
    harmed=("gone checkout/.store/",),
    culprit="test_flow.py::test_flow",
    named_path="checkout/.store",
    reach=Reach.LINE,
    line="session_guard_protect = {rootdir}/.store",
    reason=WORKSPACE_REASON,
)

django_filer = Incident(
    id="django-filer-media",
    url="https://github.com/django-cms/django-filer/issues/167",
    year=2012,
    happened=(
        "A site ran its full suite, and the tests of an installed package removed the media folder with "
        "everything ever uploaded."
    ),
    mechanism="default path of a dependency",
    data="checkout",
    seeds={"checkout/media/2011/wedding.jpg": b"\xff\xd8 picture"},
    project={
        "site_settings.py": """
            from pathlib import Path

            MEDIA = Path(__file__).parent / "media"
            """,
        "thirdparty/test_storage.py": """
            import shutil
            import unittest

            import site_settings


            class StorageTests(unittest.TestCase):
                def tearDown(self):
                    shutil.rmtree(site_settings.MEDIA)

                def test_location(self):
                    self.assertEqual(site_settings.MEDIA.name, "media")
            """,
        "pytest.ini": """
            [pytest]
            pythonpath = .
            """,
    },
    git=True,
    harmed=("gone checkout/media/",),
    culprit="thirdparty/test_storage.py::StorageTests::test_location",
    named_path="checkout/media",
    reach=Reach.LINE,
    line="session_guard_share = {rootdir}/media",
    reason=WORKSPACE_REASON,
)

genesis = Incident(
    id="genesis-png-snapshots",
    url="https://github.com/Genesis-Embodied-AI/genesis-world/pull/3096",
    year=2026,
    happened=(
        "Parallel workers cleared the reference pictures for an update that only the controller could write, "
        "and it knew of none."
    ),
    mechanism="clean-up by glob, parallel workers",
    data="checkout",
    seeds={"checkout/ref/left.png": b"\x89PNG left", "checkout/ref/right.png": b"\x89PNG right"},
    project={
        "conftest.py": """
            from pathlib import Path

            import pytest

            REFERENCES = Path(__file__).parent / "ref"
            RENDERED = {}


            @pytest.fixture(autouse=True)
            def start_from_none():
                for stale in REFERENCES.glob("*.png"):
                    stale.unlink()


            def pytest_sessionfinish(session):
                if not hasattr(session.config, "workerinput"):
                    for name, pixels in RENDERED.items():
                        (REFERENCES / name).write_bytes(pixels)
            """,
        "test_render.py": """
            import conftest


            def test_render_left():
                conftest.RENDERED["left.png"] = b"new left"
            """,
    },
    git=True,
    arguments=("-n", "1"),
    plugins=("xdist", "xdist.looponfail"),
    harmed=("gone checkout/ref/left.png", "gone checkout/ref/right.png"),
    culprit="test_render.py::test_render_left",
    named_path="checkout/ref/left.png",
    reach=Reach.LINE,
    line="session_guard_protect = {rootdir}/ref",
    reason=WORKSPACE_REASON,
)

INCIDENTS = (icotes, icotes_young, icotes_own, ftw, railtracks, django_filer, genesis)
