"""The same small damage in every phase of pytest, most of them outside any test."""

from __future__ import annotations

import os
import shutil
import subprocess

from ..vector import Host, Scene, vector

HOSTS: tuple[Host, ...] = (
    "test_module_import",
    "conftest_import",
    "configure",
    "collection_hook",
    "fixture_setup",
    "fixture_teardown",
    "session_fixture_teardown",
    "unittest_teardown_class",
    "runtest_logreport",
    "sessionfinish",
    "terminal_summary",
    "unconfigure",
)


def _register(host: Host) -> None:
    def remove(s: Scene) -> None:
        os.remove(s.notes)

    def shell(s: Scene) -> None:
        subprocess.run(["rm", str(s.notes)], check=False, stderr=subprocess.DEVNULL)

    remove.__name__, shell.__name__ = f"phase_{host}_remove", f"phase_{host}_shell"
    vector("phase", host=host)(remove)
    vector("phase", host=host)(shell)


for _host in HOSTS:
    _register(_host)


@vector("phase", host="session_fixture_teardown")
def phase_cleanup_of_everything_young(s: Scene) -> None:
    """The accident that is told most often: a clean-up that takes the real store for its own."""
    for name in os.listdir(s.home / ".prot"):
        path = s.prot / name
        try:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except Exception:
            continue
