"""What a run of a case did, in words that stay the same from run to run, and the file that keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

RECORDED: Final = Path(__file__).with_name("outcomes.json")


class Guise(StrEnum):
    """Under what a case is run."""

    UNGUARDED = "unguarded"
    REDIRECTED = "redirected"
    """No plugin; ``HOME``, ``USERPROFILE`` and the XDG variables point to a scratch directory."""
    ENFORCE = "enforce"
    REPORT = "report"
    LINE = "line"
    """``enforce`` with the incident's line of configuration."""
    LINE_REPORT = "line-report"
    """``report`` with that line."""


@dataclass(frozen=True)
class Outcome:
    """What was measured in one run, judged from outside after it ended."""

    ended: str
    """``passed``, ``failed`` or ``killed``."""
    differences: tuple[str, ...]
    """How the data differs from before; empty = identical."""
    names_test: bool = False
    names_path: bool = False
    blames_bystander: bool = False
    """Whether a touch is charged to the run that a live program beside it made."""
    touches: tuple[str, ...] = ()
    """What became of the touches, as report and messages say, sorted: ``refused``, ``contained``, ``preserved``."""
    left_after_restore: tuple[str, ...] | None = None
    """Differences that ``session-guard restore`` did not undo; None where it was not called for."""
    output: str = field(default="", compare=False)
    """What the run printed: for the reader of a failed test, never recorded."""

    @property
    def lost(self) -> tuple[str, ...]:
        """What was there before and is gone or changed for good: after ``restore``, where that was tried."""
        left = self.differences if self.left_after_restore is None else self.left_after_restore
        return tuple(difference for difference in left if not difference.startswith("new "))

    def to_json(self) -> dict[str, object]:
        """Give what is recorded, without empty values."""
        defaults = Outcome(ended="", differences=())
        values = asdict(self)
        del values["output"]
        return {
            name: value
            for name, value in values.items()
            if name in {"ended", "differences"} or value != getattr(defaults, name)
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Outcome:
        """Give the outcome that ``to_json`` wrote: lists are tuples again."""
        typed: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**typed)


Recorded = Mapping[str, Mapping[Guise, Outcome]]
"""What was measured, by case key and guise."""


def load_recorded() -> Recorded:
    """Read the committed outcomes."""
    content = json.loads(RECORDED.read_text(encoding="utf-8"))
    return {
        key: {Guise(guise): Outcome.parse(values) for guise, values in by_guise.items()}
        for key, by_guise in content.items()
    }


def save_recorded(outcomes: Recorded) -> None:
    """Write all outcomes in the order given."""
    content = {
        key: {guise: outcome.to_json() for guise, outcome in by_guise.items()} for key, by_guise in outcomes.items()
    }
    RECORDED.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
