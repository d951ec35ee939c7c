"""Test repositories whose git commands land in the repository under test."""

from __future__ import annotations

import shutil
from dataclasses import replace

from ..incident import Incident, Signal
from ..scene import Scene

MAKE_REPOSITORY = """
    import subprocess

    import pytest

    IDENTITY = ("-c", "user.name=Fixture", "-c", "user.email=fixture@example.org")


    def git(directory, *arguments):
        return subprocess.run(["git", *IDENTITY, *arguments], cwd=directory, check=True, capture_output=True, text=True).stdout


    @pytest.fixture
    def repository(tmp_path):
        git(tmp_path, "init")
        (tmp_path / "f").write_text("fixture")
        git(tmp_path, "add", "f")
        git(tmp_path, "commit", "-m", "base")
        return tmp_path
    """


def link_worktree(scene: Scene) -> None:
    """Make the checkout a linked worktree of ``elsewhere/main``, as agents and reviewers keep them."""
    main = scene.elsewhere / "main"
    linked = scene.elsewhere / "linked"
    main.mkdir()
    (main / "kept.txt").write_text("kept\n")
    scene.run_git("init", "-q", "-b", "main", directory=main)
    scene.run_git("add", "-A", directory=main)
    scene.run_git("commit", "-q", "-m", "real work", directory=main)
    scene.run_git("worktree", "add", "-q", "--detach", str(linked), directory=main)
    (scene.checkout / ".git").write_bytes((linked / ".git").read_bytes())
    shutil.rmtree(linked)
    scene.run_git("worktree", "repair", str(scene.checkout), directory=main)


WORKTREE_GIT = "elsewhere/main/.git"
LINKED_GIT = f"{WORKTREE_GIT}/worktrees/linked"
EXPORTED = f"@elsewhere@{LINKED_GIT.removeprefix('elsewhere')}"

neo = Incident(
    id="neo-worktree-git-dir",
    url="https://github.com/Parslee-ai/neo/issues/180",
    year=2026,
    happened=(
        "A hook in a linked worktree exported the location of its repository, and the suite's scratch commits "
        "went there instead."
    ),
    mechanism="inherited GIT variable",
    data="checkout",
    project={
        "conftest.py": MAKE_REPOSITORY,
        "test_log.py": """
            import subprocess


            def test_history(repository):
                assert subprocess.check_output(["git", "log", "--format=%s", "-1"], cwd=repository, text=True) == "base\\n"
            """,
    },
    prepare=link_worktree,
    environment={"GIT_DIR": EXPORTED},
    harmed=(
        f"changed {WORKTREE_GIT}/config",
        f"changed {LINKED_GIT}/HEAD",
        f"changed {LINKED_GIT}/index",
        f"changed {LINKED_GIT}/logs/HEAD",
        f"new {LINKED_GIT}/COMMIT_EDITMSG",
    ),
    culprit="GIT_DIR",
    named_path=LINKED_GIT,
    signal=Signal.DISARMED,
)

starsling = replace(
    neo,
    id="starsling-git-env",
    url="https://github.com/starslingdev/skills/issues/14",
    happened=(
        "The commit hook handed down repository and index of a real checkout; a fixture turned it bare, moved "
        "main and cut the index."
    ),
    environment={"GIT_DIR": EXPORTED, "GIT_INDEX_FILE": f"{EXPORTED}/index"},
)


def track_many(scene: Scene) -> None:
    """Commit a few hundred files in the checkout, so that one commit can drop them all."""
    for number in range(200):
        (scene.checkout / f"page{number}.txt").write_text(f"page {number}\n")
    scene.run_git("add", "-A")
    scene.run_git("commit", "-q", "-m", "the book")


mfc = Incident(
    id="mfc-2090-files",
    url="https://github.com/MFlowCode/MFC/issues/1697",
    year=2026,
    happened=(
        "A green suite left three commits on the real branch, one of which dropped 2,090 files, and they were pushed."
    ),
    mechanism="inherited GIT variable",
    data="checkout",
    project={
        "test_commit.py": """
            import subprocess


            def test_commit(tmp_path):
                for arguments in (["init"], ["add", "-A"], ["commit", "--allow-empty", "-m", "x"]):
                    command = ["git", "-C", str(tmp_path), "-c", "user.name=F", "-c", "user.email=f@example.org", *arguments]
                    subprocess.run(command, check=True, capture_output=True)
            """,
    },
    git=True,
    prepare=track_many,
    environment={"GIT_DIR": "@checkout@/.git", "GIT_WORK_TREE": "."},
    harmed=(
        "changed checkout/.git/COMMIT_EDITMSG",
        "changed checkout/.git/config",
        "changed checkout/.git/index",
        "changed checkout/.git/logs/HEAD",
        "changed checkout/.git/logs/refs/heads/main",
        "changed checkout/.git/refs/heads/main",
    ),
    culprit="GIT_DIR",
    named_path="checkout/.git",
    signal=Signal.DISARMED,
)

abca = Incident(
    id="abca-init-commit",
    url="https://github.com/aws-samples/sample-autonomous-cloud-coding-agents/issues/855",
    year=2026,
    happened=(
        "Fixtures had learned to clean the environment of their git calls; the product's own git calls had "
        "not, and set a new identity."
    ),
    mechanism="inherited GIT variable",
    data="checkout",
    project={
        "product.py": """
            import subprocess


            def set_owner(directory, name):
                subprocess.run(["git", "config", "user.name", name], cwd=directory, check=True)
                subprocess.run(["git", "config", "core.bare", "true"], cwd=directory, check=True)
            """,
        "test_owner.py": """
            import os
            import subprocess

            import product


            def test_set_owner(tmp_path):
                clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
                subprocess.run(["git", "init"], cwd=tmp_path, env=clean, check=True, capture_output=True)
                product.set_owner(tmp_path, "Fixture")
            """,
    },
    git=True,
    environment={"GIT_DIR": "@checkout@/.git"},
    harmed=("changed checkout/.git/config",),
    culprit="GIT_DIR",
    named_path="checkout/.git",
    signal=Signal.DISARMED,
)

portos = Incident(
    id="git-fixture-portos",
    url="https://github.com/atomantic/PortOS/issues/4554",
    year=2026,
    happened=(
        "A fixture's change of directory failed, its git commands ran where they stood: identity, a commit "
        "and a bare flag in the real one."
    ),
    mechanism="relative path after a failed step, git child",
    data="checkout",
    project={
        "fixture.sh": """
            cd "$1/missing" 2>/dev/null
            git config user.name T
            git config user.email t@example.org
            git commit -q --allow-empty -m fixture
            git config core.bare true
            true
            """,
        "test_fixture.py": """
            import subprocess


            def test_fixture(tmp_path):
                subprocess.run(["sh", "fixture.sh", str(tmp_path)], check=True)
            """,
    },
    git=True,
    harmed=(
        "changed checkout/.git/COMMIT_EDITMSG",
        "changed checkout/.git/config",
        "changed checkout/.git/logs/HEAD",
        "changed checkout/.git/logs/refs/heads/main",
        "changed checkout/.git/refs/heads/main",
    ),
    culprit="test_fixture.py::test_fixture",
    named_path="checkout/.git/config",
    needs_kernel=True,
)

portos_inherited = replace(
    portos,
    variant="inherited-variable",
    project={
        **portos.project,
        "fixture.sh": """
            set -e
            cd "$1"
            git init -q
            git config user.name T
            git config user.email t@example.org
            git commit -q --allow-empty -m fixture
            git config core.bare true
            """,
    },
    environment={"GIT_DIR": "@checkout@/.git"},
    culprit="GIT_DIR",
    named_path="checkout/.git",
    signal=Signal.DISARMED,
    needs_kernel=False,
)

INCIDENTS = (neo, starsling, mfc, abca, portos, portos_inherited)
