"""Outcomes become words, words are looked up by form, and what is written is what is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from . import expected
from .catalogue import load_all
from .expected import allows, expected_verdict, record
from .layers import LAYER_SETS, Form, command, in_effect
from .projects import project_files
from .vector import Scene, Vector, vector
from .verdicts import Outcome, naming

KEPT = Outcome("os_remove", "auto", {}, 1, "named", 0.1)
SCENE = Scene(Path("/scratch"))


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        pytest.param(KEPT, "kept red named", id="all-well"),
        pytest.param(replace(KEPT, status=0, naming="unnamed"), "kept green unnamed", id="silent"),
        pytest.param(
            replace(KEPT, status=-9, output="session-guard: pytest ended without finishing", naming="path"),
            "kept red path",
            id="killed-by-the-guard",
        ),
        pytest.param(replace(KEPT, status=-9, naming="unnamed"), "kept exit-9 unnamed", id="killed-by-itself"),
        pytest.param(
            replace(KEPT, changes={"a": ["mode"]}, status=0, naming="unnamed"), "damaged green unnamed", id="escaped"
        ),
        pytest.param(replace(KEPT, status=4, naming="path"), "kept refused path", id="refused-at-start"),
        pytest.param(replace(KEPT, status=-9, naming="unnamed"), "kept exit-9 unnamed", id="killed"),
        pytest.param(replace(KEPT, began=False), "kept broken named", id="crashed-before-pytest"),
        pytest.param(
            replace(KEPT, form="off", changes={"a": ["times", "content"], "b": ["mode"]}),
            "content mode times",
            id="control",
        ),
        pytest.param(replace(KEPT, form="off@root"), "harmless", id="control-without-effect"),
    ],
)
def test_verdict(outcome: Outcome, verdict: str) -> None:
    assert outcome.verdict == verdict


def test_outcome_parses_what_it_writes() -> None:
    outcome = replace(KEPT, changes={"a\udcff": ["mode"]}, survivors=["sleep 9"], layers={"hook": "enforced"})

    assert Outcome.parse(outcome.to_json()) == outcome


NODEID = "test_vector.py::test_os_remove"


@pytest.mark.parametrize(
    ("touches", "output", "found"),
    [
        pytest.param(
            [{"violation": True, "path": "/scratch/home/.prot/x", "nodeid": NODEID}], "", "named", id="test-and-path"
        ),
        pytest.param([{"violation": True, "path": "/scratch/home", "nodeid": None}], "", "path", id="path-alone"),
        pytest.param(
            [{"violation": False, "path": "/scratch/home/.prot/x", "nodeid": NODEID}], "", "unnamed", id="no-violation"
        ),
        pytest.param([{"violation": True, "path": "/scratch/homes", "nodeid": NODEID}], "", "unnamed", id="neighbour"),
        pytest.param(
            [], "ERROR: '/scratch/home/.prot' is protected\n  [bad-configuration]", "path", id="refused-option"
        ),
        pytest.param(
            [],
            f"delete refused: '/scratch/home/.prot/x'\n  test: {NODEID} (call)\n  [protected-path]",
            "named",
            id="terminal",
        ),
        pytest.param(
            [{"violation": True, "path": "/bin/rm", "operation": "os.exec", "nodeid": NODEID}], "", "named", id="exec"
        ),
        pytest.param([], "session-guard: guard-error: '/scratch/home/.prot/x'", "path", id="error-of-the-guard"),
        pytest.param([], "session-guard: enforce; open before: /scratch/home/.prot/x", "unnamed", id="header"),
        pytest.param(
            [], "OSError: [Errno 30] Read-only file system: '/scratch/home/.prot/x'", "unnamed", id="kernel-alone"
        ),
    ],
)
def test_naming(touches: list[dict[str, Any]], output: str, found: str) -> None:
    assert naming(load_all()["os_remove"], SCENE, {"touches": touches}, output) == found


@pytest.mark.parametrize("label", ["off", "auto@root", "auto@n2", "launcher@root@n4"])
def test_form_parses_its_own_label(label: str) -> None:
    assert Form.parse(label).label == label


@pytest.mark.parametrize("label", ["everything", "auto@admin", "auto@n", ""])
def test_form_refuses_an_unknown_label(label: str) -> None:
    with pytest.raises(ValueError, match="a form is one of"):
        Form.parse(label)


def test_expected_verdict_prefers_the_most_particular_key() -> None:
    table = {"x": {"auto": "a", "auto@root": "b", "auto@root@py3.13": "c"}}

    found = [expected_verdict(table, "x", form, python) for form, python in [
        (Form("auto"), "py3.13"), (Form("auto", workers=2), "py3.13"), (Form("auto", True), "py3.11"), (Form("auto", True, 2), "py3.13"),
    ]]  # fmt: skip

    assert found == ["a", "a", "b", "c"]
    assert expected_verdict(table, "y", Form("auto"), "py3.11") is None


def test_allows_one_of_several_and_never_an_unreviewed_one() -> None:
    assert allows("kept red path or kept red named", "kept red named")
    assert not allows("kept red path or kept red named", "kept green named")
    assert not allows(None, "kept red named")


def test_record_writes_a_particular_key_only_where_it_differs() -> None:
    table = {"os_remove": {"auto": "kept red named"}}
    same, other = replace(KEPT, form="auto@root"), replace(KEPT, form="auto@root", status=0)

    assert record(table, [same], Form("auto", as_root=True)) == []
    assert record(table, [other], Form("auto", as_root=True)) == [
        "os_remove: auto@root: kept red named -> kept green named"
    ]
    assert table == {"os_remove": {"auto": "kept red named", "auto@root": "kept green named"}}


def test_record_leaves_the_verdict_of_the_common_python_to_it() -> None:
    table = {"os_remove": {"auto": "kept red named", "auto@py3.13": "kept green named"}}

    record(table, [replace(KEPT, status=0)], Form("auto"), "py3.12")
    record(table, [KEPT], Form("auto"), "py3.13")

    assert table == {"os_remove": {"auto": "kept red named", "auto@py3.12": "kept green named"}}


def test_record_keeps_what_a_race_decides() -> None:
    table = {"os_remove": {"auto": "kept red path or kept red named"}}

    assert record(table, [KEPT], Form("auto"), "py3.11") == []
    assert table == {"os_remove": {"auto": "kept red path or kept red named"}}


@pytest.mark.parametrize(
    ("achieved", "counted"),
    [
        pytest.param({"overlay": "enforced", "seal": "off"}, "auto", id="overlay"),
        pytest.param({}, "auto", id="refused-before-it-began"),
        pytest.param({"overlay": "unavailable", "seal": "partial"}, "seal", id="no-overlay"),
        pytest.param({"overlay": "unavailable", "seal": "unavailable"}, "manifest", id="no-kernel-layer"),
    ],
)
def test_verdicts_that_count_are_those_of_the_layer_in_effect(achieved: dict[str, str], counted: str) -> None:
    assert in_effect(Form("auto", workers=2), achieved) == Form(counted, workers=2)
    assert in_effect(Form("overlay"), achieved) == Form("overlay")


def test_written_table_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {
        "b": {"off": "mode", "auto": "kept red named", "auto@root": "kept green named"},
        "a": {"off@root": "owner"},
    }
    monkeypatch.setattr(expected, "FILE", tmp_path / "expected.toml")

    expected.write(table)

    assert expected.load() == table


def test_vector_names_must_differ() -> None:
    with pytest.raises(ValueError, match="'os_remove' twice"):

        @vector("os")
        def os_remove(s: Scene) -> None:
            """Registered by the catalogue already."""


@pytest.mark.parametrize("layers", LAYER_SETS)
def test_command_loads_the_guard_in_guarded_forms_alone(layers: str) -> None:
    words = command(load_all()["earlier_fd_write"], Form(layers), SCENE)

    assert ("pytest_session_guard" in words) == (layers != "off")
    assert words.index("before_the_guard") < (words.index("pytest_session_guard", 5) if layers != "off" else len(words))


@pytest.mark.parametrize("chosen", [pytest.param(found, id=name) for name, found in load_all().items()])
def test_project_of_every_vector_is_valid_python(chosen: Vector) -> None:
    for name, text in project_files(chosen, SCENE).items():
        if name.endswith(".py"):
            compile(text, name, "exec")
