"""What somebody else does to the real objects while there are copies of them: no change of the run's, and hiding none."""

# ruff: noqa: F811  a fixture that is imported has the name of an argument
from __future__ import annotations

import os
import subprocess
import time

import pytest
from overlay_scene import Scene, by_everyone, by_user, scene  # noqa: F401


def change_beside_somebody_else(inside, script, doing, after, looks_before):
    application = subprocess.Popen(["/bin/sh"], cwd=inside.home, stdin=subprocess.PIPE, text=True)
    inside.enter()
    inside.shell(script)
    before = inside.changes() if looks_before else {}
    time.sleep(0.05)
    application.communicate(doing)
    time.sleep(0.05 if after else 0)
    inside.shell(after)
    return {**before, **inside.changes()}


OPEN = ": <> notes.txt"
BYTECODE = "mkdir app/data/__pycache__; : > app/data/__pycache__/x"
MADE = {"app/data/__pycache__": "created", "app/data/__pycache__/x": "created"}
SET_ATTRIBUTE = 'python3 -c \'import os, sys; os.setxattr(sys.argv[1], "user.new", b"1")\' '

# script of the run, then what somebody does outside, then another script of the run, and what of it is a change
DOINGS = {
    "read-directory": ("touch -d @5 app/data/one", "ls app", "", {"app/data/one": "metadata"}),
    "read-root": (OPEN, "ls", "", {}),
    "read-file": (OPEN, "cat notes.txt", "", {}),
    "read-symlink": ("touch -h -m -d @1000000000 link", "cat link", "", {}),
    "written": (OPEN, "echo more >> notes.txt", "", {}),
    "same-size": (OPEN, "printf 'fake notes.txt' > notes.txt", "", {}),
    "saved-by-rename": (OPEN, "echo new > n; mv n notes.txt", "", {}),
    "touched": (OPEN, "touch notes.txt", "", {}),
    "chmod": (OPEN, "chmod 600 notes.txt", "", {}),
    "written-and-chmod": (OPEN, "echo more >> notes.txt; chmod 600 notes.txt", "", {}),
    "attribute": (OPEN, SET_ATTRIBUTE + "notes.txt", "", {}),
    "removed": (OPEN, "rm notes.txt", "", {}),
    "renamed-over-by-an-old-one": (OPEN, "mv app/config notes.txt", "", {}),
    "file-by-symlink": (OPEN, "ln -sf app notes.txt", "", {}),
    "file-by-directory": (OPEN, "rm notes.txt; mkdir notes.txt", "", {}),
    "created-beside": (": <> app/config", "echo new > app/new", "", {}),
    "chmod-of-directory": (BYTECODE, "chmod 700 app/data", "", MADE),
    "chmod-of-root": (BYTECODE, "chmod 700 .", "", MADE),
    "attribute-of-directory": (BYTECODE, SET_ATTRIBUTE + "app/data", "", MADE),
    "directory-removed": (BYTECODE, "rm -r app", "", MADE),
    "directory-renamed": (BYTECODE, "mv app old", "", MADE),
    "directory-made-anew": (BYTECODE, "mv app old; mkdir -p app/data; chmod 700 app/data", "", MADE),
    "directory-by-file": (BYTECODE, "rm -r app/data; echo > app/data", "", MADE),
    # Every further copy moves the change time of the directory that it is put into.
    "read-before-copying": (": <> app/config", "ls app", ": <> app/data/one", {}),
    "created-before-copying": (": <> app/config", "echo new > app/new", ": <> app/data/one", {}),
    "chmod-before-copying": (": <> app/config", "chmod 700 app", ": <> app/data/one", {}),
    "written-by-both": ("echo x >> notes.txt", "echo more >> notes.txt", "", {"notes.txt": "content"}),
    "chmod-by-us": ("chmod 600 notes.txt", "cat notes.txt", "", {"notes.txt": "metadata"}),
    "touched-by-us": ("touch -m -d @5 notes.txt", "cat notes.txt", "", {"notes.txt": "metadata"}),
    "touched-directory-by-us": ("touch -m -d @5 app", "ls app", "", {"app": "metadata"}),
    "chmod-of-directory-by-us": ("chmod 700 app", "ls app", "", {"app": "metadata"}),
    "chmod-of-root-by-us": ("chmod 700 .", "echo new > new", "", {"": "metadata"}),
    "chmod-of-root-by-us-later": ("", "echo new > new", "chmod 700 .", {"": "metadata"}),
    "time-of-root-by-us-later": ("", "echo new > new; ls", "touch -d @5 .", {"": "metadata"}),
    "attribute-of-root-by-us-later": ("", "echo new > new", SET_ATTRIBUTE + ".", {"": "metadata"}),
    "came-and-went-in-root-by-us-later": ("", "echo new > new", ": > lock; rm lock", {"": "names"}),
    "came-and-went-by-us": (": > app/lock; rm app/lock", "ls app", "", {"app": "names"}),
    # Nothing is there that the whiteout would hide, but the run took a name out of the directory.
    "renamed-by-us": (
        "mv notes.txt app/moved", "rm notes.txt; echo > app/new", "", {"app/moved": "created", "": "names"},
    ),
    "linked-by-us": ("ln notes.txt alias", "echo > new", "", {"alias": "created"}),
    "saved-by-us": (
        "cp notes.txt n; mv n notes.txt", "cp notes.txt n; mv n notes.txt", "", {"notes.txt": "replaced"},
    ),
}  # fmt: skip


@by_user
@pytest.mark.parametrize(("script", "doing", "after", "expected"), DOINGS.values(), ids=DOINGS)
def test_what_an_application_does_to_the_real_one_is_no_change_of_its_copy(
    scene: Scene, script: str, doing: str, after: str, expected: dict[str, str]
) -> None:
    changes = scene.run(change_beside_somebody_else, script, doing, after, False)

    assert changes == {f"home/{name}".rstrip("/"): kind for name, kind in expected.items()}


def set_times_below_a_later_stamp(inside):
    # As after the clock was set back: what is on the disk seems to have been read tomorrow.
    tomorrow = time.time_ns() + 10**14
    os.utime(inside.home + "/notes.txt", ns=(tomorrow, 10**18))
    inside.enter()
    inside.shell("touch -a -d @5 notes.txt; touch -a -d @5 app")
    return inside.changes()


@by_everyone
def test_times_set_on_what_seems_to_have_been_read_tomorrow_are_metadata(scene: Scene) -> None:
    assert scene.run(set_times_below_a_later_stamp) == {"home/notes.txt": "metadata", "home/app": "metadata"}


SINCE = {
    "chmod": (BYTECODE, "chmod 700 app/data", "mkdir app/data/new", {**MADE, "app/data/new": "created"}),
    "removed": (BYTECODE, "rm -r app", "", MADE),
    "renamed": (BYTECODE, "mv app old", "", MADE),
    "written": ("chmod 600 notes.txt", "echo more >> notes.txt", "", {"notes.txt": "metadata"}),
    "made-too": ("mkdir app/new", "mkdir app/new; chmod 700 app/new", "", {"app/new": "created"}),
    "chmod-by-us": (BYTECODE, "chmod 700 app/data", "chmod 711 app/data", {**MADE, "app/data": "metadata"}),
    "chmod-by-us-of-what-went": (BYTECODE, "rm -r app", "chmod 711 app/data", {**MADE, "app/data": "metadata"}),
}  # fmt: skip


@by_everyone
@pytest.mark.parametrize(("script", "doing", "after", "expected"), SINCE.values(), ids=SINCE)
def test_what_an_application_does_after_a_look_is_no_news(
    scene: Scene, script: str, doing: str, after: str, expected: dict[str, str]
) -> None:
    changes = scene.run(change_beside_somebody_else, script, doing, after, True)

    assert changes == {f"home/{name}".rstrip("/"): kind for name, kind in expected.items()}
