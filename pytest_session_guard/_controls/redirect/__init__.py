"""Redirecting what an application knows as its real paths to a private directory of each test.

Layers of this package, each knowing only those before it: `slots` (places that hold a value) · `places` (which text a
target governs) · `values` (what it is instead) · `names`, `holders`, `scan` (finding slots) · `table` (moving them) ·
`resets`, `environment`, `imports`, `sink` · `redirector` (one run, start to end).
"""

from pytest_session_guard._controls.redirect.redirector import Redirector
from pytest_session_guard._controls.redirect.sink import LateWrite

__all__ = ["LateWrite", "Redirector"]
