"""Who did it: the line of the suite, or of its own code, that led to a touch; and the test that started a thread."""

from __future__ import annotations

import os
from builtins import any, getattr, hasattr, isinstance, str, tuple, type  # noqa: A004 - captured: tests mock builtins
from sys import _getframe
from threading import current_thread
from types import FrameType
from typing import Any, Final, NamedTuple

from pytest_session_guard._core.records import Span

THREAD_EVENTS: Final = frozenset({"_thread.start_new_thread", "_thread.start_joinable_thread"})
SPAN_ATTRIBUTE: Final = "_session_guard_span"
# Directories whose frames are nobody's fault: the standard library, the runner, and this package.
_STDLIB: Final = os.path.dirname(os.__file__) + "/"
_PACKAGE: Final = __file__.rpartition("/_controls/")[0] + "/"
_RUNNERS: Final = ("/_pytest/", "/pluggy/", "/pytest/", "/xdist/", "/execnet/")
MAX_FRAMES: Final = 200


class Culprit(NamedTuple):
    """A line of code; ``via`` names the standard library's function in between, if any (``shutil.rmtree``)."""

    file: str
    line: int
    function: str
    via: str = ""


NOBODY: Final = Culprit("", 0, "")


def culprit(project: str) -> Culprit:
    """The innermost frame of the project, else of a library, else of anything, that led here.

    :param project: directory with a trailing slash whose code is the project's.
    """
    frame: FrameType | None = _getframe(1)
    library: Culprit | None = None
    innermost: Culprit | None = None
    via = ""
    for _ in range(MAX_FRAMES):
        if frame is None:
            break
        code = frame.f_code
        file = code.co_filename
        if not file.startswith(_PACKAGE):
            here = Culprit(file, frame.f_lineno, code.co_name, via)
            innermost = innermost or here
            if _is_standard(file):
                via = _public_name(frame) or via
            elif file.startswith(project) and "/site-packages/" not in file:
                return here._replace(via=via)
            elif library is None and not any(runner in file for runner in _RUNNERS):
                library = here._replace(via=via)
        frame = frame.f_back
    return library or innermost or NOBODY


def _is_standard(file: str) -> bool:
    return file.startswith("<frozen") or (file.startswith(_STDLIB) and "/site-packages/" not in file)


def _public_name(frame: FrameType) -> str:
    name = frame.f_code.co_name
    module = frame.f_globals.get("__name__")
    return f"{module}.{name}" if isinstance(module, str) and not name.startswith(("_", "<")) else ""


def writes_bytecode() -> bool:
    """Whether the import system itself is writing a ``.pyc`` file: it takes a refusal in silence, as on a read-only disk."""
    frame: FrameType | None = _getframe(1)
    for _ in range(16):
        if frame is None:
            return False
        code = frame.f_code
        if code.co_name == "_cache_bytecode" and code.co_filename.startswith("<frozen importlib"):
            return True
        if code.co_name in ("_write_pyc", "try_makedirs") and code.co_filename.endswith(
            "/_pytest/assertion/rewrite.py"
        ):
            return True
        frame = frame.f_back
    return False


def note_thread(args: tuple[Any, ...], span: Span) -> None:
    """Remember on a thread that is about to start which test starts it."""
    owner = getattr(args[0], "__self__", None) if args else None
    if owner is not None and hasattr(owner, "__dict__") and type(owner).__module__ != "builtins":
        owner.__dict__.setdefault(SPAN_ATTRIBUTE, span)


def span_of_thread() -> Span | None:
    """The test that started the current thread, where that is known."""
    found = current_thread().__dict__.get(SPAN_ATTRIBUTE)
    return found if isinstance(found, Span) else None
