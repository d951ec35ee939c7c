"""Which of many points of a run are tried: some, picked by a seed that is printed, or all of them.

``SESSION_GUARD_FAULTS=all`` tries every point (minutes); ``SESSION_GUARD_SEED=N`` picks the same ones again.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TypeVar

Point = TypeVar("Point")
EVERYTHING = os.environ.get("SESSION_GUARD_FAULTS") == "all"
SEED = int(os.environ.get("SESSION_GUARD_SEED") or random.SystemRandom().randrange(1 << 32))


def chosen(points: Sequence[Point], count: int, most: int = 1_000_000) -> list[Point]:
    """``count`` of the points in order, or all of them up to ``most``; the seed is printed, and shown when a test fails."""
    print(f"SESSION_GUARD_SEED={SEED}")
    count = min(most if EVERYTHING else count, len(points))
    picked = random.Random(SEED).sample(range(len(points)), count)
    return [points[index] for index in sorted(picked)]
