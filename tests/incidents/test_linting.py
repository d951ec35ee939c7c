"""What `session-guard lint` says of the incidents' suites, the examples and these tests, as docs/lint.md tells it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_session_guard._run.suites import judge

from .catalogue import INCIDENTS
from .incident import Incident, text

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "lint.md"

# The rest was done by the application, a child or a service, which the tests only called.
SEEN = {
    "kitty-filtered-run-dotconfig": {"environ-kept", "real-place"},
    "kitty-filtered-run-dotconfig+isolation-plugin-left-out": {"real-place"},
    "ntm-xdg-config": {"real-place", "swallowed-refusal"},
    "goverlay-stale-marker": {"environ-kept"},
    "trainingpeaks-credentials": {"real-place"},
    "jupyter-kernel-test-spec": {"real-place"},
    "radical-pilot-config": {"real-place"},
    "eshost-abort": {"real-place"},
    "hermes-webui-leaked-dirs": {"real-place"},
    "evener-mktemp-trap+exit-handler": {"cwd-kept", "delete-tree", "swallowed-refusal"},
    "ast-ksh-rpm": {"cwd-kept", "delete-by-pattern"},
    "shopcube-drop-all": {"real-place"},
    "icotes-chat-history-glob": {"delete-by-pattern"},
    "icotes-chat-history-glob+younger-than-five-minutes": {"delete-by-age"},
    "icotes-chat-history-glob+own-session-beside": {"delete-by-pattern"},
    "railtracks-rmtree": {"delete-tree", "swallowed-refusal"},
    "genesis-png-snapshots": {"delete-by-pattern"},
    "ounit-symlink-delete": {"real-place"},
}


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.key)
def test_lint_sees_the_incidents_whose_tests_did_the_damage_themselves(incident: Incident, tmp_path: Path) -> None:
    for name, content in incident.project.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text(content))

    verdict = judge([str(tmp_path)])

    assert {finding.slug for finding in verdict.linted.findings} == SEEN.get(incident.key, set())
    assert verdict.unread == []


def test_page_tells_how_many_incidents_are_seen() -> None:
    ids = {key.partition("+")[0] for key in SEEN}

    assert f"{len(ids)} of the {len({incident.id for incident in INCIDENTS})} incidents" in PAGE.read_text()


def test_examples_are_clean_but_for_the_accidents_that_they_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    found = {(Path(one.file).name, one.slug) for one in judge(["examples"]).linted.findings}

    assert found == {
        ("test_3_cleanup_by_age.py", "delete-by-age"),
        ("test_3_cleanup_by_age.py", "swallowed-refusal"),
        ("test_4_cleanup_by_name.py", "delete-by-pattern"),
        ("test_4_cleanup_by_name.py", "swallowed-refusal"),
    }


def test_these_tests_hurt_only_what_they_hurt_on_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    files = {one.file for one in judge(["tests"]).linted.findings}

    # Sources that run in children, in a throw-away home: ways to hurt a file, applications that keep data, events.
    on_purpose = r"tests/(vectors/catalogue|controls/redirect_packages)/|tests/core/events_child|"
    in_children = r"tests/controls/test_overlay_(faults|holds|rings)|tests/host/test_support"
    assert {file for file in files if not re.match(on_purpose + in_children, file)} == set()
    assert files
