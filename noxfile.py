"""The larger sessions: other Pythons, the oldest pytest, benchmarks, mutation testing."""

from __future__ import annotations

import nox

nox.options.sessions = ["tests"]
PYTHONS = ["3.11", "3.12", "3.13"]


def install(session: nox.Session, *more: str) -> None:
    session.install("--quiet", "pip>=25.1")
    session.run("python", "-m", "pip", "install", "--quiet", "--editable", ".", "--group", "test", *more)


@nox.session(python=PYTHONS)
@nox.parametrize("pytest", ["pytest==8.4.*", "pytest"])
def tests(session: nox.Session, pytest: str) -> None:
    """The whole suite on each Python, with the oldest and the newest pytest."""
    install(session, pytest)
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session(python="3.11")
def vectors(session: nox.Session) -> None:
    """Every way to hurt a file, under every set of layers."""
    install(session)
    session.run("pytest", "-n", "2", "tests/vectors", "--layer-sets=all", *session.posargs)


@nox.session(python="3.11")
def benchmarks(session: nox.Session) -> None:
    """Speed, as ratios within one run."""
    install(session)
    for name in session.posargs or ["bench_hook.py", "bench_overlay.py", "bench_redirect.py", "bench_removal.py"]:
        session.run("python", f"benchmarks/{name}")


@nox.session(python="3.11")
def mutation(session: nox.Session) -> None:
    """Mutation testing of the core and of the removal plan."""
    install(session, "mutmut>=3.2")
    session.run("mutmut", "run", *session.posargs)
