"""All checks of the contract, in the order of their groups."""

from __future__ import annotations

from typing import Final

from pytest_session_guard.contracts._histories import HISTORY
from pytest_session_guard.contracts._indexing import INDEX
from pytest_session_guard.contracts._rebuilding import REBUILD
from pytest_session_guard.contracts._recovering import RECOVERY
from pytest_session_guard.contracts._rules import Check, ContractBrokenError
from pytest_session_guard.contracts._saving import BACKUP, FIRST_SAVE, METADATA, NEW

CHECKS: Final[tuple[Check, ...]] = tuple(
    check for rules in (NEW, FIRST_SAVE, METADATA, BACKUP, RECOVERY, REBUILD, INDEX, HISTORY) for check in rules.checks
)

__all__ = ["CHECKS", "Check", "ContractBrokenError"]
