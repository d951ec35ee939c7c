"""``python -m pytest_session_guard`` is the ``session-guard`` command."""

from __future__ import annotations

import sys

from pytest_session_guard.cli import main

if __name__ == "__main__":
    sys.exit(main())
