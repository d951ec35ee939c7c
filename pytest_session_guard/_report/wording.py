"""Numbers in sentences."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """A number and its noun.

    :param many: the plural, where it is not the singular with an ``s``.
    """
    return f"{count} {one if count == 1 else many or one + 's'}"
