"""The locator against the kernel: in random trees, however a path is written, it names what the call then reaches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_trees import SPELLINGS, TREES, Plant, Spelling, objects_in, paths_in, planted, spelled, top_of

from pytest_session_guard._controls.audit.locate import DirFdHint, Locator, Target
from pytest_session_guard._core.events import Intent
from pytest_session_guard._core.zones import Action, Policy, Rule, Zone

# Every example makes a tree on disk. For a night's search: SESSION_GUARD_EXAMPLES=100000.
EXAMPLES = int(os.environ.get("SESSION_GUARD_EXAMPLES", "40"))
UNHURRIED = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def above(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("trees"))


def located(base: str, path: str | bytes, fd: int | None, intent: Intent) -> list[Target]:
    policy = Policy((Rule(Zone.FREE, base), Rule(Zone.PROTECTED, f"{base}/a"), Rule(Zone.SHARED, f"{base}/b/c")))
    found = Locator(policy, DirFdHint()).targets(intent)
    for target in found:
        assert target.rule == policy.rule_for(target.path)
        assert os.path.realpath(os.path.dirname(target.path)) == os.path.dirname(target.path)
        if target.found is not None:
            assert os.path.samestat(target.found, os.lstat(target.path))
    return found


@UNHURRIED
@given(plants=TREES, spelling=SPELLINGS)
def test_opening_for_writing_reaches_what_was_located(above: str, plants: list[Plant], spelling: Spelling) -> None:
    with planted(plants, above) as base, spelled(spelling, base) as (path, fd):
        intent = Intent(Action.CHANGE, path, -1 if fd is None else fd, creates=True)
        before = objects_in(top_of(base))
        targets = located(base, path, fd, intent)

        try:
            opened = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fd)
        except IsADirectoryError:
            assert all(target.is_directory for target in targets)
            return
        except OSError:
            assert targets == []
            return
        here, real = os.fstat(opened), os.readlink(f"/proc/self/fd/{opened}")
        os.close(opened)

    (target,) = targets
    assert target.path == real
    if target.found is None:
        assert (here.st_dev, here.st_ino) not in before
    else:
        assert os.path.samestat(target.found, here)


@UNHURRIED
@given(plants=TREES, spelling=SPELLINGS)
def test_changing_attributes_reaches_what_was_located(above: str, plants: list[Plant], spelling: Spelling) -> None:
    with planted(plants, above) as base, spelled(spelling, base) as (path, fd):
        targets = located(base, path, fd, Intent(Action.CHANGE, path, -1 if fd is None else fd))

        try:
            os.utime(path, (1, 1), dir_fd=fd)
        except OSError:
            assert [target for target in targets if target.found is not None] == []
            return

        (target,) = targets
        assert target.found is not None
        assert os.lstat(target.path).st_mtime == 1
        assert target.found.st_mtime != 1


@UNHURRIED
@given(plants=TREES, spelling=SPELLINGS, how=st.sampled_from(["unlink", "rmdir"]))
def test_removing_takes_away_what_was_located(above: str, plants: list[Plant], spelling: Spelling, how: str) -> None:
    with planted(plants, above) as base, spelled(spelling, base) as (path, fd):
        targets = located(base, path, fd, Intent(Action.DELETE, path, -1 if fd is None else fd, follows=False))
        before = paths_in(top_of(base))

        try:
            getattr(os, how)(path, dir_fd=fd)
        except OSError:
            return
        gone = before - paths_in(top_of(base))

    (target,) = targets
    assert gone == {target.path}


@UNHURRIED
@given(plants=TREES, source=SPELLINGS, target=SPELLINGS)
def test_renaming_moves_what_was_located_to_where_it_was_located(
    above: str, plants: list[Plant], source: Spelling, target: Spelling
) -> None:
    with planted(plants, above) as base, spelled(source, base) as (src, src_fd), spelled(target, base) as (dst, dst_fd):
        from_there = located(
            base, src, src_fd, Intent(Action.DELETE, src, -1 if src_fd is None else src_fd, follows=False)
        )
        goal = Intent(Action.DELETE, dst, -1 if dst_fd is None else dst_fd, follows=False, creates=True, replaces=True)
        to_there = located(base, dst, dst_fd, goal)

        try:
            os.rename(src, dst, src_dir_fd=src_fd, dst_dir_fd=dst_fd)
        except OSError:
            return

        (moved,), (place,) = from_there, to_there
        assert moved.found is not None
        assert os.path.samestat(moved.found, os.lstat(place.path))


@UNHURRIED
@given(plants=TREES, spelling=SPELLINGS, how=st.sampled_from(["mkdir", "symlink", "link", "exclusive"]))
def test_new_object_appears_where_it_was_located(above: str, plants: list[Plant], spelling: Spelling, how: str) -> None:
    with planted(plants, above) as base, spelled(spelling, base) as (path, fd):
        Path(base, "a file").touch()
        before = paths_in(top_of(base))
        intent = Intent(
            Action.CREATE, path, -1 if fd is None else fd, follows=False, creates=True, directory=how == "mkdir"
        )
        targets = located(base, path, fd, intent)

        try:
            if how == "mkdir":
                os.mkdir(path, dir_fd=fd)
            elif how == "symlink":
                os.symlink("nowhere", path, dir_fd=fd)
            elif how == "link":
                os.link(os.fsencode(f"{base}/a file"), path, dst_dir_fd=fd)
            else:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=fd))
        except OSError:
            return
        made = paths_in(top_of(base)) - before

    (target,) = targets
    assert target.found is None
    assert made == {target.path}


@UNHURRIED
@given(plants=TREES, spellings=st.lists(SPELLINGS, min_size=2, max_size=5))
def test_what_the_locator_remembers_does_not_mislead_it(
    above: str, plants: list[Plant], spellings: list[Spelling]
) -> None:
    with planted(plants, above) as base:
        locator = Locator(Policy((Rule(Zone.FREE, base), Rule(Zone.PROTECTED, f"{base}/a"))), DirFdHint())
        for spelling in spellings:
            with spelled(spelling, base) as (path, fd):
                intent = Intent(Action.CHANGE, path, -1 if fd is None else fd, creates=True)
                fresh = Locator(locator.policy, DirFdHint())

                assert locator.targets(intent) == fresh.targets(intent)
