"""Bringing back what a run changed, and finishing what a killed run left in quarantine.

Both can be killed at any moment and started again: what is done is seen to be done. Nothing that stands at a path is ever
overwritten: it changes places with the pre-image and goes aside, into the run's directory.

`restorer` (puts pre-images back) · `comparison` (whether what stands there is what stood there) · `hard_links` (which other
names a file has) · `aside` (where what is replaced goes, also after a kill) · `quarantine` (what a killed removal left) ·
`moving` (names in open directories).
"""

from __future__ import annotations

from .aside import finish_restoring
from .hard_links import HardLinks
from .quarantine import QuarantinePlan, apply_quarantine, plan_quarantine
from .restorer import Restored, Restorer

__all__ = [
    "HardLinks",
    "QuarantinePlan",
    "Restored",
    "Restorer",
    "apply_quarantine",
    "finish_restoring",
    "plan_quarantine",
]
