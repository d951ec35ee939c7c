"""A layer that does not hold is found out before anything of the suite runs, whatever it says of itself."""

from __future__ import annotations

import pytest
from capabilities import mount_namespace
from isolated import ordinary_account
from project import MakeProject, Project, Result

from pytest_session_guard._controls.seal import probe as seal_probe

# Each makes a layer that believes it is there, and does nothing.
BREAKERS = {
    "hook": "import sys\nsys.addaudithook = lambda hook: None\n",
    "overlay": (
        "from pytest_session_guard._controls.overlay import entrance\nentrance._join = lambda own_users, descriptors, before: None\n"
    ),
    "manifest": "from pytest_session_guard._controls.manifest import Manifest\nManifest.differences = lambda self: []\n",
    "seal": "from pytest_session_guard._host import landlock\nlandlock.confine = lambda places, version, all_threads: []\n",
}
CONFTEST = "import os\nopen(os.path.join(os.environ['TMPDIR'], 'conftest-ran'), 'w').close()\n"
needs_namespaces = pytest.mark.skipif(not mount_namespace(), reason="no mount namespace to be had here")
needs_landlock = pytest.mark.skipif(seal_probe().status == "unavailable", reason="no Landlock to be had here")
LAYERS = [
    pytest.param("hook", id="hook"),
    pytest.param("overlay", id="overlay", marks=needs_namespaces),
    pytest.param("seal", id="seal", marks=needs_landlock),
    pytest.param("manifest", id="manifest"),
]


def run_with_broken(project: Project, *args: str) -> Result:
    return project.run("-p", "breaker", *args, env={"PYTHONPATH": str(project.root)})


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "n2"])
def test_required_layer_that_does_not_hold_stops_the_run_before_any_conftest(
    make_project: MakeProject, layer: str, workers: tuple[str, ...]
) -> None:
    project = make_project(
        {"breaker.py": BREAKERS[layer], "conftest.py": CONFTEST, "test_it.py": "def test_it():\n    pass\n"}
    )
    layers = "auto" if layer in ("hook", "overlay") else f"hook,{layer}"

    result = run_with_broken(project, f"--session-guard-layers={layers}", f"--session-guard-require={layer}", *workers)

    assert result.status == 4, result.words
    assert f"layer {layer} is not to be had: its canary died" in result.stderr
    assert "[layer-unavailable]" in result.stderr
    assert not (project.tmp / "conftest-ran").exists()
    assert result.changes == {}


@pytest.mark.parametrize("layer", LAYERS[:2])
def test_layer_that_does_not_hold_is_not_reported_as_enforced(make_project: MakeProject, layer: str) -> None:
    project = make_project({"breaker.py": BREAKERS[layer], "test_it.py": "def test_it():\n    pass\n"})

    result = run_with_broken(project)

    assert result.report is not None, result.words
    assert result.report["layers"][layer]["status"] == "unavailable"
    assert result.report["canary"][layer] == "failed"
    assert any(f"{layer} unavailable (its canary died" in line for line in result.header_lines), result.words
    assert result.changes == {}


@needs_namespaces
@needs_landlock
def test_seal_takes_the_place_of_an_overlay_that_does_not_hold(make_project: MakeProject) -> None:
    suite = "import subprocess\n\ndef test_it():\n    subprocess.run('rm ~/.chat/notes.txt', shell=True, check=True)\n"
    with ordinary_account() as (account, work):
        project = Project(work / "scratch", {"breaker.py": BREAKERS["overlay"], "test_it.py": suite}, account=account)

        result = run_with_broken(project)

        assert result.report is not None, result.words
        assert result.report["layers"]["seal"]["status"] == "enforced"
        assert result.report["canary"] == {
            "hook": "refused",
            "overlay": "failed",
            "seal": "refused",
            "manifest": "skipped",
        }
        assert (result.status, result.changes) == (1, {}), result.words


def test_manifest_shows_that_it_sees(make_project: MakeProject) -> None:
    result = make_project({"test_it.py": "def test_it():\n    pass\n"}).run("--session-guard-layers=hook,manifest")

    assert result.report is not None, result.words
    assert result.report["canary"]["manifest"] == "seen"


@needs_landlock
def test_seal_of_an_ordinary_users_home_below_tmp_is_proven() -> None:
    with ordinary_account() as (account, work):
        project = Project(work / "scratch", {"test_it.py": "def test_it():\n    pass\n"}, account=account)

        result = project.run("--session-guard-layers=hook,seal")

        assert result.report is not None, result.words
        assert result.report["layers"]["seal"]["status"] == "enforced"
        assert result.report["canary"]["seal"] == "refused"
