"""The option table of the documentation."""

from __future__ import annotations

from pytest_session_guard._core.settings import OPTIONS
from pytest_session_guard._report.tables import options_table


def test_every_option_has_its_row_with_all_that_there_is_to_know() -> None:
    head, line, *rows = options_table().splitlines()

    assert [len(row.split("|")) for row in (head, line, *rows)] == [7] * (len(OPTIONS) + 2)
    for option, row in zip(OPTIONS, rows, strict=True):
        ini, flag, default, allowed, text = (cell.strip() for cell in row.split("|")[1:-1])
        assert ini == (f"`{option.ini}`" if option.ini else "-")
        assert flag == (f"`{option.flag}={option.metavar}`" if option.flag else "-")
        assert default == (f"`{option.default}`" if option.default else "")
        assert (allowed, text) == (option.allowed, option.help)
