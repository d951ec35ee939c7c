"""The hook layer: refuses in the pytest process, its workers and its Python children, before the damage.

It gives the good message, the test's name and the line. It is never a boundary: native code and children that it does
not reach pass it; the kernel layers hold those.
"""

from __future__ import annotations

from pytest_session_guard._controls.audit.blind_spots import BlindSpots
from pytest_session_guard._controls.audit.gate import Gate, Ports
from pytest_session_guard._controls.audit.hook import install
from pytest_session_guard._controls.audit.wrappers import wrap_calls_without_events, wrap_moves

__all__ = ["BlindSpots", "Gate", "Ports", "install", "wrap_calls_without_events", "wrap_moves"]
