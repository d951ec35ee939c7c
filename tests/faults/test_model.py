"""A run against a model of it: whatever is created, changed, renamed, deleted, by the run or by a live application, and
wherever the run dies, recovery leaves what is not the run's alone and brings back what it changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from artifact_scene import Scene
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pytest_session_guard._controls.ledger import note_closed
from pytest_session_guard._controls.markers import tag
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.identity import identity_of
from pytest_session_guard._run.past import list_runs
from pytest_session_guard._run.recover import clean_all, restore_run

NAMES = st.sampled_from(["a.json", "b.json", "c.jsonl", "d", "e\n", "f\udcff"])
CONTENTS = st.sampled_from([b"{}", b'{"x": 1}', b'[1]\n{"y": 2}\n', b"", b"\0\xff"])


class RunAgainstModel(RuleBasedStateMachine):
    """``store`` is shared: the model says whose each file is. ``work`` is the workspace: the model says how it was."""

    @initialize()
    def begin(self) -> None:
        self.fsync, Raw.fsync = Raw.fsync, staticmethod(lambda fd: None)  # type: ignore[assignment]
        self.root = Path(tempfile.mkdtemp(prefix="session-guard-model-"))
        self.scene = Scene(self.root)
        self.foreign: dict[str, bytes] = {}
        self.own: set[str] = set()
        # Workspace files as their owner knows them, and whether the run has changed them since.
        self.was: dict[str, bytes] = {}
        for name, content in (("real.json", b"years of work"), ("d2", b"more")):
            self.put_foreign(name, content)
        for name in ("a.json", "b.json", "d"):
            self.was[name] = f"source {name}".encode()
            (self.scene.work / name).write_bytes(self.was[name])

    def put_foreign(self, name: str, content: bytes) -> None:
        path = self.scene.store / name
        fresh = self.root / "fresh"
        fresh.write_bytes(content)
        fresh.replace(path)
        self.foreign[name] = content
        self.own.discard(name)

    # The run

    @rule(name=NAMES, content=CONTENTS)
    def run_creates(self, name: str, content: bytes) -> None:
        if name not in self.own | self.foreign.keys():
            self.scene.create(self.scene.store / name, content)
            self.own.add(name)

    @precondition(lambda self: self.own)
    @rule(data=st.data())
    def run_tags(self, data: st.DataObject) -> None:
        path = self.scene.store / data.draw(st.sampled_from(sorted(self.own)))
        run = self.scene.directory
        try:
            tag(str(path), run.run_id, "t", run.started_ns)
        except ValueError:
            return  # not what its name says
        self.scene.ownership.claim(str(path), identity_of(str(path)))

    @precondition(lambda self: self.own)
    @rule(data=st.data(), name=NAMES)
    def run_renames(self, data: st.DataObject, name: str) -> None:
        source = data.draw(st.sampled_from(sorted(self.own)))
        if name in self.foreign:
            return
        self.scene.ownership.moved(str(self.scene.store / source), str(self.scene.store / name))
        (self.scene.store / source).rename(self.scene.store / name)
        self.scene.ownership.settle()
        self.own = self.own - {source} | {name}

    @precondition(lambda self: self.own)
    @rule(data=st.data())
    def run_removes(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.own)))
        self.scene.cleanup.remove(str(self.scene.store / name))
        self.own.remove(name)

    @rule(data=st.data(), content=CONTENTS, removal=st.booleans())
    def run_changes_the_workspace(self, data: st.DataObject, content: bytes, removal: bool) -> None:
        path = self.scene.work / data.draw(st.sampled_from(sorted(self.was)))
        if not path.exists():
            return
        found = path.lstat()
        if self.scene.ownership.owns(str(path), found):
            path.write_bytes(content)
            return
        self.scene.keep(path, removal=removal)
        if removal:
            path.unlink()
        else:
            path.write_bytes(content)

    @rule(data=st.data(), content=CONTENTS)
    def run_replaces_a_source(self, data: st.DataObject, content: bytes) -> None:
        path = self.scene.work / data.draw(st.sampled_from(sorted(self.was)))
        fresh = self.scene.create(self.scene.work / "fresh", content)
        if path.exists() and not self.scene.ownership.owns(str(path), path.lstat()):
            self.scene.keep(path, removal=True)
        self.scene.ownership.moved(str(fresh), str(path))
        fresh.replace(path)
        self.scene.ownership.settle()

    # A live application

    @rule(name=NAMES, content=CONTENTS)
    def application_writes_a_new_file(self, name: str, content: bytes) -> None:
        self.put_foreign(name, b"live " + content)

    @precondition(lambda self: self.own)
    @rule(data=st.data())
    def application_deletes_an_artifact(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.own)))
        (self.scene.store / name).unlink()
        self.own.remove(name)

    @precondition(lambda self: self.foreign)
    @rule(data=st.data())
    def application_deletes_its_own(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.foreign)))
        (self.scene.store / name).unlink()
        del self.foreign[name]

    @rule(name=NAMES)
    def application_takes_an_announced_name(self, name: str) -> None:
        if name not in self.own | self.foreign.keys():
            self.scene.journal.append({"kind": "intent", "path": str(self.scene.store / name), "directory": False})
            self.put_foreign(name, b"it was faster")

    # Ends

    @rule()
    def run_ends(self) -> None:
        self.scene.ownership.settle()
        self.scene.preimages.note_left()
        removed = self.scene.cleanup.clear_shared()
        note_closed(self.scene.directory.path, removed.kept)
        self.scene.die()
        self.check_and_restart()

    @rule()
    def run_is_killed(self) -> None:
        self.scene.die()
        clean_all(self.scene.state)
        self.check_and_restart()

    @rule(count=st.integers(min_value=0, max_value=3))
    def run_is_killed_in_the_middle_of_a_removal(self, count: int) -> None:
        plan = self.scene.cleanup.plan_shared()
        quarantine = self.scene.directory.directory("quarantine")
        moves = [[removal.path, f"0-0-{number}"] for number, removal in enumerate(plan.removals)]
        self.scene.journal.append({"kind": "quarantine", "directory": quarantine, "moves": moves})
        for path, name in moves[:count]:
            os.rename(path, f"{quarantine}/{name}")
        self.run_is_killed()

    def check_and_restart(self) -> None:
        self.own = set()
        assert {path.name: path.read_bytes() for path in self.scene.store.iterdir()} == self.foreign
        restore_run(list_runs(self.scene.state)[-1])
        sources = {path.name: path.read_bytes() for path in self.scene.work.iterdir() if path.is_file()}
        assert sources == self.was
        self.scene.start()

    @invariant()
    def nothing_foreign_is_missing_or_different(self) -> None:
        if hasattr(self, "scene"):
            found = {name: (self.scene.store / name).read_bytes() for name in self.foreign}
            assert found == self.foreign

    def teardown(self) -> None:
        if hasattr(self, "root"):
            Raw.fsync = self.fsync
            shutil.rmtree(self.root)


RunAgainstModel.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
test_run_against_model = RunAgainstModel.TestCase
