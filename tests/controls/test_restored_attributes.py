"""Owner, mode, times and attributes of what comes back: as they were, or it is said which of them are not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from artifact_scene import Scene, ended, scene_of_an_ordinary_user

from pytest_session_guard._host import copying
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._run.recover import restore_run


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def ordinary_scene() -> Iterator[Scene]:
    with scene_of_an_ordinary_user() as scene:
        yield scene


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_an_ordinary_user_is_told_that_a_file_of_somebody_else_comes_back_as_his_own(ordinary_scene: Scene) -> None:
    scene = ordinary_scene
    path = scene.work / "a"
    path.write_bytes(b"there before")
    user = os.geteuid()
    os.seteuid(0)
    os.chown(path, 0, 0)
    os.seteuid(user)
    scene.keep(path, removal=True)
    scene.create(scene.work / "fresh").replace(path)

    done = restore_run(ended(scene))

    assert path.read_bytes() == b"there before"
    assert path.stat().st_uid == user
    assert done.restored == (str(path),)
    assert done.kept == ((str(path), "its owner could not be brought back"),)


def refuse(*arguments: object, **names: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def deny(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what.startswith("user."):
        monkeypatch.setattr(copying._Primitives, "setxattr", staticmethod(refuse))
    else:
        monkeypatch.setattr(Raw, {"mode": "chmod", "times": "utime", "owner": "chown"}[what], staticmethod(refuse))


@pytest.mark.parametrize("what", ["mode", "times", "user.mine"])
@pytest.mark.parametrize("how", ["removed", "replaced", "written", "written under one of two names"])
def test_what_of_a_file_cannot_be_brought_back_is_listed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, how: str, what: str
) -> None:
    path = scene.work / "a"
    path.write_bytes(b"there before")
    path.chmod(0o640)
    os.setxattr(path, "user.mine", b"kept")
    if how == "written under one of two names":
        (scene.work / "b").hardlink_to(path)
    if how.startswith("written"):
        scene.keep(path).write_bytes(b"changed")
        path.chmod(0o600)
        os.removexattr(path, "user.mine")
    elif how == "replaced":
        scene.keep(path, removal=True)
        scene.create(scene.work / "fresh").replace(path)
    else:
        # Kept as a copy: the very object would come back with all that goes with it.
        scene.keep(path)
        scene.keep(path, removal=True).unlink()
    run = ended(scene)
    if how == "replaced":
        monkeypatch.setattr(Raw, "link", staticmethod(refuse))
    deny(monkeypatch, what)

    done = restore_run(run)

    assert path.read_bytes() == b"there before"
    assert done.restored == (str(path),)
    assert done.kept == ((str(path), f"its {what} could not be brought back"),)


def test_the_owner_of_a_file_that_cannot_be_brought_back_is_listed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scene.work / "a"
    path.write_bytes(b"there before")
    os.chown(path, 12345, 12345)
    scene.keep(path).write_bytes(b"changed")
    scene.keep(path, removal=True).unlink()
    run = ended(scene)
    deny(monkeypatch, "owner")

    done = restore_run(run)

    assert done.kept == ((str(path), "its owner could not be brought back"),)
