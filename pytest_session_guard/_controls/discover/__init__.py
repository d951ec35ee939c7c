"""Finding where an application keeps its users' data, by reading its source; nothing of it runs.

`sources` (modules and their names) · `traces` (where an expression leads) · `libraries` (what well-known functions
give) · `evaluate` (following expressions) · `findings` (what was found) · `configuration` (what to paste).
"""

from pytest_session_guard._controls.discover.configuration import configuration_for, lines_for
from pytest_session_guard._controls.discover.findings import Finding, discover

__all__ = ["Finding", "configuration_for", "discover", "lines_for"]
