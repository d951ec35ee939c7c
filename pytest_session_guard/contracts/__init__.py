"""A contract that any store of sessions can be held to: subclass :class:`SessionStoreContract` and hand it an adapter.

The rules come from accidents in real chat applications: a conversation saved empty, a backup nobody could use, an index
that lost the rows of its neighbours. Each is a check of its own, and is run against the store as it is, on real files,
in the private directory of the test. Nothing in the package imports this module; it imports pytest.

    class TestMyStore(SessionStoreContract):
        required = ABILITIES

        @pytest.fixture
        def store(self, session_guard):
            return FunctionAdapter(root=session_guard.path, make=new_session, save=Session.save, ...)
"""

from __future__ import annotations

from pytest_session_guard.contracts._adapter import ABILITIES, FunctionAdapter, StoreAdapter
from pytest_session_guard.contracts._checks import CHECKS, Check, ContractBrokenError
from pytest_session_guard.contracts._suite import SessionStoreContract

__all__ = [
    "ABILITIES",
    "CHECKS",
    "Check",
    "ContractBrokenError",
    "FunctionAdapter",
    "SessionStoreContract",
    "StoreAdapter",
]
