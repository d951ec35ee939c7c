"""What a new run does before it begins: it finishes what killed runs left, and keeps the newest ten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from artifact_scene import Scene
from project import MakeProject

from pytest_session_guard._controls.ledger import note_closed
from pytest_session_guard._core.runs import KEEP_RUNS
from pytest_session_guard._run.tidying import prune, tidy

TIDY = """
import sys, time
from pytest_session_guard._run.tidying import tidy
import filelock
time.sleep(max(0, float(sys.argv[2]) - time.time()))
print(tidy(sys.argv[1]))
"""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def run_names(scene: Scene) -> list[str]:
    return sorted(os.listdir(f"{scene.state}/runs"))


def end(scene: Scene) -> None:
    note_closed(scene.directory.path)
    scene.die()


def test_nothing_to_do_is_no_note_and_no_change(scene: Scene) -> None:
    end(scene)
    before = run_names(scene)

    assert tidy(scene.state) == []
    assert run_names(scene) == before
    assert tidy(f"{scene.root}/no-ledger") == []


def test_artifact_of_a_killed_run_goes_and_is_told(scene: Scene) -> None:
    mine = scene.create(scene.store / "mine.json")
    scene.die()

    notes = tidy(scene.state)

    assert notes == [f"run {scene.directory.run_id} had been killed: 1 of its files removed, 0 kept"]
    assert not mine.exists()
    assert tidy(scene.state) == []


def test_run_that_lives_is_left_alone(scene: Scene) -> None:
    mine = scene.create(scene.store / "mine.json")

    assert tidy(scene.state) == []
    assert mine.exists()


def test_damaged_ledger_is_left_alone_and_told_every_time(scene: Scene) -> None:
    mine = scene.create(scene.store / "mine.json")
    scene.die()
    journal = Path(scene.directory.path, scene.journal.name)
    journal.write_bytes(b"garbage\n" + journal.read_bytes())

    for _ in range(2):
        (note,) = tidy(scene.state)
        assert "is left alone: its ledger is damaged" in note
    assert mine.exists()


def test_newest_runs_stay_and_unfinished_ones_whatever_their_number(scene: Scene) -> None:
    scene.create(scene.store / "kept.json")
    first = scene.directory.run_id
    journal = Path(scene.directory.path, scene.journal.name)
    scene.die()
    journal.write_bytes(b"garbage\n" + journal.read_bytes())
    for _ in range(KEEP_RUNS + 3):
        scene.start()
        end(scene)
    newest = run_names(scene)[-KEEP_RUNS:]

    tidy(scene.state)

    assert run_names(scene) == [first, *newest]


def test_many_that_begin_at_once_do_not_stand_in_each_others_way(scene: Scene, tmp_path: Path) -> None:
    made = []
    for number in range(3):
        made.append(scene.create(scene.store / f"mine{number}.json"))
        scene.die()
        scene.start()
    end(scene)
    for _ in range(KEEP_RUNS + 5):
        scene.start()
        end(scene)
    script = tmp_path / "tidy.py"
    script.write_text(TIDY)
    at = str(os.stat(script).st_mtime + 1.5)

    others = [
        subprocess.Popen([sys.executable, str(script), scene.state, at], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    said = [other.communicate() for other in others]

    assert [stderr for _, stderr in said] == [b""] * 6
    assert [other.returncode for other in others] == [0] * 6
    # A run whose lock another one is just looking at counts as alive; what was left so is for the next to do.
    tidy(scene.state)
    assert not any(path.exists() for path in made)
    assert len(run_names(scene)) == KEEP_RUNS


def test_header_of_a_run_says_what_it_tidied(make_project: MakeProject) -> None:
    suite = "import os\nfrom pathlib import Path\n\ndef test_it():\n" \
        "    if not Path('again').exists():\n        Path('again').touch()\n" \
        "        (Path.home() / '.chat/sessions/mine.json').write_text('{}')\n" \
        "        Path('next').touch()\n        os.kill(os.getpid(), 9)\n"  # fmt: skip
    project = make_project({"test_it.py": suite, "pytest.ini": "[pytest]\nsession_guard_share = ~/.chat/sessions\n"})
    project.run(report=False)
    left = project.home / ".chat" / "sessions" / "mine.json"
    was_left = left.exists()

    result = project.run()

    assert was_left
    assert not left.exists()
    assert result.status == 0, result.words
    assert "had been killed: 1 of its files removed, 0 kept" in result.header_lines[0]


@pytest.mark.parametrize("arguments", [pytest.param((), id="one-process"), pytest.param(("-n", "2"), id="workers")])
def test_directory_of_a_real_run_can_go_when_newer_ones_are_enough(
    make_project: MakeProject, arguments: tuple[str, ...]
) -> None:
    project = make_project({"test_it.py": "def test_it(tmp_path):\n    (tmp_path / 'x').touch()\n"})
    result = project.run(*arguments)
    state = project.root / ".session_guard"

    gone = prune(str(state), keep_runs=0)

    assert result.status == 0, result.words
    assert len(gone) == 1
    assert os.listdir(state / "runs") == []
