"""The fixtures, and the object that they give."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_session_guard._core.errors import ProtectedPathError
from pytest_session_guard._core.platforms import insist_on_platform

if TYPE_CHECKING:
    from os import PathLike

    from pytest_session_guard._controls.cleanup import Removed
    from pytest_session_guard._core.records import Touch
    from pytest_session_guard._run.session import SessionRun

# What a run is made of is imported when one begins.
GUARD: Final = pytest.StashKey["SessionRun"]()


class SessionGuard:
    """What a test sees of the run that guards it."""

    def __init__(self, run: SessionRun, nodeid: str) -> None:
        self._run = run
        self._nodeid = nodeid

    @property
    def run_id(self) -> str:
        """The id of this run, the same in all its processes."""
        return self._run.directory.run_id

    @property
    def started_ns(self) -> int:
        """The run's start stamp, nanoseconds since the epoch, by the clock of the rootdir's file system."""
        return self._run.directory.started_ns

    @property
    def path(self) -> Path:
        """This test's private directory; made at the first use."""
        return Path(self._run.private_directory())

    @property
    def violations(self) -> list[Touch]:
        """The violations of this run that this process knows of, oldest first."""
        self._run.collect()
        return [touch for touch in self._run.touches if touch.violation]

    @property
    def artifacts(self) -> list[Path]:
        """What this run created outside free places, as far as this process knows."""
        self._run.collect()
        return [Path(path) for path in sorted(self._run.ownership.paths)]

    def redirect(self, target: str, place: str) -> None:
        """Send ``target`` (as in ``session_guard_redirect``) to ``place`` in this test's private directory, at once.

        After the test it points to the run's sink, as if it had been configured.

        :raises ConfigurationError: the target does not exist, or the place leaves the private directory.
        """
        self._run.redirects.add(target, place)

    def reset(self, target: str) -> None:
        """Start this and every later test with ``target`` (``module:ATTR``) cleared.

        :raises ConfigurationError: there is no such attribute.
        """
        self._run.redirects.add_reset(target)

    def artifact(self, path: str | PathLike[str]) -> Path:
        """Record and tag a file or directory that this test made.

        :raises NotCreatedByRunError: it was there before the run.
        """
        return Path(self._run.desk.record(os.fspath(path), self._nodeid))

    def write_json(self, path: str | PathLike[str], payload: Any) -> Path:
        """Write ``payload`` to ``path`` all at once, recorded and tagged with ``__test_artifact``.

        :raises ProtectedPathError: the place is not one where the run may create, or another's file stands there.
        """
        return Path(self._run.desk.write_json(os.fspath(path), payload, self._nodeid))

    def remove(self, *paths: str | PathLike[str]) -> Removed:
        """Remove artifacts of this run, all or none.

        :raises NotCreatedByRunError: a proof is missing for one of them; names each, and nothing was removed.
        """
        return self._run.desk.remove(*(os.fspath(path) for path in paths))

    def sweep(self, directory: str | PathLike[str], pattern: str) -> Removed:
        """Remove what matches ``pattern`` in ``directory``, all or nothing.

        :returns: what went, what stayed and why.
        :raises NotCreatedByRunError: it met something that is not the run's; names each, and nothing was removed.
        """
        return self._run.desk.sweep(os.fspath(directory), pattern)

    @contextmanager
    def unchanged(self, *paths: str | PathLike[str]) -> Iterator[None]:
        """Fail if a byte, a mode or a name below the paths differs after the block.

        :raises DataChangedError: something differs; names each difference.
        """
        from pytest_session_guard._run.artifacts import unchanged

        with unchanged([os.fspath(path) for path in paths]):
            yield

    @contextmanager
    def pristine(self, path: str | PathLike[str]) -> Iterator[Path]:
        """Inside, real data at and below ``path`` may be changed at will: a copy-on-write view, gone afterwards.

        :raises LayerUnavailableError: there is no overlay here.
        """
        with self._run.narrowing.pristine(os.fspath(path)) as real:
            yield Path(real)

    @contextmanager
    def expect_refusal(self) -> Iterator[list[Touch]]:
        """Expect and forgive the touches inside.

        They are refused all the same; a `ProtectedPathError` that nobody caught ends the block and goes no further. What
        was refused is in the list that the block gets.
        """
        with self._run.expecting() as seen:
            try:
                yield seen
            except ProtectedPathError:
                pass  # expected: that is what the block is for


@pytest.fixture
def session_guard(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SessionGuard:
    """The guard of this run, for this test: private directory, artifacts, removal by proof, expectations."""
    insist_on_platform(os.name)  # a run without the guard may be under way there
    from pytest_session_guard._run.start import active_run

    run = request.config.stash.get(GUARD, None) or active_run()
    if run is None:
        run = request.config.stash[GUARD] = unguarded_run(request.config, tmp_path_factory)
    return SessionGuard(run, request.node.nodeid)


def unguarded_run(config: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> SessionRun:
    """A run that guards nothing (``session_guard = off``) but keeps a ledger, so that the object works all the same."""
    from pytest_session_guard._run.start import start_unguarded

    state = str(tmp_path_factory.mktemp("session_guard_state") / "ledger")
    return start_unguarded(str(config.rootpath), state, os.environ)


@pytest.fixture
def session_dir(session_guard: SessionGuard) -> Path:
    """``sessions/`` in the test's private directory, made."""
    path = session_guard.path / "sessions"
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture
def session_index(session_dir: Path) -> Path:
    """``sessions/_index.json`` in the test's private directory, not made."""
    return session_dir / "_index.json"
