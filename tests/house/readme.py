"""Put the option table into the README: ``python -m tests.house.readme``."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_session_guard._report.tables import options_table

README = Path(__file__).parents[2] / "README.md"
PLACE = re.compile(r"(<!-- options -->\n).*?(<!-- /options -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """The README's text with the table as the code knows it."""
    return PLACE.sub(lambda match: f"{match[1]}\n{options_table()}\n\n{match[2]}", text)


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
