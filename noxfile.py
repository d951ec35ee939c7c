"""The larger sessions: other Pythons, the oldest pytest, benchmarks, mutation testing."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["tests"]
PYTHONS = ["3.11", "3.12", "3.13"]


def install(session: nox.Session, *more: str) -> None:
    session.install("--quiet", "pip>=25.1")
    session.run("python", "-m", "pip", "install", "--quiet", "--editable", ".", "--group", "test", *more)


@nox.session(python=PYTHONS)
@nox.parametrize("versions", [("pytest==8.4.*", "filelock==3.30.0"), ("pytest", "filelock")], ids=["oldest", "newest"])
def tests(session: nox.Session, versions: tuple[str, str]) -> None:
    """The whole suite on each Python, with the oldest and the newest of what it requires."""
    install(session, *versions)
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session(python=PYTHONS)
@nox.parametrize(
    "form",
    [
        *("off", "hook", "manifest", "seal", "overlay", "auto", "launcher"),
        *("hook@root", "manifest@root", "seal@root", "overlay@root", "auto@root", "launcher@root"),
        *("hook@n2", "manifest@n2", "seal@n2", "overlay@n2", "auto@n2", "launcher@n2"),
    ],
)
def vectors(session: nox.Session, form: str) -> None:
    """Every way to hurt a file, in one form of guard."""
    install(session)
    session.run("pytest", "tests/vectors", *session.posargs, env={"SESSION_GUARD_VECTORS": form})


@nox.session(python="3.11")
def faults(session: nox.Session) -> None:
    """Every fault at every system call, and five hundred random kills."""
    install(session)
    session.run("pytest", "-n", "2", "tests/faults", *session.posargs, env={"SESSION_GUARD_FAULTS": "all"})


@nox.session(python="3.11")
def benchmarks(session: nox.Session) -> None:
    """Speed, as ratios within one run."""
    install(session)
    for name in session.posargs or sorted(path.name for path in Path("benchmarks").glob("bench_*.py")):
        session.run("python", f"benchmarks/{name}", env={"PYTHONPATH": "tests"})


@nox.session(python="3.11")
def mutation(session: nox.Session) -> None:
    """Mutation testing of the core and of the removal plan."""
    install(session, "mutmut>=3.2")
    session.run("mutmut", "run", *session.posargs)
