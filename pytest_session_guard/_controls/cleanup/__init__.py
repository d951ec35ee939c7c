"""Removing what the run made: look, plan, apply.

`Cleanup.plan` looks and decides; `Cleanup.apply` carries a plan out and trusts nothing that was seen before: each file is
renamed into quarantine first, looked at there, where nobody else has a name for it, and unlinked only when it is the very
object of the plan. Any other object goes back to its name unless that is taken by then; in that case it stays in
quarantine and is listed. Directories go by `rmdir` alone.

`selection` (which paths) · `inspection` (what stands there) · `removing` (what goes).
"""

from __future__ import annotations

from .removing import Cleanup, Removed

__all__ = ["Cleanup", "Removed"]
