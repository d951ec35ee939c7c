"""Tables of the documentation that the code itself knows best."""

from __future__ import annotations

from pytest_session_guard._core.settings import OPTIONS


def options_table() -> str:
    """The option table as Markdown, for the README; a test holds the two together."""
    rows = ["| ini | command line | default | values | what it does |", "|---|---|---|---|---|"]
    for option in OPTIONS:
        flag = f"`{option.flag}={option.metavar}`" if option.flag else "-"
        ini = f"`{option.ini}`" if option.ini else "-"
        default = f"`{option.default}`" if option.default else ""
        rows.append(f"| {ini} | {flag} | {default} | {option.allowed} | {option.help} |")
    return "\n".join(rows)
