"""From the raw outcome of a try to the words that are compared: kept or damaged, red or green, named or not."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from .layers import UNGUARDED
from .vector import Scene, Vector

OWN_LINE: Final = re.compile(
    r"^session-guard: (guard-error|'.+ (after the last look of pytest|before that), by |pytest ended without)",
    re.MULTILINE,
)
"""A message of one line, which has no slug."""
SLUG: Final = re.compile(r"\[[a-z]+(-[a-z]+)+\]")


@dataclass(frozen=True)
class Outcome:
    """What one try left behind, seen from outside.

    :param status: of the command, negative for a signal.
    :param survivors: command lines of what still ran when patience ended and had to be killed.
    :param began: whether pytest got as far as its first line, so that a red run is no mere crash at the start.
    :param error: what the vector itself ran into; the guard's refusal, mostly.
    """

    vector: str
    form: str
    changes: dict[str, list[str]]
    status: int
    naming: str
    seconds: float
    survivors: list[str] = field(default_factory=list)
    error: str = ""
    output: str = ""
    began: bool = True
    layers: dict[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The words for this outcome: effects for the control, three judgements for a guarded form."""
        if self.form.startswith(UNGUARDED):
            return " ".join(sorted({word for words in self.changes.values() for word in words})) or "harmless"
        kept = "damaged" if self.changes else "kept"
        return f"{kept} {self._colour()} {self.naming}"

    def _colour(self) -> str:
        """A word for the exit status; ``broken`` where pytest never got as far as to be judged.

        A process that the guard killed, because it would have ended green, is as red as any other.
        """
        if self.status == -signal.SIGKILL and OWN_LINE.search(self.output):
            return "red"
        if self.status == 1 and not self.began:
            return "broken"
        return {0: "green", 1: "red", 4: "refused"}.get(self.status, f"exit{self.status}")

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Self:
        """The twin of ``to_json``."""
        return cls(**json.loads(line))


def read_report(scene: Scene) -> dict[str, Any]:
    """The guard's JSON report, or an empty dict where the run ended before one was written."""
    path = scene.out / "report.json"
    if not path.is_file():
        return {}
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def naming(vector: Vector, scene: Scene, report: dict[str, Any], output: str) -> str:
    """``named`` when one violation names test and path, ``path`` when it names the path alone, else ``unnamed``.

    The report is asked first, then the guard's own messages: a run that was refused at the start has no report, and what
    happens after pytest has ended comes too late for one.
    """
    nodeid = f"test_vector.py::{'Test::' if vector.host == 'unittest_teardown_class' else ''}test_{vector.name}"
    places = _places(scene)
    best = "unnamed"
    for touch in report.get("touches", []):
        # Refused before it could take pytest's place, a program has touched no file: it is named itself.
        about = touch.get("operation") == "os.exec" or _is_about(str(touch.get("path")), places)
        if touch.get("violation") and about:
            if nodeid in str(touch.get("nodeid") or ""):
                return "named"
            best = "path"
    for block in _messages(output):
        if any(place in block for place in places):
            if f"test: {nodeid}" in block:
                return "named"
            best = "path"
    return best


def _messages(output: str) -> list[str]:
    """The guard's messages on the terminal: from the line of an event to its slug, or a line of its own."""
    lines = output.splitlines()
    ends = [number for number, line in enumerate(lines) if SLUG.fullmatch(line.strip())]
    own_lines = [line for line in lines if OWN_LINE.match(line)]
    return [*("\n".join(lines[max(0, end - 4) : end]) for end in ends), *own_lines]


def _places(scene: Scene) -> list[str]:
    """Every spelling under which the protected tree or what holds it may be named."""
    home, tree = str(scene.home), str(scene.prot)
    real = [str(scene.base / "real-home"), str(scene.base / "real-prot")]
    return [home, tree, "~/.prot", "~/.bashrc", "~/.newrc", *real]


def _is_about(path: str, places: list[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def read_error(scene: Scene) -> str:
    """The last line of what the vector ran into, or an empty string."""
    path = Path(scene.tmp / "error.txt")
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8").strip().splitlines()
    return lines[-1][:300] if lines else ""
